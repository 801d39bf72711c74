"""Scores of the verdict "tumour or not", each with its interval, its method, and the majority baseline beside it.

A case is called positive when its probability is at least the threshold. Every interval takes the patient as the unit:
Wilson and DeLong where each patient has one case, the bootstrap by patient elsewhere (of a rate with few patients,
Wilson on an effective number of them); where a class has few patients, it draws them within the classes.

Reference:
    Predictive values at a stated prevalence follow from Bayes' rule; MCC: B. W. Matthews, 1975.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from medvlm.metrics.calibration import calibration_errors, ece_statistic, reliability
from medvlm.metrics.intervals import (
    ALIKE,
    BY_CLASS,
    BY_PATIENT,
    RARE,
    Statistic,
    interval_entry,
    mean_of_rates,
    rare_strata,
    rate_interval,
    wilson,
)
from medvlm.metrics.ranking import (
    auc_statistic,
    average_precision_statistic,
    check_labels,
    delong,
    precision_recall_curve,
    roc_curve,
)

PREVALENCES_PERCENT = (1, 5, 10)
FROM_RATES = "limits of sensitivity and specificity"


def confusion(tumour: np.ndarray, called: np.ndarray) -> dict[str, int]:
    """Counts of the four outcomes.

    Args:
        tumour: ``(N,)`` of 0 and 1.
        called: ``(N,)`` boolean verdicts.

    Returns:
        ``tp``, ``fp``, ``tn``, ``fn``.
    """
    tumour, called = np.asarray(tumour) == 1, np.asarray(called, dtype=bool)
    return {
        "tp": int((tumour & called).sum()),
        "fp": int((~tumour & called).sum()),
        "tn": int((~tumour & ~called).sum()),
        "fn": int((tumour & ~called).sum()),
    }


def rates(tp: np.ndarray, fp: np.ndarray, tn: np.ndarray, fn: np.ndarray) -> dict[str, np.ndarray]:
    """Everything that follows from a confusion matrix.

    Args:
        tp: true positives, a number or an array of any shape (float counts allowed); the others likewise.
        fp: false positives.
        tn: true negatives.
        fn: false negatives.

    Returns:
        ``sensitivity``, ``specificity``, ``balanced_accuracy``, ``mcc``, ``f1``, ``accuracy``, ``ppv``, ``npv``, and
        ``ppv_at_1`` ... ``npv_at_10`` (prevalence in percent). ``nan`` where a denominator is 0, but MCC and F1 are 0
        there, as in scikit-learn.
    """
    tp, fp, tn, fn = (np.asarray(value, dtype=np.float64) for value in (tp, fp, tn, fn))
    with np.errstate(invalid="ignore", divide="ignore"):
        sensitivity, specificity = tp / (tp + fn), tn / (tn + fp)
        spread = np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
        out = {
            "sensitivity": sensitivity,
            "specificity": specificity,
            "balanced_accuracy": (sensitivity + specificity) / 2,
            "mcc": np.where(spread > 0, (tp * tn - fp * fn) / np.where(spread > 0, spread, 1), 0.0),
            "f1": np.where(2 * tp + fp + fn > 0, 2 * tp / np.where(2 * tp + fp + fn > 0, 2 * tp + fp + fn, 1), 0.0),
            "accuracy": (tp + tn) / (tp + fp + tn + fn),
            "ppv": tp / (tp + fp),
            "npv": tn / (tn + fn),
        }
        for percent in PREVALENCES_PERCENT:
            at = predictive_values(sensitivity, specificity, percent / 100)
            out[f"ppv_at_{percent}"], out[f"npv_at_{percent}"] = at
    return out


def predictive_values(
    sensitivity: np.ndarray, specificity: np.ndarray, prevalence: float
) -> tuple[np.ndarray, np.ndarray]:
    """PPV and NPV at a prevalence in (0, 1), by Bayes' rule; ``nan`` where nothing is called that way."""
    if not 0 < prevalence < 1:
        raise ValueError(f"prevalence must lie between 0 and 1, got {prevalence}; 1% is 0.01.")
    sensitivity, specificity = np.asarray(sensitivity, dtype=np.float64), np.asarray(specificity, dtype=np.float64)
    true_positive, false_positive = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
    true_negative, false_negative = specificity * (1 - prevalence), (1 - sensitivity) * prevalence
    with np.errstate(invalid="ignore", divide="ignore"):
        return true_positive / (true_positive + false_positive), true_negative / (true_negative + false_negative)


def rate_statistic(tumour: np.ndarray, called: np.ndarray, name: str) -> Statistic:
    """One entry of :func:`rates` as a statistic of case weights, for the bootstrap."""
    tumour, called = np.asarray(tumour) == 1, np.asarray(called, dtype=bool)
    cells = np.stack([tumour & called, ~tumour & called, ~tumour & ~called, tumour & ~called], axis=1).astype(float)

    def rate(weights: np.ndarray) -> np.ndarray:
        return rates(*(weights @ cells).T)[name]

    return rate


def majority_baseline(tumour: np.ndarray, majority: int | None = None) -> dict[str, float | int | str]:
    """What always answering the commoner class scores.

    Args:
        tumour: ``(N,)`` of 0 and 1.
        majority: the class that is commoner in the training section; None takes the one of these cases (the positive
            one at a tie), which no real model could know.

    Returns:
        ``class``, ``chosen_on``, ``accuracy``, ``f1`` and ``balanced_accuracy``.
    """
    prevalence = float((np.asarray(tumour) == 1).mean())
    positive = prevalence >= 0.5 if majority is None else majority == 1
    return {
        "class": int(positive),
        "chosen_on": "these cases" if majority is None else "training section",
        "accuracy": prevalence if positive else 1 - prevalence,
        "f1": 2 * prevalence / (1 + prevalence) if positive else 0.0,
        "balanced_accuracy": 0.5,
    }


def classification_report(
    tumour: np.ndarray,
    probability: np.ndarray,
    patients: Sequence[Hashable],
    threshold: float | np.ndarray = 0.5,
    n_boot: int = 1000,
    seed: int = 0,
    bins: int = 10,
    max_points: int = 200,
    majority: int | None = None,
    rare: int = RARE,
) -> dict:
    """All scores of a set of cases at one threshold, or at one for each case.

    Args:
        tumour: ``(N,)`` of 0 and 1, all known.
        probability: ``(N,)`` tumour probabilities in [0, 1].
        patients: ``(N,)`` patient of each case.
        threshold: a case is called positive at or above it; chosen elsewhere, never on these cases. ``(N,)`` where
            kinds of input have thresholds of their own.
        n_boot: resamples of the bootstrap.
        seed: of the bootstrap.
        bins: of the calibration error and the reliability table.
        max_points: of each curve.
        majority: the commoner class of the training section, for the baseline.
        rare: where a class has fewer patients, the bootstrap draws as many patients of each class as there are.

    Returns:
        ``n``, ``n_patients``, ``n_positive``, ``prevalence``, ``threshold`` (a list where there are several),
        ``confusion``, ``metrics`` (name to ``value``, ``ci``, ``method``; where no resample varies, ``ci`` is None
        and a ``note`` says so), ``baseline_majority`` and ``curves`` (``roc``, ``pr``, ``reliability``). With one
        class only: the counts, a ``note``, and in ``rates`` the one rate that exists.
    """
    tumour, probability = check_labels(tumour, probability, both=False)
    if len(patients) != len(tumour):
        raise ValueError(f"one patient a case is needed, got {len(patients)} for {len(tumour)} cases.")
    called = probability >= threshold
    counts = confusion(tumour, called)
    report = {
        "n": len(tumour),
        "n_patients": len({str(p) for p in patients}),
        "n_positive": int(tumour.sum()),
        "prevalence": float(tumour.mean()),
        "threshold": _one_or_list(threshold),
        "confusion": counts,
    }
    patients = np.asarray([str(p) for p in patients])
    draw = {"n_boot": n_boot, "seed": seed}
    drawn = draw | {"strata": rare_strata(tumour.tolist(), patients, rare)}
    if len(np.unique(tumour)) < 2:
        name = "sensitivity" if tumour[0] == 1 else "specificity"
        ci, method = rate_interval(called == (tumour == 1), patients, **draw)
        value = float((called == (tumour == 1)).mean())
        return report | {"note": "one class only", "rates": {name: _entry(value, ci, method)}}
    metrics = _rate_metrics(tumour, called, patients, draw, drawn)
    metrics["roc_auc"] = _auc_metric(tumour, probability, patients, drawn)
    for name, value, statistic in (
        ("pr_auc", None, average_precision_statistic(tumour, probability)),
        ("ece", calibration_errors(tumour, probability, bins)["ece"], ece_statistic(tumour, probability, bins)),
    ):
        value = float(statistic(np.ones((1, len(tumour))))[0]) if value is None else value
        metrics[name] = _bootstrapped(value, statistic, patients, drawn)
    return report | {
        "metrics": metrics,
        "baseline_majority": majority_baseline(tumour, majority),
        "curves": {
            "roc": roc_curve(tumour, probability, max_points),
            "pr": precision_recall_curve(tumour, probability, max_points),
            "reliability": reliability(tumour, probability, bins),
        },
    }


def _one_or_list(threshold: float | np.ndarray) -> float | list[float]:
    different = np.unique(threshold).tolist()
    return float(different[0]) if len(different) == 1 else different


def _entry(value: float, ci: tuple[float, float] | None, method: str) -> dict:
    return {"value": value, "ci": list(ci) if ci is not None else None, "method": method}


def _bootstrapped(value: float, statistic: Statistic, patients: np.ndarray, drawn: dict) -> dict:
    method = BY_PATIENT if drawn["strata"] is None else BY_CLASS
    return {"value": value, **interval_entry(statistic, patients, **drawn), "method": method}


def _rate_metrics(
    tumour: np.ndarray, called: np.ndarray, patients: np.ndarray, draw: dict, drawn: dict
) -> dict[str, dict]:
    """Values and intervals of everything in :func:`rates`."""
    values = {name: float(value) for name, value in rates(**confusion(tumour, called)).items()}
    right = called == (tumour == 1)
    of = {  # the cases a plain rate is taken over
        "sensitivity": tumour == 1,
        "specificity": tumour == 0,
        "accuracy": np.ones_like(called),
        "ppv": called,
        "npv": ~called,
    }
    metrics = {}
    for name, value in values.items():
        if name in of:
            metrics[name] = _entry(value, *rate_interval(right[of[name]], patients[of[name]], **draw))
        elif not name.startswith(("ppv_at", "npv_at")):
            metrics[name] = _bootstrapped(value, rate_statistic(tumour, called, name), patients, drawn)
    if metrics["balanced_accuracy"].get("note") == ALIKE:
        two = [metrics[name] for name in ("sensitivity", "specificity")]
        ci = mean_of_rates([one["value"] for one in two], [one["ci"] for one in two])
        metrics["balanced_accuracy"] = _entry(values["balanced_accuracy"], ci, FROM_RATES)
    return metrics | _through_bayes(values, metrics)


def _through_bayes(values: dict[str, float], metrics: dict[str, dict]) -> dict[str, dict]:
    """Predictive values with the limits of sensitivity and specificity carried through Bayes' rule.

    Both predictive values rise with both rates, so that limits map to limits. (Resamples would not do: a few
    negatives, all right in many a resample, would put the upper limit of a PPV at 1.)
    """
    method = FROM_RATES
    sides = [metrics["sensitivity"]["ci"], metrics["specificity"]["ci"]]
    if None in sides:
        names = [name for name in values if name.startswith(("ppv_at", "npv_at"))]
        return {name: _entry(values[name], None, method) for name in names}
    found = {}
    for percent in PREVALENCES_PERCENT:
        low, high = (predictive_values(*pair, percent / 100) for pair in zip(*sides, strict=True))
        for index, name in enumerate((f"ppv_at_{percent}", f"npv_at_{percent}")):
            ci = (float(low[index]), float(high[index]))
            found[name] = _entry(values[name], ci, method)
    return found


def _auc_metric(tumour: np.ndarray, probability: np.ndarray, patients: np.ndarray, drawn: dict) -> dict:
    found = delong(tumour, probability)
    if found.auc in (0.0, 1.0):
        # No resample varies. Positives and negatives can be paired off, one patient each: every pair is one trial.
        pairs = min(len(set(patients[tumour == value])) for value in (0, 1))
        return _entry(found.auc, wilson(int(found.auc) * pairs, pairs), "wilson on disjoint pairs")
    if len(set(patients)) == len(tumour) and np.isfinite(found.variance):
        return _entry(found.auc, found.interval(), "delong")
    return _bootstrapped(found.auc, auc_statistic(tumour, probability), patients, drawn)
