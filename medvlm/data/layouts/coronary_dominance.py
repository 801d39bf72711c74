"""CoronaryDominance: studies of left and right coronary videos in a folder a dominance.

Layout (``BearSubj13/CoronaryDominance``, CC0): ``{Left,Right}_Dominance/<study>/{LCA,RCA}/<series>.npz``, below folders
of the parts (main, with its groups normal, occlusion, artifact, small diameter, bad quality; real distribution; domain
shift). Each NPZ holds ``pixel_array`` ``(frames, 512, 512)`` and, as the paper says, ``primary_angle``,
``secondary_angle``, ``is_occlusion``, ``is_undefined_type``, ``is_artifact``, ``artery_type``.

None of this could be checked against the data itself: it is the data set's description and paper. Assumed: folder
names may be written with a space or an underscore; the part is recognised by ``real`` or ``shift`` in a folder's name;
the tags of a study hold when one of its right coronary videos has them (``is_occlusion``: of the right coronary, so
that it is another target than the ``occlusion`` of any segment of other data sets); one study is one patient. Studies
of ``real`` and ``shift`` are the authors' tests and go to ``test``, the others are split. The real-distribution studies
also stand in CardioSYNTAX: do not use one as an external test of the other.

Reference:
    Kruzhilov et al., CoronaryDominance: Angiogram dataset for coronary dominance classification, Scientific Data 12,
    341, 2025, doi 10.1038/s41597-025-04676-8.
"""

from __future__ import annotations

import re
import zipfile
from collections import defaultdict
from pathlib import Path

from medvlm.coronary import DOMINANCE
from medvlm.data.layouts.scan import Scan, ScanOptions, folders_under, nothing_found, safe_name

_FOLDER = re.compile(r"(left|right)[ _-]?dominan", re.IGNORECASE)
_ARTERIES = ("LCA", "RCA")
_TESTS = ("real", "shift")
_TAGS = {"is_occlusion": "right_coronary_occlusion", "is_undefined_type": "undefined_type", "is_artifact": "artifact"}


def scan(root: Path, options: ScanOptions) -> Scan:
    """List the studies.

    Args:
        root: the data set's folder, or one of its parts.
        options: ``source`` names the data set.

    Returns:
        One case a study: ``targets`` hold ``dominance`` (0 right, 1 left) and the tags; ``view_targets`` also the
        artery.

    Raises:
        ValueError: no study is found.
    """
    videos: dict[Path, list[tuple[Path, str]]] = defaultdict(list)
    for folder, names in folders_under(root):
        for name in names:
            if name.lower().endswith((".npz", ".npy", ".dcm")):
                artery = folder.name.upper() if folder.name.upper() in _ARTERIES else ""
                videos[folder.parent if artery else folder].append((folder / name, artery))
    result = Scan()
    for study, files in sorted(videos.items()):
        side = _dominance_of(study, root)
        if side is None:
            what = f"{len(files)} videos lie under no folder Left_Dominance or Right_Dominance and are left out"
            result.report("warning", study, "", what, "give --root the folder above")
            continue
        result.cases.append(_case_of(study, files, side, root, options, result))
    if not result.cases:
        raise nothing_found(root, "coronary_dominance", "Left_Dominance/<study>/RCA/*.npz")
    return result


def _dominance_of(study: Path, root: Path) -> str | None:
    for part in reversed((root.name, *study.relative_to(root).parts)):
        match = _FOLDER.search(part)
        if match:
            return match[1].lower()
    return None


def _case_of(study: Path, files: list, side: str, root: Path, options: ScanOptions, result: Scan) -> dict:
    case_id = safe_name(f"{options.source}_{'_'.join(study.relative_to(root).parts)}")
    dominance = {"dominance": DOMINANCE.index(side)}
    views, tags = [], defaultdict(list)
    for file, artery in files:
        own = _tags_of(file, case_id, result)
        own = {} if artery == "LCA" else own  # they are about the right coronary
        for key, value in own.items():
            tags[key].append(value)
        views.append(dominance | own | ({"right_coronary": int(artery == "RCA")} if artery else {}))
    targets = dominance | {name: max(values) for name, values in tags.items()}
    case = {
        "video": [str(file) for file, _ in files],
        "targets": targets,
        "view_targets": views,
        "study_id": study.name,
        "case_id": case_id,
        "patient_id": study.name,
        "source": options.source,
    }
    parts = " ".join(study.relative_to(root).parts[:-1]).lower()
    if any(word in f"{root.name.lower()} {parts}" for word in _TESTS):
        case["section"] = "test"
    return case


def _tags_of(file: Path, case_id: str, result: Scan) -> dict[str, int]:
    """The flags that an NPZ carries; its pixels are not read."""
    import numpy as np

    if file.suffix.lower() != ".npz":
        return {}
    tags = {}
    try:
        with np.load(file, allow_pickle=False) as arrays:
            for key, name in _TAGS.items():
                if key in arrays.files and arrays[key].dtype.kind in "iufb" and arrays[key].size == 1:
                    tags[name] = int(bool(arrays[key].item()))
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        result.report("error", file, case_id, f"it cannot be read ({error})", "copy or download it again")
    return tags
