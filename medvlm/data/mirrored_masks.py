"""Whether a mask was stored mirrored: its mirror image lies on tumour where the mask itself lies on brain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import combinations

import numpy as np
from scipy import ndimage

from medvlm.data.mask_evidence import FEW_VOXELS, MARGIN, SAMPLE, Finding, extents_of, order

TUMOUR_WEIGHTS = {"FLAIR": 1.0, "T2": 0.5}
"""Channels on which a tumour with its oedema is brighter than brain; on T2 fluid is bright too, and it counts half."""


def rests_on_labels(images: Mapping[str, np.ndarray]) -> bool:
    """Whether enhancing tumour has to serve, for want of FLAIR: then swapped labels can look like a mirrored mask."""
    return "FLAIR" not in images


def better_mirror(
    mask: np.ndarray,
    images: Mapping[str, np.ndarray],
    backgrounds: Mapping[str, np.ndarray],
    enhancing: Sequence[int] = (),
) -> Finding | None:
    """The mirror image of a mask, along one or more axes, that lies on tumour where the mask lies on brain.

    Args:
        mask: label map ``(H, W)`` or ``(H, W, D)``, not empty.
        images: channel name to an image of the mask's shape.
        backgrounds: channel name to the empty surroundings, where there are any; they count as darkest.
        enhancing: values of the mask that mean enhancing tumour, brighter than brain on T1c; used for want of FLAIR.

    Returns:
        The best one, or None if none is better than the mask. Its gain has two halves: how much brighter the mirror
        image is than the mask where they differ, and how much more it stands out from what is around it.
    """
    here = _thinned(np.argwhere(mask))  # (N, axes)
    around = _thinned(_surroundings(mask))  # (M, axes)
    bright = np.isin(mask[tuple(here.T)], enhancing)
    tests = [(name, weight, slice(None)) for name, weight in TUMOUR_WEIGHTS.items()]
    if rests_on_labels(images):
        tests.append(("T1c", 1.0, bright))
    found = []
    for axes in (a for count in range(1, mask.ndim + 1) for a in combinations(range(mask.ndim), count)):
        there = _mirrored(here, axes, mask.shape)
        apart = mask[tuple(there.T)] == 0
        gain, shown = 0.0, []
        for name, weight, chosen in tests:
            kept = np.flatnonzero(apart[chosen])
            if name in images and len(kept) >= FEW_VOXELS:
                values = partial(_values, images[name], backgrounds.get(name))
                against = order(values(here[chosen][kept]), values(there[chosen][kept]))
                contrast = _contrast(values(here[chosen]), values(around))
                mirrored = _contrast(values(there[chosen]), values(_mirrored(around, axes, mask.shape)))
                gain += weight * (mirrored - contrast - against) / 2
                shown.append(f"in {(1 + against) / 2:.0%} of pairs on {name}")
        evidence = f"where they differ, a voxel of the mask is brighter {' and '.join(shown)}"
        found.append(Finding(axes, gain, evidence))
    best = max(found, key=lambda finding: finding.gain)
    return best if best.gain > MARGIN else None


def _thinned(places: np.ndarray) -> np.ndarray:
    return places[:: max(1, len(places) // (4 * SAMPLE))]


def _mirrored(places: np.ndarray, axes: tuple[int, ...], shape: tuple[int, ...]) -> np.ndarray:
    there = places.copy()
    for axis in axes:
        there[:, axis] = shape[axis] - 1 - there[:, axis]
    return there


def _contrast(inside: np.ndarray, around: np.ndarray) -> float:
    """How much brighter a tumour is than the brain around it; 0 where there is hardly any."""
    brain = around[np.isfinite(around)]
    return order(inside, brain) if len(brain) >= FEW_VOXELS else 0.0


def _values(image: np.ndarray, background: np.ndarray | None, where: np.ndarray) -> np.ndarray:
    """Values ``(N,)`` at places ``(N, axes)``."""
    values = image[tuple(where.T)].astype(np.float64)
    if background is not None:
        values[background[tuple(where.T)]] = -np.inf
    return values


def _surroundings(mask: np.ndarray) -> np.ndarray:
    """Places ``(N, axes)`` outside of a mask within two voxels of it."""
    corner = [max(first - 2, 0) for first, _ in extents_of(mask)]
    box = tuple(slice(start, end + 2) for start, (_, end) in zip(corner, extents_of(mask), strict=True))
    inside = mask[box] != 0
    return np.argwhere(ndimage.binary_dilation(inside, iterations=2) & ~inside) + corner
