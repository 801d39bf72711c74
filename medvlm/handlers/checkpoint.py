"""Checkpoints that are replaced atomically, and resuming from them."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events

from medvlm.atomic import sweep, write_atomically
from medvlm.trained_settings import TRAINED_HEADS, configurations_apart, keep_settings
from medvlm.write_errors import check_writable

logger = logging.getLogger(__name__)

SIDE_ENTRIES = {"best", "best_weights", "evaluator", "configuration"}
START_ANEW = "delete it, or start anew with --resume False."


def save_atomically(state: Any, path: str | Path) -> Path:
    """Write ``torch.save(state)``; see :func:`medvlm.atomic.replacing`."""
    return write_atomically(lambda file: torch.save(state, file), path)


def is_main_process() -> bool:
    """Whether this process writes files: rank 0, or a run of one process."""
    started = torch.distributed.is_available() and torch.distributed.is_initialized()
    return not started or torch.distributed.get_rank() == 0


def unwrapped(network: torch.nn.Module) -> torch.nn.Module:
    """The network inside ``DistributedDataParallel``, or the network itself."""
    return network.module if isinstance(network, torch.nn.parallel.DistributedDataParallel) else network


class TrainingCheckpoint:
    """Keep the best weights and the full state of a training run, one file each, replaced atomically.

    Args:
        folder: where the files go.
        network: its ``state_dict`` is the weights file: plain, loads with ``weights_only=True``.
        state: further objects with ``state_dict``/``load_state_dict`` (optimizer, scheduler, loss) kept for resuming.
        weights_name: file of the weights.
        state_name: file of the full state, written after every epoch; removed once the run has ended well.
        evaluator: engine whose key metric says which weights are best; without it, or where the metric cannot be
            computed (NaN), the last epoch's are kept.
        resume: go on from the full state where it exists.
        averaged: moving average of the network's weights (the ``ema_model`` of ignite's ``EMAHandler``), which is
            validated; the weights file is then this one's, and the full state holds both.
        keep: ``"best"`` by the evaluator's key metric, or ``"last"``.
        settings: what the network is trained to see, written beside the weights (``medvlm.trained_settings``).
        trained_heads: names of the heads that are trained once this run has ended, stored with the settings
            (:func:`medvlm.trained_settings.trained_heads`); None where that is not known.
        configuration: what decides the weights, by id (:func:`medvlm.engines.run_configuration.run_configuration`); a
            state that was begun under another is refused.

    Raises:
        ValueError: When ``keep`` is neither.
    """

    def __init__(
        self,
        folder: str | Path,
        network: torch.nn.Module,
        state: Mapping[str, Any],
        weights_name: str = "model.pt",
        state_name: str = "training_state.pt",
        evaluator: Engine | None = None,
        resume: bool = True,
        averaged: torch.nn.Module | None = None,
        keep: str = "best",
        settings: Mapping[str, Any] | None = None,
        configuration: Mapping[str, str] | None = None,
        trained_heads: Sequence[str] | None = None,
    ) -> None:
        if keep not in ("best", "last"):
            raise ValueError(f"keep must be 'best' or 'last', got {keep!r}; 'last' needs no validation.")
        self.keep, self.configuration = keep, dict(configuration or {})
        self.settings = settings
        if trained_heads is not None:
            self.settings = {**(settings or {}), TRAINED_HEADS: list(trained_heads)}
        self.kept = network if averaged is None else averaged
        state = dict(state) if self.kept is network else {**state, "averaged": self.kept}
        self.folder, self.network, self.state = Path(folder), network, dict(state)
        self.weights, self.full = self.folder / weights_name, self.folder / state_name
        self.evaluator, self.resume = evaluator, resume
        self.best: float | None = None
        self.best_weights: dict[str, torch.Tensor] | None = None

    def attach(self, engine: Engine) -> None:
        """Try the folder and resume when the run starts, save after each epoch (validated), finish at the end."""
        engine.add_event_handler(Events.STARTED, self.prepare)
        engine.add_event_handler(Events.STARTED, self.load)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.save)
        engine.add_event_handler(Events.COMPLETED, self.finish)

    def prepare(self) -> None:
        """Try the folder, and sweep it; rank 0 writes for all.

        Raises:
            OSError: it cannot be written; names it, the option and the remedy.
        """
        if is_main_process():
            check_writable(self.folder, "--ckpt_dir")
        sweep(self.folder)

    def load(self, engine: Engine) -> None:
        """Restore network, state and counters from the full state, if it is there and resuming is wanted.

        Raises:
            ValueError: it is damaged, or belongs to a run of another configuration; names what differs.
        """
        if not (self.resume and self.full.is_file()):
            return
        saved = self._read()
        try:
            unwrapped(self.network).load_state_dict(saved["network"])
            for name, thing in self.state.items():
                thing.load_state_dict(saved[name])
        except (RuntimeError, ValueError, KeyError) as error:
            raise ValueError(f"{self.full} does not fit this network or optimizer: {error}; {START_ANEW}") from None
        epoch = saved["engine"]["epoch"]
        if engine.state.max_epochs is not None and epoch >= engine.state.max_epochs:
            logger.info(
                "%s already holds epoch %d of %d: nothing left to train", self.full, epoch, engine.state.max_epochs
            )
        engine.state.epoch, engine.state.iteration = epoch, saved["engine"]["iteration"]
        self.best, self.best_weights = saved["best"], saved["best_weights"]
        if self.evaluator is not None and saved["evaluator"]:
            for name, value in saved["evaluator"].items():
                setattr(self.evaluator.state, name, value)
        logger.info("resumed after epoch %d from %s", epoch, self.full)

    def _read(self) -> dict[str, Any]:
        """The full state, where it is one of this run."""
        try:
            saved = torch.load(self.full, map_location="cpu", weights_only=True)
        except Exception as error:  # whatever a damaged file makes of the unpickler
            logger.debug("%s: %s", self.full, error)
            raise ValueError(f"{self.full} is damaged or no training state; {START_ANEW}") from None
        saved = saved if isinstance(saved, dict) else {}
        mine, theirs = {"network", "engine", *self.state}, set(saved) - SIDE_ENTRIES
        if mine != theirs:
            raise ValueError(
                f"{self.full} holds {sorted(theirs)}, this run needs {sorted(mine)}; "
                f"it belongs to another configuration: {START_ANEW}"
            )
        differs = configurations_apart(saved.get("configuration", {}), self.configuration)
        if differs:
            raise ValueError(
                f"{self.full} was begun under other settings ({differs}); give those of then to go on with it. "
                f"Otherwise {START_ANEW}"
            )
        return saved

    def save(self, engine: Engine) -> None:
        """Write the weights if they are the best so far, then the full state; rank 0 writes for all."""
        if not is_main_process():
            return
        score = self._score()
        if self.keep == "last" or self.best is None or (score is not None and score > self.best):
            self.best = score
            kept = unwrapped(self.kept).state_dict()
            self.best_weights = {name: value.detach().cpu().clone() for name, value in kept.items()}
            save_atomically(self.best_weights, self.weights)
            if self.settings is not None:
                keep_settings(self.weights, self.settings)
        save_atomically(
            {
                "network": unwrapped(self.network).state_dict(),
                "engine": {"epoch": engine.state.epoch, "iteration": engine.state.iteration},
                "best": self.best,
                "best_weights": self.best_weights,
                "evaluator": self._evaluator_state(),
                "configuration": self.configuration,
                **{name: thing.state_dict() for name, thing in self.state.items()},
            },
            self.full,
        )

    def finish(self, engine: Engine) -> None:
        """Remove the full state of a run that has ended; the weights file is its result.

        Epochs after the last validation have no part in it where the best is kept, which the log says.
        """
        ended = engine.state.epoch >= (engine.state.max_epochs or 0) or engine.should_terminate
        if not (ended and is_main_process()):
            return
        self.full.unlink(missing_ok=True)
        validated = self._last_validated()
        if self.keep == "best" and 0 < validated < engine.state.epoch:
            logger.warning(
                "%s is of epoch %d or before: the training went on to epoch %d without another validation, and what is "
                "not validated is not kept; make epochs a multiple of val_interval, or give --keep last.",
                self.weights,
                validated,
                engine.state.epoch,
            )

    def _last_validated(self) -> int:
        """The last epoch that this run validated, at least the best one of a run that was resumed; 0 where none."""
        if self.evaluator is None or self.best is None:
            return 0
        return max(int(self.evaluator.state.epoch or 0), int(self.evaluator.state.best_metric_epoch))

    def _score(self) -> float | None:
        if self.evaluator is None or self.evaluator.state.key_metric_name is None:
            return None
        value = self.evaluator.state.metrics.get(self.evaluator.state.key_metric_name)
        return None if value is None or math.isnan(value) else float(value)

    def _evaluator_state(self) -> dict[str, Any]:
        if self.evaluator is None:
            return {}
        state = self.evaluator.state
        return {"best_metric": float(state.best_metric), "best_metric_epoch": int(state.best_metric_epoch)}
