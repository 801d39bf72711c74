"""Whatever a user has, as studies of videos: a DICOM folder, a folder of studies, a video, a manifest, a datalist."""

from __future__ import annotations

import logging
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medvlm.data.cine_headers import ARRAY, VIDEO, CineHeader, read_cine_header
from medvlm.data.datalists import SECTIONS, load_datalist, read_datalist
from medvlm.data.layouts import cine_manifest
from medvlm.data.layouts.scan import ScanOptions, folders_under, safe_name
from medvlm.data.reading import ReadError, is_picture, suffix_of
from medvlm.engines.dicom_folders import is_dicom
from medvlm.engines.results_folders import is_results_folder

logger = logging.getLogger(__name__)

MODALITIES = ("XA", "XRF", "RF", "")
TABLES = (".csv", ".tsv")
KEPT = (
    "video", "view_angles", "view_fps", "report", "case_id", "patient_id", "study_id", "source", "error", "side",
)  # fmt: skip


@dataclass
class _Group:
    """Videos that are one study: of one StudyInstanceUID, or of one folder."""

    uid: str = ""
    files: list[str] = field(default_factory=list)
    stills: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    @property
    def views(self) -> list[str]:
        """The videos; where there is none, the single pictures."""
        return self.files or self.stills

    @property
    def folder(self) -> Path:
        """The folder that holds everything of the study."""
        every = [Path(file) for file in (*self.files, *self.stills, *self.left_out)]
        return Path(os.path.commonpath([str(file if file.is_dir() else file.parent) for file in every]))


def find_studies(path: str | os.PathLike[str], section: str | None = None) -> list[dict]:
    """Turn what a user points at into studies.

    Args:
        path: one video (DICOM, AVI/MP4, NPZ, a picture); a folder of DICOM files at any depth, which are one case for
            each StudyInstanceUID; a folder of videos of other kinds, where each folder that holds some is one study; a
            manifest (``.csv``, ``.tsv``, see ``medvlm.data.layouts.cine_manifest``); or a datalist (``.json``).
        section: of the datalist or the manifest; by default ``inference``, then ``test``, whichever holds cases, and of
            a manifest without a split all.

    Returns:
        Cases as in a datalist: ``video`` (absolute paths), ``case_id``, ``patient_id``, ``source``, and what is known
        of ``report``, ``study_id`` and ``view_angles``. A case that holds no video has ``error`` and no ``video``.

    Raises:
        FileNotFoundError: When there is nothing at ``path``.
        ValueError: When it cannot be understood; lists what was seen, and the remedy.
    """
    root = Path(path).expanduser().absolute()
    if not root.exists():
        raise FileNotFoundError(f"there is nothing at {root}; name a file or a folder that exists.")
    if root.is_file() and suffix_of(root) == ".json":
        return _from_datalist(root, section)
    if root.is_file() and suffix_of(root) in TABLES:
        return _from_manifest(root, section)
    if section is not None:
        raise ValueError(f"section chooses a part of a datalist or a manifest, {root} is neither; leave it out.")
    if root.is_file():
        if not (_is_video(root) or is_picture(root)):
            raise ValueError(
                f"{root} is no video that can be read; use DICOM, {', '.join((*VIDEO, *ARRAY))}, a picture, a manifest "
                "(.csv) or a datalist (.json)."
            )
        return [_case([str(root)], safe_name(root.stem if suffix_of(root) else root.name))]
    cases = _named(root, _groups_of(root))
    if not cases:
        raise ValueError(
            f"{root} holds no video; looked for DICOM, {', '.join((*VIDEO, *ARRAY))} and pictures, in it and in its "
            "folders."
        )
    return cases


class StudyCases(Sequence):
    """The cases of :func:`find_studies`, looked for when they are first asked for.

    So a bundle's config can be built, looked at and checked where there is no input. Arguments as there.
    """

    def __init__(self, path: str | os.PathLike[str], section: str | None = None) -> None:
        self._arguments = (path, section)
        self._found: list[dict] | None = None

    @property
    def found(self) -> list[dict]:
        """The cases."""
        if self._found is None:
            self._found = find_studies(*self._arguments)
        return self._found

    def __len__(self) -> int:
        return len(self.found)

    def __getitem__(self, index):
        return self.found[index]


def _case(video: list[str], case_id: str, study_id: str = "") -> dict:
    case = {"video": video, "case_id": case_id, "patient_id": case_id, "source": "input"}
    return case | ({"study_id": study_id} if study_id else {})


def _from_datalist(path: Path, section: str | None) -> list[dict]:
    datalist = read_datalist(path)
    filled = [name for name in ("inference", "test") if datalist.get(name)]
    if section is None and not filled:
        there = ", ".join(f"{name} ({len(datalist.get(name) or [])})" for name in SECTIONS)
        raise ValueError(f"{path} has no case in inference or test; choose with --section, it has {there}.")
    cases = load_datalist(path, section or filled[0])
    other = [case.get("case_id", "?") for case in cases if not case.get("video")]
    if len(other) == len(cases) and cases:
        raise ValueError(f"{path} holds no videos (its cases lack 'video'); this bundle reads studies of videos.")
    return [_kept(case) for case in cases]


def _from_manifest(path: Path, section: str | None) -> list[dict]:
    scan = cine_manifest.scan(path, ScanOptions(source=path.stem))
    for problem in scan.problems:
        if problem.severity != "note":
            logger.warning("%s: %s; %s", problem.file, problem.problem, problem.remedy)
    cases = scan.cases
    sections = Counter(case["section"] for case in cases if "section" in case)
    chosen = section or next((name for name in ("inference", "test") if sections[name]), None)
    if chosen is not None:
        cases = [case for case in cases if case.get("section") == chosen]
    if not cases:
        raise ValueError(f"{path} has no study in {chosen}; choose with --section, it has {dict(sections)}.")
    return [_kept(case) for case in cases]


def _kept(case: dict) -> dict:
    """What prediction reads of a case; one without videos says so."""
    kept = {key: case[key] for key in KEPT if case.get(key) is not None}
    kept["case_id"] = safe_name(str(kept.get("case_id") or kept.get("study_id") or "study"))
    kept.setdefault("patient_id", kept["case_id"])
    kept.setdefault("source", "input")
    videos = kept.pop("video", [])
    videos = [videos] if isinstance(videos, str) else list(videos)
    if not videos:
        return kept | {"error": "the study names no video; fill in FileName, or take it out of the list."}
    return kept | {"video": videos}


def _is_video(file: Path) -> bool:
    if file.name.upper() == "DICOMDIR":
        return False
    suffix = suffix_of(file)
    return suffix in VIDEO or suffix in ARRAY or suffix in (".dicom",) or (not is_picture(file) and is_dicom(file))


def _groups_of(root: Path) -> list[_Group]:
    """The studies under a folder, in the order of their first file."""
    groups: dict[str, _Group] = defaultdict(_Group)
    for folder, names in folders_under(root):
        if is_results_folder(folder):  # its evidence would be a study of pictures
            continue
        files = [folder / name for name in names]
        videos = [file for file in files if _is_video(file)]
        if not videos and any(is_picture(file) for file in files):
            groups[str(folder)].files.append(str(folder))  # a folder of pictures is one video
            continue
        _add(folder, videos, groups)
    return list(groups.values())


def _add(folder: Path, videos: Iterable[Path], groups: dict[str, _Group]) -> None:
    """Sort the videos of a folder into studies; what says no study joins the only one there, or one of the folder."""
    here: dict[str, None] = {}
    nameless: list[Path] = []
    for file in videos:
        header = _header(file)
        uid = header.study_uid if header is not None else ""
        if not uid:
            nameless.append(file)
            continue
        here[uid] = None
        group = groups[uid]
        group.uid = uid
        if header.modality not in MODALITIES:
            group.left_out.append(str(file))
        else:
            (group.stills if header.frames == 1 else group.files).append(str(file))
    if nameless:
        group = groups[next(iter(here)) if len(here) == 1 else str(folder)]
        group.files += [str(file) for file in nameless]


def _header(file: Path) -> CineHeader | None:
    """The header of a DICOM file; none for other kinds, and for what cannot be read: loading will say why."""
    if suffix_of(file) in (*VIDEO, *ARRAY):
        return None
    try:
        return read_cine_header(file)
    except ReadError:
        return _what_is_left(file)


def _what_is_left(file: Path) -> CineHeader | None:
    """Modality and study of a file whose pixels are damaged or absent: a report is no video, an angiogram is one."""
    import pydicom

    try:
        header = pydicom.dcmread(file, stop_before_pixels=True)
        modality, uid = str(header.get("Modality") or ""), str(header.get("StudyInstanceUID") or "")
    except Exception:  # pydicom raises whatever it likes on damaged files
        return None
    return CineHeader(str(file), "dicom", 0, 0, 0, modality=modality, study_uid=uid)


def _named(root: Path, groups: Sequence[_Group]) -> list[dict]:
    """Cases named after their folder where that holds nothing else, else after the study."""
    folders = Counter(str(group.folder) for group in groups)
    cases = []
    for group in groups:
        alone = folders[str(group.folder)] == 1 and (group.folder != root or len(groups) == 1)
        name = safe_name(group.folder.name if alone or not group.uid else group.uid)
        if group.views:
            cases.append(_case(group.views, name, group.uid))
            continue
        what = f"{len(group.left_out)} files are no angiography (other modalities, or no pixel data)"
        cases.append(
            {"case_id": name, "source": "input", "path": str(group.folder), "error": f"{group.folder}: {what}."}
        )
    names = Counter(case["case_id"] for case in cases)
    seen: Counter[str] = Counter()
    for case in cases:
        name = case["case_id"]
        seen[name] += 1
        if names[name] > 1:
            case["case_id"] = f"{name}_{seen[name]}"
            if "patient_id" in case:
                case["patient_id"] = case["case_id"]
    return cases
