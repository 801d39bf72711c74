"""Positions of the tokens of a video, for any number of frames and any size."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from medvlm.networks.blocks.grid_positions import grid_positions
from medvlm.networks.blocks.relative_positions import Grid


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
        return torch.cat((class_token.to(tokens.dtype).expand(tokens.shape[0], 1, -1), tokens), dim=1)


class SinCosPositions(nn.Module):
    """Fixed positions of a grid; those of another grid are interpolated. No parameters.

    Args:
        width: channels.
        grid: nominal grid ``(t, h, w)``.
    """

    def __init__(self, width: int, grid: Grid) -> None:
        super().__init__()
        self.nominal = tuple(grid)
        self.register_buffer("table", grid_positions(self.nominal, width), persistent=False)

    def forward(self, grid: Grid) -> Tensor:
        """Positions ``(t * h * w, C)`` of a grid."""
        if tuple(grid) == self.nominal:
            return self.table
        volume = self.table.T.reshape(1, -1, *self.nominal)
        volume = functional.interpolate(volume, size=tuple(grid), mode="trilinear", align_corners=False)
        return volume[0].flatten(1).T


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
