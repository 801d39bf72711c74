"""Pool a bag of vectors into one, with a mask that is honoured: what is masked has no influence, not even as NaN."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def clear(x: Tensor, mask: Tensor | None) -> Tensor:
    """Replace what is masked by zeros (a product with the mask would keep NaN and infinity).

    Args:
        x: ``(..., N, D)``.
        mask: ``(..., N)``, True = valid; ``None``: all are.
    """
    return x if mask is None else x.masked_fill(~mask.unsqueeze(-1), 0.0)


def masked_softmax(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Softmax over the valid positions of the last axis; all zeros where there is none.

    Args:
        scores: ``(..., N)``; half precision is computed in single.
        mask: broadcasts to ``scores``, True = valid; ``None``: all are.
    """
    scores = scores.float() if scores.dtype in (torch.float16, torch.bfloat16) else scores
    if mask is None:
        return scores.softmax(-1)
    scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return scores.softmax(-1).masked_fill(~mask, 0.0)


def masked_mean(x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Mean of the valid vectors; zeros for an empty bag.

    Args:
        x: ``(..., N, D)``.
        mask: ``(..., N)``, True = valid.

    Returns:
        ``(..., D)``, and the weight of each vector ``(..., N)``.
    """
    valid = x.new_ones(x.shape[:-1]) if mask is None else mask.to(x.dtype)
    weights = valid / valid.sum(-1, keepdim=True).clamp_min(1)
    return torch.einsum("...n,...nd->...d", weights, clear(x, mask)), weights


def masked_max(x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Maximum of each feature over the valid vectors; zeros for an empty bag.

    Args:
        x: ``(..., N, D)``.
        mask: ``(..., N)``, True = valid.

    Returns:
        ``(..., D)``, and the share of the features that each vector wins ``(..., N)``, without a gradient.
    """
    if mask is None:
        values, winners = x.max(-2)
    else:
        values, winners = x.masked_fill(~mask.unsqueeze(-1), torch.finfo(x.dtype).min).max(-2)
        values = values.masked_fill(~mask.any(-1, keepdim=True), 0.0)
    share = torch.zeros_like(x[..., 0]).scatter_add(-1, winners, torch.ones_like(values)) / x.shape[-1]
    return values, share.detach() if mask is None else share.masked_fill(~mask, 0.0).detach()


class GatedAttention(nn.Module):
    """Gated attention pooling.

    a_n = softmax over the valid n of w·(tanh(V h_n) ⊙ σ(U h_n)); the bag is Σ a_n h_n. An empty bag gives zeros.

    Reference: Ilse, Tomczak, Welling, Attention-based deep multiple instance learning, 2018
    (https://arxiv.org/abs/1802.04712); V, U and w have biases here.

    Args:
        dim: width D.
        hidden: width of the gate.
        branches: how many attention maps K, each of which gives a vector.
    """

    def __init__(self, dim: int, hidden: int = 128, branches: int = 1) -> None:
        super().__init__()
        if hidden < 1 or branches < 1:
            raise ValueError(f"hidden and branches must be at least 1, got {hidden} and {branches}.")
        self.values = nn.Linear(dim, hidden)
        self.gates = nn.Linear(dim, hidden)
        self.scores = nn.Linear(hidden, branches)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Pool the bags.

        Args:
            x: ``(..., N, D)``.
            mask: ``(..., N)``, True = valid.

        Returns:
            ``(..., K, D)``, and the attention ``(..., K, N)``.
        """
        x = clear(x, mask)
        scores = self.scores(torch.tanh(self.values(x)) * torch.sigmoid(self.gates(x)))  # (..., N, K)
        attention = masked_softmax(scores.transpose(-1, -2), None if mask is None else mask.unsqueeze(-2))
        return attention.to(x.dtype) @ x, attention


class ClassTokenAttention(nn.Module):
    """One learned class token attends to a bag (and to itself) and is what remains of it.

    The row of the class token of one multi-head self-attention layer over ``[token; bag]``; the other rows are not
    computed. An empty bag leaves the token, which attends to itself alone.

    Args:
        dim: width D.
        heads: attention heads; must divide D.
        norm: ``"pre"``: LayerNorm of the sequence before the attention; ``"post"``: of the result.
        residual: add the class token to the result.
    """

    def __init__(self, dim: int, heads: int = 4, norm: str = "pre", residual: bool = True) -> None:
        super().__init__()
        if heads < 1 or dim % heads:
            raise ValueError(f"heads must divide the width {dim}, got {heads}.")
        if norm not in ("pre", "post"):
            raise ValueError(f"norm must be 'pre' or 'post', got {norm!r}.")
        self.heads, self.pre, self.residual = heads, norm == "pre", residual
        self.token = nn.Parameter(torch.randn(dim) * 0.02)
        self.query_key_value = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Pool the bags.

        Args:
            x: ``(..., N, D)``.
            mask: ``(..., N)``, True = valid.

        Returns:
            ``(..., D)``, and the attention of each head ``(..., heads, 1 + N)``; index 0 is the class token itself.
        """
        dim, token = x.shape[-1], self.token.to(x.dtype).expand(*x.shape[:-2], 1, -1)
        sequence = torch.cat([token, clear(x, mask)], dim=-2)  # (..., 1 + N, D)
        sequence = self.norm(sequence) if self.pre else sequence
        weight, bias = self.query_key_value.weight, self.query_key_value.bias
        query = nn.functional.linear(sequence[..., 0, :], weight[:dim], bias[:dim])  # (..., D)
        keys, values = nn.functional.linear(sequence, weight[dim:], bias[dim:]).chunk(2, dim=-1)
        query = query.unflatten(-1, (self.heads, -1))  # (..., heads, D / heads)
        keys, values = (
            part.unflatten(-1, (self.heads, -1)) for part in (keys, values)
        )  # (..., 1 + N, heads, D / heads)
        scores = torch.einsum("...hd,...nhd->...hn", query, keys) * (dim // self.heads) ** -0.5
        if mask is not None:
            mask = torch.cat([torch.ones_like(mask[..., :1]), mask], dim=-1).unsqueeze(-2)  # (..., 1, 1 + N)
        attention = masked_softmax(scores, mask)
        result = self.out(torch.einsum("...hn,...nhd->...hd", attention.to(values.dtype), values).flatten(-2))
        result = result + token.squeeze(-2) if self.residual else result
        return result if self.pre else self.norm(result), attention
