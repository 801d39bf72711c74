"""BraTS 2015: one folder a case, in two forms.

- DeepMedic's: ``brats_2013_pat0004_1/{Flair,T1,T1c,T2}_subtrMeanDivStd.nii.gz`` with ``OTMultiClass.nii.gz``;
- the release's: ``HGG/brats_2013_pat0001_1/VSD.Brain.XX.O.MR_Flair.54512/VSD.Brain.XX.O.MR_Flair.54512.mha`` with
  ``VSD.Brain_3more.XX.O.OT.54517.mha``.

A case may hold fewer than four modalities; cases must agree, or the odd ones are reported.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from medvlm.data.conventions import CHANNELS
from medvlm.data.layouts.scan import Scan, ScanOptions, folders_under, labelled, nothing_found

_CASE = re.compile(r"(brats_(?:tcia|2013|[a-z0-9]+)_pat\d+)_\d+")
_MODALITY = re.compile(r"(?:^|MR_)(flair|t1c|t1|t2)(?=[._])", re.IGNORECASE)
_LABEL = re.compile(r"^OT(MultiClass)?\.nii|\.OT\.\d+\.mha$", re.IGNORECASE)
_NAMES = {name.lower(): name for name in CHANNELS}
_ENDINGS = (".nii", ".nii.gz", ".mha")


def scan(root: Path, options: ScanOptions) -> Scan:
    """List the cases of BraTS 2015; all cases get the channels that most of them have.

    Raises:
        ValueError: no case folder was found.
    """
    convention_name = options.proven_convention("brats2015", "brats2015")
    result, found = Scan(), {}
    for folder, _ in folders_under(root):
        match = _CASE.fullmatch(folder.name)
        if match:
            found[folder] = (match.group(1), *_files_of(folder, result))
    if not found:
        raise nothing_found(root, "brats2015", "folders brats_2013_pat0004_1/ with Flair*, T1c* and OTMultiClass")
    wanted = _usual_channels([files for _, files, _ in found.values()])
    for folder, (patient, files, label) in found.items():
        missing = [c for c in wanted if c not in files]
        kept = options.incomplete == "keep" and files
        if missing:
            result.report(
                "warning",
                folder,
                folder.name,
                f"lacks {', '.join(missing)}, which other cases have; it is {'kept without' if kept else 'left out'}",
                "restore the file" if kept else "restore the file, or keep such cases with --incomplete keep",
            )
            if not kept:
                continue
        channels = [c for c in wanted if c in files]
        case = {"image": [str(files[c]) for c in channels], "channels": channels, "patient_id": patient}
        case |= {"study_id": folder.name, "case_id": folder.name, "source": options.source}
        if folder.parent.name in ("HGG", "LGG"):
            case["class_name"] = folder.parent.name
        result.cases.append(labelled(case, label, convention_name) if label else case)
    return result


def _files_of(folder: Path, result: Scan) -> tuple[dict[str, Path], Path | None]:
    files: dict[str, Path] = {}
    labels: list[Path] = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name.lower().endswith(_ENDINGS)):
        modality = _MODALITY.search(path.name)
        if _LABEL.search(path.name):
            labels.append(path)
        elif modality:
            channel = _NAMES[modality.group(1).lower()]
            if channel in files:
                result.report(
                    "error", path, folder.name, f"a second {channel} beside {files[channel].name}", "keep one of them"
                )
            files.setdefault(channel, path)
    if len(labels) > 1:
        result.report("error", labels[1], folder.name, f"a second mask beside {labels[0].name}", "keep one of them")
    return files, labels[0] if labels else None


def _usual_channels(cases: list[dict[str, Path]]) -> list[str]:
    """Channels that at least half of the cases have, in canonical order."""
    counts = Counter(channel for files in cases for channel in files)
    return [c for c in CHANNELS if counts[c] * 2 >= len(cases)]
