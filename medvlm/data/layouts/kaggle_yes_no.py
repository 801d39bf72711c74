"""Kaggle "Brain MRI Images for Brain Tumor Detection": ``yes/*.jpg`` and ``no/*.jpg``.

There are no patient names: ``prepare`` makes them from near-duplicate pictures.
"""

from __future__ import annotations

from pathlib import Path

from medvlm.data.layouts.pictures import picture_cases
from medvlm.data.layouts.scan import Scan, ScanOptions, folders_under, nothing_found

_CLASSES = {"yes": 1, "no": 0}


def scan(root: Path, options: ScanOptions) -> Scan:
    """List the pictures of the folders ``yes`` and ``no``.

    The archive on Kaggle holds the whole set a second time in a folder inside; only the folders nearest to the root
    are taken, and the others are named.

    Raises:
        ValueError: one of the two folders was not found.
    """
    found: dict[str, list[Path]] = {"yes": [], "no": []}
    for folder, names in folders_under(root):
        if folder.name.lower() in found and names:
            found[folder.name.lower()].append(folder)
    if not all(found.values()):
        raise nothing_found(root, "kaggle_yes_no", "the two folders yes/ and no/ with pictures")
    result = Scan()
    for name, folders in found.items():
        folders.sort(key=lambda folder: (len(folder.parts), str(folder)))
        for copy in folders[1:]:
            result.report(
                "note", copy, "", f"a second folder {name!r} is left out, {folders[0]} is used", "nothing to do"
            )
        picture_cases(folders[0], result, options, tumour=_CLASSES[name], class_name=None, prefix=name)
    return result
