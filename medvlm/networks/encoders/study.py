"""A study as a set of views: no order, some absent, told apart by the angles of the C-arm."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medvlm.networks.blocks.pooling import masked_max, masked_mean
from medvlm.networks.blocks.transformer_block import TransformerBlock

MODES = ("study", "views", "tokens")
POOLINGS = ("mean", "max")
ANGLES = 6  # sine, cosine and known, of the primary and of the secondary angle


class StudyAggregator(nn.Module):
    """Let the views of a study look at each other, and give one vector a study, one a view, or every token.

    Nothing depends on the order of the views: a permutation of them leaves the study's vector as it is and permutes
    the others. Each view carries an embedding of its angles; an unknown angle has an embedding of its own, because
    its sine, cosine and flag are all zero.

    Args:
        dim: width D that comes out.
        heads: attention heads.
        depth: layers; 0 leaves the views alone and pools them for the study.
        mode: ``"study"``, ``"views"`` or ``"tokens"``.
        in_dim: width of the encoder's features; ``dim`` where absent.
        dropout: probability in the layers.
        pooling: of the views where ``depth`` is 0: ``"mean"``, or ``"max"``, the strongest answer of any view, since
            most lesions show in some of the views only.

    Attributes:
        embed_dim: width of the output.
        mode: which output ``forward`` gives.

    Raises:
        ValueError: if the mode or the pooling is not known, or a pooling is chosen that has no effect.
    """

    def __init__(
        self,
        dim: int,
        heads: int = 4,
        depth: int = 1,
        mode: str = "study",
        in_dim: int | None = None,
        dropout: float = 0.0,
        pooling: str = "mean",
    ) -> None:
        super().__init__()
        if mode not in MODES:
            raise ValueError(f"mode must be one of {MODES}, got {mode!r}.")
        if pooling not in POOLINGS:
            raise ValueError(f"pooling must be one of {POOLINGS}, got {pooling!r}.")
        if depth and pooling != "mean":
            raise ValueError(f"pooling {pooling!r} needs depth 0, got {depth}; with layers the study's token pools.")
        self.pooling = pooling
        self.embed_dim = dim
        self.mode = mode
        self.project = nn.Linear(in_dim, dim) if in_dim not in (None, dim) else nn.Identity()
        self.angle_embedding = nn.Sequential(nn.Linear(ANGLES, dim), nn.GELU(), nn.Linear(dim, dim))
        self.study_token = nn.Parameter(torch.zeros(dim))
        self.empty = nn.Parameter(torch.zeros(dim))  # what a study without a readable view is
        for vector in (self.study_token, self.empty):
            nn.init.trunc_normal_(vector, std=0.02)
        self.layers = nn.ModuleList(TransformerBlock(dim, heads, dropout=dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)

    def forward(
        self, pooled: Tensor, tokens: Tensor | None, view_mask: Tensor, angles: Tensor, mode: str | None = None
    ) -> tuple[Tensor, Tensor]:
        """Aggregate.

        Args:
            pooled: ``(B, N, in_dim)``, a vector a view; what is masked may hold anything, NaN included.
            tokens: ``(B, N, L, in_dim)``, needed for ``"tokens"`` only.
            view_mask: ``(B, N)`` bool, False = absent or unreadable.
            angles: ``(B, N, 6)``: sine, cosine and known of the primary, then of the secondary angle.
            mode: another output than the one of the constructor, for this call.

        Returns:
            The features and what of them is real (bool): ``(B, D)`` and ``(B,)`` for ``"study"``, ``(B, N, D)`` and
            ``(B, N)`` for ``"views"``, ``(B, N * L, D)`` and ``(B, N * L)`` for ``"tokens"``. An absent view holds
            zeros; a study without any view is the learned vector ``empty``, in all its places.

        Raises:
            ValueError: if the shapes do not fit, or the tokens are missing.
        """
        mode = mode or self.mode
        check_set(pooled, tokens, view_mask, angles, mode)
        view_mask = view_mask.bool()
        absent, any_view = ~view_mask[..., None], view_mask.any(dim=1)  # (B, N, 1), (B,)
        angle = self.angle_embedding(angles.to(pooled.dtype).masked_fill(absent, 0.0))  # (B, N, D)
        views = self.project(pooled.masked_fill(absent, 0.0)) + angle
        study, views = self.mix(views, view_mask)
        if mode == "study":
            return torch.where(any_view[:, None], study, self.empty.to(study.dtype)), any_view
        blank = torch.where(any_view[:, None, None], 0.0, self.empty.to(views.dtype))  # (B, 1, D)
        if mode == "views":
            return torch.where(absent, blank, self.norm(views)), view_mask
        length = tokens.shape[2]
        tokens = self.project(tokens.masked_fill(absent[..., None], 0.0)) + views[:, :, None]  # (B, N, L, D)
        tokens = torch.where(absent[..., None], blank[:, :, None], self.norm(tokens))
        return tokens.flatten(1, 2), view_mask.repeat_interleave(length, dim=1)

    def mix(self, views: Tensor, view_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Let the study's token and the views ``(B, N, D)`` attend: ``(B, D)``, normalised, and ``(B, N, D)``."""
        if not len(self.layers):
            pool = masked_max if self.pooling == "max" else masked_mean
            return self.norm(pool(views, view_mask)[0] + self.study_token), views
        token = self.study_token.to(views.dtype).expand(views.shape[0], 1, -1)
        present = torch.cat((torch.ones_like(view_mask[:, :1]), view_mask), dim=1)
        sequence = torch.cat((token, views), dim=1)  # (B, 1 + N, D)
        for layer in self.layers:
            sequence = layer(sequence, present)
        return self.norm(sequence[:, 0]), sequence[:, 1:]


def check_set(pooled: Tensor, tokens: Tensor | None, view_mask: Tensor, angles: Tensor, mode: str) -> None:
    """Refuse features, masks and angles that are not of the same views.

    Raises:
        ValueError: if a shape does not fit, the mode is not known, or the tokens are missing.
    """
    if mode not in MODES:
        raise ValueError(f"mode must be one of {MODES}, got {mode!r}.")
    batch, number = pooled.shape[:2]
    if pooled.ndim != 3 or tuple(view_mask.shape) != (batch, number) or tuple(angles.shape) != (batch, number, ANGLES):
        raise ValueError(
            f"pooled must be (B, N, D), view_mask (B, N) and angles (B, N, {ANGLES}); got {tuple(pooled.shape)}, "
            f"{tuple(view_mask.shape)} and {tuple(angles.shape)}."
        )
    if mode == "tokens" and (tokens is None or tokens.ndim != 4 or tuple(tokens.shape[:2]) != (batch, number)):
        found = None if tokens is None else tuple(tokens.shape)
        raise ValueError(f'mode "tokens" needs tokens (B, N, L, D) of the same views, got {found}.')
