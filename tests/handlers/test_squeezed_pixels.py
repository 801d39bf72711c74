from __future__ import annotations

import nibabel
import numpy as np
import pytest

from medvlm.handlers.squeezed_pixels import squeezed_words


@pytest.mark.parametrize(
    ("spacing", "squeezed"),
    [((1, 1, 6), False), ((6, 1, 1), True), ((1, 6, 1), True), ((1.5, 1, 1), False), ((1, 1.6, 1), True)],
    ids=["axial", "sagittal", "coronal", "at the limit", "above it"],
)
@pytest.mark.parametrize("axes", ["RAS", "LPS", "ASL", "SPR"])
def test_unequal_sides_in_the_axial_plane_are_told_whatever_the_order_of_the_axes(spacing, squeezed, axes):
    image = nibabel.Nifti1Image(np.zeros((2, 3, 4), np.uint8), np.diag([*spacing, 1.0]))
    turn = nibabel.orientations.axcodes2ornt(axes)
    words = squeezed_words(image.as_reoriented(turn).affine)
    assert bool(words) == squeezed
    if squeezed:
        assert f"{spacing[0]:g} mm left to right and {spacing[1]:g} mm front to back" in words


def test_an_oblique_sagittal_series_is_told_too():
    turn = np.array([[np.cos(0.4), -np.sin(0.4), 0], [np.sin(0.4), np.cos(0.4), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn * np.array([5.0, 1.0, 1.0])
    assert squeezed_words(affine).startswith("Voxels of 5 mm left to right")
