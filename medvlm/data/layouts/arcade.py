"""ARCADE: angiography frames (512 x 512 PNG) with COCO polygons of vessel segments or of stenoses.

Layout (Zenodo record 10390295): ``{syntax,stenosis}/{train,val,test}/annotations/<part>.json`` beside ``images/*.png``,
also ``dataset_phase_1/.../seg_train`` and the like of the challenge. Any COCO file with ``images``, ``annotations`` and
ARCADE's categories is taken, whatever its folder is called; pictures are looked for beside it and in ``images``.

Checked against data: the COCO fields, the 26 categories and the pictures (12 frames of the stenosis part). Assumed from
the record's description: the folders above; that a file whose only category in use is ``stenosis`` belongs to the
stenosis task, so that its pictures say nothing of segments and the others nothing of stenoses; that the folder's
``train``, ``val`` or ``test`` is the split. What degree a marked stenosis has is not said, so that ``stenosis_marked``
is another target than the ``stenosis`` (over 70%) of other data sets. The data name no patients: each picture counts as
one, and pictures of equal bytes are kept together.

Reference:
    Popov et al., Dataset for Automatic Region-based Coronary Artery Disease Diagnostics Using X-Ray Angiography
    Images, Scientific Data 2024, doi 10.1038/s41597-023-02871-z.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from pathlib import Path

from medvlm.data.layouts.scan import Scan, ScanOptions, folders_under, nothing_found, safe_name

STENOSIS = "stenosis"
SEGMENT_NAMES = {
    "1": "proximal_rca",
    "2": "mid_rca",
    "3": "distal_rca",
    "4": "rca_pda",
    "5": "left_main",
    "6": "proximal_lad",
    "7": "mid_lad",
    "8": "distal_lad",
    "9": "diagonal_1",
    "10": "diagonal_2",
    "11": "proximal_lcx",
    "12": "ramus",
    "12a": "marginal_1",
    "12b": "marginal_2",
    "13": "distal_lcx",
    "14": "lcx_posterolateral",
    "15": "lcx_pda",
    "16": "rca_posterolateral",
}
"""SYNTAX segment numbers to the segments of ``medvlm.coronary``; further branches (9a, 14a, 16b, ...) have no name."""

_RIGHT = {"1", "2", "3", "4", "16", "16a", "16b", "16c"}
_SPLITS = (("train", "training"), ("val", "validation"), ("test", "test"))


def scan(root: Path, options: ScanOptions) -> Scan:
    """List the pictures of every COCO file.

    Args:
        root: the data set's folder, one of its parts, or a COCO file.
        options: ``source`` names the data set.

    Returns:
        One case a picture: ``targets`` hold ``stenosis_marked`` and ``stenoses_marked`` (stenosis task) or
        ``<segment>_visible`` and ``right_coronary`` (syntax task); ``boxes`` the annotations.

    Raises:
        ValueError: there is no COCO file with ARCADE's categories.
    """
    result = Scan()
    found = 0
    for file in _json_files(root):
        coco = _read_coco(file, result)
        if coco is None:
            continue
        found += 1
        _add_pictures(file, root, coco, options, result)
    if not found and not any(p.severity == "error" for p in result.problems):
        raise nothing_found(root, "arcade", "COCO files with images, annotations and the category stenosis")
    return result


def _json_files(root: Path) -> list[Path]:
    if root.is_file():
        return [root]
    return [folder / n for folder, names in folders_under(root) for n in names if n.lower().endswith(".json")]


def _read_coco(file: Path, result: Scan) -> dict | None:
    try:
        coco = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        result.report("error", file, "", f"it is not JSON ({error})", "copy or download it again")
        return None
    if not isinstance(coco, dict) or not all(isinstance(coco.get(k), list) for k in ("images", "annotations")):
        return None
    names = {str(c.get("name")) for c in coco.get("categories") or []}
    return coco if STENOSIS in names else None


def _add_pictures(file: Path, root: Path, coco: dict, options: ScanOptions, result: Scan) -> None:
    names = {c["id"]: str(c["name"]) for c in coco["categories"]}
    marks: dict[int, list[dict]] = defaultdict(list)
    unknown: Counter[str] = Counter()
    for mark in coco["annotations"]:
        name = names.get(mark.get("category_id"))
        if name is None:
            unknown[str(mark.get("category_id"))] += 1
        else:
            marks[mark["image_id"]].append(mark | {"name": name})
    if unknown:
        what = f"annotations of categories that the file does not define: {dict(unknown)}"
        result.report("warning", file, "", what, "they are left out; download the file again")
    used = {mark["name"] for inside in marks.values() for mark in inside}
    task = STENOSIS if used <= {STENOSIS} else "syntax"
    section = _section_of(file, root)
    prefix = f"{options.source}_{task}_{file.stem}"
    for image in coco["images"]:
        path = _find_picture(file, str(image.get("file_name", "")))
        case_id = safe_name(f"{prefix}_{Path(str(image.get('file_name', ''))).stem}")
        if path is None:
            what = f"the picture {image.get('file_name')!r} is not beside it or in images/"
            result.report("error", file, case_id, what, "restore it, or download the data set again")
            continue
        case = {
            "video": [str(path)],
            "targets": _targets(marks[image["id"]], used, task),
            "boxes": [_box(mark) for mark in marks[image["id"]] if len(mark.get("bbox") or []) == 4],
            "study_id": case_id,
            "case_id": case_id,
            "source": options.source,
        }
        if section:
            case["section"] = section
        result.cases.append(case)


def _targets(marks: list[dict], used: set[str], task: str) -> dict[str, int]:
    here = {mark["name"] for mark in marks}
    if task == STENOSIS:
        count = sum(mark["name"] == STENOSIS for mark in marks)
        return {"stenosis_marked": int(count > 0), "stenoses_marked": count}
    targets = {f"{name}_visible": int(number in here) for number, name in SEGMENT_NAMES.items() if number in used}
    vessels = here - {STENOSIS}
    if vessels:
        targets["right_coronary"] = int(bool(vessels & _RIGHT))
    return targets


def _box(mark: dict) -> dict:
    x, y, width, height = (float(v) for v in mark["bbox"])
    name = mark["name"] if mark["name"] == STENOSIS else SEGMENT_NAMES.get(mark["name"], f"segment_{mark['name']}")
    return {"view": 0, "frame": 0, "box": [x, y, x + width, y + height], "name": name}


def _find_picture(file: Path, name: str) -> Path | None:
    places = (file.parent, file.parent / "images", file.parent.parent / "images")
    return next((folder / name for folder in places if name and (folder / name).is_file()), None)


def _section_of(file: Path, root: Path) -> str | None:
    """The split that the file's name or a folder above it states, the nearest first."""
    base = root if root.is_dir() else root.parent
    parts = [file.stem, *reversed(file.parent.relative_to(base).parts)]
    for part in parts:
        for word, section in _SPLITS:
            if word in part.lower().replace("_", " ").replace("-", " ").split() or part.lower() == word:
                return section
    return None
