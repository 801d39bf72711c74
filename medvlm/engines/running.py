"""Where the bundle of the running config lies, so that every command works from any folder."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from monai.bundle import ConfigWorkflow


def bundle_root() -> str:
    """The folder above ``configs`` of the config that is being parsed; meant for ``"bundle_root": "$..."`` in JSON.

    MONAI gives a config no word of where it was read from, and leaves ``bundle_root`` to the working directory. The
    callers know: a workflow its ``config_root_path``, the export commands the ``config_file_`` that they read.

    Returns:
        An absolute path; the working directory where no caller knows a file (a parser made by hand: set
        ``bundle_root`` there).
    """
    for frame in callers():
        owner = frame.f_locals.get("self")
        if isinstance(owner, ConfigWorkflow):
            root = owner.__dict__.get("config_root_path")
        else:
            root = _folder(frame.f_locals.get("config_file_")) if _is_bundle_script(frame) else None
        if root is not None:
            root = Path(root).resolve()
            return str(root.parent if root.name == "configs" else root)
    return str(Path.cwd())


def command_line() -> str:
    """The command that started this process, as it may be typed again; for a report's provenance."""
    words = sys.orig_argv or sys.argv
    return shlex.join(["python", *words[1:]])


def callers() -> Iterator[FrameType]:
    """The frames of the calls that led here, innermost first: MONAI gives a config no other word of who runs it."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back


def _is_bundle_script(frame: FrameType) -> bool:
    return frame.f_globals.get("__name__") == "monai.bundle.scripts"


def _folder(config_file: object) -> Path | None:
    first = config_file[0] if isinstance(config_file, list | tuple) and config_file else config_file
    return Path(first).parent if isinstance(first, str) else None
