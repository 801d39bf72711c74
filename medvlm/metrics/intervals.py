"""Confidence intervals: Wilson for rates, and a bootstrap that resamples patients, never slices or studies."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
from scipy import stats

Statistic = Callable[[np.ndarray], np.ndarray]
"""Maps case weights ``(S, N)`` to values ``(S,)``; ``nan`` where a resample leaves the value undefined."""

_CHUNK_CELLS = 4_000_000
_MIN_DEFINED = 0.8
RARE = 10
"""A class with fewer patients is drawn within itself: one resample in 20,000 would be without it at 10."""
BY_PATIENT, BY_CLASS = "bootstrap by patient", "bootstrap by patient within class"
FEW = 20
"""Patients below which a bootstrap of a rate is too narrow: of 95% it holds 85 to 92% with 5 to 15 of them."""
EFFECTIVE = "wilson on effective patients"
ALIKE = "every resample gives the same value, which says nothing of how it may move"


def wilson(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of a rate, without continuity correction.

    Args:
        successes: count, 0 to ``n``.
        n: trials, at least 1.
        confidence: two-sided, in (0, 1).

    Returns:
        Lower and upper limit; exactly 0 without a success, exactly 1 without a failure.

    Reference:
        E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 1927.
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"a rate needs 0 <= successes <= n and n >= 1, got {successes} of {n}.")
    low, high = _score_limits(successes / n, n, confidence)
    return 0.0 if successes == 0 else low, 1.0 if successes == n else high


def _score_limits(rate: float, n: float, confidence: float) -> tuple[float, float]:
    z = float(stats.norm.ppf(0.5 + _checked(confidence) / 2))
    shrink = 1 + z * z / n
    centre = (rate + z * z / (2 * n)) / shrink
    half = z / shrink * np.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    return float(max(centre - half, 0.0)), float(min(centre + half, 1.0))


def effective_number(hits: np.ndarray, patients: Sequence[Hashable]) -> float:
    """Number of independent cases that would tell as much of a rate as these do.

    The number of cases over the design effect, which is the variance of the rate between patients over that of
    independent cases. It is held between independent cases of a patient (the number of cases) and cases of a patient
    that are all alike (Kish's ``N^2 / sum(n_i^2)``), and is the latter with fewer than five patients, whose spread
    says little.

    Args:
        hits: ``(N,)`` boolean, at least one.
        patients: ``(N,)`` patient of each case.

    Returns:
        The number, at least 1 and at most N.

    Reference:
        J. N. K. Rao, A. J. Scott, "A simple method for the analysis of clustered binary data", Biometrics 1992; in
        Wilson's interval: K. K. Saha, D. Miller, S. Wang, "A comparison of some approximate confidence intervals for a
        single proportion for clustered binary outcome data", International Journal of Biostatistics 2016. The bounds
        are ours; L. Kish, "Survey Sampling", 1965.
    """
    hits = np.asarray(hits, dtype=np.float64)
    _, index = np.unique(np.asarray([str(p) for p in patients]), return_inverse=True)
    sizes, found = np.bincount(index), np.bincount(index, weights=hits)
    n, many, rate = hits.size, len(sizes), hits.mean()
    alike = float(n * n / (sizes**2).sum())
    if many < 5:
        return alike
    between = many / (many - 1) * ((found - sizes * rate) ** 2).sum() / n**2
    independent = rate * (1 - rate)
    return float(np.clip(independent / between, alike, n)) if between > 0 else float(n)


def mean_of_rates(values: Sequence[float], limits: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Limits of the mean of some rates from the limits of each.

    Args:
        values: the K rates.
        limits: lower and upper limit of each.

    Returns:
        Lower and upper limit, in [0, 1] where the limits given are.

    Reference:
        The square-and-add method (MOVER): R. G. Newcombe, "Interval estimation for the difference between independent
        proportions", Statistics in Medicine 1998; G. Y. Zou, A. Donner, "Construction of confidence limits about
        effect measures: a general approach", Statistics in Medicine 2008. The rates are taken as independent, which
        those of different cases are but for patients with cases of several.
    """
    value, (low, high) = np.asarray(values, dtype=np.float64), np.asarray(limits, dtype=np.float64).T
    below, above = (float(np.sqrt((gap**2).sum()) / len(value)) for gap in (value - low, high - value))
    return float(value.mean()) - below, float(value.mean()) + above


def patient_weights(patients: Sequence[Hashable], n_boot: int, seed: int) -> np.ndarray:
    """How often each case is drawn when patients are drawn with replacement.

    Args:
        patients: ``(N,)`` patient of each case.
        n_boot: number of resamples B.
        seed: of the generator.

    Returns:
        ``(B, N)`` float64 counts; cases of one patient share a column's value.
    """
    counts, index = _draw(patients, n_boot, seed)
    return counts[:, index].astype(np.float64)


def _draw(
    patients: Sequence[Hashable], n_boot: int, seed: int, strata: Sequence[Hashable] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """How often each patient is drawn ``(B, P)``, and the patient of each case ``(N,)``."""
    if len(patients) == 0:
        raise ValueError("the bootstrap needs at least one case, got none.")
    if n_boot < 1:
        raise ValueError(f"n_boot must be at least 1, got {n_boot}; 1000 is usual.")
    _, index = np.unique(np.asarray([str(p) for p in patients]), return_inverse=True)
    n_patients = int(index.max()) + 1
    generator = np.random.default_rng(seed)
    if strata is None:
        return generator.multinomial(n_patients, np.full(n_patients, 1 / n_patients), size=n_boot), index
    if len(strata) != len(patients):
        raise ValueError(f"one stratum a case is needed, got {len(strata)} for {len(patients)} cases.")
    inside: list[set[str]] = [set() for _ in range(n_patients)]  # a patient with cases of two strata is of a third
    for patient, stratum in zip(index, strata, strict=True):
        inside[patient].add(str(stratum))
    names = ["\n".join(sorted(own)) for own in inside]
    counts = np.zeros((n_boot, n_patients), dtype=np.int64)
    for stratum in sorted(set(names)):
        members = np.flatnonzero([name == stratum for name in names])
        counts[:, members] = generator.multinomial(len(members), np.full(len(members), 1 / len(members)), size=n_boot)
    return counts, index


def rare_strata(
    classes: Sequence[Hashable], patients: Sequence[Hashable], fewest: int = RARE
) -> Sequence[Hashable] | None:
    """The classes as strata of the bootstrap where one has so few patients that a resample may miss it.

    Args:
        classes: ``(N,)`` class of each case.
        patients: ``(N,)`` patient of each case.
        fewest: patients from which on a class is not rare.

    Returns:
        ``classes`` themselves, or None where none is rare.
    """
    whose: dict[Hashable, set[str]] = {}
    for kind, patient in zip(classes, patients, strict=True):
        whose.setdefault(kind, set()).add(str(patient))
    return classes if any(len(own) < fewest for own in whose.values()) else None


def bootstrap(
    statistic: Statistic,
    patients: Sequence[Hashable],
    n_boot: int = 1000,
    seed: int = 0,
    strata: Sequence[Hashable] | None = None,
) -> np.ndarray:
    """Values of a statistic over resamples of patients.

    Args:
        statistic: see :data:`Statistic`.
        patients: ``(N,)`` patient of each case.
        n_boot: number of resamples B.
        seed: of the generator; the same seed draws the same patients for every statistic.
        strata: ``(N,)`` stratum of each case, say its class: as many patients of each are drawn as there are.

    Returns:
        ``(B,)`` values, ``nan`` where undefined.
    """
    counts, index = _draw(patients, n_boot, seed, strata)
    step = max(1, _CHUNK_CELLS // len(index))
    chunks = (counts[start : start + step, index].astype(np.float64) for start in range(0, n_boot, step))
    return np.concatenate([statistic(weights) for weights in chunks])


def percentile_interval(values: np.ndarray, confidence: float = 0.95) -> tuple[float, float] | None:
    """Percentile interval of bootstrap values; None when fewer than 80% of them are defined."""
    tail = (1 - _checked(confidence)) / 2
    defined = values[np.isfinite(values)]
    if len(defined) < _MIN_DEFINED * len(values):
        return None
    low, high = np.quantile(defined, [tail, 1 - tail])
    return float(low), float(high)


def bootstrap_interval(
    statistic: Statistic,
    patients: Sequence[Hashable],
    n_boot: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
    strata: Sequence[Hashable] | None = None,
) -> tuple[float, float] | None:
    """Percentile interval of a statistic over resampled patients; arguments as in :func:`bootstrap`.

    Returns:
        The limits, or None with fewer than two patients, where a fifth of the resamples leave it undefined, or where
        none of them varies.
    """
    limits = interval_entry(statistic, patients, n_boot, seed, strata, confidence)["ci"]
    return tuple(limits) if limits else None


def interval_entry(
    statistic: Statistic,
    patients: Sequence[Hashable],
    n_boot: int = 1000,
    seed: int = 0,
    strata: Sequence[Hashable] | None = None,
    confidence: float = 0.95,
) -> dict[str, Any]:
    """An interval as ``evaluation.json`` holds it; arguments as in :func:`bootstrap`.

    Returns:
        ``ci``, as of :func:`bootstrap_interval` but a list; where there are any ``dropped``: the resamples that
        left the statistic undefined and had no part; and where no resample varies, so that the limits would be one
        value, ``ci`` None with a ``note``.
    """
    if len({str(p) for p in patients}) < 2:
        return {"ci": None}
    values = bootstrap(statistic, patients, n_boot, seed, strata)
    limits = percentile_interval(values, confidence)
    if limits and np.isclose(*limits, rtol=1e-9, atol=1e-12):
        return {"ci": None, "note": ALIKE} | _dropped(values)
    return {"ci": list(limits) if limits else None} | _dropped(values)


def _dropped(values: np.ndarray) -> dict[str, int]:
    lost = int(np.count_nonzero(~np.isfinite(values)))
    return {"dropped": lost} if lost else {}


def paired_bootstrap(
    statistic_a: Statistic,
    statistic_b: Statistic,
    patients: Sequence[Hashable],
    n_boot: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
    strata: Sequence[Hashable] | None = None,
) -> dict[str, Any]:
    """Difference of two statistics of the same cases, on the same resamples of patients; see :func:`bootstrap`.

    Returns:
        ``difference`` (a minus b), ``ci``, and the two-sided ``p``: twice the smaller share of resamples on the other
        side of zero (each share counts one resample more than there were, so that p is never 0). ``ci`` and ``p`` are
        None with fewer than two patients, or where most resamples leave a value undefined. ``dropped`` as in
        :func:`interval_entry`.
    """
    whole = np.ones((1, len(patients)))
    difference = float(statistic_a(whole)[0] - statistic_b(whole)[0])
    if len({str(p) for p in patients}) < 2:
        return {"difference": difference, "ci": None, "p": None}
    values = bootstrap(lambda weights: statistic_a(weights) - statistic_b(weights), patients, n_boot, seed, strata)
    limits = percentile_interval(values, confidence)
    defined = values[np.isfinite(values)]
    if limits is None:
        return {"difference": difference, "ci": None, "p": None} | _dropped(values)
    below = (1 + np.count_nonzero(defined <= 0)) / (1 + len(defined))
    above = (1 + np.count_nonzero(defined >= 0)) / (1 + len(defined))
    p = float(min(1.0, 2 * min(below, above)))
    return {"difference": difference, "ci": list(limits), "p": p} | _dropped(values)


def rate_interval(
    hits: np.ndarray, patients: Sequence[Hashable], n_boot: int = 1000, seed: int = 0, confidence: float = 0.95
) -> tuple[tuple[float, float] | None, str]:
    """Interval of a rate over cases, of which a patient may have several.

    Args:
        hits: ``(N,)`` boolean, whether each case counts.
        patients: ``(N,)`` patient of each case.
        n_boot: number of resamples.
        seed: of the generator.
        confidence: two-sided.

    Returns:
        The limits (None without cases) and the method: Wilson with one case a patient; where every case is alike,
        Wilson on the number of patients; else the bootstrap by patient, and with fewer than :data:`FEW` patients, or
        where a limit of the bootstrap is 0 or 1, Wilson on the effective number of patients
        (:func:`effective_number`).
    """
    hits = np.asarray(hits, dtype=bool)
    if hits.size == 0:
        return None, "no cases"
    n_patients = len({str(p) for p in patients})
    if n_patients == hits.size:
        return wilson(int(hits.sum()), hits.size, confidence), "wilson"
    if hits.all() or not hits.any():
        return wilson(n_patients if hits.all() else 0, n_patients, confidence), "wilson on patients"
    if n_patients >= FEW:
        limits = bootstrap_interval(weighted_mean(hits), patients, n_boot, seed, confidence)
        if limits and limits[0] > 0 and limits[1] < 1:
            return limits, BY_PATIENT
    return _score_limits(float(hits.mean()), effective_number(hits, patients), confidence), EFFECTIVE


def balanced_interval(
    right: np.ndarray, classes: np.ndarray, patients: np.ndarray, n_boot: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Limits of a balanced accuracy that no resample moves, from those of each class.

    Args:
        right: ``(N,)`` boolean, whether each case was told.
        classes: ``(N,)`` class of each case.
        patients: ``(N,)`` patient of each case.
        n_boot: as in :func:`rate_interval`; ``seed`` too.
        seed: of the generator.

    Returns:
        The limits of :func:`mean_of_rates` over the rates of :func:`rate_interval`.
    """
    members = [classes == kind for kind in np.unique(classes)]
    limits = [rate_interval(right[member], patients[member], n_boot, seed)[0] for member in members]
    return mean_of_rates([float(right[member].mean()) for member in members], limits)


def weighted_mean(values: np.ndarray) -> Statistic:
    """Statistic: the mean over cases.

    Args:
        values: ``(N,)``, all finite.
    """
    values = np.asarray(values, dtype=np.float64)

    def mean(weights: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return weights @ values / weights.sum(axis=1)

    return mean


def _checked(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}; 0.95 is usual.")
    return confidence
