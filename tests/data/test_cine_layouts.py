"""From angiography data sets on disk to datalists of studies."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from medvlm.coronary import SEGMENTS
from medvlm.data.datalists import SECTIONS, load_datalist, merge_datalists, read_datalist, save_datalist
from medvlm.data.layouts import CINE_LAYOUTS, scan_layout
from medvlm.data.layouts.arcade import SEGMENT_NAMES
from medvlm.data.layouts.cine_targets import derive_targets, number, target_value
from medvlm.data.prepare import prepare
from medvlm.data.problems import DatasetError


def _all(path):
    datalist = read_datalist(path)
    return [case for s in SECTIONS for case in datalist[s]]


def _errors(scan):
    return [p.problem for p in scan.problems if p.severity == "error"]


# The manifest


@pytest.mark.parametrize("separator", [",", ";", "\t", "α", "|"], ids=["comma", "semicolon", "tab", "alpha", "bar"])
def test_the_separator_of_a_manifest_is_found(cines, separator):
    rows = cines.rows(2, Report=lambda n: 'LAD, mild; "ectatic" | RCA\nnormal.', proximal_lad_stenosis=lambda n: 40)
    scan = scan_layout("cine_manifest", cines.manifest(rows, separator))
    assert not _errors(scan) and len(scan.cases) == 2
    case = scan.cases[1]
    assert case["report"] == 'LAD, mild; "ectatic" | RCA\nnormal.' and case["patient_id"] == "P1"
    assert case["targets"]["proximal_lad_stenosis"] == 40 and len(case["video"]) == 2


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_the_marks_of_spreadsheets_are_read_over(cines, encoding):
    rows = cines.rows(1, Report=lambda n: "Sténose modérée de l'IVA.")
    scan = scan_layout("cine_manifest", cines.manifest(rows, ";", encoding=encoding))
    assert scan.cases[0]["report"] == "Sténose modérée de l'IVA."


def test_another_encoding_is_refused_with_the_byte(cines):
    path = cines.manifest(cines.rows(1, Report=lambda n: "Sténose"), encoding="latin-1")
    with pytest.raises(ValueError, match="not UTF-8.*save it as CSV UTF-8"):
        scan_layout("cine_manifest", path)


def test_names_of_columns_may_be_written_otherwise(cines):
    rows = [
        {"file_name": r["FileName"], "study id": r["StudyInstanceUID"], "REPORT": r["Report"]} for r in cines.rows(2)
    ]
    assert [c["study_id"] for c in scan_layout("cine_manifest", cines.manifest(rows)).cases] == ["1.2.0", "1.2.1"]


def test_missing_columns_are_named_with_those_that_exist(cines):
    path = cines.manifest([{"FileNames": "a.dcm", "Report": "x"}], ";")
    with pytest.raises(ValueError, match=r"lacks the columns FileName, StudyInstanceUID.*'FileNames', 'Report'.*mean"):
        scan_layout("cine_manifest", path)


def test_a_column_that_stands_twice_is_refused(cines):
    cines.root.mkdir()
    path = cines.root / "m.csv"
    path.write_text("FileName,StudyInstanceUID,Report,report\na.dcm,1,x,y\n", encoding="utf-8")
    with pytest.raises(ValueError, match="'Report and report' twice"):
        scan_layout("cine_manifest", path)


def test_an_empty_table_is_refused(cines):
    cines.root.mkdir()
    (cines.root / "m.csv").write_text("\n", encoding="utf-8")
    with pytest.raises(ValueError, match="is empty"):
        scan_layout("cine_manifest", cines.root)


def test_duplicate_keys_are_errors_with_their_lines(cines):
    rows = cines.rows(2)
    rows.append(dict(rows[0]))
    rows.append(rows[1] | {"StudyInstanceUID": "1.2.1"})
    errors = _errors(scan_layout("cine_manifest", cines.manifest(rows)))
    assert "the key s0/v0.dcm stands 2 times: line 2 (study 1.2.0), line 6 (study 1.2.0)" in errors
    assert any("s0/v1.dcm stands 2 times" in e and "(study 1.2.1)" in e for e in errors)


def test_an_unknown_split_is_an_error_that_says_what_was_meant(cines, tmp_path):
    path = cines.manifest(cines.rows(3, splits=("train", "vall", "test")))
    with pytest.raises(DatasetError, match=r"the split 'vall' is not known; did you mean 'val'") as caught:
        prepare("cine_manifest", str(path), str(tmp_path / "d.json"))
    assert len([p for p in caught.value.problems if p.severity == "error"]) == 1
    assert not (tmp_path / "d.json").exists()


def test_one_bad_row_never_hides_another(cines):
    rows = cines.rows(6, dominance=lambda n: "upward" if n == 1 else "left", mid_lad_cto=lambda n: 2 if n == 2 else 0)
    rows[0]["FileName"] = "gone.dcm"
    rows[7]["Report"] = "Another report."
    rows[8]["StudyInstanceUID"] = ""
    rows[10] |= {"mid_rca_stenosis": "140"}
    rows[11] |= {"mid_rca_stenosis": "<50"}
    errors = _errors(scan_layout("cine_manifest", cines.manifest(rows)))
    for expected in (
        "line 2: there is no such file",
        "line 4: dominance is 'upward'",
        "line 6: mid_lad_cto is '2'",
        "Report differs between the study's rows",
        "line 10 names no study",
        "line 12: mid_rca_stenosis is '140'",
        "line 13: mid_rca_stenosis is '<50', which is no number",
    ):
        assert any(expected in e for e in errors), (expected, errors)


def test_a_line_with_too_many_cells_is_an_error_of_its_own(cines):
    path = cines.manifest(cines.rows(2))
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[2] += ",more"
    path.write_text("\n".join(lines), encoding="utf-8")
    scan = scan_layout("cine_manifest", path)
    assert _errors(scan) == ["line 3: it has 5 cells, the header 4"] and len(scan.cases) == 2


def test_a_quotation_that_never_ends_is_refused_instead_of_swallowing_rows(cines):
    path = cines.manifest(cines.rows(2))
    path.write_text(path.read_text(encoding="utf-8").replace("P0,", 'P0,"', 1), encoding="utf-8")
    with pytest.raises(ValueError, match="quotation mark is not closed"):
        scan_layout("cine_manifest", path)


def test_an_empty_report_is_unknown_and_counted(cines):
    scan = scan_layout("cine_manifest", cines.manifest(cines.rows(3, Report=lambda n: "" if n else "Normal.")))
    assert ["report" in c for c in scan.cases] == [True, False, False]
    assert any("2 of 3 studies have an empty report" in p.problem for p in scan.problems)


def test_a_report_of_ten_thousand_words_is_read_whole(cines, tmp_path):
    long = " ".join(f"word{i}" for i in range(30_000))
    path = cines.manifest(cines.rows(2, Report=lambda n: long))
    prepare("cine_manifest", str(path), str(tmp_path / "d.json"), section="training")
    assert all(case["report"] == long for case in _all(tmp_path / "d.json"))


def test_what_differs_from_video_to_video_is_no_target(cines):
    rows = cines.rows(2, age=lambda n: 50 + n, comment=lambda n: "x")
    for i, row in enumerate(rows):
        row["SeriesNumber"] = i
    scan = scan_layout("cine_manifest", cines.manifest(rows))
    assert scan.cases[1]["targets"] == {"age": 51}
    assert any("left out: comment, SeriesNumber" in p.problem for p in scan.problems)


def test_angles_in_the_table_are_kept_by_view(cines):
    rows = cines.rows(1, views=5)
    for row, (primary, secondary) in zip(
        rows, (("-30,5", "20"), ("", ""), ("-1", "0"), ("", "-90"), ("180", "unknown")), strict=True
    ):
        row |= {"primary_angle": primary, "secondary_angle": secondary}
    case = scan_layout("cine_manifest", cines.manifest(rows, ";")).cases[0]
    assert case["view_angles"] == [[-30.5, 20.0], None, [-1.0, 0.0], [None, -90.0], [180.0, None]]


@pytest.mark.parametrize(
    ("angles", "problem"),
    [
        (("30", "91"), "line 2: the secondary angle is 91 degrees (PositionerSecondaryAngle)"),
        (("-181", "91"), "line 2: the primary angle is -181 degrees (PositionerPrimaryAngle)"),
        (("left", "20"), "line 2: PositionerPrimaryAngle is 'left', which is no number"),
    ],
    ids=["beyond the pole", "both", "a word"],
)
def test_angles_that_no_arm_can_take_are_errors(cines, angles, problem):
    rows = cines.rows(1, views=1)
    rows[0] |= dict(zip(("primary_angle", "secondary_angle"), angles, strict=True))
    scan = scan_layout("cine_manifest", cines.manifest(rows))
    assert _errors(scan)[0] == problem and len(_errors(scan)) == (2 if angles[0] == "-181" else 1)


def test_a_column_of_another_convention_is_doubted_and_meanings_are_recorded(cines, tmp_path, capsys):
    percents = (60, 80, 0, 100)
    tables = {"stenosis": lambda n: int(percents[n] >= 50), "mid_lad_stenosis": lambda n: percents[n]}
    prepare("cine_manifest", str(cines.manifest(cines.rows(4, **tables))), str(tmp_path / "d.json"), section="test")
    said = " ".join(capsys.readouterr().out.split())
    assert "stenosis means a stenosis over 70% in any segment, and in 1 of 4 studies" in said
    assert "(study 1.2.0: stenosis 1, largest 60%)" in said
    datalist = read_datalist(tmp_path / "d.json")
    assert datalist["conventions"]["stenosis"] == {"meaning": "a stenosis over 70% in any segment"}
    assert [case["targets"]["occlusion"] for case in datalist["test"] if "occlusion" in case["targets"]] == [1]
    other = datalist | {"conventions": {"stenosis": {"meaning": "any stenosis"}}}
    (tmp_path / "other.json").write_text(json.dumps(other), encoding="utf-8")
    with pytest.raises(ValueError, match="reads the convention 'stenosis' differently"):
        merge_datalists([tmp_path / "d.json", tmp_path / "other.json"])


def test_fractions_among_percentages_are_doubted(cines):
    scan = scan_layout("cine_manifest", cines.manifest(cines.rows(2, mid_lad_stenosis=lambda n: 0.7)))
    assert any("look like fractions" in p.problem for p in scan.problems)


# Targets


@pytest.mark.parametrize(
    ("cell", "value"),
    [("70", 70), ("70,5", 70.5), ("70 %", 70), ("yes", 1), ("nan", None), ("", None), ("N/A", None)],
)
def test_numbers_of_tables_are_read(cell, value):
    assert number(cell) == value


def test_unknown_and_words_of_dominance_are_read():
    assert target_value("mid_lad_cto", "-1") is None and target_value("delta", "-1") == -1
    assert [target_value("dominance", w) for w in ("Right", "left dominant", "co-dominant", "2")] == [0, 1, 2, 2]


def test_a_healthy_study_is_only_claimed_when_all_segments_are_known():
    columns = [f"{s.name}_stenosis" for s in SEGMENTS]
    healthy = dict.fromkeys(columns, 0.0)
    assert derive_targets(healthy, columns) | {} == healthy | {
        "max_stenosis": 0.0,
        "stenosis": 0.0,
        "obstructive_stenosis": 0.0,
    }
    partly = {columns[0]: 30.0}
    assert derive_targets(partly, columns) == partly
    severe = derive_targets({columns[3]: 80.0}, columns)
    assert severe["stenosis"] == 1 and severe["obstructive_stenosis"] == 1 and "max_stenosis" not in severe


def test_what_the_table_says_itself_is_kept():
    columns = ["mid_lad_stenosis", "mid_lad_cto", "max_stenosis", "stenosis"]
    assert derive_targets({"mid_lad_stenosis": 60.0, "mid_lad_cto": 1.0, "stenosis": 1.0}, columns) == {
        "mid_lad_stenosis": 60.0,
        "mid_lad_cto": 1.0,
        "stenosis": 1.0,
        "max_stenosis": 60.0,
        "obstructive_stenosis": 1.0,
        "occlusion": 1.0,
    }


# The split


def test_the_tables_own_split_is_kept(cines, tmp_path, capsys):
    words = ("train", "Training", "val", "test", "inference", "test")
    prepare("cine_manifest", str(cines.manifest(cines.rows(6, splits=words))), str(tmp_path / "d.json"))
    datalist = read_datalist(tmp_path / "d.json")
    assert {s: [c["study_id"] for c in datalist[s]] for s in SECTIONS} == {
        "training": ["1.2.0", "1.2.1"],
        "validation": ["1.2.2"],
        "test": ["1.2.3", "1.2.5"],
        "inference": ["1.2.4"],
    }
    assert datalist["counts"][0] | {"class": ""} == {
        "source": "cine_manifest", "class": "", "section": "training", "cases": 2, "patients": 2, "videos": 4,
        "reports": 2,
    }  # fmt: skip
    assert "videos" in capsys.readouterr().out
    assert "section" not in datalist["training"][0] and "label" not in datalist["training"][0]
    loaded = load_datalist(tmp_path / "d.json", "test")[0]["video"]
    assert loaded == [str(cines.root / "s3" / f"v{view}.dcm") for view in range(2)]


def test_leakage_in_the_tables_own_split_is_refused(cines, tmp_path):
    rows = cines.rows(4, splits=("train", "test", "val", "test"), PatientID=lambda n: f"P{n % 2}")
    path = cines.manifest(rows)
    with pytest.raises(DatasetError, match="divides 1 patients.*--resplit") as caught:
        prepare("cine_manifest", str(path), str(tmp_path / "d.json"))
    assert "leakage: patient P0 stands in training (1.2.0), validation (1.2.2)" in str(caught.value)
    prepare("cine_manifest", str(path), str(tmp_path / "d.json"), resplit=True)
    homes = {}
    for section in SECTIONS:
        for case in read_datalist(tmp_path / "d.json")[section]:
            assert homes.setdefault(case["patient_id"], section) == section


def test_leakage_through_the_same_video_is_refused(cines, tmp_path):
    rows = cines.rows(2, splits=("train", "test"))
    shutil.copy(cines.root / "s0" / "v0.dcm", cines.root / "s1" / "v0.dcm")
    with pytest.raises(DatasetError, match="divides 1 patients"):
        prepare("cine_manifest", str(cines.manifest(rows)), str(tmp_path / "d.json"))


def test_a_split_in_some_rows_only_is_refused(cines, tmp_path):
    path = cines.manifest(cines.rows(3, splits=("train", "", "test")))
    with pytest.raises(DatasetError, match="the study has no split, others have one"):
        prepare("cine_manifest", str(path), str(tmp_path / "d.json"))
    prepare("cine_manifest", str(path), str(tmp_path / "d.json"), resplit=True)
    assert len(_all(tmp_path / "d.json")) == 3


def test_without_a_split_patients_stay_together_and_classes_are_spread(cines, tmp_path):
    rows = cines.rows(24, views=1, PatientID=lambda n: f"P{n // 2}", stenosis=lambda n: n // 2 % 2)
    prepare("cine_manifest", str(cines.manifest(rows)), str(tmp_path / "d.json"))
    datalist = read_datalist(tmp_path / "d.json")
    patients = [{c["patient_id"] for c in datalist[s]} for s in ("training", "validation", "test")]
    assert sum(map(len, patients)) == 12 and all(patients)
    for section in ("training", "validation", "test"):
        assert {c["targets"]["stenosis"] for c in datalist[section]} == {0, 1}


def test_folds_test_every_study_once(cines, tmp_path):
    rows = cines.rows(6, views=1, stenosis=lambda n: n % 2)
    names = prepare("cine_manifest", str(cines.manifest(rows)), str(tmp_path / "d.json"), folds=3)
    tested = [c["study_id"] for name in names for c in read_datalist(name)["test"]]
    assert len(names) == 3 and sorted(tested) == [f"1.2.{i}" for i in range(6)]
    path = cines.manifest(cines.rows(3, splits=("train", "val", "test")))
    with pytest.raises(ValueError, match="split of its own; leave --folds out, or give --resplit"):
        prepare("cine_manifest", str(path), str(tmp_path / "e.json"), folds=3)


def test_studies_without_report_and_target_go_to_inference_unless_their_patient_is_split(cines, tmp_path):
    rows = cines.rows(5, views=1, Report=lambda n: "Mild." if n < 3 else "", PatientID=lambda n: f"P{n % 4}")
    prepare("cine_manifest", str(cines.manifest(rows)), str(tmp_path / "d.json"))
    datalist = read_datalist(tmp_path / "d.json")
    assert [c["study_id"] for c in datalist["inference"]] == ["1.2.3"]
    homes = [s for s in SECTIONS for c in datalist[s] if c["patient_id"] == "P0"]
    assert len(homes) == 2 and len(set(homes)) == 1


def test_patients_come_from_headers_where_the_table_names_none(cines, tmp_path, capsys):
    rows = [{k: v for k, v in r.items() if k != "PatientID"} for r in cines.rows(3)]
    prepare("cine_manifest", str(cines.manifest(rows)), str(tmp_path / "d.json"), section="test")
    assert {c["patient_id"] for c in _all(tmp_path / "d.json")} == {"P0", "P1", "P2"}
    for index in range(3):
        cines.study(index, PatientID="ANON_EXPORT")
    prepare("cine_manifest", str(cines.manifest(rows)), str(tmp_path / "d.json"), section="test")
    assert "every header names the patient 'ANON_EXPORT'" in capsys.readouterr().out
    assert len({c["patient_id"] for c in _all(tmp_path / "d.json")}) == 3


def test_bad_videos_are_left_out_one_by_one(cines, tmp_path):
    rows = cines.rows(3)
    (cines.root / "s0" / "v0.dcm").unlink()
    for view in range(2):
        (cines.root / "s1" / f"v{view}.dcm").write_bytes(b"")
    path = cines.manifest(rows)
    with pytest.raises(DatasetError, match=r"3 errors.*--skip_bad|--skip_bad"):
        prepare("cine_manifest", str(path), str(tmp_path / "d.json"), section="test", verify=True)
    prepare("cine_manifest", str(path), str(tmp_path / "d.json"), section="test", verify=True, skip_bad=True)
    assert {c["study_id"]: len(c["video"]) for c in _all(tmp_path / "d.json")} == {"1.2.0": 1, "1.2.2": 2}


def test_every_video_can_be_a_case_of_its_own(cines, tmp_path):
    rows = cines.rows(4, views=3, stenosis=lambda n: n % 2)
    prepare("cine_manifest", str(cines.manifest(rows)), str(tmp_path / "d.json"), unit="video")
    cases = _all(tmp_path / "d.json")
    assert len(cases) == 12 == len({c["case_id"] for c in cases}) and all(len(c["video"]) == 1 for c in cases)
    datalist = read_datalist(tmp_path / "d.json")
    homes = [{c["study_id"] for c in datalist[s]} for s in SECTIONS]
    assert sum(map(len, homes)) == 4, "the videos of a study stay together"
    with pytest.raises(ValueError, match="unit must be one of study, video, got 'frame'"):
        prepare("cine_manifest", str(cines.root), str(tmp_path / "d.json"), unit="frame")


def test_the_same_command_gives_the_same_bytes(cines, tmp_path):
    path = cines.manifest(cines.rows(6, views=1, stenosis=lambda n: n % 2))
    for name in ("a", "b"):
        prepare("cine_manifest", str(path), str(tmp_path / f"{name}.json"), name="x")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_videos_and_images_do_not_share_a_datalist(cines, tmp_path):
    with pytest.raises(ValueError, match="prepare them into two datalists"):
        prepare("cine_manifest,msd", f"{tmp_path},{tmp_path}", str(tmp_path / "d.json"))


def test_datalists_of_videos_are_merged_and_moved(cines, tmp_path):
    rows = cines.rows(2, splits=("train", "test"))
    prepare("cine_manifest", str(cines.manifest(rows)), str(tmp_path / "a" / "a.json"))
    merged = merge_datalists([tmp_path / "a" / "a.json"])
    save_datalist(merged, cines.root / "b.json")
    written = json.loads((cines.root / "b.json").read_text(encoding="utf-8"))
    assert written["training"][0]["video"] == ["s0/v0.dcm", "s0/v1.dcm"]


# A folder of DICOM


def test_a_folder_of_dicom_becomes_studies(cines):
    cines.study(0, views=3)
    shutil.move(cines.root / "s0" / "v2.dcm", cines.root / "IM0001")
    cines.study(1)
    cines.dicom("s1/still.dcm", frames=1, StudyInstanceUID="1.2.1")
    cines.dicom("s1/sr.dcm", StudyInstanceUID="1.2.1", Modality="SR", Rows=None, pixels=None)
    cines.dicom("ct/x.dcm", Modality="CT")
    (cines.root / "s0" / "report.txt").write_text("Mild disease.\n", encoding="utf-8")
    (cines.root / "notes").write_text("no dicom", encoding="utf-8")
    scan = scan_layout("xa_folder", cines.root)
    assert {c["study_id"]: len(c["video"]) for c in scan.cases} == {"1.2.0": 3, "1.2.1": 2}
    notes = " ".join(p.problem for p in scan.problems)
    for why in ("a single picture", "no pixel data", "modality CT"):
        assert f"1 files are left out ({why})" in notes
    assert not _errors(scan)


def test_a_report_beside_the_videos_is_taken_and_unlabelled_studies_go_to_inference(cines, tmp_path):
    cines.study(0)
    cines.study(1)
    (cines.root / "s0" / "report.txt").write_text("Mild disease.\n", encoding="utf-8")
    (cines.root / "report.txt").write_text("Of nobody.", encoding="utf-8")
    prepare("xa_folder", str(cines.root), str(tmp_path / "d.json"))
    datalist = read_datalist(tmp_path / "d.json")
    assert [c["study_id"] for c in datalist["inference"]] == ["1.2.1"]
    (case,) = [c for c in _all(tmp_path / "d.json") if "report" in c]
    assert case["report"] == "Mild disease." and case["patient_id"] == "P0"
    prepare("xa_folder", str(cines.root), str(tmp_path / "d.json"), section="training")
    assert len(read_datalist(tmp_path / "d.json")["training"]) == 2


def test_unreadable_dicom_in_a_folder_is_an_error_and_not_silence(cines):
    cines.study(0)
    whole = (cines.root / "s0" / "v0.dcm").read_bytes()
    (cines.root / "s0" / "v0.dcm").write_bytes(whole[: len(whole) - 200])
    scan = scan_layout("xa_folder", cines.root)
    assert _errors(scan) == ["the pixel data end early: 3 of 4 frames are whole"] and len(scan.cases[0]["video"]) == 1


@pytest.mark.parametrize("layout", CINE_LAYOUTS)
def test_a_folder_of_something_else_is_refused(tmp_path, layout):
    (tmp_path / "readme.md").write_text("nothing here", encoding="utf-8")
    with pytest.raises(ValueError, match=f"no case of the layout {layout}: expected"):
        scan_layout(layout, tmp_path)


# Public data sets


def _coco(root, task, part, images, marks):
    """``marks``: file name -> (category, box) pairs; boxes as x, y, width, height."""
    names = [*map(str, range(1, 9)), "9", "9a", "10", "10a", "11", "12", "12a", "13", "14", "14a", "15", "16", "16a",
             "16b", "16c", "12b", "14b", "stenosis"]  # fmt: skip
    folder = root / task / part
    (folder / "annotations").mkdir(parents=True)
    (folder / "images").mkdir()
    rng = np.random.default_rng(len(part))
    for name in images:
        pixels = rng.integers(0, 256, (40, 40), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / name)
    content = {
        "categories": [{"id": i, "name": n, "supercategory": ""} for i, n in enumerate(names, start=1)],
        "images": [{"id": i, "file_name": n, "width": 40, "height": 40} for i, n in enumerate(images, start=1)],
        "annotations": [
            {"id": 1, "image_id": images.index(n) + 1, "category_id": names.index(c) + 1, "bbox": b, "segmentation": []}
            for n, pairs in marks.items()
            for c, b in pairs
        ],
    }
    (folder / "annotations" / f"{part}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def test_arcade_gives_stenoses_with_boxes_and_its_split(tmp_path):
    box = [10, 12, 5, 6]
    _coco(tmp_path, "stenosis", "train", ["1.png", "2.png"], {"1.png": [("stenosis", box), ("stenosis", box)]})
    _coco(tmp_path, "stenosis", "val", ["1.png"], {"1.png": [("stenosis", box)]})
    prepare("arcade", str(tmp_path), str(tmp_path / "d.json"))
    datalist = read_datalist(tmp_path / "d.json")
    assert [c["targets"] for c in datalist["training"]] == [
        {"stenosis_marked": 1, "stenoses_marked": 2},
        {"stenosis_marked": 0, "stenoses_marked": 0},
    ]  # of unknown degree: not the "stenosis" (over 70%) of other layouts
    assert datalist["conventions"] == {}
    assert datalist["training"][0]["boxes"][0] == {
        "view": 0, "frame": 0, "box": [10.0, 12.0, 15.0, 18.0], "name": "stenosis",
    }  # fmt: skip
    assert len(datalist["validation"]) == 1 and datalist["validation"][0]["video"] == ["stenosis/val/images/1.png"]


def test_arcade_names_segments_and_the_side(tmp_path):
    box = [1, 1, 9, 9]
    marks = {"1.png": [("1", box), ("2", box), ("16a", box)], "2.png": [("5", box), ("6", box), ("12a", box)]}
    _coco(tmp_path, "syntax", "test", ["1.png", "2.png"], marks)
    right, left = scan_layout("arcade", tmp_path).cases
    assert right["section"] == "test" and right["targets"]["right_coronary"] == 1
    assert right["targets"]["proximal_rca_visible"] == 1 and right["targets"]["proximal_lad_visible"] == 0
    assert left["targets"]["marginal_1_visible"] == 1 and left["targets"]["right_coronary"] == 0
    assert "stenosis_marked" not in left["targets"] and [b["name"] for b in right["boxes"]][2] == "segment_16a"
    assert set(SEGMENT_NAMES.values()) <= {s.name for s in SEGMENTS}


def test_arcade_names_pictures_that_are_missing(tmp_path):
    folder = _coco(tmp_path, "stenosis", "train", ["1.png", "2.png"], {"1.png": [("stenosis", [1, 1, 2, 2])]})
    (folder / "images" / "2.png").unlink()
    scan = scan_layout("arcade", tmp_path)
    assert _errors(scan) == ["the picture '2.png' is not beside it or in images/"] and len(scan.cases) == 1


def _cadica(cines, patient, lesions, clear, boxes):
    """``boxes``: video -> lines of the ground truth of its second frame."""
    folder = f"selectedVideos/{patient}"
    for video in (*lesions, *clear):
        cines.frames(f"{folder}/{video}/input", stem=f"{patient}_{video}")
        truth = cines.root / folder / video / "groundtruth"
        if video in boxes:
            truth.mkdir()
            (truth / f"{patient}_{video}_00001.txt").write_text("\n".join(boxes[video]) + "\n", encoding="utf-8")
    (cines.root / folder / "lesionVideos.txt").write_text("\n".join(lesions) + "\n", encoding="utf-8")
    (cines.root / folder / "nonlesionVideos.txt").write_text("\n".join(clear) + "\n", encoding="utf-8")


def test_cadica_gives_patients_with_lesions_by_video(cines, tmp_path):
    _cadica(cines, "p2", ["v1", "v10"], ["v3"], {"v1": ["4 5 10 12 p50_70"], "v10": ["1 2 3 4 p70_90", "5 6 7 8 p99"]})
    _cadica(cines, "p10", [], ["v2"], {})
    projections = {"videosLCA": ["p2_v1"], "videosLCA2": ["p2_v3"], "videosRCA": ["p2_v10"]}
    (cines.root / "CADICAprojections.json").write_text(json.dumps(projections), encoding="utf-8")
    scan = scan_layout("cadica", cines.root)
    assert not _errors(scan) and [c["patient_id"] for c in scan.cases] == ["p2", "p10"]
    case, healthy = scan.cases
    assert [v.split("/")[-2] for v in case["video"]] == ["v1", "v3", "v10"]
    assert [t.get("right_coronary") for t in case["view_targets"]] == [0, 0, 1]
    assert [t["max_stenosis"] for t in case["view_targets"]] == [60, 0, 99]
    assert case["targets"] == {
        "lesion": 1, "max_stenosis": 99, "stenosis": 1, "obstructive_stenosis": 1, "occlusion": 0
    }  # fmt: skip
    assert case["boxes"][0] == {"view": 0, "frame": 1, "box": [4.0, 5.0, 14.0, 17.0], "name": "p50_70"}
    assert healthy["targets"]["lesion"] == 0 and healthy["targets"]["stenosis"] == 0 and "boxes" not in healthy
    prepare("cadica", str(cines.root), str(tmp_path / "d.json"), section="training", unit="video")
    single = {c["video"][0].split("/")[-2]: c for c in _all(tmp_path / "d.json") if c["patient_id"] == "p2"}
    assert single["v3"]["targets"]["lesion"] == 0 and single["v10"]["targets"]["stenosis"] == 1
    assert [b["view"] for b in single["v10"]["boxes"]] == [0, 0] and single["v3"]["boxes"] == []


def test_cadica_reports_what_does_not_fit(cines):
    _cadica(cines, "p1", ["v1"], ["v2"], {"v1": ["1 2 3 p50_70", "1 2 3 4 p10_20"], "v2": ["1 2 3 4 p20_50"]})
    (cines.root / "selectedVideos" / "p1" / "lesionVideos.txt").write_text("v1\nv7\n", encoding="utf-8")
    errors = _errors(scan_layout("cadica", cines.root))
    assert len(errors) == 4
    assert sum("is no box" in e for e in errors) == 2
    assert any("listed video v7 is not there" in e for e in errors)
    assert any("has boxes, but stands in nonlesionVideos.txt" in e for e in errors)


def _npz(path, **arrays):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)
    return path


def test_cardiosyntax_gives_scores_angles_and_arteries(tmp_path):
    studies = []
    for index, (score, dominance) in enumerate([(0.0, None), (12.5, "left"), (3.0, "right")]):
        videos = []
        for artery, angle in (("LCA", -20.5), ("RCA", None)):
            path = tmp_path / "0" / f"1.3.{index}" / f"{artery}.2.2.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, np.full((4, 40, 40), index, np.uint8))
            videos.append({"path": path.relative_to(tmp_path).as_posix(), "artery": artery,
                           "PositionerPrimaryAngle": angle, "PositionerSecondaryAngle": 3.0})  # fmt: skip
        studies.append({"study_uid": f"1.3.{index}", "syntax": score, "syntax_left": score, "syntax_right": 0.0,
                        "dominance": dominance, "bypass": False, "videos": videos})  # fmt: skip
    (tmp_path / "all.json").write_text(json.dumps(studies), encoding="utf-8")
    (tmp_path / "step2_fold01_eval.json").write_text(json.dumps(studies[:1]), encoding="utf-8")
    scan = scan_layout("cardiosyntax", tmp_path)
    assert not _errors(scan) and len(scan.cases) == 3
    case = scan.cases[1]
    assert case["targets"] == {"syntax": 12.5, "syntax_left": 12.5, "syntax_right": 0, "syntax_positive": 1,
                               "dominance": 1, "bypass": 0}  # fmt: skip
    assert "dominance" not in scan.cases[0]["targets"]
    assert case["view_targets"] == [{"right_coronary": 0}, {"right_coronary": 1}]
    assert case["view_angles"] == [[-20.5, 3.0], [None, 3.0]]
    (tmp_path / "0" / "1.3.2" / "RCA.2.2.npy").unlink()
    assert _errors(scan_layout("cardiosyntax", tmp_path)) == [
        "the video '0/1.3.2/RCA.2.2.npy' of the study is not there"
    ]


def test_the_earlier_release_of_cardiosyntax_is_read(cines):
    files = cines.study(0)
    study = {"study_id": "a", "syntax_left": 0.0, "syntax_right": 2.0, "videos_left": [{"path": "s0/v0.dcm"}],
             "videos_right": [{"path": "s0/v1.dcm"}]}  # fmt: skip
    (cines.root / "train.json").write_text(json.dumps([study]), encoding="utf-8")
    (case,) = scan_layout("cardiosyntax", cines.root).cases
    assert case["video"] == [str(f) for f in files] and case["targets"] == {"syntax_left": 0, "syntax_right": 2}
    assert case["view_targets"] == [{"right_coronary": 0}, {"right_coronary": 1}]


def test_coronary_dominance_gives_sides_tags_and_keeps_the_authors_tests(tmp_path):
    rng = np.random.default_rng(1)
    root = tmp_path / "data"
    for part, side, name in (
        ("Main/Normal", "Left_Dominance", "Study01_a"),
        ("Main/Occlusion", "Right Dominance", "Study02_b"),
        ("Domain_shift", "Right_Dominance", "Study03_c"),
    ):
        for artery in ("LCA", "RCA"):
            occluded = np.array(part.endswith("Occlusion") and artery == "RCA")
            file = root / part / side / name / artery / f"{artery}.npz"
            pixels = rng.integers(0, 256, (3, 40, 40), dtype=np.uint8)
            _npz(file, pixel_array=pixels, is_occlusion=occluded, primary_angle=np.array(-30.0))
    cases = {c["study_id"]: c for c in scan_layout("coronary_dominance", root).cases}
    assert {k: c["targets"] for k, c in cases.items()} == {
        "Study01_a": {"dominance": 1, "right_coronary_occlusion": 0},
        "Study02_b": {"dominance": 0, "right_coronary_occlusion": 1},
        "Study03_c": {"dominance": 0, "right_coronary_occlusion": 0},
    }
    assert cases["Study02_b"]["view_targets"] == [
        {"dominance": 0, "right_coronary": 0},
        {"dominance": 0, "right_coronary_occlusion": 1, "right_coronary": 1},
    ]
    assert [t["right_coronary"] for t in cases["Study01_a"]["view_targets"]] == [0, 1]
    assert {k: c.get("section") for k, c in cases.items()} == {
        "Study01_a": None,
        "Study02_b": None,
        "Study03_c": "test",
    }
    prepare("coronary_dominance", str(root), str(tmp_path / "d.json"))
    datalist = read_datalist(tmp_path / "d.json")
    assert "Study03_c" in [c["study_id"] for c in datalist["test"]] and len(_all(tmp_path / "d.json")) == 3
