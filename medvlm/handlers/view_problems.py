"""Why views of a study have no part in what a network says of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def view_problems(batch: Mapping[str, Any], index: int) -> dict[str, str]:
    """File -> why it could not be read, also of the files that gave way to others.

    Args:
        batch: collated studies of ``LoadCined``: ``view_files``, ``view_problems`` and ``view_skipped``.
        index: of the study.

    Returns:
        By file, with its folder but without the place of the data set on this machine.
    """
    files, problems = (json.loads(batch[key][index] or "[]") for key in ("view_files", "view_problems"))
    found = [(file, problem) for file, problem in zip(files, problems, strict=True) if problem]
    skipped = json.loads(batch["view_skipped"][index] or "{}")  # also readable ones that there was no room for
    found += [(file, why) for file, why in skipped.items() if not why.startswith("not among the ")]
    return {_short(file): why.removeprefix(f"{file}: ") for file, why in found}


def _short(file: str) -> str:
    """A file with its folder, without the place of the data set on this machine."""
    return "/".join(Path(file).parts[-2:])
