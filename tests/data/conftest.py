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


class CineMaker:
    """Writes angiography videos and manifests under one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.rng = np.random.default_rng(5)

    def dicom(self, name: str, frames=4, size=(40, 48), bits=8, compressed=False, **tags) -> Path:
        """A small multi-frame XA file; ``tags`` replace or (``None``) remove what is usual."""
        import pydicom
        from pydicom.dataset import FileDataset, FileMetaDataset
        from pydicom.uid import ExplicitVRLittleEndian, generate_uid

        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.12.1"
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        path = self.root / name
        dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
        usual = {
            "SOPClassUID": meta.MediaStorageSOPClassUID,
            "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
            "Modality": "XA",
            "PatientID": "P1",
            "StudyInstanceUID": "1.2.3",
            "Rows": size[0],
            "Columns": size[1],
            "NumberOfFrames": frames,
            "SamplesPerPixel": 1,
            "PhotometricInterpretation": "MONOCHROME2",
            "BitsAllocated": 8 if bits == 8 else 16,
            "BitsStored": bits,
            "HighBit": bits - 1,
            "PixelRepresentation": 0,
            "FrameTime": 66.6,
            "PositionerPrimaryAngle": -30.0,
            "PositionerSecondaryAngle": 15.0,
        }
        for key, value in (usual | tags).items():
            if value is not None:
                setattr(dataset, key, value)
        shape = (frames, *size, *((3,) if dataset.SamplesPerPixel == 3 else ()))
        pixels = self.rng.integers(1, 2**bits, shape, dtype=np.uint8 if bits == 8 else np.uint16)
        if tags.get("pixels", True) is not None:
            dataset.PixelData = pixels.tobytes()
            dataset["PixelData"].VR = "OB" if bits == 8 else "OW"
        if hasattr(dataset, "pixels"):
            del dataset.pixels
        if compressed:
            dataset.compress(pydicom.uid.RLELossless, generate_instance_uid=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        dataset.save_as(path, enforce_file_format=True)
        return path

    def study(self, number: int, views=2, **tags) -> list[Path]:
        """The videos of one study of one patient."""
        uids = {"StudyInstanceUID": f"1.2.{number}", "PatientID": f"P{number}"}
        return [self.dicom(f"s{number}/v{view}.dcm", **(uids | tags)) for view in range(views)]

    def frames(self, folder: str, count=3, size=(48, 40), stem="f") -> Path:
        """A folder of grey PNG frames."""
        path = self.root / folder
        path.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            pixels = self.rng.integers(0, 256, size[::-1], dtype=np.uint8)
            Image.fromarray(pixels).save(path / f"{stem}_{number:05d}.png")
        return path

    def manifest(self, rows: list[dict], separator=",", name="manifest.csv", encoding="utf-8") -> Path:
        """One line a row, quoted where needed."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        columns = list(dict.fromkeys(key for row in rows for key in row))
        with path.open("w", newline="", encoding=encoding) as stream:
            writer = csv.DictWriter(stream, columns, delimiter=separator, restval="")
            writer.writeheader()
            writer.writerows(rows)
        return path

    def rows(self, studies=6, views=2, splits=(), **more) -> list[dict]:
        """Write studies and give the rows of their manifest; ``more`` are functions of the study's number."""
        rows = []
        for number in range(studies):
            extra = {"Split": splits[number]} if splits else {}
            extra |= {key: value(number) for key, value in more.items()}
            for file in self.study(number, views):
                rows.append(
                    {
                        "FileName": file.relative_to(self.root).as_posix(),
                        "StudyInstanceUID": f"1.2.{number}",
                        "PatientID": f"P{number}",
                        "Report": f"Study {number}: mild disease, no calcification.",
                        **extra,
                    }
                )
        return rows


@pytest.fixture
def cines(tmp_path) -> CineMaker:
    """Writes into ``tmp_path/cines``."""
    return CineMaker(tmp_path / "cines")
