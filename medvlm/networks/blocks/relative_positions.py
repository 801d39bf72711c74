"""Decomposed relative positions of an attention whose queries and keys live on grids of different sizes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

Grid = tuple[int, int, int]


def resized_table(table: Tensor, length: int) -> Tensor:
    """Resize a table of relative positions linearly.

    Args:
        table: ``(length_0, D)``.
        length: rows wanted.

    Returns:
        ``(length, D)``; the table itself where it already has that many rows.
    """
    if table.shape[0] == length:
        return table
    return functional.interpolate(table.T[None], size=length, mode="linear")[0].T


def relative_rows(table: Tensor, queries: int, keys: int) -> Tensor:
    """Pick the row of every pair of a query and a key along one axis.

    Both axes are stretched to the longer one, the distance is counted from the last key, and its fraction is cut off,
    as the weights of published MViTs expect.

    Args:
        table: ``(length, D)``.
        queries: positions of the queries on this axis.
        keys: positions of the keys on this axis.

    Returns:
        ``(queries, keys, D)``.
    """
    table = resized_table(table, 2 * max(queries, keys) - 1)
    of_query = torch.arange(queries, device=table.device)[:, None] * max(keys / queries, 1.0)
    of_key = (torch.arange(keys, device=table.device)[None, :] + (1.0 - keys)) * max(queries / keys, 1.0)
    return table[(of_query - of_key).long()]


def key_axes(grid: Grid, like: Tensor) -> Tensor:
    """Say of every key where it lies on each axis, in ones and zeros.

    Args:
        grid: ``(t, h, w)`` of the keys.
        like: a tensor of the type and device wanted.

    Returns:
        ``(t * h * w, t + h + w)``; each row holds three ones.
    """
    t, h, w = grid
    columns = [
        torch.eye(size, dtype=like.dtype, device=like.device).reshape(shape).expand(t, h, w, size)
        for size, shape in ((t, (t, 1, 1, t)), (h, (1, h, 1, h)), (w, (1, 1, w, w)))
    ]
    return torch.cat(columns, dim=-1).reshape(t * h * w, t + h + w)


def relative_scores(query: Tensor, grid: Grid, key_grid: Grid, tables: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """What the relative positions add to the scores of each query, one column for each key position of each axis.

    The score of a query and a key is the sum of three of these columns: ``scores @ key_axes(key_grid).T``.

    Args:
        query: ``(B, heads, t * h * w, D)``, not scaled.
        grid: ``(t, h, w)`` of the queries.
        key_grid: ``(t, h, w)`` of the keys.
        tables: of t, h and w, each ``(length, D)``.

    Returns:
        ``(B, heads, t * h * w, t_k + h_k + w_k)``.
    """
    batch, heads, _, width = query.shape
    (t, h, w), query = grid, query.reshape(batch * heads, *grid, width)  # (b, t, h, w, D)
    along_t, along_h, along_w = (
        relative_rows(table, *sizes).to(query.dtype).transpose(1, 2)  # (size, D, size of keys)
        for table, *sizes in zip(tables, grid, key_grid, strict=True)
    )
    # each a product of matrices that lie in the queries' memory as they are
    of_t = (query.flatten(2, 3) @ along_t).unflatten(2, (h, w))
    of_h = query @ along_h
    of_w = (query.flatten(1, 2).transpose(1, 2) @ along_w).transpose(1, 2).unflatten(1, (t, h))
    return torch.cat((of_t, of_h, of_w), dim=-1).reshape(batch, heads, t * h * w, sum(key_grid))
