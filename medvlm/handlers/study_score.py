"""The validation scores that choose a checkpoint of a video-text network or a probe."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from ignite.metrics import Metric
from sklearn.metrics import roc_auc_score
from torch import Tensor

from medvlm.handlers.checkpoint import is_main_process
from medvlm.handlers.gathering import gathered
from medvlm.metrics.tied_ranks import CosineSimilarity, scores, tied_ranks
from medvlm.spelling import did_you_mean

logger = logging.getLogger(__name__)
LOSS = "loss"
RETRIEVAL = "retrieval"
ROC_AUC = "roc_auc"


class StudyScore(Metric):
    """Score the batches of a validation run, whole studies at a time; larger is better.

    Where a score cannot be computed it is NaN, which no checkpoint takes for better, and the reason is logged once.

    Args:
        score: ``"retrieval"``: the mean reciprocal rank of the right report and of the right study, both ways, over all
            studies with a report and a readable view; ``"loss"`` or ``"loss/TERM"``: minus the loss or one of its
            terms, weighted by what each batch knows; ``"roc_auc"``: the mean ROC-AUC of the binary heads that are
            ``scored`` and whose both classes occur.
        loss: called with the network's output and the targets; needed for the losses.
        heads: for ``"roc_auc"`` the settings of the heads by name, as of ``ProbeHeads``; ``kind`` is read.
        names: name of each column of ``targets``; the heads in their order by default.
        scored: the binary heads that count; all by default.
        section: of the datalist, for the messages.

    Raises:
        ValueError: when the score is not known, lacks what it is computed from, or a head cannot be scored.
    """

    def __init__(
        self,
        score: str = RETRIEVAL,
        loss: Callable | None = None,
        heads: Mapping[str, Mapping] | None = None,
        names: Sequence[str] | None = None,
        scored: Sequence[str] | None = None,
        section: str = "validation",
    ) -> None:
        kind = score.split("/")[0]
        if kind not in (RETRIEVAL, LOSS, ROC_AUC):
            raise ValueError(f"score must be 'retrieval', 'loss', 'loss/TERM' or 'roc_auc', got {score!r}.")
        if (kind == LOSS and loss is None) or (kind == ROC_AUC and not heads):
            raise ValueError(f"the score {score!r} needs {'a loss' if kind == LOSS else 'heads'}; give it.")
        self.score, self.loss, self.section = score, loss, section
        self.columns = _columns(heads or {}, names, scored) if kind == ROC_AUC else {}
        self._told = False
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
            known = [float(number) for name, number in terms.items() if name.startswith("known_")]
            count = float(target["study_valid"].sum()) if any(known) or not known else 0.0
            self._losses.append((value, float(terms.get(f"known_{term}", 1.0)) if term else count))
        else:
            known = target["targets_known"].bool() & target["study_valid"].reshape(-1, 1).bool()
            for name, column in self.columns.items():
                for index in torch.nonzero(known[:, column]).flatten().tolist():
                    truth = int(target["targets"][index, column] > 0.5)
                    self._answers.append((name, truth, float(pred[name][index].reshape(-1)[0])))

    def compute(self) -> float:
        """The score over all studies of all processes; NaN where it cannot be computed."""
        if self.score == RETRIEVAL:
            studies = gathered(self._studies)
            if len(studies) < 2:
                return self._unknown(f"{len(studies)} studies have a report and a readable view, 2 are needed")
            return _mean_reciprocal_rank(studies)
        if self.score.startswith(LOSS):
            losses = gathered(self._losses)
            count = sum(n for _, n in losses)
            if not count:
                return self._unknown(f"no study of {len(losses)} batches knows what this loss compares with")
            return -sum(value * n for value, n in losses) / count
        return self._mean_auc(gathered(self._answers))

    def _mean_auc(self, answers: list[tuple[str, int, float]]) -> float:
        found, lost = [], {}
        for name in self.columns:
            own = [(truth, value) for head, truth, value in answers if head == name]
            counts = Counter(truth for truth, _ in own)
            if len(counts) == 2:
                found.append(roc_auc_score([truth for truth, _ in own], [value for _, value in own]))
            else:
                lost[name] = f"{name}: {counts[0]} negative and {counts[1]} positive"
        if not found:
            return self._unknown("; ".join(lost.values()))
        if lost:
            self._tell(f"the score {self.score!r} leaves heads out that lack a class: {'; '.join(lost.values())}")
        return float(np.mean(found))

    def _unknown(self, why: str) -> float:
        self._tell(f"the score {self.score!r} cannot be computed ({why}), so that the last epoch's weights are kept")
        return float("nan")

    def _tell(self, words: str) -> None:
        if not self._told and is_main_process():
            logger.warning(
                "on section %r %s; give it such studies, or choose by another --key_score.", self.section, words
            )
        self._told = True


def score_of(heads: Mapping[str, Mapping]) -> str:
    """The score that chooses the weights of these heads: ``"roc_auc"`` where one is binary, else ``"loss"``."""
    return ROC_AUC if any(given.get("kind") == "binary" for given in heads.values()) else LOSS


def _columns(
    heads: Mapping[str, Mapping], names: Sequence[str] | None, scored: Sequence[str] | None
) -> dict[str, int]:
    """The column of ``targets`` of every scored head."""
    if scored is not None and (isinstance(scored, (str, Mapping)) or not scored):
        raise ValueError(f'scored takes a list of binary heads, e.g. ["stenosis"], or null for all, got {scored!r}.')
    binary = [name for name, given in heads.items() if given.get("kind") == "binary"]
    names, chosen = list(heads if names is None else names), list(binary if scored is None else scored)
    wrong = [name for name in chosen if name not in binary]
    if wrong or not chosen:
        hint = did_you_mean(wrong[0], binary) if wrong else ""
        raise ValueError(
            f"the score 'roc_auc' is of binary heads, of which there are {binary}, got {chosen}{hint or '.'} "
            "Name binary heads in scored_heads, or set key_score to 'loss'."
        )
    lost = [name for name in chosen if name not in names]
    if lost:
        raise ValueError(f"every scored head needs a column of targets, {lost} are not in {names}; add them there.")
    return {name: names.index(name) for name in chosen}


HEADS = ("video_embedding", "text_embedding")


def _mean_reciprocal_rank(studies: list[tuple[np.ndarray, np.ndarray, int]]) -> float:
    """Both ways, studies of equal reports being right for each other."""
    video, text = (np.stack([study[side] for study in studies]) for side in (0, 1))
    keys = np.array([key for *_, key in studies])
    relevant = [np.flatnonzero(keys == key).tolist() for key in keys]
    ways = (tied_ranks(CosineSimilarity(a, b), relevant) for a, b in ((video, text), (text, video)))
    return float(np.mean([scores(way, (1,))["mrr"].mean() for way in ways]))
