"""Where a class activation lies: on the tumour, elsewhere in the brain, or outside the head."""

from __future__ import annotations

import torch
from torch import Tensor


def energy_inside(activation: Tensor, mask: Tensor, brain: Tensor) -> dict[str, float] | None:
    """Say where an activation's energy lies.

    Args:
        activation: at least 0, any shape.
        mask: the predicted mask, same shape, true inside.
        brain: the foreground, same shape, true inside.

    Returns:
        Fractions that sum to 1: ``mask``; ``brain`` outside the mask; ``background``. None where there is no energy.
    """
    activation, mask, brain = (torch.as_tensor(x).to(torch.float64) for x in (activation, mask > 0, brain > 0))
    total = float(activation.sum())
    if total <= 0:
        return None
    inside = float((activation * mask).sum()) / total
    around = float((activation * brain * (1 - mask)).sum()) / total
    return {"mask": inside, "brain": around, "background": max(0.0, 1.0 - inside - around)}
