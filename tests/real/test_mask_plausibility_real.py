"""``doctor``'s doubts about the masks of real brains: none as they are, one when mirrored or with labels exchanged."""

from __future__ import annotations

import os
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from medvlm.data.mask_plausibility import doubts_about_mask
from medvlm.data.reading import mask_of, read_image
from medvlm.data.swapped_labels import roles_of

REAL = Path(os.environ.get("MEDVLM_REAL_DATA", Path(__file__).parents[3] / "shared" / "data"))
pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason=f"no real data at {REAL}; set MEDVLM_REAL_DATA")
TCGA = "brain3d/TCGA-FG-6692/TCGA-FG-6692_"
DEEPMEDIC = "brain3d/brats2015_deepmedic/brats_2013_pat"
CASES = {
    "TCGA-FG-6692": (
        "brats2017_2021",
        TCGA + "fused_seg.nii.gz",
        {c: f"{TCGA}{n}_bet.nii.gz" for c, n in (("FLAIR", "fla"), ("T1", "t1"), ("T1c", "t1c"), ("T2", "t2"))},
    ),
    **{
        f"brats_2013_pat{n}": (
            "brats2015",
            f"{DEEPMEDIC}{n}_1/OTMultiClass.nii.gz",
            {c: f"{DEEPMEDIC}{n}_1/{f}_subtrMeanDivStd.nii.gz" for c, f in (("FLAIR", "Flair"), ("T1c", "T1c"))},
        )
        for n in ("0004", "0006")
    },
}


@pytest.fixture(scope="module", params=CASES)
def brain(request):
    """Convention, mask, channels and voxel sizes."""
    convention, label, files = CASES[request.param]
    mask = read_image(REAL / label)
    channels = {name: read_image(REAL / file).data for name, file in files.items()}
    return convention, mask_of(mask, label), channels, mask.spacing_mm


def test_real_masks_raise_no_doubt_with_whatever_channels_there_are(brain):
    convention, mask, channels, spacing = brain
    for count in range(1, len(channels) + 1):
        for names in combinations(channels, count):
            assert doubts_about_mask(mask, {n: channels[n] for n in names}, convention, spacing) == []


@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 1)], ids=["first", "second", "third", "two"])
def test_mirrored_real_masks_are_found(brain, axes):
    convention, mask, channels, spacing = brain
    words = " and ".join(("first", "second", "third")[axis] for axis in axes)
    doubts = doubts_about_mask(np.flip(mask, axes), channels, convention, spacing)
    assert any(f"mirrored along its {words} ax" in what for what, _ in doubts)


def test_exchanged_labels_of_real_masks_are_found(brain):
    convention, mask, channels, spacing = brain
    roles = roles_of(convention)
    for a, b in combinations(roles, 2):
        if roles[a] != roles[b]:
            wrong = np.where(mask == a, b, np.where(mask == b, a, mask))
            ((what, _),) = doubts_about_mask(wrong, channels, convention, spacing)
            assert f"labels {a} and {b} look swapped" in what


def test_real_pictures_and_their_mirror_images_are_told_apart():
    folders = sorted((REAL / "brain2d" / "brats_slices" / "yes_tumor").iterdir())
    assert len(folders) == 10
    for folder in folders:
        flair = read_image(folder / "image.png").data
        mask = mask_of(read_image(folder / "mask.png"), "mask.png")
        flair = flair if flair.ndim == 2 else flair[..., 0]
        assert doubts_about_mask(mask, {"FLAIR": flair}, "binary_wt") == []
        for axes in ((0,), (1,), (0, 1)):
            doubts = doubts_about_mask(np.flip(mask, axes), {"FLAIR": flair}, "binary_wt")
            assert any("fits the image better when mirrored" in what for what, _ in doubts)
