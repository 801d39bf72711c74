"""Decoder of a U-Net."""

from __future__ import annotations

import pytest
import torch

from medvlm.networks.blocks.attention_gate import AttentionGate
from medvlm.networks.decoders.attention_unet import AttentionUNetDecoder


@pytest.mark.parametrize("attention", [True, False])
@pytest.mark.parametrize(("spatial_dims", "finest"), [(2, (16, 8)), (3, (8, 8, 4))], ids=["2d", "3d"])
def test_ends_on_the_finest_map(spatial_dims, finest, attention):
    decoder = AttentionUNetDecoder(spatial_dims, (8, 16, 32), (2, 4, 8), attention=attention)
    maps = [torch.randn(2, 8 * 2**i, *(side // 2**i for side in finest)) for i in range(3)]
    assert decoder(maps).shape == (2, 8, *finest)
    assert (decoder.output_channels, decoder.output_stride) == (8, 2)
    assert sum(isinstance(m, AttentionGate) for m in decoder.modules()) == (2 if attention else 0)


@pytest.mark.parametrize("attention", [True, False])
def test_every_map_matters(attention):
    decoder = AttentionUNetDecoder(2, (8, 16, 32), (1, 2, 4), attention=attention)
    maps = [torch.randn(1, 8 * 2**i, 8 // 2**i, 8 // 2**i, requires_grad=True) for i in range(3)]
    decoder(maps).square().sum().backward()
    assert all(m.grad.abs().sum() > 0 for m in maps)
