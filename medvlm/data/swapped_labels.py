"""Whether two labels of a mask were exchanged: the tissues look, or lie, as the other's meaning says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from scipy import ndimage

from medvlm.data.conventions import CONVENTIONS
from medvlm.data.mask_evidence import FEW_VOXELS, MARGIN, Finding, extents_of, order

CORE, OEDEMA, ENHANCING, HEALTHY = "core", "oedema", "enhancing tumour", "healthy brain"
DEPTH = "depth"
EXPECTED = (
    ("T1c", ENHANCING, CORE, 0.45),
    ("T1c", ENHANCING, OEDEMA, 0.45),
    ("T1c", ENHANCING, HEALTHY, 0.45),
    ("T1c", HEALTHY, CORE, -0.45),
    ("T1c", HEALTHY, OEDEMA, -0.45),
    ("T1", OEDEMA, CORE, 0.0),
    ("T1", OEDEMA, ENHANCING, 0.0),
    (DEPTH, CORE, OEDEMA, 0.0),
    (DEPTH, ENHANCING, OEDEMA, 0.0),
)
"""Channel, the brighter tissue, the darker one, and the order that counts as no evidence.

Contrast agent gathers in enhancing tumour, so that it is clearly, and not just a little, brighter on T1c than all else
(an order of 0.45 lies between it and other tissue); tumour is mostly darker than oedema on T1; ``depth`` is the
distance to healthy brain, and oedema is outermost. FLAIR and T2 are left out: necrosis is dark or bright on them.
Without T1c core and enhancing tumour are alike by this table, so that their exchange is never claimed.
"""
SIDE = 64
"""Voxels along a side of the box around the mask in which tissues are looked for; a larger one is thinned."""


def roles_of(convention: str) -> dict[int, str]:
    """Label value to its tissue, for the labels that can be told apart (a cavity or an undivided tumour cannot)."""
    roles = {}
    for value, meaning in CONVENTIONS[convention].meanings.items() if convention in CONVENTIONS else ():
        if meaning in (OEDEMA, "FLAIR hyperintensity"):
            roles[value] = OEDEMA
        elif meaning == ENHANCING:
            roles[value] = ENHANCING
        elif "necrosis" in meaning or "non-enhancing" in meaning:
            roles[value] = CORE
    return roles


def better_labels(
    mask: np.ndarray,
    images: Mapping[str, np.ndarray],
    backgrounds: Mapping[str, np.ndarray],
    roles: Mapping[int, str],
    spacing_mm: Sequence[float] | None = None,
) -> Finding | None:
    """Two labels of a mask that fit the image better when they are exchanged.

    Args:
        mask: label map ``(H, W, D)``, not empty.
        images: channel name to an image of the mask's shape.
        backgrounds: channel name to the empty surroundings, where there are any.
        roles: what :func:`roles_of` gives.
        spacing_mm: voxel sizes, for the depth; equal by default.

    Returns:
        The best exchange, or None if none is better than the mask.
    """
    tissues = _tissues(mask, images, backgrounds, roles, spacing_mm)
    stored = _evidence(tissues, roles)
    total = sum(value for value, *_ in stored)
    found = []
    for a, b in combinations(roles, 2):
        if roles[a] != roles[b] and (a in tissues or b in tissues):
            exchanged = _evidence(tissues, {**roles, a: roles[b], b: roles[a]})
            against = [(value, words) for value, words, of in stored if value < 0 and (a in of or b in of)]
            words = min(against)[1] if against else "the contrast and the place of each fit the other's meaning better"
            found.append(Finding((a, b), sum(value for value, *_ in exchanged) - total, words))
    best = max(found, key=lambda finding: finding.gain, default=None)
    return best if best and best.gain > MARGIN else None


def _evidence(
    tissues: Mapping[int, Mapping[str, np.ndarray]], roles: Mapping[int, str]
) -> list[tuple[float, str, tuple[int, int]]]:
    """What :data:`EXPECTED` says for a reading of the labels: evidence, its words, and its two labels."""
    held = {value: HEALTHY if value == 0 else roles[value] for value in tissues}
    names = {value: role if value == 0 else f"label {value} ({role})" for value, role in held.items()}
    evidence = []
    for channel, more, less, neutral in EXPECTED:
        for a, b in ((a, b) for a in held for b in held if (held[a], held[b]) == (more, less)):
            if channel in tissues[a] and channel in tissues[b]:
                value = order(tissues[a][channel], tissues[b][channel])
                relation = "lies deeper than" if channel == DEPTH else f"is brighter on {channel} than"
                words = f"{names[a]} {relation} {names[b]} in {(1 + value) / 2:.0%} of pairs of voxels"
                evidence.append((value - neutral, words, (a, b)))
    return evidence


def _tissues(
    mask: np.ndarray,
    images: Mapping[str, np.ndarray],
    backgrounds: Mapping[str, np.ndarray],
    roles: Mapping[int, str],
    spacing_mm: Sequence[float] | None,
) -> dict[int, dict[str, np.ndarray]]:
    """Label value (0: brain within two voxels of the mask) to the values ``(N,)`` of its voxels, channel by channel."""
    extents = extents_of(mask)
    steps = [-(-(end - first) // SIDE) for first, end in extents]
    box = tuple(
        slice(max(first - 2 * step, 0), end + 2 * step, step) for (first, end), step in zip(extents, steps, strict=True)
    )
    labels = mask[box]
    empty = np.zeros(labels.shape, bool)
    for background in backgrounds.values():
        empty |= background[box]
    covered = (labels != 0) | empty
    if covered.all():
        return {}
    shell = ndimage.binary_dilation(labels != 0, iterations=2) & ~covered
    sampling = np.array(steps) * (np.ones(3) if spacing_mm is None else np.asarray(spacing_mm, float)[:3])
    depth = ndimage.distance_transform_edt(np.pad(covered, 1, constant_values=True), sampling)[1:-1, 1:-1, 1:-1]
    tissues = {}
    for value, inside in [(0, shell), *((value, labels == value) for value in roles)]:
        if inside.sum() >= FEW_VOXELS:
            tissues[value] = {name: data[box][inside] for name, data in images.items()}
            if value:
                tissues[value][DEPTH] = depth[inside]
    return tissues
