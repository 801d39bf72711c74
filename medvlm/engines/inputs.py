"""Whatever a user has, as cases: a file, a folder of modalities, a DICOM series, a datalist, a folder of cases."""

from __future__ import annotations

import atexit
import json
import os
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from medvlm.data.conventions import UNNAMED_CHANNEL, canonical_channel
from medvlm.data.datalists import SECTIONS, load_datalist, read_datalist
from medvlm.data.reading import ITK, PICTURE, suffix_of
from medvlm.engines.dicom_folders import choose_series, is_dicom, mr_caution, series_in
from medvlm.engines.file_groups import group_files
from medvlm.engines.given_channels import agreed, channel_names, names_for, refuse_absent, refuse_surplus
from medvlm.engines.modality_names import IMAGES, VOLUMES, modality_of, read_name, tokens_of
from medvlm.engines.results_folders import is_results_folder

NOT_IMAGES = {
    "seg", "segmentation", "label", "labels", "mask", "brainmask", "gt", "otmulticlass", "roi", "probabilities", "cam",
    "uncertainty", "overlay",
}  # fmt: skip


def is_image(path: Path) -> bool:
    """Whether a file's name says that it is an image, and not a mask."""
    return path.is_file() and suffix_of(path) in IMAGES and not NOT_IMAGES & set(tokens_of(path.name))


def case_name(path: Path) -> str:
    """A case's name from its file or folder: the ending left out."""
    suffix = suffix_of(path)
    return path.name[: -len(suffix)] if suffix in IMAGES and not path.is_dir() else path.name


def find_cases(
    path: str | os.PathLike[str],
    channels: str | Sequence[str] | None = None,
    series: str | None = None,
    section: str | None = None,
    wanted: Sequence[str] | None = None,
    output: str | os.PathLike[str] | None = None,
) -> list[dict]:
    """Turn what a user points at into cases.

    Args:
        path: an image file (NIfTI, NRRD, MetaImage, PNG, JPEG), a DICOM file or folder, a folder with the modality
            files of one case, a folder of cases, or a datalist.
        channels: see :func:`channel_names`; only needed where names do not say it.
        series: the DICOM series to take where a folder holds several: its UID, its end, or words of its description.
        section: the datalist's section; by default ``inference``, then ``test``, whichever holds cases.
        wanted: the channels that the network uses; files of a case's other channels are listed under ``not_read``.
        output: folder for the results, left out where it lies in ``path``; so are folders of a case's results.

    Returns:
        Cases as in a datalist: ``image`` (absolute), ``channels``, ``case_id``, ``patient_id``, ``source``, and a
        ``caution`` about a DICOM series that may not be MR. A case of a folder of cases that cannot be understood is
        in the list with ``error`` and without ``image``.

    Raises:
        FileNotFoundError: When there is nothing at ``path``.
        ValueError: When it cannot be understood; lists what was, and the remedy.
    """
    root = Path(path).expanduser().absolute()
    if not root.exists():
        raise FileNotFoundError(f"there is nothing at {root}; name a file or a folder that exists.")
    if root.is_file() and root.suffix.lower() == ".json":
        return [used_files(case, wanted) for case in _from_datalist(root, section)]
    if root.is_file():
        return [_from_file(root, channels, series)]
    left_out = Path(output).expanduser().resolve() if output is not None else None
    if left_out and root.resolve() in left_out.parents and left_out.is_dir() and any(map(is_image, left_out.iterdir())):
        raise ValueError(f"{left_out}, the folder of the results, holds images of the input; choose another --output.")
    cases = [] if is_results_folder(root) else _unique(_from_folder(root, channels, series, root.name, left_out))
    if not cases:
        raise ValueError(
            f"{root} holds no image; looked for {', '.join(IMAGES)} and DICOM, in it and in its folders, and left out "
            f"files named like masks ({', '.join(sorted(NOT_IMAGES)[:4])} ...) and the results of predictions."
        )
    return [used_files(case, wanted) for case in cases]


def used_files(case: dict, wanted: Sequence[str] | None) -> dict:
    """Take the files of channels that a network does not use out of a case, so that nothing hangs on them.

    Args:
        case: with one file a channel; any other comes back as it is.
        wanted: names of the channels; None for all. A case that has none of them keeps all.

    Returns:
        The case with ``image`` and ``channels`` of the wanted ones, and ``not_read``, the other files.
    """
    files, names = case.get("image"), list(case.get("channels") or ())
    if wanted is None or not isinstance(files, list | tuple) or len(files) != len(names):
        return case
    used = [file for file, name in zip(files, names, strict=True) if name in wanted]
    if not 0 < len(used) < len(files):
        return case
    return {
        **case,
        "image": used if len(used) > 1 else used[0],
        "channels": [name for name in names if name in wanted],
        "not_read": [file for file, name in zip(files, names, strict=True) if name not in wanted],
    }


class InputCases(Sequence):
    """The cases of :func:`find_cases`, looked for when they are first asked for.

    So a bundle's config can be built, looked at and checked where there is no input. Arguments as there.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        channels: str | Sequence[str] | None = None,
        series: str | None = None,
        section: str | None = None,
        wanted: Sequence[str] | None = None,
        output: str | os.PathLike[str] | None = None,
    ) -> None:
        self._arguments = (path, channels, series, section, wanted, output)
        self._found: list[dict] | None = None

    @property
    def found(self) -> list[dict]:
        """The cases."""
        if self._found is None:
            self._found = find_cases(*self._arguments)
        return self._found

    def __len__(self) -> int:
        return len(self.found)

    def __getitem__(self, index):
        return self.found[index]


def _case(image: str | list[str], channels: list[str], case_id: str) -> dict:
    return {"image": image, "channels": channels, "case_id": case_id, "patient_id": case_id, "source": "input"}


def _from_datalist(path: Path, section: str | None) -> list[dict]:
    datalist = read_datalist(path)
    filled = [name for name in ("inference", "test") if datalist.get(name)]
    if section is None and not filled:
        there = ", ".join(f"{name} ({len(datalist.get(name) or [])})" for name in SECTIONS)
        raise ValueError(f"{path} has no case in inference or test; choose with --section, it has {there}.")
    cases = load_datalist(path, section or filled[0])
    kept = ("image", "channels", "case_id", "patient_id", "study_id", "source")
    return [{key: case[key] for key in kept if key in case} for case in cases]


def _from_file(path: Path, channels: str | Sequence[str] | None, series: str | None, case_id: str = "") -> dict:
    if suffix_of(path) not in IMAGES and is_dicom(path):
        return _from_dicom(path.parent, channels, series, case_id or path.parent.name)
    if suffix_of(path) not in IMAGES:
        raise ValueError(f"{path} is no image that can be read; use {', '.join(IMAGES)}, DICOM, or a datalist (.json).")
    given = names_for(path, channels)
    case_id = case_id or case_name(path)
    count = _channels_inside(path)
    if count == 1:
        refuse_surplus(path, given)
        return _case(str(path), given or [_channel_of(path)], case_id)
    if count is None:
        return _case(str(path), given or [_channel_of(path)], case_id)
    names = given or _msd_modalities(path)
    if len(names) != count:
        known = f"{len(names)} names were given ({', '.join(names)})" if names else "its names are not known"
        raise ValueError(
            f"{path} holds {count} channels and {known}; name them in the file's order, "
            "e.g. --channels FLAIR,T1,T1c,T2. A wrong order would go unnoticed, so it is not guessed."
        )
    return _case(str(path), names, case_id)


def _channel_of(path: Path) -> str:
    """The channel that a file's name says."""
    try:
        return modality_of(path.name)[0] or UNNAMED_CHANNEL
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _channels_inside(path: Path) -> int | None:
    """Channels of a volume file from its header; 1 of a picture, None where it cannot be read: loading will say why."""
    if suffix_of(path) not in VOLUMES:
        return 1
    try:
        return _itk_channels(path) if suffix_of(path) in ITK else _nifti_channels(path)
    except Exception:  # readers raise many kinds on damaged files; the case's own loading names file and remedy
        return None


def _nifti_channels(path: Path) -> int:
    import nibabel

    shape = nibabel.load(path).shape
    return int(shape[3]) if len(shape) == 4 else 1


def _itk_channels(path: Path) -> int:
    """Channels that are stored as vectors of three axes, or along a fourth axis."""
    import SimpleITK

    header = SimpleITK.ImageFileReader()
    header.SetFileName(str(path))
    header.ReadImageInformation()
    return {3: header.GetNumberOfComponents(), 4: header.GetSize()[-1]}.get(header.GetDimension(), 1)


def _msd_modalities(path: Path) -> list[str]:
    """Channel names of a Medical Segmentation Decathlon file, from the ``dataset.json`` one folder up."""
    file = path.parent.parent / "dataset.json"
    if not file.is_file():
        return []
    try:
        modality = json.loads(file.read_text(encoding="utf-8"))["modality"]
        return [canonical_channel(modality[key]) for key in sorted(modality, key=int)]
    except (ValueError, KeyError, TypeError, OSError):
        return []


def _from_dicom(folder: Path, channels: str | Sequence[str] | None, series: str | None, case_id: str) -> dict:
    chosen = choose_series(folder, series)
    given = names_for(folder, channels)
    refuse_surplus(folder, given)
    caution = mr_caution(chosen, given)
    names = given or [_channel_of_series(folder, chosen.description)]
    image = folder if len(series_in(folder)) == 1 else _folder_of_links(chosen.files)
    return _case(str(image), names, case_id) | ({"caution": caution} if caution else {})


def _channel_of_series(folder: Path, description: str) -> str:
    """The channel that a series' description says, or else its folder's name."""
    try:
        return modality_of(description)[0] or modality_of(folder.name)[0] or UNNAMED_CHANNEL
    except ValueError as error:
        raise ValueError(f"{folder}, a DICOM series: {error}") from error


def _folder_of_links(files: Iterable[str]) -> Path:
    """A temporary folder with links to the files of one series, removed when the program ends."""
    kept = tempfile.TemporaryDirectory(prefix="medvlm-series-")
    atexit.register(kept.cleanup)
    for file in files:
        os.symlink(file, Path(kept.name) / Path(file).name)
    return Path(kept.name)


def _from_folder(
    folder: Path, channels: str | Sequence[str] | None, series: str | None, case_id: str, left_out: Path | None = None
) -> list[dict]:
    """The cases of one folder; a folder that only holds folders is a folder of cases (or of modality series)."""
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    volumes = [entry for entry in entries if is_image(entry) and suffix_of(entry) in VOLUMES]
    pictures = [entry for entry in entries if is_image(entry) and suffix_of(entry) in PICTURE]
    folders = [entry for entry in entries if entry.is_dir() and not is_results_folder(entry)]
    folders = [entry for entry in folders if left_out is None or entry.resolve() != left_out]
    dicom = any(entry.is_file() and suffix_of(entry) not in IMAGES and is_dicom(entry) for entry in entries)
    if dicom and not (volumes or pictures or folders):
        return [_from_dicom(folder, channels, series, case_id)]
    by_file = channel_names(channels)[1]
    if volumes or pictures:
        refuse_absent(by_file, [*volumes, *pictures], folder)
    cases = _group(volumes, channels, folder, case_id) if volumes else []
    beside = {entry: channels if not by_file or entry.name in by_file else None for entry in (folder, *pictures)}
    cases += [_tolerant_series(folder, beside[folder], series, case_id)] if dicom else []  # beside other things
    cases += [_tolerant_file(file, beside[file]) for file in pictures]
    study = _modality_folders(folders)
    if study and not cases:
        return [_study_case(agreed(study, channels, folder), channels, case_id)]
    for inner in folders:
        try:
            cases += _from_folder(inner, channels, series, inner.name, left_out)
        except (ValueError, OSError) as error:
            cases.append({"case_id": inner.name, "error": str(error), "source": "input", "path": str(inner)})
    return cases


def _modality_folders(folders: list[Path]) -> dict[str, Path]:
    """Folders named after different modalities, each with DICOM files: one study. Else nothing."""
    found: dict[str, Path] = {}
    for folder in folders:
        name = read_name(folder.name).channel
        if name is None or name in found or not any(is_dicom(file) for file in folder.iterdir() if file.is_file()):
            return {}
        found[name] = folder
    return found if len(found) > 1 else {}


def _study_case(study: dict[str, Path], channels: str | Sequence[str] | None, case_id: str) -> dict:
    cautions = []
    for name, folder in study.items():
        try:
            inside = series_in(folder)
        except ValueError:  # loading will say it, if the channel is used at all
            continue
        cautions += [mr_caution(series, [name] if channels else []) for series in inside]
    caution = "\n".join(dict.fromkeys(words for words in cautions if words))
    return _files_case(study, case_id) | ({"caution": caution} if caution else {})


def _group(files: list[Path], channels: str | Sequence[str] | None, folder: Path, case_id: str) -> list[dict]:
    """Group volume files into cases by what their names share besides the modality."""
    ordered, by_file = channel_names(channels)
    if by_file:
        chosen = {by_file[file.name]: file for file in files if file.name in by_file}
        return [_files_case(chosen, case_id)] if chosen else []
    if len(files) == 1 and ordered:
        return [_from_file(files[0], ordered, None)]
    groups = group_files(files, folder)
    if not groups:  # each file is a case of its own
        return [_tolerant_file(file, ordered) for file in files]
    return [_files_case(agreed(group, ordered, folder), name or case_id) for name, group in groups]


def _files_case(group: dict[str, Path], case_id: str) -> dict:
    files = [str(file) for file in group.values()]
    return _case(files if len(files) > 1 else files[0], list(group), case_id)


def _tolerant_file(file: Path, channels: str | Sequence[str] | None) -> dict:
    try:
        return _from_file(file, channels, None)
    except (ValueError, OSError) as error:
        return {"case_id": case_name(file), "error": str(error), "source": "input", "path": str(file)}


def _tolerant_series(folder: Path, channels: str | Sequence[str] | None, series: str | None, case_id: str) -> dict:
    try:
        return _from_dicom(folder, channels, series, case_id)
    except (ValueError, OSError) as error:
        return {"case_id": case_id, "error": str(error), "source": "input", "path": str(folder)}


def _unique(cases: list[dict]) -> list[dict]:
    """Give cases that share a name different ones: with the name of the folder above, then with a number."""
    names = [re.sub(r"[/\\:\0]", "_", case["case_id"]) or "case" for case in cases]
    shared = {name for name, count in Counter(names).items() if count > 1}
    seen: set[str] = set()
    for case, name in zip(cases, names, strict=True):
        if name in shared:
            first = case.get("image", case.get("path", ""))
            name = f"{Path(first[0] if isinstance(first, list) else first).parent.name}_{name}"
        number, base = 2, name
        while name in seen:
            name, number = f"{base}_{number}", number + 1
        seen.add(name)
        case["case_id"] = name
        if "patient_id" in case:
            case["patient_id"] = name
    return cases
