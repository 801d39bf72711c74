"""BraTS 2021: ``BraTS2021_01146/BraTS2021_01146_{flair,t1,t1ce,t2,seg}.nii.gz``."""

from __future__ import annotations

from pathlib import Path

from medvlm.data.layouts.case_folders import CaseFolders, scan_case_folders
from medvlm.data.layouts.scan import Scan, ScanOptions

RULE = CaseFolders(
    layout="brats2021",
    folder=r"BraTS2021_\d+",
    expected="folders BraTS2021_00000/ with BraTS2021_00000_flair.nii.gz and so on",
    modalities={"FLAIR": "_flair", "T1": "_t1", "T1c": "_t1ce", "T2": "_t2"},
    label="_seg",
    convention="brats2017_2021",
    patient=lambda match: match.group(0),
)


def scan(root: Path, options: ScanOptions) -> Scan:
    """List the cases of BraTS 2021; validation cases have no mask."""
    return scan_case_folders(root, RULE, options)
