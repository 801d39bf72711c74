"""Multiple-instance pooling: the tokens of each video first, then the videos of a study."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medvlm.networks.blocks.pooling import ClassTokenAttention, GatedAttention, masked_max, masked_mean

POOLING_MODES = ("mean", "max", "attention", "cls_token", "mean+cls_token", "attention+cls_token")


class MilPooling(nn.Module):
    """One vector a study from a set of videos, or from their tokens.

    The set has no order: no positions are added. With tokens, each video is pooled by the mode first, then the
    videos; both levels have their own weights and their own class token. A mode with ``+`` pools in both ways and
    concatenates the results.

    Args:
        dim: width D of the videos or tokens.
        mode: ``"mean"``, ``"max"``, ``"attention"`` (gated, Ilse 2018), ``"cls_token"``, ``"mean+cls_token"`` or
            ``"attention+cls_token"``.
        levels: 1 for ``(B, N, D)`` alone, 2 for ``(B, N, L, D)`` as well.
        hidden: width of the gate of ``"attention"``.
        branches: attention maps over the videos of ``"attention"``; their vectors are concatenated.
        heads: attention heads of ``"cls_token"``.
        norm: of ``"cls_token"``: ``"pre"`` or ``"post"``.
        residual: of ``"cls_token"``.

    Attributes:
        output_dim: width F of the result.

    Raises:
        ValueError: if the mode is not known, or a setting is out of its range.
    """

    def __init__(
        self,
        dim: int,
        mode: str = "attention",
        levels: int = 2,
        hidden: int = 128,
        branches: int = 1,
        heads: int = 4,
        norm: str = "pre",
        residual: bool = True,
    ) -> None:
        super().__init__()
        if mode not in POOLING_MODES:
            raise ValueError(f"mode must be one of {POOLING_MODES}, got {mode!r}.")
        if levels not in (1, 2):
            raise ValueError(f"levels must be 1 (videos) or 2 (tokens, then videos), got {levels}.")
        if branches != 1 and "attention" not in mode:
            raise ValueError(f"branches belongs to the modes with 'attention', mode is {mode!r}; leave it at 1.")
        self.dim, self.mode, self.parts = dim, mode, mode.split("+")
        self.learned = [part for part in self.parts if part in ("attention", "cls_token")]

        def level(branches: int) -> nn.ModuleDict:
            made = {
                "attention": lambda: GatedAttention(dim, hidden, branches),
                "cls_token": lambda: ClassTokenAttention(dim, heads, norm, residual),
            }
            return nn.ModuleDict({part: made[part]() for part in self.learned})

        self.tokens = level(1) if levels == 2 else None
        self.videos = level(branches)
        self.output_dim = dim * (len(self.parts) + branches - 1)

    def forward(self, x: Tensor, mask: Tensor | None = None, token_mask: Tensor | None = None) -> dict[str, Tensor]:
        """Pool a batch of studies.

        Args:
            x: ``(B, N, D)`` or ``(B, N, L, D)``.
            mask: ``(B, N)`` bool, False = absent or unreadable; such a video has no influence.
            token_mask: ``(B, N, L)`` bool; a video without a valid token counts as absent.

        Returns:
            ``pooled``: ``(B, F)``; zeros for an empty study, or what the class token alone gives.
            ``attention``: ``(B, N)``, the weight of each video: the share of features for ``"max"``, the mean over
            heads, branches and parts where there are several. They sum to 1 but for the class token's own share.
            ``token_attention``: ``(B, N, L)``, the same within each video; only for ``(B, N, L, D)``.

        Raises:
            ValueError: if a shape does not fit.
        """
        self.check(x, mask, token_mask)
        mask = None if mask is None else mask.bool()
        result: dict[str, Tensor] = {}
        if x.ndim == 4:
            if mask is not None or token_mask is not None:
                valid = torch.ones(x.shape[:3], dtype=torch.bool, device=x.device)
                token_mask = valid if token_mask is None else token_mask.bool()
                token_mask = token_mask if mask is None else token_mask & mask.unsqueeze(-1)
                mask = token_mask.any(-1)
            inner = {part: self.pool(self.tokens, part, x, token_mask) for part in self.parts}
            result["token_attention"] = torch.stack([weights for _, weights in inner.values()]).mean(0)
            bags = {part: vectors for part, (vectors, _) in inner.items()}  # (B, N, D)
        else:
            bags = dict.fromkeys(self.parts, x)
        outer = [self.pool(self.videos, part, bags[part], mask) for part in self.parts]
        result["pooled"] = torch.cat([vectors for vectors, _ in outer], dim=-1)
        result["attention"] = torch.stack([weights for _, weights in outer]).mean(0)
        return result

    @staticmethod
    def pool(level: nn.ModuleDict, part: str, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Pool ``(..., N, D)`` in one way into ``(..., K·D)`` with the weights ``(..., N)``."""
        if part == "mean":
            return masked_mean(x, mask)
        if part == "max":
            return masked_max(x, mask)
        vectors, attention = level[part](x, mask)
        if part == "attention":
            return vectors.flatten(-2), attention.mean(-2)
        return vectors, attention[..., 1:].mean(-2)

    def check(self, x: Tensor, mask: Tensor | None, token_mask: Tensor | None) -> None:
        """Refuse shapes that do not fit."""
        if x.ndim not in (3, 4) or x.shape[-1] != self.dim:
            raise ValueError(f"pooling takes (B, N, {self.dim}) or (B, N, L, {self.dim}), got {tuple(x.shape)}.")
        if x.ndim == 4 and self.tokens is None:
            raise ValueError(f"this pooling has one level, got tokens {tuple(x.shape)}; build it with levels=2.")
        if mask is not None and mask.shape != x.shape[:2]:
            raise ValueError(f"mask must be {tuple(x.shape[:2])} for x {tuple(x.shape)}, got {tuple(mask.shape)}.")
        if token_mask is not None and token_mask.shape != x.shape[:-1]:
            raise ValueError(
                f"token_mask must be {tuple(x.shape[:-1])} for x {tuple(x.shape)}, got {tuple(token_mask.shape)}."
            )
