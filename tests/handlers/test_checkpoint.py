"""Checkpoints: replaced atomically, resumed exactly, refused when they do not fit."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys

import pytest
import torch
from ignite.engine import Engine, Events
from ignite.handlers import EMAHandler

from medvlm.handlers.checkpoint import TrainingCheckpoint, save_atomically
from medvlm.handlers.seeding import EpochSeeding


class Run:
    """A tiny training run whose every step draws random numbers."""

    def __init__(self, folder, width: int = 3, average: bool = False, **options) -> None:
        torch.manual_seed(1)
        self.network = torch.nn.Sequential(torch.nn.Linear(4, width), torch.nn.Dropout(0.5), torch.nn.Linear(width, 1))
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=0.01)
        self.engine = Engine(self.step)
        self.engine.state.max_epochs = None
        EpochSeeding(seed=3).attach(self.engine)
        self.average = EMAHandler(self.network, momentum=0.1)
        if average:
            self.average.attach(self.engine)
            options["averaged"] = self.average.ema_model
        self.checkpoint = TrainingCheckpoint(folder, self.network, {"optimizer": self.optimizer}, **options)
        self.checkpoint.attach(self.engine)

    def step(self, engine, batch):
        self.optimizer.zero_grad()
        loss = self.network(torch.randn(5, 4)).square().mean()
        loss.backward()
        self.optimizer.step()
        return {"loss": loss.item()}

    def go(self, epochs: int):
        self.engine.run([0, 1, 2], max_epochs=epochs)
        return {name: value.clone() for name, value in self.network.state_dict().items()}


def stop_at(run: Run, epoch: int) -> None:
    def interrupt(engine):
        raise KeyboardInterrupt

    run.engine.add_event_handler(Events.EPOCH_STARTED(once=epoch), interrupt)


def test_an_interrupted_run_ends_with_the_weights_of_an_uninterrupted_one(tmp_path):
    whole = Run(tmp_path / "whole").go(4)
    first = Run(tmp_path / "cut")
    stop_at(first, 3)
    with pytest.raises(KeyboardInterrupt):
        first.go(4)
    assert (tmp_path / "cut" / "training_state.pt").is_file()
    second = Run(tmp_path / "cut").go(4)
    assert all(torch.equal(whole[name], second[name]) for name in whole)
    assert not (tmp_path / "cut" / "training_state.pt").exists()


def test_the_averaged_weights_are_the_result_and_survive_an_interruption(tmp_path):
    run = Run(tmp_path / "whole", average=True)
    last = run.go(4)
    whole = torch.load(tmp_path / "whole" / "model.pt", weights_only=True)
    assert all(torch.equal(whole[name], value) for name, value in run.average.ema_model.state_dict().items())
    assert not torch.equal(whole["0.weight"], last["0.weight"])
    first = Run(tmp_path / "cut", average=True)
    stop_at(first, 3)
    with pytest.raises(KeyboardInterrupt):
        first.go(4)
    Run(tmp_path / "cut", average=True).go(4)
    resumed = torch.load(tmp_path / "cut" / "model.pt", weights_only=True)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_state_without_the_average_is_refused(tmp_path):
    first = Run(tmp_path)
    stop_at(first, 2)
    with pytest.raises(KeyboardInterrupt):
        first.go(3)
    with pytest.raises(ValueError, match="averaged.*another configuration"):
        Run(tmp_path, average=True).go(3)


@pytest.mark.parametrize(("keep", "epoch"), [("best", 1), ("last", 3)])
def test_the_best_or_the_last_epoch_is_kept(tmp_path, keep, epoch):
    evaluator = Engine(lambda engine, batch: None)
    evaluator.state.key_metric_name = "score"  # type: ignore[attr-defined]
    evaluator.state.best_metric, evaluator.state.best_metric_epoch = -1, -1  # type: ignore[attr-defined]
    run, seen = Run(tmp_path, evaluator=evaluator, keep=keep), {}
    epochs = Events.EPOCH_COMPLETED
    run.engine.add_event_handler(epochs, lambda e: seen.update({e.state.epoch: run.network[0].weight.clone()}))
    run.engine.add_event_handler(Events.EPOCH_STARTED, lambda e: evaluator.state.metrics.update(score=-e.state.epoch))
    run.go(3)
    assert torch.equal(torch.load(tmp_path / "model.pt", weights_only=True)["0.weight"], seen[epoch])


def scored(folder, values, **options) -> tuple[Run, dict]:
    """A run whose evaluator gives these key metrics, one an epoch (None: it did not run), and the weights seen."""
    evaluator = Engine(lambda engine, batch: None)
    evaluator.state.key_metric_name = "score"  # type: ignore[attr-defined]
    evaluator.state.best_metric, evaluator.state.best_metric_epoch = -1, -1  # type: ignore[attr-defined]
    run, seen = Run(folder, evaluator=evaluator, **options), {}
    run.engine.add_event_handler(
        Events.EPOCH_COMPLETED, lambda e: seen.update({e.state.epoch: run.network[0].weight.clone()})
    )

    def validate(engine):
        if values[engine.state.epoch - 1] is not None:
            evaluator.state.metrics.update(score=values[engine.state.epoch - 1])

    run.engine.add_event_handler(Events.EPOCH_STARTED, validate)
    return run, seen


@pytest.mark.parametrize(
    ("epochs", "keep", "told"),
    [
        (5, "best", "is of epoch 4 or before: the training went on to epoch 5"),
        (4, "best", ""),
        (5, "last", ""),
        (1, "best", ""),
    ],
    ids=["between two validations", "validated to the end", "the last is kept", "never validated"],
)
def test_epochs_after_the_last_validation_are_said_not_to_be_kept(tmp_path, caplog, epochs, keep, told):
    run, _ = scored(tmp_path, [None, 0.5, None, 0.7, None], keep=keep)
    evaluator = run.checkpoint.evaluator

    def validate(engine):
        if engine.state.epoch % 2 == 0:
            evaluator.state.epoch = engine.state.epoch

    run.engine.add_event_handler(Events.EPOCH_STARTED, validate)
    run.go(epochs)
    said = [record.getMessage() for record in caplog.records if record.name == "medvlm.handlers.checkpoint"]
    assert bool(said) is bool(told) and told in caplog.text
    assert not told or "make epochs a multiple of val_interval, or give --keep last" in caplog.text


def kept(folder) -> torch.Tensor:
    return torch.load(folder / "model.pt", weights_only=True)["0.weight"]


@pytest.mark.parametrize(
    ("values", "epoch"),
    [([float("nan")] * 3, 3), ([float("nan"), 0.2, 0.1], 2), ([0.3, float("nan"), float("nan")], 1)],
    ids=["never known", "known later", "known at first"],
)
def test_a_key_metric_that_cannot_be_computed_is_no_better_than_any(tmp_path, values, epoch):
    run, seen = scored(tmp_path, values)
    run.go(3)
    assert torch.equal(kept(tmp_path), seen[epoch])


def test_a_resumed_run_that_has_not_validated_yet_keeps_the_best_weights(tmp_path):
    first, seen = scored(tmp_path, [0.9, None, None])
    stop_at(first, 2)
    with pytest.raises(KeyboardInterrupt):
        first.go(3)
    scored(tmp_path, [0.9, None, 0.1])[0].go(3)
    assert torch.equal(kept(tmp_path), seen[1])


def test_an_unknown_choice_of_weights_is_refused(tmp_path):
    with pytest.raises(ValueError, match="keep must be 'best' or 'last', got 'first'"):
        Run(tmp_path, keep="first")


def test_weights_are_a_plain_state_dict(tmp_path):
    run = Run(tmp_path)
    run.go(1)
    weights = torch.load(tmp_path / "model.pt", weights_only=True)
    assert sorted(weights) == sorted(run.network.state_dict())


def test_what_was_seen_lies_beside_the_weights(tmp_path):
    Run(tmp_path, settings={"frames": 2}).go(1)
    assert json.loads((tmp_path / "model.settings.json").read_text()) == {"frames": 2}


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ({"settings": {"frames": 2}, "trained_heads": ["mask"]}, {"frames": 2, "trained_heads": ["mask"]}),
        ({"settings": {"frames": 2}, "trained_heads": None}, {"frames": 2}),
        ({"trained_heads": []}, {"trained_heads": []}),
    ],
    ids=["known", "not known", "alone"],
)
def test_the_heads_that_were_trained_are_told_with_it(tmp_path, given, stored):
    Run(tmp_path, **given).go(1)
    assert json.loads((tmp_path / "model.settings.json").read_text()) == stored


def test_a_state_of_another_network_is_refused_with_the_remedy(tmp_path):
    first = Run(tmp_path)
    stop_at(first, 2)
    with pytest.raises(KeyboardInterrupt):
        first.go(3)
    with pytest.raises(ValueError, match="(?s)does not fit this network.*size mismatch.*--resume False"):
        Run(tmp_path, width=7).go(3)


def test_a_truncated_state_is_refused_by_name(tmp_path):
    (tmp_path / "training_state.pt").write_bytes(b"PK\x03\x04 half a file")
    with pytest.raises(ValueError, match=r"training_state.pt is damaged or no training state; .*--resume False"):
        Run(tmp_path).go(1)


def test_a_full_disk_leaves_the_old_file_and_no_temporary_one(tmp_path, monkeypatch):
    path = save_atomically({"a": torch.ones(2)}, tmp_path / "model.pt")

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="model.pt: No space left on device; free the disk"):
        save_atomically({"a": torch.zeros(2)}, path)
    assert torch.equal(torch.load(path, weights_only=True)["a"], torch.ones(2))
    assert [p.name for p in tmp_path.iterdir()] == ["model.pt"]


@pytest.mark.parametrize("limit", [0, 1_000, 20_000, 40_700, 41_000])
def test_wherever_the_disk_is_full_the_error_names_the_file(tmp_path, limit):
    """The limit of a file's size stands for the end of the disk; torch makes a RuntimeError of most of them."""
    program = (
        "import pathlib, resource, sys, torch\n"
        "from medvlm.handlers.checkpoint import save_atomically\n"
        "path, limit = pathlib.Path(sys.argv[1], 'model.pt'), int(sys.argv[2])\n"
        "path.write_bytes(b'old')\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))\n"
        "try:\n"
        "    save_atomically({'a': torch.zeros(100, 100), 'b': torch.zeros(3)}, path)\n"
        "except OSError as error:\n"
        "    print(error.errno, error)\n"
        "print(path.read_bytes() == b'old', len(list(path.parent.iterdir())))\n"
    )
    run = subprocess.run([sys.executable, "-c", program, str(tmp_path), str(limit)], capture_output=True, text=True)
    said, left = run.stdout.splitlines()
    assert said.startswith(f"{errno.EFBIG} [Errno {errno.EFBIG}] cannot write {tmp_path / 'model.pt'}: File too large;")
    assert left == "True 1" and run.returncode == 0, run.stderr


def test_a_folder_that_cannot_be_written_is_refused_before_the_first_step(tmp_path):
    (tmp_path / "models").write_text("a file in its place", encoding="utf-8")
    run = Run(tmp_path / "models")
    run.engine.add_event_handler(Events.EPOCH_STARTED, lambda: pytest.fail("the training has begun"))
    with pytest.raises(FileExistsError, match="models.*choose another --ckpt_dir"):
        run.go(1)


def test_only_the_first_process_tries_the_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("medvlm.handlers.checkpoint.is_main_process", lambda: False)
    Run(tmp_path / "models").go(1)
    assert not (tmp_path / "models").exists()


def test_a_state_begun_under_other_settings_is_refused_and_kept(tmp_path):
    first = Run(tmp_path, configuration={"seed": "0", "loss::weight": "1.0"})
    stop_at(first, 2)
    with pytest.raises(KeyboardInterrupt):
        first.go(3)
    state = (tmp_path / "training_state.pt").read_bytes()
    with pytest.raises(ValueError, match=r"seed 0 then, 1 now; loss::weight 1.0 then, absent now.*--resume False"):
        Run(tmp_path, configuration={"seed": "1"}).go(3)
    assert (tmp_path / "training_state.pt").read_bytes() == state
    Run(tmp_path, configuration={"seed": "1"}, resume=False).go(3)
    assert not (tmp_path / "training_state.pt").exists()


def test_a_state_of_the_same_settings_goes_on(tmp_path):
    first = Run(tmp_path, configuration={"seed": "0"})
    stop_at(first, 2)
    with pytest.raises(KeyboardInterrupt):
        first.go(3)
    second = Run(tmp_path, configuration={"seed": "0"})
    begun = []
    second.engine.add_event_handler(Events.EPOCH_STARTED, lambda engine: begun.append(engine.state.epoch))
    second.go(3)
    assert begun == [2, 3]
