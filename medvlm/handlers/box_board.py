"""How well a captioner finds the places of phrases, on TensorBoard beside what looking at nothing would reach."""

from __future__ import annotations

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.networks.utils import eval_mode

from medvlm.handlers.board import EventFile
from medvlm.handlers.checkpoint import is_main_process, unwrapped
from medvlm.handlers.gathering import gathered
from medvlm.handlers.located_boxes import located
from medvlm.handlers.surviving import surviving
from medvlm.metrics.box_scores import HIT, iou


class BoxBoard:
    """Let the captioner locate the phrases of a validation section's boxes, and write how well they lie.

    ``boxes/iou`` is the mean intersection over union, ``boxes/found`` the share of at least 0.5, ``boxes/count`` how
    many boxes these are; ``boxes/iou_of_mean_box`` and ``boxes/found_of_mean_box`` are those of the mean box, which
    looks at nothing. A network without box tokens writes nothing. A failure is logged, and the training goes on.

    Args:
        events: the event file; rank 0 writes.
        limit: boxes of a process that are looked for; 0: none.

    Raises:
        ValueError: when ``limit`` is negative.
    """

    def __init__(self, events: EventFile, limit: int = 128) -> None:
        if limit < 0:
            raise ValueError(f"limit must be at least 0, got {limit}.")
        self.events, self.limit = events, limit
        self._seen: list[tuple[list[float], list[float]]] = []

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator that keeps its batches whole (``decollate=False``)."""
        engine.add_event_handler(Events.STARTED, lambda _: self._seen.clear())
        if self.limit:
            engine.add_event_handler(Events.ITERATION_COMPLETED, self.take)
            engine.add_event_handler(Events.COMPLETED, self.write)

    def take(self, engine: Engine) -> None:
        """Locate the boxes of one batch."""
        network = unwrapped(engine.network)
        if len(self._seen) >= self.limit or "boxes" not in getattr(network, "objectives", ()):
            return
        with surviving("the boxes of a batch"):
            video, _, _, inputs = engine.prepare_batch(engine.state.batch, engine.state.device, engine.non_blocking)
            kind = torch.device(engine.state.device).type
            with torch.no_grad(), eval_mode(network), torch.autocast(kind, enabled=engine.amp):
                found, known = located(network, video, inputs)
            true = inputs["boxes"]["box_values"][..., -4:]
            pairs = zip(found[known].float().tolist(), true[known].float().tolist(), strict=True)
            self._seen += list(pairs)[: self.limit - len(self._seen)]

    def write(self, engine: Engine) -> None:
        """Write the scores at the trainer's epoch."""
        pairs, self._seen = gathered(self._seen), []
        if not pairs or not is_main_process():
            return
        with surviving("the scores of boxes"):
            found, true = (np.array(side) for side in zip(*pairs, strict=True))
            writer, epoch = self.events.writer, engine.state.epoch
            writer.add_scalar("boxes/count", len(true), epoch)
            for name, boxes in (("", found), ("_of_mean_box", np.broadcast_to(true.mean(axis=0), true.shape))):
                overlap = iou(boxes, true)
                writer.add_scalar(f"boxes/iou{name}", overlap.mean(), epoch)
                writer.add_scalar(f"boxes/found{name}", (overlap >= HIT).mean(), epoch)

