"""Real whole heads are told from real brains that were extracted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from medvlm.data.reading import read_image
from medvlm.handlers.whole_heads import looks_whole

REAL = Path(os.environ.get("MEDVLM_REAL_DATA", Path(__file__).parents[3] / "shared" / "data"))
pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason=f"no real data at {REAL}; set MEDVLM_REAL_DATA")


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
