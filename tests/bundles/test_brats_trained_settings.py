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
from medvlm.trained_settings import settings_file

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


def test_weights_without_stored_settings_are_used_as_before(trained, scan, tmp_path, capsys):
    shutil.copy(trained / "models" / "model.pt", tmp_path / "old.pt")
    options = {**BARE, "checkpoint": str(tmp_path / "old.pt"), "min_component_ml": 4.0}
    (told,) = predict(str(trained), str(scan), str(tmp_path / "out"), **options).done.values()
    assert told["caution"] == "" and told["tumour_probability"] is not None
    assert "other settings" not in capsys.readouterr().out
