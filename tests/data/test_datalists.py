"""Reading, writing and merging datalists."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from medvlm.data.datalists import (
    cases_with_channels,
    load_datalist,
    merge_datalists,
    read_datalist,
    relative_path,
    save_datalist,
)


def _case(folder: Path, name: str, patient: str | None = None) -> dict:
    return {"image": [str(folder / f"{name}_a.nii.gz"), str(folder / f"{name}_b.nii.gz")], "channels": ["FLAIR", "T1"],
            "label": str(folder / f"{name}_seg.nii.gz"), "case_id": name, "patient_id": patient or name}  # fmt: skip


def test_paths_are_written_relative_and_read_absolute(tmp_path):
    data, out = tmp_path / "data", tmp_path / "lists" / "a.json"
    save_datalist({"training": [_case(data, "x")]}, out)
    written = json.loads(out.read_text(encoding="utf-8"))["training"][0]
    assert written["image"] == ["../data/x_a.nii.gz", "../data/x_b.nii.gz"]
    loaded = load_datalist(out, "training")[0]
    assert loaded["image"][0] == str(data / "x_a.nii.gz")
    assert loaded["label"] == str(data / "x_seg.nii.gz")


def test_a_moved_data_set_is_found_again(tmp_path):
    save_datalist({"training": [_case(tmp_path / "old", "x")]}, tmp_path / "old" / "a.json")
    (tmp_path / "old").rename(tmp_path / "new")
    assert load_datalist(tmp_path / "new" / "a.json")[0]["label"] == str(tmp_path / "new" / "x_seg.nii.gz")


def test_dataset_dir_replaces_the_datalists_folder(tmp_path):
    save_datalist({"test": [_case(tmp_path, "x")]}, tmp_path / "a.json")
    other = tmp_path / "elsewhere"
    assert load_datalist(tmp_path / "a.json", "test", other)[0]["label"] == str(other / "x_seg.nii.gz")


def test_a_path_with_nothing_in_common_stays_absolute():
    assert relative_path("/data/x.nii", Path("/lists")) == "/data/x.nii"
    assert relative_path("/home/a/x.nii", Path("/home/b")) == "../a/x.nii"


def test_several_sections_come_one_after_another(tmp_path):
    save_datalist({"training": [_case(tmp_path, "x")], "test": [_case(tmp_path, "y")]}, tmp_path / "a.json")
    assert [c["case_id"] for c in load_datalist(tmp_path / "a.json", ["test", "training"])] == ["y", "x"]


def test_a_missing_section_names_those_that_exist(tmp_path):
    save_datalist({"training": [_case(tmp_path, "x")]}, tmp_path / "a.json")
    with pytest.raises(ValueError, match=r"no section 'test'.*\{'training': 1\}"):
        load_datalist(tmp_path / "a.json", "test")


def test_a_missing_datalist_names_the_command(tmp_path):
    with pytest.raises(FileNotFoundError, match="medvlm prepare"):
        load_datalist(tmp_path / "none.json")


@pytest.mark.parametrize("text", ["{", "[]", '{"cases": []}'], ids=["damaged", "list", "no section"])
def test_what_is_no_datalist_is_refused(tmp_path, text):
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="a.json"):
        read_datalist(tmp_path / "a.json")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    save_datalist({"training": []}, tmp_path / "a.json")
    before = (tmp_path / "a.json").read_text(encoding="utf-8")

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        save_datalist({"training": [_case(tmp_path, "x")]}, tmp_path / "a.json")
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_merging_keeps_sections_and_moves_paths(tmp_path):
    save_datalist({"name": "a", "training": [_case(tmp_path / "a", "x")]}, tmp_path / "a" / "a.json")
    save_datalist({"name": "b", "test": [_case(tmp_path / "b", "y")]}, tmp_path / "b" / "b.json")
    merged = merge_datalists([tmp_path / "a" / "a.json", tmp_path / "b" / "b.json"])
    assert merged["name"] == "a+b"
    save_datalist(merged, tmp_path / "ab.json")
    assert json.loads((tmp_path / "ab.json").read_text(encoding="utf-8"))["test"][0]["label"] == "b/y_seg.nii.gz"


def test_merging_refuses_a_patient_on_two_sides(tmp_path):
    save_datalist({"training": [_case(tmp_path, "x", "p")]}, tmp_path / "a.json")
    save_datalist({"test": [_case(tmp_path, "y", "p")]}, tmp_path / "b.json")
    with pytest.raises(ValueError, match="patient 'p' would stand in training and in test"):
        merge_datalists([tmp_path / "a.json", tmp_path / "b.json"])


def test_merging_refuses_a_case_twice(tmp_path):
    save_datalist({"training": [_case(tmp_path, "x")]}, tmp_path / "a.json")
    with pytest.raises(ValueError, match="case 'x' stands in two"):
        merge_datalists([tmp_path / "a.json", tmp_path / "a.json"])


def test_importing_the_package_brings_neither_torch_nor_monai():
    code = "import medvlm.data, medvlm.data.prepare, sys; print({'torch', 'monai'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_cases_without_any_wanted_channel_are_left_out_and_counted_by_source(caplog):
    cases = [
        {"case_id": "a", "source": "msd", "channels": ["FLAIR", "T1"]},
        {"case_id": "b", "source": "msd", "channels": ["T2"]},
        {"case_id": "c", "source": "kaggle_yes_no", "channels": ["MRI"]},
        {"case_id": "d", "source": "kaggle_yes_no", "channels": ["MRI"]},
        {"case_id": "e", "source": "csv"},
    ]
    for _ in range(2):  # training asks, and so does the count before it
        assert [case["case_id"] for case in cases_with_channels(cases, ["FLAIR", "T1c"])] == ["a", "e"]
    (told,) = [record.getMessage() for record in caplog.records]
    assert told.startswith("3 of 5 cases have none of the channels ['FLAIR', 'T1c']")
    assert told.endswith("kaggle_yes_no 2, msd 1")
    assert cases_with_channels(cases[:2], ["T1", "T2"]) == cases[:2] and len(caplog.records) == 1
    with pytest.raises(ValueError, match=r"none of 2 cases has any of the channels \['FLAIR'\], theirs are \['MRI'\]"):
        cases_with_channels(cases[2:4], ["FLAIR"])
