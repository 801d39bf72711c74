"""Hide tokens of a video from an encoder: in the pixels, and at the tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from medvlm.networks.blocks.relative_positions import Grid


def mask_on_grid(mask: Tensor, grids: Sequence[Grid]) -> Tensor:
    """Find the grid that a mask of tokens was made for.

    Args:
        mask: ``(B, t * h * w)`` bool, or ``(B, t, h, w)``.
        grids: the grids that are possible.

    Returns:
        ``(B, t, h, w)`` bool.

    Raises:
        ValueError: if the mask has another number of tokens than each of the grids.
    """
    if mask.ndim == 4:
        return mask.bool()
    for t, h, w in grids:
        if mask.ndim == 2 and mask.shape[1] == t * h * w:
            return mask.bool().reshape(-1, t, h, w)
    raise ValueError(
        f"the mask must be (B, t * h * w) for a grid among {[tuple(g) for g in grids]}, got {tuple(mask.shape)}; "
        "make it for the encoder's grid(T, H, W)."
    )


def resized_mask(mask: Tensor, sizes: Sequence[int]) -> Tensor:
    """Bring a mask ``(B, t, h, w)`` to another grid; each cell takes the value of the cell that it lies in."""
    if tuple(mask.shape[1:]) == tuple(sizes):
        return mask
    return functional.interpolate(mask[:, None].float(), size=tuple(sizes), mode="nearest")[:, 0] > 0.5


def hide_pixels(video: Tensor, mask: Tensor) -> Tensor:
    """Set the pixels under a mask to zero, so that convolutions that overlap carry nothing of them to their neighbours.

    Args:
        video: ``(B, C, T, H, W)``.
        mask: ``(B, t, h, w)`` bool, True = hidden.

    Returns:
        ``(B, C, T, H, W)``.
    """
    return video.masked_fill(resized_mask(mask, video.shape[2:])[:, None], 0.0)


def replace_tokens(tokens: Tensor, mask: Tensor, mask_token: Tensor) -> Tensor:
    """Put a learned token where the mask is True.

    Args:
        tokens: ``(B, L, C)``.
        mask: ``(B, L)`` bool.
        mask_token: ``(C,)``.

    Returns:
        ``(B, L, C)``.
    """
    return torch.where(mask[..., None], mask_token.to(tokens.dtype), tokens)
