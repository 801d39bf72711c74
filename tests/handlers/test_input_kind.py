from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import CropForeground, Orientation

from medvlm.handlers.input_kind import input_kind

AXIAL = np.diag([-1.0, -1.0, 5.0, 1.0])
SAGITTAL = np.array([[0, 0, 5.0, 0], [1.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 0, 1]])


def as_read(shape: tuple[int, ...], affine: np.ndarray) -> MetaTensor:
    """An image as ``transforms.LoadCased`` gives it."""
    meta = {"spatial_shape": np.asarray(shape), "original_affine": affine}
    return MetaTensor(torch.zeros(1, *shape), affine=torch.as_tensor(affine), meta=meta)


@pytest.mark.parametrize(
    ("image", "kind"),
    [
        (torch.zeros(1, 9, 8), "picture"),
        (torch.zeros(1, 9, 8, 1), "picture"),
        (torch.zeros(1, 9, 8, 2), "volume"),
        (MetaTensor(torch.zeros(1, 9, 8, 1), affine=torch.as_tensor(AXIAL)), "picture"),
        (as_read((9, 8, 1), AXIAL), "picture"),
        (as_read((9, 8, 4), AXIAL), "volume"),
        (as_read((9, 8, 1), SAGITTAL), "volume"),
        (as_read((9, 1, 4), SAGITTAL), "picture"),
        (as_read((9, 8, 1), np.diag([1.0, 1.0, 0.0, 1.0])), "picture"),
    ],
    ids=["2d", "plain", "plain volume", "no meta", "axial", "axial volume", "sagittal", "one row", "no third axis"],
)
def test_one_axial_slice_is_a_picture(image, kind):
    assert input_kind(image) == kind


def test_a_volume_stays_one_when_it_is_turned_and_cropped_to_one_slice():
    image = as_read((9, 8, 4), SAGITTAL)
    image[:, 2:6, 3, 1:3] = 1  # the network sees one axial slice
    seen = CropForeground()(Orientation("LPS", labels=None)(image))
    assert seen.shape[3] == 1 and input_kind(seen) == "volume"
