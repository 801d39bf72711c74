"""Files that are either whole or absent: written beside their place and renamed into it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

__all__ = ["replacing", "write_atomically", "write_bytes_atomically", "write_text_atomically"]


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give the path of a neighbour to write to, and rename it into place when the block ends well.

    A process killed at any moment leaves the old file or the new one, never a part of one.

    Args:
        path: of the file to make or replace; its folder is made.

    Raises:
        OSError: when the folder cannot be made or written; names the file and the remedy. Nothing stays behind.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".partial-", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)  # mkstemp's 0600 would hide the file from the user's group
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(
            error.errno, f"cannot write {path}: {error.strerror}; free the disk or choose another folder for it"
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_atomically(write: Callable[[BinaryIO], Any], path: str | Path) -> Path:
    """Call ``write`` with an open binary file, then rename the file into place; see :func:`replacing`."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        write(file)
    return Path(path)


def write_bytes_atomically(data: bytes, path: str | Path) -> Path:
    """Write bytes; see :func:`replacing`."""
    return write_atomically(lambda file: file.write(data), path)


def write_text_atomically(text: str, path: str | Path) -> Path:
    """Write a text as UTF-8; see :func:`replacing`."""
    return write_bytes_atomically(text.encode("utf-8"), path)
