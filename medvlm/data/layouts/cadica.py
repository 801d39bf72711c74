"""CADICA: 42 patients, videos as folders of PNG frames, boxes of lesions with their severity.

Layout (Mendeley Data, doi 10.17632/p9bpx9ctcv): ``selectedVideos/pX/`` with ``lesionVideos.txt``,
``nonlesionVideos.txt`` (names of videos, one a line) and ``vY/``, which holds ``input/pX_vY_000ZZ.png``,
``pX_vY_selectedFrames.txt`` and, for lesion videos, ``groundtruth/pX_vY_000ZZ.txt`` with lines ``x y w h pA_B``
(pixels; severity ``p0_20``, ``p20_50``, ``p50_70``, ``p70_90``, ``p90_98``, ``p99``, ``p100``);
``CADICAprojections.json`` lists the videos of the left (``videosLCA``, ``videosLCA2``) and the right coronary
(``videosRCA``) as ``pX_vY``. ``nonselectedVideos`` are taken without targets when the root holds them.

None of this could be checked against the data itself: it is the data set's own read-me and the public code that reads
it. Assumed besides: a video that stands in neither list is unlabelled; the frames carry no rate; ``max_stenosis`` is
the middle of the severity class (p70_90: 80), since no number is given.

Reference:
    Jimenez-Partinen et al., CADICA: A new dataset for coronary artery disease detection by using invasive coronary
    angiography, Expert Systems 41(12), 2024, arXiv 2402.00570.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from medvlm.data.layouts.cine_targets import OBSTRUCTIVE_PERCENT, SEVERE_PERCENT, whole_numbers
from medvlm.data.layouts.scan import Scan, ScanOptions, nothing_found, safe_name
from medvlm.data.reading import is_picture

SEVERITY_PERCENT = {
    "p0_20": 10.0,
    "p20_50": 35.0,
    "p50_70": 60.0,
    "p70_90": 80.0,
    "p90_98": 94.0,
    "p99": 99.0,
    "p100": 100.0,
}
_PATIENT, _VIDEO = re.compile(r"p\d+"), re.compile(r"v\d+")


def scan(root: Path, options: ScanOptions) -> Scan:
    """List the patients, each with the videos selected by its readers.

    Args:
        root: the folder that holds ``selectedVideos``, or that folder.
        options: ``source`` names the data set.

    Returns:
        One case a patient; ``view_targets`` say what each video shows, ``boxes`` where.

    Raises:
        ValueError: no patient folder holds a video.
    """
    result = Scan()
    arteries = _arteries(root, result)
    for patient in _patient_folders(root):
        case = _case_of(patient, arteries, options, result)
        if case is not None:
            result.cases.append(case)
    if not result.cases and not any(p.severity == "error" for p in result.problems):
        raise nothing_found(root, "cadica", "selectedVideos/p1/v1/input/*.png")
    return result


def _patient_folders(root: Path) -> list[Path]:
    found = []
    for base in (root, root / "selectedVideos", root / "CADICA" / "selectedVideos", root / "nonselectedVideos"):
        if base.is_dir():
            found += [p for p in base.iterdir() if p.is_dir() and _PATIENT.fullmatch(p.name)]
    return sorted(found, key=lambda p: (p.parent.name == "nonselectedVideos", int(p.name[1:])))


def _arteries(root: Path, result: Scan) -> dict[str, str]:
    """``pX_vY`` to LCA or RCA."""
    bases = (root, root / "selectedVideos", root / "CADICA", root / "CADICA" / "selectedVideos")
    for file in (base / "CADICAprojections.json" for base in bases):
        if not file.is_file():
            continue
        try:
            lists = json.loads(file.read_text(encoding="utf-8"))
            return {str(v): key[6:9] for key, videos in lists.items() if key.startswith("videos") for v in videos}
        except (ValueError, AttributeError, TypeError) as error:
            what = f"the projections cannot be read ({error}); which artery a video shows stays unknown"
            result.report("warning", file, "", what, "download it again")
    return {}


def _case_of(patient: Path, arteries: dict[str, str], options: ScanOptions, result: Scan) -> dict | None:
    selected = patient.parent.name != "nonselectedVideos"
    case_id = safe_name(f"{options.source}_{patient.name}{'' if selected else '_nonselected'}")
    listed = {1: _names(patient / "lesionVideos.txt"), 0: _names(patient / "nonlesionVideos.txt")}
    for name in sorted(listed[0] & listed[1]):
        what = f"the video {name} stands in lesionVideos.txt and in nonlesionVideos.txt"
        result.report("error", patient, case_id, what, "remove it from one of them")
    case: dict = {"video": [], "view_targets": [], "boxes": []}
    for folder in sorted((p for p in patient.iterdir() if _VIDEO.fullmatch(p.name)), key=lambda p: int(p.name[1:])):
        frames = folder / "input" if (folder / "input").is_dir() else folder
        if not any(is_picture(p) for p in frames.iterdir()):
            result.report("error", frames, case_id, "the folder holds no frames", "download the data set again")
            continue
        boxes = _boxes(folder, frames, len(case["video"]), case_id, result)
        stated = next((label for label, names in listed.items() if folder.name in names), None)
        if boxes and stated == 0:
            what = "the video has boxes, but stands in nonlesionVideos.txt"
            result.report("error", folder, case_id, what, "correct the list, or remove the boxes")
        case["video"].append(str(frames))
        case["view_targets"].append(_targets(boxes, stated, arteries.get(f"{patient.name}_{folder.name}")))
        case["boxes"] += boxes
    missing = sorted(
        (listed[0] | listed[1]) - {Path(v).parent.name for v in case["video"]} - {p.name for p in _dirs(patient)}
    )
    for name in missing:
        result.report("error", patient, case_id, f"the listed video {name} is not there", "download the data set again")
    if not case["video"]:
        return None
    targets = _study_targets(case["view_targets"])
    if targets:
        case["targets"] = targets
    if not case["boxes"]:
        del case["boxes"]
    names = {"study_id": patient.name, "case_id": case_id, "patient_id": patient.name, "source": options.source}
    return case | names


def _dirs(patient: Path) -> list[Path]:
    return [p for p in patient.iterdir() if p.is_dir()]


def _names(file: Path) -> set[str]:
    if not file.is_file():
        return set()
    return {line.strip() for line in file.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()}


def _boxes(folder: Path, frames: Path, view: int, case_id: str, result: Scan) -> list[dict]:
    truth = folder / "groundtruth"
    if not truth.is_dir():
        return []
    order = {p.stem: i for i, p in enumerate(sorted(p for p in frames.iterdir() if is_picture(p)))}
    boxes = []
    for file in sorted(truth.glob("*.txt")):
        for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
            if not line.strip():
                continue
            box = _box_of(line)
            if box is None or file.stem not in order:
                what = f"line {number} ({line.strip()[:60]!r}) is no box 'x y w h pA_B' of a frame of the video"
                result.report("error", file, case_id, what, "correct or remove the line")
                continue
            boxes.append({"view": view, "frame": order[file.stem], **box})
    return boxes


def _box_of(line: str) -> dict | None:
    words = line.replace(",", " ").split()
    if len(words) != 5 or words[4] not in SEVERITY_PERCENT:
        return None
    try:
        x, y, width, height = (float(w) for w in words[:4])
    except ValueError:
        return None
    if min(x, y) < 0 or min(width, height) <= 0:
        return None
    return {"box": [x, y, x + width, y + height], "name": words[4]}


def _targets(boxes: list[dict], stated: int | None, artery: str | None) -> dict[str, float]:
    targets: dict[str, float] = {}
    lesion = 1 if boxes else stated
    if lesion is not None:
        targets["lesion"] = lesion
        worst = max((SEVERITY_PERCENT[b["name"]] for b in boxes), default=None if lesion else 0.0)
        if worst is not None:
            targets |= {
                "max_stenosis": worst,
                "stenosis": worst > SEVERE_PERCENT,
                "obstructive_stenosis": worst >= OBSTRUCTIVE_PERCENT,
                "occlusion": worst == 100,
            }
    if artery:
        targets["right_coronary"] = artery == "RCA"
    return whole_numbers({k: float(v) for k, v in targets.items()})


def _study_targets(views: list[dict[str, float]]) -> dict[str, float]:
    """The worst of the videos; known only when a finding decides, or every selected video is labelled."""
    merged: dict[str, float] = {}
    for name in ("lesion", "max_stenosis", "stenosis", "obstructive_stenosis", "occlusion"):
        known = [v[name] for v in views if name in v]
        decides = known and name != "max_stenosis" and max(known) == 1
        if known and (decides or len(known) == len(views)):
            merged[name] = max(known)
    return merged
