"""Patches of videos: cutting, how much they move, and what a masked model is to predict of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

PATCH = (2, 16, 16)


def patch_grid(video: Tensor, patch: Sequence[int] = PATCH) -> tuple[int, int, int]:
    """How many patches ``(t, h, w)`` a video ``(..., T, H, W)`` has.

    Raises:
        ValueError: if a side is not divisible.
    """
    sides = tuple(video.shape[-3:])
    if any(side % step for side, step in zip(sides, patch, strict=True)):
        raise ValueError(
            f"frames, height and width must be divisible by the patch {tuple(patch)}, got {sides}; change the size of "
            "the clips or of the patch."
        )
    t, h, w = (side // step for side, step in zip(sides, patch, strict=True))
    return t, h, w


def patchify(video: Tensor, patch: Sequence[int] = PATCH) -> Tensor:
    """Cut videos into patches.

    Args:
        video: ``(B, C, T, H, W)``, sides divisible by the patch.
        patch: frames, rows and columns of a patch.

    Returns:
        ``(B, L, P, C)``: patches in the order t, h, w, and P = frames × rows × columns values of each in this order.

    Raises:
        ValueError: if a side is not divisible.
    """
    t, h, w = patch_grid(video, patch)
    batch, channels = video.shape[:2]
    blocks = video.reshape(batch, channels, t, patch[0], h, patch[1], w, patch[2])
    return blocks.permute(0, 2, 4, 6, 3, 5, 7, 1).reshape(batch, t * h * w, -1, channels)


def unpatchify(patches: Tensor, grid: Sequence[int], patch: Sequence[int] = PATCH) -> Tensor:
    """Undo ``patchify``: ``(B, L, P, C)`` to ``(B, C, T, H, W)``."""
    batch, _, _, channels = patches.shape
    blocks = patches.reshape(batch, *grid, *patch, channels).permute(0, 7, 1, 4, 2, 5, 3, 6)
    return blocks.reshape(batch, channels, *(g * p for g, p in zip(grid, patch, strict=True)))


def pixel_target(
    video: Tensor, patch: Sequence[int] = PATCH, normalised: bool = True, floor_std: float = 1e-2
) -> Tensor:
    """What a masked model is to predict of each patch.

    Args:
        video: ``(B, C, T, H, W)``.
        patch: frames, rows and columns of a patch.
        normalised: each channel of a patch minus its mean, over its standard deviation (unbiased) + 1e-6.
        floor_std: the standard deviation counts as at least this, in the video's units, so that the noise of a flat
            background is not blown up to the size of a vessel.

    Returns:
        ``(B, L, P * C)`` float32 without gradient, the channel fastest.

    Raises:
        ValueError: if a side is not divisible, or ``floor_std`` is negative.

    Reference:
        Tong et al., "VideoMAE", 2022, https://arxiv.org/abs/2203.12602. Deviation: the floor.
    """
    if floor_std < 0:
        raise ValueError(f"floor_std must not be negative, got {floor_std}.")
    patches = patchify(video.detach().float(), patch)  # (B, L, P, C)
    if normalised:
        centred = patches - patches.mean(dim=2, keepdim=True)
        deviation = (centred.square().sum(dim=2, keepdim=True) / max(1, patches.shape[2] - 1)).sqrt()
        patches = centred / (deviation.clamp_min(floor_std) + 1e-6)
    return patches.flatten(2)


def motion_saliency(video: Tensor, grid: Sequence[int]) -> Tensor:
    """How much each patch changes: mean absolute difference to the frame before, which is large at moving vessels.

    Args:
        video: ``(B, C, T, H, W)``.
        grid: patches ``(t, h, w)``; may be any.

    Returns:
        ``(B, t * h * w)``, not negative; a still video gives zeros.
    """
    video = video.detach().float()
    change = video.diff(dim=2).abs().mean(dim=1, keepdim=True)  # (B, 1, T - 1, H, W)
    if not change.shape[2]:
        change = torch.zeros_like(video[:, :1])
    change = torch.cat([change[:, :, :1], change], dim=2)
    return F.adaptive_avg_pool3d(change, tuple(grid)).flatten(1)
