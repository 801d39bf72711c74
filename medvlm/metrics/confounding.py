"""Could the network have learnt the source instead of the disease?

Where every negative comes from one collection and every positive from another, a classifier that knows the collection
is right without having seen a tumour. Three looks: how labels lie over sources, how well the source can be told from
the network's own pooled features, and how well cases are told apart within one source.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from medvlm.metrics.intervals import Statistic, interval_entry

_MIN_PATIENTS = 3


def label_by_source(sources: Sequence[str], tumour: Sequence[int | None]) -> dict[str, dict[str, int]]:
    """Counts of cases without, with and of unknown tumour for each source."""
    table: dict[str, dict[str, int]] = {}
    for source, label in zip(sources, tumour, strict=True):
        counts = table.setdefault(str(source), {"0": 0, "1": 0, "unknown": 0})
        counts["unknown" if label is None else str(int(label))] += 1
    return dict(sorted(table.items()))


def label_from_source(table: dict[str, dict[str, int]]) -> dict[str, float] | None:
    """How far the label can be told from the source alone, by answering each source's commoner class.

    Args:
        table: of :func:`label_by_source`.

    Returns:
        ``accuracy`` and ``balanced_accuracy`` (0.5 when every source has the same prevalence side), or None unless
        both classes occur.
    """
    totals = {label: sum(counts[label] for counts in table.values()) for label in ("0", "1")}
    if not all(totals.values()):
        return None
    right = {"0": 0, "1": 0}
    overall = totals["1"] / (totals["0"] + totals["1"])
    for counts in table.values():
        known = counts["0"] + counts["1"]
        if known:
            # Against the overall prevalence, or a set of mostly tumours would hide sources that differ.
            answer = "1" if counts["1"] / known >= overall else "0"
            right[answer] += counts[answer]
    return {
        "accuracy": sum(max(c["0"], c["1"]) for c in table.values()) / sum(totals.values()),
        "balanced_accuracy": max(0.5, (right["0"] / totals["0"] + right["1"] / totals["1"]) / 2),
    }


def source_from_features(
    features: np.ndarray,
    sources: Sequence[str],
    patients: Sequence[str],
    folds: int = 5,
    n_permutations: int = 20,
    n_boot: int = 1000,
    seed: int = 0,
) -> dict:
    """How well a linear classifier tells the source from pooled features.

    Cross-validated logistic regression on standardised features, classes balanced, folds grouped by patient.

    Args:
        features: ``(N, F)`` pooled features, finite.
        sources: ``(N,)`` source of each case.
        patients: ``(N,)`` patient of each case.
        folds: at most; fewer where a source has fewer patients.
        n_permutations: refits with sources dealt anew among patients: what chance gives with these very features.
        n_boot: resamples of the interval.
        seed: of folds, permutations and bootstrap.

    Returns:
        ``balanced_accuracy``, ``ci`` (bootstrap by patient of the out-of-fold answers), ``chance`` (1 over the number
        of sources), ``permutation`` (``mean`` and ``p``, the share of permutations at least as good), ``n``,
        ``sources``, and a ``note`` for sources left out. ``balanced_accuracy`` is None, with a note, when fewer than
        two sources have 3 patients each.
    """
    features = np.asarray(features, dtype=np.float64)
    sources, patients = np.asarray([str(s) for s in sources]), np.asarray([str(p) for p in patients])
    if features.ndim != 2 or not len(features) == len(sources) == len(patients):
        raise ValueError(f"features (N, F) with N sources and patients are needed, got {features.shape}.")
    if not np.isfinite(features).all():
        raise ValueError("features must be finite; a NaN in them comes from the network or its input.")
    groups = {name: len(set(patients[sources == name])) for name in sorted(set(sources))}
    kept = [name for name, n in groups.items() if n >= _MIN_PATIENTS]
    left_out = [name for name in groups if name not in kept]
    out = {"balanced_accuracy": None, "ci": None, "chance": None, "permutation": None, "n": 0, "sources": kept}
    if left_out:
        out["note"] = f"left out for fewer than {_MIN_PATIENTS} patients: {', '.join(left_out)}"
    if len(kept) < 2:
        return out | {"note": f"two sources of at least {_MIN_PATIENTS} patients each are needed, got {len(kept)}"}
    member = np.isin(sources, kept)
    features, patients = features[member], patients[member]
    truth = np.searchsorted(kept, sources[member])
    folds = min(folds, *(groups[name] for name in kept))
    answers = _out_of_fold(features, truth, patients, folds, seed)
    statistic = _balanced_accuracy(truth, answers, len(kept))
    value = float(statistic(np.ones((1, len(truth))))[0])
    return out | {
        "balanced_accuracy": value,
        **interval_entry(statistic, patients, n_boot, seed),
        "chance": 1 / len(kept),
        "permutation": _permuted(features, truth, patients, folds, n_permutations, seed, value),
        "n": int(len(truth)),
    }


def _out_of_fold(features: np.ndarray, truth: np.ndarray, patients: np.ndarray, folds: int, seed: int) -> np.ndarray:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, class_weight="balanced", max_iter=500))
    split = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an unconverged fit, or a fold without a rare source, is a worse answer
        return cross_val_predict(model, features, truth, groups=patients, cv=split)


def _balanced_accuracy(truth: np.ndarray, answers: np.ndarray, classes: int) -> Statistic:
    member = np.eye(classes)[truth]  # (N, K)
    right = member * (truth == answers)[:, None]

    def balanced_accuracy(weights: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return ((weights @ right) / (weights @ member)).mean(axis=1)

    return balanced_accuracy


def _permuted(
    features: np.ndarray, truth: np.ndarray, patients: np.ndarray, folds: int, n: int, seed: int, value: float
) -> dict | None:
    """The same with sources dealt anew; a patient's cases stay together where a patient has one source."""
    if n < 1:
        return None
    generator = np.random.default_rng(seed)
    _, first, index = np.unique(patients, return_index=True, return_inverse=True)
    together = bool((truth[first][index] == truth).all())
    whole, found = np.ones((1, len(truth))), []
    for turn in range(n):
        dealt = generator.permutation(truth[first])[index] if together else generator.permutation(truth)
        answers = _out_of_fold(features, dealt, patients, folds, seed + turn)
        found.append(float(_balanced_accuracy(dealt, answers, int(truth.max()) + 1)(whole)[0]))
    reached = sum(one >= value for one in found)
    return {"mean": float(np.mean(found)), "p": (1 + reached) / (1 + n), "n": n}


def confounding_note(table: dict[str, dict[str, int]]) -> str:
    """Say in a sentence what the label × source table means for the scores."""
    labelled = {name: counts for name, counts in table.items() if counts["0"] + counts["1"]}
    single = [name for name, counts in labelled.items() if not (counts["0"] and counts["1"])]
    if not labelled:
        return "No case has a known class."
    if len(labelled) == 1:
        return "One source only: nothing is known about other sources." + (" It holds one class." if single else "")
    if len(single) == len(labelled):
        return (
            "Every source holds one class only: source and class cannot be told apart, and no overall score shows "
            "that the network sees the tumour."
        )
    if single:
        return (
            f"One class only in {', '.join(single)}: overall scores mix source and class; read the scores within the "
            "other sources."
        )
    return "Every source holds both classes: read the scores within each source beside the overall ones."
