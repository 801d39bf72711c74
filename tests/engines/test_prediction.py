from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from pathlib import Path

import monai.bundle
import nibabel
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from PIL import Image

from medvlm.bundle.prediction import predict
from medvlm.engines.prediction import config_file
from medvlm.engines.tolerant import plain_errors
from medvlm.handlers import case_writer
from medvlm.networks.nets import MaskNet, SegClsNet

ROOT = Path(__file__).resolve().parents[2] / "bundles" / "brats_mri_multitask"
SMALL = {
    "network_def::features": [8, 16, 32], "image_size": 32, "mc_samples": 2, "progress": False, "cam_level": -2,
}  # fmt: skip
AFFINE = np.array([[0, -1.0, 0, 50], [1.5, 0, 0, -30], [0, 0, 2.0, -20], [0, 0, 0, 1]])  # neither LPS nor RAS


def brain(shape=(40, 48, 10)) -> np.ndarray:
    """An ellipsoid of noise on zeros."""
    rng = np.random.default_rng(0)
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    return (rng.normal(100, 10, shape) * (sum(axis**2 for axis in axes) < 0.8)).astype(np.int16)


def save(path: Path, array: np.ndarray | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(brain() if array is None else array, AFFINE), path)
    return path


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    """A copy of the bundle with small random weights."""
    root = tmp_path_factory.mktemp("bundles") / ROOT.name
    shutil.copytree(ROOT / "configs", root / "configs")
    (root / "models").mkdir()
    torch.manual_seed(0)
    torch.save(MaskNet(features=(8, 16, 32)).state_dict(), root / "models" / "model.pt")
    return root


def grid(path: Path) -> tuple:
    image = nibabel.load(path)
    return image.shape[:3], image.affine.round(4).tolist()


def test_a_folder_of_cases_is_done_past_the_bad_ones_and_resumed(bundle, tmp_path, monkeypatch):
    source, out = tmp_path / "Fälle und mehr", tmp_path / "out"
    save(source / "one" / "P_flair.nii.gz")
    save(source / "one" / "P_t1.nii.gz")
    save(source / "t1 only" / "Q_t1.nii.gz")
    truncated = save(source / "cut" / "R_flair.nii.gz")
    truncated.write_bytes(truncated.read_bytes()[:2000])
    save(source / "zero" / "S_flair.nii.gz", np.zeros((40, 48, 10), np.int16))
    rgb = np.stack([np.pad(np.random.default_rng(0).integers(90, 250, (40, 30)), 8)] * 3, -1)
    Image.fromarray(rgb.astype(np.uint8)).save(source / "rgb.png")
    monkeypatch.chdir(tmp_path)
    report = predict(str(bundle), str(source), str(out), **SMALL)

    assert set(report.done) == {"one", "rgb"} and report.status == 1 and not report.kept
    messages = {failure.case_id: failure.message for failure in report.failures}
    assert set(messages) == {"t1 only", "cut", "zero"}
    assert "channels ['FLAIR'] are missing" in messages["t1 only"]
    assert str(truncated) in messages["cut"] and "truncated" in messages["cut"]
    assert "S_flair.nii.gz" in messages["zero"] and "all zero" in messages["zero"]
    assert sorted(p.name for p in out.iterdir()) == ["failed.json", "one", "rgb", "summary.csv"]
    assert {row["case_id"] for row in json.loads((out / "failed.json").read_text(encoding="utf-8"))} == set(messages)
    for name in ("labels", "probabilities", "cam", "uncertainty_mc", "uncertainty_tta"):
        assert grid(out / "one" / f"{name}.nii.gz") == grid(source / "one" / "P_flair.nii.gz")
    assert Image.open(out / "rgb" / "labels.png").size == (46, 56)

    save(truncated)
    stamp = (out / "one" / "manifest.json").stat().st_mtime_ns
    again = predict(str(bundle), str(source), str(out), **SMALL)
    assert sorted(again.kept) == ["one", "rgb"] and set(again.done) == {"one", "rgb", "cut"}
    assert (out / "one" / "manifest.json").stat().st_mtime_ns == stamp


def test_the_stock_monai_command_does_the_same_and_its_end_tells(bundle, tmp_path, monkeypatch):
    source = tmp_path / "in"
    save(source / "good_flair.nii.gz")
    monkeypatch.chdir(tmp_path)
    config = str(bundle / "configs" / "inference.json")
    monai.bundle.run(config_file=config, dataset_dir=str(source), output_dir="stock", **SMALL)
    ours = predict(str(bundle), str(source), str(tmp_path / "ours"), **SMALL)
    assert [p.name for p in (tmp_path / "stock").iterdir() if p.is_dir()] == ["good_flair"] or ours.done
    for name in ("labels", "probabilities", "cam", "uncertainty_mc", "uncertainty_tta"):
        pair = [next((tmp_path / run).rglob(f"{name}.nii.gz")).read_bytes() for run in ("stock", "ours")]
        assert pair[0] == pair[1]
    (source / "good_flair.nii.gz").write_bytes(b"")
    with pytest.raises(RuntimeError) as error, plain_errors():
        monai.bundle.run(config_file=config, dataset_dir=str(source), output_dir="stock", **SMALL)
    assert "1 of 1 cases failed" in str(error.value) and "empty" in str(error.value)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_back_ends_give_the_same_case(bundle, tmp_path, backend):
    pytest.importorskip(backend)
    save(tmp_path / "in" / "flair.nii.gz")
    fast = {**SMALL, "mc_samples": 0, "tta": False}
    ours = [
        predict(str(bundle), str(tmp_path / "in"), str(tmp_path / name), backend=name, **fast).done["in"]
        for name in ("torch", backend)
    ]
    assert ours[0]["tumour_probability"] == pytest.approx(ours[1]["tumour_probability"], abs=1e-3)
    assert ours[1]["settings"]["backend"] == backend
    a, b = (nibabel.load(tmp_path / n / "in" / "probabilities.nii.gz").get_fdata() for n in ("torch", backend))
    assert np.abs(a - b).max() < 1.5 / 255


def test_orientation_of_the_file_does_not_change_the_answer(bundle, tmp_path):
    array = brain()
    save(tmp_path / "a" / "flair.nii.gz", array)
    turned = nibabel.load(tmp_path / "a" / "flair.nii.gz")
    turned = turned.as_reoriented(nibabel.orientations.axcodes2ornt("SLP"))
    (tmp_path / "b").mkdir()
    nibabel.save(turned, tmp_path / "b" / "flair.nii.gz")
    fast = {**SMALL, "mc_samples": 0, "tta": False, "cam": False}
    for name in ("a", "b"):
        predict(str(bundle), str(tmp_path / name), str(tmp_path / "out"), **fast)
    a, b = (nibabel.load(tmp_path / "out" / name / "probabilities.nii.gz") for name in ("a", "b"))
    back = nibabel.orientations.io_orientation(a.affine)
    turn = nibabel.orientations.ornt_transform(nibabel.orientations.io_orientation(b.affine), back)
    np.testing.assert_allclose(nibabel.orientations.apply_orientation(b.get_fdata(), turn), a.get_fdata(), atol=2 / 255)


def test_results_inside_the_input_are_not_predicted_again(bundle, tmp_path):
    save(tmp_path / "scan_flair.nii.gz")
    fast = {**SMALL, "mc_samples": 0, "tta": False, "cam": False}
    for out in ("results", "results", "more"):
        report = predict(str(bundle), str(tmp_path), str(tmp_path / out), **fast)
        assert set(report.done) == {tmp_path.name} and not report.failures


def test_results_of_another_patient_are_not_replaced(bundle, tmp_path):
    first, other = save(tmp_path / "A" / "scan_flair.nii.gz"), save(tmp_path / "B" / "scan_flair.nii.gz", brain() * 2)
    out, fast = tmp_path / "out", {**SMALL, "mc_samples": 0, "tta": False, "cam": False}
    predict(str(bundle), str(first), str(out), **fast)
    before = (out / "scan_flair" / "manifest.json").read_bytes()
    for resume in (True, False):
        report = predict(str(bundle), str(other), str(out), resume=resume, **fast)
        (failure,) = report.failures
        assert all(words in failure.message for words in (str(first), str(other), "choose another --output"))
        assert (out / "scan_flair" / "manifest.json").read_bytes() == before and report.status == 1
    again = predict(str(bundle), str(first), str(out), **fast, mask_threshold=0.4)
    assert set(again.done) == {"scan_flair"} and not again.kept, "other settings replace"
    copied = Path(shutil.copytree(tmp_path / "A", tmp_path / "C")) / first.name
    assert predict(str(bundle), str(copied), str(out), **fast, mask_threshold=0.4).kept == ["scan_flair"]


def test_an_output_that_is_the_input_loses_nothing(bundle, tmp_path):
    scans = [save(tmp_path / name / f"{name}_flair.nii.gz") for name in ("one", "two")]
    before = [scan.read_bytes() for scan in scans]
    report = predict(
        str(bundle), str(tmp_path), str(tmp_path), **{**SMALL, "mc_samples": 0, "tta": False, "cam": False}
    )
    assert len(report.failures) == 2
    assert all("holds other files, which would be lost" in failure.message for failure in report.failures)
    assert [scan.read_bytes() for scan in scans] == before


def test_a_sagittal_series_is_cautioned_about_in_2d_alone(bundle, tmp_path):
    image = nibabel.Nifti1Image(brain((10, 48, 40)), np.diag([6.0, 1, 1, 1]))
    nibabel.save(image, tmp_path / "sag_flair.nii.gz")
    fast = {**SMALL, "mc_samples": 0, "tta": False, "cam": False, "overlay": False}
    (manifest,) = predict(str(bundle), str(tmp_path / "sag_flair.nii.gz"), str(tmp_path / "out"), **fast).done.values()
    assert "6 mm left to right and 1 mm front to back" in manifest["caution"]
    assert manifest["caution"] in manifest["summary"]
    assert ConfigParser.load_config_file(bundle / "configs" / "inference_3d.json")["writer::square_pixels"] is False


def test_a_full_disk_in_one_case_leaves_the_others_done(bundle, tmp_path, monkeypatch):
    for name in ("a", "b", "c"):
        save(tmp_path / "in" / name / "flair.nii.gz")
    real = case_writer.save_overlay

    def full(path, *args, title="", **kwargs):
        if title == "b":
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, *args, title=title, **kwargs)

    monkeypatch.setattr(case_writer, "save_overlay", full)
    fast = {**SMALL, "mc_samples": 0, "tta": False, "cam": False}
    report = predict(str(bundle), str(tmp_path / "in"), str(tmp_path / "out"), **fast)
    assert set(report.done) == {"a", "c"} and "free the disk" in report.failures[0].message
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a", "c", "failed.json", "summary.csv"]


def test_an_output_that_cannot_be_written_is_refused_before_anything_is_built(bundle, tmp_path, monkeypatch):
    save(tmp_path / "in" / "flair.nii.gz")
    monkeypatch.setattr(tempfile, "NamedTemporaryFile", _refuse)
    with pytest.raises(OSError, match="no permission.*choose another --output"):
        predict(str(bundle), str(tmp_path / "in"), str(tmp_path / "out"))


def _refuse(*args, **kwargs):
    raise OSError(errno.EACCES, os.strerror(errno.EACCES))


def test_missing_weights_misfits_and_misspelt_keys_are_said_in_one_line(bundle, tmp_path):
    source = str(save(tmp_path / "in" / "flair.nii.gz").parent)
    with pytest.raises(FileNotFoundError, match="no checkpoint at .*none.pt"):
        predict(str(bundle), source, str(tmp_path / "out"), checkpoint=str(tmp_path / "none.pt"), **SMALL)
    with pytest.raises(ValueError, match="does not fit"):
        predict(str(bundle), source, str(tmp_path / "out"), **{**SMALL, "network_def::features": [8, 16]})
    with pytest.raises(ValueError, match="mc_sample.*[Dd]id you mean.*mc_samples"):
        predict(str(bundle), source, str(tmp_path / "out"), mc_sample=3)
    with pytest.raises(ValueError, match="there is no 'network_deff'; did you mean 'network_def'"):
        predict(str(bundle), source, str(tmp_path / "out"), **{"network_deff::dropout": 0.2})
    with pytest.raises(FileNotFoundError, match="no config 'inference_4d'.*inference"):
        config_file(bundle, "inference_4d")


def test_a_package_without_write_permission_is_no_hindrance(bundle, tmp_path, monkeypatch):
    """Nothing is written beside the configs or the weights."""
    before = sorted(str(path) for path in bundle.rglob("*"))
    save(tmp_path / "in" / "flair.nii.gz")
    predict(str(bundle), str(tmp_path / "in"), str(tmp_path / "out"), backend="torch", **SMALL)
    assert sorted(str(path) for path in bundle.rglob("*")) == before


def test_the_network_is_that_of_training():
    train, inference = (ConfigParser.load_config_file(ROOT / "configs" / f"{n}.json") for n in ("train", "inference"))
    mine, theirs = dict(inference["network_def"]), dict(train["network_def"])
    assert mine.pop("_target_").endswith(MaskNet.__name__) and theirs.pop("_target_").endswith(SegClsNet.__name__)
    assert mine == theirs
    assert {key: inference[key] for key in ("channels", "regions", "image_size")} == {
        key: train[key] for key in ("channels", "regions", "image_size")
    }


def test_preprocessing_is_that_of_validation():
    train, inference = (ConfigParser.load_config_file(ROOT / "configs" / f"{n}.json") for n in ("train", "inference"))
    not_the_image = {"monai.transforms.CopyItemsd", "transforms.LabelsToRegionsd", "transforms.PickCased"}
    mine, theirs = (
        [t for t in steps if isinstance(t, dict) and t["_target_"] not in not_the_image]
        for steps in (inference["preprocessing"]["transforms"], train["validate"]["preprocessing"]["transforms"])
    )
    assert [t["_target_"] for t in mine] == [t["_target_"] for t in theirs]
    for one, other in zip(mine[1:], theirs[1:], strict=True):  # the first loads the label too
        assert {k: v for k, v in one.items() if k != "labels"} == {k: v for k, v in other.items() if k != "labels"}


@pytest.mark.parametrize("overlay", [(), ("inference_3d",)], ids=["2d", "3d"])
def test_a_workflow_loads_without_weights_from_any_folder_and_has_its_properties(tmp_path, monkeypatch, overlay):
    monkeypatch.chdir(tmp_path)
    files = [str(ROOT / "configs" / f"{name}.json") for name in ("inference", *overlay)]
    workflow = monai.bundle.ConfigWorkflow(config_file=files, workflow_type="inference", logging_file=False)
    workflow.initialize()
    assert workflow.check_properties() == []
    assert isinstance(workflow.network_def, MaskNet) and Path(workflow.bundle_root) == ROOT


def test_four_channels_in_3d_go_through_one_crop(bundle, tmp_path):
    for name in ("flair", "t1", "t2"):  # T1c is missing: the network was trained to do without
        save(tmp_path / "in" / f"P_{name}.nii.gz")
    torch.manual_seed(0)
    torch.save(MaskNet(3, 4, 3, features=(8, 16, 32), stem_stride=1).state_dict(), bundle / "models" / "model_3d.pt")
    small = {key: value for key, value in SMALL.items() if key != "image_size"}
    report = predict(
        str(bundle), str(tmp_path / "in"), str(tmp_path / "out"), overlays="inference_3d", volume_size=[48, 64, 16],
        **small,
    )  # fmt: skip
    (manifest,) = report.done.values()
    assert set(manifest["volumes_ml"]) == {"TC", "WT", "ET"}
    assert manifest["settings"]["pooling"] == "one forward pass over the brain's crop"
    probabilities = nibabel.load(tmp_path / "out" / "in" / "probabilities.nii.gz")
    assert probabilities.shape == (40, 48, 10, 3)
    assert grid(tmp_path / "out" / "in" / "labels.nii.gz") == grid(tmp_path / "in" / "P_t1.nii.gz")
