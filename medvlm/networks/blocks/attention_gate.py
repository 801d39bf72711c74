"""Additive attention gate for skip connections."""

from __future__ import annotations

import torch
from monai.networks.blocks import UpSample
from monai.networks.layers import Conv
from torch import Tensor, nn


class AttentionGate(nn.Module):
    """Weigh a skip connection by what the coarser decoder features are looking for.

    The gate is computed on the coarse grid (the skip is brought there by a strided convolution) and only the one
    channel of coefficients is upsampled, so that it costs a few per cent of the stage it serves. MONAI's
    ``AttentionBlock`` computes it on the fine grid and fixes BatchNorm inside; here no normalisation is needed,
    because both inputs come out of normalised stages.

    Args:
        spatial_dims: 2 or 3.
        skip_channels: channels of the skip connection.
        gating_channels: channels of the coarser decoder features.
        inner_channels: width of the gate; half the skip's channels by default.
        stride: how much coarser the gating features are.

    Reference:
        Oktay et al., "Attention U-Net: Learning Where to Look for the Pancreas", 2018,
        https://arxiv.org/abs/1804.03999. Deviation: no 1x1 convolution and BatchNorm after the product.
    """

    def __init__(
        self,
        spatial_dims: int,
        skip_channels: int,
        gating_channels: int,
        inner_channels: int | None = None,
        stride: int = 2,
    ) -> None:
        super().__init__()
        inner = inner_channels or max(skip_channels // 2, 1)
        convolution = Conv[Conv.CONV, spatial_dims]
        self.skip_projection = convolution(skip_channels, inner, kernel_size=stride, stride=stride, bias=False)
        self.gating_projection = convolution(gating_channels, inner, kernel_size=1)
        self.score = convolution(inner, 1, kernel_size=1)
        self.upsample = UpSample(
            spatial_dims, 1, 1, scale_factor=stride, mode="nontrainable", interp_mode="linear", align_corners=False
        )

    def attention(self, skip: Tensor, gating: Tensor) -> Tensor:
        """Coefficients of the skip connection.

        Args:
            skip: ``(B, C, *S)``.
            gating: ``(B, C_g, *S / stride)``.

        Returns:
            ``(B, 1, *S)`` in 0..1.
        """
        hidden = torch.relu(self.skip_projection(skip) + self.gating_projection(gating))  # (B, inner, *S / stride)
        return self.upsample(torch.sigmoid(self.score(hidden)))  # (B, 1, *S)

    def forward(self, skip: Tensor, gating: Tensor) -> Tensor:
        """Return the weighted skip connection.

        Args:
            skip: ``(B, C, *S)``.
            gating: ``(B, C_g, *S / stride)``.

        Returns:
            ``(B, C, *S)``.
        """
        return skip * self.attention(skip, gating)


class OpenGate(nn.Module):
    """Let the skip connection through as it is; stands in for ``AttentionGate`` where attention is off."""

    def forward(self, skip: Tensor, gating: Tensor) -> Tensor:
        """Return ``skip`` ``(B, C, *S)``."""
        return skip
