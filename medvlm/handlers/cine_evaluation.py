"""From evaluated studies to ``evaluation.json``, ``cases.csv``, ``embeddings.npz`` and the HTML report."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.networks.utils import eval_mode
from tqdm import tqdm

from medvlm.atomic import write_atomically, write_text_atomically
from medvlm.handlers.caption_evidence import caption_text
from medvlm.handlers.case_files import sha256_of
from medvlm.handlers.checkpoint import is_main_process
from medvlm.handlers.cine_examples import chosen_examples, found_studies, picture_found, picture_study, retrieved
from medvlm.handlers.cine_gallery import add_nearest, embed_gallery
from medvlm.handlers.gathering import gathered
from medvlm.handlers.view_problems import view_problems
from medvlm.metrics.bert_score import check_bert_model
from medvlm.metrics.cine_rows import study_rows
from medvlm.metrics.cine_summary import Study, summarise_studies
from medvlm.metrics.rows import write_rows
from medvlm.metrics.zero_shot import embed_prompts
from medvlm.metrics.zero_shot_tasks import zero_shot_tasks
from medvlm.tokenizer_fingerprint import fingerprint
from medvlm.trained_settings import caution
from medvlm.visualize.cine_report import write_cine_report
from medvlm.write_errors import check_writable

logger = logging.getLogger(__name__)


@dataclass
class CineEvaluationWriter:
    """Collect what a ``CineInferer`` gives of every study, score it, and write what a reviewer reads.

    Writes ``evaluation.json``, ``cases.csv``, ``embeddings.npz`` (``video``, ``text``, ``case_id``, ``readable``) and
    ``report.html`` into ``output_dir``, each replaced atomically, when the evaluator completes. In a distributed run
    the first process writes for all; a study that a sampler repeats counts once. Studies without a readable view have
    no part in any score, and are listed.

    Args:
        output_dir: where the files go.
        bundle: ``{"name", "version"}`` for the headline.
        weights: the weights file; its SHA-256 is recorded.
        tokenizer: of the reports.
        cases: of the section, in the order of the evaluator's dataset; the targets of the zero-shot tasks are theirs.
        section: name of the section.
        prompts: zero-shot tasks, name -> fields of ``ZeroShotTask``.
        max_tokens: prompts are cut there, as reports are.
        gallery: loader of the training section, for the nearest-neighbour report; none or empty: it is left out.
        generate: settings of the captions, for the record.
        name: of this run, in the comparison.
        against: name -> ``cases.csv`` of other runs on the same studies.
        bert_model: folder of a model for BERTScore; none: it is left out.
        pictured: how many studies are shown in the report.
        top: how many retrieved reports are shown of each.
        seed: of the bootstrap.
        n_boot: bootstrap repeats.
        command: the command that repeats the evaluation.
        progress: show a bar.
        seen: what the network is shown here, compared with its training (``medvlm.trained_settings``).

    Raises:
        ValueError: for a zero-shot task that is not possible.
        FileNotFoundError: there is no model at ``bert_model``.
    """

    output_dir: str
    bundle: dict[str, str]
    weights: str
    tokenizer: Any
    cases: Sequence[Mapping[str, Any]]
    section: str = "test"
    prompts: Mapping[str, Mapping[str, Any]] | None = None
    max_tokens: int = 128
    gallery: Iterable[dict[str, Any]] | None = None
    generate: Mapping[str, Any] | None = None
    name: str = "this run"
    against: Mapping[str, str] | None = None
    bert_model: str | None = None
    pictured: int = 6
    top: int = 5
    seed: int = 0
    n_boot: int = 1000
    command: str = ""
    progress: bool = True
    seen: Mapping[str, Any] | None = None
    _found: list[Study] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        self.tasks = zero_shot_tasks(self.prompts)
        if self.bert_model:
            check_bert_model(self.bert_model)
        self._boxes = {str(case["case_id"]): len(case.get("boxes") or ()) for case in self.cases}
        self._targets = {str(case["case_id"]): case.get("targets") or {} for case in self.cases}

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator that keeps its batches whole (``decollate=False``)."""
        engine.add_event_handler(Events.STARTED, self.begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.collect)
        engine.add_event_handler(Events.COMPLETED, self.write)

    def begin(self, engine: Engine) -> None:
        """Forget an earlier run, and try the folder.

        Raises:
            OSError: it cannot be written; names it, the option and the remedy.
        """
        if is_main_process():
            check_writable(self.output_dir, "--output_dir")
        self._found = []
        self._bar = tqdm(total=engine.state.epoch_length, desc=f"evaluate {self.section}", disable=not self.progress)

    def collect(self, engine: Engine) -> None:
        """Take the studies of one batch."""
        batch, pred = engine.state.batch, engine.state.output["pred"]
        video, text = (_rows(pred.get(f"{side}_embedding")) for side in ("video", "text"))
        for index, case in enumerate(batch["case_id"]):
            study = Study(
                case_id=str(case),
                patient_id=batch["patient_id"][index] or str(case),
                study_id=batch["study_id"][index],
                source=batch["source"][index] or "unknown",
                report=batch["report"][index],
                views_read=int(torch.as_tensor(batch["view_mask"])[index].sum()),
                problems=view_problems(batch, index),
                targets=self._targets.get(str(case), {}),
                video=None if video is None else video[index],
                text=None if text is None else text[index],
            )
            if "caption_ids" in pred:
                study.generated = caption_text(self.tokenizer, pred["caption_ids"][index].tolist())
                study.caption_score = float(pred["caption_scores"][index])
            if "located_boxes" in pred:
                known = pred["located_known"][index].cpu()
                study.found_boxes = pred["located_boxes"][index].float().cpu()[known].tolist()
                study.true_boxes = torch.as_tensor(batch["box_values"])[index, :, -4:][known].tolist()
                study.reference_boxes = self._boxes.get(str(case), 0)
            self._found.append(study)
        self._bar.update()

    def write(self, engine: Engine) -> None:
        """Summarise and write every file."""
        self._bar.close()
        studies = list({study.case_id: study for study in gathered(self._found)}.values())
        self._add_nearest(engine, studies)
        if not is_main_process():
            return
        prompts, scale = self._embedded_prompts(engine, studies)
        rows = study_rows(studies, self.tasks, prompts, scale)
        folder = Path(self.output_dir)
        write_rows(rows, folder / "cases.csv")
        _write_embeddings(studies, folder / "embeddings.npz")
        evaluation = {
            "bundle": dict(self.bundle),
            "checkpoint": {"file": Path(self.weights).name, "sha256": sha256_of(self.weights)},
            "tokenizer": {
                "fingerprint": fingerprint(self.tokenizer),
                "tokens": len(self.tokenizer),
                "report_style": getattr(self.tokenizer, "style", "as_written"),
            },
            "caution": caution(self.weights, self.seen),
            "section": self.section,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": self.command,
            "name": self.name,
            "generate": dict(self.generate or {}),
            **summarise_studies(
                studies,
                rows,
                self.tasks,
                prompts,
                self.against,
                self.name,
                self.bert_model,
                seed=self.seed,
                n_boot=self.n_boot,
            ),
        }
        for run, problem in evaluation["ablation"]["problems"].items():
            logger.warning("not compared with %s: %s", run, problem)
        evaluation["examples"], panels = self._examples(engine, studies, rows)
        write_text_atomically(json.dumps(evaluation, indent=2, allow_nan=False) + "\n", folder / "evaluation.json")
        path = write_cine_report(evaluation, rows, folder / "report.html", panels)
        engine.state.evaluation = evaluation
        logger.info("report: %s", path)

    def _add_nearest(self, engine: Engine, studies: list[Study]) -> None:
        """Give every study the report of the training study whose video is most alike."""
        aligned = any(study.readable and study.video is not None for study in studies)
        if self.gallery is None or not aligned or all(study.generated is None for study in studies):
            return
        gallery = embed_gallery(
            self.gallery, engine.network, engine.prepare_batch, engine.state.device, engine.amp, self.progress
        )
        if gallery is None:
            logger.warning("the gallery has no study with a report and a readable view: no nearest-neighbour report")
            return
        add_nearest(studies, gallery)

    def _embedded_prompts(self, engine: Engine, studies: Sequence[Study]) -> tuple[dict | None, float]:
        """Embeddings of the prompts and the network's temperature; none where it was not trained to align."""
        if any(study.video is None for study in studies) or not self.tasks:
            return None, 1.0
        network = getattr(engine.network, "module", engine.network)

        def embed(texts: list[str]) -> np.ndarray:
            tokens = self.tokenizer(
                texts, max_length=self.max_tokens, truncation=True, padding="max_length", return_tensors="pt"
            ).to(engine.state.device)
            with eval_mode(network):
                return network.embed_text(tokens["input_ids"], tokens["attention_mask"]).float().cpu().numpy()

        scale = float(network.loss_parameters.log_scale.detach().exp())
        return embed_prompts({name: task.prompts for name, task in self.tasks.items()}, embed), scale

    def _examples(
        self, engine: Engine, studies: Sequence[Study], rows: Sequence[Mapping[str, Any]]
    ) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
        """What the report shows of some studies, and their pictures, by ``KIND CASE``."""
        places = {str(case["case_id"]): place for place, case in enumerate(self.cases)}
        examples, panels = [], {}
        for number in chosen_examples(rows, self.pictured):
            study, row = studies[number], rows[number]
            example: dict[str, Any] = {"case_id": study.case_id, "report": study.report, "generated": study.generated}
            if row.get("rank_video_to_text") is not None:
                example["rank"] = row["rank_video_to_text"]
                example["retrieved"] = retrieved(studies, number, row, self.top)
                example["found"] = found_studies(studies, number, row, self.top)
                panels[f"found {study.case_id}"] = picture_found(engine, example["found"], places)
            pictures, example["sentences"] = picture_study(engine, places[study.case_id], self.tokenizer)
            panels |= {f"{kind} {study.case_id}": picture for kind, picture in pictures.items()}
            examples.append(example)
        return examples, panels


def _rows(value: torch.Tensor | None) -> np.ndarray | None:
    return None if value is None else value.detach().float().cpu().numpy()


def _write_embeddings(studies: Sequence[Study], path: Path) -> None:
    """Write the embeddings that there are, with the ids of their studies."""
    arrays: dict[str, Any] = {
        "case_id": np.array([study.case_id for study in studies]),
        "readable": np.array([study.readable for study in studies]),
    }
    for side in ("video", "text"):
        vectors = [getattr(study, side) for study in studies]
        if all(vector is not None for vector in vectors):
            arrays[side] = np.stack(vectors)
    if len(arrays) > 2:
        write_atomically(lambda file: np.savez_compressed(file, **arrays), path)
