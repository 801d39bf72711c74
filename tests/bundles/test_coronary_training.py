"""Every training config of the coronary bundle runs on phantoms."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time

import monai.bundle
import pytest
import torch
from monai.bundle import ConfigParser
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from medvlm.bundle.curriculum import train


@pytest.fixture
def run(coronary, cines, tiny_cines, tmp_path):
    """``run([config names], **overrides)`` through ``monai.bundle.run``, into a folder of the test's own."""

    def run(configs, **overrides):
        files = [str(coronary / "configs" / f"{name}.json") for name in configs]
        where = {"ckpt_dir": str(tmp_path / "models"), "log_dir": str(tmp_path / "logs")}
        settings = {**tiny_cines, **where, **overrides}
        monai.bundle.run(config_file=files, bundle_root=str(coronary), dataset_dir=str(cines), **settings)
        return tmp_path / "models"

    return run


def said(refused: pytest.ExceptionInfo) -> str:
    """The words of an error and of all that caused it."""
    cause, words = refused.value, ""
    while cause is not None:
        words, cause = f"{words} {cause}", cause.__cause__
    return words


def test_multitask_training_and_probes_leave_weights_tokenizer_and_thresholds(trained_coronary):
    models = trained_coronary / "models"
    assert {"model.pt", "probe.pt", "operating_points.json"} <= {path.name for path in models.iterdir()}
    assert (models / "tokenizer" / "tokenizer.json").is_file()
    points = json.loads((models / "operating_points.json").read_text(encoding="utf-8"))
    assert all(point["frozen"] and point["chosen_on"] == "validation" for point in points.values()) and points


def test_a_frozen_probe_keeps_the_encoder_that_it_started_from(trained_coronary):
    network = torch.load(trained_coronary / "models" / "model.pt", weights_only=True)
    probe = torch.load(trained_coronary / "models" / "probe.pt", weights_only=True)
    shared = [name for name in probe if name.startswith(("video_encoder.", "aggregator."))]
    assert shared and all(torch.equal(network[name], probe[name]) for name in shared)


def test_tensorboard_holds_terms_weights_rates_norms_temperature_and_scores(trained_coronary):
    events = EventAccumulator(str(trained_coronary / "logs" / "multitask"))
    events.Reload()
    scalars = set(events.Tags()["scalars"])
    terms = {f"loss/{name}" for name in ("total", "contrastive", "captioning", "masked_video", "scale", "bias")}
    assert terms <= scalars
    assert {"loss/weight_masked_video", "gradient_norm/video_encoder", "validation/score"} <= scalars
    assert any(tag.startswith("learning_rate/text_encoder") for tag in scalars)


def test_fewer_studies_than_a_batch_are_refused_and_no_stage_is_recorded(coronary, cines, tiny_cines, tmp_path):
    with pytest.raises(RuntimeError) as refused:
        train(str(coronary), str(cines), ckpt_dir=str(tmp_path), **{**tiny_cines, "batch_size": 16})
    assert "12 samples an epoch do not fill a batch of 16" in said(refused)
    assert not (tmp_path / "stages.json").exists()


@pytest.mark.parametrize("overlay", ["contrastive", "contrastive_single_video", "captioning", "masked_video"])
def test_a_single_objective_is_an_overlay(run, overlay):
    assert list(run(["train", overlay]).glob("*.pt"))


@pytest.mark.parametrize("weighting", ["kendall", "gradnorm"])
def test_the_weighting_is_one_key(run, weighting):
    assert (run(["train"], weighting=weighting) / "model.pt").is_file()


def test_the_contrastive_loss_is_one_key(run):
    assert (run(["train", "contrastive"], contrastive_kind="softmax") / "model.pt").is_file()


@pytest.mark.parametrize(
    "settings",
    [{"frozen": []}, {"frozen": ["aggregator"], "frozen_fractions": {"video_encoder": 0.5}}],
    ids=["full", "partial"],
)
def test_a_probe_is_fine_tuned_in_full_or_in_part(run, trained_coronary, settings):
    start = str(trained_coronary / "models" / "model.pt")
    models = run(["train", "train_probe"], initial_weights=start, **settings)
    before = torch.load(start, weights_only=True)
    after = torch.load(models / "probe.pt", weights_only=True)
    moved = [name for name in after if name in before and not torch.equal(before[name], after[name])]
    assert any(name.startswith("video_encoder.") for name in moved)
    first = "video_encoder.stages.0.conv1.weight"
    assert (first in moved) == (settings["frozen"] == [])


@pytest.mark.parametrize(
    "settings",
    [
        {"weighting": "gradnorm"},
        {"weighting": "kendall", "heads": {"max_stenosis": {"kind": "regression", "start": 50.0, "spread": 30.0}}},
        {"heads": {"dominance": {"kind": "multiclass", "classes": 3}, "stenosis": {"kind": "binary", "lr": 0.1}}},
    ],
    ids=["gradnorm", "one regression head", "another order"],
)
def test_probes_of_any_heads_and_weighting_are_trained(run, trained_coronary, settings):
    start = str(trained_coronary / "models" / "model.pt")
    assert (run(["train", "train_probe"], initial_weights=start, **settings) / "probe.pt").is_file()


def test_the_config_gives_a_head_its_own_rate_and_decay(coronary, cines, tiny_cines, tmp_path):
    parser = ConfigParser()
    parser.read_config([str(coronary / "configs" / f"{name}.json") for name in ("train", "train_probe")])
    heads = {"stenosis": {"kind": "binary", "lr": 0.1}, "occlusion": {"kind": "binary", "weight_decay": 0.5}}
    where = {"bundle_root": str(coronary), "dataset_dir": str(cines), "ckpt_dir": str(tmp_path), "frozen": []}
    parser.update(pairs={**tiny_cines, **where, "heads": heads})
    groups = {group["name"]: group for group in parser.get_parsed_content("optimizer").param_groups}
    network = parser.get_parsed_content("network_def")
    by_id = {id(p): group for group in groups.values() for p in group["params"]}
    stenosis, occlusion = (by_id[id(network.heads.heads[name].linear.weight)] for name in heads)
    assert (stenosis["lr"], stenosis["weight_decay"]) == (0.1, 0.05)
    assert (occlusion["lr"], occlusion["weight_decay"]) == (1e-3, 0.5)


def test_another_video_encoder_is_an_overlay(run):
    models = run(["train", "mvit_small", "contrastive"])
    weights = torch.load(models / "model.pt", weights_only=True)
    assert any(name.startswith("video_encoder.blocks.") for name in weights)


def test_training_with_another_tokenizer_than_the_weights_is_refused(run, trained_coronary):
    with pytest.raises(RuntimeError) as refused:
        run(["train"], initial_weights=str(trained_coronary / "models" / "model.pt"), vocab_size=400)
    assert "does not fit CineTextNet" in said(refused) and "word_embeddings" in said(refused)


def test_a_killed_run_resumes_to_the_same_weights_bit_for_bit(coronary, cines, tiny_cines, tmp_path, monai_run):
    def flags(folder):
        settings = {**tiny_cines, "epochs": 6, "val_interval": 9}  # no validation: the last epoch's weights are kept
        settings |= {"bundle_root": coronary, "dataset_dir": cines, "ckpt_dir": folder, "log_dir": folder / "logs"}
        return [part for key, value in settings.items() for part in (f"--{key}", str(value))]

    config = ["run", "--config_file", str(coronary / "configs" / "train.json")]
    monai_run(*config, *flags(tmp_path / "whole"), cwd=tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-m", "monai.bundle", *config, *flags(tmp_path / "cut")],
        cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    state, deadline = tmp_path / "cut" / "multitask_state.pt", time.monotonic() + 200
    while not state.is_file() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert state.is_file(), "the run was killed before its first checkpoint or ended too soon"
    begun = torch.load(tmp_path / "cut" / "model.pt", weights_only=True)
    monai_run(*config, *flags(tmp_path / "cut"), cwd=tmp_path)
    whole = torch.load(tmp_path / "whole" / "model.pt", weights_only=True)
    cut = torch.load(tmp_path / "cut" / "model.pt", weights_only=True)
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    assert any(not torch.equal(begun[name], cut[name]) for name in whole)


@pytest.mark.parametrize(
    ("names", "left", "processes"),
    [
        (("train",), "model.pt", 2),
        (("train", "contrastive"), "model.pt", 4),
        (("train", "train_probe"), "probe.pt", 2),
    ],
    ids=["multitask of two", "contrastive of four", "probe of two"],
)
def test_several_processes_train_one_network(
    coronary, trained_coronary, cines, tiny_cines, tmp_path, names, left, processes
):
    configs = [str(coronary / "configs" / f"{name}.json") for name in (*names, "multi_gpu_train")]
    settings = {**tiny_cines, "ckpt_dir": str(tmp_path / "models"), "log_dir": str(tmp_path / "logs")}
    settings["batch_size"] = 8 // processes
    if left == "probe.pt":
        settings["initial_weights"] = str(trained_coronary / "models" / "model.pt")
    flags = [part for key, value in settings.items() for part in (f"--{key}", str(value))]
    done = subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes), "-m",
            "monai.bundle", "run", "--config_file", str(configs), "--bundle_root", str(coronary),
            "--dataset_dir", str(cines), *flags,
        ],
        capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    weights = torch.load(tmp_path / "models" / left, weights_only=True)
    if left != "probe.pt":  # the bias starts where the 7 negatives of the batch of all processes balance a positive
        assert float(weights["loss_parameters.bias"]) == pytest.approx(-math.log(7), abs=0.05)
