"""A set of views of which some are absent: encode those that exist, and put the results back in their places."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def gather_views(video: Tensor, view_mask: Tensor) -> tuple[Tensor, Tensor]:
    """Take the views that exist.

    Args:
        video: ``(B, N, C, T, H, W)``; what is masked may hold anything.
        view_mask: ``(B, N)`` bool, False = absent or unreadable.

    Returns:
        ``(V, C, T, H, W)`` and the places ``(V,)`` in ``B * N`` that they come from. A batch without any view gives
        one blank view and no place, so that the network is run, and its shapes and its gradients (zeros) exist, in
        every process.
    """
    video = video.as_tensor() if hasattr(video, "as_tensor") else video  # a MetaTensor's affine is none of ours
    places = view_mask.flatten().nonzero().squeeze(1)  # (V,)
    if not len(places):
        return torch.zeros_like(video[:1, 0]), places
    views = video.flatten(0, 1)
    return (views if len(places) == len(views) else views[places]), places


def scatter_views(features: Tensor, places: Tensor, batch: int, views: int) -> Tensor:
    """Put the features of the views that exist back; zeros elsewhere.

    Args:
        features: ``(V, ...)`` of the gathered views.
        places: from ``gather_views``.
        batch: B.
        views: N.

    Returns:
        ``(B, N, ...)``.
    """
    if len(places) == batch * views:
        return features.unflatten(0, (batch, views))
    result = features.new_zeros(batch * views, *features.shape[1:])
    if len(places):
        result = result.index_copy(0, places, features)
    elif features.is_floating_point():
        result = result + 0.0 * features.sum()  # keeps the graph; the blank view has no influence
    return result.unflatten(0, (batch, views))


def encode_views(encoder: Callable[[Tensor], dict[str, Tensor]], video: Tensor, view_mask: Tensor) -> dict[str, Tensor]:
    """Run an encoder on the views that exist.

    Args:
        encoder: ``(V, C, T, H, W)`` → named features ``(V, ...)``.
        video: ``(B, N, C, T, H, W)``.
        view_mask: ``(B, N)`` bool.

    Returns:
        The features ``(B, N, ...)`` by the same names, zeros for the other views, which are never encoded.
    """
    views, places = gather_views(video, view_mask)
    return {
        name: scatter_views(features, places, *video.shape[:2])
        for name, features in encoder(views).items()
        if isinstance(features, Tensor)
    }


def complete_views(video: Tensor, view_mask: Tensor | None, angles: Tensor | None) -> tuple[Tensor, Tensor]:
    """Check the videos ``(B, N, C, T, H, W)``; the mask as bool and the angles, where absent those of the defaults.

    Raises:
        ValueError: if a shape does not fit.
    """
    if video.ndim != 6:
        raise ValueError(f"video must be (B, N, C, T, H, W), got {tuple(video.shape)}; one video a study has N = 1.")
    batch, views = video.shape[:2]
    if view_mask is None:
        view_mask = torch.ones(batch, views, dtype=torch.bool, device=video.device)
    if angles is None:
        angles = torch.zeros(batch, views, 6, device=video.device)
    if tuple(view_mask.shape) != (batch, views) or tuple(angles.shape) != (batch, views, 6):
        raise ValueError(
            f"video {tuple(video.shape)} needs view_mask ({batch}, {views}) and angles ({batch}, {views}, 6), got "
            f"{tuple(view_mask.shape)} and {tuple(angles.shape)}."
        )
    return view_mask.bool(), angles


def chosen_views(view_mask: Tensor, count: float | None, draw: bool) -> Tensor:
    """Some of the views that exist.

    Args:
        view_mask: ``(B, N)`` bool.
        count: at most so many of each study; None: all. Below 1: one view each of this share of the studies that have
            any, at least of one, where they are drawn; of every study where they are not.
        draw: at random; otherwise the first ones.

    Returns:
        ``(B, N)`` bool.
    """
    if count is None or count >= view_mask.shape[1]:
        return view_mask
    values = torch.rand if draw else torch.zeros
    rank = _rank(values(view_mask.shape, device=view_mask.device), view_mask)
    chosen = view_mask & (rank < max(1, count))
    if count >= 1 or not draw:
        return chosen
    there = view_mask.any(dim=1)
    kept = (count * there.sum()).round().clamp(min=1)
    return chosen & (_rank(torch.rand(there.shape, device=there.device), there) < kept)[:, None]


def _rank(values: Tensor, mask: Tensor) -> Tensor:
    """Place of each value in [0, 1] of a row in ascending order; those that are masked (False) last."""
    return values.masked_fill(~mask, 2.0).argsort(dim=-1, stable=True).argsort(dim=-1)
