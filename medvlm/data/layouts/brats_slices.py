"""Slices of BraTS 2020 as pictures: ``<any>/<sample>/{image.png,mask.png,metadata.json}``.

``metadata.json`` names the patient, the slice and the modality; the mask is 0/255 and absent where the slice holds no
tumour. Slices of a patient stay together, also with the same patient's volume from BraTS 2020.
"""

from __future__ import annotations

import json
from pathlib import Path

from medvlm.data.conventions import canonical_channel
from medvlm.data.layouts.scan import Scan, ScanOptions, folders_under, labelled, nothing_found, safe_name


def scan(root: Path, options: ScanOptions) -> Scan:
    """List the slices; a sample whose metadata and files disagree is reported.

    Raises:
        ValueError: no sample was found.
    """
    convention_name = options.proven_convention("binary_wt", "brats_slices")
    result, any_found = Scan(), False
    for folder, names in folders_under(root):
        if "image.png" not in names or "metadata.json" not in names:
            continue
        any_found = True
        try:
            facts = json.loads((folder / "metadata.json").read_text(encoding="utf-8"))
            patient, tumour = str(facts["patient_id"]), bool(facts["has_tumor"])
            channel = canonical_channel(facts["modality"])
            case_id = safe_name(f"{patient}_{channel}_slice{int(facts['slice_idx']):03d}")
        except (KeyError, TypeError, ValueError) as error:
            result.report(
                "error",
                folder / "metadata.json",
                folder.name,
                f"it lacks or garbles patient_id, slice_idx, modality or has_tumor ({error!r})",
                "mend the file or leave the sample out",
            )
            continue
        mask = folder / "mask.png"
        if tumour != mask.is_file():
            says = "a tumour but there is no mask" if tumour else "no tumour but there is a mask"
            result.report("error", folder, case_id, f"metadata.json says {says}", "restore the mask or mend has_tumor")
            continue
        case = {"image": str(folder / "image.png"), "channels": [channel], "tumour": int(tumour)}
        case |= {"patient_id": patient, "study_id": patient, "case_id": case_id, "source": options.source}
        result.cases.append(labelled(case, mask, convention_name) if tumour else case)
    if not any_found:
        raise nothing_found(root, "brats_slices", "folders with image.png and metadata.json")
    return result
