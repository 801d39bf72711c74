"""Classification loss, one value a sample."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class ClassLoss(nn.Module):
    """Cross-entropy, one value a sample.

    The mean is over the samples, without dividing by their class weights, so that a rare class counts as much as its
    weight says in every batch.

    Args:
        label_smoothing: share of the target spread over all classes, 0..1.
        class_weights: one factor a class; absent: all 1.
    """

    def __init__(self, label_smoothing: float = 0.0, class_weights: Sequence[float] | None = None) -> None:
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing must be in [0, 1), got {label_smoothing}; 0.05 to 0.1 is usual.")
        if class_weights is not None and min(class_weights) < 0:
            raise ValueError(f"class_weights must not be negative, got {list(class_weights)}.")
        self.label_smoothing = label_smoothing
        weights = None if class_weights is None else torch.tensor([float(w) for w in class_weights])
        self.register_buffer("class_weights", weights, persistent=False)

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Compare logits with classes.

        Args:
            pred: logits ``(B, K)``.
            target: class indices ``(B,)``.

        Returns:
            ``(B,)``.
        """
        return functional.cross_entropy(
            pred.float(), target.long(), self.class_weights, reduction="none", label_smoothing=self.label_smoothing
        )
