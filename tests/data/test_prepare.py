"""From data sets on disk to datalists."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medvlm.data.datalists import SECTIONS, load_datalist, read_datalist
from medvlm.data.doctor import check_leakage
from medvlm.data.prepare import prepare
from medvlm.data.problems import DatasetError
from medvlm.data.sources import find_sources


def _all(path):
    datalist = read_datalist(path)
    return [case for s in SECTIONS for case in datalist[s]]


def _names(count, pattern="BraTS2021_{:05d}"):
    return [pattern.format(i) for i in range(count)]


def test_a_datalist_says_everything(make, tmp_path, capsys):
    root = make.brats("brats2021", _names(6), labels={"BraTS2021_00000": (), "BraTS2021_00001": (), _names(3)[2]: ()})
    out = tmp_path / "lists" / "d.json"
    assert prepare("brats2021", str(root), str(out)) == [str(out)]
    datalist = read_datalist(out)
    assert (datalist["name"], datalist["layout"], datalist["seed"], datalist["version"]) == ("d", "brats2021", 0, 1)
    assert datalist["conventions"] == {
        "brats2017_2021": {"values": [0, 1, 2, 4], "regions": {"TC": [1, 4], "WT": [1, 2, 4], "ET": [4]}}
    }
    case = next(c for c in _all(out) if c["tumour"] == 1)
    assert case["image"][0].startswith("../data/brats2021/") and case["label"].endswith("_seg.nii.gz")
    assert case["regions"] == {"TC": [1, 4], "WT": [1, 2, 4], "ET": [4]} and case["channels"][2] == "T1c"
    assert sum(c["tumour"] == 0 for c in _all(out)) == 3, "an empty mask is a healthy control"
    assert all(not key.startswith(("image_", "label_")) for c in _all(out) for key in c)
    assert sum(row["cases"] for row in datalist["counts"]) == 6
    assert "brats2021" in capsys.readouterr().out
    assert all(Path(case["label"]).is_file() for case in load_datalist(out, ["training", "test"]))


def test_time_points_of_a_patient_stay_together(make, tmp_path):
    names = [f"BraTS-GLI-{p:05d}-{t:03d}" for p in range(8) for t in range(3)]
    prepare("brats2023", str(make.brats("brats2023", names)), str(tmp_path / "d.json"))
    datalist = read_datalist(tmp_path / "d.json")
    patients = [{c["patient_id"] for c in datalist[s]} for s in ("training", "validation", "test")]
    assert all(patients) and sum(map(len, patients)) == 8


def test_the_same_command_gives_the_same_bytes(make, tmp_path):
    root = make.kaggle({"yes": 9, "no": 8})
    for name in ("a", "b"):
        prepare("kaggle_yes_no", str(root), str(tmp_path / f"{name}.json"), name="k")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_near_duplicates_share_a_patient_and_a_section(make, tmp_path):
    root = make.kaggle({"yes": 10, "no": 10})
    for i in range(4):
        Image.open(root / "no" / "no 3.png").resize((60 + i, 66)).save(root / "no" / f"copy {i}.jpg")
    prepare("kaggle_yes_no", str(root), str(tmp_path / "d.json"))
    copies = [c for c in _all(tmp_path / "d.json") if "copy" in c["image"] or c["image"].endswith("no 3.png")]
    assert len(copies) == 5 and len({c["patient_id"] for c in copies}) == 1
    assert len({c["patient_id"] for c in _all(tmp_path / "d.json")}) == 20


def test_duplicates_are_found_across_sources(make, tmp_path):
    make.kaggle({"yes": 4, "no": 4})
    make.kaggle({"Training/notumor": 4, "Training/glioma": 4}, folder="kaggle_four_class")
    shutil.copy(make.root / "kaggle_yes_no/no/no 0.png", make.root / "kaggle_four_class/Training/notumor/x.png")
    prepare("mixed", str(make.root), str(tmp_path / "d.json"))
    twins = [c for c in _all(tmp_path / "d.json") if c["image"].endswith(("x.png", "/no 0.png"))]
    assert len({c["patient_id"] for c in twins}) == 1 and {c["source"] for c in twins} == {
        "kaggle_yes_no",
        "kaggle_four_class",
    }


def test_a_picture_in_both_classes_is_a_label_conflict(make, tmp_path):
    root = make.kaggle({"yes": 4, "no": 4})
    shutil.copy(root / "yes" / "yes 0.png", root / "no" / "twin.png")
    with pytest.raises(DatasetError, match="label conflict: class 0, but .*yes 0.png") as caught:
        prepare("kaggle_yes_no", str(root), str(tmp_path / "d.json"))
    assert len(caught.value.problems) == 2
    assert not (tmp_path / "d.json").exists()
    prepare("kaggle_yes_no", str(root), str(tmp_path / "d.json"), skip_bad=True)
    assert len(_all(tmp_path / "d.json")) == 7


def test_every_bad_mask_is_named_at_once(make, tmp_path):
    names = _names(5)
    root = make.brats("brats2021", names, labels={names[0]: (1, 2, 3)})
    whole = (root / names[1] / f"{names[1]}_seg.nii.gz").read_bytes()
    (root / names[1] / f"{names[1]}_seg.nii.gz").write_bytes(whole[: len(whole) // 2])
    (root / names[2] / f"{names[2]}_seg.nii.gz").write_bytes(b"")
    make.volume(root / names[3] / f"{names[3]}_seg.nii.gz")
    with pytest.raises(DatasetError, match="4 errors; nothing was written.*--skip_bad") as caught:
        prepare("brats2021", str(root), str(tmp_path / "d.json"))
    rows = {p.case_id: p for p in caught.value.problems}
    assert "[3] are foreign to the convention brats2017_2021" in rows[names[0]].problem
    assert "brats2023" in rows[names[0]].remedy
    assert "end early" in rows[names[1]].problem and "again" in rows[names[1]].remedy
    assert "empty (0 bytes)" in rows[names[2]].problem
    assert "no whole numbers" in rows[names[3]].problem
    assert all(row.file.endswith("_seg.nii.gz") for row in rows.values())
    prepare("brats2021", str(root), str(tmp_path / "d.json"), skip_bad=True)
    assert [c["case_id"] for c in _all(tmp_path / "d.json")] == [names[4]]


def test_verify_reads_the_images_too(make, tmp_path):
    root = make.brats("brats2021", _names(2))
    bad = root / "BraTS2021_00000" / "BraTS2021_00000_t1.nii.gz"
    bad.write_text("not an image", encoding="utf-8")
    prepare("brats2021", str(root), str(tmp_path / "d.json"))
    with pytest.raises(DatasetError, match="BraTS2021_00000_t1.nii.gz.*\n.*named .nii.gz but holds text"):
        prepare("brats2021", str(root), str(tmp_path / "d.json"), verify=True)


def test_cases_that_know_nothing_go_to_inference(make, tmp_path):
    root = make.msd(["BRATS_001", "BRATS_002"], test=["BRATS_485"])
    prepare("msd", str(root), str(tmp_path / "d.json"))
    assert [c["case_id"] for c in read_datalist(tmp_path / "d.json")["inference"]] == ["BRATS_485"]


def test_all_cases_in_one_section(make, tmp_path):
    root = make.kaggle({"yes": 3, "no": 3})
    prepare("kaggle_yes_no", str(root), str(tmp_path / "d.json"), section="inference")
    datalist = read_datalist(tmp_path / "d.json")
    assert [len(datalist[s]) for s in SECTIONS] == [0, 0, 0, 6]
    assert all(c["patient_id"] for c in datalist["inference"])
    with pytest.raises(ValueError, match="section must be one of"):
        prepare("kaggle_yes_no", str(root), str(tmp_path / "d.json"), section="holdout")
    with pytest.raises(ValueError, match="either --section or --folds"):
        prepare("kaggle_yes_no", str(root), str(tmp_path / "d.json"), section="test", folds=3)


def test_folds_are_files_and_test_every_case_once(make, tmp_path):
    root = make.kaggle({"yes": 12, "no": 10})
    written = prepare("kaggle_yes_no", str(root), str(tmp_path / "d.json"), folds=4)
    assert [Path(w).name for w in written] == [f"d_fold{k}.json" for k in range(4)]
    tested = [c["case_id"] for w in written for c in read_datalist(w)["test"]]
    assert len(tested) == len(set(tested)) == 22


def test_healthy_masks_are_given_only_when_asked_for(make, tmp_path):
    root = make.kaggle({"yes": 3, "no": 3})
    prepare("kaggle_yes_no", str(root), str(tmp_path / "a.json"))
    assert not any("empty_mask" in c for c in _all(tmp_path / "a.json"))
    prepare("kaggle_yes_no", str(root), str(tmp_path / "b.json"), healthy_masks=True)
    assert [c["tumour"] for c in _all(tmp_path / "b.json") if c.get("empty_mask")] == [0, 0, 0]


def test_several_layouts_become_one_list(make, tmp_path):
    a = make.brats("brats2021", _names(4))
    b = make.kaggle({"yes": 4, "no": 4})
    prepare("brats2021,kaggle_yes_no", f"{a},{b}", str(tmp_path / "d.json"), source="site_a,web")
    assert {c["source"] for c in _all(tmp_path / "d.json")} == {"site_a", "web"}
    assert read_datalist(tmp_path / "d.json")["layout"] == "brats2021,kaggle_yes_no"


def test_a_class_that_lives_in_one_source_is_warned_of(make, tmp_path, capsys):
    a = make.brats("brats2021", _names(4))
    b = make.kaggle({"yes": 4, "no": 4})
    prepare("brats2021,kaggle_yes_no", f"{a},{b}", str(tmp_path / "d.json"))
    words = "'no tumour' lives in one source only (kaggle_yes_no)"
    assert words in capsys.readouterr().out
    assert any(words in w for w in read_datalist(tmp_path / "d.json")["warnings"])


def test_both_classes_in_both_sources_give_no_warning(make, tmp_path):
    a = make.brats("brats2021", _names(4), labels={"BraTS2021_00000": ()})
    b = make.kaggle({"yes": 4, "no": 4})
    prepare("brats2021,kaggle_yes_no", f"{a},{b}", str(tmp_path / "d.json"))
    assert "warnings" not in read_datalist(tmp_path / "d.json")


def test_releases_that_share_patients_are_warned_of(make, tmp_path, capsys):
    make.brats("brats2021", _names(3))
    make.brats("brats2023", [f"BraTS-GLI-{i:05d}-000" for i in range(3)])
    prepare("mixed", str(make.root), str(tmp_path / "d.json"))
    assert "none of them can be an external test of another" in capsys.readouterr().out


def test_one_patient_under_two_names_is_kept_on_one_side(make, tmp_path, capsys):
    """The same mask in BraTS 2021 (4 = enhancing) and 2023 (3 = enhancing) is one patient."""
    first = make.brats("brats2021", _names(6))
    second = make.brats("brats2023", [f"BraTS-GLI-{i:05d}-000" for i in range(6)])
    mask = np.zeros((20, 18, 16), np.uint8)
    mask[3:15, 3:15, 3:12], mask[5:10, 5:10, 5:10], mask[6:9, 6:8, 6:9] = 2, 1, 4
    make.nifti(first / "BraTS2021_00002" / "BraTS2021_00002_seg.nii.gz", mask)
    make.nifti(second / "BraTS-GLI-00004-000" / "BraTS-GLI-00004-000-seg.nii.gz", np.where(mask == 4, 3, mask))
    for seed in range(4):
        prepare("mixed", str(make.root), str(tmp_path / "d.json"), seed=seed)
        datalist = read_datalist(tmp_path / "d.json")
        homes = [s for s in SECTIONS for c in datalist[s] if c["case_id"] in ("BraTS2021_00002", "BraTS-GLI-00004-000")]
        assert len(homes) == 2 and len(set(homes)) == 1
    assert "its mask has the same volumes as the one of BraTS2021_00002" in capsys.readouterr().out


@pytest.mark.parametrize("copied", [True, False], ids=["copy", "same file"])
def test_one_volume_under_two_patients_is_kept_on_one_side(make, tmp_path, capsys, copied):
    rows = []
    for number in range(12):
        file = make.volume(make.root / f"p{number}.nii.gz")
        make.nifti(file, np.random.default_rng(number).random((8, 7, 6)).astype(np.float32))
        rows.append({"image": file.name, "patient_id": f"P{number}", "tumour": number % 2, "case_id": f"c{number}"})
    rows[10]["image"] = "again.nii.gz" if copied else "p0.nii.gz"
    if copied:
        shutil.copy(make.root / "p0.nii.gz", make.root / "again.nii.gz")
    table = make.table(rows)
    for seed in range(6):
        prepare("csv", str(table), str(tmp_path / "d.json"), channels="FLAIR", seed=seed)
        datalist = read_datalist(tmp_path / "d.json")
        homes = {c["case_id"]: s for s in SECTIONS for c in datalist[s]}
        assert len(homes) == 12 and homes["c0"] == homes["c10"]
        said = " ".join(capsys.readouterr().out.split())
        assert "the same bytes as" in said and "p0.nii.gz of c0" in said and "of c1," not in said
    found = check_leakage({s: load_datalist(tmp_path / "d.json", s) for s in SECTIONS})
    assert [row.severity for row in found] == ["warning"]


def test_merge_keeps_sections(make, tmp_path):
    a, b = make.kaggle({"yes": 5, "no": 5}), make.brats("brats2021", _names(5))
    prepare("kaggle_yes_no", str(a), str(tmp_path / "a.json"))
    prepare("brats2021", str(b), str(tmp_path / "b.json"), section="test")
    prepare("merge", f"{tmp_path / 'a.json'},{tmp_path / 'b.json'}", str(tmp_path / "deep" / "ab.json"))
    merged = read_datalist(tmp_path / "deep" / "ab.json")
    assert len([c for c in merged["test"] if c["source"] == "brats2021"]) == 5
    assert len(_all(tmp_path / "deep" / "ab.json")) == 15
    assert Path(load_datalist(tmp_path / "deep" / "ab.json", "training")[0]["image"]).is_file()


def test_a_label_without_convention_is_refused(make, tmp_path):
    make.volume(make.root / "a.nii.gz")
    make.mask(make.root / "s.nii.gz")
    table = make.table([{"image": "a.nii.gz", "label": "s.nii.gz", "channels": "FLAIR", "patient_id": "p"}])
    with pytest.raises(DatasetError, match="no label convention.*remedy: add a column convention"):
        prepare("csv", str(table), str(tmp_path / "d.json"))
    prepare("csv", str(table), str(tmp_path / "d.json"), convention="brats2017_2021")
    assert _all(tmp_path / "d.json")[0]["convention"] == "brats2017_2021"


def test_names_with_blanks_and_other_letters_survive(make, tmp_path):
    root = make.kaggle({"yes": 3, "no": 3}, folder="Gehirn tümör ☂/kaggle")
    prepare("kaggle_yes_no", str(root), str(tmp_path / "d.json"))
    assert all(Path(c["image"]).is_file() for c in load_datalist(tmp_path / "d.json", ["training", "test"]))
    assert "tümör" in (tmp_path / "d.json").read_text(encoding="utf-8")


def test_case_names_are_unique_over_sources(make, tmp_path):
    a, b = make.msd(["BRATS_001", "BRATS_002"]), make.msd(["BRATS_001", "BRATS_003"], folder="other")
    prepare("msd,msd", f"{a},{b}", str(tmp_path / "d.json"), source="one,two")
    names = [c["case_id"] for c in _all(tmp_path / "d.json")]
    assert sorted(names) == ["BRATS_002", "BRATS_003", "one_BRATS_001", "two_BRATS_001"]


@pytest.mark.parametrize(
    ("layout", "root", "source", "words"),
    [
        ("brats2021,msd", "a", None, "as many roots"),
        ("msd,msd", "a,b", None, "Two data sets are called"),
        ("msd", "a", "x,y", "as many roots"),
        ("mixed", "a", "x", "leave --source out"),
    ],
)
def test_layouts_roots_and_names_must_match(layout, root, source, words):
    with pytest.raises(ValueError, match=words):
        find_sources(layout, root, source)


def test_mixed_finds_folders_by_their_names(tmp_path):
    for name in ("brats2021", "kaggle_yes_no-site2", "notes", "brats2015_deepmedic"):
        (tmp_path / name).mkdir()
    found = find_sources("mixed", str(tmp_path))
    assert [(s.layout, s.name) for s in found] == [
        ("brats2015", "brats2015_deepmedic"),
        ("brats2021", "brats2021"),
        ("kaggle_yes_no", "kaggle_yes_no-site2"),
    ]
    with pytest.raises(ValueError, match="no folder named after a layout.*prepare brats2021,msd"):
        find_sources("mixed", str(tmp_path / "notes"))


def test_a_gzip_of_another_thing_is_said(make, tmp_path):
    root = make.brats("brats2021", _names(1))
    (root / "BraTS2021_00000" / "BraTS2021_00000_seg.nii.gz").write_bytes(gzip.compress(b"hello" * 200))
    with pytest.raises(DatasetError, match="cannot be read"):
        prepare("brats2021", str(root), str(tmp_path / "d.json"))


def test_an_output_that_cannot_be_written_is_said(make, tmp_path):
    root = make.kaggle({"yes": 3, "no": 3})
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(OSError, match="file"):
        prepare("kaggle_yes_no", str(root), str(tmp_path / "file" / "d.json"))
    assert (tmp_path / "file").read_text(encoding="utf-8") == "x"


def test_counts_are_json(make, tmp_path):
    prepare("kaggle_yes_no", str(make.kaggle({"yes": 3, "no": 3})), str(tmp_path / "d.json"))
    rows = json.loads((tmp_path / "d.json").read_text(encoding="utf-8"))["counts"]
    assert set(rows[0]) == {"source", "class", "section", "cases", "patients", "masks"}


@pytest.mark.parametrize(
    ("out", "settings", "message"),
    [
        ("file/d.json", {}, "d.json cannot be written .*choose another --out"),
        ("", {}, "out must name the datalist's file, .* is a folder; give .*datalist.json"),
        ("d.json", {"fractions": (0.5, 0.5, 0.5)}, "three shares that sum to 1"),
    ],
)
def test_what_cannot_end_well_is_said_before_a_mask_is_read(tmp_path, monkeypatch, out, settings, message):
    (tmp_path / "file").touch()
    monkeypatch.setattr("medvlm.data.prepare.collect_cases", lambda *args, **kwargs: pytest.fail("it was read"))
    (tmp_path / "data" / "yes").mkdir(parents=True)
    (tmp_path / "data" / "no").mkdir()
    with pytest.raises((OSError, ValueError), match=message):
        prepare("kaggle_yes_no", str(tmp_path / "data"), str(tmp_path / out), **settings)
