"""Whether a generated report says what the written one says: facts found, missed and made up, with intervals.

Facts are counted over all studies together (micro average), so that a report with many findings weighs more than an
empty one; patients are resampled for the intervals.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence

import numpy as np

from medvlm.metrics.angiography_facts import Fact, derived, extract_facts, fact_set
from medvlm.metrics.angiography_places import TREE, VESSEL_OF
from medvlm.metrics.intervals import Statistic, interval_entry, paired_bootstrap

KINDS = ("stenosis", "occlusion", "normal", "calcification", "dominance", "vessel")
GROUPS = ("findings", "all")
"""``findings``: stenoses and calcifications that are there; ``all``: these, what is normal, and the dominance."""


def facts_of(reports: Sequence[str | None]) -> list[set[Fact]]:
    """Facts of each report, with what follows from them; an empty or absent report has none."""
    found = (fact_set(extract_facts(report or "")) for report in reports)
    return [facts | derived(facts) for facts in found]


def fact_report(
    generated: Sequence[str | None],
    written: Sequence[str],
    patients: Sequence[Hashable],
    n_boot: int = 1000,
    seed: int = 0,
) -> dict:
    """Scores of the facts of a set of reports.

    Args:
        generated: ``(N,)`` texts; empty ones claim nothing.
        written: ``(N,)`` references.
        patients: ``(N,)`` patient of each.
        n_boot: resamples of patients.
        seed: of the resamples.

    Returns:
        ``n``, ``n_patients``, ``n_without_facts`` (references in which no fact was found), ``kinds`` and ``groups``:
        each with the counts ``right``, ``extra``, ``missed``, and with ``value`` and ``ci`` (None where undefined) of
        ``precision``, ``recall``, ``f1``; ``hallucination``: of the findings that were generated the share for which
        the reference has nothing at that place, not even another grade (``value``, ``ci``, ``n`` generated,
        ``n_made_up``).

    Raises:
        ValueError: lengths differ, or there is nothing to score.
    """
    return _report(facts_of(generated), facts_of(written), _units(generated, written, patients), n_boot, seed)


def compare_facts(
    reports: Mapping[str, Sequence[str | None]],
    written: Sequence[str],
    patients: Sequence[Hashable],
    n_boot: int = 1000,
    seed: int = 0,
) -> dict:
    """Scores of several sets of generated reports on the same studies, the first one against each other one.

    Args:
        reports: name -> ``(N,)`` texts; the model's first, then the baselines.
        written: ``(N,)`` references.
        patients: ``(N,)`` patient of each.
        n_boot: resamples of patients.
        seed: of the resamples.

    Returns:
        ``scores``: name -> :func:`fact_report`; ``against``: name of a baseline -> for ``findings`` and ``all`` the
        ``difference`` of F1, its ``ci`` and ``p``, and the ``ratio`` (None where the baseline has 0).
    """
    if not reports:
        raise ValueError("there are no generated reports to compare; give at least the model's.")
    truth = facts_of(written)
    found = {name: facts_of(texts) for name, texts in reports.items()}
    units = {name: _units(texts, written, patients) for name, texts in reports.items()}
    first, *others = reports
    against = {}
    for name in others:
        against[name] = {}
        for group in GROUPS:
            ours, theirs = (fact_counts(found[which], truth, group) for which in (first, name))
            values = [float(f1_statistic(counts)(np.ones((1, len(truth))))[0]) for counts in (ours, theirs)]
            difference = paired_bootstrap(f1_statistic(ours), f1_statistic(theirs), units[first], n_boot, seed)
            entry = {key: _plain(value) for key, value in difference.items()}
            against[name][group] = entry | {"ratio": values[0] / values[1] if values[1] > 0 else None}
    scores = {name: _report(facts, truth, units[name], n_boot, seed) for name, facts in found.items()}
    return {"scores": scores, "against": against}


def made_up(generated: set[Fact], written: set[Fact]) -> tuple[int, int]:
    """Findings of a generated report: how many, and how many of them at a place where the written one has none.

    A place is supported by itself, by a statement on its whole vessel, and a vessel by any of its segments.
    """
    said = [fact for fact in generated if _finding(fact)]
    return len(said), sum(not _supported(fact, written) for fact in said)


def _report(found: list[set[Fact]], truth: list[set[Fact]], units: list[str], n_boot: int, seed: int) -> dict:
    draw = {"n_boot": n_boot, "seed": seed}
    invented = np.array([made_up(f, t) for f, t in zip(found, truth, strict=True)], dtype=np.float64)

    def share(weights: np.ndarray) -> np.ndarray:
        pooled = weights @ invented
        with np.errstate(invalid="ignore", divide="ignore"):
            return pooled[:, 1] / pooled[:, 0]

    return {
        "n": len(truth),
        "n_patients": len(set(units)),
        "n_without_facts": sum(not facts for facts in truth),
        "kinds": {kind: _scores(fact_counts(found, truth, kind), units, draw) for kind in KINDS},
        "groups": {group: _scores(fact_counts(found, truth, group), units, draw) for group in GROUPS},
        "hallucination": _entry(share, units, draw)
        | {"n": int(invented[:, 0].sum()), "n_made_up": int(invented[:, 1].sum())},
    }


def _finding(fact: Fact) -> bool:
    return fact.kind == "stenosis" or (fact.kind == "calcification" and fact.value == "yes")


def _supported(fact: Fact, written: set[Fact]) -> bool:
    places = {f.place for f in written if f.kind == fact.kind and _finding(f)}
    vessel = VESSEL_OF[fact.place]
    return bool({fact.place, vessel} & places) or (
        fact.place in TREE and any(VESSEL_OF[place] == vessel for place in places)
    )


def _belongs(fact: Fact, group: str) -> bool:
    if group == "findings":
        return _finding(fact)
    if group == "all":
        return fact.kind not in ("occlusion", "vessel")  # they follow from the others
    return fact.kind == group


def fact_counts(found: list[set[Fact]], truth: list[set[Fact]], group: str) -> np.ndarray:
    """Right, extra and missed facts of each study ``(N, 3)``, of a kind of ``KINDS`` or a group of ``GROUPS``."""
    rows = []
    for said, meant in zip(found, truth, strict=True):
        a, b = ({fact for fact in facts if _belongs(fact, group)} for facts in (said, meant))
        rows.append((len(a & b), len(a - b), len(b - a)))
    return np.array(rows, dtype=np.float64)


def _ratio(counts: np.ndarray, above: np.ndarray, below: np.ndarray) -> Statistic:
    def ratio(weights: np.ndarray) -> np.ndarray:
        pooled = weights @ counts
        with np.errstate(invalid="ignore", divide="ignore"):
            return (pooled @ above) / (pooled @ below)

    return ratio


def f1_statistic(counts: np.ndarray) -> Statistic:
    """Statistic: the F1 over all studies together of ``fact_counts`` ``(N, 3)``."""
    return _ratio(counts, np.array([2, 0, 0]), np.array([2, 1, 1]))


def _scores(counts: np.ndarray, units: list[str], draw: dict) -> dict:
    right = np.array([1, 0, 0])
    statistics = {
        "precision": _ratio(counts, right, np.array([1, 1, 0])),
        "recall": _ratio(counts, right, np.array([1, 0, 1])),
        "f1": f1_statistic(counts),
    }
    totals = counts.sum(axis=0).astype(int).tolist()
    return dict(zip(("right", "extra", "missed"), totals, strict=True)) | {
        name: _entry(statistic, units, draw) for name, statistic in statistics.items()
    }


def _entry(statistic: Statistic, units: list[str], draw: dict) -> dict:
    value = float(statistic(np.ones((1, len(units))))[0])
    interval = interval_entry(statistic, units, **draw) if math.isfinite(value) else {"ci": None}
    return {"value": _plain(value), **interval}


def _plain(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _units(generated: Sequence[str | None], written: Sequence[str], patients: Sequence[Hashable]) -> list[str]:
    if not len(generated) == len(written) == len(patients):
        raise ValueError(
            f"one generated text, one reference and one patient a study are needed, got {len(generated)}, "
            f"{len(written)} and {len(patients)}."
        )
    if not len(written):
        raise ValueError("there is no report to score; choose a section whose studies have reports.")
    return [str(patient) for patient in patients]
