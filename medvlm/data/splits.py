"""Splitting cases into sections: a group of cases stays together, every source x class is spread evenly.

The result depends on the cases and the seed only, never on the order in which files were listed.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence

SPLIT_SECTIONS = ("training", "validation", "test")


def stratum_of(case: dict) -> str:
    """``source:class`` of a case; the class is ``0``, ``1`` or ``unknown``."""
    return f"{case.get('source', '')}:{class_of(case)}"


def class_of(case: dict) -> str:
    """``0`` (no tumour, no stenosis), ``1`` (tumour, stenosis) or ``unknown``."""
    targets = case.get("targets") or {}
    value = case.get("tumour", targets.get("stenosis", targets.get("stenosis_marked")))
    return str(int(value)) if value in (0, 1) else "unknown"


def check_fractions(fractions: Sequence[float]) -> tuple[float, float, float]:
    """Check the shares of training, validation and test.

    Raises:
        ValueError: they are not three numbers of at least 0 that sum to 1.
    """
    try:
        shares = tuple(float(f) for f in fractions)
    except (TypeError, ValueError):
        shares = ()
    if len(shares) != 3 or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
        raise ValueError(f"fractions must be three shares that sum to 1 (training, validation, test), got {fractions}.")
    return shares


def split_cases(
    cases: Sequence[dict], groups: Sequence[str], fractions: Sequence[float] = (0.7, 0.1, 0.2), seed: int = 0
) -> dict[str, list[dict]]:
    """Spread cases over training, validation and test.

    A source x class with at least as many groups as there are sections stands in each of them where possible.

    Args:
        cases: cases with ``source``, ``tumour``, ``case_id``.
        groups: one name a case; cases of one name stay together.
        fractions: shares of training, validation and test; a share of 0 leaves the section empty.
        seed: another seed, another split.

    Returns:
        Section to its cases, sorted by ``case_id``.

    Raises:
        ValueError: fractions are not three shares that sum to 1.
    """
    shares = check_fractions(fractions)
    bins = assign_groups(cases, groups, shares, seed)
    return {
        section: sorted((c for c, g in zip(cases, groups, strict=True) if bins[g] == b), key=_by_id)
        for b, section in enumerate(SPLIT_SECTIONS)
    }


def fold_cases(
    cases: Sequence[dict],
    groups: Sequence[str],
    folds: int,
    fractions: Sequence[float] = (0.7, 0.1, 0.2),
    seed: int = 0,
) -> list[dict[str, list[dict]]]:
    """Make grouped, stratified folds of cross-validation.

    In fold k the k-th part is the test section; the others are divided into training and validation in the
    proportion that ``fractions`` gives them.

    Returns:
        One dictionary of sections a fold; every case is tested exactly once.

    Raises:
        ValueError: fewer than two folds, or fewer groups than folds.
    """
    train, validation, _ = check_fractions(fractions)
    if isinstance(folds, bool) or folds != int(folds) or folds < 2:
        raise ValueError(f"folds must be a whole number of at least 2, got {folds}.")
    if len(set(groups)) < folds:
        raise ValueError(f"{folds} folds need as many patients, there are {len(set(groups))}; ask for fewer folds.")
    if train + validation <= 0:
        raise ValueError(f"With folds the shares of training and validation may not both be 0, got {fractions}.")
    parts = assign_groups(cases, groups, [1 / folds] * int(folds), seed)
    result = []
    for fold in range(int(folds)):
        rest = [(c, g) for c, g in zip(cases, groups, strict=True) if parts[g] != fold]
        share = train / (train + validation)
        sections = split_cases([c for c, _ in rest], [g for _, g in rest], (share, 1 - share, 0.0), seed)
        sections["test"] = sorted((c for c, g in zip(cases, groups, strict=True) if parts[g] == fold), key=_by_id)
        result.append(sections)
    return result


def assign_groups(cases: Sequence[dict], groups: Sequence[str], shares: Sequence[float], seed: int) -> dict[str, int]:
    """Give each group one of several bins so that each source x class follows the shares.

    Groups are dealt stratum by stratum, each to the bin that lacks most, in the order of a hash of the seed and the
    group's name; groups of more than a twentieth of their stratum come first, while every bin has room for them.

    Returns:
        Group name to the index of its bin.
    """
    members: dict[str, list[dict]] = defaultdict(list)
    for case, group in zip(cases, groups, strict=True):
        members[group].append(case)
    strata: dict[str, list[str]] = defaultdict(list)
    for group, inside in members.items():
        strata["+".join(sorted({stratum_of(c) for c in inside}))].append(group)

    open_bins = [b for b, share in enumerate(shares) if share > 0]
    total: Counter[int] = Counter()  # cases dealt to a bin so far, over all strata
    bins: dict[str, int] = {}
    for name in sorted(strata):
        size = sum(len(members[g]) for g in strata[name])
        inside = sorted(strata[name], key=lambda g: _shuffle_key(g, seed))
        inside.sort(key=lambda g: -len(members[g]) if len(members[g]) > max(1, size / 20) else 0)  # noqa: B023
        lacking = {b: shares[b] * size for b in open_bins}
        for group in inside:
            fill = {b: total[b] / shares[b] for b in open_bins}
            best = max(open_bins, key=lambda b: (round(lacking[b], 6), -round(fill[b], 6), b))
            bins[group] = best
            lacking[best] -= len(members[group])
            total[best] += len(members[group])
    _represent_strata(bins, members, open_bins, seed)
    return bins


def _represent_strata(bins: dict[str, int], members: dict[str, list[dict]], open_bins: list[int], seed: int) -> None:
    """Move groups so that each source x class with enough groups stands in every bin."""
    holders: dict[str, list[str]] = defaultdict(list)
    for group, inside in members.items():
        for stratum in {stratum_of(c) for c in inside}:
            holders[stratum].append(group)
    for stratum in sorted(holders):
        if len(holders[stratum]) < len(open_bins):
            continue
        for empty in open_bins:
            counts = Counter(bins[g] for g in holders[stratum])
            if counts[empty]:
                continue
            # only groups whose leaving empties no other source x class of their bin
            movable = [
                g
                for g in holders[stratum]
                if all(
                    sum(bins[other] == bins[g] for other in holders[s]) > 1 for s in {stratum_of(c) for c in members[g]}
                )
            ]
            if movable:
                giver = min(movable, key=lambda g: (-counts[bins[g]], len(members[g]), _shuffle_key(g, seed)))
                bins[giver] = empty


def _shuffle_key(group: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}:{group}".encode()).hexdigest()


def absent_strata(sections: dict[str, list[dict]]) -> list[tuple[str, str]]:
    """Find the source x class that stand in some but not all of the sections that hold cases.

    Returns:
        Pairs of ``source:class`` and section.
    """
    filled = {s: {stratum_of(c) for c in sections[s]} for s in SPLIT_SECTIONS if sections.get(s)}
    everything = sorted(set().union(*filled.values()))
    return [(stratum, section) for stratum in everything for section, inside in filled.items() if stratum not in inside]


def _by_id(case: dict) -> str:
    return str(case["case_id"])


def count_rows(sections: dict[str, list[dict]]) -> list[dict]:
    """Count cases and patients by source x class x section.

    Returns:
        Rows with ``source``, ``class`` (``0``, ``1``, ``unknown``), ``section``, ``cases``, ``patients``, ``masks``;
        for studies ``videos`` and ``reports`` instead of ``masks``.
    """
    cells: dict[tuple[str, str, str], list[dict]] = defaultdict(list)
    for section, cases in sections.items():
        for case in cases:
            cells[str(case.get("source", "")), class_of(case), section].append(case)
    order = list(sections)
    return [
        {
            "source": source,
            "class": label,
            "section": section,
            "cases": len(inside),
            "patients": len({c.get("patient_id", c["case_id"]) for c in inside}),
            **_contents(inside),
        }
        for (source, label, section), inside in sorted(
            cells.items(), key=lambda item: (item[0][0], item[0][1], order.index(item[0][2]))
        )
    ]


def _contents(cases: Sequence[dict]) -> dict[str, int]:
    if any("video" in c for c in cases):
        return {
            "videos": sum(len(c.get("video", ())) for c in cases),
            "reports": sum(bool(c.get("report")) for c in cases),
        }
    return {"masks": sum("label" in c or bool(c.get("empty_mask")) for c in cases)}
