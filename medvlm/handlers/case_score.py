"""The validation scores that choose a checkpoint: Dice a case, AUC over cases, and the mean of the two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from ignite.engine import Engine, Events
from ignite.metrics import Metric
from sklearn.metrics import roc_auc_score

from medvlm.handlers.case_fields import case_fields
from medvlm.handlers.gathering import gathered

SCORES = ("joint", "dice", "roc_auc")


class CaseScore(Metric):
    """Score whole cases on their own grid.

    Dice follows the BraTS rule for empties (both empty 1, one empty 0) and is the mean over cases whose mask is known
    and over regions. ROC-AUC is over cases whose class is known. ``joint`` is the mean of those that are defined.

    Args:
        score: ``"joint"``, ``"dice"`` or ``"roc_auc"``.
        threshold: probability above which a voxel belongs to a region.
    """

    def __init__(self, score: str = "joint", threshold: float = 0.5) -> None:
        if score not in SCORES:
            raise ValueError(f"score must be one of {SCORES}, got {score!r}.")
        self.score, self.threshold = score, threshold
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
        """The score over all cases of all processes; 0 where it is undefined for lack of a class or of masks."""
        dice, classes = gathered(self._dice), gathered(self._classes)
        if not dice and not classes:
            raise RuntimeError("CaseScore has seen no case with a known mask or class; give the section some.")
        mean_dice = sum(dice) / len(dice) if dice else None
        truths = {truth for truth, _ in classes}
        auc = None
        if len(truths) == 2:
            auc = float(roc_auc_score([truth for truth, _ in classes], [score for _, score in classes]))
        if self.score == "dice":
            return mean_dice or 0.0
        if self.score == "roc_auc":
            return auc or 0.0
        defined = [value for value in (mean_dice, auc) if value is not None]
        return sum(defined) / len(defined) if defined else 0.0


def _dice(pred: torch.Tensor, truth: torch.Tensor) -> float:
    values = []
    for one, other in zip(pred, truth, strict=True):
        total = int(one.sum()) + int(other.sum())
        values.append(1.0 if total == 0 else 2.0 * int((one & other).sum()) / total)
    return sum(values) / len(values)
