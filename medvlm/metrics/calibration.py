"""Do probabilities mean what they say: calibration error, reliability, and scaling fitted on validation.

Reference:
    C. Guo et al., "On calibration of modern neural networks", ICML 2017, https://arxiv.org/abs/1706.04599;
    J. Platt, "Probabilistic outputs for support vector machines", 1999.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, log_softmax, softmax

from medvlm.metrics.intervals import Statistic
from medvlm.metrics.ranking import check_labels

_CLOSED = ("left", "right")


def bin_index(probabilities: np.ndarray, bins: int = 10, closed: str = "left") -> np.ndarray:
    """Equal-width bin of each probability.

    Args:
        probabilities: ``(N,)`` in [0, 1].
        bins: number of bins.
        closed: ``left``: a bin holds its lower edge, and the last one 1 as well. ``right``: its upper edge, and the
            first one 0 as well.

    Returns:
        ``(N,)`` from 0 to ``bins - 1``.
    """
    probabilities = np.asarray(probabilities, dtype=np.float64)
    if bins < 1 or closed not in _CLOSED:
        raise ValueError(f"bins must be at least 1 and closed one of {_CLOSED}, got {bins} and {closed!r}.")
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise ValueError("probabilities must lie in [0, 1]; apply the sigmoid or softmax first.")
    edges = np.linspace(0, 1, bins + 1)[1:-1]
    return np.searchsorted(edges, probabilities, side="right" if closed == "left" else "left")


def reliability(
    labels: np.ndarray, probabilities: np.ndarray, bins: int = 10, closed: str = "left"
) -> dict[str, list[float | None]]:
    """Reliability table.

    Args:
        labels: ``(N,)`` of 0 and 1: whether it was so (for several classes: whether the top class was right).
        probabilities: ``(N,)`` said probability of that.
        bins: number of equal-width bins.
        closed: see :func:`bin_index`.

    Returns:
        For each bin ``confidence`` (mean probability), ``frequency`` (share of 1), both None in an empty bin, and
        ``count``.
    """
    labels, probabilities = check_labels(labels, probabilities, both=False)
    index = bin_index(probabilities, bins, closed)
    count = np.bincount(index, minlength=bins)
    sums = [np.bincount(index, weights=values, minlength=bins) for values in (probabilities, labels)]
    means = [[s / n if n else None for s, n in zip(total.tolist(), count.tolist(), strict=True)] for total in sums]
    return {"confidence": means[0], "frequency": means[1], "count": count.tolist()}


def calibration_errors(
    labels: np.ndarray, probabilities: np.ndarray, bins: int = 10, closed: str = "left"
) -> dict[str, float]:
    """Gaps between said and seen; arguments as in :func:`reliability`.

    Returns:
        ``ece`` (mean gap, weighted by count), ``mce`` (largest), ``rmsce`` (root mean square, weighted).
    """
    table = reliability(labels, probabilities, bins, closed)
    filled = [i for i, n in enumerate(table["count"]) if n]
    gap = np.array([abs(table["confidence"][i] - table["frequency"][i]) for i in filled])
    share = np.array([table["count"][i] for i in filled]) / len(np.asarray(labels))
    return {
        "ece": float(share @ gap),
        "mce": float(gap.max()),
        "rmsce": float(np.sqrt(share @ gap**2)),
    }


def ece_statistic(labels: np.ndarray, probabilities: np.ndarray, bins: int = 10) -> Statistic:
    """Expected calibration error as a statistic of case weights, for the bootstrap."""
    labels, probabilities = check_labels(labels, probabilities, both=False)
    member = np.eye(bins)[bin_index(probabilities, bins)]  # (N, bins)
    gaps = member * (probabilities - labels)[:, None]

    def ece(weights: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return np.abs(weights @ gaps).sum(axis=1) / weights.sum(axis=1)

    return ece


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature T that minimises the mean negative log-likelihood of ``logits / T``.

    Args:
        logits: ``(N,)`` of the positive class against the other (for two classes: their difference), or ``(N, K)``.
        labels: ``(N,)`` class indices.

    Returns:
        T > 0; above 1 for an overconfident network.

    Raises:
        ValueError: when the labels leave no finite optimum (every case right, or worse than chance).
    """
    logits, labels = _checked(logits, labels)
    top = np.max(np.abs(logits))

    def slope(beta: float) -> float:  # of the negative log-likelihood over beta = 1 / T
        if logits.ndim == 1:
            return float(np.mean((expit(beta * logits) - labels) * logits))
        said = softmax(beta * logits, axis=1)
        return float(np.mean((said * logits).sum(axis=1) - logits[np.arange(len(labels)), labels]))

    low, high = 1e-6 / top if top else 1e-6, 1.0
    while slope(high) < 0 and high * top < 1e4:
        high *= 2
    if top == 0 or slope(low) >= 0 or slope(high) <= 0:
        raise ValueError(
            f"no finite temperature fits {len(labels)} cases: the logits are no better than chance, or right "
            "everywhere; fit on validation cases of which some are wrong."
        )
    return 1 / brentq(slope, low, high, xtol=1e-14, rtol=1e-14)


def fit_platt(logits: np.ndarray, labels: np.ndarray, smoothed: bool = True) -> tuple[float, float]:
    """Slope and offset of ``sigmoid(a * logit + b)`` by maximum likelihood.

    Args:
        logits: ``(N,)``.
        labels: ``(N,)`` of 0 and 1, both present.
        smoothed: fit to Platt's targets ``(n1 + 1) / (n1 + 2)`` and ``1 / (n0 + 2)``, which stay finite on cases that
            separate.

    Returns:
        ``(a, b)``.

    Raises:
        ValueError: when unsmoothed labels separate, so that no finite optimum exists.
    """
    labels, logits = check_labels(labels, logits)
    n1 = int(labels.sum())
    n0 = len(labels) - n1
    target = np.where(labels == 1, (n1 + 1) / (n1 + 2), 1 / (n0 + 2)) if smoothed else labels.astype(np.float64)
    design = np.stack([logits, np.ones_like(logits)], axis=1)
    weights = np.zeros(2)
    for _ in range(100):
        said = expit(design @ weights)
        slope = design.T @ (said - target)
        curvature = (design * (said * (1 - said))[:, None]).T @ design
        if np.linalg.cond(curvature) > 1e14:
            break
        step = np.linalg.solve(curvature, slope)
        before, scale = _platt_loss(design, weights, target), 1.0
        while _platt_loss(design, weights - scale * step, target) > before and scale > 1e-8:
            scale /= 2
        weights = weights - scale * step
        if np.abs(step).max() < 1e-12 * max(1.0, np.abs(weights).max()):
            return float(weights[0]), float(weights[1])
    raise ValueError("the logits separate the classes or are all equal: no finite slope; use smoothed=True.")


def _platt_loss(design: np.ndarray, weights: np.ndarray, target: np.ndarray) -> float:
    z = design @ weights
    return float(np.sum(np.logaddexp(0, z) - target * z))


def negative_log_likelihood(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean negative log-likelihood; arguments as in :func:`fit_temperature`."""
    logits, labels = _checked(logits, labels)
    if logits.ndim == 1:
        return float(np.mean(np.logaddexp(0, logits) - labels * logits))
    return float(-np.mean(log_softmax(logits, axis=1)[np.arange(len(labels)), labels]))


def _checked(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    logits, labels = np.asarray(logits, dtype=np.float64), np.asarray(labels).astype(np.int64)
    classes = 2 if logits.ndim == 1 else logits.shape[1]
    if logits.ndim not in (1, 2) or labels.shape != logits.shape[:1] or not labels.size:
        raise ValueError(f"logits (N,) or (N, K) with N labels are needed, got {logits.shape} and {labels.shape}.")
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"labels must lie in 0..{classes - 1}, got {labels.min()}..{labels.max()}.")
    return logits, labels
