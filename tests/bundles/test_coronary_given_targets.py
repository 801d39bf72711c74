"""What the coronary bundle learns from beside reports: given positives, a given teacher, an EMA teacher."""

from __future__ import annotations

import json
from pathlib import Path

import monai.bundle
import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from medvlm.bundle.curriculum import evaluate
from medvlm.bundle.prediction import predict


@pytest.fixture
def run(coronary, cines, tiny_cines, tmp_path):
    """``run([overlays], **overrides)`` of train.json, into a folder of the test's own."""

    def run(overlays=(), **overrides):
        files = [str(coronary / "configs" / f"{name}.json") for name in ("train", *overlays)]
        where = {"ckpt_dir": str(tmp_path / "models"), "log_dir": str(tmp_path / "logs")}
        settings = {**tiny_cines, **where, **overrides}
        monai.bundle.run(config_file=files, bundle_root=str(coronary), dataset_dir=str(cines), **settings)
        return torch.load(Path(settings["ckpt_dir"]) / "model.pt", weights_only=True)

    return run


@pytest.fixture
def datalist(cines, tmp_path):
    """``datalist(change)``: the phantoms' datalist, each training case changed by its number."""

    def write(change):
        content = json.loads((cines / "datalist.json").read_text(encoding="utf-8"))
        for number, case in enumerate(content["training"]):
            change(number, case, content["training"])
        path = cines / f"{tmp_path.name}.json"
        path.write_text(json.dumps(content), encoding="utf-8")
        return str(path)

    return write


def scalars(folder, tag: str) -> list[float]:
    events = EventAccumulator(str(folder))
    events.Reload()
    return [event.value for event in events.Scalars(tag)]


def test_given_positives_change_the_loss(run, datalist, tmp_path):
    def alike(number, case, cases):
        case["similar"] = {other["case_id"]: 1.0 for other in cases if other is not case}

    path = datalist(alike)
    given = {"datalist": path, "similar_cases": 64}
    run(["contrastive"], datalist=path, log_dir=str(tmp_path / "without"), ckpt_dir=str(tmp_path / "other"))
    run(["contrastive", "soft_positives"], **given)
    with_them, without = (scalars(tmp_path / name, "loss/contrastive")[0] for name in ("logs", "without"))
    assert with_them > 1.5 * without  # every text of the batch is to be found, with a bias that says none is


def test_a_given_teacher_is_distilled_and_the_weights_predict(run, datalist, coronary, cines, tiny_cines, tmp_path):
    np.save(cines / "teacher.npy", np.arange(8, dtype=np.float32))

    def taught(number, case, cases):
        if number % 2:
            case["teacher"] = "teacher.npy"

    weights = run(["distillation"], datalist=datalist(taught), teacher_dim=8)
    assert weights["distillation.predict.weight"].shape[0] == 8
    known = scalars(tmp_path / "logs", "loss/known_distillation")
    assert 0 < sum(known) < 4 * len(known)
    kept = ("frames", "image_size", "max_views", "max_tokens", "progress")
    evaluate(
        str(coronary), str(cines), overlays="distillation", ckpt_dir=str(tmp_path / "models"), teacher_dim=8,
        output_dir=str(tmp_path / "eval"), batch_size=4, bootstrap_repeats=20, pictured=0,
        generate={"mode": "greedy", "max_length": 12}, **{name: tiny_cines[name] for name in kept},
    )  # fmt: skip
    assert (tmp_path / "eval" / "evaluation.json").is_file()
    report = predict(
        str(coronary), str(cines / "datalist.json"), str(tmp_path / "out"), section="test", resamples=0,
        overlays="distillation_inference", teacher_dim=8, models_dir=str(tmp_path / "models"),
        generate={"mode": "greedy", "max_length": 12}, **{name: tiny_cines[name] for name in kept},
    )  # fmt: skip
    assert report.status == 0 and report.done, str(report)


def test_distillation_without_a_teacher_is_refused(run):
    with pytest.raises(RuntimeError) as refused:
        run(["distillation"])
    cause, words = refused.value, ""
    while cause is not None:
        words, cause = f"{words} {cause}", cause.__cause__
    assert "distillation needs a teacher" in words and "ema_teacher.json" in words


@pytest.mark.parametrize("also", [(), ("masked_video",)], ids=["all", "masked video alone"])
def test_an_ema_teacher_follows_and_gives_the_targets(run, also):
    weights = run([*also, "ema_teacher"], weights_name="model.pt")
    assert weights["masked_video.teacher.updates"] > 0
    assert weights["masked_video.decoder.output.weight"].shape[0] == 128
