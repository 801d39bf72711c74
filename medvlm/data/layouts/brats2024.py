"""BraTS-GLI 2024 (post-treatment): the names of BraTS 2023, with the resection cavity as label 4."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from medvlm.data.layouts import brats2023
from medvlm.data.layouts.case_folders import scan_case_folders
from medvlm.data.layouts.scan import Scan, ScanOptions

RULE = replace(
    brats2023.RULE,
    layout="brats2024",
    folder=r"(BraTS-GLI-\d+)-\d+",
    expected="folders BraTS-GLI-02062-100/ with BraTS-GLI-02062-100-t2f.nii.gz and so on",
    convention="brats2024",
)


def scan(root: Path, options: ScanOptions) -> Scan:
    """List the cases of BraTS-GLI 2024."""
    return scan_case_folders(root, RULE, options)
