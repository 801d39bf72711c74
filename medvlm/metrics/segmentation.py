"""Overlap, distance and volume of one case's mask; never pooled over cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medvlm.metrics.surface import hausdorff_mm

MISSED_HD95_MM = 374.0
"""BraTS's distance for a lesion that one side lacks: about the diagonal of its 240 x 240 x 155 mm volume."""


@dataclass(frozen=True)
class EmptyPolicy:
    """What a score says where a mask is empty.

    Attributes:
        dice_both: Dice and IoU when both masks are empty.
        dice_one: Dice and IoU when exactly one is.
        hd95_both_mm: HD95 when both are empty.
        hd95_one_mm: HD95 when exactly one is.
    """

    dice_both: float
    dice_one: float
    hd95_both_mm: float
    hd95_one_mm: float


EMPTY_POLICIES = {
    "brats": EmptyPolicy(dice_both=1.0, dice_one=0.0, hd95_both_mm=0.0, hd95_one_mm=MISSED_HD95_MM),
    "undefined": EmptyPolicy(dice_both=np.nan, dice_one=0.0, hd95_both_mm=np.nan, hd95_one_mm=np.inf),
}
"""``brats``: the challenge's rule, in which a false positive on an empty truth costs. ``undefined``: as the formulas
say, so that a mean has to leave the case out."""


def empty_policy(name: str) -> EmptyPolicy:
    """Look a policy up by name."""
    if name not in EMPTY_POLICIES:
        raise ValueError(f"empties must be one of {sorted(EMPTY_POLICIES)}, got {name!r}.")
    return EMPTY_POLICIES[name]


def as_masks(
    pred: np.ndarray, truth: np.ndarray, spacing_mm: Sequence[float]
) -> tuple[np.ndarray, np.ndarray, tuple[float, ...], float]:
    """Check two masks, and take a single-slice volume as the plane that it is.

    Args:
        pred: ``(X, Y, Z)`` or ``(X, Y)``, boolean or 0/1.
        truth: same shape.
        spacing_mm: one positive distance an axis.

    Returns:
        Boolean prediction and truth, spacing of the axes that are left, and the volume of a voxel in mm³ (thickness
        included).

    Raises:
        ValueError: on shapes that differ, a spacing that does not fit, or values other than 0 and 1.
    """
    pred, truth = np.asarray(pred), np.asarray(truth)
    if pred.shape != truth.shape:
        raise ValueError(f"prediction and truth must share a grid, got {pred.shape} and {truth.shape}; resample one.")
    spacing = tuple(float(s) for s in spacing_mm)
    if len(spacing) != pred.ndim or pred.ndim not in (2, 3) or not all(np.isfinite(s) and s > 0 for s in spacing):
        raise ValueError(f"one positive spacing for each of 2 or 3 axes is needed, got {spacing} for {pred.shape}.")
    voxel_mm3 = float(np.prod(spacing))
    flat = [axis for axis, size in enumerate(pred.shape) if size == 1]
    if pred.ndim == 3 and len(flat) == 1:
        pred, truth = pred.squeeze(flat[0]), truth.squeeze(flat[0])
        spacing = tuple(s for axis, s in enumerate(spacing) if axis != flat[0])
    return _as_bool(pred, "prediction"), _as_bool(truth, "truth"), spacing, voxel_mm3


def _as_bool(mask: np.ndarray, name: str) -> np.ndarray:
    if mask.dtype == bool:
        return mask
    inside = mask != 0
    if not np.array_equal(inside, mask):
        raise ValueError(f"{name} must hold 0 and 1 only, got up to {mask.max()}; split labels into regions first.")
    return inside


def bounding_box(mask: np.ndarray, margin: int = 0) -> tuple[slice, ...]:
    """Slices of the smallest box that holds the mask, widened by ``margin`` voxels within the array.

    An empty mask gives an empty box.
    """
    box = []
    for axis in range(mask.ndim):
        rows = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        if rows.size == 0:
            return (slice(0, 0),) * mask.ndim
        box.append(slice(max(int(rows[0]) - margin, 0), min(int(rows[-1]) + 1 + margin, mask.shape[axis])))
    return tuple(box)


def dice(pred: np.ndarray, truth: np.ndarray, empties: str = "brats") -> float:
    """Dice of two masks, ``2 |P & G| / (|P| + |G|)``.

    Args:
        pred: boolean or 0/1, any shape.
        truth: same shape.
        empties: name of the :data:`EMPTY_POLICIES` entry.
    """
    return _overlap(pred, truth, empties)[0]


def iou(pred: np.ndarray, truth: np.ndarray, empties: str = "brats") -> float:
    """Intersection over union of two masks; arguments as in :func:`dice`."""
    return _overlap(pred, truth, empties)[1]


def _overlap(pred: np.ndarray, truth: np.ndarray, empties: str) -> tuple[float, float]:
    policy = empty_policy(empties)
    pred, truth = _as_bool(np.asarray(pred), "prediction"), _as_bool(np.asarray(truth), "truth")
    if pred.shape != truth.shape:
        raise ValueError(f"prediction and truth must share a grid, got {pred.shape} and {truth.shape}; resample one.")
    n_pred, n_truth = int(np.count_nonzero(pred)), int(np.count_nonzero(truth))
    if not n_pred or not n_truth:
        value = policy.dice_both if n_pred == n_truth else policy.dice_one
        return value, value
    shared = int(np.count_nonzero(pred & truth))
    return 2.0 * shared / (n_pred + n_truth), shared / (n_pred + n_truth - shared)


def hd95_mm(pred: np.ndarray, truth: np.ndarray, spacing_mm: Sequence[float], empties: str = "brats") -> float:
    """95th percentile of the surface distance (see :mod:`medvlm.metrics.surface`), anisotropic spacing included.

    Args:
        pred: ``(X, Y, Z)`` or ``(X, Y)``, boolean or 0/1. A volume of one slice is measured along its contour.
        truth: same shape.
        spacing_mm: one distance an axis.
        empties: name of the :data:`EMPTY_POLICIES` entry.
    """
    policy = empty_policy(empties)
    pred, truth, spacing, _ = as_masks(pred, truth, spacing_mm)
    box = bounding_box(pred | truth)
    value = hausdorff_mm(pred[box], truth[box], spacing)
    if np.isnan(value):
        return policy.hd95_both_mm
    return policy.hd95_one_mm if np.isinf(value) else value


def volume_ml(mask: np.ndarray, spacing_mm: Sequence[float]) -> float:
    """Volume of a mask in mL: voxels times the product of the spacing."""
    return float(np.count_nonzero(mask)) * float(np.prod([float(s) for s in spacing_mm])) / 1000.0


def voxel_rates(pred: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Sensitivity and specificity over all voxels of a case.

    The conventions for empties are the BraTS evaluator's: no voxel of the truth gives sensitivity 1 without a
    prediction and 0 with one. Specificity is near 1 for any small mask: report it, conclude nothing from it.
    """
    pred, truth = _as_bool(np.asarray(pred), "prediction"), _as_bool(np.asarray(truth), "truth")
    n_pred, n_truth = int(np.count_nonzero(pred)), int(np.count_nonzero(truth))
    shared = int(np.count_nonzero(pred & truth))
    sensitivity = shared / n_truth if n_truth else float(n_pred == 0)
    outside = truth.size - n_truth
    return sensitivity, (outside - (n_pred - shared)) / outside if outside else 0.0
