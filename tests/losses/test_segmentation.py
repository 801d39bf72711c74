"""Dice and cross-entropy of regions, one value a sample."""

from __future__ import annotations

import math

import pytest
import torch

from medvlm.losses import RegionLoss


def test_hand_computed_value():
    """Probability ½ everywhere, half of 4 voxels true: Dice 1 − (2·1 + 1)/(2 + 2 + 1), cross-entropy log 2."""
    target = torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]]])
    value = RegionLoss(smooth=1.0)(torch.zeros(1, 1, 2, 2), target)
    assert value.tolist() == pytest.approx([1 - 3 / 5 + math.log(2)])


def test_focal_hand_computed_value():
    target = torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]]])
    value = RegionLoss(dice=0.0, focal_gamma=2.0)(torch.zeros(1, 1, 2, 2), target)
    assert value.tolist() == pytest.approx([0.25 * math.log(2)])


@pytest.mark.parametrize("spatial", [(8, 8), (4, 4, 4)], ids=["2d", "3d"])
@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_zero_at_the_perfect_prediction(spatial, gamma):
    target = (torch.rand(2, 3, *spatial, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    target[1] = 0
    loss = RegionLoss(focal_gamma=gamma)((target * 2 - 1) * 40, target)
    assert loss.shape == (2,)
    assert loss.abs().max() < 1e-5


def test_empty_mask_pushes_every_voxel_down_where_all_voxels_count():
    pred = torch.zeros(1, 1, 16, 16, requires_grad=True)
    RegionLoss(hardest=1.0)(pred, torch.zeros(1, 1, 16, 16)).sum().backward()
    assert (pred.grad > 1e-5).all()


def test_empty_mask_pushes_its_false_voxels_down():
    pred = torch.full((1, 1, 16, 16), -5.0)
    pred[0, 0, 3, 3:5] = 2.0
    pred.requires_grad_()
    RegionLoss()(pred, torch.zeros(1, 1, 16, 16)).sum().backward()
    assert (pred.grad[0, 0, 3, 3:5] > 0.01).all()


def test_an_empty_region_has_no_dice_term():
    pred = torch.randn(1, 2, 16, 16, generator=torch.Generator().manual_seed(0))
    target = torch.zeros(1, 2, 16, 16)
    target[0, 1, 2:9, 3:7] = 1
    both = RegionLoss(cross_entropy=0.0)(pred, target)
    alone = RegionLoss(cross_entropy=0.0)(pred[:, 1:], target[:, 1:])
    assert both.item() == pytest.approx(alone.item() / 2)


@pytest.mark.parametrize("hardest", [0.0, 1.1])
def test_a_fraction_outside_its_range_is_refused(hardest):
    with pytest.raises(ValueError, match="hardest must lie in"):
        RegionLoss(hardest=hardest)


def test_gradient_agrees_with_finite_differences():
    generator = torch.Generator().manual_seed(0)
    pred = torch.randn(1, 2, 3, 3, generator=generator)
    target = (torch.rand(1, 2, 3, 3, generator=generator) > 0.5).float()
    leaf = pred.clone().requires_grad_()
    RegionLoss()(leaf, target).sum().backward()
    step = torch.zeros_like(pred)
    step[0, 1, 2, 0] = 1e-2
    numeric = (RegionLoss()(pred + step, target) - RegionLoss()(pred - step, target)).item() / 2e-2
    assert leaf.grad[0, 1, 2, 0].item() == pytest.approx(numeric, rel=1e-2)


def test_regions_overlap():
    """Both regions of a voxel can be right at once, which a softmax could not say."""
    target = torch.ones(1, 2, 4, 4)
    assert RegionLoss()(torch.full((1, 2, 4, 4), 30.0), target).item() < 1e-5


def test_samples_do_not_mix():
    generator = torch.Generator().manual_seed(0)
    pred = torch.randn(3, 1, 8, 8, generator=generator)
    target = (torch.rand(3, 1, 8, 8, generator=generator) > 0.5).float()
    together = RegionLoss()(pred, target)
    alone = torch.cat([RegionLoss()(pred[i : i + 1], target[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone)


@pytest.mark.parametrize("settings", [{"smooth": 0.0}, {"dice": 0.0, "cross_entropy": 0.0}, {"focal_gamma": -1.0}])
def test_wrong_settings_are_refused(settings):
    with pytest.raises(ValueError, match="must"):
        RegionLoss(**settings)
