"""Alignment, captioning, box tasks, masked video modelling and distillation as one scalar."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from medvlm.losses.captioning import CaptioningLoss, next_tokens
from medvlm.losses.contrastive import CONTRASTIVE
from medvlm.losses.distillation import FeatureDistillationLoss
from medvlm.losses.given_positives import soft_positives
from medvlm.losses.masked_video import MaskedVideoLoss
from medvlm.losses.partial import PartialMean, partial_means
from medvlm.losses.schedules import Schedule
from medvlm.losses.weighting import GradNormWeights, make_weighting
from medvlm.spelling import did_you_mean

HEADS = {  # term: what the network gives for it; the first stands for the term
    "contrastive": ("video_embedding", "text_embedding"),
    "captioning": ("caption_logits",),
    "boxes": ("box_logits", "box_ids", "box_target_mask"),
    "masked_video": ("mvm_pred", "mvm_target"),
    "distillation": ("distilled", "teacher"),
}
KINDS = {"masked_video": "regression", "distillation": "regression"}  # the others are classification-like
WEIGHTS = {"contrastive": 1.0, "captioning": 1.0, "masked_video": 0.1}


class CineTextLoss(nn.Module):
    """Weighted sum of what a video-text network learns from.

    Each term is a mean over what is known, in all processes: ``contrastive`` over the studies with a known report and a
    readable view, ``captioning`` over the tokens of such reports, ``boxes`` over the tokens that the box tasks are to
    predict (coordinates of known phrases, phrases of known boxes), ``masked_video`` over the masked patches,
    ``distillation`` over the studies with a readable view (and known features of a given teacher). A study that is left
    out has no part in the loss nor in its count. A term whose output the network does not give contributes 0, and so
    does one that nothing in the batch knows, then with a gradient of 0.

    Args:
        weights: the factor of each term, fixed or to start from; a term that is not named is off. By default 1 for
            ``contrastive`` and ``captioning`` and 0.1 for ``masked_video``.
        kind: ``"sigmoid"`` or ``"softmax"``, of the contrastive loss.
        chunk: side of the block of pairs that the contrastive loss holds in memory.
        same_study: pairs of two samples of one study (``study_key``) are positive too; those of one text always are.
        label_smoothing: of the captions and of the box tasks.
        masked_kind: distance of masked patches, see ``MaskedVideoLoss``.
        distillation_kind: distance to the teacher, see ``FeatureDistillationLoss``.
        weighting: ``"fixed"``, ``"kendall"`` (uncertainty), ``"gradnorm"``, or a module as in
            ``medvlm.losses.weighting``. The latter two have parameters: give them to the optimiser
            (``parameter_groups(..., extra=loss)``).
        schedules: for some of the terms how a fixed weight changes, e.g.
            ``{"captioning": {"kind": "cosine", "steps": 1000}}``; see ``medvlm.losses.schedules.Schedule``.

    Raises:
        ValueError: if a term, ``kind`` or ``weighting`` is not known, or an option has no effect.

    Attributes:
        terms: after a call, detached: the mean loss of each term, ``weight_*``, ``known_*`` (studies, tokens, patches),
            ``scale`` and ``bias`` of the contrastive loss, and ``total``.
    """

    def __init__(
        self,
        weights: Mapping[str, float] | None = None,
        kind: str = "sigmoid",
        chunk: int = 1024,
        same_study: bool = True,
        label_smoothing: float = 0.0,
        masked_kind: str = "mse",
        distillation_kind: str = "cosine",
        weighting: str | nn.Module = "fixed",
        schedules: Mapping[str, Schedule | Mapping] | None = None,
    ) -> None:
        super().__init__()
        weights = dict(WEIGHTS if weights is None else weights)
        unknown = sorted(set(weights) - set(HEADS))
        if unknown or not weights or min(weights.values()) < 0:
            hint = did_you_mean(unknown[0], HEADS) if unknown else "."
            raise ValueError(f"weights takes factors of at least 0 for some of {tuple(HEADS)}, got {weights}{hint}")
        if kind not in CONTRASTIVE:
            raise ValueError(f"kind must be one of {sorted(CONTRASTIVE)}, got {kind!r}.")
        self.contrastive = CONTRASTIVE[kind](chunk)
        self.captioning = CaptioningLoss(label_smoothing)
        self.masked_video = MaskedVideoLoss(masked_kind)
        self.distillation = FeatureDistillationLoss(distillation_kind)
        self.same_study = same_study
        self.names = tuple(name for name in HEADS if name in weights)
        kinds = {name: KINDS[name] for name in self.names if name in KINDS}
        self.weighting = make_weighting(weighting, {name: weights[name] for name in self.names}, kinds, schedules)
        self.terms: dict[str, Tensor | float] = {}

    def bind(self, network: nn.Module) -> CineTextLoss:
        """Give GradNorm the shared layer of a network.

        Args:
            network: a network with ``shared_parameters()``.

        Returns:
            The loss itself, for use in a JSON expression.
        """
        if isinstance(self.weighting, GradNormWeights):
            self.weighting.bind(network.shared_parameters())
        return self

    def forward(self, pred: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> Tensor:
        """Compare what the network gives with what is known.

        Args:
            pred: of the network, what it has of: ``video_embedding`` and ``text_embedding`` ``(B, D)`` unit rows with
                ``log_scale`` and ``bias`` scalars; ``caption_logits`` ``(B, L - 1, V)``, which predict tokens 1 to
                L - 1; ``box_logits`` ``(R, S - 1, V)``, ``box_ids`` and ``box_target_mask`` ``(R, S)``, see
                ``box_tasks``; ``mvm_pred`` and ``mvm_target`` ``(M, P)``, masked patches alone; ``distilled`` and
                ``teacher`` ``(B, D)``, features of the student and of its teacher (which may stand in ``target``
                instead).
            target: ``study_valid`` ``(B,)``, ``report_known`` ``(B,)``; ``report_key`` and ``study_key`` ``(B,)`` for
                the contrastive term, and where positives are given ``case_key`` ``(B,)``, ``similar_keys`` and
                ``similar_weights`` ``(B, P)``; ``input_ids`` and ``attention_mask`` ``(B, L)`` for captioning;
                ``teacher_known`` ``(B,)`` of a given teacher.

        Returns:
            A scalar.

        Raises:
            ValueError: if ``pred`` serves no term, or a target is missing or does not fit.
        """
        names = [name for name in self.names if HEADS[name][0] in pred]
        if not names:
            raise ValueError(
                f"pred needs the outputs of one of the terms {self.names}, e.g. {HEADS[self.names[0]]}, got "
                f"{sorted(pred)}."
            )
        losses = {name: getattr(self, f"{name}_losses")(pred, target) for name in names if name != "contrastive"}
        means: dict[str, PartialMean] = {}
        if "contrastive" in names:
            means["contrastive"] = self.contrastive_mean(pred, target)
        if losses:
            means |= partial_means(losses, {name: pred[HEADS[name][0]] for name in losses})
        total = self.weighting(means)
        weights = self.weighting.current()
        self.terms = {"total": total.detach()}
        for name, mean in means.items():
            self.terms |= {name: mean.value, f"weight_{name}": weights[name], f"known_{name}": mean.count}
        if "contrastive" in means:
            self.terms["scale"] = pred["log_scale"].detach().exp()
            if pred.get("bias") is not None:
                self.terms["bias"] = pred["bias"].detach()
        return total

    def contrastive_mean(self, pred: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> PartialMean:
        """Alignment of the studies that have both a report and a readable view."""
        image, text, log_scale = _needed("contrastive", pred, "video_embedding", "text_embedding", "log_scale")
        known, valid, keys, study_keys = _needed(
            "contrastive", target, "report_known", "study_valid", "report_key", "study_key"
        )
        keys = torch.stack([keys.reshape(-1), study_keys.reshape(-1)], dim=1) if self.same_study else keys
        both = (known.reshape(-1) > 0) & (valid.reshape(-1) > 0)
        keys = keys.to(image.device)
        pairs = {"image_keys": keys}
        if "similar_keys" in target:
            given = _needed("contrastive", target, "case_key", "similar_keys", "similar_weights")
            pairs = {"positives": soft_positives(keys, *(part.to(image.device) for part in given))}
        return self.contrastive.partial(image, text, log_scale.exp(), pred.get("bias"), valid=both, **pairs)

    def captioning_losses(self, pred: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> Tensor:
        """Losses of the tokens of known reports of readable studies, ``(n,)``."""
        ids, mask, known, valid = _needed(
            "captioning", target, "input_ids", "attention_mask", "report_known", "study_valid"
        )
        both = (known.reshape(-1) > 0) & (valid.reshape(-1) > 0)
        logits = pred["caption_logits"]
        return self.captioning.per_token(logits, next_tokens(ids, mask, both).to(logits.device))

    def boxes_losses(self, pred: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> Tensor:
        """Losses of the tokens that the box tasks are to predict, ``(n,)``; not of those that are given."""
        logits, ids, mask = _needed("boxes", pred, *HEADS["boxes"])
        return self.captioning.per_token(logits, next_tokens(ids, mask))

    def masked_video_losses(self, pred: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> Tensor:
        """Losses of the masked patches, ``(M,)``."""
        return self.masked_video.per_patch(*_needed("masked_video", pred, "mvm_pred", "mvm_target"))

    def distillation_losses(self, pred: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> Tensor:
        """Losses of the readable studies, ``(n,)``."""
        student = pred["distilled"]
        (teacher,) = _needed("distillation", pred if "teacher" in pred else target, "teacher")
        (valid,) = _needed("distillation", target, "study_valid")
        kept = valid.to(student.device).reshape(-1) > 0
        if "teacher_known" in target and "teacher" not in pred:
            kept = kept & (target["teacher_known"].to(student.device).reshape(-1) > 0)
        return self.distillation.per_sample(student[kept], teacher.to(student.device)[kept])


def _needed(term: str, given: Mapping[str, Tensor], *keys: str) -> list[Tensor]:
    missing = [key for key in keys if key not in given]
    if missing:
        raise ValueError(
            f"the {term} term lacks {missing}, got {sorted(given)}; the network and PrepareCineBatch give them, or set "
            f"no weight for {term!r}."
        )
    return [given[key] for key in keys]
