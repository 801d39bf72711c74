from __future__ import annotations

import csv
import hashlib
import json
import subprocess
import sys

import imagehash
import nibabel
import numpy as np
import pytest
from PIL import Image

from medvlm.data.phantoms import DEFAULT_SOURCES, SOURCES, picture_masks, write_phantoms

SMALL = {"shape": (32, 32, 12), "cases_per_source": 8, "progress": False}


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    return write_phantoms(tmp_path_factory.mktemp("phantoms"), SOURCES, **SMALL)


@pytest.fixture(scope="module")
def marker(phantoms):
    return json.loads((phantoms["msd"].parent / "phantoms.json").read_text(encoding="utf-8"))["sources"]


def digest(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def read(path):
    return np.asanyarray(nibabel.load(path).dataobj)


def test_the_issue_s_six_layouts_are_the_default():
    assert DEFAULT_SOURCES == ("brats2020", "brats2021", "brats2023", "msd", "kaggle_yes_no", "kaggle_four_class")


def test_same_arguments_give_same_bytes_in_any_order_and_company(tmp_path, phantoms):
    again = write_phantoms(tmp_path, "msd,kaggle_yes_no,brats2023", workers=1, **SMALL)
    for source, folder in again.items():
        assert digest(folder) == digest(phantoms[source]), source


def test_another_seed_gives_other_images(tmp_path, phantoms):
    other = write_phantoms(tmp_path, "brats2021", seed=1, **SMALL)["brats2021"]
    same_names = digest(phantoms["brats2021"]).keys() & digest(other).keys()
    assert same_names
    assert all(digest(phantoms["brats2021"])[name] != digest(other)[name] for name in same_names if "flair" in name)


@pytest.mark.parametrize(
    ("source", "name", "joint", "parts"),
    [
        ("brats2020", "BraTS20_Training_001", "_", {"flair", "t1", "t1ce", "t2", "seg"}),
        ("brats2021", "BraTS2021_00000", "_", {"flair", "t1", "t1ce", "t2", "seg"}),
        ("brats2023", "BraTS-GLI-00000-000", "-", {"t1n", "t1c", "t2w", "t2f", "seg"}),
    ],
)
def test_brats_folders_hold_the_files_of_their_year(phantoms, source, name, joint, parts):
    folder = phantoms[source]
    assert {path.name for path in (folder / name).iterdir()} == {f"{name}{joint}{part}.nii.gz" for part in parts}
    assert sum(path.is_dir() for path in folder.iterdir()) == 8


def test_brats2020_has_its_two_tables(phantoms, marker):
    with (phantoms["brats2020"] / "name_mapping.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["BraTS_2020_subject_ID"] for row in rows] == [f"BraTS20_Training_{n:03d}" for n in range(1, 9)]
    assert {row["Grade"] for row in rows} <= {"HGG", "LGG", "control"}
    healthy = {case["case"] for case in marker["brats2020"]["cases"] if not case["tumour"]}
    assert {row["BraTS_2020_subject_ID"] for row in rows if row["Grade"] == "control"} == healthy
    with (phantoms["brats2020"] / "survival_info.csv").open() as file:
        assert next(csv.reader(file)) == ["Brats20ID", "Age", "Survival_days", "Extent_of_Resection"]


def test_brats2023_has_a_second_time_point_of_the_same_patient(phantoms):
    first, second = (phantoms["brats2023"] / f"BraTS-GLI-00002-{visit:03d}" for visit in (0, 1))
    assert first.is_dir() and second.is_dir()
    seg = [read(folder / f"{folder.name}-seg.nii.gz") for folder in (first, second)]
    assert (seg[0] > 0).any() == (seg[1] > 0).any()
    assert not np.array_equal(read(first / f"{first.name}-t2f.nii.gz"), read(second / f"{second.name}-t2f.nii.gz"))


def test_msd_lists_its_files_channels_and_labels(phantoms):
    root = phantoms["msd"]
    text = json.loads((root / "dataset.json").read_text(encoding="utf-8"))
    assert text["modality"] == {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"}
    assert text["labels"]["1"] == "edema" and text["labels"]["3"] == "enhancing tumour"
    assert text["numTraining"] == len(text["training"]) == 8
    assert text["training"][0] == {
        "image": "./imagesTr/BRATS_001.nii.gz",
        "label": "./labelsTr/BRATS_001.nii.gz",
    }
    for pair in text["training"]:
        assert read(root / pair["image"]).shape == (32, 32, 12, 4)
        assert read(root / pair["label"]).shape == (32, 32, 12)


def test_msd_channels_are_in_the_order_that_it_states(phantoms, marker):
    """Fluid is brightest on T2 and dark on FLAIR; enhancing tumour is brighter on T1gd than on T1w."""
    ratios = []
    for case in marker["msd"]["cases"]:
        image = read(phantoms["msd"] / "imagesTr" / f"{case['case']}.nii.gz").astype(float)
        label = read(phantoms["msd"] / "labelsTr" / f"{case['case']}.nii.gz")
        brain = image[..., 0] > 0
        fluid = brain & (image[..., 3] > np.percentile(image[..., 3][brain], 97)) & (label == 0)
        assert np.median(image[..., 0][fluid]) < np.median(image[..., 0][brain])
        if (label == 3).sum() > 10:
            scored = [image[..., c] / np.median(image[..., c][brain]) for c in (1, 2)]
            ratios.append(np.median(scored[1][label == 3]) / np.median(scored[0][label == 3]))
    assert ratios and min(ratios) > 1.1


@pytest.mark.parametrize(
    ("source", "pattern", "values"),
    [
        ("brats2015_deepmedic", "*/OTMultiClass.nii.gz", {0, 1, 2, 3, 4}),
        ("brats2020", "*/*_seg.nii.gz", {0, 1, 2, 4}),
        ("brats2021", "*/*_seg.nii.gz", {0, 1, 2, 4}),
        ("brats2023", "*/*-seg.nii.gz", {0, 1, 2, 3}),
        ("msd", "labelsTr/*.nii.gz", {0, 1, 2, 3}),
    ],
)
def test_labels_follow_the_convention_and_controls_are_empty(phantoms, marker, source, pattern, values):
    masks = [read(path) for path in sorted(phantoms[source].glob(pattern))]
    assert len(masks) == 8
    assert {int(value) for mask in masks for value in np.unique(mask)} <= values
    assert max(np.unique(mask).max() for mask in masks) == max(values)
    healthy = sum(1 for mask in masks if not mask.any())
    assert 1 <= healthy <= 7
    assert healthy == sum(1 for case in marker[source]["cases"] if not case["tumour"])


def test_msd_and_brats_write_oedema_and_core_the_other_way_round():
    from medvlm.data.phantoms.layouts import BRATS2017_2021, MSD, label_values
    from medvlm.data.phantoms.tumours import ENHANCING, NECROSIS, OEDEMA, SOLID

    ours = np.array([0, NECROSIS, SOLID, OEDEMA, ENHANCING])
    assert label_values(ours, BRATS2017_2021).tolist() == [0, 1, 1, 2, 4]
    assert label_values(ours, MSD).tolist() == [0, 2, 2, 1, 3]


def test_headers_are_those_of_brats(phantoms):
    image = nibabel.load(phantoms["brats2021"] / "BraTS2021_00000" / "BraTS2021_00000_t1ce.nii.gz")
    assert image.get_data_dtype() == np.int16
    assert nibabel.aff2axcodes(image.affine) == ("L", "P", "S")
    assert image.affine[1, 3] == pytest.approx(31 * 6.25)
    assert image.header.get_zooms() == pytest.approx((6.25, 6.25, 148 / 12))
    assert int(image.header["sform_code"]) == int(image.header["qform_code"]) == 1
    seg = nibabel.load(phantoms["brats2021"] / "BraTS2021_00000" / "BraTS2021_00000_seg.nii.gz")
    assert seg.get_data_dtype() == np.uint8 and np.allclose(seg.affine, image.affine)


def test_msd_arrays_lie_the_other_way_round(phantoms):
    image = nibabel.load(phantoms["msd"] / "imagesTr" / "BRATS_001.nii.gz")
    assert nibabel.aff2axcodes(image.affine) == ("R", "A", "S")
    assert image.header.get_zooms()[:3] == pytest.approx((6.25, 6.25, 148 / 12))


def test_background_is_zero_and_the_four_modalities_share_the_brain(phantoms):
    for folder in sorted(path for path in phantoms["brats2023"].iterdir() if path.is_dir()):
        brains = [read(path) > 0 for path in sorted(folder.glob("*-t??.nii.gz"))]
        assert len(brains) == 4 and all(np.array_equal(brains[0], brain) for brain in brains)
        assert 0.1 < brains[0].mean() < 0.5
        assert not brains[0][0].any() and not brains[0][:, 0].any()
        assert all(read(path).min() == 0 for path in folder.glob("*-t??.nii.gz"))


def test_deepmedic_volumes_are_scored_inside_the_brain_and_negative_outside(phantoms):
    folder = phantoms["brats2015_deepmedic"] / "brats_2013_pat0001_1"
    names = {"Flair_subtrMeanDivStd.nii.gz", "T1c_subtrMeanDivStd.nii.gz", "brainmask.nii.gz", "OTMultiClass.nii.gz"}
    assert {path.name for path in folder.iterdir()} == names
    brain = read(folder / "brainmask.nii.gz") > 0
    flair = read(folder / "Flair_subtrMeanDivStd.nii.gz")
    assert flair[brain].mean() == pytest.approx(0, abs=1e-3) and flair[brain].std() == pytest.approx(1, abs=1e-3)
    assert np.unique(flair[~brain]).size == 1 and flair[~brain][0] < -1


def test_the_masks_that_kaggle_pictures_lack_can_be_drawn_again(tmp_path):
    root = write_phantoms(tmp_path, "kaggle_yes_no", cases_per_source=28, progress=False)["kaggle_yes_no"]
    entry = json.loads((tmp_path / "phantoms.json").read_text(encoding="utf-8"))["sources"]["kaggle_yes_no"]
    names = [case["case"] for case in entry["cases"]]
    masks = picture_masks(tmp_path, "kaggle_yes_no", names)
    assert set(names) - set(masks) == {copy for _, copy in entry["near_duplicates"]}
    for name, mask in masks.items():
        with Image.open(root / name) as picture:
            grey = np.asarray(picture.convert("L"), dtype=float)
        assert mask.shape == grey.shape and mask.any() == name.startswith("yes/")
        if mask.any():
            assert (grey[mask] > 20).mean() > 0.5, f"{name}: the mask lies beside the head"
    with pytest.raises(ValueError, match="has no .*yes/Y999"):
        picture_masks(tmp_path, "kaggle_yes_no", ["yes/Y999.jpg"])
    with pytest.raises(ValueError, match="must hold phantoms of a Kaggle source"):
        picture_masks(tmp_path, "msd", [])


def test_kaggle_pictures_have_many_shapes_and_both_classes(phantoms):
    files = [path for path in phantoms["kaggle_yes_no"].rglob("*") if path.is_file()]
    assert {path.parent.name for path in files} == {"yes", "no"} and len(files) == 8
    images = [Image.open(path) for path in files]
    assert {image.mode for image in images} == {"L", "RGB"}
    assert len({image.size for image in images}) >= 4
    assert all(110 <= max(image.size) <= 530 for image in images)


def test_near_duplicates_are_listed_and_look_alike(tmp_path):
    root = write_phantoms(tmp_path, "kaggle_yes_no", cases_per_source=28, progress=False)["kaggle_yes_no"]
    pairs = json.loads((tmp_path / "phantoms.json").read_text(encoding="utf-8"))["sources"]["kaggle_yes_no"][
        "near_duplicates"
    ]
    assert len(pairs) >= 3
    hashes = {path: imagehash.phash(Image.open(path)) for path in root.rglob("*") if path.is_file()}
    listed = [hashes[root / a] - hashes[root / b] for a, b in pairs]
    assert max(listed) <= 10
    assert any((root / a).read_bytes() != (root / b).read_bytes() for a, b in pairs)
    unrelated = [hashes[a] - hashes[b] for a in hashes for b in hashes if a < b]
    assert np.median(unrelated) > max(listed)


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        ("plain", {"glioma", "meningioma", "notumor", "pituitary"}),
        ("long", {"glioma_tumor", "meningioma_tumor", "no_tumor", "pituitary_tumor"}),
    ],
)
def test_four_class_folders_are_spelt_as_asked(tmp_path, names, classes):
    root = write_phantoms(tmp_path, "kaggle_four_class", 20, four_class_names=names, progress=False)
    for part in ("Training", "Testing"):
        assert {path.name for path in (root["kaggle_four_class"] / part).iterdir()} == classes


def test_slices_come_with_mask_and_metadata(phantoms):
    root = phantoms["brats_slices"]
    sample = root / "yes_tumor" / "sample_000"
    mask = np.asarray(Image.open(sample / "mask.png"))
    assert Image.open(sample / "image.png").size == (256, 256)
    assert set(np.unique(mask)) == {0, 255}
    facts = json.loads((sample / "metadata.json").read_text(encoding="utf-8"))
    assert facts["has_tumor"] and facts["tumor_pixels"] == (mask > 0).sum()
    healthy = root / "no_tumor" / "sample_000"
    assert {path.name for path in healthy.iterdir()} == {"image.png", "metadata.json"}


def test_second_call_changes_nothing(tmp_path):
    write_phantoms(tmp_path, "brats_slices", **SMALL)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert write_phantoms(tmp_path, "brats_slices", **SMALL) == {"brats_slices": tmp_path / "brats_slices"}
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_other_arguments_are_refused_with_the_remedy(tmp_path):
    write_phantoms(tmp_path, "brats_slices", **SMALL)
    with pytest.raises(FileExistsError, match=r"seed: 0 there, 5 asked.*delete .*brats_slices"):
        write_phantoms(tmp_path, "brats_slices", seed=5, **SMALL)


def test_missing_files_are_noticed(tmp_path):
    root = write_phantoms(tmp_path, "brats_slices", **SMALL)["brats_slices"]
    (root / "yes_tumor" / "sample_000" / "mask.png").unlink()
    with pytest.raises(FileExistsError, match="must hold .* files, got .*; delete"):
        write_phantoms(tmp_path, "brats_slices", **SMALL)


def test_a_folder_of_somebody_else_is_left_alone(tmp_path):
    (tmp_path / "msd").mkdir()
    (tmp_path / "msd" / "precious.txt").write_text("real data", encoding="utf-8")
    with pytest.raises(FileExistsError, match="move it away or choose another folder"):
        write_phantoms(tmp_path, "msd", **SMALL)
    assert (tmp_path / "msd" / "precious.txt").read_text(encoding="utf-8") == "real data"


def test_a_half_written_source_is_begun_anew(tmp_path):
    (tmp_path / ".brats_slices.partial").mkdir()
    (tmp_path / ".brats_slices.partial" / "torn.png").write_bytes(b"")
    write_phantoms(tmp_path, "brats_slices", **SMALL)
    assert not list(tmp_path.rglob("torn.png")) and not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"sources": "brats2002"}, "sources must be among .*brats2020"),
        ({"healthy_fraction": 0.0}, "healthy_fraction must lie between 0 and 1"),
        ({"cases_per_source": 2}, "at least 4, got 2"),
        ({"shape": (96, 96)}, "shape must be three numbers"),
        ({"spacing_mm": (1, 0, 1)}, "spacing_mm must be three positive numbers"),
        ({"faint_fraction": 1.5}, "faint_fraction must lie between 0 and 1, got 1.5"),
        ({"noise": -1}, "noise must not be negative"),
        ({"styles": {"msd": "blurred"}}, "must name styles among .*thick"),
        ({"styles": {"msk": "thick"}}, "styles must name sources"),
        ({"four_class_names": "short"}, "four_class_names must be one of"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_impossible_arguments_say_what_is_possible(tmp_path, arguments, words):
    with pytest.raises(ValueError, match=words):
        write_phantoms(tmp_path / "out", **{"progress": False, **arguments})
    assert not (tmp_path / "out").exists()


def test_the_generator_needs_neither_torch_nor_monai():
    code = "import sys, medvlm.data.phantoms as p; print(bool({'torch', 'monai'} & set(sys.modules)), p.write_phantoms)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.startswith("False")
