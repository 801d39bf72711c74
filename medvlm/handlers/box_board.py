"""How well a captioner finds the places of phrases, on TensorBoard beside what looking at nothing would reach."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.networks.utils import eval_mode
from torch import Tensor

from medvlm.handlers.board import EventFile
from medvlm.handlers.checkpoint import is_main_process, unwrapped
from medvlm.handlers.gathering import gathered
from medvlm.handlers.surviving import surviving

HIT = 0.5  # intersection over union from which a box counts as found


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
                found, true = located(network, video, inputs)
            pairs = zip(found.float().tolist(), true.float().tolist(), strict=True)
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


def located(network: Any, video: Tensor, inputs: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Ask a ``CineTextNet`` for the places of the known phrases of a batch, each in its own view.

    Args:
        network: with box tokens.
        video: ``(B, N, C, T, H, W)``.
        inputs: of ``PrepareCineBatch`` with the objective ``boxes``.

    Returns:
        Corners ``(K, 4)`` (left, top, right, bottom as fractions) that were found, and the true ones.
    """
    boxes, mask = inputs["boxes"], inputs["view_mask"]
    features = network.encode(video, mask, inputs["angles"])
    context, real = network.context(features, inputs.get("side"), inputs.get("side_known"))
    view = boxes["box_views"].clamp(0, mask.shape[1] - 1)  # (B, M)
    rows, places = (boxes["box_known"].bool() & mask.gather(1, view)).nonzero(as_tuple=True)
    true = boxes["box_values"][rows, places, -4:]
    if not len(rows):
        return true, true
    own = (rows, view[rows, places])
    seen, there = (part.unflatten(1, (mask.shape[1], -1))[own] for part in (context, real))
    found, _ = network.captioner.locate(
        boxes["phrase_ids"][rows, places], boxes["phrase_mask"][rows, places], seen, there
    )
    return found[:, -4:], true


def iou(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Intersection over union ``(K,)`` of boxes ``(K, 4)``; 0 where both are empty."""
    low, high = np.maximum(one[:, :2], other[:, :2]), np.minimum(one[:, 2:], other[:, 2:])
    both = np.clip(high - low, 0, None).prod(axis=1)
    areas = sum(np.clip(box[:, 2:] - box[:, :2], 0, None).prod(axis=1) for box in (one, other))
    return both / np.maximum(areas - both, 1e-12)
