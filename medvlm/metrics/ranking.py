"""How well a score orders cases: ROC AUC with DeLong's variance, average precision, and both curves.

All of them take a label as 1 (tumour) or 0, count a tie of a positive with a negative as one half, and never flip the
direction: an AUC under 0.5 is reported as such.

Reference:
    E. R. DeLong, D. M. DeLong, D. L. Clarke-Pearson, "Comparing the areas under two or more correlated receiver
    operating characteristic curves", Biometrics 1988. Midranks: X. Sun, W. Xu, IEEE Signal Processing Letters 2014.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from medvlm.metrics.intervals import Statistic


@dataclass(frozen=True)
class DeLong:
    """AUC of one score.

    Attributes:
        auc: area under the ROC curve.
        variance: DeLong's; 0 for a score that separates perfectly, or not at all.
    """

    auc: float
    variance: float

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Normal interval, clipped to [0, 1]."""
        half = float(stats.norm.ppf(0.5 + confidence / 2)) * float(np.sqrt(self.variance))
        return max(self.auc - half, 0.0), min(self.auc + half, 1.0)


def check_labels(labels: np.ndarray, scores: np.ndarray, both: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Check labels against scores.

    Args:
        labels: ``(N,)`` of 0 and 1.
        scores: ``(N,)``, finite.
        both: whether both classes must occur.

    Returns:
        int64 labels and float64 scores.
    """
    labels, scores = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if labels.shape != scores.shape or labels.ndim != 1 or labels.size == 0:
        raise ValueError(f"one label and one score a case are needed, got {labels.shape} and {scores.shape}.")
    if not np.isin(labels, (0, 1)).all():
        raise ValueError(f"labels must be 0 or 1, got {sorted(set(labels.tolist()))[:5]}; leave unknown cases out.")
    if not np.isfinite(scores).all():
        raise ValueError(f"scores must be finite, got {np.count_nonzero(~np.isfinite(scores))} that are not.")
    if both and len(np.unique(labels)) < 2:
        raise ValueError(f"both classes are needed, got {labels.size} cases of class {int(labels[0])} only.")
    return labels.astype(np.int64), scores


def delong(labels: np.ndarray, scores: np.ndarray) -> DeLong:
    """AUC with DeLong's variance; one case of a class leaves the variance ``nan``."""
    labels, scores = check_labels(labels, scores)
    auc, positive, negative = _structural_components(labels, scores)
    return DeLong(auc, _share(positive, positive) + _share(negative, negative))


def delong_paired(
    labels: np.ndarray, scores_a: np.ndarray, scores_b: np.ndarray, confidence: float = 0.95
) -> dict[str, float | list[float]]:
    """Compare two scores of the same cases.

    Returns:
        ``difference`` of AUC (a minus b), its ``ci`` (not clipped), ``covariance``, ``z`` and two-sided ``p``.
    """
    labels, scores_a = check_labels(labels, scores_a)
    labels, scores_b = check_labels(labels, scores_b)
    auc_a, positive_a, negative_a = _structural_components(labels, scores_a)
    auc_b, positive_b, negative_b = _structural_components(labels, scores_b)
    covariance = _share(positive_a, positive_b) + _share(negative_a, negative_b)
    # The variance of the paired differences: exactly 0 for identical scores, where summing three terms would not be.
    variance = _share(positive_a - positive_b, positive_a - positive_b)
    variance += _share(negative_a - negative_b, negative_a - negative_b)
    difference, deviation = auc_a - auc_b, float(np.sqrt(variance))
    if deviation == 0:
        z = 0.0 if difference == 0 else float(np.copysign(np.inf, difference))
    else:
        z = difference / deviation
    half = float(stats.norm.ppf(0.5 + confidence / 2)) * deviation
    return {
        "difference": difference,
        "ci": [difference - half, difference + half],
        "covariance": covariance,
        "z": z,
        "p": float(2 * stats.norm.sf(abs(z))),
    }


def _structural_components(labels: np.ndarray, scores: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Share of the other class that each positive lies above, and each negative below."""
    positive, negative = scores[labels == 1], scores[labels == 0]
    overall = stats.rankdata(np.concatenate([positive, negative]))
    above = (overall[: len(positive)] - stats.rankdata(positive)) / len(negative)
    below = 1 - (overall[len(positive) :] - stats.rankdata(negative)) / len(positive)
    return float(above.mean()), above, below


def _share(a: np.ndarray, b: np.ndarray) -> float:
    if len(a) < 2:
        return float("nan")
    return float(np.dot(a - a.mean(), b - b.mean()) / (len(a) - 1) / len(a))


def auc_statistic(labels: np.ndarray, scores: np.ndarray) -> Statistic:
    """ROC AUC as a statistic of case weights, for the bootstrap."""
    positive, negative = _grouped(labels, scores)

    def auc(weights: np.ndarray) -> np.ndarray:
        pos, neg = positive(weights), negative(weights)  # (S, G), score groups from high to low
        above = np.cumsum(neg[:, ::-1], axis=1)[:, ::-1] - neg  # negatives that score less
        with np.errstate(invalid="ignore", divide="ignore"):
            return (pos * (above + neg / 2)).sum(axis=1) / (pos.sum(axis=1) * neg.sum(axis=1))

    return auc


def average_precision_statistic(labels: np.ndarray, scores: np.ndarray) -> Statistic:
    """Average precision (sum of precision times the step of recall, no interpolation) as a statistic of weights."""
    positive, negative = _grouped(labels, scores)

    def average_precision(weights: np.ndarray) -> np.ndarray:
        pos, neg = positive(weights), negative(weights)
        caught, called = np.cumsum(pos, axis=1), np.cumsum(pos + neg, axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            precision = np.where(called > 0, caught / called, 0.0)
            return (precision * pos).sum(axis=1) / pos.sum(axis=1)

    return average_precision


def _grouped(labels: np.ndarray, scores: np.ndarray) -> tuple[Statistic, Statistic]:
    """Sums of weights of positives and of negatives for each distinct score, from high to low."""
    labels, scores = check_labels(labels, scores, both=False)
    order = np.argsort(-scores, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) != 0])

    def of(value: int) -> Statistic:
        member = (labels[order] == value).astype(np.float64)
        return lambda weights: np.add.reduceat(weights[:, order] * member, starts, axis=1)

    return of(1), of(0)


def roc_curve(labels: np.ndarray, scores: np.ndarray, max_points: int = 200) -> dict[str, list[float]]:
    """ROC curve, thinned to what a figure needs.

    Returns:
        ``fpr`` and ``tpr`` from (0, 0) to (1, 1), at most ``max_points`` of each.
    """
    labels, scores = check_labels(labels, scores)
    caught, false = _cumulated(labels, scores)
    tpr, fpr = np.r_[0, caught / caught[-1]], np.r_[0, false / false[-1]]
    # Points within a straight run carry nothing.
    bend = np.r_[True, (np.diff(fpr, 2) != 0) | (np.diff(tpr, 2) != 0), True]
    keep = thin(np.flatnonzero(bend), max_points)
    return {"fpr": fpr[keep].tolist(), "tpr": tpr[keep].tolist()}


def precision_recall_curve(labels: np.ndarray, scores: np.ndarray, max_points: int = 200) -> dict[str, list[float]]:
    """Precision over recall, thinned; the first point is that of the highest score, without an invented one before.

    Returns:
        ``recall`` (rising) and ``precision``, at most ``max_points`` of each.
    """
    labels, scores = check_labels(labels, scores)
    caught, false = _cumulated(labels, scores)
    keep = thin(np.arange(len(caught)), max_points)
    recall, precision = caught / caught[-1], caught / (caught + false)
    return {"recall": recall[keep].tolist(), "precision": precision[keep].tolist()}


def _cumulated(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positives and negatives at or above each distinct score, from high to low."""
    weights = np.ones((1, len(labels)))
    positive, negative = _grouped(labels, scores)
    return np.cumsum(positive(weights)[0]), np.cumsum(negative(weights)[0])


def thin(index: np.ndarray, max_points: int) -> np.ndarray:
    """Keep at most ``max_points`` of the indices, evenly, ends included."""
    if max_points < 2:
        raise ValueError(f"a curve needs at least 2 points, got max_points={max_points}.")
    if len(index) <= max_points:
        return index
    return index[np.unique(np.linspace(0, len(index) - 1, max_points).round().astype(int))]
