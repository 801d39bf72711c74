"""From a volume to a picture: which slice, which grey window, which way up."""

from __future__ import annotations

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
    return np.nan_to_num(volume.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)


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
    grid = shape[:2] if shape[2] == 1 else shape
    for candidate in (mask[None, ..., None], mask[None], mask[..., None], mask):
        if (
            candidate.ndim == 4
            and candidate.shape[1:] == shape
            and (mask.ndim != 3 or mask.shape == shape or shape[2] == 1)
        ):
            return np.nan_to_num(candidate.astype(np.float32)) > 0.5
    raise ValueError(
        f"{name} must lie on the image's grid {grid} (or be (R, {', '.join(map(str, shape))})), got shape {mask.shape}; "
        "put the prediction back on the image's grid first."
    )


def display_window(volume: np.ndarray, percentiles: tuple[float, float] = (1.0, 99.5)) -> tuple[float, float]:
    """Find the grey values shown as black and white, from the percentiles of the voxels that are not background.

    The background is the commonest value when it fills at least a twentieth of the volume; a constant image gives a
    window of width 1 around its value.
    """
    values, counts = np.unique(volume, return_counts=True)
    inside = volume
    if len(values) > 1 and counts.max() >= 0.05 * volume.size:
        background = values[counts.argmax()]
        inside = volume[volume != background]
        low, high = np.percentile(inside, percentiles)
        low = min(low, float(background)) if background <= np.median(inside) else low
    else:
        low, high = np.percentile(inside, percentiles)
    if not high > low:
        return float(values[0]) - 0.5, float(values[0]) + 0.5 if len(values) == 1 else float(values[-1])
    return float(low), float(high)


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
    low, high = display_window(image)
    content = (image > low + 0.1 * (high - low)).sum(axis=(0, 1)).astype(float)
    if content.max() == content.min():
        return image.shape[2] // 2
    wide = np.flatnonzero(content >= 0.95 * content.max())  # the middle of the widest part of the head
    return int(wide[len(wide) // 2])


def upright(plane: np.ndarray) -> np.ndarray:
    """Turn an LPS plane ``(X, Y)`` into rows and columns: the patient's left on the viewer's right, front on top."""
    return plane.T
