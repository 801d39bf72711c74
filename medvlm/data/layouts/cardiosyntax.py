"""CardioSYNTAX: multi-view angiography of whole studies with SYNTAX scores and dominance.

Layout (Zenodo record 14005818): JSON files, lists of studies with ``study_uid``, ``syntax``, ``syntax_left``,
``syntax_right``, ``dominance`` (``right``, ``left`` or null), ``bypass``, and ``videos``: ``path`` (an NPY of
``(frames, 512, 512)``, relative to the data set's folder), ``artery`` (LCA, RCA), ``PositionerPrimaryAngle``,
``PositionerSecondaryAngle``. The earlier release, with ``study_id``, ``videos_left``/``videos_right`` and DICOM files,
is read too. ``all.json`` is taken where it exists, else the other lists; files of folds (``..._fold01_...``) are not.

Checked against the metadata of the release (its published JSON files), not against the videos. Assumed: one study is
one patient (the paper counts 3,018 patients and as many studies); videos may be unpacked under the folder of the JSON
file, beside it, or under ``--root``.

Reference:
    Ponomarchuk et al., CardioSyntax: end-to-end SYNTAX score prediction: dataset, benchmark and method, WACV 2025,
    arXiv 2407.19894.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from medvlm.coronary import DOMINANCE
from medvlm.data.layouts.cine_targets import whole_numbers
from medvlm.data.layouts.scan import Scan, ScanOptions, folders_under, nothing_found, safe_name
from medvlm.data.view_angles import angle_problem, is_angle

_NUMBERS = ("syntax", "syntax_left", "syntax_right")
_FOLD = re.compile(r"fold_?\d", re.IGNORECASE)


def scan(root: Path, options: ScanOptions) -> Scan:
    """List the studies of the JSON files.

    Args:
        root: the data set's folder, or one of its JSON files.
        options: ``source`` names the data set.

    Returns:
        One case a study; ``targets`` hold the three scores, ``syntax_positive``, ``dominance`` and ``bypass`` where
        they are known, ``view_targets`` the artery, ``view_angles`` the C-arm's angles.

    Raises:
        ValueError: no JSON file lists such studies.
    """
    result = Scan()
    seen: dict[str, Path] = {}
    lists = _study_lists(root, result)
    for file, studies in lists:
        for number, study in enumerate(studies):
            uid = str(study.get("study_uid") or study.get("study_id") or "")
            if not uid:
                result.report("error", file, "", f"study {number} has no study_uid", "download the file again")
            elif uid in seen:
                if seen[uid] == file:
                    result.report("error", file, safe_name(uid), f"the study {uid} stands twice", "keep one of them")
            else:
                seen[uid] = file
                case = _case_of(uid, study, file, root, options, result)
                if case is not None:
                    result.cases.append(case)
    if not lists and not any(p.severity == "error" for p in result.problems):
        raise nothing_found(root, "cardiosyntax", "a JSON list of studies with syntax and videos (all.json)")
    return result


def _study_lists(root: Path, result: Scan) -> list[tuple[Path, list[dict]]]:
    if root.is_file():
        files = [root]
    else:
        files = [folder / n for folder, names in folders_under(root) for n in names if n.lower().endswith(".json")]
        whole = [f for f in files if f.name == "all.json"]
        files = whole or [f for f in files if not _FOLD.search(f.name)] or files
    lists = []
    for file in files:
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            result.report("error", file, "", f"it is not JSON ({error})", "download it again")
            continue
        if isinstance(content, list) and content and all(isinstance(s, dict) for s in content):
            if any(k.startswith("videos") for k in content[0]) and any(n in content[0] for n in _NUMBERS):
                lists.append((file, content))
    return lists


def _case_of(uid: str, study: dict, file: Path, root: Path, options: ScanOptions, result: Scan) -> dict | None:
    case_id = safe_name(uid)
    case: dict = {"video": [], "view_targets": [], "view_angles": []}
    for record, artery in _records(study):
        name = str(record.get("path") or "")
        path = _find_video(name, file, root)
        if path is None:
            what = f"the video {name!r} of the study is not there"
            result.report("error", file, case_id, what, "unpack the videos, or leave such rows out with --skip_bad")
            continue
        case["video"].append(str(path))
        case["view_targets"].append({"right_coronary": int(artery == "RCA")} if artery in ("LCA", "RCA") else {})
        case["view_angles"].append(_angles(record, path, case_id, result))
    if not case["video"]:
        if not any(True for _ in _records(study)):
            result.report("warning", file, case_id, "the study lists no video; it is left out", "nothing to do")
        return None
    if not any(case["view_angles"]):
        del case["view_angles"]
    targets = _targets(study)
    if targets:
        case["targets"] = targets
    return case | {"study_id": uid, "case_id": case_id, "patient_id": uid, "source": options.source}


def _angles(record: dict, path: Path, case_id: str, result: Scan) -> list[float | None] | None:
    """Primary and secondary angle, each ``None`` where it is unknown; ``None`` where both are."""
    pair: list[float | None] = []
    for name, key in (("primary", "PositionerPrimaryAngle"), ("secondary", "PositionerSecondaryAngle")):
        value = float(record[key]) if is_angle(record.get(key)) else None
        problem, _ = angle_problem(name, value) if value is not None else ("", "")
        if problem:
            result.report("warning", path, case_id, problem, "nothing to do: it counts as unknown")
            value = None
        pair.append(value)
    return pair if any(value is not None for value in pair) else None


def _records(study: dict) -> list[tuple[dict, str]]:
    records = [(v, str(v.get("artery") or "")) for v in study.get("videos") or []]
    for side, artery in (("left", "LCA"), ("right", "RCA")):
        records += [(v, artery) for v in study.get(f"videos_{side}") or []]
    return records


def _find_video(name: str, file: Path, root: Path) -> Path | None:
    base = root if root.is_dir() else root.parent
    places = (file.parent / name, base / name, file.parent.parent / name)
    return next((p for p in places if name and p.is_file()), None)


def _targets(study: dict) -> dict[str, float]:
    targets = {n: float(study[n]) for n in _NUMBERS if isinstance(study.get(n), int | float)}
    if "syntax" in targets:
        targets["syntax_positive"] = float(targets["syntax"] > 0)
    if study.get("dominance") in DOMINANCE:
        targets["dominance"] = float(DOMINANCE.index(study["dominance"]))
    if isinstance(study.get("bypass"), bool):
        targets["bypass"] = float(study["bypass"])
    return whole_numbers(targets)
