"""Every training config of the brain-tumour bundle runs on phantoms."""

from __future__ import annotations

import json
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
from medvlm.data.prepare import prepare
from medvlm.engines.tolerant import plain_errors

STAGES = ("stage_1.pt", "stage_2.pt", "stage_3.pt", "model.pt")


@pytest.fixture
def run(bundle, phantoms, tiny):
    """``run([config names], **overrides)`` through ``monai.bundle.run``."""

    def run(configs, **overrides):
        files = [str(bundle / "configs" / f"{name}.json") for name in configs]
        monai.bundle.run(config_file=files, dataset_dir=str(phantoms), **{**tiny, **overrides})

    return run


def test_the_curriculum_leaves_each_stage_and_a_frozen_operating_point(trained):
    models = trained / "models"
    assert {*STAGES, "operating_point.json"} <= {p.name for p in models.iterdir()}
    point = json.loads((models / "operating_point.json").read_text(encoding="utf-8"))
    assert point["frozen"] and point["chosen_on"] == "validation" and 0 <= point["threshold"] <= 1


def test_the_classification_stage_leaves_the_frozen_parts_alone(trained):
    first = torch.load(trained / "models" / "stage_1.pt", weights_only=True)
    second = torch.load(trained / "models" / "stage_2.pt", weights_only=True)
    changed = {name.split(".")[0] for name in first if not torch.equal(first[name], second[name])}
    assert changed == {"tumour_head"}


def test_the_refinement_learns_the_mask_and_changes_no_probability(trained):
    third, last = (torch.load(trained / "models" / name, weights_only=True) for name in ("stage_3.pt", "model.pt"))
    changed = {name.split(".")[0] for name in third if not torch.equal(third[name], last[name])}
    assert changed == {"decoder", "mask_head"}


def test_a_second_call_changes_nothing(trained, phantoms, tiny):
    before = {p.name: p.stat().st_mtime_ns for p in (trained / "models").glob("*.pt")}
    train(str(trained), str(phantoms), calibrate=False, **tiny)
    assert before == {p.name: p.stat().st_mtime_ns for p in (trained / "models").glob("*.pt")}


def test_an_epoch_shorter_than_a_batch_is_refused(run, tmp_path):
    with pytest.raises(RuntimeError) as refused:
        run(["train"], epoch_samples=3, ckpt_dir=str(tmp_path))
    cause, words = refused.value, ""
    while cause is not None:
        words, cause = f"{words} {cause}", cause.__cause__
    assert "3 samples an epoch do not fill a batch of 4" in words


def test_tensorboard_holds_terms_rates_norms_metrics_and_pictures(trained):
    events = EventAccumulator(str(trained / "logs" / "joint"))
    events.Reload()
    scalars = set(events.Tags()["scalars"])
    assert {"loss/total", "loss/mask", "loss/tumour", "loss/weight_mask"} <= scalars
    assert {"gradient_norm/encoder", "gradient_norm/tumour_head"} <= scalars
    assert {"validation/score", "validation/dice", "validation/roc_auc"} <= scalars
    assert any(tag.startswith("learning_rate/encoder") for tag in scalars)
    assert "cases/00" in events.Tags()["images"]
    assert any((trained / "logs" / "joint" / "hparams").glob("events*"))


@pytest.mark.parametrize("overlay", ["segmentation_only", "classification_only", "domain_robustness", "averaging"])
def test_an_overlay_trains(run, overlay, tmp_path):
    run(["train", overlay], ckpt_dir=str(tmp_path), log_dir=str(tmp_path / "logs"))
    assert list(tmp_path.glob("*.pt"))


def test_fine_tuning_starts_from_the_bundle_s_weights_and_keeps_the_last_average(run, trained, tmp_path):
    sections = ["training", "validation"]
    settings = {"train_section": sections, "keep": "last", "ckpt_dir": str(tmp_path), "log_dir": str(tmp_path / "logs")}
    run(["train", "averaging", "fine_tune"], initial_weights=str(trained / "models" / "model.pt"), **settings)
    tuned, first = (torch.load(p, weights_only=True) for p in (tmp_path / "fine_tuned.pt", trained / "models/model.pt"))
    gaps = [float((tuned[name] - first[name]).abs().max()) for name in first]
    assert 0 < max(gaps) < 0.01  # four steps, averaged with a momentum of 0.01


@pytest.mark.parametrize("weighting", ["kendall", "gradnorm"])
def test_the_weighting_is_one_key(run, weighting, tmp_path):
    run(["train"], weighting=weighting, ckpt_dir=str(tmp_path), log_dir=str(tmp_path / "logs"))
    assert (tmp_path / "model.pt").is_file()


@pytest.mark.parametrize("weighting", ["fixed", "kendall"])
def test_the_phantom_budget_trains_every_stage(run, phantoms, tmp_path, weighting):
    datalist = tmp_path / "with_healthy_masks.json"
    prepare("mixed", root=phantoms, out=datalist, fractions=(0.5, 0.25, 0.25), healthy_masks=True)
    settings = {"datalist": str(datalist), "ckpt_dir": str(tmp_path), "epoch_samples": 32, "weighting": weighting}
    settings["task_weights_per_stage::joint"] = {"mask": 1.0, "tumour": 0.5}  # the overlay's own are the default's
    for stage in ("stage_1_segmentation", "stage_2_classification", "stage_3_joint", "stage_4_refinement"):
        run(["train", stage, "averaging", "phantom"], log_dir=str(tmp_path / stage), **settings)
    assert set(STAGES) <= {p.name for p in tmp_path.iterdir()}
    assert _weights_of_the_class(tmp_path / "stage_1_segmentation") == {0.0}  # one task: nothing to balance
    joint = _weights_of_the_class(tmp_path / "stage_3_joint")
    assert joint == {0.5} if weighting == "fixed" else len(joint) > 1


@pytest.mark.parametrize("overlays", [["domain_robustness"], ["fine_tune", "phantom"], ["train_3d"]], ids="+".join)
def test_drawing_samples_leaves_the_cached_cases_as_they_are(bundle, phantoms, tiny, overlays):
    parser = ConfigParser()
    parser.read_config([str(bundle / "configs" / f"{name}.json") for name in ["train", *overlays]])
    parser.update({**tiny, "dataset_dir": str(phantoms), "volume_size": [32, 32, 16], "progress": False})
    parser["train"]["cases"] = "$medvlm.data.datalists.load_datalist(@datalist, @train_section)[:6]"
    data = parser.get_parsed_content("train::dataset")
    before = [{key: case[key].clone() for key in ("image", "label")} for case in data._cache]
    for index in [*range(len(data))] * 4:
        assert type(data[index]["image"]) is torch.Tensor  # nothing inverts a sample, nothing is recorded
    for case, held in zip(data._cache, before, strict=True):
        assert all(torch.equal(case[key], image) for key, image in held.items())


def _weights_of_the_class(logs) -> set[float]:
    events = EventAccumulator(str(logs))
    events.Reload()
    return {entry.value for entry in events.Scalars("loss/weight_tumour")}


def test_the_3d_overlay_trains_with_modality_dropout_on_what_has_its_channels(bundle, phantoms, tiny, tmp_path, caplog):
    """On the mixed datalist: pictures of unstated weighting are left out, in the calibration as well."""
    settings = {
        "network_def::features": [8, 8, 16],
        "volume_size": [48, 48, 16],
        "spacing_mm": [4.0, 4.0, 4.0],
        "epoch_samples": 4,
        "batch_size": 1,
        "whole_heads": 1.0,
        "pictures": 0,
        "ckpt_dir": str(tmp_path),
        "log_dir": str(tmp_path / "logs"),
        "output_dir": str(tmp_path / "eval"),
    }
    given = {key: value for key, value in tiny.items() if key != "image_size"}
    (weights,) = train(str(bundle), str(phantoms), overlays="train_3d", **{**given, **settings})
    assert weights == tmp_path / "model_3d.pt" and weights.is_file()
    (told,) = [message for message in caplog.messages if "are left out" in message]  # until MONAI sets its log up
    assert "kaggle_four_class" in told and "brats2021" not in told
    point = json.loads((tmp_path / "operating_point_3d.json").read_text(encoding="utf-8"))
    assert set(point["kinds"]) == {"volume"}


def test_two_gloo_processes_train_under_torchrun(bundle, phantoms, tiny, tmp_path):
    configs = [str(bundle / "configs" / name) for name in ("train.json", "multi_gpu_train.json")]
    overrides = {**tiny, "dataset_dir": str(phantoms), "ckpt_dir": str(tmp_path), "log_dir": str(tmp_path / "logs")}
    flags = [part for key, value in overrides.items() for part in (f"--{key}", str(value))]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29631"]
        + ["-m", "monai.bundle", "run", "--config_file", str(configs), *flags],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "model.pt").is_file()


def test_a_killed_run_resumes_bit_for_bit_and_only_with_its_settings(bundle, phantoms, tiny, monai_run, run, tmp_path):
    tiny = {**tiny, "epochs": 3, "pictures": 0}

    def flags(folder):
        settings = {**tiny, "dataset_dir": str(phantoms), "ckpt_dir": str(folder), "log_dir": str(folder / "logs")}
        return [part for key, value in settings.items() for part in (f"--{key}", str(value))]

    config = ["run", "--config_file", str(bundle / "configs" / "train.json")]
    monai_run(*config, *flags(tmp_path / "whole"), cwd=tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-m", "monai.bundle", *config, *flags(tmp_path / "cut")],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    state = tmp_path / "cut" / "joint_state.pt"
    deadline = time.monotonic() + 200
    while not state.is_file() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert state.is_file(), "the run was killed before its first checkpoint or ended too soon"
    with pytest.raises(ValueError, match=r"begun under other settings \(seed 0 then, 5 now\)"), plain_errors():
        run(["train"], **{**tiny, "seed": 5, "ckpt_dir": str(tmp_path / "cut")})
    monai_run(*config, *flags(tmp_path / "cut"), cwd=tmp_path)
    whole = torch.load(tmp_path / "whole" / "model.pt", weights_only=True)
    cut = torch.load(tmp_path / "cut" / "model.pt", weights_only=True)
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


def test_a_checkpoint_that_does_not_fit_is_refused_with_its_keys(run, tmp_path):
    torch.save({"encoder.nothing": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="other.pt") as caught, plain_errors():
        run(["train"], initial_weights=str(tmp_path / "other.pt"), ckpt_dir=str(tmp_path))
    assert "encoder.nothing" in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "right"), [("epochz", "epochs"), ("batchsize", "batch_size"), ("network_def::feature", "features")]
)
def test_a_misspelt_override_fails_under_the_stock_command(bundle, phantoms, monai_run, tmp_path, wrong, right):
    config = str(bundle / "configs" / "train.json")
    done = monai_run(
        "run", "--config_file", config, "--dataset_dir", str(phantoms), f"--{wrong}", "3", cwd=tmp_path, check=False
    )
    assert done.returncode != 0
    assert f"did you mean '{right}'" in done.stdout + done.stderr


def test_each_process_draws_its_own_augmentations_and_its_share_of_every_step(bundle):
    parser = ConfigParser()
    parser.read_config([str(bundle / "configs" / f"{name}.json") for name in ("train", "multi_gpu_train")])
    seeding = parser["train::handlers::0"]
    assert seeding["_target_"].endswith("EpochSeeding") and seeding["rank"] == "$torch.distributed.get_rank()"
    assert parser["train::sampler::batch_size"] == "@batch_size"
