"""The validation scores that choose a checkpoint: Dice a case, AUC over cases, and the mean of the two."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from ignite.engine import Engine, Events
from ignite.metrics import Metric
from sklearn.metrics import roc_auc_score

from medvlm.handlers.case_fields import case_fields
from medvlm.handlers.checkpoint import is_main_process
from medvlm.handlers.gathering import gathered

logger = logging.getLogger(__name__)
SCORES = ("joint", "dice", "roc_auc")


class CaseScore(Metric):
    """Score whole cases on their own grid.

    Dice follows the BraTS rule for empties (both empty 1, one empty 0) and is the mean over cases whose mask is known
    and over regions. ROC-AUC is over cases whose class is known. ``joint`` is the mean of those that are defined.
    A score that cannot be computed is NaN, which no checkpoint takes for better, and the reason is logged once.

    Args:
        score: ``"joint"``, ``"dice"`` or ``"roc_auc"``.
        threshold: probability above which a voxel belongs to a region.
        section: of the datalist, for the messages.
    """

    def __init__(self, score: str = "joint", threshold: float = 0.5, section: str = "validation") -> None:
        if score not in SCORES:
            raise ValueError(f"score must be one of {SCORES}, got {score!r}.")
        self.score, self.threshold, self.section = score, threshold, section
        self._told = False
        super().__init__()

    def attach(self, engine: Engine, name: str) -> None:
        """Update with the cases of every batch: Ignite hands a metric ``state.output``, the flags are in the batch."""
        engine.add_event_handler(Events.EPOCH_STARTED, lambda _: self.reset())
        engine.add_event_handler(Events.ITERATION_COMPLETED, lambda e: self.update(case_fields(e.state)))
        engine.add_event_handler(Events.EPOCH_COMPLETED, lambda e: e.state.metrics.update({name: self.compute()}))

    def reset(self) -> None:
        """Forget every case."""
        self._dice: list[float] = []
        self._classes: list[tuple[int, float]] = []

    def update(self, output: Sequence[dict[str, Any]]) -> None:
        """Take decollated cases.

        Args:
            output: one dictionary a case: ``pred_mask`` probabilities (R, X, Y, Z), ``label`` 0/1 of the same shape,
                ``probability`` of a tumour, and the flags ``mask_known``, ``tumour``, ``tumour_known``.
        """
        for case in output:
            if float(case["mask_known"]) and "pred_mask" in case:
                pred = torch.as_tensor(case["pred_mask"]) > self.threshold
                truth = torch.as_tensor(case["label"]) > 0.5
                self._dice.append(_dice(pred, truth))
            if float(case["tumour_known"]) and "probability" in case:
                self._classes.append((int(case["tumour"]), float(case["probability"])))

    def compute(self) -> float:
        """The score over all cases of all processes; NaN where it is undefined for lack of a class or of masks."""
        dice, classes = gathered(self._dice), gathered(self._classes)
        if not dice and not classes:
            raise RuntimeError("CaseScore has seen no case with a known mask or class; give the section some.")
        counts = Counter(truth for truth, _ in classes)
        values: dict[str, float | None] = {
            "dice": sum(dice) / len(dice) if dice else None,
            "roc_auc": _auc(classes) if len(counts) == 2 else None,
        }
        wanted = [values[name] for name in ("dice", "roc_auc") if self.score in ("joint", name)]
        defined = [value for value in wanted if value is not None]
        if not defined:
            self._tell(f"{len(dice)} known masks, {counts[0]} cases without and {counts[1]} with a tumour")
        return sum(defined) / len(defined) if defined else float("nan")

    def _tell(self, why: str) -> None:
        if not self._told and is_main_process():
            logger.warning(
                "the score %r cannot be computed on section %r (%s); where it chooses the weights, the last "
                "epoch's are kept: give the section such cases, or choose by another score.",
                self.score,
                self.section,
                why,
            )
        self._told = True


def _auc(classes: list[tuple[int, float]]) -> float:
    return float(roc_auc_score([truth for truth, _ in classes], [score for _, score in classes]))


def _dice(pred: torch.Tensor, truth: torch.Tensor) -> float:
    values = []
    for one, other in zip(pred, truth, strict=True):
        total = int(one.sum()) + int(other.sum())
        values.append(1.0 if total == 0 else 2.0 * int((one & other).sum()) / total)
    return sum(values) / len(values)
