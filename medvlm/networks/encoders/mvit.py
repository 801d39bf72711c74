"""Multiscale vision transformers (MViT v1 and v2) for videos, with the parameters of torchvision's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from medvlm.networks.blocks.pooled_attention import EPSILON, PooledBlock, PooledBlockSettings, pooled_grid
from medvlm.networks.blocks.relative_positions import Grid
from medvlm.networks.blocks.token_masks import hide_pixels, mask_on_grid, replace_tokens, resized_mask
from medvlm.networks.blocks.video_positions import ClassTokenPositions

PATCH_KERNEL, PATCH_STRIDE = (3, 7, 7), (2, 4, 4)


class MViT(nn.Module):
    """A transformer that pools its tokens as it goes deeper; its ``state_dict`` is torchvision's.

    Positions are interpolated, so that any number of frames and any size go in. The settings ``frames`` and
    ``spatial_size`` are those of the weights: they decide the length of the tables of positions.

    Args:
        blocks: settings of the blocks (``PooledBlockSettings`` or their arguments).
        frames: nominal frames.
        spatial_size: nominal height and width.
        in_channels: channels of the video, 1 for grey or 3.
        relative_positions: relative positions in each attention (v2), not absolute ones at the input (v1).
        residual_pool: add the pooled queries to what the attention returns (v2).
        residual_class_token: do so for the class token, too.
        project_in_attention: widen the tokens in the attention (v2), not in the MLP (v1).
        num_classes: outputs of the classifier of ``classify``; 0 for none, an encoder's choice.
        pooling: ``"class"`` (the class token) or ``"mean"`` (of all other tokens) for ``pooled``.
        maskable: own a mask token, so that ``forward`` takes a mask.
        dropout: probability in the blocks.
        head_dropout: probability before the classifier.
        stochastic_depth: probability with which the last block's branches are dropped; it rises from 0 at the first.
        checkpointing: in training, compute a block's activations again in the backward pass instead of keeping them.

    Attributes:
        embed_dim: width D of the output.
        has_class_token: True: the first token is the class token.

    Reference:
        Fan et al., "Multiscale Vision Transformers", 2021, https://arxiv.org/abs/2104.11227; Li et al., "MViTv2",
        2022, https://arxiv.org/abs/2112.01526. Parameters as in torchvision's ``mvit_v1_b`` and ``mvit_v2_s``.
    """

    has_class_token = True

    def __init__(
        self,
        blocks: Sequence[PooledBlockSettings | dict],
        frames: int = 16,
        spatial_size: Sequence[int] = (224, 224),
        in_channels: int = 1,
        relative_positions: bool = True,
        residual_pool: bool = True,
        residual_class_token: bool = False,
        project_in_attention: bool = True,
        num_classes: int = 0,
        pooling: str = "class",
        maskable: bool = False,
        dropout: float = 0.0,
        head_dropout: float = 0.5,
        stochastic_depth: float = 0.0,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        settings = [b if isinstance(b, PooledBlockSettings) else PooledBlockSettings(**b) for b in blocks]
        check_settings(settings, pooling)
        self.settings = settings
        self.in_channels = in_channels
        self.embed_dim = settings[-1].output_channels
        self.pooling = pooling
        self.checkpointing = checkpointing
        width = settings[0].input_channels
        self.conv_proj = nn.Conv3d(in_channels, width, PATCH_KERNEL, PATCH_STRIDE, tuple(k // 2 for k in PATCH_KERNEL))
        grid = tuple(n // s for n, s in zip((frames, *spatial_size), PATCH_STRIDE, strict=True))
        self.pos_encoding = ClassTokenPositions(width, grid, absolute=not relative_positions)
        self.blocks = nn.ModuleList()
        for index, block in enumerate(settings):
            drop = stochastic_depth * index / max(len(settings) - 1, 1)
            self.blocks.append(
                PooledBlock(
                    block,
                    grid,
                    residual_pool,
                    residual_class_token,
                    relative_positions,
                    project_in_attention,
                    dropout,
                    drop,
                )
            )
            if len(block.stride_q):
                grid = tuple(n // s for n, s in zip(grid, block.stride_q, strict=True))
        self.norm = nn.LayerNorm(self.embed_dim, eps=EPSILON)
        self.head = None
        if num_classes:
            self.head = nn.Sequential(nn.Dropout(head_dropout), nn.Linear(self.embed_dim, num_classes))
        self.mask_token = nn.Parameter(torch.zeros(width)) if maskable else None
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def patch_grid(self, frames: int, height: int, width: int) -> Grid:
        """Grid ``(t, h, w)`` of the tokens before the first block."""
        return pooled_grid((frames, height, width), PATCH_KERNEL, PATCH_STRIDE)

    def grid(self, frames: int, height: int, width: int) -> Grid:
        """Grid ``(t, h, w)`` of the tokens that come out, the class token aside."""
        grid = self.patch_grid(frames, height, width)
        for block in self.settings:
            grid = pooled_grid(grid, block.kernel_q, block.stride_q)
        return grid

    def check_input(self, video: Tensor) -> None:
        """Refuse what is no video of this network.

        Raises:
            ValueError: if the axes or the channels do not fit.
        """
        if video.ndim != 5 or video.shape[1] != self.in_channels:
            raise ValueError(
                f"the network takes (B, {self.in_channels}, T, H, W), got {tuple(video.shape)}; set in_channels, or "
                "choose the channels in the preprocessing."
            )

    def embed(self, video: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Grid]:
        """Cut the video into tokens ``(B, 1 + L0, C)`` with positions; masked tokens become the mask token."""
        self.check_input(video)
        cells = None
        if mask is not None:
            if self.mask_token is None:
                raise ValueError("a mask needs a mask token; build the network with maskable=True.")
            sizes = video.shape[2:]
            cells = mask_on_grid(mask, (self.grid(*sizes), self.patch_grid(*sizes)))
            video = hide_pixels(video, cells)
        maps = self.conv_proj(video)  # (B, C, t, h, w)
        grid = tuple(maps.shape[2:])
        tokens = maps.flatten(2).transpose(1, 2)  # (B, L0, C)
        if cells is not None:
            tokens = replace_tokens(tokens, resized_mask(cells, grid).flatten(1), self.mask_token)
        return self.pos_encoding(tokens, grid), grid

    @property
    def hides(self) -> str | None:
        """How patches are hidden from it: ``"mask"``, or None where it was built without ``maskable``."""
        return None if self.mask_token is None else "mask"

    def forward(self, video: Tensor, mask: Tensor | None = None) -> dict[str, Tensor]:
        """Encode a batch of videos.

        Args:
            video: ``(B, C, T, H, W)``, normalised; any T, H and W.
            mask: ``(B, L)`` bool, True = hidden, on the grid of ``grid(T, H, W)`` or of ``patch_grid(T, H, W)``. The
                pixels of hidden tokens are not seen, and the tokens of the first layer are the learned mask token.

        Returns:
            ``tokens``: ``(B, 1 + L, D)``, the class token first, then t, h, w (w fastest); ``pooled``: ``(B, D)``.

        Raises:
            ValueError: if the video or the mask does not fit.
        """
        tokens, grid = self.embed(video, mask)
        for block in self.blocks:
            if self.checkpointing and self.training and torch.is_grad_enabled():
                tokens, grid = checkpoint(block, tokens, grid, use_reentrant=False)
            else:
                tokens, grid = block(tokens, grid)
        tokens = self.norm(tokens)
        pooled = tokens[:, 0] if self.pooling == "class" else tokens[:, 1:].mean(dim=1)
        return {"tokens": tokens, "pooled": pooled}

    def classify(self, video: Tensor) -> Tensor:
        """Return the logits ``(B, num_classes)`` of videos ``(B, C, T, H, W)``.

        Raises:
            ValueError: if the network was built without a classifier.
        """
        if self.head is None:
            raise ValueError("the network has no classifier; build it with num_classes.")
        return self.head(self.forward(video)["pooled"])


def check_settings(blocks: Sequence[PooledBlockSettings], pooling: str) -> None:
    """Refuse blocks that do not follow from each other.

    Raises:
        ValueError: if there is no block, the widths do not join, or the pooling is not known.
    """
    if not blocks:
        raise ValueError("an MViT needs at least one block, got none.")
    if pooling not in ("class", "mean"):
        raise ValueError(f'pooling must be "class" or "mean", got {pooling!r}.')
    for before, after in zip(blocks, blocks[1:], strict=False):
        if before.output_channels != after.input_channels:
            raise ValueError(
                f"a block takes {after.input_channels} channels where the one before gives {before.output_channels}; "
                "make input_channels equal to the output_channels before it."
            )


def stages(
    widths: Sequence[int], depths: Sequence[int], heads: Sequence[int], stride_kv: int, version: int = 2
) -> list[PooledBlockSettings]:
    """Build the blocks of an MViT: each stage but the first halves the sides and doubles or keeps the width.

    Args:
        widths: width of each stage.
        depths: blocks of each stage.
        heads: attention heads of each stage.
        stride_kv: stride in space of the first stage's keys and values; halved by each stage, down to 1.
        version: 2 pools all queries and widens in the first block of a stage; 1 pools the queries of the first block
            of a stage only, and widens in the last block before it.
    """
    blocks = []
    for stage, (width, depth, number) in enumerate(zip(widths, depths, heads, strict=True)):
        side = max(stride_kv // 2**stage, 1)
        for index in range(depth):
            first, last = index == 0, index == depth - 1
            halve = 2 if stage and first else 1
            pooled = version == 2 or halve == 2
            blocks.append(
                PooledBlockSettings(
                    num_heads=number,
                    input_channels=widths[stage - 1] if version == 2 and stage and first else width,
                    output_channels=widths[min(stage + 1, len(widths) - 1)] if version == 1 and last else width,
                    kernel_q=(3, 3, 3) if pooled else (),
                    kernel_kv=(3, 3, 3),
                    stride_q=(1, halve, halve) if pooled else (),
                    stride_kv=(1, side, side),
                )
            )
    return blocks


def mvit_v2_s(**arguments: Any) -> MViT:
    """Build MViT v2-S (34 M parameters), torchvision's ``mvit_v2_s``; ``arguments`` are those of ``MViT``."""
    return MViT(stages((96, 192, 384, 768), (1, 2, 11, 2), (1, 2, 4, 8), stride_kv=8), **arguments)


def mvit_v1_b(**arguments: Any) -> MViT:
    """Build MViT v1-B (36 M parameters), torchvision's ``mvit_v1_b``; ``arguments`` are those of ``MViT``."""
    blocks = stages((96, 192, 384, 768), (1, 2, 11, 2), (1, 2, 4, 8), stride_kv=8, version=1)
    old = {"relative_positions": False, "residual_pool": False, "project_in_attention": False}
    return MViT(blocks, **{**old, **arguments})


def mvit_small(**arguments: Any) -> MViT:
    """Build a v2 of 6 M parameters for videos of about 16 x 112 x 112; ``arguments`` are those of ``MViT``."""
    nominal = {"frames": 16, "spatial_size": (112, 112)}
    blocks = stages((48, 96, 192, 384), (1, 2, 5, 2), (1, 2, 4, 8), stride_kv=8)
    return MViT(blocks, **{**nominal, **arguments})


def mvit_tiny(**arguments: Any) -> MViT:
    """Build a v2 of under 1 M parameters for laptops and tests; ``arguments`` are those of ``MViT``."""
    nominal = {"frames": 16, "spatial_size": (112, 112)}
    return MViT(stages((32, 64, 128), (1, 2, 2), (1, 2, 4), stride_kv=4), **{**nominal, **arguments})
