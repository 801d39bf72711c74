"""A frozen threshold counts only under the settings that it was chosen with, from calibration to the verdict."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from monai.bundle import ConfigParser

import medvlm
from medvlm.bundle.curriculum import evaluate
from medvlm.bundle.prediction import predict
from medvlm.handlers.case_files import sha256_of
from medvlm.metrics.operating_point import threshold_for, warn_once

ROOT = Path(__file__).resolve().parents[2]
BRAIN, CORONARY = "brats_mri_multitask", "coronary_angiography_clip"
BARE = {"mc_samples": 0, "tta": False, "cam": False, "overlay": False, "progress": False}


@pytest.fixture(autouse=True)
def nothing_told_yet():
    warn_once.cache_clear()


def settings_of(bundle: str, *configs: str, **overrides) -> dict:
    """What a list of configs calls decisive for the probability."""
    parser = ConfigParser()
    parser.read_config([str(ROOT / "bundles" / bundle / "configs" / f"{name}.json") for name in configs])
    parser.update(pairs=overrides)
    return parser.get_parsed_content("threshold_settings")


def point_of(bundle: Path) -> dict:
    return json.loads((bundle / "models" / "operating_point.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("bundle", "evaluation", "inference"),
    [
        (BRAIN, ["train", "evaluate", "calibrate"], ["inference"]),
        (BRAIN, ["train", "phantom", "evaluate", "calibrate"], ["inference"]),
        (BRAIN, ["train", "fine_tune", "evaluate", "calibrate"], ["inference"]),
        (BRAIN, ["train", "large", "evaluate", "calibrate"], ["inference", "large"]),
        (BRAIN, ["train", "train_3d", "evaluate", "calibrate"], ["inference", "inference_3d"]),
        (CORONARY, ["train", "train_probe", "evaluate_probe", "calibrate_probe"], ["inference"]),
        (CORONARY, ["train", "train_probe", "evaluate_probe", "calibrate_probe"], ["inference", "inference_probe"]),
        (CORONARY, ["train", "train_probe", "demo_probe", "evaluate_probe"], ["inference", "demo_inference"]),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, list) else value,
)
def test_what_calibration_stores_is_what_inference_uses(bundle, evaluation, inference):
    assert settings_of(bundle, *evaluation) == settings_of(bundle, *inference)


def test_the_demo_predicts_under_the_settings_it_calibrates_with():
    recipe = re.search(r"\(CONFIGS\)/inference\.json.*?\n\n", (ROOT / "Makefile").read_text(encoding="utf-8"), re.S)[0]
    size = int(re.search(r"--image_size (\d+)", recipe)[1])
    assert not re.search(r"--(mirror|pooling|top_k|channels)", recipe)
    demo = settings_of(BRAIN, "train", "demo", "evaluate", "calibrate")
    assert demo == settings_of(BRAIN, "inference", image_size=size)


@pytest.mark.parametrize("name", ["backend", "device", "mc_samples", "tta", "cam", "slices_per_step"])
def test_what_does_not_move_the_probability_is_no_such_setting(name):
    assert name not in settings_of(BRAIN, "inference")


def test_calibration_stores_the_settings(trained):
    rule = "mean of the 3 highest slice probabilities"
    assert point_of(trained)["settings"] == {
        "channels": ["FLAIR"], "image_size": 64, "extract_brain": "auto", "mirror": True, "pooling": rule,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"mirror": False}, "mirror true (here false)"),
        ({"image_size": 32}, "image_size 64 (here 32)"),
        ({"extract_brain": "never"}, 'extract_brain "auto" (here "never")'),
        ({"pooling": "max"}, 'pooling "mean of the 3 highest slice probabilities" (here "highest slice probability")'),
        ({"top_k": 5}, '(here "mean of the 5 highest slice probabilities")'),
    ],
    ids=["mirror", "image_size", "extract_brain", "pooling", "top_k"],
)
def test_a_verdict_under_other_settings_is_not_calibrated(trained, phantoms, tmp_path, capsys, changed, words):
    scan = next((phantoms / "brats2021").rglob("*_flair.nii.gz"))
    report = predict(str(trained), str(scan), str(tmp_path / "out"), **BARE, **changed)
    (manifest,) = report.done.values()
    assert not manifest["calibrated"] and manifest["threshold"] == 0.5 and "not calibrated" in manifest["summary"]
    assert words in manifest["operating_point"]["from"] and words in capsys.readouterr().out
    assert "not calibrated" in (tmp_path / "out" / "summary.csv").read_text(encoding="utf-8")


def test_another_back_end_keeps_the_threshold(trained, phantoms, tmp_path):
    scan = next((phantoms / "brats2021").rglob("*_flair.nii.gz"))
    report = predict(str(trained), str(scan), str(tmp_path / "out"), backend="onnxruntime", **BARE)
    (manifest,) = report.done.values()
    assert manifest["calibrated"] and manifest["threshold"] == threshold_for(point_of(trained), "volume")


def test_other_weights_bring_the_threshold_that_lies_beside_them(trained, phantoms, tmp_path):
    scan = next((phantoms / "brats2021").rglob("*_flair.nii.gz"))
    weights, own = tmp_path / "fine_tuned.pt", tmp_path / "operating_point_fine_tuned.json"
    shutil.copy(trained / "models" / "stage_3.pt", weights)
    own.write_text(json.dumps({"threshold": 0.37, "checkpoint_sha256": sha256_of(weights)}), encoding="utf-8")
    (told,) = predict(str(trained), str(scan), str(tmp_path / "a"), checkpoint=str(weights), **BARE).done.values()
    assert (told["threshold"], told["calibrated"], told["operating_point"]["from"]) == (0.37, True, own.name)
    quick = {"mc_samples": 0, "tta": False, "cam": False}
    loaded = medvlm.load(trained, device="cpu", overrides={**quick, "checkpoint": str(weights)})
    assert loaded.operating_point["threshold"] == loaded(scan)["result"]["threshold"] == 0.37
    given = tmp_path / "given.json"
    given.write_text(json.dumps({"threshold": 0.61}), encoding="utf-8")
    options = {"checkpoint": str(weights), "operating_point": str(given), **BARE}
    (told,) = predict(str(trained), str(scan), str(tmp_path / "b"), **options).done.values()
    assert (told["threshold"], told["operating_point"]["from"]) == (0.61, "given.json")


@pytest.mark.parametrize("overlays", [["phantom"], ["fine_tune"], ["classification_only"], ["train_3d"]], ids="+".join)
def test_prediction_looks_for_the_threshold_where_calibration_writes_it(overlays):
    def parser(*configs: str) -> ConfigParser:
        parser = ConfigParser()
        parser.read_config([str(ROOT / "bundles" / BRAIN / "configs" / f"{name}.json") for name in configs])
        return parser

    written = parser("train", *overlays, "evaluate", "calibrate")
    prediction = parser("inference", *(["inference_3d"] if overlays == ["train_3d"] else []))
    prediction.update({"checkpoint": written.get_parsed_content("weights")})
    assert prediction.get_parsed_content("operating_point") == written.get_parsed_content("operating_point")


def test_a_bundle_loaded_with_other_settings_has_no_threshold(trained, phantoms, caplog):
    scan = next((phantoms / "brats2021").rglob("*_flair.nii.gz"))
    quick = {"mc_samples": 0, "tta": False, "cam": False}
    same, other = (medvlm.load(trained, device="cpu", overrides={**quick, "mirror": on}) for on in (True, False))
    assert same.operating_point == point_of(trained) and same(scan)["result"]["calibrated"]
    assert "other settings" not in caplog.text
    assert other.operating_point is None and not other(scan)["result"]["calibrated"]
    assert "mirror true (here false)" in caplog.text


def test_an_evaluation_under_other_settings_does_not_use_the_threshold(trained, phantoms, tmp_path, capsys):
    quick = {"bootstrap_repeats": 20, "progress": False}
    evaluate(str(trained), str(phantoms), output_dir=str(tmp_path), mirror=False, **quick)
    point = json.loads((tmp_path / "evaluation.json").read_text(encoding="utf-8"))["operating_point"]
    assert point["threshold"] == 0.5 and not point["frozen"] and "mirror true (here false)" in point["note"]
    assert "mirror true (here false)" in capsys.readouterr().out
    assert "mirror true (here false)" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("changed", [{}, {"frames": 3}, {"fps": 15.0}, {"max_views": 1}, {"subtract": "none"}], ids=str)
def test_the_heads_of_a_study_are_calibrated_under_the_same_settings_alone(
    trained_coronary, cines, tiny_cines, tmp_path, changed
):
    points = json.loads((trained_coronary / "models" / "operating_points.json").read_text(encoding="utf-8"))
    assert points and all(point["settings"]["frames"] == tiny_cines["frames"] for point in points.values())
    study = sorted(path for path in (cines / "coronary" / "dicom").iterdir() if path.is_dir())[0]
    sizes = {name: tiny_cines[name] for name in ("frames", "image_size", "max_views", "max_tokens", "progress")}
    given = {**sizes, **changed, "overlays": "inference_probe", "resamples": 0}
    predict(str(trained_coronary), str(study), str(tmp_path), **given)
    folder = next(path for path in tmp_path.iterdir() if path.is_dir())
    heads, manifest = (json.loads((folder / f"{name}.json").read_text("utf-8")) for name in ("heads", "manifest"))
    for name in points:
        assert heads["heads"][name]["calibrated"] is not bool(changed)
        assert (name in manifest["operating_points"]) is not bool(changed)
        assert set(changed) <= set(re.findall(r"\w+", manifest["operating_points_not_used"].get(name, "")))
    assert all(name in heads["note"] for name in changed)
