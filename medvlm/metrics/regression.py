"""Scores of a predicted number, with intervals over patients and the best constant beside them."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np

from medvlm.metrics.agreement import bland_altman
from medvlm.metrics.intervals import Statistic, interval_entry, weighted_mean


def r2_statistic(target: np.ndarray, predicted: np.ndarray) -> Statistic:
    """Share of the variance explained, 1 - residual / total sum of squares; ``nan`` where the targets do not vary."""
    target, predicted = np.asarray(target, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    residual = (target - predicted) ** 2
    centred = target - target.mean()  # a shift that keeps the sums below small

    def r2(weights: np.ndarray) -> np.ndarray:
        n = weights.sum(axis=1)
        total = weights @ centred**2 - (weights @ centred) ** 2 / n
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(total > 1e-12 * n, 1 - (weights @ residual) / total, np.nan)

    return r2


def regression_report(
    target: Sequence[float],
    predicted: Sequence[float],
    patients: Sequence[Hashable],
    constant: float | None = None,
    n_boot: int = 1000,
    seed: int = 0,
) -> dict:
    """MAE, RMSE, R² and bias of a set of cases.

    Args:
        target: ``(N,)`` true values; NaN or None is unknown and left out.
        predicted: ``(N,)`` predictions in the same unit, finite where the target is known.
        patients: ``(N,)`` patient of each.
        constant: what a model that looks at nothing would answer, say the training median; None takes the median of
            these targets, which no real model could know.
        n_boot: resamples of patients.
        seed: of the resamples.

    Returns:
        ``n``, ``n_unknown``, ``n_patients``, ``metrics`` (``mae``, ``rmse``, ``r2``, ``bias``: ``value``, ``ci``),
        ``baseline_constant`` (``constant``, ``chosen_on``, ``mae``, ``rmse``) and ``agreement`` (Bland and Altman).
        Without a known target ``n`` 0 and a ``note``.

    Raises:
        ValueError: lengths differ, or a prediction is not finite.
    """
    if not len(target) == len(predicted) == len(patients):
        raise ValueError(
            f"one target, one prediction and one patient a case are needed, got {len(target)}, {len(predicted)} and "
            f"{len(patients)}."
        )
    true = np.array([math.nan if value is None else value for value in target], dtype=np.float64)
    said = np.array([math.nan if value is None else value for value in predicted], dtype=np.float64)
    known = np.isfinite(true)
    if not known.any():
        return {"n": 0, "n_unknown": len(true), "note": "no target is known"}
    true, said = true[known], said[known]
    if not np.isfinite(said).all():
        raise ValueError(
            f"predictions must be finite where the target is known, {int((~np.isfinite(said)).sum())} are not; look "
            " for NaN inputs, or leave studies without a readable video out."
        )
    units = [str(patient) for patient, kept in zip(patients, known, strict=True) if kept]
    error = said - true
    squares = weighted_mean(error**2)
    statistics: dict[str, Statistic] = {
        "mae": weighted_mean(np.abs(error)),
        "rmse": lambda weights: np.sqrt(squares(weights)),
        "r2": r2_statistic(true, said),
        "bias": weighted_mean(error),
    }
    metrics = {}
    for name, statistic in statistics.items():
        value = float(statistic(np.ones((1, len(true))))[0])
        defined = math.isfinite(value)
        interval = interval_entry(statistic, units, n_boot, seed) if defined else {"ci": None}
        metrics[name] = {"value": value if defined else None, **interval}
    answer = float(np.median(true)) if constant is None else float(constant)
    return {
        "n": len(true),
        "n_unknown": int((~known).sum()),
        "n_patients": len(set(units)),
        "metrics": metrics,
        "baseline_constant": {
            "constant": answer,
            "chosen_on": "these cases" if constant is None else "given",
            "mae": float(np.abs(true - answer).mean()),
            "rmse": float(np.sqrt(((true - answer) ** 2).mean())),
        },
        "agreement": bland_altman(said, true),
    }
