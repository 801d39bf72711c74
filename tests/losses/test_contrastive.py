"""Sigmoid and softmax contrastive losses: golden values, blocks, several positives, samples left out."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from medvlm.losses.contrastive import CONTRASTIVE, SigmoidContrastiveLoss, SoftmaxContrastiveLoss

ROOT = Path(os.environ.get("MEDVLM_GOLDEN", Path(__file__).parents[3] / "shared" / "golden"))
CLOSE = dict(rtol=1e-9, atol=1e-11)
PAIRS = ["n8_d16", "n32_d64", "n16_d32_hot", "n1_d16"]
MANY = ["sq12", "rect10x14", "diag8", "emptyrows10"]


def golden(file: str) -> dict[str, torch.Tensor]:
    path = ROOT / "contrastive" / file
    if not path.is_file():
        pytest.skip(f"golden values are not at {path}; set MEDVLM_GOLDEN")
    with np.load(path) as stored:
        return {key: torch.as_tensor(stored[key]) for key in stored.files}


@pytest.fixture(scope="module")
def single() -> dict[str, torch.Tensor]:
    return golden("single.npz")


@pytest.fixture(scope="module")
def many() -> dict[str, torch.Tensor]:
    return golden("multipositive.npz")


def leaves(stored: dict[str, torch.Tensor], case: str) -> dict[str, torch.Tensor]:
    names = ("image", "text", "scale", "bias")
    return {name: stored[f"{case}/{name}"].double().clone().requires_grad_() for name in names}


def assert_golden(
    loss: torch.Tensor, inputs: dict[str, torch.Tensor], stored: dict[str, torch.Tensor], key: str
) -> None:
    loss.backward()
    torch.testing.assert_close(loss.detach(), stored[f"{key}/loss"].double(), **CLOSE)
    for name, leaf in inputs.items():
        torch.testing.assert_close(leaf.grad, stored[f"{key}/grad_{name}"], **CLOSE, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("chunk", [1, 5, 1024])
@pytest.mark.parametrize(("kind", "peer"), [("sigmoid", "siglip"), ("softmax", "clip")])
@pytest.mark.parametrize("case", PAIRS)
def test_pairs_equal_open_clip(single, case, kind, peer, chunk):
    inputs = leaves(single, case)
    assert_golden(CONTRASTIVE[kind](chunk)(**inputs), inputs, single, f"{case}/{peer}")


@pytest.mark.parametrize("chunk", [3, 1024])
@pytest.mark.parametrize("case", MANY)
def test_sigmoid_with_several_positives_equals_golden(many, case, chunk):
    inputs = leaves(many, case)
    loss = SigmoidContrastiveLoss(chunk)(**inputs, positives=(many[f"{case}/M"] > 0).double())
    assert_golden(loss, inputs, many, f"{case}/sigmoid")


@pytest.mark.parametrize("chunk", [3, 1024])
@pytest.mark.parametrize("case", [*MANY, "soft9"])
def test_softmax_with_several_positives_equals_golden(many, case, chunk):
    inputs = leaves(many, case)
    assert_golden(SoftmaxContrastiveLoss(chunk)(**inputs, positives=many[f"{case}/M"]), inputs, many, f"{case}/softmax")


def embeddings(count: int = 7, dim: int = 5, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    image, text = (torch.randn(count, dim, generator=generator, dtype=torch.float64) for _ in range(2))
    image, text = (torch.nn.functional.normalize(x, dim=1).requires_grad_() for x in (image, text))
    scale, bias = (torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (10.0, -2.0))
    return {"image": image, "text": text, "scale": scale, "bias": bias}


def gradients(loss: torch.Tensor, inputs: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    return list(torch.autograd.grad(loss, list(inputs.values())))


def test_soft_targets_equal_binary_cross_entropy():
    """Given weights are the targets of the binary questions; the reference is torch's own on the whole matrix."""
    inputs = embeddings()
    targets = torch.rand(7, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    logits = inputs["scale"] * inputs["image"] @ inputs["text"].T + inputs["bias"]
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="sum") / 7
    loss = SigmoidContrastiveLoss(chunk=3)(**inputs, positives=targets)
    torch.testing.assert_close([loss, *gradients(loss, inputs)], [expected, *gradients(expected, inputs)], **CLOSE)


@pytest.mark.parametrize("kind", CONTRASTIVE)
def test_given_gradients_equal_numerical_ones(kind):
    inputs = embeddings(4, 3)
    keys = torch.tensor([5, 6, 5, 0])
    loss = CONTRASTIVE[kind](chunk=3)
    assert torch.autograd.gradcheck(lambda *x: loss(*x, image_keys=keys), tuple(inputs.values()), fast_mode=True)


REPORTS = torch.tensor([11, 12, 11, 0, 0, -7, -7])
STUDIES = torch.tensor([1, 2, 3, 4, 2, 5, 6])


@pytest.mark.parametrize("kind", CONTRASTIVE)
def test_equal_texts_and_equal_studies_are_positives(kind):
    """The own pair, any shared key, and nothing for key 0, which stands for an unknown one."""
    inputs = embeddings()
    expected = torch.eye(7, dtype=torch.float64)
    for a, b in ((0, 2), (5, 6), (1, 4)):
        expected[a, b] = expected[b, a] = 1
    loss = CONTRASTIVE[kind](chunk=2)
    keyed = loss(**inputs, image_keys=torch.stack([REPORTS, STUDIES], 1))
    given = loss(**inputs, positives=expected)
    torch.testing.assert_close([keyed, *gradients(keyed, inputs)], [given, *gradients(given, inputs)], **CLOSE)
    assert not torch.isclose(keyed, loss(**inputs))


@pytest.mark.parametrize("kind", CONTRASTIVE)
@pytest.mark.parametrize("positives", ["pairs", "keys", "given"])
def test_left_out_samples_have_no_part(kind, positives):
    inputs = embeddings()
    valid = torch.tensor([1, 0, 1, 1, 1, 0, 1]).bool()
    weights = torch.rand(7, 7, generator=torch.Generator().manual_seed(1)).double()
    options = {"pairs": {}, "keys": {"image_keys": REPORTS}, "given": {"positives": weights}}[positives]
    kept = {"pairs": {}, "keys": {"image_keys": REPORTS[valid]}, "given": {"positives": weights[valid][:, valid]}}
    loss = CONTRASTIVE[kind](chunk=2)
    with torch.no_grad():
        inputs["image"][~valid] = float("nan")
        inputs["text"][~valid] = float("nan")
    masked = loss(**inputs, valid=valid, **options)
    fewer = dict(inputs, image=inputs["image"][valid], text=inputs["text"][valid])
    torch.testing.assert_close(masked, loss(**fewer, **kept[positives]), **CLOSE)
    found = gradients(masked, inputs)
    assert all(torch.isfinite(gradient).all() for gradient in found)
    assert (found[0][~valid] == 0).all() and (found[1][~valid] == 0).all()


@pytest.mark.parametrize("kind", CONTRASTIVE)
def test_everything_left_out_is_zero_with_a_gradient(kind):
    inputs = embeddings()
    mean = CONTRASTIVE[kind]().partial(**inputs, valid=torch.zeros(7))
    assert mean.local.item() == mean.value.item() == mean.count == 0
    assert all((gradient == 0).all() for gradient in gradients(mean.local, inputs))


def test_partial_counts_the_samples_and_gives_the_value():
    inputs = embeddings()
    mean = SoftmaxContrastiveLoss().partial(**inputs, valid=torch.tensor([1, 1, 0, 1, 0, 0, 1]))
    assert mean.count == 4
    torch.testing.assert_close(mean.value, mean.local.detach(), **CLOSE)


@pytest.mark.parametrize("kind", CONTRASTIVE)
def test_perfect_alignment_costs_next_to_nothing(kind):
    loss = CONTRASTIVE[kind]()(torch.eye(6), torch.eye(6), scale=100.0, bias=-50.0)
    assert 0 <= loss.item() < 1e-6
    assert CONTRASTIVE[kind]()(torch.eye(6), torch.eye(6).roll(1, 0), scale=100.0, bias=-50.0).item() > 40


@pytest.mark.parametrize("kind", CONTRASTIVE)
def test_half_precision_embeddings_are_compared_in_single_precision(kind):
    inputs = {name: x.detach().float() for name, x in embeddings().items()}
    loss = CONTRASTIVE[kind](chunk=3)
    halves = {name: x.bfloat16().requires_grad_() if x.ndim else x for name, x in inputs.items()}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(**halves)
    value.backward()
    assert value.dtype == torch.float32 and halves["image"].grad.dtype == torch.bfloat16
    rounded = {name: x.detach().float() for name, x in halves.items()}
    torch.testing.assert_close(value.detach(), loss(**rounded))


def test_no_gradient_is_computed_in_evaluation():
    inputs = embeddings()
    with torch.no_grad():
        quiet = SigmoidContrastiveLoss()(**inputs)
    assert not quiet.requires_grad
    torch.testing.assert_close(quiet, SigmoidContrastiveLoss()(**inputs).detach())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"text": torch.rand(7, 4)}, "same D"),
        ({"text": torch.rand(6, 5)}, "7 images and 6 texts"),
        ({"valid": torch.ones(6)}, "valid needs one row a sample"),
        ({"image_keys": torch.ones(6)}, "image_keys needs one row a sample"),
        ({"text_keys": torch.ones(7)}, "text_keys need image_keys"),
        ({"image_keys": torch.ones(7, 2), "text_keys": torch.ones(7)}, "same number of keys, got 2 and 1"),
        ({"positives": torch.eye(7), "image_keys": torch.ones(7)}, "positives replace the keys"),
        ({"positives": -torch.eye(7)}, "at least 0"),
        ({"positives": torch.ones(7, 6)}, "one column for each of the 7 texts"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_does_not_fit_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SigmoidContrastiveLoss()(**{**embeddings(), **options})


def test_targets_above_one_are_refused_by_the_sigmoid_loss():
    with pytest.raises(ValueError, match="at most 1"):
        SigmoidContrastiveLoss()(**embeddings(), positives=2 * torch.eye(7))


def test_an_empty_block_is_refused():
    with pytest.raises(ValueError, match="chunk must be at least 1"):
        SigmoidContrastiveLoss(chunk=0)
