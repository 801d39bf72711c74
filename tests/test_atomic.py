from __future__ import annotations

import os

import pytest

from medvlm.atomic import replacing, write_bytes_atomically, write_text_atomically


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    target = tmp_path / "report.json"
    target.write_bytes(b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="report.json: No space left on device; free the disk"):
        write_bytes_atomically(b"new", target)
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_written_files_follow_the_user_s_umask(tmp_path):
    path = write_text_atomically("x", tmp_path / "é è" / "a.txt")
    other = tmp_path / "plain.txt"
    other.write_bytes(b"x")
    assert path.stat().st_mode == other.stat().st_mode


def test_an_error_on_the_way_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError, match="midway"), replacing(tmp_path / "deep" / "a.zip") as draft:
        draft.write_bytes(b"half")
        raise RuntimeError("midway")
    assert list((tmp_path / "deep").iterdir()) == []
