"""Whatever a user points at becomes studies of videos, or an error that says what to do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from medvlm.data.phantoms.coronary_dataset import write_coronary_phantoms
from medvlm.data.prepare import prepare
from medvlm.engines.case_finding import CaseFinder
from medvlm.engines.study_inputs import StudyCases, find_studies


@pytest.fixture(scope="module")
def coronary(tmp_path_factory) -> Path:
    """``coronary/dicom/STUDY/*.dcm`` and ``coronary/manifest.csv`` of six studies."""
    return write_coronary_phantoms(
        tmp_path_factory.mktemp("Studien Süd"), studies=6, size=48, frames=4, views=(2, 2), seed=3, progress=False
    )


@pytest.fixture
def study(coronary, tmp_path) -> Path:
    """A copy of one study's folder."""
    return Path(shutil.copytree(sorted((coronary / "dicom").iterdir())[0], tmp_path / "patient x"))


def change(file: Path, **tags) -> Path:
    """Rewrite a DICOM file with other tags; ``None`` takes one out."""
    data = pydicom.dcmread(file)
    for name, value in tags.items():
        if value is None:
            delattr(data, name)
        else:
            setattr(data, name, value)
    data.save_as(file)
    return file


def names(case: dict) -> list[str]:
    return [Path(file).name for file in case["video"]]


def test_a_dicom_folder_is_one_study(study):
    (case,) = find_studies(study)
    assert case["case_id"] == "patient_x" and names(case) == ["xa_01.dcm", "xa_02.dcm"]
    assert case["study_id"] == str(pydicom.dcmread(study / "xa_01.dcm").StudyInstanceUID)


def test_series_of_a_study_in_folders_of_their_own_are_one_study(study):
    for number in (1, 2):
        (study / f"series {number}").mkdir()
        shutil.move(study / f"xa_0{number}.dcm", study / f"series {number}" / "0001")
    (case,) = find_studies(study)
    assert case["case_id"] == "patient_x" and len(case["video"]) == 2


def test_a_folder_of_studies_gives_each_of_them(coronary):
    cases = find_studies(coronary / "dicom")
    assert [case["case_id"] for case in cases] == sorted(path.name for path in (coronary / "dicom").iterdir())
    assert all(len(case["video"]) == 2 for case in cases)


def test_studies_that_share_a_folder_are_parted_by_their_uid(coronary, tmp_path):
    for number, folder in enumerate(sorted((coronary / "dicom").iterdir())[:2]):
        for file in folder.iterdir():
            shutil.copy(file, tmp_path / f"{number}_{file.name}")
    cases = find_studies(tmp_path)
    assert [len(case["video"]) for case in cases] == [2, 2]
    assert {case["case_id"] for case in cases} == {case["study_id"] for case in cases}


def test_what_is_no_angiogram_is_left_out(study):
    shutil.copy(study / "xa_01.dcm", study / "ultrasound.dcm")
    change(study / "ultrasound.dcm", Modality="US")
    shutil.copy(study / "xa_01.dcm", study / "dose.dcm")
    change(study / "dose.dcm", Modality="SR", PixelData=None)
    (study / "notes.txt").write_text("nothing to see", encoding="utf-8")
    (case,) = find_studies(study)
    assert names(case) == ["xa_01.dcm", "xa_02.dcm"]


@pytest.mark.parametrize("damage", ["no pixels", "truncated", "no header"])
def test_a_damaged_view_stays_a_view_so_that_its_reason_is_told(study, damage):
    file = study / "xa_02.dcm"
    if damage == "no pixels":
        change(file, PixelData=None)
    elif damage == "truncated":
        file.write_bytes(file.read_bytes()[:1500])
    else:
        file.write_bytes(b"\0" * 128 + b"DICM" + b"broken")
    (case,) = find_studies(study)
    assert names(case) == ["xa_01.dcm", "xa_02.dcm"] and case["case_id"] == "patient_x"


def test_a_single_picture_counts_only_where_there_is_no_video(study):
    frames = pydicom.dcmread(study / "xa_01.dcm").pixel_array[:1]
    change(study / "xa_01.dcm", NumberOfFrames=1, PixelData=frames.tobytes())
    (case,) = find_studies(study)
    assert names(case) == ["xa_02.dcm"]
    (study / "xa_02.dcm").unlink()
    (case,) = find_studies(study)
    assert names(case) == ["xa_01.dcm"]


def test_pictures_of_earlier_results_are_no_study(study):
    results = study / "results" / "patient_x"
    results.mkdir(parents=True)
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(results / "evidence_01.png")
    assert len(find_studies(study)) == 2, "a folder of pictures that no manifest explains is a video"
    (results / "manifest.json").write_text('{"case_id": "x", "signature": "0", "files": []}', encoding="utf-8")
    assert [case["case_id"] for case in find_studies(study)] == ["patient_x"]


def test_a_study_of_other_modalities_alone_is_an_error_of_that_study(coronary, study, tmp_path):
    for file in study.iterdir():
        change(file, Modality="US")
    shutil.copytree(sorted((coronary / "dicom").iterdir())[1], tmp_path / "good")
    good, bad = sorted(find_studies(tmp_path), key=lambda case: "error" in case)
    assert good["case_id"] == "good" and bad["case_id"] == "patient_x"
    assert "2 files are no angiography" in bad["error"] and "video" not in bad


def test_videos_of_other_kinds_are_a_study_a_folder(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        for view in range(2):
            np.savez(tmp_path / folder / f"view{view}.npz", frames=np.zeros((3, 8, 8), np.uint8))
    (tmp_path / "pictures").mkdir()
    for index in range(3):
        Image.new("L", (8, 8), index).save(tmp_path / "pictures" / f"{index}.png")
    found = {case["case_id"]: case["video"] for case in find_studies(tmp_path)}
    assert {name: len(video) for name, video in found.items()} == {"a": 2, "b": 2, "pictures": 1}
    assert found["pictures"] == [str(tmp_path / "pictures")]


@pytest.mark.parametrize("name", ["xa_01.dcm", "xa_01"])
def test_one_video_is_a_study_of_one_view(study, name):
    (study / "xa_01.dcm").rename(study / name)
    (case,) = find_studies(study / name)
    assert names(case) == [name] and case["case_id"] == "xa_01"


def test_a_manifest_gives_the_studies_of_a_section(coronary, tmp_path):
    (case, *_) = cases = find_studies(coronary / "manifest.csv")
    every = find_studies(coronary / "manifest.csv", section="training")
    assert cases and every and not {c["case_id"] for c in cases} & {c["case_id"] for c in every}
    assert case["report"] and case["study_id"] == case["case_id"] and len(case["video"]) == 2
    with pytest.raises(ValueError, match="no study in inference; choose with --section"):
        find_studies(coronary / "manifest.csv", section="inference")


def test_a_manifest_without_a_split_gives_all_and_keeps_missing_files_as_views(study, tmp_path):
    table = tmp_path / "list.csv"
    rows = ["FileName;StudyInstanceUID", f"{study / 'xa_01.dcm'};s1", "gone.dcm;s1", ";s2"]
    table.write_text("\n".join(rows), encoding="utf-8")
    first, second = find_studies(table)
    assert names(first) == ["xa_01.dcm", "gone.dcm"]
    assert "names no video" in second["error"] and "video" not in second


def test_a_datalist_gives_its_test_section_with_absolute_paths(coronary, tmp_path):
    prepare("cine_manifest", str(coronary), str(tmp_path / "list.json"))
    cases = find_studies(tmp_path / "list.json")
    held = json.loads((tmp_path / "list.json").read_text(encoding="utf-8"))["test"]
    assert [case["case_id"] for case in cases] == [case["case_id"] for case in held]
    assert all(Path(file).is_absolute() and Path(file).is_file() for case in cases for file in case["video"])


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        ({"a.txt": "words"}, ValueError, "is no video that can be read"),
        ({"a.json": '{"test": [{"image": "x.nii.gz", "case_id": "x"}]}'}, ValueError, "holds no videos"),
        ({"a.csv": "Path,Other\nx,y\n"}, ValueError, "lacks the column StudyInstanceUID"),
        ({}, FileNotFoundError, "there is nothing at"),
    ],
    ids=["text", "images", "columns", "nothing"],
)
def test_what_cannot_be_read_is_refused_with_the_remedy(tmp_path, content, error, message):
    for name, text in content.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(error, match=message):
        find_studies(tmp_path / next(iter(content), "gone"))


def test_an_empty_folder_and_a_section_of_a_folder_are_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no video"):
        find_studies(tmp_path)
    with pytest.raises(ValueError, match="leave it out"):
        find_studies(tmp_path, section="test")


def test_cases_are_looked_for_when_they_are_asked_for(study, tmp_path):
    later = StudyCases(tmp_path / "later")
    shutil.copytree(study, tmp_path / "later")
    assert len(later) == 1 and later[0]["case_id"] == "later"


def test_the_config_says_which_inputs_a_bundle_reads(study):
    config = {
        "cases": {
            "_target_": "medvlm.engines.study_inputs.StudyCases",
            "path": "@dataset_dir",
            "section": "@input_section",
        }
    }
    finder = CaseFinder(config)
    assert len(finder.find(study)) == 1
    with pytest.raises(ValueError, match="section chooses a part of a datalist"):
        finder.check(study, {"input_section": "test"})
    assert CaseFinder({}).kind.__name__ == "InputCases"
    with pytest.raises(ValueError, match="does not exist"):
        CaseFinder({"cases": {"_target_": "medvlm.engines.study_inputs.Gone"}})
