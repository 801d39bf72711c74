"""A plain video transformer that may look at the visible tokens only."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from medvlm.networks.blocks.relative_positions import Grid
from medvlm.networks.blocks.token_masks import mask_on_grid
from medvlm.networks.blocks.transformer_block import TransformerBlock
from medvlm.networks.blocks.video_positions import LearnedPositions, SinCosPositions

POSITIONS = {"sin-cos": SinCosPositions, "learned": LearnedPositions}


class VideoViT(nn.Module):
    """Tubelets, positions, and layers of full attention; for masked modelling only visible tokens are computed.

    A patch that is not visible touches nothing: tubelets do not overlap, and its token is dropped before the first
    layer. A frame too few and sides that are no multiple of the tubelet are padded with zeros.

    Args:
        in_channels: channels of the video, 1 for grey or 3.
        dim: width of the tokens.
        depth: layers.
        heads: attention heads.
        frames: nominal frames.
        spatial_size: nominal height and width; with the frames, the grid that positions are interpolated from.
        tubelet: frames, rows and columns of a token.
        positions: ``"sin-cos"`` (fixed) or ``"learned"``.
        pooling: ``"mean"`` of the tokens or ``"class"`` (a class token, the first of the output).
        mlp_ratio: width of the MLP over ``dim``.
        dropout: probability in the layers.
        stochastic_depth: probability with which the last layer's branches are dropped; rises from 0 at the first.
        checkpointing: in training, compute a layer's activations again in the backward pass instead of keeping them.

    Attributes:
        embed_dim: width D of the output.
        tubelet: as given.
        has_class_token: whether the first token of the output is the class token.
        hides: ``"visible"``, how patches are hidden from it: only those that are seen are computed.

    Raises:
        ValueError: if the positions or the pooling are not known.

    Reference:
        Tong et al., "VideoMAE", 2022, https://arxiv.org/abs/2203.12602. Deviation: sin-cos positions
        of time, height and width, in place of one over the flattened index.
    """

    hides = "visible"

    def __init__(
        self,
        in_channels: int = 1,
        dim: int = 384,
        depth: int = 12,
        heads: int = 6,
        frames: int = 16,
        spatial_size: Sequence[int] = (224, 224),
        tubelet: Sequence[int] = (2, 16, 16),
        positions: str = "sin-cos",
        pooling: str = "mean",
        mlp_ratio: float = 4.0,
        dropout: float = 0.0,
        stochastic_depth: float = 0.0,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        if positions not in POSITIONS:
            raise ValueError(f"positions must be one of {sorted(POSITIONS)}, got {positions!r}.")
        if pooling not in ("mean", "class"):
            raise ValueError(f'pooling must be "mean" or "class", got {pooling!r}.')
        self.in_channels = in_channels
        self.embed_dim = dim
        self.tubelet = tuple(int(n) for n in tubelet)
        self.has_class_token = pooling == "class"
        self.checkpointing = checkpointing
        self.patch_embedding = nn.Conv3d(in_channels, dim, self.tubelet, self.tubelet)
        self.positions = POSITIONS[positions](dim, self.grid(frames, *spatial_size))
        self.class_token = nn.Parameter(torch.zeros(dim)) if self.has_class_token else None
        if self.class_token is not None:
            nn.init.trunc_normal_(self.class_token, std=0.02)
        self.blocks = nn.ModuleList(
            TransformerBlock(dim, heads, mlp_ratio, dropout, stochastic_depth * index / max(depth - 1, 1))
            for index in range(depth)
        )
        self.norm = nn.LayerNorm(dim)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.xavier_uniform_(self.patch_embedding.weight.flatten(1))

    def grid(self, frames: int, height: int, width: int) -> Grid:
        """Grid ``(t, h, w)`` of the tubelets, rounded up."""
        return tuple(-(-size // step) for size, step in zip((frames, height, width), self.tubelet, strict=True))

    def embed(self, video: Tensor) -> Tensor:
        """Cut the video ``(B, C, T, H, W)`` into tokens ``(B, L, D)`` with positions."""
        if video.ndim != 5 or video.shape[1] != self.in_channels:
            raise ValueError(
                f"the network takes (B, {self.in_channels}, T, H, W), got {tuple(video.shape)}; set in_channels, or "
                "choose the channels in the preprocessing."
            )
        short = [-size % step for size, step in zip(video.shape[2:], self.tubelet, strict=True)]
        if any(short):
            video = nn.functional.pad(video, (0, short[2], 0, short[1], 0, short[0]))
        maps = self.patch_embedding(video)  # (B, D, t, h, w)
        return maps.flatten(2).transpose(1, 2) + self.positions(tuple(maps.shape[2:])).to(maps.dtype)

    def forward(self, video: Tensor, visible: Tensor | None = None) -> dict[str, Tensor]:
        """Encode a batch of videos.

        Args:
            video: ``(B, C, T, H, W)``, normalised; any T, H and W.
            visible: ``(B, L)`` bool on ``grid(T, H, W)``, the same number of True, at least one, in each row; only
                these tokens are computed. All where absent.

        Returns:
            ``tokens``: ``(B, L', D)``, the visible ones in the order t, h, w (w fastest), after the class token where
            there is one; ``pooled``: ``(B, D)``.

        Raises:
            ValueError: if the video does not fit, or the rows of ``visible`` differ in number.
        """
        tokens = self.embed(video)
        if visible is not None:
            tokens = visible_tokens(tokens, mask_on_grid(visible, (self.grid(*video.shape[2:]),)).flatten(1))
        if self.class_token is not None:
            first = self.class_token.to(tokens.dtype).expand(tokens.shape[0], 1, -1)
            tokens = torch.cat((first, tokens), dim=1)
        for block in self.blocks:
            if self.checkpointing and self.training and torch.is_grad_enabled():
                tokens = checkpoint(block, tokens, use_reentrant=False)
            else:
                tokens = block(tokens)
        tokens = self.norm(tokens)
        return {"tokens": tokens, "pooled": tokens[:, 0] if self.has_class_token else tokens.mean(dim=1)}


def visible_tokens(tokens: Tensor, visible: Tensor) -> Tensor:
    """Take the tokens that are visible.

    Args:
        tokens: ``(B, L, D)``.
        visible: ``(B, L)`` bool, the same number of True in each row.

    Returns:
        ``(B, L', D)`` in their order.

    Raises:
        ValueError: if the rows differ in number, or nothing is visible.
    """
    counts = visible.sum(dim=1)
    if int(counts.min()) != int(counts.max()) or int(counts.min()) == 0:
        raise ValueError(
            f"each sample needs the same number of visible tokens, at least one, got {counts.tolist()}; make the mask "
            "with a fixed count a sample (medvlm.networks.blocks.video_masks)."
        )
    return tokens[visible].reshape(tokens.shape[0], -1, tokens.shape[-1])


def video_vit_small(**arguments) -> VideoViT:
    """Build a ViT-S (22 M parameters); ``arguments`` are those of ``VideoViT``."""
    return VideoViT(**{"dim": 384, "depth": 12, "heads": 6, **arguments})


def video_vit_tiny(**arguments) -> VideoViT:
    """Build a small ViT (2 M parameters) for 16 x 112 x 112 on a laptop; ``arguments`` are those of ``VideoViT``."""
    return VideoViT(**{"dim": 192, "depth": 4, "heads": 3, "spatial_size": (112, 112), **arguments})
