"""From a probe's answers to ``evaluation.json``, ``cases.csv`` and the HTML report."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from torch import Tensor
from tqdm import tqdm

from medvlm.atomic import write_text_atomically
from medvlm.handlers.case_files import sha256_of
from medvlm.handlers.checkpoint import is_main_process
from medvlm.handlers.gathering import gathered
from medvlm.handlers.study_heads import read_points
from medvlm.handlers.view_problems import view_problems
from medvlm.metrics.operating_point import DEFAULT_POINT
from medvlm.metrics.probe_summary import (
    answer_column,
    choose_points,
    class_counts,
    compare_probes,
    summarise_probes,
    truth_column,
)
from medvlm.metrics.rows import check_compared, read_rows, write_rows
from medvlm.visualize.report import write_report
from medvlm.visualize.sections.probes import PROBE_SECTIONS
from medvlm.write_errors import check_writable

logger = logging.getLogger(__name__)


@dataclass
class ProbeEvaluation:
    """Score the heads of a probe study by study and write what a reviewer reads.

    Writes ``evaluation.json``, ``cases.csv`` and ``report.html`` into ``output_dir``, each replaced atomically. A study
    without a readable view is listed with the reasons and scored nowhere. In a distributed run the first process writes
    for all, and a study that a sampler repeats counts once.

    Args:
        output_dir: where the files go.
        heads: settings of the heads by name, as of ``ProbeHeads``.
        names: column of each head in ``targets``; the heads in their order by default.
        bundle: ``{"name", "version"}`` for the headline.
        weights: the weights file; its SHA-256 is recorded.
        operating_points: file of the frozen thresholds; read, or written when ``freeze`` is set.
        section: of the datalist; a test section never chooses a threshold.
        freeze: choose the thresholds on this section and write them to ``operating_points``.
        target_sensitivity: what the thresholds are to reach.
        min_positives: fewest positives on which a threshold may be chosen.
        settings: what besides the weights decides the probabilities, by name; stored with a chosen threshold, and one
            that was chosen under others is not used.
        constants: what looking at nothing would answer, by head, see :func:`training_constants`.
        against: ``{name: cases.csv}`` of other runs on the same studies.
        seed: of the bootstrap.
        n_boot: resamples of patients.
        command: that repeats the evaluation.
        progress: show a progress bar.
    """

    output_dir: str
    heads: Mapping[str, Mapping]
    bundle: Mapping[str, str]
    weights: str
    operating_points: str
    names: Sequence[str] | None = None
    section: str = "test"
    freeze: bool = False
    target_sensitivity: float = 0.9
    min_positives: int = 10
    settings: Mapping[str, Any] | None = None
    constants: Mapping[str, float] | None = None
    against: Mapping[str, str] | None = None
    seed: int = 0
    n_boot: int = 1000
    command: str = ""
    progress: bool = True
    _rows: list[dict[str, Any]] = field(default_factory=list, init=False, repr=False)

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator that keeps its batches whole (``decollate=False``)."""
        engine.add_event_handler(Events.STARTED, self.begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.take)
        engine.add_event_handler(Events.COMPLETED, self.write)

    def begin(self, engine: Engine) -> None:
        """Forget an earlier run, and try the folders.

        Raises:
            FileNotFoundError: a run to compare with does not exist.
            OSError: what is to be written cannot be; names the folder, the option and the remedy.
        """
        if is_main_process():
            check_compared(self.against)
            check_writable(self.output_dir, "--output_dir")
            if self.freeze:
                check_writable(Path(self.operating_points).parent, "--operating_points")
        self._rows = []
        self._bar = tqdm(total=engine.state.epoch_length, desc=f"evaluate {self.section}", disable=not self.progress)

    def take(self, engine: Engine) -> None:
        """Take the studies of one batch."""
        batch, pred, target = engine.state.batch, engine.state.output["pred"], engine.state.output["label"]
        for index in range(len(target["study_valid"])):
            self._rows.append(self._row(batch, pred, target, index))
        self._bar.update()

    def _row(self, batch: Mapping, pred: Mapping[str, Tensor], target: Mapping[str, Tensor], index: int) -> dict:
        row = {name: batch[name][index] for name in ("case_id", "patient_id", "source") if name in batch}
        row["patient_id"] = row.get("patient_id") or row["case_id"]
        valid = bool(target["study_valid"][index])
        row["readable_views"] = int(torch.as_tensor(batch["view_mask"][index]).sum())
        problems = view_problems(batch, index).items()
        row["view_problems"] = "; ".join(f"{file}: {why}" if file else why for file, why in problems)
        for column, head in enumerate(self.names or self.heads):
            if head not in self.heads:
                continue
            known = bool(target["targets_known"][index, column])
            row[truth_column(head)] = float(target["targets"][index, column]) if known else None
            row |= answers(head, self.heads[head]["kind"], pred[head][index] if valid else None)
        if "attention" in pred:
            row["attention"] = " ".join(f"{weight:.3f}" for weight in pred["attention"][index].tolist())
        return row

    def write(self, engine: Engine) -> None:
        """Summarise and write every file."""
        self._bar.close()
        rows, folder = list({row["case_id"]: row for row in gathered(self._rows)}.values()), Path(self.output_dir)
        if not is_main_process():
            return
        scored = [row for row in rows if row["readable_views"]]
        if not scored:
            raise ValueError(f"no study of {self.section!r} has a readable view; see python -m medvlm doctor.")
        digest = sha256_of(self.weights) if Path(self.weights).is_file() else None
        points = self._points(scored, digest)
        evaluation = {
            "bundle": dict(self.bundle),
            "checkpoint": {"file": Path(self.weights).name, "sha256": digest},
            "section": self.section,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": self.command,
            "seed": self.seed,
            "n_boot": self.n_boot,
            "n": {
                "studies": len(rows),
                "without_readable_view": len(rows) - len(scored),
                "patients": len({row["patient_id"] for row in rows}),
            },
            "heads": summarise_probes(scored, self.heads, points, self.constants, self.n_boot, self.seed),
            "against": self._compared(scored),
        }
        write_rows(rows, folder / "cases.csv")
        write_text_atomically(json.dumps(evaluation, indent=2, allow_nan=False) + "\n", folder / "evaluation.json")
        path = write_report(evaluation, rows, folder / "report.html", sections=PROBE_SECTIONS)
        engine.state.evaluation = evaluation
        logger.info("report: %s", path)

    def _points(self, rows: list[dict], digest: str | None) -> dict[str, dict]:
        path = Path(self.operating_points)
        if self.freeze:
            rules = (self.section, self.target_sensitivity, digest, self.min_positives, self.settings)
            points = choose_points(rows, self.heads, *rules)
            self._tell_missing(rows, points)
            if points:
                write_text_atomically(json.dumps(points, indent=4, allow_nan=False) + "\n", path)
                logger.info("thresholds of %s chosen on %s and frozen in %s", list(points), self.section, path)
            return points
        points, unfit = read_points(path, digest, self.settings)
        return points | {head: {**DEFAULT_POINT, "note": reason} for head, reason in unfit.items()}

    def _tell_missing(self, rows: list[dict], points: Mapping[str, dict]) -> None:
        """Say which binary heads got no threshold, and why."""
        binary = [head for head, spec in self.heads.items() if spec["kind"] == "binary"]
        lost = {head: class_counts(rows, head) for head in binary if head not in points}
        if lost:
            words = "; ".join(f"{head}: {n[1]} positive and {n[0]} negative" for head, n in lost.items())
            logger.warning(
                "no threshold is chosen on %s (%s), at least %d positive are needed%s: verdicts at 0.5; enlarge the "
                "section, or lower min_positives.",
                self.section, words, self.min_positives, "" if points else ", and no file is written",
            )  # fmt: skip
        elif not binary:
            logger.warning("none of the heads %s is binary: there is no threshold to choose", list(self.heads))

    def _compared(self, rows: list[dict]) -> dict[str, dict]:
        found = {}
        for name, file in (self.against or {}).items():
            ids = {row["case_id"] for row in rows}
            other = [row for row in read_rows(file) if row["case_id"] in ids]
            found[name] = compare_probes(rows, other, self.heads, self.n_boot, self.seed)
        return found


def answers(head: str, kind: str, logits: Tensor | None) -> dict[str, float | None]:
    """Columns of one head of one study; empty where no view could be read."""
    name = answer_column(head)
    if logits is None:
        return {name: None}
    values = logits.detach().float().reshape(-1)
    if kind == "binary":
        return {name: float(torch.sigmoid(values[0]))}
    if kind == "multiclass":
        chances = np.asarray(torch.softmax(values, dim=0).tolist())
        return {name: int(chances.argmax()), **{f"{name}_{k}": float(p) for k, p in enumerate(chances)}}
    return {name: float(values[0])}


def training_constants(cases: Sequence[Mapping[str, Any]], heads: Mapping[str, Mapping]) -> dict[str, float]:
    """What looking at nothing would answer: the training section's commonest class, or its median of a regression.

    Args:
        cases: of the training section, with ``targets``.
        heads: settings by name; ``kind`` is read.

    Returns:
        By head; those of which no training study knows the target are left out. Of equally common classes the first.
    """
    constants: dict[str, float] = {}
    for head, spec in heads.items():
        known = [float(v) for case in cases if (v := (case.get("targets") or {}).get(head)) is not None]
        if known and spec["kind"] == "regression":
            constants[head] = float(np.median(known))
        elif known:
            counts = Counter(int(value > 0.5) if spec["kind"] == "binary" else int(value) for value in known)
            constants[head] = min(counts, key=lambda kind: (-counts[kind], kind))
    return constants
