"""Convolutional encoder of a U-Net."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from monai.networks.layers import get_dropout_layer
from torch import Tensor, nn

from medvlm.networks.blocks.conv_stage import check_norm_fits, conv_stage


class UNetEncoder(nn.Module):
    """Strided stages of double convolutions; publishes ``output_channels`` and ``strides`` for a decoder to read.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        features: channels of the stages, finest to coarsest; at least two.
        stem_stride: stride of the first stage; the later ones have 2.
        norm: MONAI's normalisation, a name or ``(name, arguments)``.
        block: ``"residual"`` or ``"plain"`` stages after the first, which is plain.
        dropout: probability with which whole channels of the two coarsest maps are dropped in training.

    Attributes:
        output_channels: channels of each map of ``forward``, finest to coarsest.
        strides: stride of each map against the image.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        features: Sequence[int],
        stem_stride: int = 1,
        norm: tuple | str = ("GROUP", {"num_groups": 8}),
        block: str = "residual",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        features = tuple(int(f) for f in features)
        if len(features) < 2:
            raise ValueError(f"features needs at least two stages, got {features}.")
        if stem_stride not in (1, 2, 4):
            raise ValueError(f"stem_stride must be 1, 2 or 4, got {stem_stride}.")
        check_norm_fits(norm, features)
        self.spatial_dims = spatial_dims
        self.in_channels = in_channels
        self.output_channels = features
        self.strides = tuple(stem_stride * 2**i for i in range(len(features)))
        # The first stage is plain: an image has no features for a shortcut to carry, and in torch 2.13 on a CPU the
        # weight gradient of a strided 1x1 convolution of one channels_last channel writes outside its memory.
        stages = [conv_stage("plain", spatial_dims, in_channels, features[0], stem_stride, norm)]
        for finer, coarser in itertools.pairwise(features):
            stages.append(conv_stage(block, spatial_dims, finer, coarser, 2, norm))
        self.stages = nn.ModuleList(stages)
        self.dropout = get_dropout_layer(("dropout", {"p": dropout}), dropout_dim=spatial_dims)
        self.first_dropped = len(features) - 2

    def check_input(self, image: Tensor) -> None:
        """Refuse an image that the stages cannot bring down and the decoder back up.

        Args:
            image: ``(B, C, *S)``.

        Raises:
            ValueError: if the number of axes, the channels or a side does not fit.
        """
        sides, divisor = tuple(image.shape[2:]), self.strides[-1]
        if len(sides) != self.spatial_dims or image.shape[1] != self.in_channels:
            raise ValueError(
                f"the network takes (B, {self.in_channels}, {self.spatial_dims} spatial sides), "
                f"got shape {tuple(image.shape)}; check spatial_dims and in_channels of the network and the "
                "channels that the preprocessing selects."
            )
        if any(int(side) % divisor for side in sides):
            raise ValueError(
                f"every spatial side must be divisible by {divisor}, got {sides}; choose a multiple of {divisor} "
                f"(image_size of the brain bundle), or pad the image with MONAI's DivisiblePad(k={divisor})."
            )

    def forward(self, image: Tensor) -> list[Tensor]:
        """Encode a batch of images.

        Args:
            image: ``(B, C, *S)``; sides divisible by ``strides[-1]``.

        Returns:
            One map a stage, finest to coarsest, ``(B, output_channels[i], *S / strides[i])``.
        """
        maps = []
        for index, stage in enumerate(self.stages):
            image = stage(image)
            if index >= self.first_dropped:
                image = self.dropout(image)
            maps.append(image)
        return maps
