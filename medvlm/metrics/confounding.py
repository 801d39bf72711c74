"""Could the network have learnt the source instead of the disease?

Where every negative comes from one collection and every positive from another, a classifier that knows the collection
is right without having seen a tumour. Three looks: how labels lie over sources, how well the source can be told from
the network's own pooled features, and how well cases are told apart within one source.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from medvlm.metrics.intervals import ALIKE, Statistic, balanced_interval, interval_entry

_MIN_PATIENTS = 3
_RIDGE = 0.3
"""Beside the variance 1 of a standardised feature. Less lets directions of noise weigh more, more hides a source that
shows in a direction of little variance. With 0.3 the balanced accuracy was within 0.06 of that of a logistic
regression (C = 0.1), on features of a brain network and on drawn ones."""


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
    n_permutations: int = 199,
    n_boot: int = 1000,
    seed: int = 0,
) -> dict:
    """How well a linear classifier tells the source from pooled features.

    A regularised linear discriminant with equal priors, cross-validated in folds of whole patients: the nearest class
    mean in whitened features. Whitening looks at the training cases' features alone, not at their sources, so that it
    is done once a fold, and a permutation costs class means only. Permutations are therefore complete refits of what
    was observed, some hundred of which take a second or two with 700 cases of 896 features.

    Args:
        features: ``(N, F)`` pooled features, finite.
        sources: ``(N,)`` source of each case.
        patients: ``(N,)`` patient of each case.
        folds: at most; fewer where a source has fewer patients.
        n_permutations: refits with sources dealt anew: what chance gives with these very features. Sources are dealt
            among the patients of a fold, so that each fold keeps its mixture of sources; what a patient has in one
            source stays together.
        n_boot: resamples of the interval.
        seed: of folds, permutations and bootstrap.

    Returns:
        ``balanced_accuracy``, ``ci`` (bootstrap by patient of the out-of-fold answers; from the limits
        of each source where no resample varies), ``chance`` (1 over the number
        of sources), ``permutation`` (``mean``, ``p``, the share of permutations at least as good with the observed
        sources counted among them, and their number ``n``; None without any), ``n``, ``sources``, and a ``note`` for
        sources left out. ``balanced_accuracy`` is None, with a note, when fewer than two sources have 3 patients each.

    Reference:
        M. Ojala, G. C. Garriga, "Permutation tests for studying classifier performance", JMLR 2010,
        https://www.jmlr.org/papers/v11/ojala10a.html (test 1; we deal within folds).
    """
    features = np.asarray(features, dtype=np.float64)
    sources, patients = np.asarray([str(s) for s in sources]), np.asarray([str(p) for p in patients])
    if features.ndim != 2 or not len(features) == len(sources) == len(patients):
        raise ValueError(f"features (N, F) with N sources and patients are needed, got {features.shape}.")
    if not np.isfinite(features).all():
        raise ValueError("features must be finite; a NaN in them comes from the network or its input.")
    groups = {str(name): len(set(patients[sources == name])) for name in sorted(set(sources))}
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
    generator = np.random.default_rng(seed)
    fold = _folds(truth, patients, min(folds, *(groups[name] for name in kept)), generator)
    labels = np.stack([truth, *_dealt_anew(truth, patients, fold, n_permutations, generator)])  # (1 + n, N)
    answers = _out_of_fold(features, labels, fold)
    statistic = _balanced_accuracy(truth, answers[0], len(kept))
    whole = np.ones((1, len(truth)))
    reached = [
        float(_balanced_accuracy(dealt, answer, len(kept))(whole)[0])
        for dealt, answer in zip(labels, answers, strict=True)
    ]
    interval = interval_entry(statistic, patients, n_boot, seed)
    if interval.get("note") == ALIKE:
        interval = {"ci": list(balanced_interval(answers[0] == truth, truth, patients, n_boot, seed))}
    return out | {
        "balanced_accuracy": reached[0],
        **interval,
        "chance": 1 / len(kept),
        "permutation": _permutation(reached[0], reached[1:]),
        "n": int(len(truth)),
    }


def _folds(truth: np.ndarray, patients: np.ndarray, folds: int, generator: np.random.Generator) -> np.ndarray:
    """The fold of each case: a patient's cases share one, and each source's patients are spread evenly."""
    _, first, index = np.unique(patients, return_index=True, return_inverse=True)
    order = generator.permutation(len(first))
    order = order[np.argsort(truth[first][order], kind="stable")]
    fold = np.empty(len(first), dtype=int)
    fold[order] = np.arange(len(first)) % folds
    return fold[index]


def _dealt_anew(
    truth: np.ndarray, patients: np.ndarray, fold: np.ndarray, n: int, generator: np.random.Generator
) -> Iterator[np.ndarray]:
    """Sources dealt anew within each fold; the cases of a patient and source stay together."""
    pairs = np.unique(patients, return_inverse=True)[1] * (truth.max() + 1) + truth
    _, first, index = np.unique(pairs, return_index=True, return_inverse=True)
    own, where = truth[first], fold[first]
    by_fold = np.argsort(where, kind="stable")
    for _ in range(n):
        dealt = np.empty_like(own)
        dealt[by_fold] = own[np.lexsort((generator.random(len(own)), where))]
        yield dealt[index]


def _out_of_fold(features: np.ndarray, labels: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Answers ``(M, N)`` of M dealings ``labels`` ``(M, N)``, each case's from a fit without its fold."""
    answers = np.empty_like(labels)
    classes = np.eye(labels.max() + 1)
    for number in np.unique(fold):
        train = fold != number
        white = _whitened(features, train)
        for dealt, answer in zip(labels, answers, strict=True):
            member = classes[dealt[train]]  # (n, K)
            counts = member.sum(axis=0)
            means = (member / np.maximum(counts, 1)).T @ white[train]  # (K, R)
            near = white[~train] @ means.T - (means**2).sum(axis=1) / 2
            answer[~train] = np.where(counts > 0, near, -np.inf).argmax(axis=1)
    return answers


def _whitened(features: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Features ``(N, R)`` standardised and whitened by the training cases, R at most the number of these."""
    spread = features[train].std(axis=0)
    scaled = (features - features[train].mean(axis=0)) / np.where(spread > 0, spread, 1)
    _, values, axes = np.linalg.svd(scaled[train], full_matrices=False)
    return scaled @ (axes.T / np.sqrt(values**2 / train.sum() + _RIDGE))


def _balanced_accuracy(truth: np.ndarray, answers: np.ndarray, classes: int) -> Statistic:
    member = np.eye(classes)[truth]  # (N, K)
    right = member * (truth == answers)[:, None]

    def balanced_accuracy(weights: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return ((weights @ right) / (weights @ member)).mean(axis=1)

    return balanced_accuracy


def _permutation(value: float, others: Sequence[float]) -> dict | None:
    if not others:
        return None
    reached = sum(other >= value - 1e-12 for other in others)
    return {"mean": float(np.mean(others)), "p": (1 + reached) / (1 + len(others)), "n": len(others)}


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
