"""Losses of probes: several heads against targets of which each study knows some."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from medvlm.losses.distances import single
from medvlm.losses.partial import partial_means
from medvlm.losses.schedules import Schedule
from medvlm.losses.weighting import GradNormWeights, make_weighting
from medvlm.spelling import did_you_mean

LOSSES = {  # kind: loss: its options
    "binary": {"bce": ("positive_weight",), "focal": ("gamma", "alpha")},
    "multiclass": {"ce": ("label_smoothing", "class_weights"), "focal": ("gamma", "alpha")},
    "regression": {"mse": (), "mae": (), "huber": ("delta",)},
}
OF_THE_HEAD = ("lr", "weight_decay", "dropout", "hidden", "start")  # settings that a loss does not read


class BinaryProbeLoss(nn.Module):
    """Binary cross-entropy, or focal loss −α_t (1 − p_t)^γ log p_t, one value a sample.

    Args:
        gamma: focusing exponent; 0 is cross-entropy.
        alpha: α of a positive, 1 − α of a negative; ``None``: 1 for both.
        positive_weight: factor of the positives, of the cross-entropy alone.

    Reference:
        Lin et al., "Focal Loss for Dense Object Detection", 2017, https://arxiv.org/abs/1708.02002. Each sample counts
        once: the mean is not divided by the α.
    """

    def __init__(self, gamma: float = 0.0, alpha: float | None = None, positive_weight: float = 1.0) -> None:
        super().__init__()
        if gamma < 0 or positive_weight <= 0 or (alpha is not None and not 0 <= alpha <= 1):
            raise ValueError(
                "gamma must be at least 0, positive_weight positive and alpha in [0, 1] or None, got "
                f"gamma={gamma}, positive_weight={positive_weight}, alpha={alpha}."
            )
        self.gamma, self.alpha, self.positive_weight = gamma, alpha, positive_weight

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Compare logits ``(n,)`` or ``(n, 1)`` with 0 or 1 ``(n,)``; gives ``(n,)``."""
        logits = single(pred).reshape(-1)
        positive = target.reshape(-1).to(logits.dtype)
        signed = (2 * positive - 1) * logits
        losses = -functional.logsigmoid(signed) * (positive * self.positive_weight + 1 - positive)
        if self.gamma:
            losses = losses * torch.sigmoid(-signed) ** self.gamma
        if self.alpha is not None:
            losses = losses * (positive * self.alpha + (1 - positive) * (1 - self.alpha))
        return losses


class MulticlassProbeLoss(nn.Module):
    """Cross-entropy, or focal loss −α_y (1 − p_y)^γ log p_y, one value a sample.

    Args:
        gamma: focusing exponent; 0 is cross-entropy.
        alpha: one factor a class; ``None``: 1 for all.
        label_smoothing: share of the target spread over all classes, of the cross-entropy alone.

    Reference:
        Lin et al., 2017, as above. The mean is over the samples, without dividing by their α.
    """

    def __init__(self, gamma: float = 0.0, alpha: Sequence[float] | None = None, label_smoothing: float = 0.0) -> None:
        super().__init__()
        if gamma < 0 or not 0 <= label_smoothing < 1 or (gamma and label_smoothing):
            raise ValueError(
                "gamma must be at least 0 and label_smoothing in [0, 1), one of them 0, got "
                f"gamma={gamma}, label_smoothing={label_smoothing}."
            )
        if alpha is not None and min(alpha) < 0:
            raise ValueError(f"alpha (class_weights) takes one factor of at least 0 a class, got {list(alpha)}.")
        self.gamma, self.label_smoothing = gamma, label_smoothing
        self.alpha = None if alpha is None else [float(factor) for factor in alpha]

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Compare logits ``(n, K)`` with class indices ``(n,)``; gives ``(n,)``."""
        logits, classes = single(pred), target.reshape(-1).long()
        weights = None if self.alpha is None else logits.new_tensor(self.alpha)
        losses = functional.cross_entropy(
            logits, classes, weights, reduction="none", label_smoothing=self.label_smoothing
        )
        if self.gamma:
            rest = 1 - functional.softmax(logits, dim=-1).gather(1, classes[:, None])[:, 0]
            losses = losses * rest.clamp(min=0) ** self.gamma
        return losses


class RegressionProbeLoss(nn.Module):
    """Squared, absolute or Huber error in units of ``spread``, one value a sample.

    Args:
        kind: ``"mse"``, ``"mae"`` or ``"huber"`` (½ e² up to ``delta``, linear beyond).
        spread: what an error of 1 is, e.g. the target's standard deviation, so that heads of different units compare.
        delta: of the Huber error, in units of ``spread``.
    """

    def __init__(self, kind: str = "mse", spread: float = 1.0, delta: float = 1.0) -> None:
        super().__init__()
        if kind not in LOSSES["regression"] or spread <= 0 or delta <= 0:
            raise ValueError(
                f"kind must be one of {tuple(LOSSES['regression'])}, spread and delta positive, got kind={kind!r}, "
                f"spread={spread}, delta={delta}."
            )
        self.kind, self.spread, self.delta = kind, spread, delta

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Compare values ``(n,)`` or ``(n, 1)`` with ``(n,)``, both in the target's unit; gives ``(n,)``."""
        values = single(pred).reshape(-1)
        error = (values - target.reshape(-1).to(values.dtype)) / self.spread
        if self.kind == "mse":
            return error.square()
        if self.kind == "mae":
            return error.abs()
        return functional.huber_loss(error, torch.zeros_like(error), reduction="none", delta=self.delta)


def make_probe_loss(name: str, given: Mapping) -> nn.Module:
    """The loss that the settings of a head ask for.

    Args:
        name: of the head, for the messages.
        given: as ``ProbeHeads`` takes them: ``kind``, ``loss`` (the first of ``LOSSES`` by default), ``loss_options``,
            ``spread``; the settings of the head itself are not read.

    Raises:
        ValueError: if a setting is not known or does not fit.
    """
    known = ("kind", "classes", "loss", "loss_options", "weight", "spread", *OF_THE_HEAD)
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise ValueError(f"head {name!r} has unknown settings {unknown}{did_you_mean(unknown[0], known)}")
    kind = given.get("kind")
    if kind not in LOSSES:
        raise ValueError(f"head {name!r} needs a kind of {tuple(LOSSES)}, got {kind!r}.")
    loss = given.get("loss") or next(iter(LOSSES[kind]))
    if loss not in LOSSES[kind]:
        raise ValueError(f"head {name!r} is {kind} and takes a loss of {tuple(LOSSES[kind])}, got {loss!r}.")
    options = dict(given.get("loss_options") or {})
    unfit = sorted(set(options) - set(LOSSES[kind][loss]))
    if unfit:
        raise ValueError(f"loss_options of {name!r} ({loss}) takes {LOSSES[kind][loss]}, got {unfit}.")
    if kind == "regression":
        return RegressionProbeLoss(loss, spread=given.get("spread", 1.0), **options)
    if loss == "focal":
        options = {"gamma": 2.0} | options
    if kind == "binary":
        return BinaryProbeLoss(**options)
    if "class_weights" in options:
        options["alpha"] = options.pop("class_weights")
    if options.get("alpha") is not None and len(options["alpha"]) != given.get("classes"):
        raise ValueError(
            f"head {name!r} has {given.get('classes')} classes and needs as many factors, got {options['alpha']}."
        )
    return MulticlassProbeLoss(**options)


class ProbeLoss(nn.Module):
    """Weighted sum of the heads' losses, each a mean over the studies that know its target.

    A study without a readable view is left out, and so is an unknown target; a head that nothing in the batch knows
    contributes 0, with a gradient of 0. Means are over all processes.

    Args:
        heads: the settings of each head by name, those of ``medvlm.networks.heads.probes.ProbeHeads``; ``kind``,
            ``loss``, ``loss_options``, ``spread`` and ``weight`` are read here.
        names: name of each column of ``targets``; the heads in their order by default.
        weighting: as in ``CineTextLoss``; ``weight`` is the factor, fixed or to start from.
        schedules: as in ``CineTextLoss``, by head.

    Raises:
        ValueError: if a setting is wrong, or a head has no column.

    Attributes:
        terms: after a call, detached: the mean loss of each head, ``weight_*``, ``known_*`` (studies) and ``total``.
    """

    def __init__(
        self,
        heads: Mapping[str, Mapping],
        names: Sequence[str] | None = None,
        weighting: str | nn.Module = "fixed",
        schedules: Mapping[str, Schedule | Mapping] | None = None,
    ) -> None:
        super().__init__()
        self.names = tuple(heads if names is None else names)
        missing = [name for name in heads if name not in self.names]
        if missing or not heads:
            raise ValueError(f"every head needs a column of targets, {missing or 'no head'} is not in {self.names}.")
        weights = {name: float(given.get("weight", 1.0)) for name, given in heads.items()}
        if min(weights.values()) < 0:
            raise ValueError(f"weights must be at least 0, got {weights}.")
        self.losses = nn.ModuleDict({name: make_probe_loss(name, given) for name, given in heads.items()})
        self.kinds = {name: given["kind"] for name, given in heads.items()}
        regressions = {name: "regression" for name, kind in self.kinds.items() if kind == "regression"}
        self.weighting = make_weighting(weighting, weights, regressions, schedules)
        self.terms: dict[str, Tensor | float] = {}

    def bind(self, network: nn.Module) -> ProbeLoss:
        """Give GradNorm the shared layer of a network with ``shared_parameters()``; returns the loss itself."""
        if isinstance(self.weighting, GradNormWeights):
            self.weighting.bind(network.shared_parameters())
        return self

    def forward(self, pred: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> Tensor:
        """Compare the heads with what is known.

        Args:
            pred: logits ``(B, K_h)`` of each head, a regression in the target's unit; other entries are not read.
            target: ``targets`` and ``targets_known`` ``(B, columns)``, ``study_valid`` ``(B,)``.

        Returns:
            A scalar.

        Raises:
            ValueError: if a head is missing in ``pred``, a target is missing, or a class does not exist.
        """
        missing = [key for key in ("targets", "targets_known", "study_valid") if key not in target]
        if missing or not set(self.losses) <= set(pred):
            raise ValueError(
                f"needs targets, targets_known and study_valid (lacks {missing}, PrepareCineBatch(targets=True) gives "
                f"them) and the heads {sorted(self.losses)}, got {sorted(pred)}."
            )
        if target["targets"].shape[1] != len(self.names):
            raise ValueError(
                f"targets needs one column for each of {self.names}, got {target['targets'].shape[1]} columns."
            )
        losses = {name: self.per_sample(name, pred[name], target) for name in self.losses}
        means = partial_means(losses, {name: pred[name] for name in losses})
        total = self.weighting(means)
        weights = self.weighting.current()
        self.terms = {"total": total.detach()}
        for name, mean in means.items():
            self.terms |= {name: mean.value, f"weight_{name}": weights[name], f"known_{name}": mean.count}
        return total

    def per_sample(self, name: str, pred: Tensor, target: Mapping[str, Tensor]) -> Tensor:
        """Losses of the readable studies that know the target, ``(n,)``."""
        column = self.names.index(name)
        known = (target["targets_known"][:, column] > 0) & (target["study_valid"].reshape(-1) > 0)
        known = known.to(pred.device)
        wanted, given = pred[known], target["targets"][:, column].to(pred.device)[known]
        classes = {"binary": 2, "multiclass": pred.shape[-1]}.get(self.kinds[name])
        if classes is not None and bool(((given < 0) | (given >= classes) | (given != given.round())).any()):
            raise ValueError(
                f"targets of {name!r} must be whole classes 0 to {classes - 1}, got {sorted(set(given.tolist()))}; "
                "mark an unknown one by targets_known = 0."
            )
        return self.losses[name](wanted, given)
