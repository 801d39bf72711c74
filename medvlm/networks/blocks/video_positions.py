"""Positions of the tokens of a video, for any number of frames and any size."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from medvlm.networks.blocks.relative_positions import Grid


def sin_cos_axis(size: int, width: int, nominal: int | None = None) -> Tensor:
    """Sines and cosines of the positions along one axis.

    Args:
        size: positions.
        width: channels, even.
        nominal: stretch the positions to this number of steps; ``size`` where absent.

    Returns:
        ``(size, width)``, float32.
    """
    positions = torch.arange(size, dtype=torch.float64)
    if nominal is not None:
        positions = (positions + 0.5) * nominal / size - 0.5  # centres stay centres
    rates = 10000.0 ** -(torch.arange(width // 2, dtype=torch.float64) / max(width // 2, 1))
    angles = positions[:, None] * rates[None, :]
    return torch.cat((angles.sin(), angles.cos()), dim=1).float()


def sin_cos_positions(grid: Grid, width: int, nominal: Grid | None = None) -> Tensor:
    """Sines and cosines of the positions on a grid: a quarter of the channels for time, the rest for space.

    Args:
        grid: ``(t, h, w)``.
        width: channels, divisible by 8.
        nominal: the grid that the network was trained on; positions of another grid are stretched to it.

    Returns:
        ``(t * h * w, width)``, float32.

    Raises:
        ValueError: if the width is not divisible by 8.
    """
    if width % 8:
        raise ValueError(f"sin-cos positions need a width divisible by 8, got {width}; choose such a width.")
    t, h, w = grid
    in_time = width // 4 // 2 * 2
    in_h = (width - in_time) // 4 * 2
    widths = (in_time, in_h, width - in_time - in_h)
    sizes = nominal or (None, None, None)
    along = [sin_cos_axis(size, wide, steps) for size, wide, steps in zip(grid, widths, sizes, strict=True)]
    columns = (
        along[0][:, None, None].expand(t, h, w, -1),
        along[1][None, :, None].expand(t, h, w, -1),
        along[2][None, None, :].expand(t, h, w, -1),
    )
    return torch.cat(columns, dim=-1).reshape(t * h * w, width)


def resized_space(table: Tensor, sides: tuple[int, int], new_sides: tuple[int, int]) -> Tensor:
    """Resize positions in space, ``(h * w, C)``, to ``(h' * w', C)``, bicubically."""
    if tuple(sides) == tuple(new_sides):
        return table
    image = table.T.reshape(1, -1, *sides)
    return functional.interpolate(image, size=tuple(new_sides), mode="bicubic", align_corners=False)[0].flatten(1).T


def resized_time(table: Tensor, frames: int) -> Tensor:
    """Resize positions in time, ``(t, C)``, to ``(t', C)``, linearly."""
    if table.shape[0] == frames:
        return table
    return functional.interpolate(table.T[None], size=frames, mode="linear", align_corners=False)[0].T


class ClassTokenPositions(nn.Module):
    """Put the class token before the tokens, and add learned positions where wanted.

    The names of the parameters are torchvision's (``class_token``, ``spatial_pos``, ``temporal_pos``, ``class_pos``).

    Args:
        width: channels.
        grid: nominal grid ``(t, h, w)``; the positions of another grid are interpolated.
        absolute: learn positions.
    """

    def __init__(self, width: int, grid: Grid, absolute: bool) -> None:
        super().__init__()
        self.nominal = tuple(grid)
        self.absolute = absolute
        self.class_token = nn.Parameter(torch.zeros(width))
        nn.init.trunc_normal_(self.class_token, std=0.02)
        if absolute:
            self.spatial_pos = nn.Parameter(torch.zeros(grid[1] * grid[2], width))
            self.temporal_pos = nn.Parameter(torch.zeros(grid[0], width))
            self.class_pos = nn.Parameter(torch.zeros(width))
            for table in (self.spatial_pos, self.temporal_pos, self.class_pos):
                nn.init.trunc_normal_(table, std=0.02)

    def forward(self, tokens: Tensor, grid: Grid) -> Tensor:
        """Return ``(B, 1 + L, C)`` for tokens ``(B, L, C)`` on ``grid``."""
        class_token = self.class_token
        if self.absolute:
            space = resized_space(self.spatial_pos, self.nominal[1:], grid[1:])  # (h * w, C)
            time = resized_time(self.temporal_pos, grid[0])  # (t, C)
            tokens = tokens + (time[:, None] + space[None]).flatten(0, 1)
            class_token = class_token + self.class_pos
        return torch.cat((class_token.to(tokens.dtype).expand(len(tokens), 1, -1), tokens), dim=1)


class SinCosPositions(nn.Module):
    """Fixed positions of a grid; those of another grid than the nominal one are stretched to it. No parameters.

    Args:
        width: channels, divisible by 8.
        grid: nominal grid ``(t, h, w)``.
    """

    def __init__(self, width: int, grid: Grid) -> None:
        super().__init__()
        self.width = width
        self.nominal = tuple(grid)
        self.register_buffer("table", sin_cos_positions(self.nominal, width), persistent=False)

    def forward(self, grid: Grid) -> Tensor:
        """Positions ``(t * h * w, C)`` of a grid."""
        if tuple(grid) == self.nominal:
            return self.table
        return sin_cos_positions(grid, self.width, self.nominal).to(self.table)


class LearnedPositions(nn.Module):
    """Learned positions in time and in space, added; those of another grid are interpolated.

    Args:
        width: channels.
        grid: nominal grid ``(t, h, w)``.
    """

    def __init__(self, width: int, grid: Grid) -> None:
        super().__init__()
        self.nominal = tuple(grid)
        self.spatial_pos = nn.Parameter(torch.zeros(grid[1] * grid[2], width))
        self.temporal_pos = nn.Parameter(torch.zeros(grid[0], width))
        for table in (self.spatial_pos, self.temporal_pos):
            nn.init.trunc_normal_(table, std=0.02)

    def forward(self, grid: Grid) -> Tensor:
        """Positions ``(t * h * w, C)`` of a grid."""
        space = resized_space(self.spatial_pos, self.nominal[1:], grid[1:])  # (h * w, C)
        time = resized_time(self.temporal_pos, grid[0])  # (t, C)
        return (time[:, None] + space[None]).flatten(0, 1)
