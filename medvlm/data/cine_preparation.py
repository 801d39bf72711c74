"""From studies of videos to sections: patients, a data set's own split, and a new one where it has none.

The part of ``prepare`` for layouts of cines; see ``medvlm.data.prepare``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from medvlm.data.cine_patients import group_by_patient, refuse_leakage
from medvlm.data.datalists import SECTIONS, VERSION
from medvlm.data.layouts import CINE_LAYOUTS, ScanOptions
from medvlm.data.layouts.cine_targets import meanings_of
from medvlm.data.layouts.scan import safe_name
from medvlm.data.problems import DatasetError, Problem
from medvlm.data.sources import Source, scan_sources
from medvlm.data.splits import absent_strata, count_rows, fold_cases, split_cases

UNITS = ("study", "video")


def cine_sources(sources: Sequence[Source]) -> bool:
    """Whether these are data sets of videos.

    Raises:
        ValueError: some are, others are not: one network cannot read both.
    """
    videos = [s.layout for s in sources if s.layout in CINE_LAYOUTS]
    others = [s.layout for s in sources if s.layout not in CINE_LAYOUTS]
    if videos and others:
        raise ValueError(f"{videos} hold videos and {others} hold images; prepare them into two datalists.")
    return bool(videos)


def prepare_cines(
    sources: Sequence[Source],
    options: ScanOptions,
    name: str,
    fractions: Sequence[float] = (0.7, 0.1, 0.2),
    folds: int = 0,
    seed: int = 0,
    section: str | None = None,
    resplit: bool = False,
    unit: str = "study",
    verify: bool = False,
    skip_bad: bool = False,
) -> tuple[list[tuple[str, dict]], list[Problem]]:
    """Make the datalists of studies of videos.

    Args:
        sources: the data sets.
        options: what their layouts do not prove.
        name: the datalist's name.
        fractions, folds, seed, section, verify, skip_bad: as in ``prepare``.
        resplit: make a new split even where the data set brings one along.
        unit: ``study``, or ``video``: every video becomes a case of its own.

    Returns:
        Pairs of a suffix for the file's name and a datalist with absolute paths, and what was found.

    Raises:
        ValueError: options contradict each other or the data set's own split.
        DatasetError: studies have errors and ``skip_bad`` is off, a patient stands in two sections of the data set's
            own split, or no study is left.
    """
    if unit not in UNITS:
        raise ValueError(f"unit must be one of {', '.join(UNITS)}, got {unit!r}.")
    if section and section not in SECTIONS:
        raise ValueError(f"section must be one of {', '.join(SECTIONS)}, got {section!r}.")
    if section and folds:
        raise ValueError("Give either --section or --folds: with a section nothing is split.")
    cases, problems = collect_studies(sources, options, verify=verify, skip_bad=skip_bad, resplit=resplit or section)
    groups, found = group_by_patient(cases)
    problems += found
    own = [case.pop("section", None) for case in cases]
    if section:
        parts = [("", {s: list(cases) if s == section else [] for s in SECTIONS})]
    elif any(own) and not resplit:
        if folds:
            raise ValueError("The data set has a split of its own; leave --folds out, or give --resplit.")
        parts = [("", _own_split(cases, groups, own, fractions, seed))]
    else:
        parts = _new_split(cases, groups, fractions, folds, seed)
    written = []
    for suffix, sections in parts:
        sections = {s: sorted(_units(inside, unit), key=_case_id) for s, inside in sections.items()}
        problems += [
            Problem(
                "note", name + suffix, "", f"{part} holds no study of {stratum} (source:class)", "add patients of it"
            )
            for stratum, part in absent_strata(sections)
        ]
        base = {"name": name, "layout": ",".join(s.layout for s in sources), "seed": seed, "version": VERSION}
        base["conventions"] = meanings_of(case for inside in sections.values() for case in inside)
        written.append((suffix, base | {"counts": count_rows(sections)} | sections))
    return written, list(dict.fromkeys(problems))


def _own_split(
    cases: list[dict], groups: list[str], own: list[str | None], fractions: Sequence[float], seed: int
) -> dict[str, list[dict]]:
    """Keep the data set's own split; a source that has none is split anew, beside what its patients already have."""
    homes = {group: section for group, section in zip(groups, own, strict=True) if section}
    placed = [section or homes.get(group) for group, section in zip(groups, own, strict=True)]
    rest = [(c, g) for c, g, section in zip(cases, groups, placed, strict=True) if section is None]
    sections = {s: [c for c, section in zip(cases, placed, strict=True) if section == s] for s in SECTIONS}
    refuse_leakage(cases, groups, placed)
    if rest:
        ((_, anew),) = _new_split([c for c, _ in rest], [g for _, g in rest], fractions, 0, seed)
        sections = {s: sections[s] + anew[s] for s in SECTIONS}
    return sections


def _new_split(cases: list[dict], groups: list[str], fractions: Sequence[float], folds: int, seed: int) -> list:
    """Split what has a report or a target; the rest goes to inference, with the other studies of its patients left."""
    useful = [bool(case.get("report") or case.get("targets")) for case in cases]
    known = [c for c, u in zip(cases, useful, strict=True) if u]
    names = [g for g, u in zip(groups, useful, strict=True) if u]
    rest, kept = [], set(names)
    for case, group, use in zip(cases, groups, useful, strict=True):
        if not use and group in kept:  # a study of a patient who is split: it follows, or it would leak
            known.append(case)
            names.append(group)
        elif not use:
            rest.append(case)
    if folds:
        return [
            (f"_fold{k}", part | {"inference": list(rest)})
            for k, part in enumerate(fold_cases(known, names, folds, fractions, seed))
        ]
    return [("", split_cases(known, names, fractions, seed) | {"inference": rest})]


def collect_studies(
    sources: Sequence[Source],
    options: ScanOptions,
    verify: bool = False,
    skip_bad: bool = False,
    resplit: bool | str | None = False,
) -> tuple[list[dict], list[Problem]]:
    """Scan data sets of videos and leave out, or refuse, what has errors.

    Returns:
        The studies with absolute paths, and what was found.

    Raises:
        DatasetError: there are errors and ``skip_bad`` is off, or no study is left.
    """
    scan = scan_sources(sources, options)
    cases, problems = scan.cases, scan.problems
    if resplit:
        problems = [p for p in problems if "the study has no split" not in p.problem]
    if verify:
        from medvlm.data.cine_checks import check_study

        for case in tqdm(cases, desc="videos", unit="study"):
            problems += check_study(case)
    problems = list(dict.fromkeys(problems))
    errors = [p for p in problems if p.severity == "error"]
    if errors and not skip_bad:
        headline = f"{len(errors)} errors; nothing was written. Mend them, or leave the rows out with --skip_bad:"
        raise DatasetError(headline, problems)
    cases = _without_bad(cases, errors)
    if not cases:
        raise DatasetError("No study is left:", problems)
    return cases, problems


def _without_bad(cases: Sequence[dict], errors: Sequence[Problem]) -> list[dict]:
    """Leave out unreadable videos; leave out a study when nothing else is left of it or the error is its own."""
    bad_files = {p.file for p in errors}
    kept = []
    for case in cases:
        own = {p.file for p in errors if p.case_id == case["case_id"]}
        good = [i for i, file in enumerate(case["video"]) if file not in bad_files]
        if good and own <= set(case["video"]):
            kept.append(_select_views(case, good))
    return kept


def _select_views(case: dict, views: Sequence[int]) -> dict:
    """Keep some of a study's videos, and what is said of each of them."""
    if len(views) == len(case["video"]):
        return case
    result = dict(case)
    for key in ("video", "view_angles", "view_targets"):
        if key in case:
            result[key] = [case[key][i] for i in views]
    if "boxes" in case:
        place = {view: new for new, view in enumerate(views)}
        result["boxes"] = [box | {"view": place[box["view"]]} for box in case["boxes"] if box["view"] in place]
    return result


def _units(cases: Sequence[dict], unit: str) -> list[dict]:
    """Studies as they are, or one case a video; what is known of the video goes before what is known of the study."""
    if unit == "study":
        return list(cases)
    result = []
    for case in cases:
        for view, file in enumerate(case["video"]):
            single = {k: v for k, v in _select_views(case, [view]).items() if k != "view_targets"}
            targets = case["view_targets"][view] if "view_targets" in case else case.get("targets")
            single.pop("targets", None)
            if targets:
                single["targets"] = dict(targets)
            stem = Path(file).parent.name if Path(file).is_dir() else Path(file).stem
            single["case_id"] = safe_name(f"{case['case_id']}_{view + 1}_{stem}"[:150])
            result.append(single)
    return result


def _case_id(case: dict) -> str:
    return str(case["case_id"])
