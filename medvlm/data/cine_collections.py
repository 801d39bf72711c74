"""What shows only over many studies of videos: repeated objects, repeated texts, targets of one class; tables."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from medvlm.data.cine_checks import unknown_angles
from medvlm.data.cine_headers import read_cine_header
from medvlm.data.layouts.cine_targets import segment_columns
from medvlm.data.problems import Problem
from medvlm.data.reading import ReadError

COMMON_SHARE = 0.2  # of the reports of a section that are one and the same text


def check_study_sets(sections: dict[str, list[dict]], datalist: str = "") -> list[Problem]:
    """What shows only over many studies: repeated objects, repeated texts, targets of one class.

    Args:
        sections: section to its studies, with absolute paths.
        datalist: the datalist's name, for rows that are about no file of their own.
    """
    studies = {s: [c for c in inside if "video" in c] for s, inside in sections.items()}
    if not any(studies.values()):
        return []
    return _same_objects(studies) + _same_texts(studies, datalist) + _one_sided_targets(studies, datalist)


def _same_objects(sections: dict[str, list[dict]]) -> list[Problem]:
    """The same DICOM object under several names: a copy whose bytes may differ."""
    holders: dict[str, list[tuple[str, dict, str]]] = defaultdict(list)
    for section, inside in sections.items():
        for case in inside:
            for file in dict.fromkeys(map(str, case.get("video") or ())):
                try:
                    uid = read_cine_header(file).sop_uid
                except ReadError:  # the study's own row says so
                    continue
                if uid:
                    holders[uid].append((section, case, file))
    rows = []
    for uses in holders.values():
        first_section, first, first_file = uses[0]
        for section, case, file in uses[1:]:
            if file == first_file or case is first:
                continue
            what = f"the same SOPInstanceUID as {first_file} of {first.get('case_id')} in {first_section}"
            apart = section != first_section
            if apart:
                what = f"leakage: {what}; this is {section}"
            remedy = "split by patient: prepare the datalist anew" if apart else "leave one of them out"
            rows.append(Problem("error" if apart else "warning", file, str(case.get("case_id", "")), what, remedy))
    return rows


def _same_texts(sections: dict[str, list[dict]], datalist: str) -> list[Problem]:
    """Reports that many studies share: right for normal studies, to be known before retrieval is scored."""
    rows = []
    for section, inside in sections.items():
        texts: dict[str, set[str]] = defaultdict(set)
        for case in inside:
            if isinstance(case.get("report"), str) and case["report"].strip():
                key = " ".join(case["report"].lower().split())
                texts[key].add(str(case.get("study_id", case.get("case_id"))))
        total = sum(map(len, texts.values()))
        repeated = {t: studies for t, studies in texts.items() if len(studies) > 1}
        if not repeated:
            continue
        text, most = max(repeated.items(), key=lambda item: (len(item[1]), item[0]))
        shared = sum(map(len, repeated.values()))
        what = (
            f"{section}: {shared} of {total} studies share their report with another ({len(texts)} different texts); "
            f"the most frequent stands {len(most)} times: {text[:80]!r}"
        )
        weight = "warning" if len(most) > max(1, COMMON_SHARE * total) else "note"
        remedy = "nothing to do: equal texts count as positives; look whether they should be equal"
        rows.append(Problem(weight, datalist, "", what, remedy))
    return rows


def _one_sided_targets(sections: dict[str, list[dict]], datalist: str) -> list[Problem]:
    alike: dict[str, list[str]] = defaultdict(list)
    for row in target_rows(sections):
        if row["kind"] == "one value" and row["known"] > 1:
            alike[row["section"]].append(f"{row['target']} ({row['values']})")
    rows = []
    for section in ("training", "validation", "test"):
        if alike[section]:
            shown = ", ".join(alike[section][:8]) + (", ..." if len(alike[section]) > 8 else "")
            what = f"{section}: one value in all studies that know the target ({len(alike[section])}): {shown}"
            rows.append(Problem("warning", datalist, "", what, "add patients of the others, or do not score them"))
    return rows


def target_rows(sections: dict[str, list[dict]]) -> list[dict]:
    """Count the values of every target in every section.

    Returns:
        Rows with ``target``, ``section``, ``kind`` (``classes``, ``numbers``, ``one value``), ``known``, ``unknown``
        and ``values``: the counts of up to five classes, or least, median and largest number.
    """
    names = sorted({n for inside in sections.values() for c in inside for n in (c.get("targets") or {})})
    rows = []
    for name in names:
        for section, inside in sections.items():
            if not inside:
                continue
            values = [(c.get("targets") or {}).get(name) for c in inside]
            known = [v for v in values if isinstance(v, int | float) and math.isfinite(v)]
            different = sorted(set(known))
            if len(different) == 1:
                kind, shown = "one value", f"{different[0]:g}"
            elif len(different) <= 5 and all(float(v).is_integer() for v in different):
                kind, shown = "classes", ", ".join(f"{v:g}: {known.count(v)}" for v in different)
            else:
                kind = "numbers"
                shown = f"{different[0]:g} .. {np.median(known):g} .. {different[-1]:g}" if known else ""
            counts = {"known": len(known), "unknown": len(values) - len(known)}
            rows.append({"target": name, "section": section, "kind": kind, **counts, "values": shown})
    return rows


def target_table(sections: dict[str, list[dict]]) -> list[dict]:
    """Lay the counts of targets out with a column a section; targets of single segments are left out.

    Returns:
        Rows with ``target`` and a text under every section that holds studies.
    """
    segments = set(segment_columns())
    lines: dict[str, dict] = {}
    for row in target_rows(sections):
        if row["target"] not in segments:
            unknown = f" ({row['unknown']} unknown)" if row["unknown"] else ""
            values = row["values"] if row["kind"] != "one value" else f"{row['values']}: {row['known']}"
            lines.setdefault(row["target"], {"target": row["target"]})[row["section"]] = values + unknown
    return list(lines.values())


def video_rows(sections: dict[str, list[dict]]) -> list[dict]:
    """Summarise the videos of every section.

    Returns:
        Rows with ``section``, ``studies``, ``videos``, ``unreadable``, ``frames`` and ``fps`` (least .. median ..
        largest), ``angles`` (videos whose angles are known) and ``reports``.
    """
    rows = []
    for section, inside in sections.items():
        headers, unreadable, stated = [], 0, 0
        for case in inside:
            for view, file in enumerate(case.get("video") or ()):
                try:
                    headers.append(read_cine_header(file))
                    stated += not unknown_angles(case, view, headers[-1])
                except ReadError:
                    unreadable += 1
        rows.append(
            {
                "section": section,
                "studies": len(inside),
                "videos": len(headers) + unreadable,
                "unreadable": unreadable,
                "frames": _spread([h.frames for h in headers]),
                "fps": _spread([h.rate_fps for h in headers if h.rate_fps]),
                "angles": stated,
                "reports": sum(bool(str(c.get("report") or "").strip()) for c in inside),
            }
        )
    return [row for row in rows if row["studies"]]


def _spread(values: Sequence[float]) -> str:
    if not values:
        return ""
    low, middle, high = min(values), float(np.median(values)), max(values)
    shown = [f"{value:.3g}" for value in (low, middle, high)]
    return shown[0] if len(set(shown)) == 1 else " .. ".join(shown)


def is_study_list(sections: dict[str, list[dict]]) -> bool:
    """Whether a datalist holds studies of videos."""
    return any("video" in case for inside in sections.values() for case in inside)
