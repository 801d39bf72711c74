"""Do the two heads say the same: tumour probability against predicted volume; and do volumes agree with the truth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats


def bland_altman(pred_ml: Sequence[float], true_ml: Sequence[float]) -> dict:
    """Agreement of predicted with true volumes.

    Args:
        pred_ml: ``(N,)`` predicted volumes.
        true_ml: ``(N,)`` true volumes.

    Returns:
        ``bias`` (mean of predicted minus true), ``limits_of_agreement`` (bias ± 1.96 standard deviations; None with
        fewer than two cases) and ``n``.

    Reference:
        J. M. Bland, D. G. Altman, "Statistical methods for assessing agreement", Lancet 1986.
    """
    difference = np.asarray(pred_ml, dtype=np.float64) - np.asarray(true_ml, dtype=np.float64)
    if difference.size == 0:
        return {"bias": None, "limits_of_agreement": None, "n": 0}
    bias = float(difference.mean())
    limits = None
    if difference.size > 1:
        half = 1.96 * float(difference.std(ddof=1))
        limits = [bias - half, bias + half]
    return {"bias": bias, "limits_of_agreement": limits, "n": int(difference.size)}


def heads_agree(
    case_ids: Sequence[str],
    probability: Sequence[float],
    pred_volume_ml: Sequence[float],
    threshold: float | np.ndarray,
    threshold_ml: float = 0.1,
    outlined: Sequence[bool] | None = None,
) -> dict:
    """Compare the verdict of the classification head with that of the mask.

    Args:
        case_ids: ``(N,)`` names.
        probability: ``(N,)`` tumour probabilities.
        pred_volume_ml: ``(N,)`` predicted volumes of the largest region; NaN for a picture, which has none.
        threshold: the classification head says tumour at or above it; one for all or ``(N,)``.
        threshold_ml: the mask says tumour above it.
        outlined: ``(N,)`` whether the mask holds anything: its word on a picture.

    Returns:
        ``threshold_ml``, counts ``both``, ``neither``, ``mask_only``, ``class_only``, ``agreement`` (share of both and
        neither), ``spearman`` (of probability and volume, None where one is constant or N < 3), ``n``, and
        ``disagreeing``: case ids, the most confident disagreement first.
    """
    probability = np.asarray(probability, dtype=np.float64)
    volume = np.asarray(pred_volume_ml, dtype=np.float64)
    if not len(case_ids) == probability.size == volume.size:
        raise ValueError(f"one value a case is needed, got {len(case_ids)}, {probability.size} and {volume.size}.")
    measured = np.isfinite(volume)
    by_class, by_mask = probability >= threshold, volume > threshold_ml
    if outlined is not None:
        by_mask = np.where(measured, by_mask, np.asarray(outlined, dtype=bool))
    apart = np.flatnonzero(by_class != by_mask)
    apart = apart[np.argsort(-np.abs(probability - threshold)[apart], kind="stable")]
    n = len(case_ids)
    return {
        "threshold_ml": float(threshold_ml),
        "n": n,
        "both": int((by_class & by_mask).sum()),
        "neither": int((~by_class & ~by_mask).sum()),
        "mask_only": int((~by_class & by_mask).sum()),
        "class_only": int((by_class & ~by_mask).sum()),
        "agreement": float((by_class == by_mask).mean()) if n else None,
        "spearman": _spearman(probability[measured], volume[measured]),
        "disagreeing": [case_ids[index] for index in apart],
    }


def _spearman(a: np.ndarray, b: np.ndarray) -> float | None:
    if a.size < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(stats.spearmanr(a, b).statistic)
