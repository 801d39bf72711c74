"""Decoder of a U-Net with optional attention gates."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.blocks import UpSample
from torch import Tensor, nn

from medvlm.networks.blocks.attention_gate import AttentionGate, OpenGate
from medvlm.networks.blocks.conv_stage import conv_stage


class AttentionUNetDecoder(nn.Module):
    """Bring the coarsest map back to the finest one, taking a skip connection in at each level.

    Args:
        spatial_dims: 2 or 3.
        encoder_channels: channels of the encoder's maps, finest to coarsest (its ``output_channels``).
        encoder_strides: strides of the encoder's maps (its ``strides``).
        attention: whether an ``AttentionGate`` weighs each skip connection.
        norm: MONAI's normalisation, a name or ``(name, arguments)``.
        block: ``"residual"`` or ``"plain"`` stages.

    Attributes:
        output_channels: channels of the map that ``forward`` returns.
        output_stride: its stride against the image.
    """

    def __init__(
        self,
        spatial_dims: int,
        encoder_channels: Sequence[int],
        encoder_strides: Sequence[int],
        attention: bool = True,
        norm: tuple | str = ("GROUP", {"num_groups": 8}),
        block: str = "plain",
    ) -> None:
        super().__init__()
        self.output_channels = encoder_channels[0]
        self.output_stride = encoder_strides[0]
        ups, gates, stages = [], [], []
        for level in range(len(encoder_channels) - 2, -1, -1):
            skip, coarse = encoder_channels[level], encoder_channels[level + 1]
            factor = encoder_strides[level + 1] // encoder_strides[level]
            ups.append(UpSample(spatial_dims, coarse, skip, scale_factor=factor, mode="deconv"))
            gates.append(AttentionGate(spatial_dims, skip, coarse, stride=factor) if attention else OpenGate())
            stages.append(conv_stage(block, spatial_dims, 2 * skip, skip, 1, norm))
        self.ups, self.gates, self.stages = nn.ModuleList(ups), nn.ModuleList(gates), nn.ModuleList(stages)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Decode the maps of an encoder.

        Args:
            features: ``(B, encoder_channels[i], *S / encoder_strides[i])``, finest to coarsest. The list is emptied:
                at inference each map is let go as soon as it is used, which halves the peak of a large volume.

        Returns:
            ``(B, output_channels, *S / output_stride)``.
        """
        current = features.pop()
        for up, gate, stage in zip(self.ups, self.gates, self.stages):  # noqa: B905  TorchScript knows no strict
            skip = features.pop()
            gated = gate(skip, current)
            del skip  # as early as it can go: without gradients this is the peak of a volume's memory
            raised = up(current)
            del current
            joined = torch.cat([gated, raised], dim=1)
            del gated, raised
            current = stage(joined)
        return current
