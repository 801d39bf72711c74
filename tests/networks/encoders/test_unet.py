"""Encoder of a U-Net."""

from __future__ import annotations

import pytest
import torch

from medvlm.networks.encoders.unet import UNetEncoder


@pytest.mark.parametrize(
    ("settings", "shape", "expected"),
    [
        ({"spatial_dims": 2, "in_channels": 1}, (2, 1, 16, 24), [(2, 8, 16, 24), (2, 16, 8, 12), (2, 32, 4, 6)]),
        ({"spatial_dims": 2, "in_channels": 4, "stem_stride": 2}, (1, 4, 16, 8),
         [(1, 8, 8, 4), (1, 16, 4, 2), (1, 32, 2, 1)]),
        ({"spatial_dims": 3, "in_channels": 4, "stem_stride": 4}, (1, 4, 16, 16, 32),
         [(1, 8, 4, 4, 8), (1, 16, 2, 2, 4), (1, 32, 1, 1, 2)]),
        ({"spatial_dims": 3, "in_channels": 2, "block": "plain", "norm": "BATCH"}, (1, 2, 8, 8, 8),
         [(1, 8, 8, 8, 8), (1, 16, 4, 4, 4), (1, 32, 2, 2, 2)]),
    ],
    ids=["2d", "2d stem 2", "3d stem 4", "3d plain"],
)
def test_maps_have_the_published_channels_and_strides(settings, shape, expected):
    encoder = UNetEncoder(features=(8, 16, 32), **settings)
    maps = encoder(torch.randn(shape))
    assert [tuple(m.shape) for m in maps] == expected
    assert tuple(m.shape[1] for m in maps) == encoder.output_channels
    assert tuple(shape[2] // m.shape[2] for m in maps) == encoder.strides


def test_dropout_acts_on_the_two_coarsest_maps_in_training():
    torch.manual_seed(0)
    encoder = UNetEncoder(2, 1, (8, 16, 32), dropout=0.5).train()
    image = torch.randn(1, 1, 16, 16)
    same = [torch.equal(a, b) for a, b in zip(encoder(image), encoder(image), strict=True)]
    assert same == [True, False, False]
    encoder.eval()
    assert all(torch.equal(a, b) for a, b in zip(encoder(image), encoder(image), strict=True))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"features": (8,)}, "at least two stages"),
        ({"features": (8, 16), "stem_stride": 3}, "stem_stride must be 1, 2 or 4, got 3"),
        ({"features": (8, 12), "norm": ("GROUP", {"num_groups": 8})}, r"num_groups=8 and channels \[12\]"),
        ({"features": (8, 16), "norm": "GROUP"}, "num_groups=None"),
        ({"features": (8, 16), "block": "dense"}, r"one of \['plain', 'residual'\], got 'dense'"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        UNetEncoder(2, 1, **settings)
