"""Files and folders that are either whole or absent: written beside their place and renamed into it."""

from __future__ import annotations

import io
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from medvlm.write_errors import clear_error

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["claimed", "replacing", "sweep", "write_atomically", "write_bytes_atomically", "write_text_atomically"]

logger = logging.getLogger(__name__)

PARTIAL, OLDER = ".partial-", ".older-"
"""Beginnings of the names of what is being written, and of folders that hold what it takes the place of."""


@contextmanager
def claimed(folder: Path, prefix: str = PARTIAL, suffix: str | None = None) -> Iterator[Path]:
    """Give a new hidden neighbour that :func:`sweep` leaves alone while this block runs.

    The system holds the claim, a lock, and drops it when the process ends, however that happens.

    Args:
        folder: where it is made; must exist.
        prefix: of its name.
        suffix: of a file's name; None makes a folder.
    """
    while True:
        if suffix is None:
            path = Path(tempfile.mkdtemp(prefix=prefix, dir=folder))
        else:
            handle, name = tempfile.mkstemp(prefix=prefix, suffix=suffix, dir=folder)
            os.close(handle)
            path = Path(name)
        try:
            lock = _lock(path)
        except (BlockingIOError, FileNotFoundError):  # swept between its making and its claim
            continue
        except OSError as error:
            logger.debug("%s cannot be claimed (%s): no run will sweep it", path, error)
            lock = None
        if lock is None or _is(path, lock):
            break
        os.close(lock)
    try:
        yield path
    finally:
        if lock is not None:
            fcntl.flock(lock, fcntl.LOCK_UN)  # closing does not suffice where a forked process holds a copy
            os.close(lock)


def sweep(folder: str | Path) -> list[Path]:
    """Remove what killed processes left unfinished in a folder; what a living one writes stays.

    A result that a killed process had moved aside, and not replaced yet, is put back. Nothing is removed where the
    file system has no locks (some network shares, Windows).

    Returns:
        What was removed or put back.
    """
    found = []
    for path in sorted((*Path(folder).glob(f"{PARTIAL}*"), *Path(folder).glob(f"{OLDER}*"))):
        try:
            lock = _lock(path)
        except OSError:  # a living process has it, it is gone by now, or there are no locks
            continue
        if lock is None:
            continue
        try:
            if path.name.startswith(OLDER):
                _put_back(path)
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            found.append(path)
        except OSError as error:
            logger.warning("%s, left by a killed run, cannot be removed (%s); delete it by hand.", path, error)
        finally:
            os.close(lock)
    if found:
        logger.info("%s: swept %d unfinished files or folders of killed runs", folder, len(found))
    return found


def _lock(path: Path) -> int | None:
    """Lock a file or folder; None where the system has no locks.

    Raises:
        OSError: another process has it (``BlockingIOError``), it is gone, or this file system has no locks.
    """
    if fcntl is None:
        return None
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(handle)
        raise
    return handle


def _is(path: Path, handle: int) -> bool:
    """Whether a path still leads to what is open."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except FileNotFoundError:
        return False


def _put_back(aside: Path) -> None:
    for entry in aside.iterdir():
        place = aside.parent / entry.name
        if not place.exists():
            os.replace(entry, place)


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
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with claimed(path.parent, suffix=path.suffix) as temporary:
            try:
                yield temporary
                with temporary.open("rb") as file:
                    os.fsync(file.fileno())
                umask = os.umask(0)
                os.umask(umask)
                os.chmod(temporary, 0o666 & ~umask)  # mkstemp's 0600 would hide the file from the user's group
                os.replace(temporary, path)
            finally:
                temporary.unlink(missing_ok=True)
    except OSError as error:
        raise clear_error(error, path, "folder for it") from error


def write_atomically(write: Callable[[BinaryIO], Any], path: str | Path) -> Path:
    """Call ``write`` with an open binary file, then rename the file into place; see :func:`replacing`.

    An error of the file is raised itself, whatever ``write`` makes of it: ``torch.save`` turns most into a
    ``RuntimeError`` that names neither the file nor the reason.
    """
    with replacing(path) as temporary:
        raw = _Watched(temporary, "wb")
        try:
            with io.BufferedWriter(raw) as file:
                write(file)
        except Exception:
            if raw.failure is None:
                raise
            raise raw.failure from None
    return Path(path)


class _Watched(io.FileIO):
    """A file that keeps the first error of its writes."""

    failure: OSError | None = None

    def write(self, data: Any, /) -> int | None:
        try:
            return super().write(data)
        except OSError as error:
            self.failure = self.failure or error
            raise


def write_bytes_atomically(data: bytes, path: str | Path) -> Path:
    """Write bytes; see :func:`replacing`."""
    return write_atomically(lambda file: file.write(data), path)


def write_text_atomically(text: str, path: str | Path) -> Path:
    """Write a text as UTF-8; see :func:`replacing`."""
    return write_bytes_atomically(text.encode("utf-8"), path)
