"""Find a bundle by its path or by its name."""

from __future__ import annotations

import os
from pathlib import Path

from medvlm.spelling import did_you_mean

__all__ = ["available_bundles", "find_bundle", "is_bundle", "search_folders"]

METADATA = Path("configs", "metadata.json")


def search_folders() -> list[Path]:
    """Return the folders that are searched for bundles, in order.

    ``./bundles``; each folder of the environment variable ``MEDVLM_BUNDLES`` (separated by ``os.pathsep``); the
    user's cache (``$XDG_CACHE_HOME/medvlm/bundles``, else ``~/.cache/medvlm/bundles``); ``bundles`` beside an
    editable checkout of this library. The folders need not exist.
    """
    folders = [Path.cwd() / "bundles"]
    folders += [Path(part).expanduser() for part in os.environ.get("MEDVLM_BUNDLES", "").split(os.pathsep) if part]
    cache = os.environ.get("XDG_CACHE_HOME")
    folders.append((Path(cache) if cache else Path("~/.cache").expanduser()) / "medvlm" / "bundles")
    folders.append(Path(__file__).resolve().parents[2] / "bundles")
    return list(dict.fromkeys(folders))


def is_bundle(folder: str | os.PathLike[str]) -> bool:
    """Tell whether a folder holds ``configs/metadata.json``."""
    return (Path(folder) / METADATA).is_file()


def available_bundles() -> dict[str, Path]:
    """Return every bundle in the searched folders by name; the first folder that has a name wins."""
    found: dict[str, Path] = {}
    for folder in search_folders():
        if folder.is_dir():
            for path in sorted(folder.iterdir()):
                if is_bundle(path):
                    found.setdefault(path.name, path.resolve())
    return found


def find_bundle(bundle: str | os.PathLike[str]) -> Path:
    """Return the absolute folder of a bundle.

    Args:
        bundle: the bundle's folder, or its name. A path that is a bundle is taken before a name.

    Raises:
        FileNotFoundError: when there is none; the text lists the places searched and names that are near.
    """
    path = Path(bundle).expanduser()
    if is_bundle(path):
        return path.resolve()
    known = available_bundles()
    name = str(bundle)
    if name in known:
        return known[name]
    if path.is_dir():
        raise FileNotFoundError(f"{path} is no bundle: {path / METADATA} is missing.")
    places = "\n".join(f"  {folder}{'' if folder.is_dir() else ' (no such folder)'}" for folder in search_folders())
    exists = f" There is: {', '.join(sorted(known))}." if known else ""
    raise FileNotFoundError(
        f"no bundle {name!r}{did_you_mean(path.name, known) or '.'}{exists}\nLooked for the path {path}, and in:\n"
        f"{places}\nName a bundle's folder, or put it in one of these (MEDVLM_BUNDLES adds folders)."
    )
