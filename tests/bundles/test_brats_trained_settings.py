"""What the brain bundle's weights were trained with travels with them, and use under other settings is told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from monai.bundle import ConfigParser

import medvlm
from medvlm.bundle.curriculum import evaluate
from medvlm.bundle.prediction import predict
from medvlm.trained_settings import keep_settings, settings_file

CONFIGS = Path(__file__).resolve().parents[2] / "bundles" / "brats_mri_multitask" / "configs"
STAGES = ("stage_1.pt", "stage_2.pt", "stage_3.pt", "model.pt")
QUICK = {"mc_samples": 0, "tta": False, "cam": False}
BARE = {**QUICK, "overlay": False, "progress": False}


@pytest.fixture
def scan(phantoms) -> Path:
    return next((phantoms / "brats2021").rglob("*_flair.nii.gz"))


def seen_by(*configs: str) -> dict:
    parser = ConfigParser()
    parser.read_config([str(CONFIGS / f"{name}.json") for name in configs])
    return parser.get_parsed_content("seen")


@pytest.mark.parametrize(
    ("training", "inference", "apart"),
    [
        (["train"], ["inference"], set()),
        (["train", "demo"], ["inference"], {"image_size"}),
        (["train", "phantom"], ["inference"], {"min_component_ml"}),
        (["train", "train_3d"], ["inference", "inference_3d"], set()),
        (["train", "train_3d"], ["inference"], {"channels", "regions", "min_component_ml"}),
    ],
    ids=lambda value: "+".join(sorted(value)),
)
def test_training_and_inference_name_the_same_settings(training, inference, apart):
    stored, here = seen_by(*training), seen_by(*inference)
    assert {name for name in stored.keys() & here.keys() if stored[name] != here[name]} == apart
    assert stored.keys() == here.keys() or "train_3d" in training and "inference_3d" not in inference


def test_every_stage_stores_them_beside_its_weights(trained):
    for name in STAGES:
        stored = json.loads(settings_file(trained / "models" / name).read_text(encoding="utf-8"))
        want = {"channels": ["FLAIR"], "regions": ["WT"], "image_size": 64, "min_component_ml": 1.0}
        assert want.items() <= stored.items(), name


def test_prediction_with_other_settings_says_which_and_with_the_same_nothing(trained, scan, tmp_path, capsys):
    (same,) = predict(str(trained), str(scan), str(tmp_path / "out"), **BARE).done.values()
    assert same["caution"] == "" and "other settings" not in capsys.readouterr().out
    changed = {"min_component_ml": 4.0, "image_size": 32}
    (other,) = predict(str(trained), str(scan), str(tmp_path / "out"), **BARE, **changed).done.values()
    for words in (other["caution"], capsys.readouterr().out):
        assert "model.pt was trained with other settings" in words
        assert "min_component_ml 1.0 (here 4.0)" in words and "image_size 64 (here 32)" in words
        assert "--min_component_ml 1.0" in words and "--image_size 64" in words


def test_a_bundle_loaded_with_other_settings_says_so(trained, scan, caplog):
    assert medvlm.load(trained, device="cpu", overrides=QUICK)(scan)["result"]["caution"] == ""
    assert "other settings" not in caplog.text
    told = medvlm.load(trained, device="cpu", overrides={**QUICK, "min_component_ml": 4.0})(scan)["result"]
    assert "min_component_ml 1.0 (here 4.0)" in told["caution"] and told["caution"] in caplog.text


def test_an_evaluation_with_other_settings_says_so(trained, phantoms, tmp_path, capsys):
    quick = {"bootstrap_repeats": 20, "progress": False, "output_dir": str(tmp_path)}
    evaluate(str(trained), str(phantoms), min_component_ml=4.0, **quick)
    told = json.loads((tmp_path / "evaluation.json").read_text(encoding="utf-8"))["caution"]
    assert "min_component_ml 1.0 (here 4.0)" in told and told in capsys.readouterr().out
    assert "min_component_ml 1.0 (here 4.0)" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_curriculum_trains_one_head_after_the_other(trained):
    heads = [json.loads(settings_file(trained / "models" / name).read_text())["trained_heads"] for name in STAGES]
    assert heads == [["mask"], ["mask", "tumour"], ["mask", "tumour"], ["mask", "tumour"]]


@pytest.mark.parametrize("backend", ["torch", "onnxruntime"])
def test_a_class_head_that_was_never_trained_says_nothing(trained, scan, tmp_path, capsys, backend):
    weights = {"checkpoint": str(trained / "models" / "stage_1.pt")}
    options = {**weights, "backend": backend, "progress": False, "mc_samples": 2}
    (told,) = predict(str(trained), str(scan), str(tmp_path / "out"), **options).done.values()
    assert (told["tumour_probability"], told["verdict"]) == (None, "unknown")
    assert "labels.nii.gz" in told["files"] and "cam.nii.gz" not in told["files"] and told["volumes_ml"] is not None
    for words in (told["summary"], told["caution"], capsys.readouterr().out):
        assert "The tumour head of stage_1.pt was never trained" in words
    loaded = medvlm.load(trained, device="cpu", overrides={**QUICK, **weights, "backend": backend})(scan)
    assert loaded["result"]["tumour_probability"] is None and "never trained" in loaded["result"]["caution"]
    assert "pred_tumour" not in loaded and loaded["pred"].shape[0] == 1


def weights_with_heads(trained: Path, folder: Path, heads: list[str]) -> str:
    shutil.copy(trained / "models" / "model.pt", folder / "alone.pt")
    keep_settings(folder / "alone.pt", {"trained_heads": heads})
    return str(folder / "alone.pt")


def test_an_evaluation_does_not_score_a_head_that_was_never_trained(trained, phantoms, tmp_path):
    weights = weights_with_heads(trained, tmp_path, ["mask"])
    quick = {"bootstrap_repeats": 20, "progress": False, "output_dir": str(tmp_path / "eval"), "weights": weights}
    evaluate(str(trained), str(phantoms), **quick)
    told = json.loads((tmp_path / "eval" / "evaluation.json").read_text(encoding="utf-8"))
    assert told["segmentation"]["overall"]["WT"]
    assert told["classification"]["overall"]["note"] == "the class head is off"


def test_a_mask_head_that_was_never_trained_outlines_nothing(trained, scan, tmp_path):
    weights = {"checkpoint": weights_with_heads(trained, tmp_path, ["tumour"])}
    (told,) = predict(str(trained), str(scan), str(tmp_path / "out"), progress=False, **weights).done.values()
    assert (told["volumes_ml"], told["voxels"]) == (None, None) and 0 <= told["tumour_probability"] <= 1
    assert "outlined" not in told["summary"] and "The mask head of alone.pt was never trained" in told["summary"]
    assert not {"labels.nii.gz", "probabilities.nii.gz"} & set(told["files"]) and "cam.nii.gz" in told["files"]
    loaded = medvlm.load(trained, device="cpu", overrides={**QUICK, **weights})(scan)
    assert not {"pred", "pred_mask"} & set(loaded) and "never trained" in loaded["result"]["caution"]
    assert loaded["result"]["tumour_probability"] == pytest.approx(told["tumour_probability"], abs=1e-5)


def test_weights_without_any_trained_head_are_refused(trained, scan, tmp_path):
    weights = {"checkpoint": weights_with_heads(trained, tmp_path, [])}
    with pytest.raises(ValueError, match=r"alone\.pt was trained for none of the heads that are on \(mask, tumour\)"):
        predict(str(trained), str(scan), str(tmp_path / "out"), **BARE, **weights)


def test_weights_without_stored_settings_are_used_as_before(trained, scan, tmp_path, capsys):
    shutil.copy(trained / "models" / "model.pt", tmp_path / "old.pt")
    options = {**BARE, "checkpoint": str(tmp_path / "old.pt"), "min_component_ml": 4.0}
    (told,) = predict(str(trained), str(scan), str(tmp_path / "out"), **options).done.values()
    assert told["caution"] == "" and told["tumour_probability"] is not None
    assert "other settings" not in capsys.readouterr().out
