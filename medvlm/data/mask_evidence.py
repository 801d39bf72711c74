"""How a mask is weighed against another reading of it: by the order of the voxels in which the two differ.

:func:`order` says how often a voxel of one part is brighter (or lies deeper) than a voxel of another. It needs no scale
and no threshold of intensity, and it is fair: the stored mask and its alternative change sign when they change places.
Evidence is summed over the channels that a case has, so that little of it seldom reaches :data:`MARGIN`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MARGIN = 0.25
"""How much better an alternative must be than the stored mask, in units of order."""
FEW_VOXELS = 15
"""Of a tissue, or of the part in which a mask and its mirror image differ; below it nothing is concluded."""
SAMPLE = 4000
"""Voxels of a tissue that are compared, evenly spaced in storage order."""


@dataclass(frozen=True)
class Finding:
    """An alternative that explains the image better than the stored mask.

    Attributes:
        alternative: the axes to mirror along, or the two values to exchange.
        gain: how much better it is, in units of :func:`order`.
        evidence: what speaks most against the stored mask, in words.
    """

    alternative: tuple[int, ...]
    gain: float
    evidence: str


def order(first: np.ndarray, second: np.ndarray) -> float:
    """P(a > b) - P(a < b) for random voxels a of ``first`` and b of ``second``: -1 to 1 (Cliff's delta).

    Args:
        first: ``(N,)`` values.
        second: ``(M,)`` values.
    """
    first, second = (values[:: -(-values.size // SAMPLE)] for values in (first, second))
    ranked = np.sort(second)
    below = np.searchsorted(ranked, first, "left") + np.searchsorted(ranked, first, "right")
    return float(below.mean() / ranked.size - 1)


def extents_of(mask: np.ndarray) -> list[tuple[int, int]]:
    """First index and last index plus one of a mask that is not empty, axis by axis."""
    axes = range(mask.ndim)
    held = [np.flatnonzero(mask.any(axis=tuple(other for other in axes if other != axis))) for axis in axes]
    return [(int(found[0]), int(found[-1]) + 1) for found in held]
