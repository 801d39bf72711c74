"""Every layout on tiny folders."""

from __future__ import annotations

import json

import numpy as np
import pytest

from medvlm.data.layouts import LAYOUTS, ScanOptions, scan_layout
from medvlm.data.layouts.kaggle_four_class import class_of_folder

FOUR = ["FLAIR", "T1", "T1c", "T2"]


def _names(case):
    return [f.rpartition("/")[2] for f in case["image"]]


@pytest.mark.parametrize(
    ("layout", "name", "patient", "convention"),
    [
        ("brats2020", "BraTS20_Training_001", "BraTS20_Training_001", "brats2017_2021"),
        ("brats2021", "BraTS2021_01146", "BraTS2021_01146", "brats2017_2021"),
        ("brats2023", "BraTS-GLI-00005-001", "BraTS-GLI-00005", "brats2023"),
    ],
)
def test_brats_folders(make, layout, name, patient, convention):
    root = make.brats(layout, [name])
    scan = scan_layout(layout, root)
    (case,) = scan.cases
    assert case["channels"] == FOUR
    assert [f.split(name)[-1][1:].split(".")[0] for f in _names(case)] in (
        ["flair", "t1", "t1ce", "t2"],
        ["t2f", "t1n", "t1c", "t2w"],
    )
    assert (case["patient_id"], case["case_id"], case["source"]) == (patient, name, layout)
    assert case["convention"] == convention and case["regions"]["ET"] == [3 if layout == "brats2023" else 4]
    assert scan.problems == []


def test_nested_folders_and_plain_nii_are_found(make):
    make.brats("brats2020", ["BraTS20_Training_001"], folder="r/BraTS2020_TrainingData/MICCAI", suffix=".nii")
    assert len(scan_layout("brats2020", make.root / "r").cases) == 1


def test_brats2024_reads_the_same_names_with_its_own_convention(make):
    root = make.brats("brats2023", ["BraTS-GLI-02062-100"])
    (case,) = scan_layout("brats2024", root).cases
    assert case["convention"] == "brats2024" and case["patient_id"] == "BraTS-GLI-02062"


def test_the_odd_mask_of_case_355_is_taken_and_said(make):
    name = "BraTS20_Training_355"
    root = make.brats("brats2020", [name])
    (root / name / f"{name}_seg.nii.gz").rename(root / name / "W39_1998.09.19_Segm.nii")
    scan = scan_layout("brats2020", root)
    assert scan.cases[0]["label"].endswith("W39_1998.09.19_Segm.nii")
    assert [p.severity for p in scan.problems] == ["note"] and "W39" in scan.problems[0].file


def test_the_grade_comes_from_the_name_mapping(make):
    root = make.brats("brats2020", ["BraTS20_Training_001"])
    (root / "name_mapping.csv").write_text("Grade,BraTS_2020_subject_ID\nHGG,BraTS20_Training_001\n", encoding="utf-8")
    assert scan_layout("brats2020", root).cases[0]["class_name"] == "HGG"


@pytest.mark.parametrize(("incomplete", "cases"), [("drop", 1), ("keep", 2)])
def test_an_incomplete_case_is_named(make, incomplete, cases):
    root = make.brats("brats2021", ["BraTS2021_00001", "BraTS2021_00002"])
    (root / "BraTS2021_00002" / "BraTS2021_00002_t1ce.nii.gz").unlink()
    scan = scan_layout("brats2021", root, ScanOptions(incomplete=incomplete))
    assert len(scan.cases) == cases
    (row,) = scan.problems
    assert row.severity == "warning" and row.case_id == "BraTS2021_00002" and "lacks T1c" in row.problem
    if incomplete == "keep":
        assert scan.cases[1]["channels"] == ["FLAIR", "T1", "T2"]


def test_a_modality_twice_is_an_error(make):
    root = make.brats("brats2021", ["BraTS2021_00001"])
    make.volume(root / "BraTS2021_00001" / "BraTS2021_00001_t1.nii")
    scan = scan_layout("brats2021", root)
    assert scan.cases == []
    assert "several files for T1" in scan.problems[0].problem


def test_a_case_without_mask_has_neither_label_nor_convention(make):
    root = make.brats("brats2021", ["BraTS2021_00001"])
    (root / "BraTS2021_00001" / "BraTS2021_00001_seg.nii.gz").unlink()
    (case,) = scan_layout("brats2021", root).cases
    assert not {"label", "convention", "regions", "tumour"} & set(case)


def test_a_convention_against_the_layouts_own_is_refused(make):
    root = make.brats("brats2021", ["BraTS2021_00001"])
    with pytest.raises(ValueError, match="brats2021 has the label convention brats2017_2021, got --convention msd"):
        scan_layout("brats2021", root, ScanOptions(convention="msd"))


def test_brats2015_in_deepmedics_form(make):
    folder = make.root / "brats_2013_pat0004_1"
    for name in ("Flair_subtrMeanDivStd", "T1c_subtrMeanDivStd", "brainmask"):
        make.volume(folder / f"{name}.nii.gz")
    make.mask(folder / "OTMultiClass.nii.gz", (1, 2, 3, 4))
    (case,) = scan_layout("brats2015", make.root).cases
    assert case["channels"] == ["FLAIR", "T1c"] and "brainmask" not in str(case["image"])
    assert case["patient_id"] == "brats_2013_pat0004" and case["convention"] == "brats2015"


def test_brats2015_in_the_releases_form(make):
    folder = make.root / "HGG" / "brats_tcia_pat105_0002"
    for part in ("MR_Flair.1", "MR_T1.2", "MR_T1c.3", "MR_T2.4", "OT.5"):
        path = folder / f"VSD.Brain.XX.O.{part}" / f"VSD.Brain.XX.O.{part}.mha"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x")
    (case,) = scan_layout("brats2015", make.root).cases
    assert case["channels"] == FOUR and case["label"].endswith("OT.5.mha")
    assert [n.split("MR_")[1].split(".")[0] for n in _names(case)] == ["Flair", "T1", "T1c", "T2"]
    assert (case["class_name"], case["patient_id"]) == ("HGG", "brats_tcia_pat105")


def test_msd_channels_and_labels_come_from_its_description(make):
    root = make.msd(["BRATS_001", "BRATS_002"], test=["BRATS_485"])
    scan = scan_layout("msd", root)
    assert scan.cases[0]["channels"] == ["FLAIR", "T1", "T1c", "T2"]
    assert scan.cases[0]["image"].endswith("imagesTr/BRATS_001.nii.gz")
    assert scan.cases[0]["convention"] == "msd" and scan.cases[0]["regions"]["TC"] == [2, 3]
    assert "label" not in scan.cases[2]


SWAPPED = {"0": "background", "1": "necrotic core", "2": "edema", "3": "enhancing tumor"}


def test_msd_with_the_labels_of_brats2023_is_refused(make):
    root = make.msd(["BRATS_001"], labels=SWAPPED)
    with pytest.raises(ValueError, match="'2': 'edema'.*convention msd reads.*--convention"):
        scan_layout("msd", root)


def test_msd_takes_the_convention_that_its_description_proves(make):
    root = make.msd(["BRATS_001"], labels=SWAPPED)
    (case,) = scan_layout("msd", root, ScanOptions(convention="brats2023")).cases
    assert case["regions"]["TC"] == [1, 3]


def test_msd_in_the_form_of_nnunet(make):
    root = make.msd(["BRATS_001"], labels={"background": 0, "edema": 1, "non-enhancing tumor": 2, "enhancing tumor": 3})
    assert len(scan_layout("msd", root).cases) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"modality": None}, "names no channels"),
        ({"labels": None}, "does not say what its labels mean"),
        ({"modality": {"0": "ADC"}}, "'ADC' is no channel name"),
    ],
)
def test_msd_without_its_facts_is_refused(make, change, words):
    root = make.msd(["BRATS_001"])
    file = root / "dataset.json"
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | change), encoding="utf-8")
    with pytest.raises(ValueError, match=words):
        scan_layout("msd", root)


def test_msd_names_an_image_that_is_not_there(make):
    root = make.msd(["BRATS_001", "BRATS_002"])
    (root / "imagesTr" / "BRATS_002.nii.gz").unlink()
    scan = scan_layout("msd", root)
    assert len(scan.cases) == 1 and scan.problems[0].file.endswith("BRATS_002.nii.gz")


def test_kaggle_yes_no(make):
    root = make.kaggle({"yes": 2, "no": 1})
    make.picture(root / "no" / "no 0.jpg")  # beside "no 0.png"
    (root / "no" / "notes.txt").write_text("x", encoding="utf-8")
    scan = scan_layout("kaggle_yes_no", root)
    assert [c["tumour"] for c in scan.cases] == [1, 1, 0, 0]
    assert len({c["case_id"] for c in scan.cases}) == 4
    assert all(c["channels"] == ["MRI"] and "patient_id" not in c for c in scan.cases)
    assert [p.severity for p in scan.problems] == ["note"]


def test_the_second_copy_inside_the_archive_is_left_out(make):
    root = make.kaggle({"yes": 2, "no": 1})
    make.kaggle({"yes": 2, "no": 1}, folder="kaggle_yes_no/brain_tumor_dataset")
    scan = scan_layout("kaggle_yes_no", root)
    assert len(scan.cases) == 3
    assert len([p for p in scan.problems if "second folder" in p.problem]) == 2


@pytest.mark.parametrize(
    ("folder", "name"),
    [("glioma", "glioma"), ("glioma_tumor", "glioma"), ("Meningioma Tumour", "meningioma"), ("pituitary", "pituitary"),
     ("notumor", "no_tumour"), ("no_tumor", "no_tumour"), ("No Tumour", "no_tumour"), ("healthy", "no_tumour"),
     ("no", "no_tumour"), ("scans", None), ("tumor", None)],
)  # fmt: skip
def test_spellings_of_the_four_classes(folder, name):
    assert class_of_folder(folder) == name


def test_kaggle_four_class(make):
    root = make.kaggle({"Training/glioma_tumor": 2, "Testing/no_tumor": 1, "Training/other": 1})
    scan = scan_layout("kaggle_four_class", root)
    assert sorted((c["tumour"], c["class_name"]) for c in scan.cases) == [
        (0, "no_tumour"),
        (1, "glioma"),
        (1, "glioma"),
    ]
    assert [p.problem.startswith("1 pictures in a folder whose name is no class") for p in scan.problems] == [True]


def _slice(make, name, tumour, **facts):
    folder = make.root / "slices" / name
    make.picture(folder / "image.png")
    if tumour:
        make.picture(folder / "mask.png")
    facts = {"patient_id": name, "slice_idx": 7, "modality": "flair", "has_tumor": tumour} | facts
    (folder / "metadata.json").write_text(json.dumps(facts), encoding="utf-8")
    return make.root / "slices"


def test_slices_know_patient_and_modality(make):
    root = _slice(make, "P1", True)
    _slice(make, "P2", False)
    one, two = scan_layout("brats_slices", root).cases
    assert (one["patient_id"], one["channels"], one["case_id"]) == ("P1", ["FLAIR"], "P1_FLAIR_slice007")
    assert one["regions"] == {"WT": [1, 255]} and one["tumour"] == 1
    assert "label" not in two and two["tumour"] == 0


def test_slices_whose_metadata_disagree_are_reported(make):
    root = _slice(make, "P1", True, has_tumor=False)
    _slice(make, "P2", False)
    (root / "P2" / "metadata.json").write_text("{}", encoding="utf-8")
    scan = scan_layout("brats_slices", root)
    assert scan.cases == []
    assert [p.severity for p in scan.problems] == ["error", "error"]
    assert "no tumour but there is a mask" in scan.problems[0].problem


def test_a_table_with_one_column_a_channel(make):
    path = make.table([{"flair": "a.nii.gz", "t1ce": "b.nii.gz", "label": "s.nii.gz", "patient_id": "p", "tumor": ""}])
    (case,) = scan_layout("csv", path, ScanOptions(convention="brats2023")).cases
    assert case["channels"] == ["FLAIR", "T1c"] and case["image"][0] == str(make.root / "a.nii.gz")
    assert case["convention"] == "brats2023" and "tumour" not in case


def test_a_table_of_pictures(make):
    path = make.table([{"image": "ä b.png", "tumour": "yes"}, {"image": "c.png", "tumour": "0"}])
    one, two = scan_layout("csv", path).cases
    assert (one["tumour"], two["tumour"], one["channels"]) == (1, 0, ["MRI"])
    assert one["case_id"] == "csv_ä_b"


def test_a_label_without_a_convention_is_refused_with_the_remedy(make):
    path = make.table([{"image": "a.nii.gz", "label": "s.nii.gz", "channels": "FLAIR;T1", "patient_id": "p"}])
    scan = scan_layout("csv", path)
    assert scan.cases == []
    assert "no label convention" in scan.problems[0].problem and "--convention" in scan.problems[0].remedy


def test_a_volume_without_channel_names_is_refused_with_the_remedy(make):
    path = make.table([{"image": "a.nii.gz", "patient_id": "p"}])
    row = scan_layout("csv", path).problems[0]
    assert "cannot be guessed" in row.problem and "--channels" in row.remedy
    (case,) = scan_layout("csv", path, ScanOptions(channels=("t2f",))).cases
    assert case["channels"] == ["FLAIR"]


def test_one_bad_row_does_not_hide_the_others(make):
    rows = [{"image": "a.png", "tumour": "maybe"}, {"image": "", "tumour": "1"}, {"image": "c.png", "tumour": "1"}]
    scan = scan_layout("csv", make.table(rows))
    assert len(scan.cases) == 1
    assert [p.problem.split(":")[0] for p in scan.problems] == ["row 2", "row 3"]


def test_an_unknown_column_is_named_with_what_was_meant(make):
    scan = scan_layout("csv", make.table([{"image": "a.png", "pateint_id": "p"}]))
    assert "'pateint_id' is not known" in scan.problems[0].problem and "patient_id" in scan.problems[0].problem


@pytest.mark.parametrize("rows", [[{"image": "a.png", "flair": "b.png"}], [{"tumour": "1"}]], ids=["both", "neither"])
def test_a_table_needs_one_way_of_naming_images(make, rows):
    with pytest.raises(ValueError, match="either a column image or one column a channel"):
        scan_layout("csv", make.table(rows))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_folder_of_something_else_is_refused(make, layout):
    make.volume(make.root / "x" / "something.nii.gz", shape=(4, 4, 4), dtype=np.uint8)
    with pytest.raises(ValueError, match="expected|CSV"):
        scan_layout(layout, make.root)


def test_unknown_layouts_and_missing_roots_are_refused(tmp_path):
    with pytest.raises(ValueError, match="did you mean 'brats2021'|did you mean .*brats2021"):
        scan_layout("brats21", tmp_path)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        scan_layout("msd", tmp_path / "none")
    with pytest.raises(ValueError, match="incomplete must be"):
        ScanOptions(incomplete="maybe")
