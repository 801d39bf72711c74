"""One resolution level of a U-Net."""

from __future__ import annotations

from monai.networks.blocks.dynunet_block import UnetBasicBlock, UnetResBlock
from torch import nn

BLOCKS = {"residual": UnetResBlock, "plain": UnetBasicBlock}


def check_norm_fits(norm: tuple | str, channels: tuple[int, ...]) -> None:
    """Refuse group counts that do not divide the channels.

    Args:
        norm: MONAI's normalisation, a name or ``(name, arguments)``.
        channels: the channels of every stage that uses it.

    Raises:
        ValueError: if a GroupNorm's ``num_groups`` does not divide one of ``channels``.
    """
    name, arguments = (norm, {}) if isinstance(norm, str) else norm
    if str(name).lower() != "group":
        return
    groups = dict(arguments).get("num_groups")
    bad = [c for c in channels if groups is None or c % groups]
    if bad:
        raise ValueError(
            f"GroupNorm needs a num_groups that divides the channels of every stage, got num_groups={groups} and "
            f"channels {bad}; choose another number of groups or other features."
        )


def conv_stage(
    kind: str, spatial_dims: int, in_channels: int, out_channels: int, stride: int, norm: tuple | str
) -> nn.Module:
    """Build two 3x3 convolutions with normalisation and LeakyReLU, residual or plain.

    Args:
        kind: ``"residual"`` or ``"plain"``.
        spatial_dims: 2 or 3.
        in_channels: channels that come in.
        out_channels: channels that go out.
        stride: stride of the first convolution.
        norm: MONAI's normalisation, a name or ``(name, arguments)``.

    Raises:
        ValueError: if ``kind`` is not known.
    """
    if kind not in BLOCKS:
        raise ValueError(f"block must be one of {sorted(BLOCKS)}, got {kind!r}.")
    return BLOCKS[kind](spatial_dims, in_channels, out_channels, kernel_size=3, stride=stride, norm_name=norm)
