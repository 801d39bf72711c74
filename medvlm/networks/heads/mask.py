"""Segmentation head."""

from __future__ import annotations

import torch
from monai.networks.layers import Conv
from torch import Tensor, nn


class MaskHead(nn.Module):
    """Logits of the regions on the image's grid.

    A decoder that ends on the image's grid gets a 1x1 convolution; one that ends ``stride`` times coarser gets a
    transposed convolution with that stride (a 1x1 convolution and a pixel shuffle in one operation), which starts as
    nearest-neighbour upsampling, so that it shows no checkerboard.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the decoder's map.
        regions: number of regions, each with its own sigmoid (applied by the user of the logits).
        stride: stride of the decoder's map against the image.
    """

    def __init__(self, spatial_dims: int, in_channels: int, regions: int, stride: int = 1) -> None:
        super().__init__()
        kind = Conv.CONV if stride == 1 else Conv.CONVTRANS
        self.logits = Conv[kind, spatial_dims](in_channels, regions, kernel_size=stride, stride=stride)
        if stride > 1:
            weight = self.logits.weight  # (C, R, stride, ...)
            with torch.no_grad():
                first = weight.flatten(2)[..., :1]  # (C, R, 1)
                weight.copy_(first.reshape(*first.shape[:2], *[1] * spatial_dims).expand_as(weight))

    def forward(self, features: Tensor) -> Tensor:
        """Return the logits.

        Args:
            features: ``(B, in_channels, *S / stride)``.

        Returns:
            ``(B, regions, *S)``.
        """
        return self.logits(features)
