"""Attention over keys and values that are computed once, and the decoder layer made of it."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from medvlm.networks.blocks.key_value_cache import DecoderCache


class CrossAttention(nn.Module):
    """Multi-head attention whose keys and values are computed apart from its queries, so that they can be kept.

    Args:
        dim: width of the queries and of the output.
        heads: number of heads; divides ``dim``.
        context_dim: width of what is looked at; ``dim`` by default (self-attention).
        dropout: probability of dropping attention weights in training.

    Raises:
        ValueError: if ``dim`` is not divisible by ``heads``.
    """

    def __init__(self, dim: int, heads: int, context_dim: int | None = None, dropout: float = 0.0) -> None:
        super().__init__()
        if heads < 1 or dim % heads:
            raise ValueError(f"dim must be divisible by heads, got dim={dim} and heads={heads}.")
        self.heads, self.head_dim, self.dropout = heads, dim // heads, dropout
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(context_dim or dim, 2 * dim)
        self.output = nn.Linear(dim, dim)

    def keys_values(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of a context ``(B, M, C)``, each ``(B, heads, M, dim / heads)``."""
        parts = self.key_value(context).unflatten(-1, (2, self.heads, self.head_dim))  # (B, M, 2, heads, d)
        keys, values = parts.permute(2, 0, 3, 1, 4)
        return keys, values

    def queries(self, x: Tensor, groups: int) -> Tensor:
        """Queries ``(groups, heads, B / groups * L, d)`` of ``x`` ``(B, L, dim)``."""
        query = self.query(x).reshape(groups, -1, self.heads, self.head_dim)  # rows of one group side by side
        return query.transpose(1, 2)

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend.

        Args:
            x: ``(B, L, dim)``. B may be a multiple of the keys' batch: consecutive rows (beams) then share them.
            keys: ``(B', heads, M, d)``.
            values: ``(B', heads, M, d)``.
            mask: bool, broadcastable to ``(B', heads, B / B' * L, M)``; true = may be looked at, at least one a row.

        Returns:
            ``(B, L, dim)``.
        """
        query = self.queries(x, keys.shape[0])
        dropout = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(query, keys, values, attn_mask=mask, dropout_p=dropout)
        return self.output(y.transpose(1, 2).reshape(x.shape))

    def weights(self, x: Tensor, keys: Tensor, mask: Tensor | None = None) -> Tensor:
        """The attention weights of ``forward``, averaged over the heads: ``(B, L, M)``; arguments as there."""
        query = self.queries(x, keys.shape[0]) * self.head_dim**-0.5
        scores = query @ keys.transpose(2, 3)  # (B', heads, B / B' * L, M)
        if mask is not None:
            scores = scores.masked_fill(~mask, float("-inf"))
        return scores.softmax(dim=-1).mean(dim=1).reshape(*x.shape[:2], -1)


class DecoderLayer(nn.Module):
    """Self-attention, cross-attention and a two-layer perceptron, each on a normalised residual branch.

    Args:
        dim: width.
        heads: heads of both attentions.
        context_dim: width of the context that is looked at.
        mlp_ratio: hidden width of the perceptron over ``dim``.
        dropout: probability on each branch and on the attention weights.
    """

    def __init__(
        self, dim: int, heads: int, context_dim: int | None = None, mlp_ratio: float = 4.0, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.self_norm, self.cross_norm, self.mlp_norm = nn.LayerNorm(dim), nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.self_attention = CrossAttention(dim, heads, None, dropout)
        self.cross_attention = CrossAttention(dim, heads, context_dim, dropout)
        hidden = int(dim * mlp_ratio)
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, dim))
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        memory: tuple[Tensor, Tensor],
        memory_mask: Tensor | None,
        self_mask: Tensor | None,
        cache: DecoderCache | None = None,
        index: int = 0,
    ) -> tuple[Tensor, Tensor]:
        """Pass tokens through the layer.

        Args:
            x: ``(B, L, dim)``.
            memory: keys and values of the context, ``cross_attention.keys_values``.
            memory_mask: bool ``(B', 1, 1, M)``, true = may be looked at; none = everything.
            self_mask: bool ``(B, 1, L, past + L)``; none = everything.
            cache: keys and values of the tokens so far; those of ``x`` are put there.
            index: which layer of the cache this is.

        Returns:
            The tokens ``(B, L, dim)``, and the queries' input of the cross-attention ``(B, L, dim)``, from which
            ``cross_attention.weights`` tells where each token looked.
        """
        normed = self.self_norm(x)
        keys, values = self.self_attention.keys_values(normed)
        if cache is not None:
            keys, values = cache.append(index, keys, values)
        x = x + self.dropout(self.self_attention(normed, keys, values, self_mask))
        looking = self.cross_norm(x)
        x = x + self.dropout(self.cross_attention(looking, *memory, memory_mask))
        return x + self.dropout(self.mlp(self.mlp_norm(x))), looking
