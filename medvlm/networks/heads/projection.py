"""Projection onto the unit sphere that two modalities share."""

from __future__ import annotations

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
