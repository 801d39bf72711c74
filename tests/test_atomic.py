from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from medvlm import atomic
from medvlm.atomic import claimed, replacing, sweep, write_atomically, write_bytes_atomically, write_text_atomically

WRITING = {
    "file": "with medvlm.atomic.replacing(sys.argv[1] + '/report.json') as draft:\n    draft.write_bytes(b'half')",
    "folder": "with medvlm.atomic.claimed(pathlib.Path(sys.argv[1])) as draft:\n    (draft / 'a').write_bytes(b'half')",
}


@pytest.fixture
def writer(tmp_path) -> Iterator[Callable[[str], subprocess.Popen]]:
    """``writer("file")``: a process in the middle of writing into ``tmp_path``."""
    running = []

    def start(kind: str) -> subprocess.Popen:
        program = f"import pathlib, sys, medvlm.atomic\n{WRITING[kind]}\n    print('here', flush=True)\n    input()"
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], text=True, **pipes)
        running.append(process)
        assert process.stdout.readline() == "here\n"
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


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


def test_a_writer_s_own_error_stays_its_own(tmp_path):
    with pytest.raises(RuntimeError, match="no such key"):
        write_atomically(lambda file: (_ for _ in ()).throw(RuntimeError("no such key")), tmp_path / "a.npz")
    assert list(tmp_path.iterdir()) == []


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


@pytest.mark.parametrize("kind", WRITING)
def test_what_a_killed_process_left_is_swept_and_what_a_living_one_writes_stays(writer, tmp_path, kind):
    (tmp_path / "case").mkdir()
    dead, living = writer(kind), writer(kind)
    assert len(names(tmp_path)) == 3 and sweep(tmp_path) == []
    dead.send_signal(signal.SIGKILL)
    dead.wait()
    assert len(sweep(tmp_path)) == 1
    assert len(names(tmp_path)) == 2 and "case" in names(tmp_path)
    living.communicate("\n")
    assert living.returncode == 0
    if kind == "file":
        assert (tmp_path / "report.json").read_bytes() == b"half"


def test_another_thread_of_this_process_is_not_swept(tmp_path):
    with claimed(tmp_path) as folder, claimed(tmp_path, suffix=".csv") as file:
        assert sweep(tmp_path) == [] and folder.is_dir() and file.is_file()
    assert len(sweep(tmp_path)) == 2 and names(tmp_path) == []


def test_a_result_that_was_moved_aside_is_put_back(tmp_path):
    for name in ("lost", "there"):
        (tmp_path / f".older-{name}" / name).mkdir(parents=True)
        (tmp_path / f".older-{name}" / name / "labels").write_text("older", encoding="utf-8")
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "labels").write_text("newer", encoding="utf-8")
    sweep(tmp_path)
    assert names(tmp_path) == ["lost", "there"]
    assert [(tmp_path / name / "labels").read_text(encoding="utf-8") for name in names(tmp_path)] == ["older", "newer"]


def test_a_neighbour_swept_before_it_was_claimed_is_made_again(tmp_path, monkeypatch):
    real, tries = atomic._lock, []

    def swept_first(path):
        tries.append(path)
        if len(tries) == 1:
            path.rmdir()
        return real(path)

    monkeypatch.setattr(atomic, "_lock", swept_first)
    with claimed(tmp_path) as folder:
        assert folder.is_dir() and len(tries) == 2


@pytest.mark.parametrize("locks", ["none", "refused"])
def test_without_locks_nothing_is_swept_and_writing_works(tmp_path, monkeypatch, locks):
    (tmp_path / ".partial-x").mkdir()
    if locks == "none":
        monkeypatch.setattr(atomic, "fcntl", None)
    else:
        monkeypatch.setattr(atomic.fcntl, "flock", lambda *_: (_ for _ in ()).throw(OSError(95, "not supported")))
    write_text_atomically("x", tmp_path / "a.txt")
    assert sweep(tmp_path) == [] and names(tmp_path) == [".partial-x", "a.txt"]
