"""Layouts with one folder a case and one file a modality, named after the folder."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from medvlm.data.layouts.scan import Scan, ScanOptions, folders_under, labelled, nothing_found


@dataclass(frozen=True)
class CaseFolders:
    """How the folders and files of such a layout are named.

    Attributes:
        layout: the layout's name.
        folder: pattern of a case folder's whole name.
        expected: the same in words, for messages.
        modalities: channel name to the file's ending after the case's name, e.g. ``{"FLAIR": "_flair"}``.
        label: the mask's ending.
        convention: what the masks' values mean.
        patient: from the match of ``folder`` to the patient's name.
        odd_labels: pattern of the masks that break the rule of names.
        extra: from the case folder to more keys of the case.
    """

    layout: str
    folder: str
    expected: str
    modalities: Mapping[str, str]
    label: str
    convention: str
    patient: Callable[[re.Match], str]
    odd_labels: str | None = None
    extra: Callable[[Path], dict] = field(default=lambda folder: {})


def scan_case_folders(root: Path, rule: CaseFolders, options: ScanOptions) -> Scan:
    """List the cases of a layout with one folder a case.

    Raises:
        ValueError: no case folder was found, or another convention was declared.
    """
    convention_name = options.proven_convention(rule.convention, rule.layout)
    scan, seen = Scan(), {}
    pattern = re.compile(rule.folder)
    for folder, names in folders_under(root):
        match = pattern.fullmatch(folder.name)
        if not match or not names:
            continue
        if folder.name in seen:
            scan.report(
                "error", folder, folder.name, f"the case stands twice, also in {seen[folder.name]}", "remove one copy"
            )
            continue
        seen[folder.name] = folder
        case = _case_of(folder, names, rule, options, scan)
        if case is None:
            continue
        case |= {"patient_id": rule.patient(match), "study_id": folder.name, "case_id": folder.name}
        case |= {"source": options.source} | rule.extra(folder)
        label = _label_of(folder, names, rule, scan)
        scan.cases.append(labelled(case, label, convention_name) if label else case)
    if not seen:
        raise nothing_found(root, rule.layout, rule.expected)
    return scan


def _case_of(folder: Path, names: list[str], rule: CaseFolders, options: ScanOptions, scan: Scan) -> dict | None:
    files, missing = {}, []
    for channel, ending in rule.modalities.items():
        found = _files(folder, names, ending)
        if len(found) > 1:
            listing = ", ".join(f.name for f in found)
            scan.report("error", folder, folder.name, f"several files for {channel}: {listing}", "keep one of them")
            return None
        if found:
            files[channel] = found[0]
        else:
            missing.append(channel)
    if missing:
        kept = options.incomplete == "keep" and files
        wanted = ", ".join(f"{folder.name}{rule.modalities[m]}.nii.gz" for m in missing)
        scan.report(
            "warning",
            folder,
            folder.name,
            f"lacks {', '.join(missing)} ({wanted}); the case is {'kept without' if kept else 'left out'}",
            "restore the file" if kept else "restore the file, or keep such cases with --incomplete keep",
        )
        if not kept:
            return None
    return {"image": [str(f) for f in files.values()], "channels": list(files)}


def _label_of(folder: Path, names: list[str], rule: CaseFolders, scan: Scan) -> Path | None:
    found = _files(folder, names, rule.label)
    if not found and rule.odd_labels:
        found = [folder / n for n in names if re.search(rule.odd_labels, n, re.IGNORECASE)]
        if found:
            scan.report(
                "note",
                found[0],
                folder.name,
                f"the mask is not named {folder.name}{rule.label}.nii.gz; it is taken as the case's mask",
                "nothing to do, or rename it",
            )
    if len(found) > 1:
        listing = ", ".join(f.name for f in found)
        scan.report("error", folder, folder.name, f"several masks: {listing}; none is used", "keep one of them")
        return None
    return found[0] if found else None


def _files(folder: Path, names: list[str], ending: str) -> list[Path]:
    wanted = {f"{folder.name}{ending}{suffix}".lower() for suffix in (".nii", ".nii.gz")}
    return [folder / name for name in names if name.lower() in wanted]
