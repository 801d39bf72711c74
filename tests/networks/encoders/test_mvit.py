"""MViT: equal to torchvision's in values and gradients, on any size, with masks and checkpointing."""

from __future__ import annotations

import json
import os
import zlib
from math import prod
from pathlib import Path

import numpy as np
import pytest
import torch

from medvlm.networks.encoders.mvit import MViT, mvit_small, mvit_tiny, mvit_v1_b, mvit_v2_s, stages

GOLDEN = Path(os.environ.get("MEDVLM_GOLDEN", Path(__file__).parents[4] / "shared" / "golden")) / "mvit"
CASES = ["v1_3ch", "v2_1ch", "v2_1ch_rect", "v2_3ch"]
ARGUMENTS = {  # ours: torchvision's
    "blocks": "blocks",
    "frames": "temporal_size",
    "spatial_size": "spatial_size",
    "in_channels": "in_channels",
    "num_classes": "num_classes",
    "relative_positions": "rel_pos_embed",
    "residual_pool": "residual_pool",
    "residual_class_token": "residual_with_cls_embed",
    "project_in_attention": "proj_after_attn",
}


def golden(name: str) -> Path:
    path = GOLDEN / name
    if not path.is_file():
        pytest.skip(f"golden values are not at {path}; set MEDVLM_GOLDEN")
    return path


def golden_case(name: str) -> tuple[MViT, dict, dict]:
    from safetensors.torch import load_file

    settings = json.loads(golden(f"{name}.json").read_text(encoding="utf-8"))
    network = MViT(**{ours: settings[theirs] for ours, theirs in ARGUMENTS.items()}).eval()
    network.load_state_dict(load_file(golden(f"{name}.safetensors")))
    return network, settings, dict(np.load(golden(f"{name}.npz")))


def hooked_forward(network: MViT, video: torch.Tensor) -> tuple[list, torch.Tensor, torch.Tensor]:
    """Tokens and grid after the positions and after each block, the pooled vector and the logits."""
    steps = []
    network.pos_encoding.register_forward_hook(lambda _, inputs, output: steps.append((output, inputs[1])))
    for block in network.blocks:
        block.register_forward_hook(lambda _, __, output: steps.append(output))
    pooled = network(video)["pooled"]
    return steps, pooled, network.head(pooled)


def small(**arguments) -> MViT:
    torch.manual_seed(0)
    blocks = stages((16, 32), (1, 1), (1, 2), stride_kv=2)
    return MViT(blocks, **{"frames": 4, "spatial_size": (32, 32), **arguments})


@pytest.mark.parametrize("name", CASES)
def test_every_block_equals_torchvision(name):
    network, settings, values = golden_case(name)
    with torch.no_grad():
        steps, pooled, logits = hooked_forward(network, torch.from_numpy(values["input"]))
    assert [n for n, _ in network.named_parameters()] == settings["param_order"]
    names = ["pos_encoding"] + [f"block{index}" for index in range(len(network.blocks))]
    for step, (tokens, grid) in zip(names, steps, strict=True):
        assert np.abs(tokens[0].numpy() - values[f"{step}_sample0"]).max() < 5e-5, step
        if step != "pos_encoding":
            assert tuple(grid) == tuple(values[f"{step}_thw"]), step
    assert np.abs(pooled.numpy() - values["pooled"]).max() < 1e-5
    assert np.abs(logits.numpy() - values["logits"]).max() < 1e-5


@pytest.mark.parametrize("name", CASES)
def test_double_precision_equals_torchvision_with_gradients(name):
    network, settings, values = golden_case(name)
    network.double()
    logits = network.classify(torch.from_numpy(values["input"]).double())
    assert np.abs(logits.detach().numpy() - values["logits_f64"]).max() < 1e-9
    (logits * torch.from_numpy(values["cotangent"])).sum().backward()
    gradients = {n: p.grad for n, p in network.named_parameters()}
    tolerance = 1e-9 * settings["param_grad_max_abs"]
    norms = np.array([gradients[n].norm().item() for n in settings["param_order"]])
    sums = np.array([gradients[n].sum().item() for n in settings["param_order"]])
    assert np.abs(norms - values["param_grad_l2_f64"]).max() < tolerance * 1e2
    assert np.abs(sums - values["param_grad_sum_f64"]).max() < tolerance * 1e4


def test_single_precision_gradients_equal_torchvision():
    from safetensors.torch import load_file

    expected = load_file(golden("v2_1ch.param_grads.safetensors"))
    network, settings, values = golden_case("v2_1ch")
    logits = network.classify(torch.from_numpy(values["input"]))
    (logits * torch.from_numpy(values["cotangent"])).sum().backward()
    for name, parameter in network.named_parameters():
        error = (parameter.grad - expected[name]).abs().max().item()
        assert error < 1e-5 * settings["param_grad_max_abs"], name


def rule_weight(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """A weight by the rule of ``mvit_v2_s_full.json``."""
    state = np.random.RandomState(zlib.crc32(name.encode()))
    noise = (2 * state.random_sample(prod(shape)) - 1).reshape(shape)
    if "norm" in name and name.endswith("weight"):
        values = 1 + 0.2 * noise
    elif name.endswith("bias"):
        values = 0.1 * noise
    elif "pos_encoding" in name or "rel_pos" in name:
        values = 0.3 * noise
    else:
        values = noise * np.sqrt(3 / prod(shape[1:]))
    return torch.from_numpy(values.astype(np.float32))


def test_the_full_v2_s_equals_torchvision():
    values = dict(np.load(golden("mvit_v2_s_full.npz")))
    rule = json.loads(golden("mvit_v2_s_full.json").read_text(encoding="utf-8"))
    network = mvit_v2_s(in_channels=3, num_classes=400).eval()
    network.load_state_dict({name: rule_weight(name, tuple(v.shape)) for name, v in network.state_dict().items()})
    noise = np.random.RandomState(rule["input_seed"]).random_sample(3 * 16 * 224 * 224)
    video = torch.from_numpy((2 * noise - 1).astype(np.float32).reshape(1, 3, 16, 224, 224))
    with torch.no_grad():
        steps, pooled, logits = hooked_forward(network, video)
    for index, (tokens, grid) in enumerate(steps[1:]):
        assert tuple(grid) == tuple(values[f"block{index}_thw"])
        assert np.abs(tokens[0, 0].numpy() - values[f"block{index}_cls"].ravel()).max() < 1e-4
        assert np.abs(tokens[0].mean(0).numpy() - values[f"block{index}_mean_over_tokens"].ravel()).max() < 1e-4
        assert abs(tokens.std().item() - float(values[f"block{index}_std_all"])) < 1e-4
    assert tuple(steps[-1][0].shape) == (1, 393, 768)
    assert np.abs(pooled.numpy() - values["pooled"]).max() < 2e-5
    assert np.abs(logits.numpy() - values["logits"]).max() < 2e-5


def test_parameters_are_torchvisions():
    listed = json.loads(golden("mvit_v2_s_params.json").read_text(encoding="utf-8"))
    network = mvit_v2_s(in_channels=3, num_classes=400)
    assert [(n, list(p.shape)) for n, p in network.named_parameters()] == [
        (entry["name"], entry["shape"]) for entry in listed["parameters"]
    ]
    assert set(network.state_dict()) == {entry["name"] for entry in listed["parameters"]}


@pytest.mark.parametrize(
    ("factory", "parameters", "grid"),
    [(mvit_v2_s, 34_230_144, (8, 7, 7)), (mvit_v1_b, 36_303_072, (8, 7, 7)), (mvit_small, None, (8, 7, 7)),
     (mvit_tiny, None, (8, 14, 14))],
    ids=["v2 s", "v1 b", "small", "tiny"],
)  # fmt: skip
def test_presets_have_their_size_and_grid(factory, parameters, grid):
    network = factory(in_channels=3)
    count = sum(p.numel() for p in network.parameters())
    assert parameters is None or count == parameters
    assert count < 37e6
    assert network.grid(16, 224, 224) == grid
    assert network.head is None
    assert factory(in_channels=1).conv_proj.weight.shape[1] == 1


@pytest.mark.parametrize("sizes", [(4, 32, 32), (8, 48, 32), (1, 33, 70), (5, 20, 41)], ids=str)
@pytest.mark.parametrize("relative", [True, False], ids=["relative", "absolute"])
def test_any_number_of_frames_and_any_size_goes_in(sizes, relative):
    network = small(relative_positions=relative).eval()
    output = network(torch.randn(2, 1, *sizes))
    t, h, w = network.grid(*sizes)
    assert output["tokens"].shape == (2, 1 + t * h * w, network.embed_dim)
    assert output["pooled"].shape == (2, network.embed_dim)
    assert torch.isfinite(output["tokens"]).all()


def test_absolute_positions_of_another_size_are_interpolated():
    positions = small(relative_positions=False).pos_encoding
    with torch.no_grad():
        positions.temporal_pos.copy_(torch.tensor([0.0, 4.0])[:, None].expand(2, 16))
        positions.spatial_pos.fill_(1.0)
        tokens = positions(torch.zeros(1, 4 * 64, 16), (4, 8, 8))
    in_time = tokens[0, 1:, 0].reshape(4, 64)
    torch.testing.assert_close(in_time, torch.tensor([1.0, 2.0, 4.0, 5.0])[:, None].expand(4, 64))


def test_one_sample_does_not_see_the_others():
    network, video = small().eval(), torch.randn(3, 1, 4, 32, 32)
    together = network(video)["tokens"]
    alone = torch.cat([network(video[i : i + 1])["tokens"] for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_pooled_is_the_class_token_or_the_mean_of_the_others():
    network, video = small().eval(), torch.randn(2, 1, 4, 32, 32)
    output = network(video)
    assert network.has_class_token
    torch.testing.assert_close(output["pooled"], output["tokens"][:, 0])
    network.pooling = "mean"
    output = network(video)
    torch.testing.assert_close(output["pooled"], output["tokens"][:, 1:].mean(1))


def test_checkpointing_changes_neither_values_nor_gradients():
    networks = [small(stochastic_depth=0.5, checkpointing=on).train() for on in (False, True)]
    video, results = torch.randn(2, 1, 4, 32, 32), []
    for network in networks:
        torch.manual_seed(1)
        output = network(video)["pooled"]
        output.square().sum().backward()
        results.append([output.detach(), *(p.grad for p in network.parameters())])
    for plain, recomputed in zip(*results, strict=True):
        torch.testing.assert_close(plain, recomputed)


def test_stochastic_depth_drops_whole_samples_in_training_only():
    network, video = small(stochastic_depth=0.5), torch.randn(1, 1, 4, 32, 32)
    torch.manual_seed(0)
    outputs = [network.train()(video)["pooled"] for _ in range(6)]
    assert len({tuple(o.flatten().tolist()) for o in outputs}) > 1
    assert torch.equal(network.eval()(video)["pooled"], network(video)["pooled"])


def test_hidden_pixels_have_no_influence():
    network = small(maskable=True).eval()
    video = torch.randn(1, 1, 4, 32, 32)
    mask = torch.zeros(1, 2, 4, 4, dtype=torch.bool)
    mask[:, :, 1:3, 1:3] = True
    other = video.clone()
    other[:, :, :, 8:24, 8:24] += 100 * torch.randn(1, 1, 4, 16, 16)
    same = [network(v, mask.flatten(1))["tokens"] for v in (video, other)]
    assert torch.equal(*same)
    assert not torch.allclose(network(video)["tokens"], same[0], atol=1e-3)
    assert not torch.equal(network(video)["tokens"], network(other)["tokens"])


def test_a_mask_fits_the_grid_that_comes_out_and_the_one_that_goes_in():
    network = small(maskable=True).eval()
    video = torch.randn(2, 1, 4, 32, 32)
    coarse = torch.rand(2, 2, 4, 4) > 0.5
    fine = coarse.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert network.grid(4, 32, 32) == (2, 4, 4)
    assert network.patch_grid(4, 32, 32) == (2, 8, 8)
    torch.testing.assert_close(network(video, coarse.flatten(1)), network(video, fine.flatten(1)))


def test_the_mask_token_learns():
    network = small(maskable=True)
    network(torch.randn(1, 1, 4, 32, 32), torch.rand(1, 32) > 0.5)["tokens"].square().sum().backward()
    assert network.mask_token.grad.abs().max() > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"blocks": []}, "at least one block"),
        ({"pooling": "max"}, "pooling must be .* got 'max'"),
        ({"blocks": stages((16,), (1,), (1,), 2) + stages((32,), (1,), (1,), 2)}, "takes 32 channels .* gives 16"),
        ({"stochastic_depth": 1.0}, "below 1, got 1.0"),
    ],
)
def test_wrong_settings_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        MViT(**{"blocks": stages((16, 16), (1, 1), (1, 2), 2), "frames": 4, "spatial_size": (32, 32), **arguments})


def test_wrong_inputs_are_refused():
    network = small()
    with pytest.raises(ValueError, match=r"takes \(B, 1, T, H, W\), got \(1, 3, 4, 32, 32\)"):
        network(torch.zeros(1, 3, 4, 32, 32))
    with pytest.raises(ValueError, match="maskable=True"):
        network(torch.zeros(1, 1, 4, 32, 32), torch.zeros(1, 32, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"got \(1, 7\)"):
        small(maskable=True)(torch.zeros(1, 1, 4, 32, 32), torch.zeros(1, 7, dtype=torch.bool))
    with pytest.raises(ValueError, match="build it with num_classes"):
        network.classify(torch.zeros(1, 1, 4, 32, 32))


class Pooled(torch.nn.Module):
    """The one tensor that TorchScript and ONNX want."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, video: torch.Tensor) -> torch.Tensor:
        return self.network(video)["pooled"]


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_a_trace_gives_the_same_for_another_batch():
    network = Pooled(small()).eval()  # parameters that learn, as in a network that has just been built
    traced = torch.jit.trace(network, torch.randn(1, 1, 4, 32, 32))
    video = torch.randn(3, 1, 4, 32, 32)
    torch.testing.assert_close(traced(video), network(video))


def test_trains_under_autocast():
    network = small().train()
    with torch.autocast("cpu", torch.bfloat16):
        pooled = network(torch.randn(2, 1, 4, 32, 32))["pooled"]
    pooled.float().square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)
