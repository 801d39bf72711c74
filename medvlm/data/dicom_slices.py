"""Whether a folder holds all slices of its DICOM series; the reader of ``doctor``, training reads by ``transforms``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

LARGEST_GAP = 1.5  # of the usual distance between two slices; a missing slice makes it 2
SMALLEST_GAP = 0.01
TAGS = ("ImagePositionPatient", "ImageOrientationPatient")


def missing_slices(folder: Path, files: Sequence[str]) -> tuple[str, str]:
    """Find slices that cannot be read, are missing, or lie at the same place.

    Args:
        folder: of the series.
        files: that the reader took.

    Returns:
        Problem and remedy; empty texts where the series is whole.
    """
    import pydicom

    used = {Path(file).name for file in files}
    lost = [f.name for f in sorted(folder.iterdir()) if f.is_file() and f.name not in used and _is_slice(f)]
    if lost:
        return f"slices cannot be read: {', '.join(lost[:4])} ({len(lost)} in all)", "copy or download it again"
    headers = [pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(TAGS)) for file in files]
    if len(headers) < 3 or any(not header.get(tag) for header in headers for tag in TAGS):
        return "", ""
    places = np.sort([_place(*(np.float64(header.get(tag)) for tag in TAGS)) for header in headers])
    gaps = np.diff(places)
    usual = float(np.median(gaps))
    if gaps.min() <= SMALLEST_GAP * usual:
        return "several slices lie at the same place", "put each volume into a folder of its own"
    if gaps.max() > LARGEST_GAP * usual:
        what = f"slices are missing: a gap of {gaps.max():.4g} mm, {usual:.4g} mm between the others"
        return what, "copy the series again, or resample it to even distances"
    return "", ""


def _place(position: np.ndarray, axes: np.ndarray) -> float:
    return float(np.cross(axes[:3], axes[3:]) @ position)


def _is_slice(file: Path) -> bool:
    """Whether a file is meant to be a DICOM image; presentation states, reports and DICOMDIR are none."""
    import pydicom

    with file.open("rb") as stream:
        magic = stream.read(132)[128:] == b"DICM"
    if not magic:
        return file.suffix.lower() in (".dcm", ".ima", ".dicom")
    try:
        return "Rows" in pydicom.dcmread(file, stop_before_pixels=True, specific_tags=["Rows"])
    except Exception:  # pydicom raises many kinds on damaged files
        return True
