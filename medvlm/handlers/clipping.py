"""Clipping of gradients right before each step of the optimiser."""

from __future__ import annotations

from typing import Any

import torch
from ignite.engine import Engine


class GradientClipping:
    """Scale the gradient of all parameters down to a norm, each time before the optimiser steps.

    It hooks the optimiser and not the backward pass, so that accumulated gradients are clipped once, as a whole, and
    those of mixed precision after the loss scale has been taken out.

    Args:
        optimizer: whose parameters are clipped together.
        max_norm: largest L2 norm; ``None``: no clipping.

    Raises:
        ValueError: when ``max_norm`` is not positive.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, max_norm: float | None = 1.0) -> None:
        if max_norm is not None and not max_norm > 0:
            raise ValueError(f"max_norm must be positive, or None for no clipping, got {max_norm}.")
        self.optimizer, self.max_norm = optimizer, max_norm

    def attach(self, engine: Engine) -> None:
        """Hook the optimiser of a trainer."""
        if self.max_norm is not None:
            self.optimizer.register_step_pre_hook(self.clip)

    def clip(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        """Clip what the optimiser is about to use."""
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        torch.nn.utils.clip_grad_norm_(parameters, self.max_norm)
