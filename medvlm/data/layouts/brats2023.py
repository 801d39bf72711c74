"""BraTS 2023: ``BraTS-GLI-00000-000/BraTS-GLI-00000-000-{t1n,t1c,t2w,t2f,seg}.nii.gz``.

The first number is the patient, the second the time point: a patient's time points stay together. The other tasks
of that year (MEN, MET, PED, SSA) use the same names and values.
"""

from __future__ import annotations

from pathlib import Path

from medvlm.data.layouts.case_folders import CaseFolders, scan_case_folders
from medvlm.data.layouts.scan import Scan, ScanOptions

RULE = CaseFolders(
    layout="brats2023",
    folder=r"(BraTS-(?:GLI|MEN|MET|PED|SSA)-\d+)-\d+",
    expected="folders BraTS-GLI-00000-000/ with BraTS-GLI-00000-000-t2f.nii.gz and so on",
    modalities={"FLAIR": "-t2f", "T1": "-t1n", "T1c": "-t1c", "T2": "-t2w"},
    label="-seg",
    convention="brats2023",
    patient=lambda match: match.group(1),
)


def scan(root: Path, options: ScanOptions) -> Scan:
    """List the cases of BraTS 2023; validation cases have no mask."""
    return scan_case_folders(root, RULE, options)
