"""Next-token targets and the smoothed cross-entropy against golden values."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from medvlm.losses.captioning import IGNORED, CaptioningLoss, next_tokens

ROOT = Path(os.environ.get("MEDVLM_GOLDEN", Path(__file__).parents[3] / "shared" / "golden"))
BOS, EOS, PAD = 2, 3, 0
IDS = torch.tensor([[BOS, 7, 8, EOS], [BOS, 9, EOS, PAD], [BOS, 5, 6, EOS]])
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 1, 1]])


@pytest.fixture(scope="module")
def golden() -> dict[str, torch.Tensor]:
    path = ROOT / "losses" / "losses.npz"
    if not path.is_file():
        pytest.skip(f"golden values are not at {path}; set MEDVLM_GOLDEN")
    with np.load(path) as stored:
        return {key: torch.as_tensor(stored[key]) for key in stored.files if key.startswith("lsce")}


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.2])
def test_equals_golden_loss_and_gradient(golden, smoothing):
    key = f"lsce/eps{smoothing}"
    logits = golden["lsce/logits"].clone().requires_grad_()
    targets, pad = golden["lsce/targets"], int(golden["lsce/pad_id"])
    loss = CaptioningLoss(smoothing, ignore_index=pad)
    per_token = loss.per_token(logits, targets)
    assert len(per_token) == int(golden[f"{key}/n_tokens"])
    expected = golden[f"{key}/per_token"][targets != pad].float()
    torch.testing.assert_close(per_token.detach(), expected, rtol=1e-5, atol=1e-6)
    value = loss(logits, targets)
    value.backward()
    torch.testing.assert_close(value.detach(), golden[f"{key}/loss"].float(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(logits.grad, golden[f"{key}/grad_logits"], rtol=1e-4, atol=1e-7)


def test_each_position_predicts_the_one_after_it_up_to_the_end_token():
    assert next_tokens(IDS, MASK).tolist() == [[7, 8, EOS], [9, EOS, IGNORED], [5, 6, EOS]]


def test_end_token_is_learnt_where_it_also_pads():
    assert next_tokens(torch.tensor([[BOS, 9, EOS, EOS]]), MASK[1:2]).tolist() == [[9, EOS, IGNORED]]


def test_unknown_reports_have_nothing_to_predict():
    targets = next_tokens(IDS, MASK, known=torch.tensor([1.0, 0.0, 0.0]))
    assert targets.tolist() == [[7, 8, EOS], [IGNORED] * 3, [IGNORED] * 3]


def test_padding_has_no_influence():
    logits = torch.randn(3, 3, 11, generator=torch.Generator().manual_seed(0))
    targets = next_tokens(IDS, MASK)
    changed = logits.clone()
    changed[1, 2] = float("nan")
    assert torch.equal(CaptioningLoss()(changed, targets), CaptioningLoss()(logits, targets))


def test_nothing_to_predict_is_zero_with_a_gradient():
    logits = torch.randn(2, 3, 5, requires_grad=True)
    loss = CaptioningLoss(0.1)(logits, torch.full((2, 3), IGNORED))
    loss.backward()
    assert loss.item() == 0 and (logits.grad == 0).all()


def test_certain_and_right_costs_nothing():
    targets = next_tokens(IDS, MASK)
    logits = 100.0 * torch.nn.functional.one_hot(targets.clamp(min=0), 11).float()
    assert CaptioningLoss()(logits, targets).item() == pytest.approx(0, abs=1e-6)


def test_unshifted_logits_are_refused():
    with pytest.raises(ValueError, match="leave the last out"):
        CaptioningLoss()(torch.zeros(3, 4, 11), next_tokens(IDS, MASK))


def test_mask_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"both be \(B, L\)"):
        next_tokens(IDS, MASK[:, 1:])


def test_smoothing_of_one_is_refused():
    with pytest.raises(ValueError, match=r"in \[0, 1\), got 1"):
        CaptioningLoss(1)
