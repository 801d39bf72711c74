"""Kaggle "Brain Tumor MRI Dataset": ``Training|Testing/{glioma,meningioma,notumor,pituitary}/*.jpg``.

Spellings vary (``glioma_tumor``, ``no_tumor``, ``healthy``). The publisher's division into Training and Testing is by
picture, not by patient, and is not kept.
"""

from __future__ import annotations

import re
from pathlib import Path

from medvlm.data.layouts.pictures import picture_cases
from medvlm.data.layouts.scan import Scan, ScanOptions, folders_under, nothing_found
from medvlm.data.reading import is_picture

_CLASSES = {
    "glioma": "glioma",
    "meningioma": "meningioma",
    "meninigioma": "meningioma",
    "pituitary": "pituitary",
    "pitutary": "pituitary",
    "no": "no_tumour",
    "not": "no_tumour",
    "healthy": "no_tumour",
    "normal": "no_tumour",
}


def scan(root: Path, options: ScanOptions) -> Scan:
    """List the pictures of every class folder.

    Raises:
        ValueError: no class folder was found.
    """
    result, found = Scan(), set()
    for folder, names in folders_under(root):
        pictures = [n for n in names if is_picture(n)]
        if not pictures:
            continue
        class_name = class_of_folder(folder.name)
        if class_name is None:
            result.report(
                "warning",
                folder,
                "",
                f"{len(pictures)} pictures in a folder whose name is no class; they are left out",
                "name the folder glioma, meningioma, pituitary or notumor",
            )
            continue
        found.add(class_name)
        part = folder.parent.name if folder.parent != root.parent and folder != root else ""
        prefix = f"{part}_{class_name}" if part and folder.parent != root else class_name
        tumour = int(class_name != "no_tumour")
        picture_cases(folder, result, options, tumour=tumour, class_name=class_name, prefix=prefix)
    if not found:
        raise nothing_found(root, "kaggle_four_class", "folders glioma, meningioma, notumor, pituitary with pictures")
    return result


def class_of_folder(name: str) -> str | None:
    """The class that a folder's name means in any of the usual spellings, else ``None``."""
    word = re.sub(r"[^a-z]", "", name.lower())
    return _CLASSES.get(re.sub(r"(tumou?rs?)$", "", word) or word)
