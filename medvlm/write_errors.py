"""What cannot be written: known before the work where it can be, and said with the file and the remedy."""

from __future__ import annotations

import errno
import tempfile
from pathlib import Path

__all__ = ["check_writable", "clear_error"]

_FULL = "free the disk and run the same command again"
_FORBIDDEN = "there is no permission to write there: choose another {place}, or have its rights changed"
REMEDIES = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EACCES: _FORBIDDEN,
    errno.EPERM: _FORBIDDEN,
    errno.EROFS: "the file system is read-only: choose another {place}",
    errno.ENOTDIR: "a part of the path is a file, not a folder: choose another {place}",
    errno.EEXIST: "there is a file of that name: choose another {place}, or move it away",
    errno.EISDIR: "there is a folder of that name: choose another {place}, or move it away",
}


def clear_error(error: OSError, what: str | Path, place: str = "--output") -> OSError:
    """The same error, in words that name the file and the remedy.

    Args:
        error: of the system, or one that this function made of it.
        what: the file or folder that cannot be written.
        place: the option that chooses it, or another word for where it goes.
    """
    inner = error.__cause__ if isinstance(error.__cause__, OSError) else error
    remedy = REMEDIES.get(inner.errno or 0, "look at the folder, or choose another {place}").format(place=place)
    words = f"cannot write {what}: {inner.strerror or inner}; {remedy}"
    return OSError(words) if inner.errno is None else OSError(inner.errno, words)


def check_writable(folder: str | Path, option: str = "--output") -> Path:
    """Make a folder and try it.

    Args:
        folder: to be written into.
        option: the argument that chooses it, for the message.

    Raises:
        OSError: When it cannot be made or written; names the folder and the remedy.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(prefix=".try-", dir=folder):
            pass
    except OSError as error:
        raise clear_error(error, folder, option) from error
    return folder
