"""Folders of pictures that have a class and nothing else."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from medvlm.data.conventions import UNNAMED_CHANNEL, canonical_channel
from medvlm.data.layouts.scan import Scan, ScanOptions, safe_name
from medvlm.data.reading import is_picture


def picture_cases(
    folder: Path, result: Scan, options: ScanOptions, tumour: int, class_name: str | None, prefix: str
) -> None:
    """Add one case for each picture of a folder; other files are named in a note.

    Args:
        folder: the pictures' folder.
        result: the scan that the cases are added to.
        options: source and, where the weighting is known, one channel name.
        tumour: class of all of them, 0 or 1.
        class_name: finer class, or ``None``.
        prefix: put before the file's name to make the case's name, after the source.

    Raises:
        ValueError: more than one channel was declared.
    """
    channels = [canonical_channel(c) for c in options.channels or (UNNAMED_CHANNEL,)]
    if len(channels) != 1:
        raise ValueError(f"A picture has one channel, got --channels {channels}.")
    files = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    stems = Counter(p.stem.lower() for p in files)
    for file in files:
        if not is_picture(file):
            result.report("note", file, "", "it is no picture and is left out", "nothing to do")
            continue
        name = file.stem if stems[file.stem.lower()] == 1 else file.name  # "no 9.png" beside "no 9.jpg"
        case = {"image": str(file), "channels": channels, "tumour": tumour}
        if class_name is not None:
            case["class_name"] = class_name
        case_id = safe_name(f"{options.source}_{prefix}_{name}")
        result.cases.append(case | {"study_id": case_id, "case_id": case_id, "source": options.source})
