"""Folders of results, which are not to be read as input again."""

from __future__ import annotations

import json
from pathlib import Path

KEYS = {"case_id", "signature", "files"}  # of every manifest that a prediction writes


def is_results_folder(folder: Path) -> bool:
    """Whether a folder holds the results of a case: a ``manifest.json`` that a prediction wrote."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(manifest, dict) and KEYS <= set(manifest)
