"""Further inputs of a study beside its videos: an ECG vector, a clinical note, a table."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medvlm.networks.blocks.cross_attention import CrossAttention
from medvlm.networks.blocks.grid_positions import grid_positions


class SideInputs(nn.Module):
    """Let a study's features look at further inputs, each of which may be missing.

    Each input becomes one or more tokens with the name of their kind added; the study's features attend to those that
    are there and add what they find, through a gate that begins closed, so that a trained network goes on as it was.
    Where all are missing the features pass unchanged, and whatever stands in the place of a missing value (NaN
    included) has no influence.

    Args:
        dim: width of the study's features.
        vectors: length of each input that is a vector, e.g. ``{"ecg": 512, "tabular": 12}``.
        tokens: width of each input that is a sequence of vectors, e.g. ``{"note": 256}`` of a text model.
        words: tokens of the vocabulary of each input that is a text as the tokenizer numbers it, e.g.
            ``{"note": 8192}``; each token is looked up, and knows its place.
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
        words: dict[str, int] | None = None,
        heads: int = 4,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        vectors, tokens, words = dict(vectors or {}), dict(tokens or {}), dict(words or {})
        self.names = (*vectors, *tokens, *words)
        if not self.names or len(set(self.names)) < len(self.names):
            raise ValueError(f"side inputs need at least one name, each once, got {list(self.names)}.")
        # a vector's values come with one flag each that says whether it is known
        self.vectors = nn.ModuleDict({name: nn.Linear(2 * length, dim) for name, length in vectors.items()})
        self.tokens = nn.ModuleDict({name: nn.Linear(width, dim) for name, width in tokens.items()})
        self.words = nn.ModuleDict({name: nn.Embedding(size, dim) for name, size in words.items()})
        self.kinds = nn.ParameterDict({name: nn.Parameter(torch.randn(dim) * 0.02) for name in self.names})
        self.query_norm, self.context_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = CrossAttention(dim, heads, dim, dropout)
        self.gate = nn.Parameter(torch.zeros(dim))

    def forward(self, features: Tensor, inputs: dict[str, Tensor], known: dict[str, Tensor] | None = None) -> Tensor:
        """Add what the further inputs say.

        Args:
            features: ``(B, D)`` or ``(B, L, D)``.
            inputs: by name ``(B, length)`` of a vector, ``(B, L_n, width)`` of a sequence, ``(B, L_n)`` int64 of a
                text; a name that is absent is missing for the whole batch.
            known: by name what is known: ``(B,)`` of any input, ``(B, length)`` of the values of a vector, ``(B, L_n)``
                of the tokens of a sequence or a text; a name that is absent is known wherever its input is.

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
        if name in self.words:
            return self._read(name, inputs.get(name), known.get(name), x)
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

    def _read(self, name: str, ids: Tensor | None, known: Tensor | None, x: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens ``(B, L_n, D)`` of a text, and which are there ``(B, L_n)``."""
        table, missing = self.words[name], ids is None
        ids = torch.zeros(len(x), 1, dtype=torch.long, device=x.device) if missing else ids
        if ids.ndim != 2 or len(ids) != len(x) or ids.is_floating_point():
            raise ValueError(
                f"the side input {name!r} must be token numbers ({len(x)}, tokens), got {tuple(ids.shape)} of "
                f"{ids.dtype}; SideInputsd makes them."
            )
        there = self._flags(name, ids.shape, known, ids.device) & (not missing)
        ids = torch.where(there, ids, 0)
        if ids.device.type == "cpu" and int(ids.max()) >= table.num_embeddings:
            raise ValueError(
                f"token {int(ids.max())} of the side input {name!r} is not of its vocabulary of "
                f"{table.num_embeddings}; set words to the size of the tokenizer."
            )
        places = grid_positions((1, 1, ids.shape[1]), table.embedding_dim, x.device)
        return (table(ids) + places + self.kinds[name]).to(x.dtype), there

    def _known(self, name: str, value: Tensor, known: Tensor | None, axes: int, width: int, batch: int) -> Tensor:
        """Which values of a vector ``(B, length)``, or tokens of a sequence ``(B, L_n)``, are known."""
        if value.ndim != axes or value.shape[-1] != width or len(value) != batch:
            wanted = f"({batch}, {width})" if axes == 2 else f"({batch}, tokens, {width})"
            raise ValueError(f"the side input {name!r} must be {wanted}, got {tuple(value.shape)}.")
        return self._flags(name, value.shape[:2], known, value.device)

    @staticmethod
    def _flags(name: str, shape: torch.Size, known: Tensor | None, device: torch.device) -> Tensor:
        if known is None:
            return torch.ones(shape, dtype=torch.bool, device=device)
        if known.shape not in (shape[:1], shape):
            raise ValueError(f"known[{name!r}] must be {tuple(shape[:1])} or {tuple(shape)}, got {tuple(known.shape)}.")
        known = known.to(device).bool()
        return known[:, None].expand(shape) if known.ndim == 1 else known


def join_side(
    part: SideInputs | None, features: Tensor, side: dict[str, Tensor] | None, known: dict[str, Tensor] | None
) -> Tensor:
    """Add what further inputs say to features, where a network has a part for them.

    Args:
        part: of the network.
        features: ``(B, D)`` or ``(B, L, D)``.
        side: by name; ``{}`` says that all are missing, ``None`` that nobody asked.
        known: see ``SideInputs``.

    Raises:
        ValueError: if the network has a part and nobody asked, or only for some of its inputs; or it has none and
            inputs are given.
    """
    if part is None:
        if side:
            raise ValueError(f"the network has no side_inputs, got {sorted(side)}; build it with SideInputs.")
        return features
    missing = [name for name in part.names if name not in side] if side else []
    if side is None or missing:
        raise ValueError(
            f"the network was built with the further inputs {list(part.names)}, and is not given "
            f"{missing or 'any'}; lay side_inputs.json over train.json, or side_inputs_inference.json over "
            "inference.json (in Python: side={...}, or side={} where all are missing)."
        )
    return part(features, side, known)
