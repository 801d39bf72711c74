"""The masked patches' error equals VideoMAE's."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from medvlm.losses.masked_video import MaskedVideoLoss

ROOT = Path(os.environ.get("MEDVLM_GOLDEN", Path(__file__).parents[3] / "shared" / "golden"))


@pytest.mark.parametrize("case", ["p16_norm", "p16_raw", "p8_norm"])
def test_equals_videomae_loss_and_gradient(case):
    path = ROOT / "videomae" / "target.npz"
    if not path.is_file():
        pytest.skip(f"golden values are not at {path}; set MEDVLM_GOLDEN")
    with np.load(path) as stored:
        pred = torch.as_tensor(stored[f"{case}/pred"]).flatten(0, 1).requires_grad_()  # (M, P)
        target = torch.as_tensor(stored[f"{case}/target_masked_engine_f32"]).flatten(0, 1)
        expected, size = float(stored[f"{case}/loss_engine_f32"]), float(stored[f"{case}/grad_pred_l2"])
    loss = MaskedVideoLoss()(pred, target)
    loss.backward()
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    assert pred.grad.norm().item() == pytest.approx(size, rel=1e-5)


@pytest.mark.parametrize(("kind", "expected"), [("mse", 2.5), ("l1", 1.5), ("smooth_l1", 1.0)])
def test_distances_by_hand(kind, expected):
    loss = MaskedVideoLoss(kind)
    pred, target = torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[0.0, 0.0], [0.0, 0.0]])
    assert loss.per_patch(pred, target).tolist() == [expected, 0.0]
    assert loss(pred, target).item() == expected / 2


def test_the_target_receives_no_gradient():
    pred, target = torch.ones(2, 3, requires_grad=True), torch.zeros(2, 3, requires_grad=True)
    MaskedVideoLoss()(pred, target).backward()
    assert target.grad is None and pred.grad.abs().sum() > 0


def test_no_patches_is_zero_with_a_gradient():
    pred = torch.zeros(0, 3, requires_grad=True)
    loss = MaskedVideoLoss()(pred, torch.zeros(0, 3))
    loss.backward()
    assert loss.item() == 0 and pred.grad.shape == (0, 3)


def test_shapes_that_would_be_broadcast_are_refused():
    with pytest.raises(ValueError, match="same shape"):
        MaskedVideoLoss()(torch.zeros(4, 3), torch.zeros(1, 3))


def test_unknown_distance_is_refused():
    with pytest.raises(ValueError, match="got 'l2'"):
        MaskedVideoLoss("l2")
