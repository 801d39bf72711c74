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
    for section in ("training", "validation"):
        for case in content[section]:
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
    assert (folder / "eval" / "evaluation.json").is_file()
    report = predict(
        str(coronary), str(boxed), str(folder / "out"), section="test", models_dir=str(folder / "models"), resamples=0,
        **{"captioner::box_bins": 50}, **given,
    )  # fmt: skip
    assert report.status == 0 and report.done, str(report)


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
