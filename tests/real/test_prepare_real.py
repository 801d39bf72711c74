"""``prepare`` and ``doctor`` on real images."""

from __future__ import annotations

import os
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medvlm.data.datalists import SECTIONS, load_datalist, read_datalist
from medvlm.data.doctor import doctor
from medvlm.data.duplicates import near_duplicates, picture_hashes
from medvlm.data.mask_plausibility import doubts_about_mask
from medvlm.data.prepare import prepare

REAL = Path(os.environ.get("MEDVLM_REAL_DATA", Path(__file__).parents[3] / "shared" / "data"))
pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason=f"no real data at {REAL}; set MEDVLM_REAL_DATA")


def _all(path):
    datalist = read_datalist(path)
    return [case for s in SECTIONS for case in datalist[s]]


@pytest.fixture(scope="module")
def yes_no(tmp_path_factory):
    out = tmp_path_factory.mktemp("yes_no") / "d.json"
    prepare("kaggle_yes_no", str(REAL / "brain2d" / "yes_no"), str(out))
    return out


def test_yes_no_is_253_pictures_of_199_groups(yes_no):
    cases = _all(yes_no)
    assert [sum(c["tumour"] == k for c in cases) for k in (0, 1)] == [98, 155]
    assert len({c["patient_id"] for c in cases}) == 199


def test_yes_no_passes_the_doctor(yes_no):
    assert doctor(str(yes_no)) == 0


def test_known_copies_are_on_one_side(yes_no):
    """Found by eye: cropped, darkened and annotated copies, beside the exact ones."""
    by_name = {Path(c["image"]).name: c["patient_id"] for c in _all(yes_no)}
    for a, b in (("Y155.JPG", "Y55.jpg"), ("Y161.JPG", "Y61.jpg"), ("Y195.JPG", "Y26.jpg"), ("Y255.JPG", "Y30.jpg")):
        assert by_name[a] == by_name[b]
    for a, b in (("Y105.jpg", "Y81.jpg"), ("Y165.JPG", "Y255.JPG"), ("40 no.jpg", "no 99.jpg")):
        assert by_name[a] != by_name[b]


def test_the_threshold_stands_in_a_gap():
    files = sorted(p for p in (REAL / "brain2d" / "yes_no").rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
    hashes = [picture_hashes(f) for f in files]
    distances = sorted(d for _, _, d in near_duplicates(hashes, max_distance=60))
    assert not [d for d in distances if 26 < d < 48]
    assert len([d for d in distances if d <= 26]) == 78


def test_brats2015_has_two_channels_and_its_own_convention(tmp_path):
    prepare("brats2015", str(REAL / "brain3d" / "brats2015_deepmedic"), str(tmp_path / "d.json"), verify=True)
    cases = _all(tmp_path / "d.json")
    assert len(cases) == 2 and {c["patient_id"] for c in cases} == {"brats_2013_pat0004", "brats_2013_pat0006"}
    assert all(c["channels"] == ["FLAIR", "T1c"] and c["convention"] == "brats2015" for c in cases)
    assert doctor(str(tmp_path / "d.json")) == 0


def test_slices_keep_patient_and_modality(tmp_path):
    prepare("brats_slices", str(REAL / "brain2d" / "brats_slices"), str(tmp_path / "d.json"), healthy_masks=True)
    cases = _all(tmp_path / "d.json")
    assert len(cases) == 20 and sum("label" in c for c in cases) == 10 == sum(bool(c.get("empty_mask")) for c in cases)
    assert all(c["channels"] == ["FLAIR"] and c["patient_id"].startswith("BraTS20_Training_") for c in cases)
    assert doctor(str(tmp_path / "d.json"), strict=True) == 0


def test_folds_of_all_real_sources(tmp_path):
    written = prepare(
        "kaggle_yes_no,brats_slices",
        f"{REAL / 'brain2d' / 'yes_no'},{REAL / 'brain2d' / 'brats_slices'}",
        str(tmp_path / "d.json"),
        folds=5,
    )
    tested = [c["case_id"] for path in written for c in load_datalist(path, "test")]
    assert len(tested) == len(set(tested)) == 273


def test_swapped_values_of_a_real_mask_are_doubted():
    folder = REAL / "brain3d" / "TCGA-FG-6692"
    mask = np.asanyarray(nibabel.load(folder / "TCGA-FG-6692_fused_seg.nii.gz").dataobj).astype(int)
    flair = {"FLAIR": np.asanyarray(nibabel.load(folder / "TCGA-FG-6692_fla_bet.nii.gz").dataobj)}
    assert doubts_about_mask(mask, flair, "brats2017_2021") == []
    swapped = np.array([0, 2, 1, 3, 4])[mask]
    assert len(doubts_about_mask(swapped, flair, "brats2017_2021")) == 1
    assert len(doubts_about_mask(mask[::-1], flair, "brats2017_2021")) == 1
