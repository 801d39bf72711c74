"""Segmentation and classification with partly known targets, as one scalar."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from medvlm.losses.classification import ClassLoss
from medvlm.losses.partial import partial_means
from medvlm.losses.segmentation import RegionLoss
from medvlm.losses.weighting import WEIGHTINGS, GradNormWeights, make_weighting
from medvlm.spelling import did_you_mean

TASKS = ("mask", "tumour")


def task_weights(weights: Mapping[str, float] | None = None, owner: str = "weights") -> dict[str, float]:
    """Fill up the weights of the tasks: one that is not named has 1.

    Args:
        weights: a factor of at least 0 by task, ``mask`` or ``tumour``.
        owner: what they are called in the message.

    Raises:
        ValueError: on a task that does not exist, or a factor that is no number of at least 0.
    """
    if not isinstance(weights, Mapping | None):
        raise ValueError(f"{owner} must give a factor by task, such as {{'mask': 1, 'tumour': 0.5}}, got {weights!r}.")
    for task, factor in (weights or {}).items():
        if task not in TASKS:
            hint = did_you_mean(task, TASKS) or f"; there are {', '.join(TASKS)}."
            raise ValueError(f"{owner} names the task {task!r}, which does not exist{hint}")
        if isinstance(factor, bool) or not isinstance(factor, int | float) or not 0 <= factor < math.inf:
            raise ValueError(f"{owner} must be a finite number of at least 0 for {task!r}, got {factor!r}.")
    return dict.fromkeys(TASKS, 1.0) | {task: float(factor) for task, factor in (weights or {}).items()}


def weights_of_stage(table: Mapping[str, Mapping[str, float]], stage: str) -> dict[str, float]:
    """The weights of the tasks in one stage of a curriculum; meant for JSON.

    The entries of all stages are checked, so that a slip in the last one is found before the first starts.

    Args:
        table: weights by stage; in a stage that it does not name, each is 1.
        stage: the one that runs.

    Raises:
        ValueError: on an entry that :func:`task_weights` refuses.
    """
    checked = {name: task_weights(weights, f"task_weights_per_stage::{name}") for name, weights in table.items()}
    return checked.get(stage) or task_weights()


class MultiTaskLoss(nn.Module):
    """Loss of named heads against targets of which each sample knows some.

    L = λ_mask · Σ m_i L_mask,i / max(1, Σ m_i) + λ_tumour · Σ t_i L_tumour,i / max(1, Σ t_i), where m_i and t_i say
    whether the mask and the class of sample i are known. An unknown mask is not an empty one: it has no part in the
    loss. A task that no sample of the batch knows contributes exactly 0, with a graph.

    Args:
        mask_loss: ``(logits (n, R, *S), masks) -> (n, ...)``, without a reduction over the samples; ``RegionLoss`` by
            default.
        tumour_loss: ``(logits (n, K), classes (n,)) -> (n, ...)``; ``ClassLoss`` by default.
        weighting: ``"fixed"``, ``"kendall"`` (uncertainty), ``"gradnorm"``, or a module as in
            ``medvlm.losses.weighting``. The last two have parameters: give them to the optimiser
            (``parameter_groups(..., extra=loss)``).
        weights: the factor of each task, fixed or to start from. Where one is 0, only the other task is trained, there
            is nothing to balance, and a ``weighting`` that is given by name is ``"fixed"``: so one key serves all
            stages of a curriculum.
        shared: parameters of the last layer that the tasks share; read by ``"gradnorm"`` alone.
        label_smoothing: of the default ``tumour_loss``.
        class_weights: of the default ``tumour_loss``, one factor a class.

    Raises:
        ValueError: if ``weighting`` or a task of ``weights`` is not known, or an option has no effect.

    Attributes:
        terms: after a call, detached: the mean loss of each head (0 where nothing is known), ``weight_*``, ``known_*``
            (how many samples) and ``total``.
    """

    def __init__(
        self,
        mask_loss: Callable | None = None,
        tumour_loss: Callable | None = None,
        weighting: str | nn.Module = "fixed",
        weights: dict[str, float] | None = None,
        shared: Iterable[nn.Parameter] | None = None,
        label_smoothing: float = 0.0,
        class_weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        if tumour_loss is not None and (label_smoothing or class_weights is not None):
            raise ValueError("label_smoothing and class_weights belong to the default tumour_loss; set them in yours.")
        weights = task_weights(weights)
        self.mask_loss = RegionLoss() if mask_loss is None else mask_loss
        self.tumour_loss = ClassLoss(label_smoothing, class_weights) if tumour_loss is None else tumour_loss
        if weighting in WEIGHTINGS and min(weights.values()) == 0:
            weighting = "fixed"
        self.weighting = make_weighting(weighting, weights)
        if shared is not None and isinstance(self.weighting, GradNormWeights):
            self.weighting.bind(shared)
        self.terms: dict[str, Tensor | float] = {}

    def bind(self, network: nn.Module) -> MultiTaskLoss:
        """Give GradNorm the shared layer of a network.

        Args:
            network: a network with ``shared_parameters()``.

        Returns:
            The loss itself, for use in a JSON expression.
        """
        if isinstance(self.weighting, GradNormWeights):
            self.weighting.bind(network.shared_parameters())
        return self

    def forward(self, pred: dict[str, Tensor], target: dict[str, Tensor]) -> Tensor:
        """Compare the heads with what is known.

        Args:
            pred: ``mask``: logits ``(B, R, *S)``; ``tumour``: logits ``(B, K)``; one may be missing (a head that is
                off).
            target: ``mask`` ``(B, R, *S)``, ``mask_known`` ``(B,)``, ``tumour`` ``(B,)``, ``tumour_known`` ``(B,)``;
                only those of the heads in ``pred`` are read.

        Returns:
            A scalar.

        Raises:
            ValueError: if ``pred`` has no known head, or a target is missing or does not fit.
        """
        tasks = [task for task in TASKS if task in pred]
        if not tasks:
            raise ValueError(f"pred needs one of the heads {TASKS}, got {sorted(pred)}.")
        means = partial_means({task: self.per_sample(task, pred, target) for task in tasks}, pred)
        total = self.weighting(means)
        weights = self.weighting.current()
        self.terms = {"total": total.detach()}
        for task, mean in means.items():
            self.terms |= {task: mean.value, f"weight_{task}": weights[task], f"known_{task}": mean.count}
        return total

    def per_sample(self, task: str, pred: dict[str, Tensor], target: dict[str, Tensor]) -> Tensor:
        """Losses of the samples whose target is known, ``(n,)``."""
        missing = [key for key in (task, f"{task}_known") if key not in target]
        if missing:
            raise ValueError(f"target lacks {missing}, it has {sorted(target)}; the batch preparation must give them.")
        known = torch.as_tensor(target[f"{task}_known"]).to(pred[task].device).reshape(-1) > 0  # (B,)
        if known.numel() != pred[task].shape[0]:
            raise ValueError(f"{task}_known needs one value a sample ({pred[task].shape[0]}), got {known.numel()}.")
        wanted, given = pred[task], target[task]
        if not bool(known.all()):
            wanted, given = wanted[known], given[known.to(given.device)]
        if not wanted.shape[0]:
            return wanted.new_zeros(0)
        values = {"mask": self.mask_loss, "tumour": self.tumour_loss}[task](wanted, given)
        if values.ndim == 0 or values.shape[0] != wanted.shape[0]:
            raise ValueError(
                f"the loss of {task!r} must give one value a sample, got shape {tuple(values.shape)} for "
                f"{wanted.shape[0]} samples; set its reduction to 'none'."
            )
        return values.flatten(1).mean(1) if values.ndim > 1 else values
