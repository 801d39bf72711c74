"""What can be wrong with studies of videos: their files, their views, their reports, and how targets are spread."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from medvlm.data.cine_headers import CineHeader, read_cine_header
from medvlm.data.cine_preparation import video_file
from medvlm.data.duplicates import equal_files
from medvlm.data.problems import Problem
from medvlm.data.reading import ReadError

SMALLEST_SIDE = 32  # pixels
PLAUSIBLE_FPS = (1.0, 120.0)
LONGEST_REPORT = 2000  # words; the longest real cardiac report is far below
COMMON_SHARE = 0.2  # of the reports of a section that are one and the same text


class _Findings:
    """Collects the rows of one study."""

    def __init__(self, case_id: str) -> None:
        self.case_id = case_id
        self.rows: list[Problem] = []

    def add(self, severity: str, file: str, problem: str, remedy: str) -> None:
        self.rows.append(Problem(severity, str(file), self.case_id, problem, remedy))


def check_study(case: dict) -> list[Problem]:
    """Look at every video of a study and at its texts and targets; one bad file does not hide another.

    Args:
        case: a case with absolute paths.

    Returns:
        One row for each finding. A video that cannot be used is an error; what a network can live with (unknown
        angles or rate, one frame, colour) is a warning for DICOM, which should know, and a note for other files.
    """
    found = _Findings(str(case.get("case_id", "")))
    video = case.get("video")
    files = [video] if isinstance(video, str) else [str(f) for f in video or []]
    if not files:
        found.add("error", "", "the case names no video", "prepare the datalist anew")
    headers = {}
    for file in dict.fromkeys(files):
        try:
            header = read_cine_header(file)
        except ReadError as error:
            found.add("error", error.path, error.problem, error.remedy)
            continue
        headers[file] = header
        _check_header(header, _stated_angles(case, files.index(file)), found)
        _check_pixels(header, found)
    if files and not headers:
        found.add("error", files[0], "no video of the study can be read", "restore one, or leave the study out")
    _check_views(files, headers, found)
    _check_report(case, found)
    _check_targets(case, found)
    return found.rows


def _stated_angles(case: dict, view: int) -> bool:
    angles = case.get("view_angles") or []
    return view < len(angles) and angles[view] is not None


def _check_header(header: CineHeader, angles_stated: bool, found: _Findings) -> None:
    weight = "warning" if header.kind == "dicom" else "note"
    file = header.path
    if header.missing_decoder:
        found.add("error", file, "it is compressed and cannot be decoded here", f"install {header.missing_decoder}")
    if header.frames == 1:
        found.add(weight, file, "it holds one frame", "nothing to do: it is a still picture, held over time")
    if min(header.height, header.width) < SMALLEST_SIDE:
        what = f"its frames are only {header.height} x {header.width}"
        found.add("error", file, what, "replace it by a whole video, or leave it out")
    if header.samples > 1 and header.kind == "dicom":
        found.add("warning", file, "it is in colour", "look at it: angiograms are grey, this may be a screenshot")
    if header.burned_in:
        what = "the header says that writing is burned into the picture"
        found.add("warning", file, what, "look for names before you share anything made from it")
    if header.modality not in ("", "XA", "XRF", "RF"):
        found.add("warning", file, f"its modality is {header.modality}, not XA", "leave it out if it is no angiogram")
    if header.frames > 1 and header.rate_fps is None:
        what = "frames a second are unknown"
        found.add(weight, file, what, "nothing to do: a usual rate is assumed, and time is only relative")
    elif header.frames > 1 and not PLAUSIBLE_FPS[0] <= header.rate_fps <= PLAUSIBLE_FPS[1]:
        found.add("warning", file, f"{header.rate_fps:.4g} frames a second", "mend FrameTime (0018,1063) or CineRate")
    if not header.angles_known and not angles_stated:
        found.add(weight, file, "the angles of the C-arm are unknown", "nothing to do: the view counts without them")
    for name, value, limit in (("primary", header.primary_deg, 180), ("secondary", header.secondary_deg, 90)):
        if value is not None and abs(value) > limit:
            found.add("warning", file, f"the {name} angle is {value:g} degrees", f"mend it: -{limit} to {limit}")


def _check_pixels(header: CineHeader, found: _Findings) -> None:
    """Decode one frame in the middle: damaged streams and empty videos show there."""
    if header.kind != "dicom" or header.missing_decoder:
        return
    from pydicom.pixels import pixel_array

    try:
        frame = pixel_array(header.path, index=header.frames // 2 if header.frames > 1 else None)
    except Exception as error:  # decoders raise whatever they like on damaged streams
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        found.add("error", header.path, f"its frames cannot be decoded ({first_line})", "copy or download it again")
        return
    if frame.min() == frame.max():
        what = f"the frame in the middle is constant (every pixel is {np.ravel(frame)[0]})"
        found.add("error", header.path, what, "restore the video, or leave it out")


def _check_views(files: Sequence[str], headers: dict[str, CineHeader], found: _Findings) -> None:
    for file, count in Counter(files).items():
        if count > 1:
            found.add("error", file, f"the video stands {count} times in the study", "name each video once")
    places = {video_file(f): f for f in headers}
    for same in equal_files(places):
        what = f"the same bytes as {places[same[0]]}, another view of the study"
        for file in same[1:]:
            found.add("warning", places[file], what, "leave one of them out")
    studies = {h.study_uid for h in headers.values() if h.study_uid}
    if len(studies) > 1:
        file = next(f for f, h in headers.items() if h.study_uid)
        what = f"its videos come from {len(studies)} studies (StudyInstanceUID)"
        found.add("warning", file, what, "make one case of each study, unless they were taken together")


def _check_report(case: dict, found: _Findings) -> None:
    report = case.get("report")
    if report is None:
        return
    file = _first_file(case)
    if not isinstance(report, str):
        found.add("error", file, f"the report is {type(report).__name__}, not text", "write the text, or no report")
        return
    words = len(report.split())
    if not words:
        found.add("error", file, "the report is empty", "remove the key: an absent report is unknown")
    elif words > LONGEST_REPORT:
        what = f"the report has {words} words"
        found.add("warning", file, what, "cut it to the findings: what stands beyond the tokens that are read is lost")
    elif words < 3:
        found.add("warning", file, f"the report is only {report.strip()!r}", "look at it")
    if "\ufffd" in report or "\0" in report:
        found.add("warning", file, "the report holds characters that were not decoded", "save the texts as UTF-8")


def _check_targets(case: dict, found: _Findings) -> None:
    targets = case.get("targets")
    if targets is None:
        return
    file = _first_file(case)
    if not isinstance(targets, dict):
        found.add("error", file, f"targets is {type(targets).__name__}", "write a dictionary of numbers")
        return
    for name, value in targets.items():
        if value is None:
            continue
        if isinstance(value, bool | str) or not isinstance(value, int | float) or not math.isfinite(value):
            found.add("error", file, f"the target {name} is {value!r}", "write a number, or null where it is unknown")
        elif name.endswith("_stenosis") and name != "severe_stenosis" and not 0 <= value <= 100:
            found.add("error", file, f"the target {name} is {value}", "write a percentage of 0 to 100")


def _first_file(case: dict) -> str:
    video = case.get("video") or ""
    return video if isinstance(video, str) else str(video[0])


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
    rows = []
    for row in target_rows(sections):
        if row["section"] in ("training", "validation", "test") and row["kind"] == "one value" and row["known"] > 1:
            what = f"{row['section']}: the target {row['target']} is {row['values']} in all {row['known']} studies"
            rows.append(Problem("warning", datalist, "", what, "add patients of the other classes, or do not score it"))
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
                    stated += headers[-1].angles_known or _stated_angles(case, view)
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
    return f"{low:.3g}" if low == high else f"{low:.3g} .. {middle:.3g} .. {high:.3g}"


def is_study_list(sections: dict[str, list[dict]]) -> bool:
    """Whether a datalist holds studies of videos."""
    return any("video" in case for inside in sections.values() for case in inside)
