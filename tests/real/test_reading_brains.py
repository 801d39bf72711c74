"""Reading, normalising, cropping and putting back real brains: scans, pictures, NRRD and DICOM."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import CacheDataset, DataLoader
from monai.transforms import Compose, CropForegroundd, Invertd, NormalizeIntensity, Orientationd

import transforms

ROOT = Path(os.environ.get("MEDVLM_REAL_DATA", Path(__file__).parents[3] / "shared" / "data"))
pytestmark = pytest.mark.skipif(
    not ROOT.is_dir(), reason=f"the real data is not at {ROOT}; set MEDVLM_REAL_DATA to where it is"
)
TCGA = ROOT / "brain3d" / "TCGA-FG-6692"
DEEPMEDIC = ROOT / "brain3d" / "brats2015_deepmedic"
PYRADIOMICS = ROOT / "brain3d" / "pyradiomics"
LABELS = (("L", "R"), ("P", "A"), ("I", "S"))


def tcga() -> dict:
    return {
        "image": [str(TCGA / f"TCGA-FG-6692_{name}_bet.nii.gz") for name in ("fla", "t1", "t1c", "t2")],
        "channels": ["FLAIR", "T1", "T1c", "T2"],
        "label": str(TCGA / "TCGA-FG-6692_fused_seg.nii.gz"),
        "convention": "brats2017_2021",
        "regions": {"TC": [1, 4], "WT": [1, 2, 4], "ET": [4]},
        "tumour": 1,
        "case_id": "TCGA-FG-6692",
    }


def nrrd() -> dict:
    return {
        "image": str(PYRADIOMICS / "brain1_image.nrrd"),
        "channels": ["T1c"],
        "label": str(PYRADIOMICS / "brain1_label.nrrd"),
        "convention": "binary_wt",
        "regions": {"WT": [1, 255]},
        "case_id": "brain1",
    }


def dice(a: torch.Tensor, b: torch.Tensor) -> float:
    return 2 * float((a & b).sum()) / float(a.sum() + b.sum())


def test_the_mask_has_the_documented_voxels():
    d = transforms.LoadCased()(tcga())
    assert d["image"].shape == (4, 240, 240, 155)
    assert torch.bincount(d["label"].as_tensor().flatten().long()).tolist()[1:] == [2477, 20862, 0, 6840]
    d = transforms.LabelsToRegionsd(regions=["TC", "WT", "ET"])(d)
    assert d["label"].flatten(1).sum(1).tolist() == [2477 + 6840, 2477 + 20862 + 6840, 6840]


def test_skull_stripped_scan_is_scored_as_monai_scores_nonzero_voxels():
    image = transforms.LoadCase()(tcga()["image"])
    ours = transforms.BrainZScore()(image)
    theirs = NormalizeIntensity(nonzero=True, channel_wise=True)(image.clone())
    assert ((ours != 0) == (theirs != 0)).float().mean() > 0.9999  # zeros inside the brain are filled
    assert (ours - theirs).abs()[theirs != 0].max() < 0.02


@pytest.mark.parametrize("patient", ["brats_2013_pat0004_1", "brats_2013_pat0006_1"])
@pytest.mark.parametrize("name", ["Flair", "T1c"])
def test_the_brain_of_a_z_scored_scan_is_its_published_mask(patient, name):
    image = transforms.LoadCase()(DEEPMEDIC / patient / f"{name}_subtrMeanDivStd.nii.gz")
    assert image.min() < -3  # its background is not 0
    found = transforms.BrainZScore()(image) != 0
    mask = transforms.LoadCase("label")(DEEPMEDIC / patient / "brainmask.nii.gz") > 0
    assert dice(found, mask) > 0.995
    label = transforms.LoadCase("label")(DEEPMEDIC / patient / "OTMultiClass.nii.gz")
    # 14 and 481 label voxels lie outside the published mask, where the scan holds nothing but its background
    assert found[(label > 0) & mask].float().mean() > 0.9999


def test_the_healthy_head_is_found():
    image = transforms.LoadCase()(ROOT / "brain3d" / "healthy_torchio-data" / "t2.nii.gz")
    share = (transforms.BrainZScore()(image) != 0).float().mean((0, 1, 2))
    assert image.shape == (1, 320, 320, 26)
    assert (share > 0.1).all() and (share < 0.6).all()


def test_nrrd_image_and_mask_share_a_grid_and_the_tumour_is_in_the_head():
    d = transforms.LoadCased()(nrrd())
    assert d["image"].shape == d["label"].shape == (1, 256, 256, 25)
    np.testing.assert_allclose(np.diag(d["image"].affine)[:3], [-0.78125, 0.78125, 6.5], atol=1e-6)
    found = transforms.BrainZScore()(d["image"]) != 0
    assert found[d["label"] > 0].all() and 0.3 < found.float().mean() < 0.7


def test_a_dicom_series_and_its_nrrd_are_the_same_volume():
    folder = ROOT / "chestct" / "CIP"
    series, single = (transforms.LoadCase()(folder / name) for name in ("ct-64Dicom", "ct-64.nrrd"))
    turned = [Orientationd("image", axcodes="LPS", labels=LABELS)({"image": x})["image"] for x in (series, single)]
    torch.testing.assert_close(turned[0].as_tensor(), turned[1].as_tensor())
    torch.testing.assert_close(turned[0].affine, turned[1].affine, atol=0.05, rtol=0)


def pictures() -> list[Path]:
    return sorted(p for p in (ROOT / "brain2d" / "yes_no").glob("*/*") if p.suffix.lower() in (".jpg", ".jpeg", ".png"))


def test_the_head_is_found_in_all_253_pictures():
    assert len(pictures()) == 253
    load, score = transforms.LoadCase(), transforms.BrainZScore()
    odd = []
    for path in pictures():
        image = load(path)
        scored = score(image)[0, ..., 0].numpy()
        inside = scored != 0
        where = np.argwhere(inside)
        sides = where.max(0) - where.min(0) + 1
        filled = inside.sum() / sides.prod()
        centre = inside[tuple(slice(a + s // 4, a + 3 * s // 4) for a, s in zip(where.min(0), sides, strict=True))]
        assert abs(scored[inside].mean()) < 1e-3 and abs(scored[inside].std() - 1) < 1e-3, path
        round_head = 0.6 < filled < 0.97 and centre.mean() > 0.95  # an ellipse fills 0.79 of its box
        large = sides.max() > 0.4 * max(inside.shape) and 0.55 < sides[0] / sides[1] < 1.6
        if not (round_head and large):
            odd.append((path.name, inside.shape, tuple(sides), round(float(filled), 2), round(float(centre.mean()), 2)))
    assert not odd


def test_brats_slices_saved_as_pictures_are_found_whole():
    for path in sorted((ROOT / "brain2d" / "brats_slices").glob("*/*/image.png")):
        image = transforms.LoadCase()(path)
        found = transforms.BrainZScore()(image) != 0
        assert found[image > 0].all(), path
        mask = path.with_name("mask.png")
        if mask.exists():
            tumour = transforms.LabelsToRegions(["WT"])(transforms.LoadCase("label")(mask), {"WT": [1, 255]})
            assert found[tumour > 0].float().mean() > 0.999, path


def steps(keys: list[str], channels: list[str]) -> Compose:
    return Compose(
        [
            transforms.LoadCased(),
            transforms.SelectChannelsd(channels=channels),
            transforms.LabelsToRegionsd(regions=["WT"]),
            Orientationd(keys, axcodes="LPS", labels=LABELS),
            transforms.BrainZScored("image"),
            CropForegroundd(keys, source_key="image", select_fn=transforms.is_foreground, allow_smaller=True),
            transforms.FitInPlaned(keys, size=160, mode=["bilinear", "nearest"][: len(keys)]),
        ]
    )


@pytest.mark.parametrize("case", [tcga, nrrd])
def test_a_real_mask_goes_into_the_plane_and_comes_back(case):
    given = case()
    channels = given["channels"][:1]
    forward = steps(["image", "label"], channels)(given)
    pipeline = steps(["image"], channels)
    d = pipeline(given)
    d["pred"] = forward["label"].clone()
    back = Invertd("pred", pipeline, orig_keys="image", nearest_interp=False)(d)["pred"]
    assert back.shape == d["label"].shape
    assert dice(back > 0.5, d["label"] > 0) > 0.95


def test_scans_and_pictures_make_one_batch():
    cases = [tcga(), {"image": str(pictures()[0]), "channels": ["MRI"], "tumour": 0, "case_id": pictures()[0].name}]
    pipeline = steps(["image", "label"], ["FLAIR"])
    keep = ["image", "label", "mask_known", "tumour", "tumour_known", "channels_present", "case_id"]
    whole = Compose([*pipeline.transforms, transforms.RandSliced(), transforms.PickCased(keep)])
    batch = next(iter(DataLoader(CacheDataset(cases, whole, progress=False), batch_size=2)))
    assert batch["image"].shape == (2, 1, 160, 160) and batch["label"].shape == (2, 1, 160, 160)
    assert batch["mask_known"].tolist() == [1, 0] and batch["tumour_known"].tolist() == [1, 1]
