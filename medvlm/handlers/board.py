"""TensorBoard: what a training run is doing, term by term and component by component."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines.utils import IterationEvents
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from medvlm.handlers.case_pictures import take_picture
from medvlm.handlers.checkpoint import is_main_process, unwrapped
from medvlm.write_errors import check_writable

logger = logging.getLogger(__name__)


class EventFile:
    """A TensorBoard event file that is made when it is first written to, so that construction writes nothing.

    Args:
        log_dir: folder of the event files.
    """

    def __init__(self, log_dir: str) -> None:
        self.log_dir = log_dir
        self._writer: SummaryWriter | None = None

    @property
    def writer(self) -> SummaryWriter:
        """The open file."""
        if self._writer is None:
            self._writer = SummaryWriter(self.log_dir)
        return self._writer

    def check(self) -> None:
        """Make the folder and try it, before there is anything to write.

        Raises:
            OSError: it cannot be written; names it, the option and the remedy.
        """
        check_writable(self.log_dir, "--log_dir")

    def close(self) -> None:
        """Write what is pending; a later use opens a new file beside it."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def metrics_of_epoch(evaluator: Engine | None, trainer: Engine) -> dict[str, Any]:
    """Return what the evaluator measured at the trainer's epoch; its metrics of an earlier run stay in its state."""
    if evaluator is None or evaluator.state.epoch != trainer.state.epoch:
        return {}
    return dict(evaluator.state.metrics)


class TrainingBoard:
    """Write loss terms, learning rates, gradient norms and validation metrics of a trainer to TensorBoard.

    Args:
        events: the event file.
        loss: the loss module; its ``terms`` after a step are logged one by one.
        optimizer: its parameter groups give one learning rate each, under the group's ``name``: the rate that the step
            was made with, wherever a handler of the schedule stands in the list.
        network: its children give one gradient norm each.
        evaluator: engine whose metrics are logged after each of its runs, at the trainer's epoch.
        every: steps between two entries.
        hparams: plain hyperparameters; written with the best metric, where there was a validation, when training
            completes (the HParams page).
    """

    def __init__(
        self,
        events: EventFile,
        loss: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        network: torch.nn.Module,
        evaluator: Engine | None = None,
        every: int = 1,
        hparams: Mapping[str, Any] | None = None,
    ) -> None:
        if every < 1:
            raise ValueError(f"every must be at least 1, got {every}; it counts steps between two entries.")
        self.events, self.loss, self.optimizer, self.network = events, loss, optimizer, network
        self.evaluator, self.every, self.hparams = evaluator, every, dict(hparams or {})
        self._norms: dict[str, float] = {}
        self._rates: dict[str, float] = {}

    def attach(self, engine: Engine) -> None:
        """Register with a trainer; rank 0 writes for all."""
        if not is_main_process():
            return
        engine.add_event_handler(Events.STARTED, self.events.check)
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self.note_rates)
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self.measure_gradients)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.log_step)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.log_epoch)
        engine.add_event_handler(Events.COMPLETED, self.close)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self.close_and_raise)

    def note_rates(self, engine: Engine) -> None:
        """Note the learning rates before the optimiser steps; a schedule may move them before the step is logged."""
        self._rates = {str(g.get("name", number)): g["lr"] for number, g in enumerate(self.optimizer.param_groups)}

    def measure_gradients(self, engine: Engine) -> None:
        """Note each component's gradient norm while the gradients are there, whole and without the loss scale."""
        gathered = getattr(engine, "accumulation_steps", 1)
        if -engine.state.iteration % self.every >= gathered:
            return  # the optimiser steps again before the next entry
        local = (engine.state.iteration - 1) % engine.state.epoch_length + 1
        if local % gathered and local != engine.state.epoch_length:
            return  # not all of the step's gradients are there
        scaler = getattr(engine, "scaler", None)
        scale = scaler.get_scale() if scaler is not None else 1.0
        self._norms = {}
        for name, child in unwrapped(self.network).named_children():
            grads = [p.grad.norm() for p in child.parameters() if p.grad is not None]
            if grads:
                self._norms[name] = float(torch.stack(grads).norm()) / scale

    def log_step(self, engine: Engine) -> None:
        """Write one step's loss terms, learning rates and gradient norms."""
        step = engine.state.iteration
        if step % self.every:
            return
        self.events.writer.add_scalar("loss/total", engine.state.output["loss"].item(), step)
        for name, value in getattr(self.loss, "terms", {}).items():
            if name != "total":  # written above
                self.events.writer.add_scalar(f"loss/{name}", float(value), step)
        for name, value in self._rates.items():
            self.events.writer.add_scalar(f"learning_rate/{name}", value, step)
        for name, value in self._norms.items():
            self.events.writer.add_scalar(f"gradient_norm/{name}", value, step)

    def log_epoch(self, engine: Engine) -> None:
        """Write the evaluator's metrics where it ran in this epoch."""
        for name, value in metrics_of_epoch(self.evaluator, engine).items():
            self.events.writer.add_scalar(f"validation/{name}", float(value), engine.state.epoch)

    def close(self, engine: Engine) -> None:
        """Write the HParams page and close the file."""
        if self.hparams:
            plain = {k: v if isinstance(v, int | float | str | bool) else str(v) for k, v in self.hparams.items()}
            state = getattr(self.evaluator, "state", None)
            scored = getattr(state, "best_metric_epoch", -1) != -1  # before a validation MONAI's best metric is -1
            score = {"hparam/best_key_metric": float(state.best_metric)} if scored else {}
            self.events.writer.add_hparams(plain, score, run_name="hparams")
        self.events.close()

    def close_and_raise(self, engine: Engine, error: Exception) -> None:
        """Keep what was logged, and let the error go on."""
        self.events.close()
        raise error


class EpochProgress:
    """A progress bar an epoch with the running loss, and one log line when it ends.

    Args:
        title: what is being trained.
        evaluator: its metrics join the line of an epoch in which it ran; its handler has to stand before this one.
        enabled: ``False`` keeps the line and drops the bar.
    """

    def __init__(self, title: str = "train", evaluator: Engine | None = None, enabled: bool = True) -> None:
        self.title, self.evaluator, self.enabled = title, evaluator, enabled and is_main_process()
        self._bar: tqdm | None = None
        self._losses: list[float] = []

    def attach(self, engine: Engine) -> None:
        """Register with a trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.step)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.end)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self.stop_and_raise)

    def start(self, engine: Engine) -> None:
        """Open the epoch's bar."""
        text = f"{self.title} {engine.state.epoch}/{engine.state.max_epochs}"
        self._bar = tqdm(total=engine.state.epoch_length, desc=text, disable=not self.enabled, leave=False)
        self._losses = []

    def step(self, engine: Engine) -> None:
        """Advance by one step."""
        self._losses.append(engine.state.output["loss"].item())
        if not math.isfinite(self._losses[-1]):
            raise FloatingPointError(
                f"the loss is {self._losses[-1]} at step {engine.state.iteration}; lower the learning rate, "
                "or look for bad images with `python -m medvlm doctor`."
            )
        if self._bar is not None:
            self._bar.set_postfix(loss=f"{self._losses[-1]:.3f}", refresh=False)
            self._bar.update()

    def end(self, engine: Engine) -> None:
        """Close the bar and log the epoch."""
        self._close()
        scores = [f" {name} {value:.3f}" for name, value in metrics_of_epoch(self.evaluator, engine).items()]
        mean = sum(self._losses) / max(1, len(self._losses))
        logger.info("%s epoch %d/%d: loss %.4f%s", self.title, engine.state.epoch, engine.state.max_epochs, mean,
                    "".join(scores))

    def stop_and_raise(self, engine: Engine, error: Exception) -> None:
        """Close the bar before the error's words."""
        self._close()
        raise error

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class ImagePanels:
    """Write validation pictures (input, truth, prediction, class activation) to TensorBoard.

    Args:
        events: the event file.
        cam: activation map, see :func:`medvlm.handlers.case_pictures.take_picture`, or ``None``.
        network: what ``cam`` looks into.
        count: pictures an epoch.
        every: epochs between two sets.
    """

    def __init__(
        self,
        events: EventFile,
        cam: Callable[..., torch.Tensor] | None = None,
        network: torch.nn.Module | None = None,
        count: int = 4,
        every: int = 1,
    ) -> None:
        if (cam is None) != (network is None):
            raise ValueError("ImagePanels needs cam and network together; give both or neither.")
        self.events, self.cam, self.network, self.count, self.every = events, cam, network, count, every
        self._epoch = 0

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator; rank 0 writes for all."""
        if is_main_process():
            engine.add_event_handler(Events.EPOCH_STARTED, self.begin)
            engine.add_event_handler(Events.ITERATION_COMPLETED, self.write)

    def begin(self, engine: Engine) -> None:
        """Count the evaluator's runs; each is one of the trainer's validations."""
        self._epoch += 1

    def write(self, engine: Engine) -> None:
        """Draw the first cases of the run."""
        number = engine.state.iteration - 1
        if number >= self.count or (self._epoch - 1) % self.every:
            return
        for batch, output in zip(engine.state.batch, engine.state.output, strict=True):
            picture = take_picture(batch, output, cam=self.cam, network=self.network)
            title = str(batch.get("case_id", number))
            self.events.writer.add_image(f"cases/{number:02d}", picture.array(title), self._epoch, dataformats="HWC")
