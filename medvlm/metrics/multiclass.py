"""Scores of an answer among several classes, each with its interval over patients."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np

from medvlm.metrics.calibration import calibration_errors, ece_statistic, reliability
from medvlm.metrics.intervals import (
    ALIKE,
    BY_CLASS,
    BY_PATIENT,
    Statistic,
    balanced_interval,
    interval_entry,
    rare_strata,
    weighted_mean,
)
from medvlm.metrics.ranking import auc_statistic, average_precision_statistic


def multiclass_report(
    truth: np.ndarray,
    probability: np.ndarray,
    patients: Sequence[Hashable],
    majority: int | None = None,
    n_boot: int = 1000,
    seed: int = 0,
    bins: int = 10,
) -> dict:
    """Score a head with several classes; ``macro`` is the plain mean over the classes that occur.

    Args:
        truth: ``(N,)`` classes 0 to K - 1.
        probability: ``(N, K)``.
        patients: ``(N,)``.
        majority: the commonest class of the training section, for the baseline; None takes the one of these cases.
        n_boot: resamples of patients.
        seed: of the resamples.
        bins: of the calibration error and the reliability table.

    Returns:
        ``n``, ``n_patients``, ``confusion`` (rows true, columns predicted), ``metrics`` (``accuracy``,
        ``balanced_accuracy``, ``macro_f1``, ``macro_auc`` and ``macro_pr_auc``, one class against the rest, and
        ``ece`` of the class that is said: ``value``, ``ci``, ``method``), ``baseline_majority`` and ``curves``
        (``reliability`` of the class that is said).
    """
    classes = probability.shape[1]
    called = probability.argmax(axis=1)
    right, said = (called == truth).astype(float), probability.max(axis=1).clip(0, 1)
    statistics: dict[str, Statistic] = {
        "accuracy": weighted_mean(right),
        "balanced_accuracy": balanced_accuracy(truth, called),
        "macro_f1": macro_f1(truth, called),
        **_one_against_rest(truth, probability),
        "ece": ece_statistic(right, said, bins),
    }
    strata = rare_strata(truth.tolist(), patients)
    method = BY_PATIENT if strata is None else BY_CLASS
    ones, metrics = np.ones((1, len(truth))), {}
    for name, statistic in statistics.items():
        interval = interval_entry(statistic, patients, n_boot, seed, strata)
        metrics[name] = {"value": float(statistic(ones)[0]), **interval, "method": method}
    if metrics["balanced_accuracy"].get("note") == ALIKE:
        limits = balanced_interval(called == truth, truth, np.asarray([str(p) for p in patients]), n_boot, seed)
        entry = {"value": metrics["balanced_accuracy"]["value"], "ci": list(limits), "method": "limits of each class"}
        metrics["balanced_accuracy"] = entry
    metrics["ece"]["value"] = calibration_errors(right, said, bins)["ece"]
    matrix = np.zeros((classes, classes), dtype=int)
    np.add.at(matrix, (truth, called), 1)
    return {
        "n": len(truth),
        "n_patients": len(set(map(str, patients))),
        "confusion": matrix.tolist(),
        "metrics": metrics,
        "baseline_majority": _baseline(truth, classes, majority),
        "curves": {"reliability": reliability(right, said, bins)},
    }


def balanced_accuracy(truth: np.ndarray, called: np.ndarray) -> Statistic:
    """Mean share of each class that is called right, over the classes of ``truth``; ``nan`` where one was not drawn."""
    members = [(truth == k).astype(float) for k in np.unique(truth)]
    right = (called == truth).astype(float)

    def balanced(weights: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.mean([(weights @ (member * right)) / (weights @ member) for member in members], axis=0)

    return balanced


def macro_f1(truth: np.ndarray, called: np.ndarray) -> Statistic:
    """Mean F1 of the classes of ``truth``, each against the rest; ``nan`` where one was not drawn."""
    pairs = [((truth == k).astype(float), (called == k).astype(float)) for k in np.unique(truth)]

    def mean(weights: np.ndarray) -> np.ndarray:
        found = []
        for is_so, said in pairs:
            there, both = weights @ is_so, weights @ (is_so * said)
            with np.errstate(invalid="ignore", divide="ignore"):
                found.append(np.where(there > 0, 2 * both / (there + weights @ said), np.nan))
        return np.mean(found, axis=0)

    return mean


def _one_against_rest(truth: np.ndarray, probability: np.ndarray) -> dict[str, Statistic]:
    """Means over the classes that occur beside others; none where only one class occurs."""
    present = [k for k in range(probability.shape[1]) if 0 < np.count_nonzero(truth == k) < len(truth)]
    if not present:
        return {}

    def mean(make: Callable[[np.ndarray, np.ndarray], Statistic]) -> Statistic:
        each = [make((truth == k).astype(int), probability[:, k]) for k in present]
        return lambda weights: np.mean([one(weights) for one in each], axis=0)

    return {"macro_auc": mean(auc_statistic), "macro_pr_auc": mean(average_precision_statistic)}


def _baseline(truth: np.ndarray, classes: int, majority: int | None) -> dict:
    """What always answering the commonest class scores."""
    counts = np.bincount(truth, minlength=classes)
    answer = int(counts.argmax()) if majority is None else int(majority)
    if not 0 <= answer < classes:
        raise ValueError(f"majority must be a class of 0 to {classes - 1}, got {majority}.")
    said, ones = np.full(len(truth), answer), np.ones((1, len(truth)))
    return {
        "class": answer,
        "chosen_on": "these cases" if majority is None else "training section",
        "accuracy": float(counts[answer] / len(truth)),
        "balanced_accuracy": float(balanced_accuracy(truth, said)(ones)[0]),
        "macro_f1": float(macro_f1(truth, said)(ones)[0]),
    }
