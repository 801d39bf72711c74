"""Which studies of videos belong to one patient, and whether a split keeps them together."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from medvlm.data.cine_headers import read_cine_header
from medvlm.data.duplicates import equal_files
from medvlm.data.patients import name_patients
from medvlm.data.problems import DatasetError, Problem
from medvlm.data.reading import ReadError, is_picture

_PLACEHOLDERS = {"", "0", "anonymous", "anonymized", "anonymised", "anon", "unknown", "none", "na", "n/a", "patient"}


def group_by_patient(cases: Sequence[dict]) -> tuple[list[str], list[Problem]]:
    """Name the patient of every study, and tie the studies that show the same patient.

    A study without ``patient_id`` takes the one of its first readable DICOM header, unless that is a placeholder
    (empty, ``anonymous``, or one name for every study); else it counts as a patient of its own. Studies that hold
    the same video belong together.

    Returns:
        One group name a study, and what was found.
    """
    problems: list[Problem] = []
    nameless = [case for case in cases if not case.get("patient_id")]
    for case in nameless:
        case.pop("patient_id", None)
    from_headers = {id(case): _patient_in_headers(case) for case in nameless}
    found = Counter(n for n in from_headers.values() if n)
    one_for_all = len(found) == 1 and len(cases) > 1 and sum(found.values()) == len(cases)
    for case in nameless:
        name = from_headers[id(case)]
        if name and not one_for_all:
            case["patient_id"] = name
    alone = [case for case in cases if "patient_id" not in case]
    if alone:
        why = f" (every header names the patient {next(iter(found))!r})" if one_for_all else ""
        what = f"{len(alone)} of {len(cases)} studies name no patient{why}; each counts as a patient of its own"
        remedy = "name them (column PatientID of a manifest) where patients have several studies, or the split may leak"
        problems.append(Problem("warning", str(alone[0]["video"][0]), "", what, remedy))
    links, rows = _link_equal_videos(cases)
    problems += rows
    return name_patients(cases, links), problems


def _patient_in_headers(case: dict) -> str:
    for file in case["video"]:
        try:
            header = read_cine_header(file)
        except ReadError:
            continue
        if header.patient_id.strip().lower() not in _PLACEHOLDERS:
            return header.patient_id.strip()
    return ""


def _link_equal_videos(cases: Sequence[dict]) -> tuple[list[tuple[int, int]], list[Problem]]:
    users: dict[str, list[int]] = defaultdict(list)
    for index, case in enumerate(cases):
        for file in case["video"]:
            users[video_file(file)].append(index)
    links, problems = [], []
    for files in equal_files(users):
        holders = sorted({i for file in files for i in users[file]})
        for other in holders[1:]:
            first, case = cases[holders[0]], cases[other]
            links.append((holders[0], other))
            if first.get("patient_id") != case.get("patient_id"):
                what = f"it holds the same video as the study {first['case_id']}"
                remedy = "they are kept in one section; nothing to do if that is right"
                problems.append(Problem("warning", case["video"][0], case["case_id"], what, remedy))
    return links, problems


def video_file(path: str) -> str:
    """The file that stands for a video: itself, or the middle picture of a folder of frames."""
    if not Path(path).is_dir():
        return path
    frames = sorted(p for p in Path(path).iterdir() if is_picture(p))
    return str(frames[len(frames) // 2]) if frames else path


def refuse_leakage(cases: Sequence[dict], groups: Sequence[str], sections: Sequence[str | None]) -> None:
    """Check that no patient stands on two sides of a split that a data set brings along.

    Raises:
        DatasetError: one does; the rows name them all.
    """
    homes: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for case, group, section in zip(cases, groups, sections, strict=True):
        if section:
            homes[group][section].append(case["case_id"])
    problems = []
    for places in homes.values():
        if len(places) > 1:
            shown = ", ".join(f"{section} ({', '.join(ids[:3])})" for section, ids in places.items())
            first = next(iter(places.values()))[0]
            case = next(c for c in cases if c["case_id"] == first)
            what = f"leakage: patient {case['patient_id']} stands in {shown}"
            problems.append(Problem("error", case["video"][0], first, what, "give all studies of a patient one split"))
    if problems:
        raise DatasetError(
            f"The data set's own split divides {len(problems)} patients; nothing was written. Mend it, or make a new "
            "split with --resplit:",
            problems,
        )
