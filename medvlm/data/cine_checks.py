"""What can be wrong with one study of videos: its files, its views, its report, its targets."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from medvlm.data.cine_headers import CineHeader, read_cine_header
from medvlm.data.cine_patients import video_file
from medvlm.data.dicom_decoding import decode_one_frame
from medvlm.data.duplicates import equal_files
from medvlm.data.problems import Problem
from medvlm.data.reading import ReadError
from medvlm.data.view_angles import LIMITS_DEG, angle_problem, is_angle, stated_angles

SMALLEST_SIDE = 32  # pixels
PLAUSIBLE_FPS = (1.0, 120.0)
LARGEST_DIFFERENCE = 1.0  # degrees between a header and a datalist, which may be rounded
LONGEST_REPORT = 2000  # words; the longest real cardiac report is far below


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
        One row for each finding. A video that cannot be used is an error; what a network can live with is a warning,
        unknown angles or rate, one frame and colour only for DICOM, which should know better.
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
        _check_header(header, found)
        _check_angles(case, files.index(file), header, found)
        _check_pixels(header, found)
    if files and not headers:
        found.add("error", files[0], "no video of the study can be read", "restore one, or leave the study out")
    _check_lists(case, files, found)
    _check_stated(case, files, found)
    _check_views(files, headers, found)
    _check_report(case, found)
    _check_targets(case, found)
    return found.rows


def unknown_angles(case: dict, view: int, header: CineHeader) -> list[str]:
    """Which angles of a view (``primary``, ``secondary``) neither its header nor the datalist knows."""
    pairs = zip((header.primary_deg, header.secondary_deg), stated_angles(case, view), strict=True)
    return [name for name, pair in zip(LIMITS_DEG, pairs, strict=True) if pair == (None, None)]


def _check_angles(case: dict, view: int, header: CineHeader, found: _Findings) -> None:
    """What the header says of the C-arm, beside what the datalist says of the same view."""
    unknown = unknown_angles(case, view, header)
    if unknown and header.kind == "dicom":
        what = "the angles of the C-arm are unknown" if len(unknown) > 1 else f"the {unknown[0]} angle is unknown"
        found.add("warning", header.path, what, "nothing to do: the view counts without what is unknown")
    own = (header.primary_deg, header.secondary_deg)
    for name, value, stated in zip(LIMITS_DEG, own, stated_angles(case, view), strict=True):
        problem, remedy = ("", "") if value is None else angle_problem(name, value)
        if problem:
            found.add("warning", header.path, problem, remedy)
        elif None not in (value, stated) and abs((value - stated + 180) % 360 - 180) > LARGEST_DIFFERENCE:
            what = f"the {name} angle is {value:g} degrees in the header and {stated:g} in the datalist"
            found.add("warning", header.path, what, "mend the wrong one: the header's is used")


def _check_lists(case: dict, files: Sequence[str], found: _Findings) -> None:
    """What is said of each view fits the views."""
    for key in ("view_angles", "view_targets"):
        if key in case and len(case[key]) != len(files):
            what = f"{key} has {len(case[key])} entries for {len(files)} videos"
            found.add("error", _first_file(case), what, "prepare the datalist anew")
    for box in case.get("boxes") or ():
        view, corners = box.get("view"), box.get("box") or ()
        sound = len(corners) == 4 and corners[0] < corners[2] and corners[1] < corners[3]
        if view not in range(len(files)) or not sound:
            found.add("error", _first_file(case), f"the box {box} fits no video", "prepare the datalist anew")


def _check_stated(case: dict, files: Sequence[str], found: _Findings) -> None:
    """The angles that the datalist states are numbers that a C-arm can take."""
    for file, entry in zip(files, case.get("view_angles") or (), strict=False):
        if entry is None:
            continue
        if not isinstance(entry, list | tuple) or len(entry) != 2:
            what = f"its entry of view_angles is {entry!r}"
            found.add("error", file, what, "write a primary and a secondary angle, each null where unknown, or null")
            continue
        for name, value in zip(LIMITS_DEG, entry, strict=True):
            problem, remedy = f"the {name} angle is {value!r}", "write degrees, or null where it is unknown"
            if is_angle(value):
                problem, remedy = angle_problem(name, value)
            if value is not None and problem:
                found.add("error", file, f"{problem} in the datalist", remedy)


def _check_header(header: CineHeader, found: _Findings) -> None:
    file, dicom = header.path, header.kind == "dicom"
    if header.missing_decoder:
        found.add("error", file, "it is compressed and cannot be decoded here", f"install {header.missing_decoder}")
    if header.frames == 1 and dicom:
        found.add("warning", file, "it holds one frame", "nothing to do: it is a still picture, held over time")
    if min(header.height, header.width) < SMALLEST_SIDE:
        what = f"its frames are only {header.height} x {header.width}"
        found.add("error", file, what, "replace it by a whole video, or leave it out")
    if header.samples > 1 and dicom:
        found.add("warning", file, "it is in colour", "look at it: angiograms are grey, this may be a screenshot")
    if header.burned_in:
        what = "the header says that writing is burned into the picture"
        found.add("warning", file, what, "look for names before you share anything made from it")
    if header.modality not in ("", "XA", "XRF", "RF"):
        found.add("warning", file, f"its modality is {header.modality}, not XA", "leave it out if it is no angiogram")
    if header.frames > 1 and header.rate_fps is None and dicom:
        what = "frames a second are unknown"
        found.add("warning", file, what, "nothing to do: a usual rate is assumed, and time is only relative")
    low, high = PLAUSIBLE_FPS
    if header.frames > 1 and header.rate_fps is not None and not low <= header.rate_fps <= high:
        found.add("warning", file, f"{header.rate_fps:.4g} frames a second", "mend FrameTime (0018,1063) or CineRate")


def _check_pixels(header: CineHeader, found: _Findings) -> None:
    """Decode one frame in the middle: damaged streams and empty videos show there."""
    if header.kind != "dicom" or header.missing_decoder:
        return
    try:
        frame = decode_one_frame(header.path, header.frames // 2 if header.frames > 1 else None)
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
        elif name.endswith("_stenosis") and name != "obstructive_stenosis" and not 0 <= value <= 100:
            found.add("error", file, f"the target {name} is {value}", "write a percentage of 0 to 100")


def _first_file(case: dict) -> str:
    video = case.get("video") or ""
    return video if isinstance(video, str) else str(video[0])
