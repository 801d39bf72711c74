"""Losses over all pairs of two sets of embeddings, block by block, so that the matrix of pairs never exists."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional


class KeyPositives:
    """Pairs that share a key.

    Args:
        row_keys: ``(n, G)`` integers; 0 matches nothing.
        column_keys: ``(m, G)``.
    """

    binary = True

    def __init__(self, row_keys: Tensor, column_keys: Tensor) -> None:
        self.row_keys, self.column_keys = row_keys, column_keys

    def block(self, rows: slice, columns: slice) -> Tensor:
        """Whether each pair of a block has any key in common, ``(rows, columns)`` bool."""
        left, right = self.row_keys[rows], self.column_keys[columns]
        shared = torch.zeros(left.shape[0], right.shape[0], dtype=torch.bool, device=left.device)
        for group in range(left.shape[1]):
            mine = left[:, group, None]
            shared |= (mine == right[None, :, group]) & (mine != 0)
        return shared


class GivenPositives:
    """Pairs with stated weights.

    Args:
        weights: ``(n, m)``, at least 0.
    """

    def __init__(self, weights: Tensor) -> None:
        self.weights = weights
        self.binary = bool(((weights == 0) | (weights == 1)).all())

    def block(self, rows: slice, columns: slice) -> Tensor:
        """The weights of a block, ``(rows, columns)``."""
        return self.weights[rows, columns]


Positives = KeyPositives | GivenPositives


def sigmoid_sum(rows: Tensor, columns: Tensor, scale: Tensor, bias: Tensor, positives: Positives, chunk: int) -> Tensor:
    """Binary cross-entropy of every pair, summed.

    Args:
        rows: ``(n, D)``.
        columns: ``(m, D)``.
        scale: scalar, multiplies the dot products.
        bias: scalar, added to them.
        positives: targets 0..1 of the pairs.
        chunk: side of a block.

    Returns:
        A scalar. Its gradients are taken block by block in the same pass; they cannot be differentiated again.
    """
    return _SigmoidSum.apply(rows, columns, scale, bias, positives, chunk)


def softmax_rows(
    rows: Tensor, columns: Tensor, scale: Tensor, positives: Positives, chunk: int
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of each row's softmax over all columns with the row's normalised positive weights.

    Args:
        rows: ``(n, D)``.
        columns: ``(m, D)``.
        scale: scalar, multiplies the dot products.
        positives: weights of the pairs, at least 0.
        chunk: side of a block.

    Returns:
        Losses ``(n,)``, 0 for a row without a positive, and which rows have one, ``(n,)`` bool. The backward pass
        computes each block again; it cannot be differentiated again.
    """
    return _SoftmaxRows.apply(rows, columns, scale, positives, chunk)


def _slices(length: int, chunk: int) -> Iterator[slice]:
    return (slice(start, min(start + chunk, length)) for start in range(0, length, chunk))


class _SigmoidSum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, columns: Tensor, scale: Tensor, bias: Tensor, positives: Positives, chunk: int
    ) -> Tensor:
        """Rows ``(n, D)`` and columns ``(m, D)`` to a scalar; keeps the gradients, in the shapes of the inputs."""
        learns = any(ctx.needs_input_grad[:4])
        total, d_scale, d_bias = (rows.new_zeros(()) for _ in range(3))
        d_rows, d_columns = (torch.zeros_like(x) if learns else None for x in (rows, columns))
        with torch.autocast(rows.device.type, enabled=False):
            for i in _slices(rows.shape[0], chunk):
                for j in _slices(columns.shape[0], chunk):
                    dots = rows[i] @ columns[j].T
                    loss, slope = _sigmoid_block(dots * scale + bias, positives.block(i, j), positives.binary)
                    total += loss
                    if learns:
                        d_rows[i].addmm_(slope, columns[j])
                        d_columns[j].addmm_(slope.T, rows[i])
                        d_bias += slope.sum()
                        d_scale += slope.mul_(dots).sum()
            if learns:
                ctx.save_for_backward(d_rows.mul_(scale), d_columns.mul_(scale), d_scale, d_bias)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        d_rows, d_columns, d_scale, d_bias = ctx.saved_tensors
        return d_rows * gradient, d_columns * gradient, d_scale * gradient, d_bias * gradient, None, None


def _sigmoid_block(logits: Tensor, positives: Tensor, binary: bool) -> tuple[Tensor, Tensor]:
    """Summed loss and its slope; written with log σ of the signed logit, which keeps small losses exact."""
    target = positives.to(logits.dtype)
    if binary:
        signs = target.mul(2).sub_(1)
        signed = logits.mul_(signs)
        loss = -functional.logsigmoid(signed).sum()
        return loss, signed.neg_().sigmoid_().mul_(signs).neg_()
    loss = -(target * functional.logsigmoid(logits) + (1 - target) * functional.logsigmoid(-logits)).sum()
    return loss, (1 - target) * torch.sigmoid(logits) - target * torch.sigmoid(-logits)


class _SoftmaxRows(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, columns: Tensor, scale: Tensor, positives: Positives, chunk: int
    ) -> tuple[Tensor, Tensor]:
        """Rows ``(n, D)`` and columns ``(m, D)`` to losses ``(n,)`` and flags ``(n,)``; keeps the normalisers."""
        count = rows.shape[0]
        normaliser, mass, agreement = rows.new_full((count,), -torch.inf), rows.new_zeros(count), rows.new_zeros(count)
        with torch.autocast(rows.device.type, enabled=False):
            for i in _slices(count, chunk):
                for j in _slices(columns.shape[0], chunk):
                    logits = (rows[i] @ columns[j].T).mul_(scale)
                    weights = positives.block(i, j).to(logits.dtype)
                    normaliser[i] = torch.logaddexp(normaliser[i], logits.logsumexp(1))
                    mass[i] += weights.sum(1)
                    agreement[i] += (weights * logits).sum(1)
        has = mass > 0
        losses = torch.where(has, normaliser - agreement / mass.clamp(min=torch.finfo(mass.dtype).tiny), 0.0)
        ctx.save_for_backward(rows, columns, scale, normaliser, mass, has)
        ctx.positives, ctx.chunk = positives, chunk
        ctx.mark_non_differentiable(has)
        return losses, has

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        rows, columns, scale, normaliser, mass, has = ctx.saved_tensors
        gradient = torch.where(has, gradient, 0.0)
        mass = torch.where(has, mass, 1.0)
        d_rows, d_columns, d_scale = torch.zeros_like(rows), torch.zeros_like(columns), torch.zeros_like(scale)
        with torch.autocast(rows.device.type, enabled=False):
            for i in _slices(rows.shape[0], ctx.chunk):
                for j in _slices(columns.shape[0], ctx.chunk):
                    dots = rows[i] @ columns[j].T
                    slope = (dots * scale).sub_(normaliser[i, None]).exp_()
                    slope.sub_(ctx.positives.block(i, j).to(slope.dtype) / mass[i, None]).mul_(gradient[i, None])
                    d_rows[i].addmm_(slope, columns[j])
                    d_columns[j].addmm_(slope.T, rows[i])
                    d_scale += slope.mul_(dots).sum()
        return d_rows.mul_(scale), d_columns.mul_(scale), d_scale, None, None
