"""The DICOM series of a folder, the choice of one of them, and whether it is MR."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MR = "MR"
UNSTATED = ("", "OT", "SC")  # no Modality, "other", and secondary captures: converters write these into MR too


@dataclass(frozen=True)
class Series:
    """One DICOM series of a folder.

    Attributes:
        uid: SeriesInstanceUID (GDCM adds geometry to it where one UID holds several stacks).
        description: SeriesDescription, else the protocol's name, else empty.
        files: its files, sorted by position.
        modality: Modality, such as ``MR``; empty where it is missing.
    """

    uid: str
    description: str
    files: tuple[str, ...]
    modality: str = ""


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM: by its ending, or by the four letters after the preamble."""
    if path.suffix.lower() in (".dcm", ".ima"):
        return True
    try:
        with path.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False


def series_in(folder: str | os.PathLike[str]) -> list[Series]:
    """List the image series of a folder.

    Raises:
        ValueError: When the folder holds no DICOM image.
    """
    import pydicom
    import SimpleITK as sitk

    reader = sitk.ImageSeriesReader()
    found = []
    for uid in reader.GetGDCMSeriesIDs(str(folder)):
        files = reader.GetGDCMSeriesFileNames(str(folder), uid)
        try:
            header = pydicom.dcmread(files[0], stop_before_pixels=True)
        except Exception as error:  # pydicom raises many kinds on damaged files
            raise ValueError(f"{files[0]} is not readable DICOM ({error}); copy the series again.") from error
        words = header.get("SeriesDescription") or header.get("ProtocolName") or ""
        modality = str(header.get("Modality") or "").strip().upper()
        found.append(Series(uid, str(words), tuple(files), modality))
    if not found:
        raise ValueError(f"{folder} holds no DICOM image series that can be read; copy it again.")
    return found


def choose_series(folder: str | os.PathLike[str], series: str | None = None) -> Series:
    """Take the one series of a folder, or the one asked for.

    Args:
        folder: with DICOM files.
        series: the UID, its end, or words of the description (upper and lower case alike).

    Raises:
        ValueError: When there are several and none or more than one is meant; lists all of them.
    """
    every = series_in(folder)
    if series is None and len(every) == 1:
        return every[0]
    wanted = str(series).lower() if series is not None else None
    fitting = [one for one in every if wanted and _means(wanted, one)]
    if len(fitting) == 1:
        return fitting[0]
    rows = "\n".join(f"  {len(one.files):5d} files  {one.description or '(unnamed)'}  {one.uid}" for one in every)
    several = f"holds {len(every)} DICOM series"
    problem = several if series is None else f"{several}, and --series {series} means {len(fitting)} of them"
    remedy = "Choose with --series UID, the UID's end, or words of the description."
    raise ValueError(f"{folder} {problem}:\n{rows}\n{remedy}")


def _means(wanted: str, series: Series) -> bool:
    return series.uid.lower().endswith(wanted) or wanted in series.description.lower()


def mr_caution(series: Series, channels: Sequence[str] = ()) -> str:
    """Look whether a series is MR.

    Args:
        series: of a folder.
        channels: names that the user gave it; one of them takes an image of any Modality.

    Returns:
        A sentence about a series that may not be MR, for the case's manifest; empty for MR.

    Raises:
        ValueError: When it is of another Modality and no channel was given; names the file and the remedy.
    """
    if series.modality == MR:
        return ""
    found = f"Modality {series.modality}" if series.modality else "no Modality"
    if channels:
        return f"The DICOM series has {found}; it was read as {', '.join(channels)}, since channels says so"
    if series.modality in UNSTATED:
        return f"The DICOM series has {found}, so that it is not known whether it is MR; other images mean nothing here"
    raise ValueError(
        f"{series.files[0]} must be of Modality MR, got {series.modality}; leave it out, or if it is MR all the same, "
        "say its channel, e.g. --channels FLAIR."
    )
