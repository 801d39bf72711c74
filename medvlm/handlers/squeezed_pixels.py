"""What is said of a volume whose pixels are not square, where the network takes them for square."""

from __future__ import annotations

import nibabel
import numpy as np

RATIO = 1.5
"""How many times one in-plane side of a voxel may be the other."""

WORDS = (
    "Voxels of {x:.3g} mm left to right and {y:.3g} mm front to back: the network takes them for square and saw a "
    "squeezed head, as of a sagittal or coronal series; give an axial or an isotropic one"
)


def squeezed_words(affine: np.ndarray) -> str:
    """Caution about a volume whose voxels have unequal sides in the axial plane.

    Args:
        affine: voxel to RAS millimetres ``(4, 4)``, in any orientation.

    Returns:
        A sentence; empty where the sides differ by no more than 1.5 times.
    """
    patient = nibabel.orientations.io_orientation(affine)[:, 0]  # of each voxel axis
    spacing = nibabel.affines.voxel_sizes(affine)
    if not (spacing > 0).all():
        return ""  # no axes to speak of
    x, y = (float(spacing[patient == axis].max()) for axis in (0, 1))
    return WORDS.format(x=x, y=y) if max(x, y) > RATIO * min(x, y) else ""
