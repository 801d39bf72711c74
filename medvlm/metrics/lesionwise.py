"""BraTS 2023 lesion-wise Dice and HD95: every lesion counts once, and every false lesion costs.

Reference:
    BraTS 2023 challenges' evaluator, R. Saluja et al., https://github.com/rachitsaluja/BraTS-2023-Metrics; described in
    A. F. Kazerooni et al., 2023, https://arxiv.org/abs/2305.17033. Same values, other way: lesions and components are
    matched in one pass over the labels, and each lesion is scored inside the box that holds it and what it matched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from medvlm.metrics.segmentation import MISSED_HD95_MM, as_masks, bounding_box
from medvlm.metrics.surface import hausdorff_mm


@dataclass(frozen=True)
class Convention:
    """Rules of one challenge.

    Attributes:
        dilation: iterations of 18-connected dilation (in voxels) within which parts of the truth are one lesion, and
            within which a predicted component matches it.
        min_volume_mm3: lesions of at most this volume are left out; false positives are not filtered by size.
    """

    dilation: int
    min_volume_mm3: float


CONVENTIONS = {
    "gli": Convention(dilation=3, min_volume_mm3=50.0),
    "ssa": Convention(dilation=3, min_volume_mm3=50.0),
    "ped": Convention(dilation=3, min_volume_mm3=50.0),
    "men": Convention(dilation=1, min_volume_mm3=50.0),
    "met": Convention(dilation=1, min_volume_mm3=2.0),
}


@dataclass(frozen=True)
class Lesion:
    """One lesion of the truth against everything predicted near it.

    Attributes:
        volume_mm3: its volume, before dilation.
        components: labels of the predicted components that it matched; none when it was missed.
        dice: against the union of those whole components; 0 when missed.
        hd95_mm: likewise; ``inf`` when missed.
    """

    volume_mm3: float
    components: tuple[int, ...]
    dice: float
    hd95_mm: float


@dataclass(frozen=True)
class LesionScores:
    """Scores of one region of one case.

    Attributes:
        lesions: all lesions of the truth, small ones included.
        false_positive_components: labels of predicted components near no lesion.
        convention: the rules.
    """

    lesions: tuple[Lesion, ...]
    false_positive_components: tuple[int, ...]
    convention: Convention

    @property
    def kept(self) -> tuple[Lesion, ...]:
        """Lesions above the volume threshold: those that count."""
        return tuple(lesion for lesion in self.lesions if lesion.volume_mm3 > self.convention.min_volume_mm3)

    @property
    def true_positives(self) -> int:
        """Counted lesions with a component near them."""
        return sum(bool(lesion.components) for lesion in self.kept)

    @property
    def false_negatives(self) -> int:
        """Counted lesions without one."""
        return len(self.kept) - self.true_positives

    @property
    def false_positives(self) -> int:
        """Predicted components near no lesion, of any size."""
        return len(self.false_positive_components)

    @property
    def dice(self) -> float:
        """Sum of the lesions' Dice over lesions plus false positives; 1 when there is neither."""
        parts = len(self.kept) + self.false_positives
        return sum(lesion.dice for lesion in self.kept) / parts if parts else 1.0

    @property
    def hd95_mm(self) -> float:
        """The same mean of HD95, with 374 mm for every missed lesion and false positive; 0 when there is neither."""
        parts = len(self.kept) + self.false_positives
        found = sum(lesion.hd95_mm if np.isfinite(lesion.hd95_mm) else MISSED_HD95_MM for lesion in self.kept)
        return (found + MISSED_HD95_MM * self.false_positives) / parts if parts else 0.0


def lesion_wise(
    pred: np.ndarray,
    truth: np.ndarray,
    spacing_mm: Sequence[float],
    convention: str = "gli",
    crop: bool = True,
) -> LesionScores:
    """Score one region lesion by lesion.

    Args:
        pred: ``(X, Y, Z)`` or ``(X, Y)``, boolean or 0/1. A volume of one slice is scored in its plane.
        truth: same shape.
        spacing_mm: one distance an axis; volumes and distances use it, dilation and connectivity count voxels.
        convention: key of :data:`CONVENTIONS`.
        crop: score inside boxes. Without it every step runs over the whole volume: same values, for checks only.

    Returns:
        The lesions, the false positives, and the scores made from them.

    Raises:
        ValueError: on an unknown convention, or masks that do not fit together.
    """
    if convention not in CONVENTIONS:
        raise ValueError(f"convention must be one of {sorted(CONVENTIONS)}, got {convention!r}.")
    rules = CONVENTIONS[convention]
    pred, truth, spacing, voxel_mm3 = as_masks(pred, truth, spacing_mm)
    if not pred.any() and not truth.any():
        return LesionScores((), (), rules)
    if crop:
        # Dilated parts may meet outside the masks' box, but never further out than the dilation.
        box = bounding_box(pred | truth, margin=rules.dilation)
        pred, truth = pred[box], truth[box]
    touching = ndimage.generate_binary_structure(truth.ndim, truth.ndim)
    # A component of the dilated truth is its own lesion, dilated: one labelling says both.
    zones, n_lesions = ndimage.label(_dilate(truth, rules.dilation, crop), touching)
    components, n_components = ndimage.label(pred, touching)
    matches = _matches(zones, components, n_lesions)
    matched = set().union(*matches)
    zone_boxes, component_boxes = ndimage.find_objects(zones), ndimage.find_objects(components)
    lesions = []
    for index, found in enumerate(matches):
        boxes = [zone_boxes[index], *(component_boxes[label - 1] for label in found)]
        window = _hull(boxes) if crop else (slice(None),) * truth.ndim
        lesion = (zones[window] == index + 1) & truth[window]
        answer = np.isin(components[window], found)
        lesions.append(_score(lesion, answer, found, spacing, voxel_mm3))
    lost = tuple(label for label in range(1, n_components + 1) if label not in matched)
    return LesionScores(tuple(lesions), lost, rules)


def _dilate(mask: np.ndarray, iterations: int, crop: bool) -> np.ndarray:
    """Dilate with the 18-connected structure, every connected part inside its own box."""
    structure = ndimage.generate_binary_structure(mask.ndim, 2)
    parts, n_parts = ndimage.label(mask, ndimage.generate_binary_structure(mask.ndim, mask.ndim))
    dilated = np.zeros_like(mask)
    boxes = ndimage.find_objects(parts) if crop else [(slice(None),) * mask.ndim] * n_parts
    for index, box in enumerate(boxes):
        window = _widen(box, iterations, mask.shape) if crop else box
        dilated[window] |= ndimage.binary_dilation(parts[window] == index + 1, structure, iterations=iterations)
    return dilated


def _widen(box: tuple[slice, ...], margin: int, shape: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(
        slice(max(side.start - margin, 0), min(side.stop + margin, size)) for side, size in zip(box, shape, strict=True)
    )


def _matches(zones: np.ndarray, components: np.ndarray, n_lesions: int) -> list[tuple[int, ...]]:
    """Labels of the components that have a voxel in each lesion's dilated zone, lesion by lesion."""
    both = (zones > 0) & (components > 0)
    n_components = int(components.max(initial=0))
    pairs = np.zeros((n_lesions + 1) * (n_components + 1), dtype=bool)
    pairs[zones[both].astype(np.int64) * (n_components + 1) + components[both]] = True
    table = pairs.reshape(n_lesions + 1, n_components + 1)
    return [tuple(np.flatnonzero(row).tolist()) for row in table[1:]]


def _hull(boxes: list[tuple[slice, ...]]) -> tuple[slice, ...]:
    return tuple(slice(min(s.start for s in axis), max(s.stop for s in axis)) for axis in zip(*boxes, strict=True))


def _score(
    lesion: np.ndarray, answer: np.ndarray, found: tuple[int, ...], spacing: tuple[float, ...], voxel_mm3: float
) -> Lesion:
    n_lesion, n_answer = int(np.count_nonzero(lesion)), int(np.count_nonzero(answer))
    shared = int(np.count_nonzero(lesion & answer))
    return Lesion(
        volume_mm3=n_lesion * voxel_mm3,
        components=found,
        dice=2.0 * shared / (n_lesion + n_answer),
        hd95_mm=hausdorff_mm(answer, lesion, spacing),
    )
