"""The box tasks of the coronary bundle, from the datalist's pixels to a trained captioner."""

from __future__ import annotations

import json

import monai.bundle
import pytest
import torch

from medvlm.bundle.curriculum import evaluate
from medvlm.bundle.prediction import predict


@pytest.fixture
def train(coronary, cines, tiny_cines, tmp_path):
    """``train(datalist, **overrides)`` with captioning_boxes.json, into a folder of the test's own."""

    def train(datalist, overlays=("captioning_boxes",), **overrides):
        files = [str(coronary / "configs" / f"{name}.json") for name in ("train", *overlays)]
        where = {"ckpt_dir": str(tmp_path / "models"), "log_dir": str(tmp_path / "logs"), "datalist": str(datalist)}
        monai.bundle.run(
            config_file=files, bundle_root=str(coronary), dataset_dir=str(cines), **{**tiny_cines, **where, **overrides}
        )
        return tmp_path

    return train


@pytest.fixture
def boxed(cines):
    """The phantoms' datalist with a box in the first view of every study."""
    content = json.loads((cines / "datalist.json").read_text(encoding="utf-8"))
    for section in ("training", "validation", "test"):
        for number, case in enumerate(content[section]):
            if section != "test" or number:  # one test study without a reference
                case["boxes"] = [{"view": 0, "frame": 3, "box": [10, 12, 30, 28], "name": "p70_90"}]
    path = cines / "boxed.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_boxes_of_the_datalist_reach_the_loss_and_the_weights_serve(train, boxed, coronary, cines, tiny_cines):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = train(boxed)
    weights = torch.load(folder / "models" / "model.pt", weights_only=True)
    vocabulary = len(json.loads((folder / "models/tokenizer/tokenizer.json").read_text())["model"]["vocab"])
    assert weights["captioner.words.weight"].shape[0] == vocabulary + 50 + 2
    events = EventAccumulator(str(folder / "logs"))
    events.Reload()
    known = [event.value for event in events.Scalars("loss/known_boxes")]
    assert sum(known) >= 4 * 13  # of a box five coordinates, six words and both ends; some frames are not drawn
    assert {"boxes/iou", "boxes/iou_of_mean_box"} <= set(events.Tags()["scalars"])

    kept = ("frames", "image_size", "max_views", "max_tokens", "progress")
    given = {name: tiny_cines[name] for name in kept} | {"generate": {"mode": "greedy", "max_length": 12}}
    evaluate(
        str(coronary), str(cines), overlays="captioning_boxes", ckpt_dir=str(folder / "models"), datalist=str(boxed),
        output_dir=str(folder / "eval"), batch_size=4, bootstrap_repeats=20, pictured=0, **given,
    )  # fmt: skip
    scores = json.loads((folder / "eval" / "evaluation.json").read_text(encoding="utf-8"))["boxes"]
    references = len(json.loads(boxed.read_text(encoding="utf-8"))["test"]) - 1
    assert scores["n_reference"] == references and 0 < scores["n"] <= references and scores["threshold"] == 0.5
    assert scores["mean_box"]["iou"]["value"] == pytest.approx(1.0), "all references are alike"
    assert 0 <= scores["network"]["accuracy"]["value"] <= 1 and len(scores["network"]["accuracy"]["ci"]) == 2
    page = (folder / "eval" / "report.html").read_text(encoding="utf-8")
    assert f"{scores['n']} of {references} reference boxes" in page and "could not be made" not in page

    where = {"section": "test", "models_dir": str(folder / "models"), "resamples": 0}
    plain = predict(str(coronary), str(boxed), str(folder / "plain"), **where, **{"captioner::box_bins": 50}, **given)
    assert plain.status == 0 and all(manifest["boxes"]["found"] == [] for manifest in plain.done.values()), str(plain)

    asked = {"overlays": "captioning_boxes_inference", "box_queries": ["stenosis of 70 to 90 percent", "stenosis"]}
    report = predict(str(coronary), str(boxed), str(folder / "out"), **where, **asked, **given)
    assert report.status == 0 and report.done, str(report)
    for manifest in report.done.values():
        found, views = manifest["boxes"]["found"], [view["view"] for view in manifest["views"] if view["read"]]
        assert sorted((one["view"], one["phrase"]) for one in found) == sorted(
            (view, phrase) for view in views for phrase in asked["box_queries"]
        )
        assert [one["score"] for one in found] == sorted((one["score"] for one in found), reverse=True)
        assert "pixels of the view's own frames" in manifest["boxes"]["note"]
        for one in found:
            box = one["box"] or {"x": 0, "y": 0, "width": 48, "height": 48}
            assert 0 <= box["x"] < box["x"] + box["width"] <= 48 and 0 <= box["y"] < box["y"] + box["height"] <= 48
            assert 0 <= one["frame"] < 8 and isinstance(one["text"], str)
    assert predict(str(coronary), str(boxed), str(folder / "out"), **where, **asked, **given).kept, "asked the same"


def said(refused) -> str:
    cause, words = refused.value, ""
    while cause is not None:
        words, cause = f"{words} {cause}", cause.__cause__
    return words


def test_a_datalist_without_boxes_is_refused(train, cines):
    with pytest.raises(RuntimeError) as refused:
        train(cines / "datalist.json")
    assert "the objective 'boxes' needs boxes" in said(refused) and "arcade, cadica" in said(refused)


def test_box_tokens_without_the_objective_are_refused(train, boxed):
    with pytest.raises(RuntimeError) as refused:
        train(boxed, overlays=("captioning",), **{"captioner::box_bins": 50})
    assert "no box would reach the loss" in said(refused)
