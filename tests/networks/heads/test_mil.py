"""Multiple-instance pooling: golden values, masks, empty bags, order."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from medvlm.networks.blocks.pooling import ClassTokenAttention, GatedAttention
from medvlm.networks.heads.mil import POOLING_MODES, MilPooling

GOLDEN = Path(os.environ.get("MEDVLM_GOLDEN", Path(__file__).resolve().parents[4] / "shared" / "golden"))
CLS_PARTS = {"query_key_value": "in", "out": "out", "norm": "ln"}


@pytest.fixture(scope="module")
def golden():
    path = GOLDEN / "mil" / "mil.npz"
    if not path.is_file():
        pytest.skip(f"golden values are not at {path}; set MEDVLM_GOLDEN")
    with np.load(path) as stored:
        return {
            key: torch.from_numpy(stored[key]).to(torch.float64 if stored[key].dtype.kind == "f" else torch.bool)
            for key in stored.files
            if stored[key].ndim
        }


def golden_gated(values: dict, case: str) -> GatedAttention:
    own = GatedAttention(24, 12, values[f"gated/{case}/w"].shape[0]).double()
    names = {"values": "V", "gates": "U", "scores": "w"}
    state = {f"{own_name}.weight": values[f"gated/{case}/{short}"] for own_name, short in names.items()}
    fill(own, state | {f"{own_name}.bias": values[f"gated/{case}/b{short}"] for own_name, short in names.items()})
    return own


def golden_cls(values: dict, case: str, level: str) -> ClassTokenAttention:
    own = ClassTokenAttention(24, heads=4, norm="pre" if "pre" in case else "post", residual=False).double()
    level = "within" if "shared" in case else level
    state = {"token": values[f"cls/{case}/cls_token"].flatten()}
    for part, short in CLS_PARTS.items():
        weight, bias = ("g", "b") if part == "norm" else ("w", "b")
        state[f"{part}.weight"] = values[f"cls/{case}/{level}_{short}_{weight}"]
        state[f"{part}.bias"] = values[f"cls/{case}/{level}_{short}_{bias}"]
    fill(own, state)
    return own


def fill(module: torch.nn.Module, state: dict) -> None:
    module.load_state_dict(state, strict=True)


def pooling(mode: str, **settings) -> MilPooling:
    torch.manual_seed(0)
    return MilPooling(16, mode, **({"hidden": 8, "heads": 4} | settings)).double().eval()


@pytest.mark.parametrize("case", ["nobias_k1", "bias_k1", "bias_k3"])
def test_gated_attention_equals_golden_values_and_gradients(golden, case):
    own = golden_gated(golden, case)
    h = golden[f"gated/{case}/h"].requires_grad_()
    pooled, attention = own(h, golden[f"gated/{case}/mask"])
    torch.testing.assert_close(pooled, golden[f"gated/{case}/pooled"], atol=1e-10, rtol=0)
    torch.testing.assert_close(attention, golden[f"gated/{case}/attention"], atol=1e-10, rtol=0)
    (pooled * golden[f"gated/{case}/cotangent"]).sum().backward()
    found = {"h": h, "V": own.values.weight, "U": own.gates.weight, "w": own.scores.weight}
    found |= {"bV": own.values.bias, "bU": own.gates.bias, "bw": own.scores.bias}
    for name, tensor in found.items():
        torch.testing.assert_close(tensor.grad, golden[f"gated/{case}/grad_{name}"], atol=1e-9, rtol=1e-9)


def test_gated_attention_over_tokens_then_videos_equals_golden_values(golden):
    own = MilPooling(24, "attention", hidden=12).double()
    for level in (own.tokens, own.videos):
        level["attention"].load_state_dict(golden_gated(golden, "bias_k1").state_dict())
    result = own(golden["gated_hier/x"], golden["gated_hier/mask"])
    torch.testing.assert_close(result["pooled"], golden["gated_hier/pooled"][:, 0], atol=1e-10, rtol=0)
    torch.testing.assert_close(result["attention"], golden["gated_hier/attention_video"][:, 0], atol=1e-10, rtol=0)


@pytest.mark.parametrize("case", ["post_sep", "pre_sep", "post_shared"])
def test_class_token_equals_golden_values_and_gradients(golden, case):
    values = {
        key.removeprefix(f"cls/{case}/"): value for key, value in golden.items() if key.startswith(f"cls/{case}/")
    }
    within, across = golden_cls(golden, case, "within"), golden_cls(golden, case, "across")
    videos, _ = within(values["x"])
    out, attention = across(videos, values["video_mask"])
    torch.testing.assert_close(videos, values["hier_video"], atol=1e-10, rtol=0)
    torch.testing.assert_close(out, values["hier_out"], atol=1e-10, rtol=0)
    torch.testing.assert_close(attention, values["hier_att_across"], atol=1e-10, rtol=0)
    flat, attention = across(values["x"][:, :, 0], values["video_mask"])
    torch.testing.assert_close(flat, values["flat_token0_out"], atol=1e-10, rtol=0)
    torch.testing.assert_close(attention, values["flat_token0_att"], atol=1e-10, rtol=0)

    x = values["x"].clone().requires_grad_()
    videos, inner = within(x, values["token_mask"])
    out, attention = across(videos, values["video_mask"])
    torch.testing.assert_close(out, values["hier_tokmask_out"], atol=1e-10, rtol=0)
    torch.testing.assert_close(inner, values["hier_tokmask_att_within_cls"], atol=1e-6, rtol=0)
    (out * values["cotangent"]).sum().backward()
    token = within.token.grad + across.token.grad  # the golden values share one token between the levels
    torch.testing.assert_close(token, values["grad_cls_token"].flatten(), atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(x.grad.sum(-1), values["grad_x_sum_over_D"], atol=1e-9, rtol=1e-9)
    if case == "post_sep":
        torch.testing.assert_close(within.query_key_value.weight.grad, values["grad_within_in_w"], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(across.out.weight.grad, values["grad_across_out_w"], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("mode", POOLING_MODES)
@pytest.mark.parametrize("tokens", [False, True], ids=["videos", "tokens"])
@pytest.mark.parametrize("garbage", [1e6, float("nan"), float("inf")])
def test_masked_videos_and_tokens_have_no_influence(mode, tokens, garbage):
    own = pooling(mode)
    x = torch.randn(2, 4, 5, 16).double() if tokens else torch.randn(2, 4, 16).double()
    mask = torch.tensor([[True, False, True, True], [False, True, False, False]])
    token_mask = torch.rand(2, 4, 5) > 0.4 if tokens else None
    clean = own(x, mask, token_mask)
    spoilt = x.clone()
    spoilt[~mask] = garbage
    if tokens:
        spoilt[~token_mask] = garbage
    again = own(spoilt.requires_grad_(), mask, token_mask)
    for key in clean:
        torch.testing.assert_close(again[key], clean[key], rtol=0, atol=1e-12)
    again["pooled"].sum().backward()
    assert spoilt.grad[~mask].eq(0).all() and spoilt.grad.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in own.parameters())
    assert again["attention"][~mask].eq(0).all()
    assert (again["attention"].sum(1) <= 1 + 1e-9).all()


@pytest.mark.parametrize("mode", POOLING_MODES)
def test_dropping_what_is_masked_changes_nothing(mode):
    own, x = pooling(mode), torch.randn(1, 4, 3, 16).double()
    mask = torch.tensor([[True, False, True, False]])
    torch.testing.assert_close(own(x, mask)["pooled"], own(x[:, [0, 2]])["pooled"])


@pytest.mark.parametrize("mode", POOLING_MODES)
@pytest.mark.parametrize("shape", [(2, 3, 16), (2, 3, 4, 16)], ids=["videos", "tokens"])
def test_shapes_and_an_empty_study(mode, shape):
    own = pooling(mode)
    mask = torch.tensor([[True, True, False], [False, False, False]])
    x = torch.randn(shape).double().requires_grad_()
    result = own(x, mask)
    assert result["pooled"].shape == (2, own.output_dim) and result["attention"].shape == (2, 3)
    assert ("token_attention" in result) == (len(shape) == 4)
    assert result["pooled"].isfinite().all() and result["attention"][1].eq(0).all()
    assert result["pooled"][1, :16].eq(0).all() == (mode != "cls_token")
    result["pooled"].square().sum().backward()
    assert x.grad.isfinite().all() and x.grad[1].eq(0).all()
    assert all(p.grad.isfinite().all() for p in own.videos.parameters())


@pytest.mark.parametrize("mode", POOLING_MODES)
def test_order_of_the_videos_does_not_matter(mode):
    own, x = pooling(mode), torch.randn(2, 4, 3, 16).double()
    order = [2, 0, 3, 1]
    first, second = own(x), own(x[:, order])
    torch.testing.assert_close(first["pooled"], second["pooled"])
    torch.testing.assert_close(first["attention"][:, order], second["attention"])


def test_mean_and_max_are_what_they_say():
    x = torch.tensor([[[1.0, 5.0], [3.0, 1.0], [100.0, 100.0]]])
    mask = torch.tensor([[True, True, False]])
    mean, largest = MilPooling(2, "mean")(x, mask), MilPooling(2, "max")(x, mask)
    assert mean["pooled"].tolist() == [[2.0, 3.0]] and mean["attention"].tolist() == [[0.5, 0.5, 0.0]]
    assert largest["pooled"].tolist() == [[3.0, 5.0]] and largest["attention"].tolist() == [[0.5, 0.5, 0.0]]


def test_levels_have_their_own_class_tokens_of_a_small_size():
    own = MilPooling(256, "attention+cls_token")
    first, second = own.tokens["cls_token"].token, own.videos["cls_token"].token
    assert not torch.equal(first, second)
    assert all(0.015 < token.std() < 0.025 for token in (first, second))


def test_residual_adds_the_class_token():
    torch.manual_seed(0)
    own, x = ClassTokenAttention(16), torch.randn(2, 3, 16)
    with_token = own(x)[0]
    own.residual = False
    torch.testing.assert_close(with_token - own(x)[0], own.token.expand(2, -1))


def test_branches_concatenate():
    own = pooling("attention+cls_token", branches=3)
    assert own.output_dim == 64 and own(torch.randn(2, 3, 16).double())["pooled"].shape == (2, 64)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"mode": "median"}, "mode must be one of"),
        ({"mode": "mean", "branches": 2}, "branches belongs to the modes with 'attention'"),
        ({"mode": "cls_token", "heads": 5}, "heads must divide the width 16, got 5"),
        ({"mode": "cls_token", "norm": "both"}, "norm must be 'pre' or 'post', got 'both'"),
        ({"mode": "mean", "levels": 3}, "levels must be 1"),
    ],
)
def test_wrong_settings_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        MilPooling(16, **settings)


@pytest.mark.parametrize(
    ("x", "mask", "token_mask", "words"),
    [
        ((2, 3, 8), None, None, r"takes \(B, N, 16\) or \(B, N, L, 16\), got \(2, 3, 8\)"),
        ((2, 3, 16), (2, 4), None, r"mask must be \(2, 3\)"),
        ((2, 3, 4, 16), (2, 3), (2, 3, 5), r"token_mask must be \(2, 3, 4\)"),
    ],
)
def test_shapes_that_do_not_fit_are_named(x, mask, token_mask, words):
    masks = [None if shape is None else torch.ones(shape, dtype=torch.bool) for shape in (mask, token_mask)]
    with pytest.raises(ValueError, match=words):
        MilPooling(16)(torch.randn(x), *masks)


def test_tokens_for_one_level_are_refused():
    with pytest.raises(ValueError, match="build it with levels=2"):
        MilPooling(16, levels=1)(torch.randn(2, 3, 4, 16))
