"""A DICOM series as a folder of slices: one series, whole, at even distances."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

LARGEST_GAP = 1.5  # of the usual distance between two slices; a missing slice makes it 2
SMALLEST_GAP = 0.01
TAGS = ("ImagePositionPatient", "ImageOrientationPatient")


def check_series(folder: Path) -> None:
    """Refuse a folder that is not one DICOM series with all of its slices.

    GDCM passes over files that it cannot read, and stacks what is left as if nothing were missing.

    Raises:
        ValueError: where there is no series or several, a slice cannot be read, or slices are missing or lie at the
            same place.
    """
    import itk

    names = itk.GDCMSeriesFileNames.New()
    names.SetUseSeriesDetails(True)
    names.AddSeriesRestriction("0008|0021")
    names.SetDirectory(str(folder))
    series = names.GetSeriesUIDs()
    if len(series) != 1:
        raise ValueError(
            f"{folder}: a folder must hold one DICOM series, found {len(series)}; "
            "give one folder a series, or convert it to NIfTI."
        )
    files = [Path(file) for file in names.GetFileNames(series[0])]
    used = {file.name for file in files}
    lost = [file for file in sorted(folder.iterdir()) if file.is_file() and file.name not in used and is_slice(file)]
    if lost:
        raise ValueError(
            f"{lost[0]}: it belongs to the series and cannot be read, it is truncated or damaged "
            f"({len(lost)} of {len(lost) + len(files)} files); copy or download it again."
        )
    _check_distances(folder, files)


def is_slice(file: Path) -> bool:
    """Whether a file is meant to be a DICOM image; presentation states, reports and DICOMDIR are none."""
    import pydicom

    with file.open("rb") as stream:
        magic = stream.read(132)[128:] == b"DICM"
    if not magic:  # by its ending only: it is empty, cut off, or something else
        return file.suffix.lower() in (".dcm", ".ima", ".dicom")
    try:
        header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=["Rows"])
    except Exception:  # pydicom raises many kinds on damaged files
        return True
    return "Rows" in header


def _check_distances(folder: Path, files: Sequence[Path]) -> None:
    places = _places(files)
    if places is None:
        return
    gaps = np.diff(places)
    usual = float(np.median(gaps))
    if gaps.min() <= SMALLEST_GAP * usual:
        raise ValueError(
            f"{folder}: {int((gaps <= SMALLEST_GAP * usual).sum()) + 1} slices lie at the same place (several echoes, "
            "times or copies in one series); give one folder a volume."
        )
    if gaps.max() > LARGEST_GAP * usual:
        raise ValueError(
            f"{folder}: slices are missing: between two of the {len(files)} slices lie {gaps.max():.4g} mm, between "
            f"the others {usual:.4g} mm; copy the series again, or resample it to even distances."
        )


def _places(files: Sequence[Path]) -> np.ndarray | None:
    """Positions of the slices along their normal in mm, ascending; None of fewer than three or where one is unknown."""
    import pydicom

    if len(files) < 3:
        return None
    places = []
    for file in files:
        header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(TAGS))
        position, axes = (header.get(tag) for tag in TAGS)
        if not position or not axes or len(position) != 3 or len(axes) != 6:
            return None
        normal = np.cross(np.float64(axes[:3]), np.float64(axes[3:]))
        places.append(float(normal @ np.float64(position)))
    return np.sort(places)
