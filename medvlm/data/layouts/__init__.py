"""Dataset layouts: one module each, with ``scan(root, options) -> Scan``.

A scan lists cases with absolute paths and reports what it leaves out; it opens no image.
"""

from __future__ import annotations

import importlib
from pathlib import Path

from medvlm.data.layouts.scan import Scan, ScanOptions
from medvlm.spelling import did_you_mean

LAYOUTS = {
    "brats2015": "medvlm.data.layouts.brats2015",
    "brats2020": "medvlm.data.layouts.brats2020",
    "brats2021": "medvlm.data.layouts.brats2021",
    "brats2023": "medvlm.data.layouts.brats2023",
    "brats2024": "medvlm.data.layouts.brats2024",
    "msd": "medvlm.data.layouts.msd",
    "kaggle_yes_no": "medvlm.data.layouts.kaggle_yes_no",
    "kaggle_four_class": "medvlm.data.layouts.kaggle_four_class",
    "brats_slices": "medvlm.data.layouts.brats_slices",
    "csv": "medvlm.data.layouts.case_table",
    "cine_manifest": "medvlm.data.layouts.cine_manifest",
    "xa_folder": "medvlm.data.layouts.xa_folder",
    "arcade": "medvlm.data.layouts.arcade",
    "cadica": "medvlm.data.layouts.cadica",
    "cardiosyntax": "medvlm.data.layouts.cardiosyntax",
    "coronary_dominance": "medvlm.data.layouts.coronary_dominance",
}

# Layouts whose cases are studies of videos, split and checked by ``medvlm.data.cine_preparation``.
CINE_LAYOUTS = ("cine_manifest", "xa_folder", "arcade", "cadica", "cardiosyntax", "coronary_dominance")

# Releases that share patients: none of them is an external test of another.
SHARED_PATIENTS = ("brats2015", "brats2020", "brats2021", "brats2023", "brats2024", "msd", "brats_slices")

__all__ = ["CINE_LAYOUTS", "LAYOUTS", "SHARED_PATIENTS", "Scan", "ScanOptions", "scan_layout"]


def scan_layout(name: str, root: str | Path, options: ScanOptions | None = None) -> Scan:
    """List the cases of a data set on disk.

    Args:
        name: a key of ``LAYOUTS``.
        root: the data set's folder (``csv``: the file, or a folder that holds one).
        options: what the layout does not prove; ``None`` is the default of each.

    Raises:
        ValueError: the layout is not known, the folder does not look like it, or a convention or channel name is
            ambiguous.
        FileNotFoundError: there is no such folder.
    """
    if name not in LAYOUTS:
        raise ValueError(f"No layout is called {name!r}; there are {', '.join(LAYOUTS)}{did_you_mean(name, LAYOUTS)}")
    root = Path(root).expanduser().absolute()
    if not root.exists():
        raise FileNotFoundError(f"The root {root} of the layout {name} does not exist; give --root the folder.")
    options = options or ScanOptions()
    if options.source is None:
        options = options.with_source(name)
    return importlib.import_module(LAYOUTS[name]).scan(root, options)
