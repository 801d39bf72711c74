"""The batch on its way to the trainer."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor

from medvlm.engines.batch import PrepareMultiTaskBatch


def batch():
    return {
        "image": MetaTensor(torch.rand(2, 1, 8, 8)),
        "label": torch.ones(2, 1, 8, 8, dtype=torch.uint8),
        "mask_known": torch.tensor([1.0, 0.0]),
        "tumour": torch.tensor([1, 0]),
        "tumour_known": torch.tensor([1.0, 1.0]),
    }


def test_targets_are_named_and_typed():
    image, targets = PrepareMultiTaskBatch()(batch())
    assert type(image) is torch.Tensor and image.shape == (2, 1, 8, 8)
    assert targets["mask"].dtype == torch.float32 and targets["tumour"].dtype == torch.long
    assert targets["mask_known"].tolist() == [1.0, 0.0]


def test_a_missing_flag_is_an_error_that_names_it():
    data = batch()
    del data["mask_known"]
    with pytest.raises(KeyError, match=r"lacks \['mask_known'\]"):
        PrepareMultiTaskBatch()(data)


def test_an_unknown_target_is_refused():
    with pytest.raises(ValueError, match="must be among"):
        PrepareMultiTaskBatch(targets=["grade"])


def test_the_network_is_told_which_masks_are_known():
    image, targets, positional, named = PrepareMultiTaskBatch(skip_unknown_masks=True)(batch())
    assert image.shape == (2, 1, 8, 8) and set(targets) == {"mask", "mask_known", "tumour", "tumour_known"}
    assert positional == () and named["masked"].tolist() == [True, False]


def test_without_masks_there_is_nothing_to_skip():
    assert len(PrepareMultiTaskBatch(targets=["tumour"], skip_unknown_masks=True)(batch())) == 2
