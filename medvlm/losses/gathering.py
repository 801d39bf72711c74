"""Rows of all processes, with their gradient."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def processes() -> int:
    """How many processes share this training step.

    1 where gradients are off: validation may have unequal numbers of batches, so that nobody may wait there.
    """
    if dist.is_available() and dist.is_initialized() and torch.is_grad_enabled():
        return dist.get_world_size()
    return 1


def row_counts(rows: int, device: torch.device) -> list[int]:
    """The number of rows of each process, in the order of the ranks.

    Args:
        rows: those of this process; may be 0.
        device: where the process group communicates.
    """
    if processes() == 1:
        return [rows]
    counts = torch.zeros(dist.get_world_size(), dtype=torch.long, device=device)
    counts[dist.get_rank()] = rows
    dist.all_reduce(counts)
    return counts.tolist()


def gather_rows(rows: Tensor, counts: list[int]) -> Tensor:
    """Concatenate the rows of all processes, however many each has.

    The gradient that a process receives for its own rows is the sum of what all processes ask of them, so that the mean
    over the processes of the parameters' gradients is the gradient of the mean loss.

    Args:
        rows: ``(n, ...)`` of this process.
        counts: of all processes, from :func:`row_counts`.

    Returns:
        ``(sum of counts, ...)``, in the order of the ranks.
    """
    if len(counts) == 1:
        return rows
    return _GatherRows.apply(rows, counts)


class _GatherRows(torch.autograd.Function):
    """All-gather padded to the largest share; backward adds the gradients of all processes and takes the own rows."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, counts: list[int]) -> Tensor:
        """Rows ``(n, ...)`` of this process to ``(sum of counts, ...)`` of all."""
        ctx.counts = counts
        padded = rows.new_zeros((max(1, *counts), *rows.shape[1:]))
        padded[: rows.shape[0]] = rows
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)
        start = sum(ctx.counts[: dist.get_rank()])
        return gradient[start : start + ctx.counts[dist.get_rank()]], None
