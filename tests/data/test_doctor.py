"""What the doctor finds, and that one finding hides no other."""

from __future__ import annotations

import gzip
import json
import shutil

import nibabel
import numpy as np
import pytest
from PIL import Image

from medvlm.data.case_checks import check_case
from medvlm.data.conventions import CONVENTIONS
from medvlm.data.datalists import save_datalist
from medvlm.data.doctor import doctor, examine
from medvlm.data.mask_plausibility import doubts_about_mask
from medvlm.data.prepare import prepare


@pytest.fixture
def case(make):
    """A sound case: two channels and a mask."""
    folder = make.root / "p1"
    files = [str(make.volume(folder / f"{n}.nii.gz", channels=0)) for n in ("flair", "t1")]
    label = make.mask(folder / "seg.nii.gz")
    return {
        "image": files,
        "channels": ["FLAIR", "T1"],
        "label": str(label),
        "convention": "brats2017_2021",
        "regions": CONVENTIONS["brats2017_2021"].regions_as_lists(),
        "tumour": 1,
        "patient_id": "p1",
        "case_id": "c1",
        "source": "s",
    }


def _errors(case):
    return [(p.file, p.problem, p.remedy) for p in check_case(case) if p.severity == "error"]


def _only_error(case, file=None) -> str:
    """The problem of the only error, which names the file and has a remedy."""
    errors = _errors(case)
    assert len(errors) == 1, errors
    assert errors[0][0] == str(file or case["image"][1]) and errors[0][2]
    return errors[0][1]


def test_a_sound_case_has_no_errors(case):
    assert _errors(case) == []


def _truncate(path):
    data = open(path, "rb").read()
    open(path, "wb").write(data[: len(data) * 2 // 3])


def _empty(path):
    open(path, "wb").close()


def _text(path):
    open(path, "w", encoding="utf-8").write("<html>404</html>")


def _lfs(path):
    open(path, "w", encoding="utf-8").write("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")


def _plain(path):
    data = gzip.decompress(open(path, "rb").read())
    open(path, "wb").write(data)


def _garbage(path):
    open(path, "wb").write(gzip.compress(b"\0" * 1000))


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (_truncate, "end early"),
        (_empty, "empty (0 bytes)"),
        (_text, "named .nii.gz but holds text"),
        (_lfs, "git-lfs pointer"),
        (_plain, "named .nii.gz but is not compressed"),
        (_garbage, "cannot be read"),
    ],
)
def test_damaged_files_are_told_apart(case, damage, problem):
    damage(case["image"][1])
    assert problem in _only_error(case)


def test_a_missing_file(case):
    case["image"][1] = case["image"][1].replace("t1", "t9")
    assert "no such file" in _only_error(case)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda a: np.where(a > 100, np.nan, a), "voxels are NaN or infinite"),
        (lambda a: np.where(a > 110, np.inf, a), "voxels are NaN or infinite"),
        (lambda a: a * 0, "constant: every voxel is 0"),
        (lambda a: a * 0 + 7, "constant: every voxel is 7"),
        (lambda a: np.stack([a, a], -1), "4-D image (shape (20, 18, 16, 2)) where one channel is expected"),
        (lambda a: a[:-1], "its shape (19, 18, 16) differs from (20, 18, 16) of flair.nii.gz"),
    ],
    ids=["nan", "inf", "zero", "constant", "4-D", "shape"],
)
def test_wrong_voxels(case, make, change, problem):
    data = nibabel.load(case["image"][1]).get_fdata()
    make.nifti(make.root / "p1" / "t1.nii.gz", change(data).astype(np.float32))
    assert problem in _only_error(case)


@pytest.mark.parametrize(
    ("affine", "problem"),
    [
        (np.diag([1, 1, 1.2, 1]), "spacing 1 x 1 x 1.2 mm differs from 1 x 1 x 1 mm"),
        (np.diag([-1, 1, 1, 1]), "affine differs from the one of flair.nii.gz"),
        (np.array([[1, 0, 0, 3.5], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]), "up to 3.5 mm apart"),
    ],
    ids=["spacing", "flip", "shift"],
)
def test_grids_that_disagree(case, make, affine, problem):
    make.volume(make.root / "p1" / "t1.nii.gz", affine=affine)
    assert problem in _only_error(case)


def test_a_header_rounding_is_no_disagreement(case, make):
    make.volume(make.root / "p1" / "t1.nii.gz", affine=np.eye(4) + 1e-5)
    assert _errors(case) == []


def test_a_mask_on_another_grid(case, make):
    make.mask(make.root / "p1" / "seg.nii.gz", shape=(20, 18, 15))
    assert "its shape (20, 18, 15) differs" in _only_error(case, case["label"])


def test_foreign_values_in_a_mask(case, make):
    make.mask(make.root / "p1" / "seg.nii.gz", (1, 2, 3))
    assert "[3] are foreign to the convention brats2017_2021" in _only_error(case, case["label"])


def test_an_image_in_the_place_of_a_mask_is_told_in_a_few_values(case, make):
    picture = np.arange(20 * 18 * 16, dtype=np.int16).reshape(20, 18, 16)
    make.nifti(make.root / "p1" / "seg.nii.gz", picture)
    problem = next(what for file, what, _ in _errors(case) if file == case["label"] and "foreign" in what)
    assert "[3, 5, 6, 7, 8, 9, 10, 11] and 5748 more are foreign" in problem


def test_a_mask_of_probabilities(case, make):
    make.nifti(make.root / "p1" / "seg.nii.gz", np.random.default_rng(0).random((20, 18, 16)).astype(np.float32))
    assert "no whole numbers" in _only_error(case, case["label"])


@pytest.mark.parametrize(("values", "tumour"), [((), 1), ((1, 2, 4), 0)])
def test_a_mask_against_its_class(case, make, values, tumour):
    make.mask(make.root / "p1" / "seg.nii.gz", values)
    case["tumour"] = tumour
    assert f"but the case is of class {tumour}" in _only_error(case, case["label"])


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"convention": None}, "does not say what the mask's values mean"),
        ({"regions": {"WT": [1, 2, 3]}}, "are not those of the convention"),
        ({"regions": None}, "but not the regions that follow from it"),
        ({"channels": ["FLAIR"]}, "2 files but 1 channel names"),
        ({"channels": None}, "does not name its channels"),
        ({"tumour": 2}, "tumour is 2"),
        ({"image_id": "x"}, "breaks MONAI's Spacingd"),
        ({"empty_mask": True, "tumour": 0}, "empty_mask beside a mask"),
        ({"image": [], "label": None}, "names no image"),
    ],
    ids=["convention", "regions", "no regions", "channels", "unnamed", "class", "key", "empty", "no image"],
)
def test_what_the_case_says_of_itself(case, change, problem):
    assert any(problem in what for _, what, _ in _errors(case | change))


def test_the_same_file_for_two_channels(case):
    case["image"][1] = case["image"][0]
    assert any("stands for two channels" in what for _, what, _ in _errors(case))


def test_a_four_channel_file_must_have_as_many_names(case, make):
    file = make.volume(make.root / "p1" / "all.nii.gz", channels=4)
    case |= {"image": str(file), "channels": ["FLAIR", "T1", "T1c", "T2"]}
    assert _errors(case) == []
    case["channels"] = ["FLAIR"]
    assert "holds 4 channels" in _only_error(case, file)


def test_one_bad_file_never_hides_another(case, make):
    _truncate(case["image"][0])
    _empty(case["image"][1])
    make.mask(make.root / "p1" / "seg.nii.gz", (9,))
    assert {file for file, _, _ in _errors(case)} == {*case["image"], case["label"]}


def _picture_case(path):
    return {"image": str(path), "channels": ["MRI"], "case_id": "x", "patient_id": "x", "tumour": 0}


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "I;16"])
def test_pictures_of_every_usual_kind_are_sound(make, tmp_path, mode):
    path = make.picture(tmp_path / "a.png", mode="L" if mode == "I;16" else mode)
    if mode == "I;16":
        Image.fromarray(np.asarray(Image.open(path)).astype(np.uint16) * 200).save(path)
    assert check_case(_picture_case(path)) == []


def test_cmyk_transparency_and_colour_are_warned_of(make, tmp_path):
    make.picture(tmp_path / "cmyk.jpg", mode="CMYK")
    clear = Image.open(make.picture(tmp_path / "a.png", mode="RGBA"))
    clear.putalpha(100)
    clear.save(tmp_path / "clear.png")
    bands = [Image.open(make.picture(tmp_path / f"{i}.png")) for i in range(3)]
    Image.merge("RGB", bands).save(tmp_path / "colour.png")
    for name, word in (("cmyk.jpg", "CMYK"), ("clear.png", "transparent"), ("colour.png", "coloured")):
        rows = check_case(_picture_case(tmp_path / name))
        assert [p.severity for p in rows] == ["warning"] and word in rows[0].problem


@pytest.mark.parametrize(
    ("size", "severity", "word"), [((1, 1), "error", "only 1 x 1"), ((5000, 20), "warning", "huge")]
)
def test_tiny_and_huge_pictures(make, tmp_path, size, severity, word):
    rows = check_case(_picture_case(make.picture(tmp_path / "a.png", size=size)))
    assert any(p.severity == severity and word in p.problem for p in rows)


def _turned(path, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    Image.open(path).save(path, exif=exif)
    return path


@pytest.mark.parametrize(
    ("image", "mask", "warned"),
    [(6, None, True), (3, 1, True), (1, 6, True), (1, None, False), (None, None, False), (6, 6, False)],
)
def test_a_picture_that_is_turned_when_read_and_not_its_mask_is_warned_of(make, tmp_path, image, mask, warned):
    picture = make.picture(tmp_path / "a.jpg", size=(64, 64))
    label = tmp_path / "mask.png"
    Image.fromarray(np.pad(np.ones((20, 30), np.uint8), ((5, 39), (7, 27)))).save(label)
    for file, orientation in ((picture, image), (label, mask)):
        if orientation:
            _turned(file, orientation)
    case = _picture_case(picture) | {"label": str(label), "tumour": 1, "convention": "binary_wt"}
    case["regions"] = CONVENTIONS["binary_wt"].regions_as_lists()
    rows = [row for row in check_case(case) if "EXIF" in row.problem]
    assert [(row.file, row.severity) for row in rows] == ([(str(picture), "warning")] if warned else [])
    assert all("save it upright" in row.remedy for row in rows)
    assert not [row for row in check_case(_picture_case(picture)) if "EXIF" in row.problem], "without a mask"


def test_a_truncated_picture_and_one_that_is_none(make, tmp_path):
    cut = make.picture(tmp_path / "cut.jpg", size=(300, 300), coarse=100)
    _truncate(cut)
    (tmp_path / "text.png").write_text("hello", encoding="utf-8")
    for name in ("cut.jpg", "text.png"):
        rows = check_case(_picture_case(tmp_path / name))
        assert [p.severity for p in rows] == ["error"] and "cannot be read" in rows[0].problem


def test_an_ending_that_is_not_known(tmp_path):
    (tmp_path / "a.gif").write_bytes(b"GIF89a")
    assert "ending '.gif' is not known" in check_case(_picture_case(tmp_path / "a.gif"))[0].problem


def _head(shape=(40, 40, 20)):
    """A FLAIR image on an empty background with a bright ball, and the ball's mask: core inside, oedema around."""
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
    brain = (grid**2).sum(0) < 0.8
    away = np.sqrt(((grid - np.array([0.3, 0.2, 0]).reshape(3, 1, 1, 1)) ** 2).sum(0))
    mask = np.where(away < 0.2, 1, np.where(away < 0.4, 2, 0))
    flair = (np.random.default_rng(0).normal(100, 5, shape) + 40 * (mask > 0)) * brain
    return flair, mask


def test_a_mask_in_its_place_raises_no_doubt():
    flair, mask = _head()
    assert doubts_about_mask(mask, {"FLAIR": flair}, "brats2023") == []


def test_a_mask_of_another_case_raises_doubts():
    flair, mask = _head()
    assert "mirrored along its first axis" in doubts_about_mask(mask[::-1], {"FLAIR": flair}, "brats2023")[0][0]
    flair = np.where(mask[::-1] | mask[:, ::-1] | mask[::-1, ::-1], 40, flair)
    dark = np.where(mask, 70, flair)
    assert "no brighter on FLAIR" in doubts_about_mask(mask, {"FLAIR": dark}, "brats2023")[0][0]
    outside = np.zeros_like(mask)
    outside[:8, :8, :8] = 1
    assert "lies on the empty background" in doubts_about_mask(outside, {"FLAIR": flair}, "brats2023")[0][0]


def test_the_convention_of_msd_for_a_mask_of_brats2023_raises_a_doubt():
    flair, mask = _head()
    ((what, remedy),) = doubts_about_mask(mask, {"FLAIR": flair}, "msd")
    assert what.startswith("labels 1 and 2 look swapped: label 2 (core) lies deeper than label 1 (oedema) in ")
    assert "declare the convention brats2023" in remedy


def _sections(make, tmp_path):
    prepare("kaggle_yes_no", str(make.kaggle({"yes": 6, "no": 6})), str(tmp_path / "d.json"))
    return json.loads((tmp_path / "d.json").read_text(encoding="utf-8"))


def test_a_prepared_list_is_sound_and_the_status_says_so(make, tmp_path, capsys):
    _sections(make, tmp_path)
    assert doctor(str(tmp_path / "d.json")) == 0
    assert "12 cases: 0 errors, 0 warnings" in capsys.readouterr().out


def test_leakage_by_patient(make, tmp_path, capsys):
    datalist = _sections(make, tmp_path)
    datalist["test"][0]["patient_id"] = datalist["training"][0]["patient_id"]
    (tmp_path / "d.json").write_text(json.dumps(datalist), encoding="utf-8")
    assert doctor(str(tmp_path / "d.json"), json=str(tmp_path / "rows.json")) == 1
    (row,) = json.loads((tmp_path / "rows.json").read_text(encoding="utf-8"))
    assert row["severity"] == "error" and "leakage: patient" in row["problem"] and row["remedy"] and row["file"]
    assert "leakage: patient" in capsys.readouterr().out


@pytest.mark.parametrize("resized", [False, True], ids=["same bytes", "near duplicate"])
def test_leakage_by_picture(make, tmp_path, resized):
    datalist = _sections(make, tmp_path)
    source, target = (tmp_path / datalist[s][0]["image"] for s in ("training", "test"))
    if resized:
        Image.open(source).resize((90, 90)).save(target)
    else:
        shutil.copy(source, target)
    save_datalist({}, tmp_path / "unused.json")
    assert doctor(str(tmp_path / "d.json"), json=str(tmp_path / "rows.json")) == 1
    rows = json.loads((tmp_path / "rows.json").read_text(encoding="utf-8"))
    words = "it shows the same as" if resized else "the same bytes as"
    assert any("leakage" in r["problem"] and words in r["problem"] for r in rows)


def test_equal_empty_masks_of_healthy_cases_are_no_leakage(case, make):
    label = make.mask(make.root / "p2" / "seg.nii.gz", ())
    cases = []
    for n in range(2):
        copy = make.root / f"h{n}" / "seg.nii.gz"
        copy.parent.mkdir()
        shutil.copy(label, copy)
        files = [str(make.volume(make.root / f"h{n}" / f"{c}.nii.gz")) for c in ("flair", "t1")]
        names = {"image": files, "label": str(copy), "tumour": 0, "case_id": f"h{n}", "patient_id": f"h{n}"}
        cases.append(case | names)
    assert examine({"training": cases[:1], "test": cases[1:]}) == []


def test_the_same_mask_for_two_patients_is_warned_of(case, make):
    files = [str(make.volume(make.root / "p2" / f"{c}.nii.gz")) for c in ("flair", "t1")]
    other = case | {"image": files, "case_id": "c2", "patient_id": "p2"}
    rows = examine({"training": [case, other]})
    assert any(p.case_id == "c2" and "the same bytes" in p.problem for p in rows)


def test_names_that_stand_twice_or_are_missing(case, make):
    rows = examine({"training": [case, dict(case)], "test": [case | {"patient_id": None, "case_id": "d"}]}, "d.json")
    problems = " | ".join(p.problem for p in rows)
    assert "2 cases have this case_id" in problems and "names no patient" in problems


def test_strict_counts_warnings(make, tmp_path):
    path = make.picture(tmp_path / "a.jpg", mode="CMYK")
    save_datalist({"training": [_picture_case(path)]}, tmp_path / "d.json")
    assert doctor(str(tmp_path / "d.json")) == 0
    assert doctor(str(tmp_path / "d.json"), strict=True) == 1


def test_sections_can_be_chosen_and_read_in_parallel(make, tmp_path, capsys):
    datalist = _sections(make, tmp_path)
    (tmp_path / datalist["test"][0]["image"]).unlink()
    assert doctor(str(tmp_path / "d.json"), sections="training,validation", jobs=2) == 0
    assert doctor(str(tmp_path / "d.json"), sections="test", jobs=2) == 1
    with pytest.raises(ValueError, match="no section 'tset'"):
        doctor(str(tmp_path / "d.json"), sections="tset")


def test_an_empty_list_is_an_error(tmp_path):
    save_datalist({"training": []}, tmp_path / "d.json")
    assert doctor(str(tmp_path / "d.json")) == 1


def test_a_json_that_cannot_be_written_is_said_before_the_checks(make, tmp_path, monkeypatch):
    _sections(make, tmp_path)
    monkeypatch.setattr("medvlm.data.doctor.examine", lambda *given: pytest.fail("the cases were read first"))
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(OSError, match="choose another --json"):
        doctor(str(tmp_path / "d.json"), json=str(tmp_path / "file" / "rows.json"))
    with pytest.raises(OSError, match="--json must name a file"):
        doctor(str(tmp_path / "d.json"), json=str(tmp_path))


def test_the_findings_are_shown_even_where_the_json_fails_in_the_end(make, tmp_path, monkeypatch, capsys):
    _sections(make, tmp_path)

    def full(*given):
        raise OSError("No space left on device")

    monkeypatch.setattr("medvlm.data.doctor.write_text_atomically", full)
    with pytest.raises(OSError, match="No space left"):
        doctor(str(tmp_path / "d.json"), json=str(tmp_path / "rows.json"))
    assert "12 cases: 0 errors" in capsys.readouterr().out
