"""From evaluated cases to ``evaluation.json``, ``cases.csv``, the pictures and the HTML report."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.data import MetaTensor
from tqdm import tqdm

from medvlm.atomic import write_atomically, write_text_atomically
from medvlm.handlers.case_fields import case_fields
from medvlm.handlers.case_files import sha256_of
from medvlm.handlers.case_pictures import CasePicture, take_picture
from medvlm.handlers.checkpoint import is_main_process
from medvlm.handlers.input_kind import input_kind
from medvlm.handlers.mask_gate import EvaluationGate
from medvlm.metrics.operating_point import (
    DEFAULT_POINT,
    choose_operating_point,
    load_operating_point,
    misfit,
    save_operating_point,
)
from medvlm.metrics.rows import check_compared, score_case, write_rows
from medvlm.metrics.summary import summarise
from medvlm.trained_settings import caution
from medvlm.visualize.report import write_report
from medvlm.write_errors import check_writable

logger = logging.getLogger(__name__)


@dataclass
class EvaluationWriter:
    """Score every case of an evaluator on its own grid and write what a reviewer reads.

    Writes ``evaluation.json``, ``cases.csv``, ``features.npz`` (pooled features, for the confounding audit) and
    ``report.html`` into ``output_dir``, each replaced atomically, when the evaluator completes.

    Args:
        output_dir: where the files go.
        regions: names of the mask's channels.
        bundle: ``{"name", "version"}`` for the headline.
        weights: the weights file; its SHA-256 is recorded.
        operating_point: file of the frozen threshold; read, or written when ``freeze`` is set.
        section: section of the datalist, for the headline; ``test`` never chooses a threshold.
        freeze: choose the threshold on this section and write it to ``operating_point``.
        target_sensitivity: what the threshold is to reach.
        min_positives: fewest tumour cases on which a threshold may be chosen.
        settings: what besides the weights decides the probability, by name; stored with a chosen threshold, and one
            that was chosen under others is not used.
        seen: what the network is shown here, compared with its training (``medvlm.trained_settings``).
        mask_gate: empty the masks of cases whose tumour probability lies below the threshold (``"threshold"``) or a
            number; None empties none.
        threshold: probability above which a voxel belongs to a region.
        lesionwise: convention of the lesion-wise scores, or ``None`` to leave them out.
        name: of this run, in the ablation.
        against: ``{name: cases.csv}`` of other runs on the same cases, for the ablation.
        cam: activation map drawn beside the worst cases, see :func:`take_picture`, or ``None``.
        network: what ``cam`` looks into.
        seed: seed of the bootstrap.
        n_boot: bootstrap repeats.
        command: the command that repeats the evaluation, for the report's provenance.
    """

    output_dir: str
    regions: Sequence[str]
    bundle: dict[str, str]
    weights: str
    operating_point: str
    section: str = "test"
    freeze: bool = False
    target_sensitivity: float = 0.95
    min_positives: int = 10
    settings: dict[str, Any] | None = None
    seen: dict[str, Any] | None = None
    mask_gate: str | float | None = None
    threshold: float = 0.5
    lesionwise: str | None = "gli"
    name: str = "joint"
    against: dict[str, str] | None = None
    cam: Any = None
    network: Any = None
    seed: int = 0
    n_boot: int = 1000
    command: str = ""
    progress: bool = True
    _rows: list[dict[str, Any]] = field(default_factory=list, init=False, repr=False)
    _features: list[np.ndarray] = field(default_factory=list, init=False, repr=False)
    _pictures: dict[str, CasePicture] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse a gate that is none."""
        self._gate = EvaluationGate(self.mask_gate)

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator whose post-processing gives ``pred_mask`` on the label's grid."""
        engine.add_event_handler(Events.STARTED, self.begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.score)
        engine.add_event_handler(Events.COMPLETED, self.write)

    def begin(self, engine: Engine) -> None:
        """Forget an earlier run, try the folders, and read the operating point in use.

        Raises:
            FileNotFoundError: a run to compare with does not exist.
            OSError: what is to be written cannot be; names the folder, the option and the remedy.
        """
        if is_main_process():
            check_compared(self.against)
            check_writable(self.output_dir, "--output_dir")
            if self.freeze:
                check_writable(Path(self.operating_point).parent, "--operating_point")
        self._rows, self._features, self._pictures = [], [], {}
        self._found = None if self.freeze else self._read_point()
        self._gate.set(None if self._found is None or "note" in self._found else self._found, self.freeze)
        self._bar = tqdm(total=engine.state.epoch_length, desc=f"evaluate {self.section}", disable=not self.progress)

    def score(self, engine: Engine) -> None:
        """Score the cases of one batch."""
        for number, case in enumerate(case_fields(engine.state)):
            self._rows.append(self._row(case))
            if "pred_features" in case:
                self._features.append(torch.as_tensor(case["pred_features"]).float().cpu().numpy())
            batch, output = engine.state.batch[number], engine.state.output[number]
            if self._rows[-1].get("mask_emptied"):
                output = {**output, "pred_mask": torch.zeros_like(output["pred_mask"])}
            picture = take_picture(batch, output, self.threshold, self.cam, self.network)
            self._pictures[str(case["case_id"])] = picture
        self._bar.update()

    def write(self, engine: Engine) -> None:
        """Summarise and write every file."""
        self._bar.close()
        folder = Path(self.output_dir)
        point = self._chosen_point() if self.freeze else self._found
        write_rows(self._rows, folder / "cases.csv")
        features = np.stack(self._features) if self._features else None
        if features is not None:
            arrays = {"features": features, "case_id": [row["case_id"] for row in self._rows]}
            write_atomically(lambda file: np.savez_compressed(file, **arrays), folder / "features.npz")
        evaluation = {
            "bundle": dict(self.bundle),
            "checkpoint": {"file": Path(self.weights).name, "sha256": _sha256(Path(self.weights))},
            "caution": caution(self.weights, self.seen),
            "section": self.section,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": self.command,
            **summarise(
                self._rows,
                features=features,
                operating_point=point,
                regions=list(self.regions),
                others=self.against,
                name=self.name,
                seed=self.seed,
                n_boot=self.n_boot,
            ),
            "mask_gate": self._gate.summary(self._rows, list(self.regions), self.seed, self.n_boot),
        }
        if evaluation["mask_gate"]:
            told = ("emptied", "with_tumour", "without_tumour", "unknown")
            logger.info("mask gate: %s", {name: evaluation["mask_gate"][name] for name in told})
        write_text_atomically(json.dumps(evaluation, indent=2, allow_nan=False) + "\n", folder / "evaluation.json")
        path = write_report(evaluation, self._rows, folder / "report.html", panels=self._panels(evaluation))
        engine.state.evaluation = evaluation
        logger.info("report: %s", path)

    def _row(self, case: dict[str, Any]) -> dict[str, Any]:
        known = bool(float(case["mask_known"]))
        row: dict[str, Any] = {
            "case_id": str(case["case_id"]),
            "patient_id": str(case.get("patient_id", case["case_id"])),
            "source": str(case.get("source", "unknown")),
            "kind": input_kind(case["label"]),
            "tumour": int(case["tumour"]) if float(case["tumour_known"]) else None,
            "probability": case.get("probability"),
            "mask_known": int(known),
        }
        if "pred_mask" in case:
            pred = _array(case["pred_mask"]) > self.threshold
            truth = _array(case["label"]) > 0.5 if known else None
            spacing = None if row["kind"] == "picture" else _spacing(case["label"])
            closed = self._gate.closes(row["kind"], row["probability"])
            shown = np.zeros_like(pred) if closed else pred
            row.update(score_case(shown, truth, spacing, list(self.regions), lesionwise=self.lesionwise))
            row.update(self._gate.columns(pred, truth, spacing, list(self.regions), closed))
        return row

    def _chosen_point(self) -> dict[str, Any]:
        path = Path(self.operating_point)
        known = [row for row in self._rows if row["tumour"] is not None and row["probability"] is not None]
        point = choose_operating_point(
            [row["tumour"] for row in known],
            [row["probability"] for row in known],
            target_sensitivity=self.target_sensitivity,
            section=self.section,
            patients=[row["patient_id"] for row in known],
            kinds=[row["kind"] for row in known],
            min_positives=self.min_positives,
            checkpoint_sha256=_sha256(Path(self.weights)),
            settings=self.settings,
        )
        save_operating_point(point, path)
        chosen = {kind: round(own["threshold"], 4) for kind, own in point["kinds"].items()}
        common = round(point["threshold"], 4)
        logger.info("threshold %s (%s) chosen on %s and frozen in %s", common, chosen, self.section, path)
        return point

    def _read_point(self) -> dict[str, Any] | None:
        path = Path(self.operating_point)
        if not path.is_file():
            return None
        point = load_operating_point(path)
        reason = misfit(point, _sha256(Path(self.weights)), self.settings)
        if reason:
            logger.warning("%s %s. It is not used: verdicts are at 0.5, not calibrated.", path, reason)
            return {**DEFAULT_POINT, "note": f"{path.name} {reason}"}
        return point

    def _panels(self, evaluation: dict[str, Any]) -> dict[str, bytes]:
        wanted = list(evaluation.get("worst") or [])
        wanted += list((evaluation.get("agreement") or {}).get("disagreeing") or [])[:10]
        rows = {str(row["case_id"]): row for row in self._rows}
        panels = {}
        for name in dict.fromkeys(str(case) for case in wanted):
            picture, row = self._pictures.get(name), rows.get(name)
            if picture is None or row is None:
                continue
            panels[name] = picture.png(footer=_footer(row, self.regions))  # the report writes the name above it
        return panels


def _array(value: Any) -> np.ndarray:
    return torch.as_tensor(value).detach().cpu().numpy()


def _spacing(value: Any) -> tuple[float, ...]:
    """Voxel size in mm of a ``MetaTensor``; 1 mm where a plain tensor has none."""
    return tuple(float(s) for s in value.pixdim) if isinstance(value, MetaTensor) else (1.0, 1.0, 1.0)


def _footer(row: dict[str, Any], regions: Sequence[str]) -> str:
    """What the numbers say about a case, in one line."""
    words = [f"source {row['source']}"]
    if row["probability"] is not None:
        words.append(f"tumour probability {row['probability']:.2f}")
    if row["tumour"] is not None:
        words.append("truth: tumour" if row["tumour"] else "truth: no tumour")
    words += ["mask emptied"] if row.get("mask_emptied") else []
    words += [f"Dice {r} {row[f'dice_{r}']:.2f}" for r in regions if row.get(f"dice_{r}") is not None]
    return ", ".join(words)


def _sha256(path: Path) -> str | None:
    """The weights' hash, or ``None`` where the file does not exist."""
    return sha256_of(path) if path.is_file() else None
