"""The whole way of a case, of mixed sources, through MONAI's data sets and loaders."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import CacheDataset, DataLoader, decollate_batch
from monai.transforms import Compose, CropForegroundd, Invertd, Orientationd, RandFlipd, RandGaussianNoise
from PIL import Image

import transforms

REGIONS = {"TC": [1, 4], "WT": [1, 2, 4], "ET": [4]}


def brain(shape: tuple[int, int, int], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A head and its tumour of values 1, 2, 4."""
    grid = np.meshgrid(*[np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in shape], indexing="ij")
    inside = (grid[0] / 0.7) ** 2 + (grid[1] / 0.8) ** 2 + (grid[2] / 0.9) ** 2 < 1
    rng = np.random.default_rng(seed)
    image = np.where(inside, 100 + 10 * rng.normal(size=shape), 0)
    distance = np.sqrt((grid[0] - 0.2) ** 2 + (grid[1] - 0.1) ** 2 + grid[2] ** 2)
    label = np.select([distance < 0.1, distance < 0.2, distance < 0.3], [1, 4, 2], 0)
    return (image + 30 * (label > 0)).astype(np.float32), label.astype(np.uint8)


@pytest.fixture
def cases(tmp_path: Path) -> list[dict]:
    """Two volumes with masks, a healthy 4D volume, and pictures grey and RGB, as a datalist gives them."""
    made = []
    for index, affine in enumerate((np.eye(4), np.diag([-1.0, -1, 2, 1]))):
        image, label = brain((60, 70, 12), index)
        for name, array in (("flair", image), ("seg", label)):
            nib.save(nib.Nifti1Image(array, affine), tmp_path / f"{index}_{name}.nii.gz")
        made.append(
            {
                "image": [str(tmp_path / f"{index}_flair.nii.gz")],
                "channels": ["FLAIR"],
                "label": str(tmp_path / f"{index}_seg.nii.gz"),
                "convention": "brats2017_2021",
                "regions": REGIONS,
                "tumour": 1,
                "source": "brats2021",
            }
        )
    volume = np.stack([brain((50, 64, 9), seed)[0] for seed in (3, 4)], axis=-1)
    nib.save(nib.Nifti1Image(volume, np.eye(4)), tmp_path / "healthy.nii.gz")
    healthy = {"image": str(tmp_path / "healthy.nii.gz"), "channels": ["T1", "FLAIR"], "tumour": 0, "empty_mask": True}
    made.append({**healthy, "source": "controls", "class_name": None})
    for index, mode in enumerate(("L", "RGB")):
        picture = brain((90, 120, 1), 10 + index)[0][..., 0].T.clip(0, 255).astype(np.uint8)
        Image.fromarray(picture).convert(mode).save(tmp_path / f"{mode}.jpg", quality=90)
        made.append({"image": str(tmp_path / f"{mode}.jpg"), "channels": ["MRI"], "tumour": index, "source": "kaggle"})
    return [{**case, "case_id": f"case_{i}", "patient_id": f"p{i}"} for i, case in enumerate(made)]


def common(keys: list[str]) -> list:
    return [
        transforms.LoadCased(("image", "label")),
        transforms.SelectChannelsd(channels=["FLAIR"]),
        transforms.LabelsToRegionsd(regions=["TC", "WT"]),
        Orientationd(keys, axcodes="LPS", labels=(("L", "R"), ("P", "A"), ("I", "S"))),
        transforms.BrainZScored("image"),
        CropForegroundd(keys, source_key="image", select_fn=transforms.is_foreground, allow_smaller=True),
        transforms.FitInPlaned(keys, size=64, mode=["bilinear", "nearest"][: len(keys)]),
    ]


PICKED = ["image", "label", "mask_known", "tumour", "tumour_known", "channels_present", "case_id", "source"]


def training() -> Compose:
    return Compose(
        [
            *common(["image", "label"]),
            transforms.RandSliced(("image", "label")),
            transforms.ForegroundOnlyd("image", RandGaussianNoise(prob=0.5)),
            RandFlipd(("image", "label"), prob=0.5, spatial_axis=0),
            transforms.RandModalityDropoutd("image", prob=0.5),
            transforms.PickCased(PICKED, {"class_name": ""}),
        ]
    )


@pytest.mark.parametrize("workers", [0, 2])
def test_mixed_sources_collate_and_decollate(cases, workers):
    data = CacheDataset(cases, training(), progress=False)
    batch = next(iter(DataLoader(data, batch_size=len(cases), num_workers=workers)))
    assert batch["image"].shape == (5, 1, 64, 64) and batch["image"].dtype == torch.float32
    assert batch["label"].shape == (5, 2, 64, 64)
    assert batch["mask_known"].tolist() == [1, 1, 1, 0, 0]
    assert batch["tumour_known"].tolist() == [1, 1, 1, 1, 1]
    assert batch["tumour"].tolist()[2:] == [0, 0, 1]
    assert batch["channels_present"].tolist() == [[1]] * 5
    assert batch["class_name"] == [""] * 5
    apart = decollate_batch(batch)
    assert [d["case_id"] for d in apart] == [c["case_id"] for c in cases]
    assert {tuple(d["image"].shape) for d in apart} == {(1, 64, 64)}
    assert [d["source"] for d in apart] == [c["source"] for c in cases]


def test_cached_and_fresh_draws_follow_the_seed(cases):
    runs = []
    for _ in range(2):
        pipeline = training()
        pipeline.set_random_state(5)
        data = CacheDataset(cases[:2], pipeline, progress=False)
        runs.append(torch.stack([data[i % 2]["image"].as_tensor() for i in range(8)]))
    torch.testing.assert_close(runs[0], runs[1])
    assert not torch.equal(runs[0][0], runs[0][2])


def test_background_is_zero_at_the_end_and_foreground_is_scored(cases):
    pipeline = Compose(common(["image", "label"]))
    for case in cases:
        image = pipeline(case)["image"].as_tensor()
        inside = image[image != 0]
        assert abs(float(inside.mean())) < 0.15 and abs(float(inside.std()) - 1) < 0.35
        assert (image[:, 0, 0] == 0).all() and (image[:, -1, -1] == 0).all()


def test_a_perfect_prediction_comes_back_on_the_labels_own_grid(cases):
    """At inference the image alone is moved; the label stays where it is."""
    pipeline = Compose(common(["image"]))
    both = Compose(common(["image", "label"]))
    for case in cases[:2]:
        d = pipeline(case)
        assert d["label"].shape == (2, 60, 70, 12)
        d["pred"] = both(case)["label"].clone()
        back = Invertd("pred", pipeline, orig_keys="image", nearest_interp=False)(d)["pred"]
        assert back.shape == d["label"].shape
        torch.testing.assert_close(back.affine, d["label"].affine)
        truth, found = d["label"] > 0, back > 0.5
        assert 2 * (truth & found).sum() / (truth.sum() + found.sum()) > 0.93


def test_everything_public_is_re_exported_and_the_package_is_ours():
    assert Path(transforms.__file__).parent == Path(__file__).parents[2] / "transforms"
    assert sorted(transforms.__all__) == transforms.__all__
    assert all(hasattr(transforms, name) for name in transforms.__all__)


def test_transforms_does_not_import_medvlm():
    code = "import sys, transforms; sys.exit(any(name.split('.')[0] == 'medvlm' for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False).returncode == 0
