"""BraTS 2020: ``BraTS20_Training_001/BraTS20_Training_001_{flair,t1,t1ce,t2,seg}.nii[.gz]``.

The grade (HGG, LGG) comes from ``name_mapping.csv`` where it lies beside the cases. Case 355's mask is named
``W39_1998.09.19_Segm.nii``.
"""

from __future__ import annotations

import csv
from pathlib import Path

from medvlm.data.layouts.case_folders import CaseFolders, scan_case_folders
from medvlm.data.layouts.scan import Scan, ScanOptions


def scan(root: Path, options: ScanOptions) -> Scan:
    """List the cases of BraTS 2020; validation cases have no mask."""
    grades = _grades(root)
    rule = CaseFolders(
        layout="brats2020",
        folder=r"BraTS20_(?:Training|Validation|Testing)_\d+",
        expected="folders BraTS20_Training_001/ with BraTS20_Training_001_flair.nii.gz and so on",
        modalities={"FLAIR": "_flair", "T1": "_t1", "T1c": "_t1ce", "T2": "_t2"},
        label="_seg",
        convention="brats2017_2021",
        patient=lambda match: match.group(0),
        odd_labels=r"segm?\.nii(\.gz)?$",
        extra=lambda folder: {"class_name": grades[folder.name]} if folder.name in grades else {},
    )
    return scan_case_folders(root, rule, options)


def _grades(root: Path) -> dict[str, str]:
    grades = {}
    for table in sorted(root.rglob("name_mapping*.csv")):
        with table.open(encoding="utf-8-sig", newline="") as stream:
            for row in csv.DictReader(stream):
                name = row.get("BraTS_2020_subject_ID")
                if name and row.get("Grade") in ("HGG", "LGG"):
                    grades[name] = row["Grade"]
    return grades
