"""From a volume to a picture: which slice, which grey window, which way up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def as_volume(array: Any, name: str) -> np.ndarray:
    """Make ``(X, Y)`` or ``(X, Y, Z)`` a float32 ``(X, Y, Z)`` array without NaN or infinity.

    Raises:
        ValueError: when the array has another number of dimensions or no element.
    """
    volume = np.asarray(array)
    if volume.ndim == 2:
        volume = volume[..., None]
    if volume.ndim != 3 or volume.size == 0:
        raise ValueError(
            f"{name} must be (X, Y) or (X, Y, Z), got shape {np.shape(array)}; pick one channel first, as in {name}[0]."
        )
    volume = volume.astype(np.float32)
    finite = np.isfinite(volume)
    return volume if finite.all() else np.where(finite, volume, np.float32(0))


def as_regions(array: Any, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Make a mask of one region, or of R regions with the region first, a boolean ``(R, X, Y, Z)`` array on ``shape``.

    Args:
        array: ``(X, Y)``, ``(X, Y, Z)``, or ``(R, X, Y, Z)``; above 0.5 is inside.
        name: what the error calls it.
        shape: ``(X, Y, Z)`` of the image.

    Raises:
        ValueError: when the mask is not on the image's grid.
    """
    mask = np.asarray(array)
    flat = shape[2] == 1
    if mask.shape == shape:
        mask = mask[None]
    elif flat and mask.shape == shape[:2]:
        mask = mask[None, ..., None]
    elif flat and mask.ndim == 3 and mask.shape[1:] == shape[:2]:
        mask = mask[..., None]
    if mask.ndim == 4 and mask.shape[1:] == shape:
        return mask > 0.5
    raise ValueError(
        f"{name} must be {shape} like the image, or (R, *{shape}) for R regions, got {mask.shape}; "
        "put the prediction back on the image's grid first."
    )


def displayable(volume: np.ndarray, percentiles: tuple[float, float] = (1.0, 99.8)) -> tuple[np.ndarray, float, float]:
    """Find the grey values shown as black and white, and make the background black.

    The background is 0 or the lowest value, whichever fills more, when it fills at least a twentieth of the volume; in
    a z-scored volume it is 0, in the middle of the brain's values, and would be shown grey.

    Args:
        volume: ``(X, Y, Z)``, finite.
        percentiles: of the voxels that are not background.

    Returns:
        The volume to show, and the values of black and white; a constant image is shown mid-grey.
    """
    lowest = volume.min()
    background = volume == (0 if (volume == 0).sum() >= (volume == lowest).sum() else lowest)
    if not 0.05 <= background.mean() < 1:
        background = np.zeros(volume.shape, bool)
    inside = volume[~background]
    low, high = np.percentile(inside[:: max(1, inside.size // 500_000)], percentiles)
    if not high > low:
        low, high = float(inside.min()), float(inside.max())
    if not high > low:
        low, high = (low - 0.5, low + 0.5) if not background.any() else (low - 1.0, low)
    return np.where(background, np.float32(low), volume), float(low), float(high)


def slice_words(index: int, slices: int) -> str:
    """Say which slice is shown, counted from 1 at the feet; nothing of an image of one slice.

    Args:
        index: of the axial slice, from 0.
        slices: how many the volume has.
    """
    return f"axial slice {index + 1} of {slices}" if slices > 1 else ""


def content_box(
    shown: np.ndarray, low: float, high: float, regions: Sequence[np.ndarray] = (), margin: float = 0.05
) -> tuple[slice, slice]:
    """Find the part of a plane worth showing: the head, and everything that a mask or a map marks, even outside it.

    Args:
        shown: ``(X, Y)`` or ``(X, Y, Z)`` as ``displayable`` gives it.
        low: the value of black.
        high: the value of white.
        regions: boolean ``(X, Y)`` planes that must stay in view.
        margin: left around, as a share of the side.

    Returns:
        Slices along x and y; the whole plane where nothing stands out.
    """
    content = shown > low + 0.08 * (high - low)
    content = content.any(axis=2) if content.ndim == 3 else content
    box = []
    for axis in (0, 1):
        size = content.shape[axis]
        busy = content.mean(axis=1 - axis) > 0.01  # a few noisy pixels are no head
        for region in regions:
            busy = busy | region.any(axis=1 - axis)
        found = np.flatnonzero(busy)
        if not found.size:
            return slice(None), slice(None)
        pad = int(np.ceil(margin * (found[-1] - found[0] + 1)))
        box.append(slice(max(0, int(found[0]) - pad), min(size, int(found[-1]) + 1 + pad)))
    return box[0], box[1]


def informative_slice(image: np.ndarray, *maps: np.ndarray | None) -> int:
    """Choose the axial slice that shows most.

    Args:
        image: ``(X, Y, Z)``.
        maps: in order of preference, masks ``(R, X, Y, Z)`` or maps ``(X, Y, Z)``; masks are added up, so that a slice
            that truth and prediction share comes first, and a map counts only where no mask is set.

    Returns:
        Index along Z; the slice with most non-background voxels where nothing else decides.
    """
    masks = [m for m in maps if m is not None and m.ndim == 4]
    area = sum((m.any(axis=0).sum(axis=(0, 1)) for m in masks), start=np.zeros(image.shape[2]))
    if area.any():
        return int(area.argmax())
    for other in maps:
        if other is not None and other.ndim == 3 and np.ptp(other) > 0:
            return int(other.sum(axis=(0, 1)).argmax())
    shown, low, high = displayable(image)
    content = (shown > low + 0.1 * (high - low)).sum(axis=(0, 1)).astype(float)
    if content.max() == content.min():
        return image.shape[2] // 2
    wide = np.flatnonzero(content >= 0.95 * content.max())  # the middle of the widest part of the head
    return int(wide[len(wide) // 2])


def upright(plane: np.ndarray) -> np.ndarray:
    """Turn an LPS plane ``(X, Y)`` into rows and columns: the patient's left on the viewer's right, front on top."""
    return plane.T
