"""Fixed position vectors of the places of a grid of any size."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def grid_positions(grid: Sequence[int], dim: int, device: torch.device | None = None) -> Tensor:
    """Sines and cosines of the coordinates of each place, a third of the width an axis.

    Args:
        grid: ``(t, h, w)``.
        dim: width D; at least 6. What is left of it after three even parts goes to the last axis, or is zero.
        device: where the result lives.

    Returns:
        ``(t * h * w, D)``, w fastest; every place has another vector.

    Raises:
        ValueError: if ``dim`` is below 6.

    Reference:
        Vaswani et al., "Attention Is All You Need", 2017, https://arxiv.org/abs/1706.03762.
    """
    if dim < 6:
        raise ValueError(f"dim must be at least 6 (a sine and a cosine for each of three axes), got {dim}.")
    third = dim // 6 * 2
    widths = (third, third, (dim - 2 * third) // 2 * 2)
    parts = []
    for axis, (side, width) in enumerate(zip(grid, widths, strict=True)):
        places = torch.arange(side, dtype=torch.float32, device=device)
        steps = torch.arange(width // 2, dtype=torch.float32, device=device) / (width // 2)
        angles = places[:, None] * 10000.0**-steps  # (side, width / 2)
        shape = [1, 1, 1, width]
        shape[axis] = side
        parts.append(torch.cat([angles.sin(), angles.cos()], dim=1).reshape(shape).expand(*grid, width))
    vectors = torch.cat(parts, dim=-1).flatten(0, 2)  # (t * h * w, D or D - 1)
    return torch.nn.functional.pad(vectors, (0, dim - vectors.shape[1]))
