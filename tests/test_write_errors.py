"""What cannot be written is said with the file and the remedy that fits, before the work where it can be known."""

from __future__ import annotations

import errno
import os
import tempfile

import pytest

from medvlm.atomic import replacing, write_text_atomically
from medvlm.write_errors import check_writable, clear_error


def error_of(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def test_a_folder_that_is_a_file_or_read_only_is_refused(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(FileExistsError, match="file: File exists; there is a file of that name: choose another --out"):
        check_writable(tmp_path / "file")
    with pytest.raises(NotADirectoryError, match="a part of the path is a file.*choose another --log_dir"):
        check_writable(tmp_path / "file" / "inside", "--log_dir")

    def refused(*args, **kwargs):
        raise error_of(errno.EROFS)

    monkeypatch.setattr(tempfile, "NamedTemporaryFile", refused)
    with pytest.raises(OSError, match="read-only: choose another --output"):
        check_writable(tmp_path / "out")


def test_a_folder_is_made_and_left_empty(tmp_path):
    assert list(check_writable(tmp_path / "deep" / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "; free the disk and run the same command again$"),
        (errno.EDQUOT, "; free the disk and run the same command again$"),
        (errno.EACCES, "; there is no permission .*choose another folder for it, or have its rights changed$"),
        (errno.EPERM, "; there is no permission .*choose another folder for it, or have its rights changed$"),
        (errno.EROFS, "; the file system is read-only: choose another folder for it$"),
        (errno.EIO, "; look at the folder, or choose another folder for it$"),
    ],
    ids=errno.errorcode.get,
)
def test_the_remedy_follows_from_the_error(tmp_path, number, remedy):
    with pytest.raises(OSError, match=f"cannot write .*a.json: {os.strerror(number)}{remedy}") as caught:
        with replacing(tmp_path / "a.json"):
            raise error_of(number)
    assert caught.value.errno == number and type(caught.value) is type(error_of(number))
    assert list(tmp_path.iterdir()) == []


def test_an_error_without_a_number_keeps_its_words():
    words = str(clear_error(OSError("300 requested and 12 written"), "a.npy"))
    assert words == "cannot write a.npy: 300 requested and 12 written; look at the folder, or choose another --output"


def test_an_error_that_is_clear_already_is_not_said_twice(tmp_path):
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(OSError, match="cannot write") as caught:
        write_text_atomically("x", tmp_path / "file" / "summary.csv")
    words = str(clear_error(caught.value, "summary.csv"))
    assert words.count("cannot write") == 1 and "choose another --output, or" in words
