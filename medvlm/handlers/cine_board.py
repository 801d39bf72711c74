"""TensorBoard of a video-text network: retrieval beside chance, written reports beside theirs, where it looked."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.data import list_data_collate
from monai.networks.utils import eval_mode
from PIL import Image

from medvlm.handlers.board import EventFile
from medvlm.handlers.caption_evidence import caption_text
from medvlm.handlers.checkpoint import is_main_process, unwrapped
from medvlm.handlers.cine_examples import telling_looks, view_labels
from medvlm.handlers.embedded_studies import EmbeddedStudy, embedded_studies, gathered_studies
from medvlm.handlers.surviving import surviving
from medvlm.metrics.fact_scores import fact_counts, facts_of
from medvlm.metrics.retrieval import retrieval_report
from medvlm.visualize.cine_panels import looked_at

SHOWN = ("hit@1", "hit@5", "mrr", "median_rank")
WAYS = ("video_to_text", "text_to_video")
LONGEST = 2000  # characters of a report
TRIES = 8  # studies that are looked at to find one that can be shown


class RetrievalBoard:
    """Write how well studies and reports find each other after every validation, each score beside chance.

    The scores are those of ``medvlm.metrics.retrieval``, over the studies of all processes: ``retrieval/WAY/SCORE`` and
    ``retrieval/WAY/SCORE_by_chance``, and the page Custom Scalars, which has both in one chart. A network without
    embeddings, or fewer than two studies with a report, writes nothing.

    Args:
        events: the event file; rank 0 writes for all.
    """

    def __init__(self, events: EventFile) -> None:
        self.events = events
        self._seen: list[EmbeddedStudy] = []
        self._charted = False

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator that keeps its batches whole (``decollate=False``)."""
        engine.add_event_handler(Events.STARTED, self.begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.collect)
        engine.add_event_handler(Events.COMPLETED, self.write)

    def begin(self, engine: Engine) -> None:
        """Forget an earlier run."""
        self._seen = []

    def collect(self, engine: Engine) -> None:
        """Take the studies of one batch."""
        with surviving("a part of the retrieval scores"):
            self._seen += embedded_studies(engine)

    def write(self, engine: Engine) -> None:
        """Write the scores at the trainer's epoch."""
        studies, self._seen = gathered_studies(self._seen), []
        if is_main_process() and sum(bool(s.report and s.readable) for s in studies) > 1:
            with surviving("the retrieval scores"):
                self._write(studies, engine.state.epoch)

    def _write(self, studies: list[EmbeddedStudy], epoch: int) -> None:
        report = retrieval_report(
            np.stack([study.video for study in studies]),
            np.stack([study.text for study in studies]),
            [study.report for study in studies],
            [study.patient_id for study in studies],
            [study.readable for study in studies],
            ks=(1, 5),
            n_boot=1,  # no intervals
        )
        for way in WAYS:
            for name in SHOWN:
                found = report[way]["metrics"][name]
                self.events.writer.add_scalar(f"retrieval/{way}/{name}", found["value"], epoch)
                self.events.writer.add_scalar(f"retrieval/{way}/{name}_by_chance", found["chance"], epoch)
        if not self._charted:
            self.events.writer.add_custom_scalars(retrieval_charts())
            self._charted = True


def retrieval_charts() -> dict[str, dict[str, list]]:
    """The layout of the page Custom Scalars: a chart a score, with both ways and chance."""
    charts = {}
    for name in SHOWN:
        tags = [f"retrieval/{way}/{name}{behind}" for way in WAYS for behind in ("", "_by_chance")]
        charts[name.replace("_", " ")] = ["Multiline", [f"^{tag}$" for tag in tags]]
    return {"retrieval": charts}


class ReportBoard:
    """Write what the captioner says of a few studies beside their reports, and where it looked.

    The studies are always the same, evenly spread over the validation section. ``reports/NN`` is text, ``looked/NN`` a
    picture: a row for each of the first sentences that claim something, with the frames that got most weight. A
    network whose captioner is absent or not trained writes nothing. A failure is logged, and the training goes on.

    Args:
        events: the event file; rank 0 writes.
        tokenizer: of the reports.
        count: studies; 0: none.
        every: validations between two sets.
        generate: settings of ``Captioner.generate``; by default greedy, as long as the captioner can.

    Raises:
        ValueError: when ``count`` is negative or ``every`` is below 1.
    """

    def __init__(
        self,
        events: EventFile,
        tokenizer: Any,
        count: int = 4,
        every: int = 1,
        generate: Mapping[str, Any] | None = None,
    ) -> None:
        if count < 0 or every < 1:
            raise ValueError(f"count must be at least 0 and every at least 1, got {count} and {every}.")
        self.events, self.tokenizer, self.count, self.every = events, tokenizer, count, every
        self.generate = dict(generate or {})
        self._runs = 0
        self._places: list[int] | None = None

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator; rank 0 writes for all."""
        if self.count and is_main_process():
            engine.add_event_handler(Events.COMPLETED, self.write)

    def write(self, engine: Engine) -> None:
        """Caption the studies and write them at the trainer's epoch."""
        self._runs += 1
        network = unwrapped(engine.network)
        if (self._runs - 1) % self.every or "captioning" not in getattr(network, "objectives", ()):
            return
        with surviving("the examples of written reports"):
            dataset = engine.state.dataloader.dataset
            if self._places is None:
                self._places = shown_places(dataset, self.count)
            if self._places:
                self._write(engine, network, list_data_collate([dataset[place] for place in self._places]))

    def _write(self, engine: Engine, network: Any, batch: dict[str, Any]) -> None:
        video, _, _, inputs = engine.prepare_batch(batch, engine.state.device, engine.non_blocking)
        settings = {"max_length": network.captioner.max_length} | self.generate
        views = {name: inputs.get(name) for name in ("view_mask", "angles", "side", "side_known")}
        with eval_mode(network), torch.autocast(torch.device(engine.state.device).type, enabled=engine.amp):
            written = network.caption(video, **views, **settings)
        for index, case in enumerate(batch["case_id"]):
            ids = written.ids[index].tolist()
            text = caption_text(self.tokenizer, ids)
            words = report_table(str(case), text, batch["report"][index], float(written.scores[index]))
            self.events.writer.add_text(f"reports/{index:02d}", words, engine.state.epoch)
            if written.attention is not None:
                with surviving(f"the picture of where the captioner looked in {case}"):
                    self._picture(batch, index, ids, written.attention[index], engine.state.epoch)

    def _picture(self, batch: dict[str, Any], index: int, ids: list[int], attention: Any, epoch: int) -> None:
        kept = torch.nonzero(torch.as_tensor(batch["view_mask"])[index]).flatten().tolist()
        looks = telling_looks(self.tokenizer, ids, attention.float().cpu().numpy()[:, kept])
        if not looks:
            return
        frames = torch.as_tensor(batch["video"])[index, kept, 0].float().cpu().numpy()  # (N, T, H, W)
        png = looked_at(frames, view_labels(batch, kept, index), looks)
        picture = np.asarray(Image.open(BytesIO(png)).convert("RGB"))
        self.events.writer.add_image(f"looked/{index:02d}", picture, epoch, dataformats="HWC")


def shown_places(dataset: Any, count: int) -> list[int]:
    """Places of studies with a readable view and a report, evenly spread over a data set.

    Args:
        dataset: of preprocessed studies.
        count: the most places.
    """
    total = len(dataset)
    found: list[int] = []
    for start in np.linspace(0, total, min(count, total), endpoint=False).astype(int).tolist():
        for place in range(start, min(start + TRIES, total)):
            if place not in found and _can_be_shown(dataset[place]):
                found.append(place)
                break
    return found


def _can_be_shown(study: Mapping[str, Any]) -> bool:
    return bool(torch.as_tensor(study["view_mask"]).any()) and bool(str(study.get("report", "")).strip())


def report_table(case: str, written: str, reference: str, score: float) -> str:
    """A written report beside its reference, as Markdown with the facts counted.

    Args:
        case: id of the study.
        written: by the network.
        reference: by a person.
        score: of the generation, its log-probability.
    """
    right, extra, missed = fact_counts(facts_of([written]), facts_of([reference]), "all")[0].astype(int).tolist()
    head = f"study {_cell(case)}: {right} facts right, {extra} wrong or made up, {missed} missed; score {score:.2f}"
    rows = ("written by the network", "reference"), ("---", "---"), (_cell(written) or "(nothing)", _cell(reference))
    return "\n".join([head, "", *(f"| {left} | {right} |" for left, right in rows)])


def _cell(text: str) -> str:
    """One line that Markdown takes as it stands."""
    text = textwrap.shorten(text, LONGEST, placeholder=" \N{HORIZONTAL ELLIPSIS}")
    for character in "\\`*_|<>#[]":
        text = text.replace(character, f"\\{character}")
    return text
