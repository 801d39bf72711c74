"""A teacher that follows a network slowly."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn


class EmaTeacher(nn.Module):
    """Copy of a network whose weights are a running mean of the network's; it gives targets, never gradients.

    The mean starts as the network itself at the first update, and becomes slower with each of them until ``decay``.

    Args:
        network: what is followed; it is copied, its weights may be loaded later.
        decay: weight of the past in each update, 0 = a copy, 1 = frozen after the first update.

    Raises:
        ValueError: if ``decay`` is out of its range.

    Reference:
        Tarvainen and Valpola, "Mean teachers are better role models", 2017, https://arxiv.org/abs/1703.01780.
    """

    def __init__(self, network: nn.Module, decay: float = 0.996) -> None:
        super().__init__()
        if not 0 <= decay <= 1:
            raise ValueError(f"decay is the weight of the past, 0 to 1, got {decay}; 0.996 is usual.")
        self.decay = decay
        self.network = copy.deepcopy(network).requires_grad_(False).eval()
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self._followed: Tensor | None = None

    def train(self, mode: bool = True) -> EmaTeacher:
        """Stay in evaluation mode."""
        super().train(mode)
        self.network.eval()
        return self

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move towards the network; call it once an optimiser step.

        Args:
            network: the one that was copied, with its present weights; buffers are copied as they are.
        """
        count = int(self.updates)
        decay = 0.0 if count == 0 else min(self.decay, (1 + count) / (10 + count))
        own, theirs = dict(self.network.named_parameters()), dict(network.named_parameters())
        for name, value in own.items():
            value.lerp_(theirs[name].detach().to(value.dtype), 1.0 - decay)
        buffers = dict(network.named_buffers())
        for name, value in self.network.named_buffers():
            value.copy_(buffers[name])
        self.updates += 1

    def follow(self, network: nn.Module) -> bool:
        """Update if an optimiser has changed the network since the last call; true if so.

        Gradient accumulation and skipped steps of mixed precision change no weight, and so cause no update. The
        vectors among the trainable weights are compared, because a fused optimiser does not count its changes.
        """
        trainable = [parameter.detach() for parameter in network.parameters() if parameter.requires_grad]
        small = [values for values in trainable if values.ndim < 2] or trainable  # biases change with all else
        if not small:
            return False
        state = torch.cat([values.flatten() for values in small])
        if self._followed is not None and torch.equal(state, self._followed.to(state.device)):
            return False
        self._followed = state
        self.update(network)
        return True

    @torch.no_grad()
    def forward(self, *inputs: Any, **named: Any) -> Any:
        """What the copy gives for these inputs, without gradient."""
        return self.network(*inputs, **named)
