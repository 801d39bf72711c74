"""One layer of a transformer that looks at a set of tokens, some of which are absent."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from medvlm.networks.blocks.pooled_attention import StochasticDepth


class TransformerBlock(nn.Module):
    """Pre-norm self-attention and MLP; without positions, so the order of the tokens has no meaning.

    Args:
        dim: width of the tokens.
        heads: attention heads; must divide ``dim``.
        mlp_ratio: width of the MLP over ``dim``.
        dropout: probability after the attention and in the MLP.
        stochastic_depth: probability with which a sample's branch is dropped in training.

    Raises:
        ValueError: if the heads do not divide the width.
    """

    def __init__(
        self, dim: int, heads: int, mlp_ratio: float = 4.0, dropout: float = 0.0, stochastic_depth: float = 0.0
    ) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"heads must divide the width, got heads={heads} and a width of {dim}.")
        hidden = int(dim * mlp_ratio)
        self.heads = heads
        self.norm1 = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.project = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, dim))
        self.dropout = nn.Dropout(dropout)
        self.stochastic_depth = StochasticDepth(stochastic_depth)

    def forward(self, tokens: Tensor, present: Tensor | None = None) -> Tensor:
        """Transform tokens.

        Args:
            tokens: ``(B, L, D)``.
            present: ``(B, L)`` bool, False = nobody looks at this token; at least one of each row is True.

        Returns:
            ``(B, L, D)``.
        """
        query, key, value = self.qkv(self.norm1(tokens)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mask = None if present is None else present[:, None, None, :]
        attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)  # (B, heads, L, d)
        attended = self.project(attended.transpose(1, 2).flatten(2))
        tokens = tokens + self.stochastic_depth(self.dropout(attended))
        return tokens + self.stochastic_depth(self.dropout(self.mlp(self.norm2(tokens))))
