"""The validation scores that choose a checkpoint of a video-text network or a probe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from ignite.metrics import Metric
from sklearn.metrics import roc_auc_score
from torch import Tensor

from medvlm.handlers.gathering import gathered
from medvlm.metrics.tied_ranks import CosineSimilarity, scores, tied_ranks

LOSS = "loss"
RETRIEVAL = "retrieval"


class StudyScore(Metric):
    """Score the batches of a validation run, whole studies at a time; larger is better.

    Args:
        score: ``"retrieval"``: the mean reciprocal rank of the right report and of the right study, both ways, over all
            studies with a report and a readable view; ``"loss"`` or ``"loss/TERM"``: minus the loss or one of its
            terms, weighted by what each batch knows; ``"roc_auc"``: the mean ROC-AUC of the columns of ``targets``
            whose head is named in ``heads`` and whose both classes occur.
        loss: called with the network's output and the targets; needed for the losses.
        heads: for ``"roc_auc"`` the binary heads, by name, and their columns in ``targets``.

    Raises:
        ValueError: when the score is not known, or lacks what it is computed from.
    """

    def __init__(
        self, score: str = RETRIEVAL, loss: Callable | None = None, heads: Mapping[str, int] | None = None
    ) -> None:
        kind = score.split("/")[0]
        if kind not in (RETRIEVAL, LOSS, "roc_auc"):
            raise ValueError(f"score must be 'retrieval', 'loss', 'loss/TERM' or 'roc_auc', got {score!r}.")
        if (kind == LOSS and loss is None) or (kind == "roc_auc" and not heads):
            raise ValueError(f"the score {score!r} needs {'a loss' if kind == LOSS else 'heads'}; give it.")
        self.score, self.loss, self.heads = score, loss, dict(heads or {})
        super().__init__()

    def attach(self, engine: Engine, name: str) -> None:
        """Update with each batch of an evaluator that keeps its batches whole (``decollate=False``)."""
        engine.add_event_handler(Events.EPOCH_STARTED, lambda _: self.reset())
        engine.add_event_handler(Events.ITERATION_COMPLETED, lambda e: self._update_from(e))
        engine.add_event_handler(Events.EPOCH_COMPLETED, lambda e: e.state.metrics.update({name: self.compute()}))

    def reset(self) -> None:
        """Forget every study."""
        self._studies: list[tuple[np.ndarray, np.ndarray, int]] = []
        self._losses: list[tuple[float, float]] = []
        self._answers: list[tuple[str, int, float]] = []

    def _update_from(self, engine: Engine) -> None:
        output = engine.state.output
        self.update((output["pred"], output["label"]))

    def update(self, output: tuple[Mapping[str, Tensor], Mapping[str, Tensor]]) -> None:
        """Take one batch.

        Args:
            output: what the network gives, and the targets of ``PrepareCineBatch``.
        """
        pred, target = output
        if self.score == RETRIEVAL:
            known = (target["report_known"].reshape(-1) > 0) & (target["study_valid"].reshape(-1) > 0)
            for index in torch.nonzero(known).flatten().tolist():
                pair = (pred[name][index].detach().float().cpu().numpy() for name in HEADS)
                self._studies.append((*pair, int(target["report_key"].reshape(-1)[index])))
        elif self.score.startswith(LOSS):
            with torch.no_grad():
                total = float(self.loss(pred, target))
            terms: Mapping[str, Any] = self.loss.terms
            _, _, term = self.score.partition("/")
            if term and term not in terms:
                raise ValueError(f"the loss has no term {term!r}, it has {sorted(terms)}.")
            value = float(terms[term]) if term else total
            count = float(terms.get(f"known_{term}", 1.0)) if term else float(target["study_valid"].sum())
            self._losses.append((value, count))
        else:
            known = target["targets_known"].bool() & target["study_valid"].reshape(-1, 1).bool()
            for name, column in self.heads.items():
                for index in torch.nonzero(known[:, column]).flatten().tolist():
                    truth = int(target["targets"][index, column] > 0.5)
                    self._answers.append((name, truth, float(pred[name][index].reshape(-1)[0])))

    def compute(self) -> float:
        """The score over all studies of all processes; 0 where nothing was known."""
        if self.score == RETRIEVAL:
            return _mean_reciprocal_rank(gathered(self._studies))
        if self.score.startswith(LOSS):
            losses = gathered(self._losses)
            count = sum(n for _, n in losses)
            return -sum(value * n for value, n in losses) / count if count else 0.0
        answers = gathered(self._answers)
        found = []
        for name in self.heads:
            own = [(truth, value) for head, truth, value in answers if head == name]
            if len({truth for truth, _ in own}) == 2:
                found.append(roc_auc_score([truth for truth, _ in own], [value for _, value in own]))
        return float(np.mean(found)) if found else 0.0


HEADS = ("video_embedding", "text_embedding")


def _mean_reciprocal_rank(studies: list[tuple[np.ndarray, np.ndarray, int]]) -> float:
    """Both ways, studies of equal reports being right for each other."""
    if len(studies) < 2:
        return 0.0
    video, text = (np.stack([study[side] for study in studies]) for side in (0, 1))
    keys = np.array([key for *_, key in studies])
    relevant = [np.flatnonzero(keys == key).tolist() for key in keys]
    ways = (tied_ranks(CosineSimilarity(a, b), relevant) for a, b in ((video, text), (text, video)))
    return float(np.mean([scores(way, (1,))["mrr"].mean() for way in ways]))
