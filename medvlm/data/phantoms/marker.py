"""``phantoms.json``: what a folder of phantoms was written with, so that a second call changes nothing."""

from __future__ import annotations

import json
import logging
from pathlib import Path

logger = logging.getLogger(__name__)

MARKER = "phantoms.json"


def read_marker(root: Path) -> dict[str, dict]:
    """Return source -> entry (``recipe``, ``files``, ``cases``); empty where there is no marker yet.

    Raises:
        ValueError: the file is not such a marker.
    """
    path = root / MARKER
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))["sources"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} must be a marker of write_phantoms, got {error!r}; delete {root} and write it anew."
        ) from error


def save_marker(root: Path, marker: dict[str, dict]) -> None:
    """Write the marker, whole or not at all."""
    part = root / f".{MARKER}.partial"
    part.write_text(json.dumps({"sources": dict(sorted(marker.items()))}, indent=1) + "\n", encoding="utf-8")
    part.replace(root / MARKER)


def make_root(root: Path) -> None:
    """Make the folder.

    Raises:
        OSError: it cannot be made.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise type(error)(f"{root} must be a folder that can be written to, got {error}; name another.") from error


def is_there(root: Path, source: str, wanted: dict, marker: dict[str, dict]) -> bool:
    """Whether a source was completely written before.

    Args:
        root: folder of all sources.
        source: name of the source and of its folder.
        wanted: the arguments, as the marker keeps them.
        marker: what ``read_marker`` returned.

    Raises:
        FileExistsError: something else is in its place, it was written with other arguments, or files are missing.
    """
    folder = root / source
    if source not in marker:
        if folder.exists():
            raise FileExistsError(
                f"{folder} must not exist before its first writing, and {MARKER} does not know it; move it away or "
                "choose another folder."
            )
        return False
    if not folder.exists():
        return False
    entry = marker[source]
    found = entry["recipe"]
    if found != wanted:
        differing = [f"{k}: {found.get(k)} there, {wanted.get(k)} asked" for k in wanted if found.get(k) != wanted[k]]
        raise FileExistsError(
            f"{folder} was written with other arguments ({'; '.join(differing)}); delete {folder} to write it anew, "
            "choose another folder, or repeat the first arguments."
        )
    files = sum(1 for path in folder.rglob("*") if path.is_file())
    if files < entry["files"]:
        raise FileExistsError(
            f"{folder} must hold {entry['files']} files, got {files}; delete {folder} to write it anew."
        )
    logger.info("%s is there already", folder)
    return True
