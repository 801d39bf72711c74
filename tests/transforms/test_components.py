"""Specks are dropped, lesions and pictures are not."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor

from transforms import DropSmallComponents, DropSmallComponentsd


def volume():
    probability = torch.full((1, 20, 20, 10), 0.1)
    probability[0, 2:4, 2:4, 2:4] = 0.9  # 8 voxels
    probability[0, 10:16, 10:16, 2:8] = 0.8  # 216 voxels
    return probability


def test_small_components_fall_below_the_threshold_and_large_ones_stay():
    out = DropSmallComponents(min_ml=0.1)(volume())
    assert 0.1 < out[0, 2, 2, 2] < 0.5
    assert torch.equal(out[0, 10:16, 10:16, 2:8], volume()[0, 10:16, 10:16, 2:8])


def test_the_volume_counts_in_millilitres():
    affine = torch.diag(torch.tensor([3.0, 3.0, 3.0, 1.0]))
    out = DropSmallComponents(min_ml=0.1)(MetaTensor(volume(), affine=affine))  # 8 voxels are 0.216 mL
    assert torch.equal(torch.as_tensor(out), volume())


def test_a_picture_is_left_alone():
    picture = volume()[..., 2:3]
    assert torch.equal(DropSmallComponents(min_ml=5)(picture), picture)


def test_the_input_is_not_changed():
    before = volume()
    DropSmallComponentsd("p", min_ml=0.1)({"p": before})
    assert torch.equal(before, volume())


def test_a_negative_volume_is_refused():
    with pytest.raises(ValueError, match="min_ml must not be negative"):
        DropSmallComponents(min_ml=-1)
