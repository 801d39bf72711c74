"""Segmentation head."""

from __future__ import annotations

import pytest
import torch

from medvlm.networks.heads.mask import MaskHead


@pytest.mark.parametrize(
    ("spatial_dims", "stride", "shape", "expected"),
    [
        (2, 1, (2, 8, 6, 4), (2, 3, 6, 4)),
        (2, 2, (2, 8, 6, 4), (2, 3, 12, 8)),
        (3, 4, (1, 8, 2, 3, 4), (1, 3, 8, 12, 16)),
    ],
)
def test_logits_lie_on_the_grid_of_the_image(spatial_dims, stride, shape, expected):
    assert MaskHead(spatial_dims, 8, 3, stride)(torch.randn(shape)).shape == expected


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_coarse_decoder_starts_as_nearest_neighbour(spatial_dims):
    logits = MaskHead(spatial_dims, 8, 2, stride=2)(torch.randn(1, 8, *[4] * spatial_dims))
    coarse = logits[(slice(None), slice(None), *[slice(None, None, 2)] * spatial_dims)]
    torch.testing.assert_close(logits, torch.nn.functional.interpolate(coarse, scale_factor=2.0, mode="nearest"))
    assert coarse.std() > 0
