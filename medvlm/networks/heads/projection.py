"""Projection onto the unit sphere that two modalities share, and the scale of the similarities on it."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class ProjectionHead(nn.Module):
    """Unit vectors for a contrastive loss.

    Args:
        in_dim: width D of the features.
        embed_dim: width E of the shared space.
        hidden: width of a hidden layer with GELU; ``None``: LayerNorm and one linear layer.
        dropout: probability before the last layer.
    """

    def __init__(self, in_dim: int, embed_dim: int, hidden: int | None = None, dropout: float = 0.0) -> None:
        super().__init__()
        if in_dim < 1 or embed_dim < 1 or (hidden is not None and hidden < 1):
            raise ValueError(f"widths must be at least 1, got in_dim={in_dim}, embed_dim={embed_dim}, hidden={hidden}.")
        self.embed_dim = embed_dim
        self.norm = nn.LayerNorm(in_dim)
        self.hidden = nn.Identity() if hidden is None else nn.Sequential(nn.Linear(in_dim, hidden), nn.GELU())
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(in_dim if hidden is None else hidden, embed_dim, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Project and normalise, the latter in single precision under autocast.

        Args:
            features: ``(..., D)``.

        Returns:
            ``(..., E)`` of length 1.
        """
        projected = self.linear(self.dropout(self.hidden(self.norm(features))))
        half = projected.dtype in (torch.float16, torch.bfloat16)
        return nn.functional.normalize(projected.float() if half else projected, dim=-1)


class LossParameters(nn.Module):
    """Temperature and bias of the contrastive loss, learnt with the network.

    Args:
        temperature: t that multiplies the cosine at the start; its logarithm is learnt.
        bias: b at the start.

    Reference:
        Zhai et al., "Sigmoid Loss for Language Image Pre-Training", 2023, https://arxiv.org/abs/2303.15343.
    """

    def __init__(self, temperature: float = 10.0, bias: float = -10.0) -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"init_temperature multiplies the cosine and must be positive, got {temperature}; use 10.")
        self.log_scale = nn.Parameter(torch.tensor(math.log(temperature)))
        self.bias = nn.Parameter(torch.tensor(float(bias)))


def balanced_bias(batch_size: int) -> float:
    """Bias at which N - 1 negatives weigh as much as one positive: -ln(N - 1), for a batch of N over all processes."""
    if batch_size < 2:
        raise ValueError(f"a contrastive batch has at least 2 studies, got {batch_size}.")
    return -math.log(batch_size - 1)
