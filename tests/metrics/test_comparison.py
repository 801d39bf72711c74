from __future__ import annotations

import csv
import errno
import json
import os

import numpy as np
import pytest

from medvlm.metrics import comparison
from medvlm.metrics.comparison import compare, compare_rows
from medvlm.metrics.rows import write_rows


def better(rows: list[dict], gain: float = 0.02) -> list[dict]:
    made = [dict(row) for row in rows]
    for row in made:
        if row["dice_WT"] is not None:
            row["dice_WT"] += gain
    return made


@pytest.fixture
def files(rows, tmp_path):
    runs = {"joint": better(rows), "masks": [{**row, "probability": None} for row in rows], "plain": rows}
    return {name: str(write_rows(run, tmp_path / name / "cases.csv")) for name, run in runs.items()}


def found(rows, metric, **fields):
    matching = [r for r in rows if r["metric"] == metric and all(r[k] == v for k, v in fields.items())]
    assert len(matching) == 1
    return matching[0]


def test_a_constant_gain_is_found_with_its_sign(files):
    result = compare(files["joint"], files["plain"], n_boot=200)
    row = found(result, "dice_WT", name="joint", against="plain")
    assert row["difference"] == pytest.approx(0.02)
    assert row["ci"] == pytest.approx([0.02, 0.02])
    assert row["p"] == pytest.approx(2 / 201)
    assert (row["n"], row["n_patients"]) == (27, 21)
    assert found(result, "roc_auc")["difference"] == 0.0


def test_only_shared_metrics_are_compared(files):
    metrics = {row["metric"] for row in compare(files["joint"], files["masks"], n_boot=20)}
    assert metrics == {"dice_WT", "lw_dice_WT", "hd95_mm_WT"}


def test_the_first_run_meets_each_other_one_unless_a_reference_is_named(files):
    pairs = {(r["name"], r["against"]) for r in compare(*files.values(), n_boot=20)}
    assert pairs == {("joint", "masks"), ("joint", "plain")}
    pairs = {(r["name"], r["against"]) for r in compare(*files.values(), against="plain", n_boot=20)}
    assert pairs == {("joint", "plain"), ("masks", "plain")}


def test_verdicts_use_each_runs_own_threshold(rows, files, tmp_path):
    def sensitivity(**kwargs):
        result = compare(files["joint"], files["plain"], n_boot=20, **kwargs)
        return found(result, "sensitivity")["difference"]

    assert sensitivity() == 0.0
    (tmp_path / "joint" / "evaluation.json").write_text(
        json.dumps({"operating_point": {"threshold": 0.0}}), encoding="utf-8"
    )
    at_half = np.mean([row["probability"] >= 0.5 for row in rows if row["tumour"] == 1])
    assert sensitivity() == pytest.approx(1 - at_half)
    assert sensitivity(threshold=[0.5, 0.0]) == pytest.approx(at_half - 1)
    (tmp_path / "joint" / "evaluation.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ValueError, match="holds no operating point"):
        sensitivity()


def test_the_table_shows_every_row(files):
    result = compare(files["joint"], files["plain"], n_boot=20)
    lines = str(result).splitlines()
    assert len(lines) == len(result) + 1
    assert lines[0].split() == ["run", "against", "metric", "difference", "95%", "CI", "p", "cases", "patients"]
    assert "+0.0200" in lines[1]


@pytest.mark.parametrize(
    ("out", "error", "words"),
    [
        ("c.txt", ValueError, "out must end in .json or .csv, got .*c.txt"),
        ("file/c.csv", FileExistsError, "choose another --out"),
        ("folder.csv", IsADirectoryError, "folder.csv is a folder; choose another --out"),
    ],
)
def test_a_place_that_cannot_be_written_is_refused_before_anything_is_computed(
    files, tmp_path, monkeypatch, out, error, words
):
    (tmp_path / "file").write_text("x", encoding="utf-8")
    (tmp_path / "folder.csv").mkdir()
    monkeypatch.setattr(comparison, "compare_rows", lambda *_, **__: pytest.fail("the comparison has begun"))
    with pytest.raises(error, match=words):
        compare(files["joint"], files["plain"], out=str(tmp_path / out))


def test_a_full_disk_leaves_the_older_differences(files, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "c.csv").write_text("older", encoding="utf-8")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="c.csv: No space left on device; free the disk"):
        compare(files["joint"], files["plain"], n_boot=2, out=str(tmp_path / "c.csv"))
    assert (tmp_path / "c.csv").read_text(encoding="utf-8") == "older"


@pytest.mark.parametrize("suffix", [".json", ".csv"])
def test_differences_are_written(files, tmp_path, suffix):
    result = compare(files["joint"], files["plain"], n_boot=20, out=str(tmp_path / f"out/difference{suffix}"))
    text = (tmp_path / f"out/difference{suffix}").read_text(encoding="utf-8")
    if suffix == ".json":
        assert json.loads(text) == result.rows
    else:
        assert text.splitlines()[0] == "name,against,metric,difference,p,n,n_patients,ci_low,ci_high"
        written = [(row["metric"], row["n"], row["n_patients"]) for row in csv.DictReader(text.splitlines())]
        assert written == [(row["metric"], str(row["n"]), str(row["n_patients"])) for row in result.rows]


def test_order_does_not_matter(rows):
    straight = compare_rows(better(rows), rows, "a", "b", n_boot=50)
    assert compare_rows(better(rows), rows[::-1], "a", "b", n_boot=50) == straight


def test_other_cases_are_refused_with_the_difference(rows):
    with pytest.raises(ValueError, match=r"1 only in 'a': \['alpha_00'\].*1 only in 'b': \['gamma_38'\]"):
        compare_rows(rows[:38] + rows[39:], rows[1:], "a", "b")


def test_other_labels_are_refused(rows):
    other = [dict(row) for row in rows]
    other[3]["tumour"] = 1 - other[3]["tumour"]
    with pytest.raises(ValueError, match="tumour must be the same"):
        compare_rows(rows, other, "a", "b")


@pytest.mark.parametrize(
    ("kwargs", "match"),
    [
        ({"names": ["a"]}, "2 different names"),
        ({"names": ["a", "a"]}, "2 different names"),
        ({"against": "nobody"}, "against must be one of"),
        ({"threshold": [0.1, 0.2, 0.3]}, "one a file"),
        ({"out": "table.txt"}, "must end in"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(files, kwargs, match):
    with pytest.raises(ValueError, match=match):
        compare(files["joint"], files["plain"], n_boot=10, **kwargs)


def test_one_file_is_no_comparison(files):
    with pytest.raises(ValueError, match="at least two files"):
        compare(files["joint"])


def test_runs_that_share_nothing_are_refused(rows, files, tmp_path):
    classes = [{k: v for k, v in row.items() if "_WT" not in k} for row in rows]
    path = write_rows(classes, tmp_path / "classes" / "cases.csv")
    with pytest.raises(ValueError, match="share no metric"):
        compare(files["masks"], str(path))
