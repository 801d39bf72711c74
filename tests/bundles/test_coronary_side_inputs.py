"""Further inputs of the coronary bundle: learnt, evaluated and predicted with; refused where nobody asks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from medvlm.bundle.curriculum import evaluate, train
from medvlm.bundle.prediction import predict
from medvlm.bundle.search import search

GREEDY = {"mode": "greedy", "max_length": 20}


@pytest.fixture(scope="module")
def lists(cines) -> dict[str, str]:
    """Datalists whose studies have further inputs of one kind or another, and some none."""
    written = {}
    np.save(cines / "ecg.npy", np.linspace(-1, 1, 12, dtype=np.float32))
    for name, sign in (("first", 1.0), ("second", -1.0)):
        content = json.loads((cines / "datalist.json").read_text(encoding="utf-8"))
        for section in ("training", "validation", "test"):
            for number, case in enumerate(content[section]):
                ecg = "ecg.npy" if sign > 0 else [-1.0] * 12
                table = {"age": 65 + 20 * sign, "ldl": None}
                case["side"] = {"ecg": ecg, "tabular": table, "note": "Chest pain." if sign > 0 else None}
                if number == 0 and section == "training":
                    del case["side"]
        path = cines / f"side_{name}.json"
        path.write_text(json.dumps(content), encoding="utf-8")
        written[name] = str(path)
    return written


@pytest.fixture(scope="module")
def bundle(coronary, cines, lists, tiny_cines, tmp_path_factory) -> Path:
    """The bundle after an epoch with side_inputs.json, and its probe too."""
    folder = tmp_path_factory.mktemp("side") / "coronary_angiography_clip"
    shutil.copytree(coronary, folder, ignore=shutil.ignore_patterns("models", "eval", "logs"))
    given = {**tiny_cines, "datalist": lists["first"], "learning_rates::side_inputs": 0.05}
    train(str(folder), str(cines), overlays="side_inputs", objectives=["contrastive", "captioning"], **given)
    train(
        str(folder), str(cines), overlays="train_probe,side_inputs", min_positives=1, bootstrap_repeats=20, **given
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def sizes(tiny_cines) -> dict:
    kept = ("frames", "image_size", "max_views", "max_tokens", "progress")
    return {**{key: tiny_cines[key] for key in kept}, "generate": GREEDY}


def test_the_weights_hold_the_further_inputs_and_have_learnt_from_them(bundle):
    for name in ("model.pt", "probe.pt"):
        weights = torch.load(bundle / "models" / name, weights_only=True)
        assert weights["side_inputs.gate"].abs().max() > 1e-3  # it begins closed


def test_an_evaluation_sees_them(bundle, cines, lists, sizes, tmp_path):
    found = {}
    for name, path in lists.items():
        out = tmp_path / name
        evaluate(
            str(bundle), str(cines), overlays="side_inputs", datalist=path, output_dir=str(out), batch_size=4,
            bootstrap_repeats=20, pictured=0, **sizes,
        )  # fmt: skip
        with np.load(out / "embeddings.npz") as arrays:
            found[name] = arrays["video"]
    assert np.abs(found["first"] - found["second"]).max() > 1e-3


def said(refused) -> str:
    cause, words = refused.value, ""
    while cause is not None:
        words, cause = f"{words} {cause}", cause.__cause__
    return words


def heads(folder: Path) -> list:
    return [json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*/heads.json"))]


def test_a_prediction_and_a_search_see_them(bundle, cines, lists, sizes, tmp_path):
    given = {**sizes, "resamples": 2, "section": "test", "overlays": "side_inputs_inference", "max_views": 2}
    probe = {"probe_def::side_inputs": "%side_inputs"}
    reports, answers = {}, {}
    for name, path in lists.items():
        report = predict(str(bundle), path, str(tmp_path / name), **given, **probe)
        assert report.status == 0 and report.done, str(report)
        reports[name] = sorted(tmp_path.glob(f"{name}/*/retrieved.json"))
        answers[name] = heads(tmp_path / name)
    assert answers["first"] and answers["first"] != answers["second"]
    scores = [
        [match["score"] for file in files for match in json.loads(file.read_text(encoding="utf-8"))["matches"]]
        for files in reports.values()
    ]
    assert scores[0] != scores[1]
    again = predict(str(bundle), lists["second"], str(tmp_path / "first"), **given, **probe)
    assert not again.kept and heads(tmp_path / "first") == answers["second"]  # other inputs are another question
    small = {key: value for key, value in sizes.items() if key != "generate"}
    done = search(
        str(bundle), build=True, datalist=lists["first"], index=str(tmp_path / "index"),
        overlays="side_inputs_inference", **small,
    )  # fmt: skip
    assert done.status == 0 and done.studies > 5


def test_whoever_serves_the_weights_without_asking_for_them_is_told(bundle, cines, lists, sizes, tmp_path):
    given = {**sizes, "section": "test"}
    with pytest.raises(Exception) as refused:
        predict(str(bundle), lists["first"], str(tmp_path / "out"), **given)
    assert "side_inputs" in said(refused)
    report = predict(
        str(bundle), lists["first"], str(tmp_path / "other"), **given, overlays="side_inputs_inference",
        **{"prepare_batch::side": [], "probe_checkpoint": str(tmp_path / "none.pt")},
    )  # fmt: skip
    assert not report.done and "lay side_inputs.json over train.json" in report.failures[0].message
