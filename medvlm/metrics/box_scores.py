"""How well boxes lie: overlap with the reference, with intervals over patients, beside a box that looks at nothing."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from medvlm.metrics.intervals import interval_entry, rate_interval, weighted_mean

HIT = 0.5  # intersection over union from which a box counts as found
NOTE = (
    "each reference box whose view and frame the network sees (at most boxes_per_study of a study) is looked for by "
    "its phrase in its own view; overlap in the picture that the network sees; the mean box is that of these "
    "references and looks at nothing"
)


def iou(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Intersection over union ``(K,)`` of boxes ``(K, 4)``; 0 where both are empty."""
    low, high = np.maximum(one[:, :2], other[:, :2]), np.minimum(one[:, 2:], other[:, 2:])
    both = np.clip(high - low, 0, None).prod(axis=1)
    areas = sum(np.clip(box[:, 2:] - box[:, :2], 0, None).prod(axis=1) for box in (one, other))
    return both / np.maximum(areas - both, 1e-12)


def box_report(
    found: np.ndarray, true: np.ndarray, patients: Sequence[Hashable], n_boot: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """Score boxes.

    Args:
        found: ``(K, 4)`` left, top, right, bottom.
        true: ``(K, 4)``, the references, in the same units.
        patients: ``(K,)`` patient of each.
        n_boot: resamples of patients.
        seed: of the resamples.

    Returns:
        ``n``, ``n_patients``; for ``network`` and ``mean_box`` ``iou`` (``value``, ``ci``) and ``accuracy`` (share with
        an overlap of at least ``threshold``; ``value``, ``ci``, ``method``); ``threshold`` and ``note``.
    """
    found, true = np.asarray(found, dtype=np.float64), np.asarray(true, dtype=np.float64)
    report: dict[str, Any] = {"n": len(true), "n_patients": len({str(p) for p in patients}), "threshold": HIT}
    for name, boxes in (("network", found), ("mean_box", np.broadcast_to(true.mean(axis=0), true.shape))):
        overlap = iou(boxes, true)
        ci, method = rate_interval(overlap >= HIT, patients, n_boot, seed)
        report[name] = {
            "iou": {"value": float(overlap.mean()), **interval_entry(weighted_mean(overlap), patients, n_boot, seed)},
            "accuracy": {
                "value": float((overlap >= HIT).mean()),
                "ci": list(ci) if ci else None,
                "method": method,
            },
        }
    return report | {"note": NOTE}
