"""A folder of X-ray angiography DICOM files, at any depth and under any name: one case a study.

Studies and patients are read from the headers. Single pictures, objects without pixels and other modalities are left
out, and a note counts them. Files that cannot be read are errors, each of them. Nothing says what is to be seen in
the videos, so the studies go to ``inference`` unless ``--section`` says otherwise; a file ``report.txt``, or one named
after the study (``<StudyInstanceUID>.txt``), beside the videos or in a folder above them, is taken as its report.
"""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

from tqdm import tqdm

from medvlm.data.cine_headers import CineHeader, read_cine_header
from medvlm.data.layouts.scan import Scan, ScanOptions, folders_under, nothing_found, safe_name
from medvlm.data.reading import ReadError, suffix_of

_MODALITIES = ("XA", "XRF", "RF", "")
_ENDINGS = (".dcm", ".dicom", ".ima")
_OTHERS = (".txt", ".csv", ".json", ".xml", ".html", ".pdf", ".md", ".zip", ".png", ".jpg", ".jpeg", ".exe", ".ini")


def scan(root: Path, options: ScanOptions) -> Scan:
    """List the studies of a folder.

    Args:
        root: the folder, or one DICOM file.
        options: ``source`` names the data set.

    Raises:
        ValueError: no file is an angiography video.
    """
    result = Scan()
    studies: dict[str, list[CineHeader]] = defaultdict(list)
    left_out: dict[str, list[Path]] = defaultdict(list)
    for file in tqdm(list(_dicom_files(root)), desc="headers", unit="file"):
        try:
            header = read_cine_header(file)
        except ReadError as error:
            if "no pixel data" in error.problem:
                left_out["no pixel data"].append(file)
            else:
                result.report("error", error.path, "", error.problem, error.remedy)
            continue
        if header.modality not in _MODALITIES:
            left_out[f"modality {header.modality}"].append(file)
        elif header.frames == 1:
            left_out["a single picture"].append(file)
        else:
            studies[header.study_uid or str(file.parent)].append(header)
    for why, files in sorted(left_out.items()):
        result.report("note", files[0], "", f"{len(files)} files are left out ({why})", "nothing to do")
    if not studies and not result.problems:
        raise nothing_found(root, "xa_folder", "DICOM files of modality XA with several frames")
    if not studies and not any(p.severity == "error" for p in result.problems):
        shown = ", ".join(f"{len(files)} x {why}" for why, files in left_out.items())
        raise ValueError(f"{root} holds no angiography video, expected XA with several frames; found {shown}.")
    for uid, headers in sorted(studies.items()):
        result.cases.append(_case_of(root, uid, headers, options))
    return result


def _dicom_files(root: Path) -> list[Path]:
    if root.is_file():
        return [root]
    found = []
    for folder, names in folders_under(root):
        for name in names:
            file = folder / name
            if name.upper() == "DICOMDIR" or suffix_of(file) in _OTHERS:
                continue
            if suffix_of(file) in _ENDINGS or _has_mark(file):
                found.append(file)
    return found


def _has_mark(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _case_of(root: Path, uid: str, headers: list[CineHeader], options: ScanOptions) -> dict:
    files = [h.path for h in headers]
    case: dict = {"video": files}
    report = _report_beside(root, uid, files)
    if report:
        case["report"] = report
    return case | {"study_id": uid, "case_id": safe_name(uid), "source": options.source}


def _report_beside(root: Path, uid: str, files: list[str]) -> str:
    folder = Path(os.path.commonpath([str(Path(f).parent) for f in files]))
    base = root if root.is_dir() else root.parent
    own = [folder / "report.txt", folder / f"{uid}.txt", base / f"{uid}.txt"]
    if folder == base:  # a report.txt beside several studies belongs to none of them
        own = own[1:]
    for place in own:
        if place.is_file():
            return place.read_text(encoding="utf-8", errors="replace").strip()
    return ""
