"""Real whole heads are told from real brains that were extracted, and their brain is found."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from medvlm.data.reading import read_image
from transforms import brain_in_head
from transforms.brain import looks_whole

REAL = Path(os.environ.get("MEDVLM_REAL_DATA", Path(__file__).parents[3] / "shared" / "data"))
pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason=f"no real data at {REAL}; set MEDVLM_REAL_DATA")


def upright(file: str) -> tuple[np.ndarray, tuple[float, ...]]:
    image = sitk.DICOMOrient(sitk.ReadImage(str(REAL / "brain3d" / file)), "LPS")
    return sitk.GetArrayFromImage(image).T, image.GetSpacing()


@pytest.mark.parametrize(
    ("file", "whole"),
    [
        ("TCGA-FG-6692/TCGA-FG-6692_fla_bet.nii.gz", False),
        ("brats2015_deepmedic/brats_2013_pat0004_1/Flair_subtrMeanDivStd.nii.gz", False),
        ("brats2015_deepmedic/brats_2013_pat0006_1/Flair_subtrMeanDivStd.nii.gz", False),
        ("healthy_torchio-data/t2.nii.gz", True),
        ("pyradiomics/brain1_image.nrrd", True),
    ],
)
def test_a_whole_head_is_told_by_its_border(file, whole):
    assert looks_whole(read_image(str(REAL / "brain3d" / file)).data) is whole


@pytest.mark.parametrize("file", ["healthy_torchio-data/t2.nii.gz", "pyradiomics/brain1_image.nrrd"])
def test_a_brain_of_a_brains_size_is_found(file):
    array, spacing = upright(file)
    assert 1300 < brain_in_head(array, spacing).sum() * np.prod(spacing) / 1000 < 2000


def test_the_tumour_lies_in_what_is_found():
    array, spacing = upright("pyradiomics/brain1_image.nrrd")
    tumour = upright("pyradiomics/brain1_label.nrrd")[0] > 0
    assert brain_in_head(array, spacing)[tumour].mean() > 0.97
