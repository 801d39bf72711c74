"""Writers of volumes in the layouts that public data sets use on disk: file names, label values, headers and tables."""

from __future__ import annotations

import csv
import gzip
import json
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np

from medvlm.data.phantoms.scanners import MODALITIES
from medvlm.data.phantoms.subjects import Study
from medvlm.data.phantoms.tumours import ENHANCING, NECROSIS, OEDEMA, SOLID

BRATS2015 = {NECROSIS: 1, OEDEMA: 2, SOLID: 3, ENHANCING: 4}
BRATS2017_2021 = {NECROSIS: 1, SOLID: 1, OEDEMA: 2, ENHANCING: 4}
BRATS2023 = {NECROSIS: 1, SOLID: 1, OEDEMA: 2, ENHANCING: 3}
MSD = {OEDEMA: 1, NECROSIS: 2, SOLID: 2, ENHANCING: 3}


@dataclass(frozen=True)
class Written:
    """A case on disk: its name, its patient, and what was drawn."""

    name: str
    patient: str
    facts: dict


def label_values(labels: np.ndarray, values: dict[int, int]) -> np.ndarray:
    """Our labels in a convention's values, uint8 of the same shape."""
    table = np.zeros(max(values) + 1, np.uint8)
    for ours, theirs in values.items():
        table[ours] = theirs
    return table[labels]


def lps_affine(shape: tuple[int, ...], spacing_mm: tuple[float, ...]) -> np.ndarray:
    """The affine (4, 4) of BraTS files: x to the Left, y to Posterior, with BraTS' offset."""
    affine = np.diag([-spacing_mm[0], -spacing_mm[1], spacing_mm[2], 1.0])
    affine[1, 3] = (shape[1] - 1) * spacing_mm[1]
    return affine


def write_nifti(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    """Write an array as ``.nii.gz``; the same input gives the same bytes."""
    image = nibabel.Nifti1Image(array, affine)
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    image.header.set_xyzt_units("mm")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(image.to_bytes(), 1, mtime=0))


def integers(images: np.ndarray) -> np.ndarray:
    """Intensities rounded to int16; inside the brain at least 1, background exactly 0."""
    return np.where(images > 0, np.clip(np.rint(images), 1, 32767), 0).astype(np.int16)


@dataclass(frozen=True)
class BratsFolders:
    """One folder a case and one file a modality, as BraTS 2020, 2021 and 2023 on.

    Args:
        name: pattern of the case's name; fields ``patient`` (0, 1, ...) and ``visit`` (0, 1, ...).
        patient_name: pattern of the patient's name.
        joint: what stands between the case's name and the modality's.
        suffixes: the modalities' names in files, in the order of ``MODALITIES``.
        values: label values of the convention.
        tables: write ``name_mapping.csv`` and ``survival_info.csv``.
        visits: whether some patients have a second time point.
    """

    name: str
    patient_name: str
    joint: str
    suffixes: tuple[str, str, str, str]
    values: dict[int, int]
    tables: bool = False
    visits: bool = False

    def write(self, root: Path, study: Study, patient: int, visit: int) -> Written:
        """Write a case below ``root``."""
        name = self.name.format(patient=patient, number=patient + 1, visit=visit)
        affine = lps_affine(study.grid.shape, study.grid.spacing_mm)
        for suffix, image in zip(self.suffixes, integers(study.images), strict=True):
            write_nifti(root / name / f"{name}{self.joint}{suffix}.nii.gz", image, affine)
        write_nifti(root / name / f"{name}{self.joint}seg.nii.gz", label_values(study.labels, self.values), affine)
        return Written(name, self.patient_name.format(patient=patient, number=patient + 1), study.facts)

    def finish(self, root: Path, cases: list[Written], seed: int) -> None:
        """Write what describes all cases together."""
        if not self.tables:
            return
        rng = np.random.default_rng([seed, 2020])
        mapping, survival = [], []
        for case in cases:
            age, days = round(float(rng.uniform(20, 85)), 3), int(rng.integers(30, 1800))
            grade = {"high": "HGG", "low": "LGG"}.get(case.facts.get("grade", ""), "control")
            mapping.append([grade, "NA", "NA", "NA", "NA", case.name])
            if grade == "HGG":
                survival.append([case.name, age, days, str(rng.choice(["GTR", "STR", "NA"]))])
        years = ["BraTS_2017_subject_ID", "BraTS_2018_subject_ID", "TCGA_TCIA_subject_ID", "BraTS_2019_subject_ID"]
        _write_csv(root / "name_mapping.csv", [["Grade", *years, "BraTS_2020_subject_ID"], *mapping])
        header = ["Brats20ID", "Age", "Survival_days", "Extent_of_Resection"]
        _write_csv(root / "survival_info.csv", [header, *survival])


@dataclass(frozen=True)
class Decathlon:
    """One 4-D file a case and ``dataset.json``, as MSD Task01; the arrays lie the other way round than BraTS'."""

    channels = ("FLAIR", "T1", "T1c", "T2")
    visits = False

    def write(self, root: Path, study: Study, patient: int, visit: int) -> Written:
        """Write a case below ``root``."""
        name = f"BRATS_{patient + 1:03d}"
        spacing, shape = study.grid.spacing_mm, study.grid.shape
        affine = np.diag([*spacing, 1.0])
        affine[0, 3] = -(shape[0] - 1) * spacing[0]
        order = [MODALITIES.index(channel) for channel in self.channels]
        image = np.moveaxis(integers(study.images)[order], 0, -1)  # (X, Y, Z, 4)
        write_nifti(root / "imagesTr" / f"{name}.nii.gz", image[::-1, ::-1], affine)
        labels = label_values(study.labels, MSD)[::-1, ::-1]
        write_nifti(root / "labelsTr" / f"{name}.nii.gz", labels, affine)
        return Written(name, name, study.facts)

    def finish(self, root: Path, cases: list[Written], seed: int) -> None:
        """Write ``dataset.json``."""
        pairs = [{"image": f"./imagesTr/{c.name}.nii.gz", "label": f"./labelsTr/{c.name}.nii.gz"} for c in cases]
        text = {
            "name": "BRATS",
            "description": "Phantoms in the layout of Task01: gliomas and healthy controls, drawn by a computer",
            "reference": "none",
            "licence": "Apache-2.0",
            "release": "1.0",
            "tensorImageSize": "4D",
            "modality": {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"},
            "labels": {"0": "background", "1": "edema", "2": "non-enhancing tumor", "3": "enhancing tumour"},
            "numTraining": len(pairs),
            "numTest": 0,
            "training": pairs,
            "test": [],
        }
        (root / "dataset.json").write_text(json.dumps(text, indent=1) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class DeepMedic:
    """FLAIR and T1c, z-scored with a background below zero, brain mask and five-valued labels, as BraTS 2015 for it."""

    visits = False

    def write(self, root: Path, study: Study, patient: int, visit: int) -> Written:
        """Write a case below ``root``."""
        name = f"brats_2013_pat{patient + 1:04d}_1"
        affine = lps_affine(study.grid.shape, study.grid.spacing_mm)
        brain = study.images[0] > 0
        for channel, file in (("FLAIR", "Flair"), ("T1c", "T1c")):
            image = study.images[MODALITIES.index(channel)]
            scored = (image - image[brain].mean()) / image[brain].std()
            write_nifti(root / name / f"{file}_subtrMeanDivStd.nii.gz", scored.astype(np.float32), affine)
        write_nifti(root / name / "brainmask.nii.gz", brain.astype(np.float64), affine)
        labels = label_values(study.labels, BRATS2015).astype(np.float32)
        write_nifti(root / name / "OTMultiClass.nii.gz", labels, affine)
        return Written(name, name, study.facts)

    def finish(self, root: Path, cases: list[Written], seed: int) -> None:
        """Nothing describes all cases together."""


def _write_csv(path: Path, rows: list[list]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


VOLUME_LAYOUTS: dict[str, BratsFolders | Decathlon | DeepMedic] = {
    "brats2015_deepmedic": DeepMedic(),
    "brats2020": BratsFolders(
        "BraTS20_Training_{number:03d}", "BraTS20_Training_{number:03d}", "_", ("t1", "t1ce", "t2", "flair"),
        BRATS2017_2021, tables=True,
    ),
    "brats2021": BratsFolders(
        "BraTS2021_{patient:05d}", "BraTS2021_{patient:05d}", "_", ("t1", "t1ce", "t2", "flair"), BRATS2017_2021
    ),
    "brats2023": BratsFolders(
        "BraTS-GLI-{patient:05d}-{visit:03d}", "BraTS-GLI-{patient:05d}", "-", ("t1n", "t1c", "t2w", "t2f"),
        BRATS2023, visits=True,
    ),
    "msd": Decathlon(),
}  # fmt: skip
