"""The prediction command on real brains: whatever the weights, the files and grids are right.

The weights are random and small, so nothing here says how good an answer is.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.bundle import ConfigParser
from PIL import Image

from medvlm.bundle.prediction import predict

DATA = Path(os.environ.get("MEDVLM_REAL_DATA", Path(__file__).parents[3] / "shared" / "data"))
pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason=f"the real data is not at {DATA}; set MEDVLM_REAL_DATA to where it is"
)
SOURCE = Path(__file__).parents[2] / "bundles" / "brats_mri_multitask"
TCGA = DATA / "brain3d" / "TCGA-FG-6692"
NRRD = DATA / "brain3d" / "pyradiomics" / "brain1_image.nrrd"
HEALTHY = DATA / "brain3d" / "healthy_torchio-data" / "t2.nii.gz"
FEATURES = [8, 8, 16, 16, 16]
SMALL = {
    "network_def::features": FEATURES, "image_size": 96, "mc_samples": 2, "tta": False, "progress": False,
}  # fmt: skip
MAPS = ("labels", "probabilities", "cam", "uncertainty_mc")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    """The bundle with small random weights, in 2D and in 3D."""
    root = tmp_path_factory.mktemp("bundles") / SOURCE.name
    shutil.copytree(SOURCE / "configs", root / "configs")
    (root / "models").mkdir()
    for names, weights in ((["inference"], "model.pt"), (["inference", "inference_3d"], "model_3d.pt")):
        torch.manual_seed(0)
        parser = ConfigParser()
        parser.read_config([str(root / "configs" / f"{name}.json") for name in names])
        parser["network_def::features"] = FEATURES
        torch.save(parser.get_parsed_content("network_def").state_dict(), root / "models" / weights)
    return root


def affine_of(file: Path) -> tuple[tuple, np.ndarray]:
    """Shape and affine (RAS) of a volume, read without the library."""
    if file.suffix != ".nrrd":
        image = nibabel.load(file)
        return image.shape, image.affine
    image = sitk.ReadImage(str(file))
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return image.GetSize(), np.diag([-1, -1, 1, 1]) @ affine


@pytest.mark.parametrize(
    ("source", "reference", "channels"),
    [(TCGA, TCGA / "TCGA-FG-6692_fla_bet.nii.gz", None), (NRRD, NRRD, None), (HEALTHY, HEALTHY, "FLAIR")],
    ids=["TCGA-FG-6692", "nrrd", "healthy"],
)
def test_a_real_volume_is_put_back_on_its_grid(bundle, tmp_path, source, reference, channels):
    report = predict(str(bundle), str(source), str(tmp_path), channels=channels, **SMALL)
    assert report.status == 0, str(report)
    ((name, manifest),) = report.done.items()
    shape, affine = affine_of(reference)
    for part in MAPS:
        image = nibabel.load(tmp_path / name / f"{part}.nii.gz")
        assert image.shape == tuple(shape) and image.get_data_dtype() == np.uint8
        np.testing.assert_allclose(image.affine, affine, atol=1e-3)
    labels = np.asarray(nibabel.load(tmp_path / name / "labels.nii.gz").dataobj)
    voxel_ml = abs(np.linalg.det(affine[:3, :3])) / 1000
    assert manifest["volumes_ml"]["WT"] == pytest.approx((labels > 0).sum() * voxel_ml, rel=1e-4, abs=1e-3)
    assert not manifest["calibrated"] and 0 <= manifest["tumour_probability"] <= 1
    assert min(Image.open(tmp_path / name / "overlay.png").size) > 100
    assert [entry["file"] for entry in manifest["inputs"]].count(str(reference)) == 1


def test_a_mask_beside_the_modalities_is_no_input(bundle, tmp_path):
    report = predict(str(bundle), str(TCGA), str(tmp_path), **{**SMALL, "mc_samples": 0, "cam": False})
    (manifest,) = report.done.values()
    named = [Path(entry["file"]).name for entry in manifest["inputs"]] + [
        Path(f).name for f in manifest["inputs_not_read"]
    ]
    assert len(manifest["inputs"]) == 1 and "fla" in named[0]
    assert len(named) == 4 and not any("seg" in name for name in named)


def test_a_volume_named_after_another_weighting_is_refused_with_the_remedy(bundle, tmp_path):
    """The healthy volume is called t2; whoever knows that it is FLAIR says so."""
    report = predict(str(bundle), str(HEALTHY), str(tmp_path), **SMALL)
    assert report.status == 1 and not report.done
    assert "FLAIR" in report.failures[0].message and "t2.nii.gz" in str(report.failures[0].files)


def test_the_3d_overlay_runs_a_whole_brain(bundle, tmp_path):
    settings = {key: value for key, value in SMALL.items() if key != "image_size"}
    report = predict(
        str(bundle), str(TCGA), str(tmp_path), overlays="inference_3d", **{**settings, "mc_samples": 0, "cam": False}
    )
    assert report.status == 0, str(report)
    ((name, manifest),) = report.done.items()
    shape, affine = affine_of(TCGA / "TCGA-FG-6692_t1_bet.nii.gz")
    probabilities = nibabel.load(tmp_path / name / "probabilities.nii.gz")
    assert probabilities.shape == (*shape, 3)
    np.testing.assert_allclose(probabilities.affine, affine, atol=1e-3)
    assert list(manifest["volumes_ml"]) == ["TC", "WT", "ET"]


def test_real_pictures_get_masks_of_their_own_size(bundle, tmp_path):
    """Grey and RGB, JPEG and PNG, of many shapes, one of them broken."""
    source = tmp_path / "pictures"
    source.mkdir()
    chosen = sorted((DATA / "brain2d" / "yes_no").rglob("*.[jJpP]*"))[::40]
    chosen += sorted((DATA / "brain2d" / "brats_slices").rglob("image.png"))[:1]
    for number, file in enumerate(chosen):
        shutil.copy(file, source / f"{number:02d}{file.suffix}")
    (source / "broken.png").write_bytes(chosen[0].read_bytes()[:500])
    report = predict(str(bundle), str(source), str(tmp_path / "out"), **{**SMALL, "mc_samples": 0, "cam": False})
    assert [failure.case_id for failure in report.failures] == ["broken"]
    assert len(report.done) == len(chosen) > 5
    for file in source.glob("[0-9]*"):
        assert Image.open(tmp_path / "out" / file.stem / "labels.png").size == Image.open(file).size
        manifest = json.loads((tmp_path / "out" / file.stem / "manifest.json").read_text(encoding="utf-8"))
        assert manifest["volumes_ml"] is None
    with (tmp_path / "out" / "summary.csv").open(newline="", encoding="utf-8") as stream:
        assert {row["case_id"]: row["status"] for row in csv.DictReader(stream)}["broken"] == "failed"
