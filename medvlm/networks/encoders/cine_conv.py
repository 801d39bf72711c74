"""A small convolutional encoder of cines, made for laptops: trains on CPU, keeps thin vessels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from medvlm.networks.blocks.grid_positions import grid_positions
from medvlm.networks.blocks.relative_positions import Grid
from medvlm.networks.blocks.token_masks import hide_pixels, mask_on_grid, resized_mask

GROUP = 8  # channels of a group of GroupNorm


NORMS = ("group", "batch")


def normalised(channels: int, norm: str = "group") -> nn.Module:
    """GroupNorm with groups of eight channels, or BatchNorm."""
    return nn.GroupNorm(channels // GROUP, channels) if norm == "group" else nn.BatchNorm2d(channels)


class FrameStage(nn.Module):
    """Halve the sides of every frame: two 3x3 convolutions beside a maximum, which a thin vessel survives.

    Args:
        in_channels: channels that come in.
        out_channels: channels that go out.
        shift: which of the two pixels under each result the first convolution is centred on, 0 or 1.
        norm: ``"group"`` or ``"batch"``.
    """

    def __init__(self, in_channels: int, out_channels: int, shift: int, norm: str = "group") -> None:
        super().__init__()
        self.border = (1 - shift, shift) * 2
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=2, bias=False)
        self.norm1 = normalised(out_channels, norm)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.norm2 = normalised(out_channels, norm)
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, frames: Tensor) -> Tensor:
        """Return ``(B * T, out_channels, H / 2, W / 2)`` of ``(B * T, in_channels, H, W)``, even sides."""
        hidden = functional.silu(self.norm1(self.conv1(functional.pad(frames, self.border))))
        hidden = self.norm2(self.conv2(hidden))
        return functional.silu(hidden + self.shortcut(functional.max_pool2d(frames, 2)))


class TimeMix(nn.Module):
    """Let every place see its neighbours in time: a depthwise convolution over three frames, as a residual.

    Args:
        channels: channels of the maps.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3, channels))  # before, now, after

    def forward(self, frames: Tensor) -> Tensor:
        """Return maps ``(B, T, C, h, w)`` mixed over T."""
        before, now, after = self.weight[:, None, :, None, None].unbind(0)  # each (1, C, 1, 1)
        padded = functional.pad(frames, (0, 0) * 3 + (1, 1))
        return frames + padded[:, :-2] * before + frames * now + padded[:, 2:] * after


def stronger_of_pairs(frames: Tensor) -> Tensor:
    """The stronger answer of each two frames: ``(B, T / 2, C, h, w)``, rounded up, of ``(B, T, C, h, w)``."""
    if frames.shape[1] % 2:
        frames = torch.cat((frames, frames[:, -1:]), dim=1)
    return frames.unflatten(1, (-1, 2)).amax(dim=2)


class CineConvEncoder(nn.Module):
    """Convolutions on every frame, mixing over time, and tokens of 2 frames x 16 x 16 pixels.

    The first convolution works at full resolution and the widest maps are small, so that a narrowing of a vessel of
    three pixels is seen before anything is pooled. GroupNorm makes it independent of the batch; BatchNorm learns faster
    where batches are large enough.

    Args:
        in_channels: channels of the video, 1 for grey or 3.
        widths: channels of the maps at 1/2, 1/4, 1/8 and 1/16 of the sides, divisible by 8.
        embed_dim: width D of the output, divisible by 8.
        maskable: own a mask value, so that ``forward`` takes a mask.
        dropout: probability on the tokens.
        norm: ``"group"`` or ``"batch"``, of the convolutions.

    Attributes:
        embed_dim: width D of the output.
        has_class_token: False.

    Raises:
        ValueError: if a width is not divisible by 8, there are not four of them, or the norm is not known.
    """

    has_class_token = False

    def __init__(
        self,
        in_channels: int = 1,
        widths: Sequence[int] = (16, 32, 64, 128),
        embed_dim: int = 128,
        maskable: bool = False,
        dropout: float = 0.0,
        norm: str = "group",
    ) -> None:
        super().__init__()
        if norm not in NORMS:
            raise ValueError(f"norm must be one of {NORMS}, got {norm!r}.")
        widths = tuple(int(w) for w in widths)
        if len(widths) != 4 or any(w % GROUP for w in (*widths, embed_dim)):
            raise ValueError(
                f"widths must be four numbers and embed_dim one, divisible by {GROUP}, got {widths} and {embed_dim}."
            )
        self.in_channels = in_channels
        self.embed_dim = embed_dim
        self.stem = nn.Sequential(nn.Conv2d(in_channels, GROUP, 3, padding=1), nn.SiLU())
        # each strided convolution is half a pixel off; the last one the other way round, so that after all four a token
        # lies within half a pixel of the middle of its 16 x 16 (8 - 4 - 2 - 1 = 1, in half pixels)
        stages = zip((GROUP, *widths), widths, (0, 0, 0, 1), strict=False)
        self.stages = nn.ModuleList(FrameStage(*numbers, norm) for numbers in stages)
        self.time = nn.ModuleList(TimeMix(w) for w in widths[1:])
        self.embed = nn.Linear(widths[-1], embed_dim)
        self.norm = nn.LayerNorm(embed_dim)
        self.mlp = nn.Sequential(
            nn.Linear(embed_dim, 2 * embed_dim), nn.SiLU(), nn.Dropout(dropout), nn.Linear(2 * embed_dim, embed_dim)
        )
        self.last_norm = nn.LayerNorm(embed_dim)
        self.pool = nn.Linear(2 * embed_dim, embed_dim)
        self.mask_value = nn.Parameter(torch.zeros(in_channels)) if maskable else None

    def grid(self, frames: int, height: int, width: int) -> Grid:
        """Grid ``(t, h, w)`` of the tokens: pairs of frames, squares of 16 pixels, rounded up."""
        return -(-frames // 2), -(-height // 16), -(-width // 16)

    def hide(self, video: Tensor, mask: Tensor) -> Tensor:
        """Put the learned mask value where the mask hides the video."""
        if self.mask_value is None:
            raise ValueError("a mask needs a mask value; build the network with maskable=True.")
        cells = mask_on_grid(mask, (self.grid(*video.shape[2:]),))
        pixels = resized_mask(cells, video.shape[2:])[:, None]
        value = self.mask_value.to(video.dtype)[:, None, None, None]
        return hide_pixels(video, cells) + pixels * value

    @property
    def hides(self) -> str | None:
        """How patches are hidden from it: ``"mask"``, or None where it was built without ``maskable``."""
        return None if self.mask_value is None else "mask"

    def forward(self, video: Tensor, mask: Tensor | None = None) -> dict[str, Tensor]:
        """Encode a batch of videos.

        Args:
            video: ``(B, C, T, H, W)``, normalised; any T, H and W.
            mask: ``(B, L)`` bool, True = hidden, on the grid of ``grid(T, H, W)``: nothing of these pixels is seen.

        Returns:
            ``tokens``: ``(B, L, D)`` in the order t, h, w (w fastest); ``pooled``: ``(B, D)``.

        Raises:
            ValueError: if the video or the mask does not fit.
        """
        if video.ndim != 5 or video.shape[1] != self.in_channels:
            raise ValueError(
                f"the network takes (B, {self.in_channels}, T, H, W), got {tuple(video.shape)}; set in_channels, or "
                "choose the channels in the preprocessing."
            )
        if mask is not None:
            video = self.hide(video, mask)
        batch, (height, width) = video.shape[0], video.shape[3:]
        if height % 16 or width % 16:
            video = functional.pad(video, (0, -width % 16, 0, -height % 16, 0, 0), mode="replicate")
        maps = self.stem(video.transpose(1, 2).flatten(0, 1))  # (B * T, C, H, W)
        maps = self.stages[0](maps.contiguous(memory_format=torch.channels_last))  # a quarter quicker on a CPU
        for index, (stage, mix) in enumerate(zip(self.stages[1:], self.time, strict=True)):
            maps = mix(stage(maps).unflatten(0, (batch, -1)))  # (B, T, C, h, w)
            maps = (stronger_of_pairs(maps) if index == 0 else maps).flatten(0, 1)
        maps = maps.unflatten(0, (batch, -1)).permute(0, 1, 3, 4, 2)  # (B, t, h, w, C)
        grid = tuple(maps.shape[1:4])
        tokens = self.embed(maps.flatten(1, 3))  # (B, L, D)
        tokens = tokens + grid_positions(grid, self.embed_dim, tokens.device).to(tokens.dtype)
        tokens = self.last_norm(tokens + self.mlp(self.norm(tokens)))
        pooled = self.pool(torch.cat((tokens.mean(dim=1), tokens.amax(dim=1)), dim=1))
        return {"tokens": tokens, "pooled": pooled}
