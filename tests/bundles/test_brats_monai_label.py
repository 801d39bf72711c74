"""What MONAI Label does with the bundle's files, without MONAI Label: it takes parts of the configs and runs them.

The steps are those of ``BundleInferTask`` and ``BundleTrainTask`` of MONAI Label 0.8.5.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import monai.bundle
import nibabel
import numpy as np
import pytest
import torch
from monai.bundle import ConfigItem, ConfigParser
from monai.data import decollate_batch, partition_dataset

from medvlm.bundle.prediction import predict

NO_EXTRAS = {"mc_samples": 0, "tta": False, "cam": False, "overlay": False, "progress": False}
NOTHING_IS_SMALL = 0.0  # keep every component: the network is hardly trained


@pytest.fixture
def annotated(trained, tmp_path) -> Path:
    """A copy of the trained bundle that a test may train on."""
    copy = tmp_path / "brats_mri_multitask"
    shutil.copytree(trained, copy, ignore=shutil.ignore_patterns("logs", "eval"))
    file = copy / "configs" / "inference.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**config, "min_component_ml": NOTHING_IS_SMALL}), encoding="utf-8")
    return copy


@pytest.fixture
def flair(phantoms) -> list[Path]:
    return sorted((phantoms / "brats2021").rglob("*_flair.nii.gz"))


class InferTask:
    """Reads ``network_def``, ``preprocessing``, ``inferer`` and ``postprocessing`` once, and runs cases one by one."""

    def __init__(self, bundle: Path) -> None:
        self.config = ConfigParser()
        self.config.read_config(str(bundle / "configs" / "inference.json"))
        self.config.config.update({"bundle_root": str(bundle), "use_click": False})
        self.network = self.config.get_parsed_content("network_def")
        weights = torch.load(bundle / "models" / "model.pt", weights_only=True)
        self.network.load_state_dict(weights, strict=True)  # MONAI Label is not strict: keys that miss go unnoticed
        self.network.eval()

    def __call__(self, image: Path | str, **params) -> dict:
        data = {"image": str(image), "image_path": str(image), "device": "cpu", **params}
        self.config.config.update({"device": "cpu"})
        if self.config.ref_resolver.items.get("device"):
            self.config.ref_resolver.items["device"] = ConfigItem(config="cpu", id="device")
        for transform in list(self.config.get_parsed_content("preprocessing").transforms):
            data = transform(data)
        with torch.no_grad():
            out = self.config.get_parsed_content("inferer")(data["image"][None], self.network)
        data["pred"] = decollate_batch(out)[0] if isinstance(out, dict) else out[0]
        for transform in list(self.config.get_parsed_content("postprocessing").transforms):
            data = transform(data)
        return data


def annotations(bundle: Path, images: list[Path], folder: Path) -> list[dict[str, str]]:
    """What its datastore gives: the image, and a label drawn with the values that the bundle's metadata names."""
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))
    values = {name: int(key) for key, name in metadata["network_data_format"]["outputs"]["pred"]["channel_def"].items()}
    cases = []
    (folder / "datastore_v2.json").write_text("{}", encoding="utf-8")
    for image in images:
        truth = nibabel.load(str(image).replace("_flair", "_seg"))
        drawn = np.where(np.asarray(truth.dataobj) > 0, values["whole tumour"], values["background"])
        file = folder / image.name.replace("_flair", "")
        nibabel.save(nibabel.Nifti1Image(drawn.astype(np.uint8), truth.affine), file)
        cases.append({"image": str(image), "label": str(file)})
    return cases


def train_task(bundle: Path, cases: list[dict], epochs: int, val_split: float) -> None:
    """The overrides of a training request."""
    training, validation = (
        partition_dataset(cases, ratios=[1 - val_split, val_split], shuffle=False) if val_split > 0 else (cases, [])
    )
    config = json.loads((bundle / "configs" / "train.json").read_text(encoding="utf-8"))
    loader = {
        "_target_": "CheckpointLoader",
        "load_path": str(bundle / "models" / "model.pt"),
        "load_dict": {"model": "$@network"},
        "strict": False,
    }
    monai.bundle.run(
        run_id="run",
        init_id=None,
        final_id=None,
        meta_file=str(bundle / "configs" / "metadata.json"),
        config_file=str(bundle / "configs" / "train.json"),
        **{
            "bundle_root": str(bundle),
            "train#trainer#max_epochs": epochs,
            "train#dataset#data": training,
            "device": "cpu",
            "train#handlers": [loader, *config["train"]["handlers"]],
            "validate#dataset#data": validation,
        },
    )


def test_labels_are_named_after_the_values_of_the_mask(annotated):
    metadata = json.loads((annotated / "configs" / "metadata.json").read_text(encoding="utf-8"))
    outputs = metadata["network_data_format"]["outputs"]
    assert next(iter(outputs)) == "pred" and next(iter(metadata["network_data_format"]["inputs"])) == "image"
    config = json.loads((annotated / "configs" / "inference.json").read_text(encoding="utf-8"))
    assert outputs["pred"]["channel_def"] == {"0": "background", str(config["label_values"]["WT"]): "whole tumour"}


def test_masks_and_verdicts_are_those_of_predict(annotated, flair, tmp_path):
    task, outlined = InferTask(annotated), 0
    for image in flair[:3]:  # one task does many cases, one after another
        data = task(image)
        options = {**NO_EXTRAS, "min_component_ml": NOTHING_IS_SMALL}
        (told,) = predict(str(annotated), str(image), str(tmp_path / image.name), **options).done.values()
        file = nibabel.load(next((tmp_path / image.name).rglob("labels.nii.gz")))
        assert data["pred"].shape[0] == 1 and data["pred"].shape[1:] == file.shape == nibabel.load(image).shape
        np.testing.assert_array_equal(np.asarray(data["pred"][0]), np.asarray(file.dataobj))
        outlined += int(data["pred"].sum())
        json.dumps(data["result"])  # it becomes the answer's JSON
        np.testing.assert_allclose(data["image"].meta["original_affine"], nibabel.load(image).affine, atol=1e-5)
        for key in ("verdict", "threshold", "calibrated"):
            assert data["result"][key] == told[key]
        assert data["result"]["tumour_probability"] == pytest.approx(told["tumour_probability"], abs=1e-5)
    assert outlined, "a network that outlines nothing tests nothing"


def test_a_broken_or_unknown_image_is_told_and_the_next_one_is_done(annotated, flair, tmp_path):
    task = InferTask(annotated)
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(flair[0].read_bytes()[:500])
    with pytest.raises(Exception, match=r"broken\.nii\.gz"):
        task(broken)
    with pytest.raises(Exception, match="a case must name its file"):
        task("")  # an image that its studies do not hold
    assert task(flair[0])["result"]["verdict"] in ("positive", "negative")


@pytest.mark.parametrize(
    ("count", "val_split"), [(4, 0.5), (2, 0.0), (1, 0.0)], ids=["validated", "not validated", "one label"]
)
def test_annotations_train_the_weights_without_a_datalist(annotated, flair, tmp_path, monkeypatch, count, val_split):
    monkeypatch.chdir(tmp_path)
    file = annotated / "configs" / "train.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    quick = {"epoch_samples": 8, "batch_size": 4, "val_interval": 1, "progress": False, "pictures": 1}
    file.write_text(json.dumps({**config, **quick}), encoding="utf-8")
    before = torch.load(annotated / "models" / "model.pt", weights_only=True)
    train_task(annotated, annotations(annotated, flair[:count], tmp_path), epochs=1, val_split=val_split)
    after = torch.load(annotated / "models" / "model.pt", weights_only=True)
    moved = [float((after[name] - before[name]).abs().max()) for name in before if name.endswith("weight")]
    assert 0 < max(moved) < 0.1, "fine-tuned: changed, and yet near what it started from"


def test_a_running_server_s_verdicts_are_not_calibrated_any_more_once_other_weights_are_in_use(annotated, flair):
    task = InferTask(annotated)
    assert task(flair[0])["result"]["calibrated"]
    assert not task(flair[0], model_filename="stage_1.pt")["result"]["calibrated"]
    assert task(flair[0], model_filename=["model.pt"])["result"]["calibrated"]
    shutil.copy(annotated / "models" / "stage_1.pt", annotated / "models" / "model.pt")  # a training has replaced it
    told = task(flair[0])["result"]
    assert (told["calibrated"], told["threshold"]) == (False, 0.5)
