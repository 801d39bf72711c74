"""Further inputs of a study beside its videos: an ECG vector, a clinical note, a table."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medvlm.networks.blocks.cross_attention import CrossAttention


class SideInputs(nn.Module):
    """Let a study's features look at further inputs, each of which may be missing.

    Each input becomes one or more tokens with the name of their kind added; the study's features attend to those that
    are there and add what they find, through a gate that begins closed, so that a trained network goes on as it was.
    Where all are missing the features pass unchanged, and whatever stands in the place of a missing value (NaN
    included) has no influence.

    Args:
        dim: width of the study's features.
        vectors: length of each input that is a vector, e.g. ``{"ecg": 512, "tabular": 12}``.
        tokens: width of each input that is a sequence, e.g. ``{"note": 256}``.
        heads: heads of the attention.
        dropout: probability of dropping attention weights.

    Raises:
        ValueError: if there is no input, or a name is there twice.

    Reference:
        Alayrac et al., "Flamingo", 2022, https://arxiv.org/abs/2204.14198 (gated cross-attention).
    """

    def __init__(
        self,
        dim: int,
        vectors: dict[str, int] | None = None,
        tokens: dict[str, int] | None = None,
        heads: int = 4,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        vectors, tokens = dict(vectors or {}), dict(tokens or {})
        self.names = (*vectors, *tokens)
        if not self.names or len(set(self.names)) < len(self.names):
            raise ValueError(f"side inputs need at least one name, each once, got {list(self.names)}.")
        # a vector's values come with one flag each that says whether it is known
        self.vectors = nn.ModuleDict({name: nn.Linear(2 * length, dim) for name, length in vectors.items()})
        self.tokens = nn.ModuleDict({name: nn.Linear(width, dim) for name, width in tokens.items()})
        self.kinds = nn.ParameterDict({name: nn.Parameter(torch.randn(dim) * 0.02) for name in self.names})
        self.query_norm, self.context_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = CrossAttention(dim, heads, dim, dropout)
        self.gate = nn.Parameter(torch.zeros(dim))

    def forward(self, features: Tensor, inputs: dict[str, Tensor], known: dict[str, Tensor] | None = None) -> Tensor:
        """Add what the further inputs say.

        Args:
            features: ``(B, D)`` or ``(B, L, D)``.
            inputs: by name ``(B, length)`` of a vector, ``(B, L_n, width)`` of a sequence; a name that is absent is
                missing for the whole batch.
            known: by name what is known: ``(B,)`` of any input, ``(B, length)`` of the values of a vector, ``(B, L_n)``
                of the tokens of a sequence; a name that is absent is known wherever its input is.

        Returns:
            As ``features``.

        Raises:
            ValueError: if a name is unknown or a shape does not fit.
        """
        known = known or {}
        unknown = [name for name in (*inputs, *known) if name not in self.names]
        if unknown:
            raise ValueError(f"there is no side input {unknown}; this network has {list(self.names)}.")
        x = features[:, None] if features.ndim == 2 else features
        parts, masks = zip(*(self._embed(name, inputs, known, x) for name in self.names), strict=True)
        context, mask = torch.cat(parts, dim=1), torch.cat(masks, dim=1)  # (B, M, D), (B, M)
        some = mask.any(dim=1)[:, None, None]
        keys, values = self.attention.keys_values(self.context_norm(context))
        found = self.attention(self.query_norm(x), keys, values, (mask[:, None] | ~some)[:, None])
        return features + (found * torch.tanh(self.gate) * some).reshape(features.shape)

    def _embed(
        self, name: str, inputs: dict[str, Tensor], known: dict[str, Tensor], x: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Tokens ``(B, M, D)`` of one input, and which are there ``(B, M)``."""
        layer = self.vectors[name] if name in self.vectors else self.tokens[name]
        sequence = name in self.tokens
        width = layer.in_features if sequence else layer.in_features // 2
        value = inputs.get(name)
        if value is None:
            value = x.new_zeros(len(x), 1, width) if sequence else x.new_zeros(len(x), width)
            there = torch.zeros(value.shape[:2] if sequence else value.shape, dtype=torch.bool, device=x.device)
        else:
            there = self._known(name, value, known.get(name), 3 if sequence else 2, width, len(x))
        if sequence:
            value = torch.where(there[..., None], value, 0.0)
            return layer(value.to(x.dtype)) + self.kinds[name], there
        value = torch.cat([torch.where(there, value, 0.0), there], dim=1)  # (B, 2 * length)
        return (layer(value.to(x.dtype)) + self.kinds[name])[:, None], there.any(dim=1, keepdim=True)

    def _known(self, name: str, value: Tensor, known: Tensor | None, axes: int, width: int, batch: int) -> Tensor:
        """Which values of a vector ``(B, length)``, or tokens of a sequence ``(B, L_n)``, are known."""
        if value.ndim != axes or value.shape[-1] != width or len(value) != batch:
            wanted = f"({batch}, {width})" if axes == 2 else f"({batch}, tokens, {width})"
            raise ValueError(f"the side input {name!r} must be {wanted}, got {tuple(value.shape)}.")
        shape = value.shape[:2]
        if known is None:
            return torch.ones(shape, dtype=torch.bool, device=value.device)
        if known.shape not in (shape[:1], shape):
            raise ValueError(f"known[{name!r}] must be {tuple(shape[:1])} or {tuple(shape)}, got {tuple(known.shape)}.")
        known = known.to(value.device).bool()
        return known[:, None].expand(shape) if known.ndim == 1 else known
