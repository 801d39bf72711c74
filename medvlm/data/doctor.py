"""``python -m medvlm doctor``: look at everything a datalist names, and say what is wrong and what to do."""

from __future__ import annotations

import json as json_format
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from medvlm.atomic import write_text_atomically
from medvlm.data.case_checks import check_case
from medvlm.data.cine_checks import check_study
from medvlm.data.cine_collections import check_study_sets, is_study_list, target_table, video_rows
from medvlm.data.cine_patients import video_file
from medvlm.data.datalists import SECTIONS, load_datalist, read_datalist
from medvlm.data.duplicates import equal_files, near_duplicates, picture_hashes
from medvlm.data.given_checks import check_given, check_given_sets
from medvlm.data.problems import SEVERITIES, Problem, render_problems, render_table
from medvlm.data.reading import ReadError, is_picture
from medvlm.data.sources import words
from medvlm.write_errors import check_writable


def doctor(
    datalist: str,
    dataset_dir: str | None = None,
    sections: str | None = None,
    json: str | None = None,
    strict: bool = False,
    jobs: int = 1,
) -> int:
    """Check every file, mask, grid, class and split of a datalist.

    Args:
        datalist: the file that ``prepare`` wrote.
        dataset_dir: folder that its relative paths start from; the datalist's own by default.
        sections: only these sections, with commas between them.
        json: also write the rows to this file; whether it can be written is tried before the checks.
        strict: warnings count as errors.
        jobs: cases read at the same time.

    Returns:
        Exit status: 0 when nothing is wrong, 1 when there is an error (with ``strict`` also a warning).

    Raises:
        FileNotFoundError: there is no such datalist.
        ValueError: it is no datalist, or has no such section.
        OSError: ``json`` cannot be written.
    """
    if json is not None:
        check_writable(Path(json).parent, "--json")
        if Path(json).is_dir():
            raise IsADirectoryError(f"--json must name a file, and {json} is a folder; give {json}/doctor.json.")
    there = [s for s in SECTIONS if s in read_datalist(datalist)]
    chosen = words(sections) or there
    cases = {section: load_datalist(datalist, section, dataset_dir) for section in chosen}
    others = load_datalist(datalist, [s for s in there if s not in chosen])
    rows = examine(cases, str(datalist), jobs, [str(case.get("case_id", "")) for case in others])
    if is_study_list(cases):
        sys.stdout.write(_study_tables(cases))
    counts = Counter(row.severity for row in rows)
    total = sum(len(inside) for inside in cases.values())
    summary = ", ".join(f"{counts[s]} {s}{'' if counts[s] == 1 else 's'}" for s in SEVERITIES[:2])
    sys.stdout.write("\n".join([*([render_problems(rows)] if rows else []), f"{total} cases: {summary}"]) + "\n")
    if json is not None:
        text = json_format.dumps([row.as_dict() for row in rows], indent=2, ensure_ascii=False)
        write_text_atomically(text + "\n", Path(json))
    return int(counts["error"] > 0 or (strict and counts["warning"] > 0))


def examine(
    sections: dict[str, list[dict]], datalist: str = "", jobs: int = 1, elsewhere: Collection[str] = ()
) -> list[Problem]:
    """Check cases with absolute paths, section by section.

    Args:
        sections: section to its cases.
        datalist: the datalist's name, for rows that are about no file of their own.
        jobs: cases read at the same time.
        elsewhere: case_ids of sections that are not among these.

    Returns:
        One row for each finding; one bad file hides no other.

    Raises:
        ValueError: ``jobs`` is not positive.
    """
    if jobs < 1:
        raise ValueError(f"jobs must be at least 1, got {jobs}.")
    rows = check_names(sections, datalist)
    everything = [case for inside in sections.values() for case in inside]
    if not everything:
        rows.append(Problem("error", datalist, "", "the datalist names no case", "prepare it anew"))
    with ThreadPoolExecutor(jobs) as pool, tqdm(total=len(everything), desc="cases", unit="case") as bar:
        for found in pool.map(_check, everything):
            rows += [row if row.file else replace(row, file=datalist) for row in found]
            bar.update()
    given = [row if row.file else replace(row, file=datalist) for row in check_given_sets(sections, elsewhere)]
    return rows + check_leakage(sections) + check_study_sets(sections, datalist) + given


def _check(case: dict) -> list[Problem]:
    return check_study(case) + check_given(case) if "video" in case else check_case(case)


def _study_tables(sections: dict[str, list[dict]]) -> str:
    videos, targets = video_rows(sections), target_table(sections)
    tables = [render_table(rows, list(rows[0])) for rows in (videos, targets) if rows]
    return "\n\n".join(tables) + "\n\n"


def check_names(sections: dict[str, list[dict]], datalist: str) -> list[Problem]:
    """Names: every case has a unique ``case_id`` and a ``patient_id``; no patient stands in two sections."""
    rows = []
    everything = [case for inside in sections.values() for case in inside]
    for name, count in Counter(str(c.get("case_id", "")) for c in everything).items():
        if not name:
            rows.append(Problem("error", datalist, "", f"{count} cases have no case_id", "prepare the datalist anew"))
        elif count > 1:
            rows.append(Problem("error", datalist, name, f"{count} cases have this case_id", "give each its own"))
    homes: dict[str, dict[str, str]] = defaultdict(dict)
    for section, inside in sections.items():
        for case in inside:
            if not case.get("patient_id"):
                what, remedy = "the case names no patient, leakage cannot be told", "add patient_id"
                rows.append(Problem("error", datalist, str(case.get("case_id", "")), what, remedy))
            else:
                homes[str(case["patient_id"])].setdefault(section, str(case.get("case_id", "")))
    for patient, places in homes.items():
        if len(places) > 1:
            listing = ", ".join(f"{section} ({case_id})" for section, case_id in places.items())
            what = f"leakage: patient {patient} stands in {listing}"
            remedy = "split by patient: prepare the datalist anew"
            rows.append(Problem("error", datalist, next(iter(places.values())), what, remedy))
    return rows


def check_leakage(sections: dict[str, list[dict]]) -> list[Problem]:
    """The same file, an equal file, or a near-duplicate picture in two sections or in two cases."""
    holders = [(section, case) for section, inside in sections.items() for case in inside]
    return _equal_files(holders) + _near_pictures(holders)


def _equal_files(holders: Sequence[tuple[str, dict]]) -> list[Problem]:
    users: dict[str, list[tuple[str, dict]]] = defaultdict(list)
    for section, case in holders:
        for file in _files(case):
            real = os.path.realpath(file)
            if os.path.isfile(real) and os.path.getsize(real):
                users[real].append((section, case))
    groups = equal_files(users)
    grouped = {file for files in groups for file in files}
    rows = []
    for files in [*groups, *([file] for file in users if file not in grouped)]:
        uses = [(file, section, case) for file in files for section, case in users[file]]
        first_file, first_section, first = uses[0]
        for file, section, case in uses[1:]:
            if case is first or (file != first_file and _empty_masks(first, case, first_file, file)):
                continue
            rows += _sharing(first_file, first_section, first, file, section, case)
    return rows


def _sharing(first_file: str, first_section: str, first: dict, file: str, section: str, case: dict) -> list[Problem]:
    """The row for two cases that hold the same bytes, if that is wrong."""
    apart = section != first_section
    same_patient = case.get("patient_id") == first.get("patient_id")
    if not apart and same_patient and file != first_file:
        return []  # a duplicate that was kept on one side
    what = f"the same bytes as {first_file} of {first.get('case_id')} in {first_section}; this is {section}"
    if apart:
        what, remedy = f"leakage: {what}", "split by patient: prepare the datalist anew"
    else:
        remedy = "restore the right file, or remove one of the cases"
    return [Problem("error" if apart else "warning", file, str(case.get("case_id", "")), what, remedy)]


def _empty_masks(first: dict, case: dict, first_file: str, file: str) -> bool:
    """Empty masks of healthy cases are equal by right."""
    pairs = ((first, first_file), (case, file))
    return all(c.get("tumour") == 0 and c.get("label") and os.path.realpath(c["label"]) == f for c, f in pairs)


def _near_pictures(holders: Sequence[tuple[str, dict]]) -> list[Problem]:
    chosen = [(s, c) for s, c in holders if isinstance(c.get("image"), str) and is_picture(c["image"])]
    if len({section for section, _ in chosen}) < 2:
        return []
    hashes = []
    for _, case in tqdm(chosen, desc="duplicates", unit="image"):
        try:
            hashes.append(picture_hashes(case["image"]))
        except ReadError:  # the case's own row says so
            hashes.append(None)
    rows = []
    for i, j, distance in near_duplicates(hashes):
        (first_section, first), (section, case) = chosen[i], chosen[j]
        if section != first_section:
            what = (
                f"leakage: it shows the same as {first['image']} of {first.get('case_id')} in {first_section} "
                f"({distance} of 256 bits differ); this is {section}"
            )
            remedy = "split near-duplicates together: prepare the datalist anew"
            rows.append(Problem("error", case["image"], str(case.get("case_id", "")), what, remedy))
    return rows


def _files(case: dict) -> Iterable[str]:
    image = case.get("image") or []
    yield from [image] if isinstance(image, str) else image
    if case.get("label"):
        yield case["label"]
    for file in case.get("video") or ():
        yield video_file(str(file))
