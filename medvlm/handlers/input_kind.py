"""Whether an input is a volume or one picture: kinds may have thresholds of their own."""

from __future__ import annotations

from typing import Any

import nibabel
import numpy as np

SPATIAL_SHAPE, ORIGINAL_AFFINE = "spatial_shape", "original_affine"
"""MONAI's names for the grid as it was read, in the ``meta`` of an image."""


def input_kind(image: Any) -> str:
    """Say what an image is by the grid it was read on, whatever file it came in.

    One slice says less than the many of a volume, be it a PNG, a NIfTI file or a DICOM file; so the number of axial
    slices decides. Calibration, evaluation, prediction and ``medvlm.load`` ask here, so that a threshold is used for
    the kind of input that it was chosen on.

    Args:
        image: image or label ``(C, X, Y[, Z])``. Of a ``MetaTensor`` its ``meta`` tells the grid it was read on, so
            that a cropped, turned or padded one may be given too; of a plain tensor the last axis is axial.

    Returns:
        ``"picture"`` for one axial slice, else ``"volume"``.
    """
    meta = getattr(image, "meta", None) or {}
    shape, affine = meta.get(SPATIAL_SHAPE), meta.get(ORIGINAL_AFFINE)
    if shape is None or affine is None:
        shape, affine = image.shape[1:], getattr(image, "affine", None)
    sides = [int(side) for side in shape][:3]
    axis = 2 if affine is None else _axial(np.asarray(affine, dtype=float))
    return "picture" if len(sides) < 3 or sides[axis] == 1 else "volume"


def _axial(affine: np.ndarray) -> int:
    """The voxel axis that runs from feet to head, as ``Orientationd`` finds it; the last where none does."""
    found = np.flatnonzero(nibabel.orientations.io_orientation(affine)[:, 0] == 2)
    return int(found[0]) if len(found) else 2
