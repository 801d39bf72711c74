"""Inference on every kind of input gives the promised files on the input's own grid."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from pathlib import Path

import monai.bundle
import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.bundle import ConfigParser
from PIL import Image

import medvlm
from medvlm.__main__ import main
from medvlm.bundle.curriculum import evaluate
from medvlm.bundle.prediction import predict
from medvlm.data.datalists import SECTIONS, load_datalist, save_datalist
from medvlm.engines.inputs import modality_of
from medvlm.engines.prediction import PredictionReport
from medvlm.metrics.operating_point import threshold_for

MAPS = ("labels", "probabilities", "cam", "uncertainty_mc", "uncertainty_tta")
FAST = {"mc_samples": 2, "progress": False}
BARE = {"mc_samples": 0, "tta": False, "cam": False, "overlay": False, "progress": False}
COARSE = {"volume_size": [64, 64, 32], "spacing_mm": [4.0, 4.0, 4.0]}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    yield
    assert not list((tmp_path / "elsewhere").iterdir()), "inference left something in the working directory"


def itk_grid(image: sitk.Image) -> tuple[tuple, np.ndarray]:
    """Shape and affine (RAS) of an ITK image, whose own coordinates are LPS."""
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return image.GetSize(), np.diag([-1, -1, 1, 1]) @ affine


def nifti_grid(file: Path) -> tuple[tuple, np.ndarray]:
    image = nibabel.load(file)
    return image.shape[:3], image.affine


def write_dicom(image: sitk.Image, folder: Path) -> None:
    """An axial MR series, one file a slice."""
    folder.mkdir()
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    image = sitk.Cast(image, sitk.sitkInt16)
    direction = image.GetDirection()
    orientation = "\\".join(str(direction[index]) for index in (0, 3, 6, 1, 4, 7))
    for index in range(image.GetDepth()):
        one = image[:, :, index]
        tags = {
            "0008|0060": "MR", "0008|0016": "1.2.840.10008.5.1.4.1.1.4", "0008|103e": "FLAIR",
            "0020|000d": "1.2.826.0.1.1", "0020|000e": "1.2.826.0.1.2", "0008|0018": f"1.2.826.0.1.2.{index + 1}",
            "0020|0013": str(index + 1), "0020|0037": orientation,
            "0020|0032": "\\".join(map(str, image.TransformIndexToPhysicalPoint((0, 0, index)))),
        }  # fmt: skip
        for tag, value in tags.items():
            one.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{index:03d}.dcm"))
        writer.Execute(one)


@pytest.fixture(scope="module")
def kinds(phantoms, tmp_path_factory) -> dict[str, tuple[Path, tuple, np.ndarray]]:
    """For each kind of input: what the user points at, and the grid that the results must have."""
    folder = tmp_path_factory.mktemp("Eingaben mit Umläuten")
    case = sorted(path for path in (phantoms / "brats2021").iterdir() if path.is_dir())[0]
    flair = case / f"{case.name}_flair.nii.gz"
    image = sitk.ReadImage(str(flair))
    found = {"modalities": (case, *nifti_grid(flair)), "nifti": (flair, *nifti_grid(flair))}
    four = sorted((phantoms / "msd" / "imagesTr").glob("*.nii.gz"))[0]
    assert len(nibabel.load(four).shape) == 4
    found["four_d"] = (four, *nifti_grid(four))
    for kind, ending in (("nrrd", "nrrd"), ("metaimage", "mha")):
        file = folder / f"scan flair.{ending}"
        sitk.WriteImage(image, str(file))
        found[kind] = (file, *itk_grid(sitk.ReadImage(str(file))))
    write_dicom(image, folder / "series")
    found["dicom"] = (folder / "series", *itk_grid(image))
    return found


def checked_case(folder: Path, manifest: dict, shape: tuple, affine: np.ndarray) -> None:
    """Every promised file is there, on the grid, and agrees with the manifest."""
    assert set(manifest["files"]) == {*(f"{name}.nii.gz" for name in MAPS), "overlay.png"}
    assert {path.name for path in folder.iterdir()} == {*manifest["files"], "manifest.json"}
    for name in MAPS:
        image = nibabel.load(folder / f"{name}.nii.gz")
        assert image.shape == tuple(shape) and image.get_data_dtype() == np.uint8
        np.testing.assert_allclose(image.affine, affine, atol=1e-3)
    labels = np.asarray(nibabel.load(folder / "labels.nii.gz").dataobj)
    probabilities = nibabel.load(folder / "probabilities.nii.gz").get_fdata()
    assert set(np.unique(labels)) <= {0, 1}
    assert 0 <= probabilities.min() and probabilities.max() <= 1
    assert np.array_equal(labels[np.abs(probabilities - 0.5) > 1 / 255] > 0, (probabilities > 0.5)[
        np.abs(probabilities - 0.5) > 1 / 255
    ])  # fmt: skip
    millilitres = (labels > 0).sum() * abs(np.linalg.det(affine[:3, :3])) / 1000
    assert manifest["volumes_ml"]["WT"] == pytest.approx(millilitres, rel=1e-4, abs=1e-3)
    assert manifest["voxels"]["WT"] == (labels > 0).sum()
    assert manifest["grid"]["shape"] == list(shape) and 0 <= manifest["tumour_probability"] <= 1
    assert manifest["verdict"] == (
        "positive" if manifest["tumour_probability"] >= manifest["threshold"] else "negative"
    )
    assert all(0 <= value <= 1 for value in manifest["cam_energy"].values() if value is not None)
    assert min(Image.open(folder / "overlay.png").size) > 100


@pytest.mark.parametrize("kind", ["modalities", "nifti", "four_d", "nrrd", "metaimage", "dicom"])
def test_a_volume_of_any_kind_is_put_back_on_its_grid(trained, kinds, tmp_path, kind):
    source, shape, affine = kinds[kind]
    report = predict(str(trained), str(source), str(tmp_path / "out"), **FAST)
    assert report.status == 0, str(report)
    ((name, manifest),) = report.done.items()
    checked_case(tmp_path / "out" / name, manifest, shape, affine)
    point = json.loads((trained / "models" / "operating_point.json").read_text(encoding="utf-8"))
    assert manifest["calibrated"] and manifest["threshold"] == threshold_for(point, "volume")
    weights = hashlib.sha256((trained / "models" / "model.pt").read_bytes()).hexdigest()
    assert manifest["checkpoint"] == {"file": "model.pt", "sha256": weights}
    for entry in manifest["inputs"]:
        if Path(entry["file"]).is_file():
            assert entry["sha256"] == hashlib.sha256(Path(entry["file"]).read_bytes()).hexdigest()


def test_formats_of_one_image_give_one_answer(trained, kinds, tmp_path):
    answers = {}
    for kind in ("nifti", "nrrd", "metaimage", "modalities", "dicom"):
        report = predict(str(trained), str(kinds[kind][0]), str(tmp_path / kind), **BARE)
        ((name, manifest),) = report.done.items()
        labels = np.asarray(nibabel.load(tmp_path / kind / name / "labels.nii.gz").dataobj)
        answers[kind] = (manifest["tumour_probability"], labels)
    first = answers.pop("nifti")
    for kind, (probability, labels) in answers.items():
        assert probability == pytest.approx(first[0], abs=2e-3), kind
        assert (labels != first[1]).mean() < 2e-3, kind


def test_a_picture_gets_a_mask_of_its_own_size(trained, phantoms, tmp_path):
    file = next((phantoms / "kaggle_yes_no").rglob("*.png"))
    width, height = Image.open(file).size
    report = predict(str(trained), str(file), str(tmp_path / "out"), **FAST)
    ((name, manifest),) = report.done.items()
    folder = tmp_path / "out" / name
    assert Image.open(folder / "labels.png").size == (width, height)
    assert nibabel.load(folder / "probabilities.nii.gz").shape == (width, height, 1)
    assert manifest["volumes_ml"] is None, "a picture has no millimetres"
    labels = np.asarray(nibabel.load(folder / "labels.nii.gz").dataobj)[..., 0]
    assert np.array_equal(np.asarray(Image.open(folder / "labels.png")).T > 0, labels > 0)


@pytest.mark.parametrize("form", ["nifti", "dicom"])
def test_one_slice_is_judged_as_a_picture_in_whatever_file_and_by_whomever(trained, kinds, tmp_path, form):
    volume = sitk.ReadImage(str(kinds["nifti"][0]))
    middle = volume.GetDepth() // 2
    one = volume[:, :, middle : middle + 1]
    if form == "dicom":
        write_dicom(one, tmp_path / "series")
        (file,) = (tmp_path / "series").iterdir()
    else:
        file = tmp_path / "one_slice_flair.nii.gz"
        sitk.WriteImage(one, str(file))
    (tmp_path / "point.json").write_text(
        json.dumps({"threshold": 0.5, "kinds": {"picture": {"threshold": 0.01}, "volume": {"threshold": 0.99}}})
    )
    given = {**BARE, "operating_point": str(tmp_path / "point.json")}
    (told,) = predict(str(trained), str(file), str(tmp_path / "out"), **given).done.values()
    loaded = medvlm.load(trained, device="cpu", overrides=given)(file)["result"]
    for answer in (told, loaded):
        assert (answer["threshold"], answer["verdict"]) == (0.01, "positive")
    assert loaded["tumour_probability"] == pytest.approx(told["tumour_probability"], abs=1e-5)
    cases = [{"case_id": "c", "patient_id": "p", "image": str(file), "tumour": 1, "source": "brats2021"}]
    save_datalist({"name": "one", "test": cases}, tmp_path / "datalist.json")
    quick = {"bootstrap_repeats": 20, "progress": False, "operating_point": given["operating_point"]}
    evaluate(str(trained), str(tmp_path), output_dir=str(tmp_path / "eval"), **quick)
    with (tmp_path / "eval" / "cases.csv").open(newline="", encoding="utf-8") as stream:
        assert [row["kind"] for row in csv.DictReader(stream)] == ["picture"]


def test_a_datalist_is_done_section_by_section(trained, phantoms, tmp_path):
    cases = load_datalist(phantoms / "datalist.json", "test")[:3]
    save_datalist({"name": "few", "test": cases}, tmp_path / "few.json")
    report = predict(str(trained), str(tmp_path / "few.json"), str(tmp_path / "out"), **BARE)
    assert list(report.done) == [case["case_id"] for case in cases]
    with (tmp_path / "out" / "summary.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["case_id"] for row in rows] == list(report.done) and {row["status"] for row in rows} == {"done"}
    for row in rows:
        assert float(row["tumour_probability"]) == pytest.approx(report.done[row["case_id"]]["tumour_probability"])


@pytest.fixture
def hospital(kinds, tmp_path) -> Path:
    """A folder of cases: a good one, one cut off in the middle, one that is text, one without FLAIR."""
    root = tmp_path / "Klinik Süd"
    shutil.copytree(kinds["modalities"][0], root / "good")
    shutil.copytree(kinds["modalities"][0], root / "cut")
    file = next((root / "cut").glob("*_flair.nii.gz"))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    (root / "text").mkdir()
    (root / "text" / "x_flair.nii.gz").write_text("not an image", encoding="utf-8")
    (root / "other").mkdir()
    shutil.copy(next((root / "good").glob("*_t1.nii.gz")), root / "other" / "x_t1.nii.gz")
    return root


def test_the_command_goes_past_bad_cases_lists_them_and_resumes(trained, hospital, tmp_path, capsys):
    out = tmp_path / "out"
    command = ["predict", str(trained), "--input", str(hospital), "--output", str(out), "--mc_samples", "0"]
    command += ["--tta", "False", "--progress", "False"]
    assert main(command) == 1
    failed = {row["case_id"]: row for row in json.loads((out / "failed.json").read_text(encoding="utf-8"))}
    assert set(failed) == {"cut", "text", "other"}
    assert "_flair.nii.gz" in failed["cut"]["message"] and "x_flair.nii.gz" in failed["text"]["message"]
    assert "FLAIR" in failed["other"]["message"]
    assert "3 failed" in capsys.readouterr().out
    assert sorted(path.name for path in out.iterdir()) == ["failed.json", "good", "summary.csv"]

    stamp = (out / "good" / "labels.nii.gz").stat().st_mtime_ns
    for name in ("text", "other"):
        shutil.rmtree(hospital / name)
    good = next((hospital / "good").glob("*_flair.nii.gz"))
    shutil.copy(good, next((hospital / "cut").glob("*_flair.nii.gz")))
    assert main(command) == 0
    assert (out / "good" / "labels.nii.gz").stat().st_mtime_ns == stamp
    assert (out / "cut" / "labels.nii.gz").is_file()
    assert json.loads((out / "failed.json").read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("harm", [lambda file: file.write_text("not an image"), Path.unlink], ids=["broken", "missing"])
def test_a_file_that_the_network_does_not_use_does_not_matter(trained, phantoms, kinds, tmp_path, harm):
    """Predicted from a folder and from a datalist, as a case of its own, and prepared for an evaluation."""
    source = tmp_path / "case"
    shutil.copytree(kinds["modalities"][0], source)
    whole = predict(str(trained), str(source), str(tmp_path / "whole"), **BARE).done["case"]
    case = next(case for case in load_datalist(phantoms / "datalist.json", SECTIONS) if case["source"] == "brats2021")
    case["image"] = sorted(map(str, source.glob("*.nii.gz")))
    case["image"] = [file for file in case["image"] if "seg" not in file]
    case["channels"] = [modality_of(Path(file).name)[0] for file in case["image"]]
    save_datalist({"name": "one", "test": [case]}, tmp_path / "one.json")
    harmed = next(source.glob("*_t2.nii.gz"))
    harm(harmed)
    kept = predict(str(trained), str(source), str(tmp_path / "whole"), **BARE)
    assert kept.kept == ["case"], "what is not read decides nothing"
    listed = predict(str(trained), str(tmp_path / "one.json"), str(tmp_path / "listed"), **BARE)
    (manifest,) = listed.done.values()
    assert manifest["tumour_probability"] == whole["tumour_probability"] and manifest["channels"] == ["FLAIR"]
    assert len(manifest["inputs"]) == 1 and str(harmed) in manifest["inputs_not_read"]
    bundle = medvlm.load(trained, device="cpu", overrides={"mc_samples": 0, "tta": False, "cam": False})
    assert bundle(case)["result"]["tumour_probability"] == pytest.approx(whole["tumour_probability"], abs=1e-5)
    parser = ConfigParser()
    parser.read_config([str(trained / "configs" / f"{name}.json") for name in ("train", "evaluate")])
    for part in ("validate::preprocessing", "train::preprocessing"):
        assert parser.get_parsed_content(part)(case)["image"].shape[0] == 1


def test_other_settings_or_another_input_are_not_taken_for_done(trained, kinds, tmp_path):
    file = tmp_path / "scan_flair.nii.gz"
    shutil.copy(kinds["nifti"][0], file)

    def again(**settings) -> PredictionReport:
        return predict(str(trained), str(file), str(tmp_path / "out"), **{**BARE, **settings})

    again()
    assert again().kept == ["scan_flair"]
    assert again(mask_threshold=0.4).kept == []
    image = nibabel.load(file)
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj) * 2, image.affine), file)
    assert again(mask_threshold=0.4).kept == []


def test_the_same_input_twice_gives_the_same_bytes(trained, kinds, tmp_path):
    manifests = []
    for name in ("one", "two"):
        report = predict(str(trained), str(kinds["modalities"][0]), str(tmp_path / name), **FAST)
        manifests += [{**manifest, "created": "", "seconds": 0} for manifest in report.done.values()]
    assert manifests[0] == manifests[1]
    for file in (*(f"{name}.nii.gz" for name in MAPS), "overlay.png"):
        one, two = (next((tmp_path / name).rglob(file)).read_bytes() for name in ("one", "two"))
        assert one == two, file


@pytest.mark.parametrize("configs", [("inference",), ("inference", "inference_3d")], ids=["2d", "3d"])
def test_the_stock_run_of_monai_infers(trained, kinds, tmp_path, configs):
    settings = dict(BARE)
    if "inference_3d" in configs:
        settings |= {**COARSE, "checkpoint": str(random_3d(trained, tmp_path))}
    files = [str(trained / "configs" / f"{name}.json") for name in configs]
    source = kinds["modalities"][0]
    monai.bundle.run(config_file=files, dataset_dir=str(source), output_dir=str(tmp_path / "out"), **settings)
    assert (tmp_path / "out" / source.name / "labels.nii.gz").is_file()


def random_3d(bundle: Path, folder: Path) -> Path:
    """Weights of the 3D network as they are before training."""
    torch.manual_seed(0)
    parser = ConfigParser()
    parser.read_config([str(bundle / "configs" / f"{name}.json") for name in ("inference", "inference_3d")])
    torch.save(parser.get_parsed_content("network_def").state_dict(), folder / "random_3d.pt")
    return folder / "random_3d.pt"


@pytest.mark.parametrize("missing", [None, "t1ce"])
def test_the_3d_overlay_takes_four_channels_and_does_without_one(trained, kinds, tmp_path, missing):
    _, shape, affine = kinds["modalities"]
    source = tmp_path / "case"
    shutil.copytree(kinds["modalities"][0], source)
    if missing:
        next(source.glob(f"*_{missing}.nii.gz")).unlink()
    report = predict(
        str(trained), str(source), str(tmp_path / "out"), overlays="inference_3d",
        checkpoint=str(random_3d(trained, tmp_path)), **COARSE, **FAST,
    )  # fmt: skip
    assert report.status == 0, str(report)
    manifest = report.done["case"]
    assert list(manifest["volumes_ml"]) == ["TC", "WT", "ET"] and not manifest["calibrated"]
    folder = tmp_path / "out" / "case"
    probabilities = nibabel.load(folder / "probabilities.nii.gz")
    assert probabilities.shape == (*shape, 3)
    np.testing.assert_allclose(probabilities.affine, affine, atol=1e-3)
    labels = np.asarray(nibabel.load(folder / "labels.nii.gz").dataobj)
    assert labels.shape == tuple(shape) and set(np.unique(labels)) <= {0, 1, 2, 4}
    assert len(manifest["inputs"]) == (3 if missing else 4)


def test_weights_of_an_earlier_stage_do_not_borrow_the_threshold(trained, kinds, tmp_path):
    report = predict(
        str(trained), str(kinds["nifti"][0]), str(tmp_path / "out"),
        checkpoint=str(trained / "models" / "stage_2.pt"), **BARE,
    )  # fmt: skip
    (manifest,) = report.done.values()
    assert manifest["threshold"] == 0.5 and not manifest["calibrated"]
    assert manifest["checkpoint"]["file"] == "stage_2.pt" and "not calibrated" in manifest["summary"]


@pytest.mark.parametrize(("none_below", "shown"), [(0.0, True), (1.0, False)])
def test_below_the_limit_the_summary_says_that_none_was_found(trained, kinds, tmp_path, none_below, shown):
    report = predict(
        str(trained), str(kinds["nifti"][0]), str(tmp_path / "out"), **{**BARE, "overlay": True}, none_below=none_below
    )
    (manifest,) = report.done.values()
    assert manifest["shown"] is shown
    assert ("no tumour found" in manifest["summary"].lower()) is not shown


def test_a_slice_pooling_that_does_not_exist_is_refused_before_the_first_case(trained, kinds, tmp_path):
    with pytest.raises(ValueError, match="pooling"):
        predict(str(trained), str(kinds["nifti"][0]), str(tmp_path / "out"), pooling="middle", **BARE)
    assert not list((tmp_path / "out").glob("*/*"))


def whole_head(file: Path) -> np.ndarray:
    """Write a head of 2 x 2 x 3 mm with noise in the air; returns where its brain lies."""
    axes = [(np.arange(n) - n / 2) * step for n, step in zip((90, 104, 52), (2, 2, 3), strict=True)]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    radius = np.sqrt((x / 66) ** 2 + (y / 82) ** 2 + (z / 62) ** 2)
    image = np.select([radius < 1, radius < 1.09, radius < 1.2], [500, 50, 900], 0)
    image = np.abs(image + np.random.default_rng(0).normal(0, 20, image.shape))
    nibabel.save(nibabel.Nifti1Image(image.astype(np.float32), np.diag([2.0, 2.0, 3.0, 1.0])), file)
    return radius < 1


@pytest.mark.parametrize("overlays", ["", "inference_3d"])
def test_of_a_whole_head_the_network_sees_the_brain_and_the_summary_says_so(trained, tmp_path, overlays):
    brain = whole_head(tmp_path / "head_flair.nii.gz")
    settings = {**BARE, "overlays": overlays, "channels": "FLAIR"} | (
        {**COARSE, "checkpoint": str(random_3d(trained, tmp_path))} if overlays else {}
    )

    def done(name, **more):
        report = predict(str(trained), str(tmp_path / "head_flair.nii.gz"), str(tmp_path / name), **settings, **more)
        assert report.status == 0, str(report)
        return next(iter(report.done.values()))

    manifest = done("auto")
    assert manifest["whole_head"] and manifest["extracted_ml"] == pytest.approx(brain.sum() * 0.012, rel=0.1)
    assert "were taken for brain" in manifest["summary"]
    plain = done("never", extract_brain="never")
    assert plain["whole_head"] and plain["extracted_ml"] == 0
    assert "Not brain-extracted" in plain["summary"]
    assert plain["tumour_probability"] != manifest["tumour_probability"]
