"""Tiny data sets on disk, each in the layout of a real one."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

SHAPE = (20, 18, 16)
SPELLINGS = {
    "brats2020": {"FLAIR": "_flair", "T1": "_t1", "T1c": "_t1ce", "T2": "_t2", "label": "_seg"},
    "brats2021": {"FLAIR": "_flair", "T1": "_t1", "T1c": "_t1ce", "T2": "_t2", "label": "_seg"},
    "brats2023": {"FLAIR": "-t2f", "T1": "-t1n", "T1c": "-t1c", "T2": "-t2w", "label": "-seg"},
}


class Maker:
    """Writes images, masks and whole data sets under one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.rng = np.random.default_rng(3)

    def volume(self, path: Path, shape=SHAPE, affine=None, dtype=np.float32, channels=0) -> Path:
        """A head-like ellipsoid of noise on an empty background."""
        grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
        inside = (grid**2).sum(0) < 0.8
        full = (*shape, channels) if channels else shape
        data = self.rng.normal(100, 10, full) * (inside[..., None] if channels else inside)
        return self.nifti(path, data.astype(dtype), affine)

    def mask(self, path: Path, values=(1, 2, 4), shape=SHAPE, affine=None) -> Path:
        """A box with one slab a value, its place and size drawn anew for every mask."""
        data = np.zeros(shape, np.uint8)
        for number, value in enumerate(values):
            low = 5 + 2 * number
            width = int(self.rng.integers(4, 9))
            data[low : low + 2, 5 : 5 + width, 5:9] = value
        return self.nifti(path, data, affine)

    def nifti(self, path: Path, data: np.ndarray, affine=None) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(data, np.eye(4) if affine is None else affine), path)
        return path

    def picture(self, path: Path, size=(72, 64), mode="L", coarse=8) -> Path:
        """A smooth picture that resembles no other."""
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = self.rng.integers(0, 256, (coarse, coarse), dtype=np.uint8)
        Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).convert(mode).save(path)
        return path

    def brats(self, layout: str, names, folder=None, labels=None, values=None, suffix=".nii.gz") -> Path:
        """Case folders of BraTS 2020, 2021 or 2023; ``labels[name] = ()`` gives an empty mask."""
        base = self.root / (folder or layout)
        values = values or ((1, 2, 3) if layout == "brats2023" else (1, 2, 4))
        for name in names:
            for channel, ending in SPELLINGS[layout].items():
                path = base / name / f"{name}{ending}{suffix}"
                if channel == "label":
                    self.mask(path, (labels or {}).get(name, values))
                else:
                    self.volume(path)
        return base

    def msd(self, names, test=(), labels=None, folder="msd") -> Path:
        base = self.root / folder
        for name in (*names, *test):
            self.volume(base / ("imagesTs" if name in test else "imagesTr") / f"{name}.nii.gz", channels=4)
        for name in names:
            self.mask(base / "labelsTr" / f"{name}.nii.gz", (1, 2, 3))
        description = {
            "name": "BRATS",
            "modality": {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"},
            "labels": labels or {"0": "background", "1": "edema", "2": "non-enhancing tumor", "3": "enhancing tumour"},
            "training": [{"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"} for n in names],
            "test": [f"./imagesTs/{n}.nii.gz" for n in test],
        }
        (base / "dataset.json").write_text(json.dumps(description), encoding="utf-8")
        return base

    def kaggle(self, counts: dict[str, int], folder="kaggle_yes_no") -> Path:
        base = self.root / folder
        for name, count in counts.items():
            for i in range(count):
                self.picture(base / name / f"{name.rpartition('/')[2]} {i}.png")
        return base

    def table(self, rows: list[dict], name="cases.csv") -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        return path


@pytest.fixture
def make(tmp_path) -> Maker:
    """Writes into ``tmp_path/data``."""
    return Maker(tmp_path / "data")
