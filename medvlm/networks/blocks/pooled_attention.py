"""Attention on a pooled grid of tokens, and the block around it: the body of a multiscale vision transformer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from medvlm.networks.blocks.depthwise_pool import depthwise_pool
from medvlm.networks.blocks.relative_positions import Grid, key_axes, relative_scores

EPSILON = 1e-6  # of every LayerNorm


@dataclass
class PooledBlockSettings:
    """Numbers of one block; an empty kernel and stride mean that nothing is pooled.

    Args:
        num_heads: attention heads.
        input_channels: width of the tokens that come in.
        output_channels: width of the tokens that go out.
        kernel_q: kernel ``(t, h, w)`` that pools the queries.
        kernel_kv: kernel that pools keys and values.
        stride_q: stride of the queries, and so of the block.
        stride_kv: stride of keys and values.
    """

    num_heads: int
    input_channels: int
    output_channels: int
    kernel_q: Sequence[int] = field(default_factory=tuple)
    kernel_kv: Sequence[int] = field(default_factory=tuple)
    stride_q: Sequence[int] = field(default_factory=tuple)
    stride_kv: Sequence[int] = field(default_factory=tuple)


def pools(kernel: Sequence[int], stride: Sequence[int]) -> bool:
    """Say whether a kernel and stride do anything."""
    return math.prod(kernel) > 1 or math.prod(stride) > 1


def pooled_grid(grid: Grid, kernel: Sequence[int], stride: Sequence[int]) -> Grid:
    """Grid ``(t, h, w)`` after a convolution padded by half its kernel."""
    if not pools(kernel, stride):
        return grid
    sizes = zip(grid, kernel, stride, strict=True)
    return tuple((size + 2 * (k // 2) - k) // s + 1 for size, k, s in sizes)


class HeadPool(nn.Module):
    """Pool the tokens of every head by one depthwise convolution, and normalise them.

    All heads share the kernel. The convolution reads the tokens where they lie, channels last: no copy is made.

    Args:
        width: channels of a head.
        kernel: ``(t, h, w)``.
        stride: ``(t, h, w)``.
    """

    def __init__(self, width: int, kernel: Sequence[int], stride: Sequence[int]) -> None:
        super().__init__()
        padding = tuple(k // 2 for k in kernel)
        self.pool = nn.Conv3d(width, width, tuple(kernel), tuple(stride), padding, groups=width, bias=False)
        self.norm_act = nn.Sequential(nn.LayerNorm(width, eps=EPSILON))

    def forward(self, tokens: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
        """Pool.

        Args:
            tokens: ``(B, 1 + t * h * w, heads * width)``; the class token, first, is only normalised.
            grid: ``(t, h, w)``.

        Returns:
            ``(B, heads, 1 + t' * h' * w', width)`` and the grid ``(t', h', w')``.
        """
        width = self.pool.in_channels
        heads = tokens.shape[2] // width
        first, maps = tokens.split((1, tokens.shape[1] - 1), dim=1)
        weight = self.pool.weight.repeat(heads, 1, 1, 1, 1)
        maps = depthwise_pool(maps.unflatten(1, grid), weight, self.pool.stride)  # (B, t', h', w', C)
        pooled = torch.cat((first, maps.flatten(1, 3)), dim=1).unflatten(2, (heads, width))  # (B, 1 + L, heads, width)
        return self.norm_act(pooled).transpose(1, 2), tuple(maps.shape[1:4])


class PooledAttention(nn.Module):
    """Multi-head attention with pooled queries, keys and values.

    The relative positions enter as further channels of queries (their scores along each axis) and of keys (ones and
    zeros that say where a key lies), so that one fused attention does everything and no matrix of queries by keys is
    ever stored.

    Args:
        settings: numbers of the block.
        dim: width that comes out.
        grid: nominal grid ``(t, h, w)``; it decides how long the tables of relative positions are.
        residual_pool: add the pooled queries to what comes out.
        residual_class_token: do so for the class token, too.
        relative_positions: learn relative positions.
        dropout: probability after the last projection.
    """

    def __init__(
        self,
        settings: PooledBlockSettings,
        dim: int,
        grid: Grid,
        residual_pool: bool,
        residual_class_token: bool,
        relative_positions: bool,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.dim = dim
        self.num_heads = settings.num_heads
        self.head_dim = dim // settings.num_heads
        self.residual_pool = residual_pool
        self.residual_class_token = residual_class_token
        self.qkv = nn.Linear(settings.input_channels, 3 * dim)
        self.project = nn.Sequential(nn.Linear(dim, dim), nn.Dropout(dropout))
        self.pool_q = self.pool_k = self.pool_v = None
        if pools(settings.kernel_q, settings.stride_q):
            self.pool_q = HeadPool(self.head_dim, settings.kernel_q, settings.stride_q)
        if pools(settings.kernel_kv, settings.stride_kv):
            self.pool_k = HeadPool(self.head_dim, settings.kernel_kv, settings.stride_kv)
            self.pool_v = HeadPool(self.head_dim, settings.kernel_kv, settings.stride_kv)
        self.relative_positions = relative_positions
        if relative_positions:
            side = max(grid[1:])
            strides = [stride[1] if len(stride) else 1 for stride in (settings.stride_q, settings.stride_kv)]
            rows = 2 * max(side // stride for stride in strides) - 1
            self.rel_pos_h = nn.Parameter(torch.zeros(rows, self.head_dim))
            self.rel_pos_w = nn.Parameter(torch.zeros(rows, self.head_dim))
            self.rel_pos_t = nn.Parameter(torch.zeros(2 * grid[0] - 1, self.head_dim))
            for table in (self.rel_pos_h, self.rel_pos_w, self.rel_pos_t):
                nn.init.trunc_normal_(table, std=0.02)

    def heads(self, tokens: Tensor, pool: HeadPool | None, grid: Grid) -> tuple[Tensor, Grid]:
        """Pool ``(B, 1 + L, dim)`` and split it into heads: ``(B, heads, 1 + L', head_dim)`` and its grid."""
        if pool is not None:
            return pool(tokens, grid)
        return tokens.unflatten(-1, (self.num_heads, self.head_dim)).transpose(1, 2), grid

    def forward(self, tokens: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
        """Attend.

        Args:
            tokens: ``(B, 1 + L, input_channels)``, class token first.
            grid: ``(t, h, w)`` with ``t * h * w = L``.

        Returns:
            ``(B, 1 + L', dim)`` and the grid of the pooled queries.
        """
        # three products, so that each result is contiguous
        parts = zip(self.qkv.weight.chunk(3), self.qkv.bias.chunk(3), strict=True)
        query, key, value = (functional.linear(tokens, weight, bias) for weight, bias in parts)  # (B, 1 + L, dim)
        query, query_grid = self.heads(query, self.pool_q, grid)
        key, key_grid = self.heads(key, self.pool_k, grid)
        value, _ = self.heads(value, self.pool_v, grid)
        attended = self.attend(query, key, value, query_grid, key_grid)
        if self.residual_pool and self.residual_class_token:
            attended = attended + query
        elif self.residual_pool:
            joins = torch.ones(query.shape[2], 1, dtype=query.dtype, device=query.device)
            joins[0] = 0.0  # the class token
            attended = torch.addcmul(attended, query, joins)
        return self.project(attended.transpose(1, 2).flatten(2)), query_grid

    def attend(self, query: Tensor, key: Tensor, value: Tensor, grid: Grid, key_grid: Grid) -> Tensor:
        """Scaled dot-product attention with relative positions: ``(B, heads, 1 + L', head_dim)``."""
        scale = self.head_dim**-0.5
        if not self.relative_positions:
            return functional.scaled_dot_product_attention(query, key, value, scale=scale)
        tables = (self.rel_pos_t, self.rel_pos_h, self.rel_pos_w)
        extra = sum(key_grid)
        spare = -(self.head_dim + extra) % 8  # fused kernels want multiples of 8
        scores = relative_scores(query.split((1, query.shape[2] - 1), dim=2)[1], grid, key_grid, tables) / scale
        query = torch.cat((query, functional.pad(scores, (0, spare, 1, 0))), dim=-1)
        axes = functional.pad(key_axes(key_grid, key), (0, spare, 1, 0))
        key = torch.cat((key, axes.expand(*key.shape[:2], -1, -1)), dim=-1)
        value = functional.pad(value, (0, extra + spare))
        return functional.scaled_dot_product_attention(query, key, value, scale=scale)[..., : self.head_dim]


class StochasticDepth(nn.Module):
    """Drop a residual branch of whole samples in training, and scale up the ones that stay.

    Args:
        probability: of a sample's branch to be dropped, 0..1.

    Reference:
        Huang et al., "Deep Networks with Stochastic Depth", 2016, https://arxiv.org/abs/1603.09382.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        if not 0 <= probability < 1:
            raise ValueError(f"the probability of stochastic depth must be in 0..1, below 1, got {probability}.")
        self.probability = probability

    def forward(self, branch: Tensor) -> Tensor:
        """Return the branch ``(B, ...)``, with rows dropped in training."""
        if not self.training or self.probability == 0:
            return branch
        shape = (branch.shape[0],) + (1,) * (branch.ndim - 1)
        kept = torch.empty(shape, dtype=branch.dtype, device=branch.device).bernoulli_(1 - self.probability)
        return branch * kept / (1 - self.probability)


class PooledBlock(nn.Module):
    """A transformer block whose attention pools.

    Args:
        settings: numbers of the block.
        grid: nominal grid ``(t, h, w)``.
        residual_pool: see ``PooledAttention``.
        residual_class_token: see ``PooledAttention``.
        relative_positions: see ``PooledAttention``.
        project_in_attention: widen the tokens in the attention (v2) and not in the MLP (v1).
        dropout: probability in the MLP and after the attention.
        stochastic_depth: probability with which a branch is dropped.
    """

    def __init__(
        self,
        settings: PooledBlockSettings,
        grid: Grid,
        residual_pool: bool,
        residual_class_token: bool,
        relative_positions: bool,
        project_in_attention: bool,
        dropout: float = 0.0,
        stochastic_depth: float = 0.0,
    ) -> None:
        super().__init__()
        width, wider = settings.input_channels, settings.output_channels
        dim = wider if project_in_attention else width
        self.project_in_attention = project_in_attention
        self.stride = tuple(settings.stride_q) if math.prod(settings.stride_q) > 1 else ()
        self.norm1 = nn.LayerNorm(width, eps=EPSILON)
        self.norm2 = nn.LayerNorm(dim, eps=EPSILON)
        self.attn = PooledAttention(
            settings, dim, grid, residual_pool, residual_class_token, relative_positions, dropout
        )
        self.mlp = nn.Sequential(
            nn.Linear(dim, 4 * dim), nn.GELU(), nn.Dropout(dropout), nn.Linear(4 * dim, wider), nn.Dropout(dropout)
        )
        self.stochastic_depth = StochasticDepth(stochastic_depth)
        self.project = nn.Linear(width, wider) if width != wider else None

    def skip(self, tokens: Tensor, grid: Grid) -> Tensor:
        """Take the maximum of each window of tokens ``(B, 1 + L, C)``; the class token stays: ``(B, 1 + L', C)``."""
        if not self.stride:
            return tokens
        kernel = tuple(s + 1 if s > 1 else s for s in self.stride)
        first, maps = tokens.split((1, tokens.shape[1] - 1), dim=1)
        padding = tuple(k // 2 for k in kernel)
        if self.stride[0] == 1:  # frame by frame, for which torch reads channels last
            maps = maps.reshape(-1, *grid[1:], maps.shape[2]).permute(0, 3, 1, 2)  # (B * t, C, h, w)
            maps = functional.max_pool2d(maps, kernel[1:], self.stride[1:], padding[1:])
            maps = maps.permute(0, 2, 3, 1).reshape(tokens.shape[0], -1, maps.shape[1])
        else:
            maps = maps.transpose(1, 2).unflatten(2, grid)  # (B, C, t, h, w)
            maps = functional.max_pool3d(maps, kernel, self.stride, padding).flatten(2).transpose(1, 2)
        return torch.cat((first, maps), dim=1)

    def forward(self, tokens: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
        """Transform ``(B, 1 + L, input_channels)`` on ``grid`` to ``(B, 1 + L', output_channels)`` on the new grid."""
        normed = self.norm1(tokens)
        attended, new_grid = self.attn(normed, grid)
        if self.project is not None and self.project_in_attention:
            tokens = self.project(normed)
        tokens = self.skip(tokens, grid) + self.stochastic_depth(attended)
        normed = self.norm2(tokens)
        if self.project is not None and not self.project_in_attention:
            tokens = self.project(normed)
        return tokens + self.stochastic_depth(self.mlp(normed)), new_grid
