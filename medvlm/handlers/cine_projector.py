"""TensorBoard's embedding projector: studies and their reports in the space that they share, with thumbnails."""

from __future__ import annotations

import shutil
import textwrap
from pathlib import Path

import numpy as np
import torch
from ignite.engine import Engine, Events
from torch.utils.tensorboard import SummaryWriter

from medvlm.handlers.board import EventFile
from medvlm.handlers.checkpoint import is_main_process
from medvlm.handlers.embedded_studies import EmbeddedStudy, embedded_studies, gathered_studies
from medvlm.handlers.surviving import surviving
from medvlm.metrics.angiography_facts import extract_facts
from medvlm.metrics.angiography_findings import GRADES

FOLDER = "projector"
COLUMNS = ("kind", "case", "worst stenosis", "dominance", "report")
TINT = (1.0, 0.75, 0.35)  # of the thumbnails of reports


class ProjectorBoard:
    """Write the embeddings of validation studies for the projector, replacing those of the validation before.

    A study has two points: its video, with a thumbnail (the frame in the middle of its first view), and its report,
    with the same thumbnail in amber. What the report says of the worst stenosis and of the dominance can be used for
    colours. The files lie in the folder ``projector`` of the log directory, an own run of TensorBoard; nothing
    accumulates. A failure is logged, and the training goes on.

    Args:
        events: the event file, for its folder; rank 0 writes for all.
        limit: the most studies, those that are evaluated first; 0: none.
        every: validations between two sets.
        thumbnail: side in pixels.

    Raises:
        ValueError: when a number is out of its range.
    """

    def __init__(self, events: EventFile, limit: int = 256, every: int = 1, thumbnail: int = 48) -> None:
        if limit < 0 or every < 1 or not 8 <= thumbnail <= 128:
            raise ValueError(
                "limit must be at least 0, every at least 1 and thumbnail 8 to 128 pixels, got "
                f"{limit}, {every} and {thumbnail}."
            )
        side = thumbnail * int(np.ceil(np.sqrt(2 * limit)))
        if side > 8192:
            raise ValueError(
                f"{2 * limit} thumbnails of {thumbnail} pixels make a picture of {side}, the projector shows at most "
                "8192; lower limit or thumbnail."
            )
        self.events, self.limit, self.every, self.thumbnail = events, limit, every, thumbnail
        self._runs = 0
        self._seen: list[EmbeddedStudy] = []

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator that keeps its batches whole (``decollate=False``)."""
        if self.limit:
            engine.add_event_handler(Events.STARTED, self.begin)
            engine.add_event_handler(Events.ITERATION_COMPLETED, self.collect)
            engine.add_event_handler(Events.COMPLETED, self.write)

    def begin(self, engine: Engine) -> None:
        """Forget an earlier run, and count this one."""
        self._seen, self._runs = [], self._runs + 1

    def collect(self, engine: Engine) -> None:
        """Take the studies of one batch, until there are enough."""
        if (self._runs - 1) % self.every == 0 and len(self._seen) < self.limit:
            with surviving("a part of the embedding projector"):
                self._seen += [s for s in embedded_studies(engine, self.thumbnail) if s.readable]

    def write(self, engine: Engine) -> None:
        """Replace the files of the projector."""
        if (self._runs - 1) % self.every:
            return
        studies, self._seen = gathered_studies(self._seen)[: self.limit], []
        if studies and is_main_process():
            with surviving("the embedding projector"):
                write_projector(Path(self.events.log_dir) / FOLDER, studies, engine.state.epoch)


def write_projector(folder: Path, studies: list[EmbeddedStudy], epoch: int) -> None:
    """Write the projector's files of studies.

    Args:
        folder: is emptied first.
        studies: readable ones with thumbnails.
        epoch: number of the embedding.
    """
    points, rows, pictures = [], [], []
    for study in studies:
        for kind, point in (("video", study.video), ("report", study.text)):
            if kind == "video" or study.report:
                points.append(point)
                rows.append(describe(study, kind))
                pictures.append(study.thumbnail[None] / 255 * np.reshape(TINT if kind == "report" else 1.0, (-1, 1, 1)))
    pictures = torch.from_numpy(np.stack([np.broadcast_to(p, (3, *p.shape[1:])) for p in pictures])).float()
    shutil.rmtree(folder, ignore_errors=True)
    writer = SummaryWriter(str(folder))
    writer.add_embedding(np.stack(points), rows, pictures, epoch, "studies", list(COLUMNS))
    writer.close()


def describe(study: EmbeddedStudy, kind: str) -> list[str]:
    """What the projector says of a point, in the order of ``COLUMNS``; in one line without tabs."""
    facts = extract_facts(study.report)
    worst = max(facts.stenosis.values(), key=GRADES.index, default="unknown")
    report = textwrap.shorten(study.report, 160, placeholder=" \N{HORIZONTAL ELLIPSIS}") or "unknown"
    return [kind, " ".join(study.case_id.split()), worst, facts.dominance or "unknown", report]
