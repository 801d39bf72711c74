"""Which patches of a video are hidden for masked modelling.

Every function gives ``(B, t * h * w)`` bool in the order t, h, w (w fastest), true = masked, with the same number of
masked patches in every sample.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

KINDS = ("tube", "random", "temporal", "block", "saliency")
Grid = tuple[int, int, int]


def tube_mask(batch: int, grid: Sequence[int], ratio: float = 0.75, generator: torch.Generator | None = None) -> Tensor:
    """Hide the same places in every frame, so that a hidden place cannot be copied from the next frame.

    Args:
        batch: B.
        grid: patches ``(t, h, w)``.
        ratio: fraction of the places that are hidden, rounded down as VideoMAE does.
        generator: of the random numbers.

    Returns:
        ``(B, t * h * w)`` bool.

    Reference:
        Tong et al., "VideoMAE", 2022, https://arxiv.org/abs/2203.12602.
    """
    t, h, w = checked(batch, grid, ratio)
    return _top(_noise((batch, h * w), generator), _count(ratio, h * w)).repeat(1, t)  # (B, t * h * w)


def random_mask(
    batch: int, grid: Sequence[int], ratio: float = 0.75, generator: torch.Generator | None = None
) -> Tensor:
    """Hide places of any frame; arguments and return as of ``tube_mask``."""
    t, h, w = checked(batch, grid, ratio)
    return _top(_noise((batch, t * h * w), generator), _count(ratio, t * h * w))


def temporal_mask(
    batch: int, grid: Sequence[int], ratio: float = 0.75, generator: torch.Generator | None = None
) -> Tensor:
    """Hide whole frames; arguments and return as of ``tube_mask``, the ratio is one of frames."""
    t, h, w = checked(batch, grid, ratio)
    frames = _top(_noise((batch, t), generator), _count(ratio, t))
    return frames.repeat_interleave(h * w, dim=1)


def block_mask(
    batch: int,
    grid: Sequence[int],
    ratio: float = 0.75,
    generator: torch.Generator | None = None,
    block: float = 0.25,
) -> Tensor:
    """Hide rectangles, the same in every frame, so that a hidden place is far from what is seen.

    Rectangles of random shape are laid over each other until enough places are covered; the last one is cut.

    Args:
        batch: B.
        grid: patches ``(t, h, w)``.
        ratio: fraction of the places that are hidden, rounded down.
        generator: of the random numbers.
        block: area of one rectangle, as a fraction of the frame.

    Returns:
        ``(B, t * h * w)`` bool.

    Raises:
        ValueError: if a number is out of its range.

    Reference:
        Bardes et al., "Revisiting Feature Prediction for Learning Visual Representations from Video" (V-JEPA), 2024,
        https://arxiv.org/abs/2404.08471. Deviation: an exact number of places.
    """
    t, h, w = checked(batch, grid, ratio)
    if not 0 < block <= 1:
        raise ValueError(f"block is the area of a rectangle as a fraction of the frame, above 0 to 1, got {block}.")
    count = _count(ratio, h * w)
    frames = torch.stack([_blocks((h, w), count, block, generator) for _ in range(batch)])
    return frames.flatten(1).repeat(1, t)


def saliency_mask(
    saliency: Tensor,
    grid: Sequence[int],
    ratio: float = 0.75,
    generator: torch.Generator | None = None,
    sharpness: float = 1.0,
    tube: bool = False,
) -> Tensor:
    """Hide what is salient more often than what is not: drawn without replacement, in proportion to the saliency.

    Args:
        saliency: ``(B, t * h * w)``, not negative; e.g. ``patches.motion_saliency``.
        grid: patches ``(t, h, w)``.
        ratio: fraction of the places that are hidden, rounded down.
        generator: of the random numbers.
        sharpness: power of the saliency; 0 = all places alike, large = always the most salient.
        tube: draw places by their mean saliency, the same in every frame.

    Returns:
        ``(B, t * h * w)`` bool.

    Raises:
        ValueError: if the saliency does not fit the grid or a number is out of its range.
    """
    t, h, w = checked(len(saliency), grid, ratio)
    if saliency.ndim != 2 or saliency.shape[1] != t * h * w:
        raise ValueError(f"saliency must be (B, {t * h * w}) for the grid {(t, h, w)}, got {tuple(saliency.shape)}.")
    if sharpness < 0:
        raise ValueError(f"sharpness must not be negative, got {sharpness}.")
    weight = saliency.detach().float().cpu()
    if tube:
        weight = weight.unflatten(1, (t, h * w)).mean(dim=1)
    weight = (weight / weight.mean(dim=1, keepdim=True).clamp_min(1e-12)).clamp_min(1e-3)  # dull places have a chance
    uniform = _noise(tuple(weight.shape), generator).clamp(1e-7, 1 - 1e-7)
    keys = sharpness * weight.log() - (-uniform.log()).log()  # Gumbel-top-k: draws without replacement
    masked = _top(keys, _count(ratio, weight.shape[1]))
    return (masked.repeat(1, t) if tube else masked).to(saliency.device)


def draw_mask(
    kind: str,
    batch: int,
    grid: Sequence[int],
    ratio: float = 0.75,
    generator: torch.Generator | None = None,
    saliency: Tensor | None = None,
) -> Tensor:
    """A mask of one of ``KINDS`` by name; see the functions of this module for the arguments.

    Raises:
        ValueError: if the kind is unknown, or ``"saliency"`` is asked without one.
    """
    if kind == "saliency":
        if saliency is None:
            raise ValueError("a saliency mask needs saliency (B, t * h * w), got none; e.g. motion_saliency(video).")
        return saliency_mask(saliency, grid, ratio, generator)
    functions = {"tube": tube_mask, "random": random_mask, "temporal": temporal_mask, "block": block_mask}
    if kind not in functions:
        raise ValueError(f"the kind of mask must be one of {KINDS}, got {kind!r}.")
    return functions[kind](batch, grid, ratio, generator)


def checked(batch: int, grid: Sequence[int], ratio: float) -> Grid:
    """The grid as three numbers.

    Raises:
        ValueError: if the grid has not three positive numbers, or the ratio is not between 0 and 1.
    """
    t, h, w = (int(side) for side in grid)
    if min(batch, t, h, w) < 1:
        raise ValueError(f"batch and grid (t, h, w) must be positive, got {batch} and {(t, h, w)}.")
    if not 0 <= ratio < 1:
        raise ValueError(f"ratio must be 0 or more and below 1 (something must be seen), got {ratio}.")
    return t, h, w


def _count(ratio: float, places: int) -> int:
    return math.floor(ratio * places + 1e-9)


def _noise(shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
    return torch.rand(shape, generator=generator, device=generator.device if generator else "cpu").cpu()


def _top(scores: Tensor, count: int) -> Tensor:
    """True at the ``count`` largest of each row."""
    mask = torch.zeros(scores.shape, dtype=torch.bool)
    return mask.scatter_(1, scores.topk(count, dim=1).indices, True)


def _blocks(sides: tuple[int, int], count: int, block: float, generator: torch.Generator | None) -> Tensor:
    """One frame ``(h, w)`` with exactly ``count`` places covered by rectangles."""
    h, w = sides
    mask = torch.zeros(h, w, dtype=torch.bool)
    while (missing := count - int(mask.sum())) > 0:
        aspect, top, left = (float(value) for value in _noise((3,), generator))
        stretch = math.sqrt(0.5 * 4.0**aspect)  # height over width from 1/2 to 2, evenly in its logarithm
        height = min(h, max(1, round(math.sqrt(block) * h * stretch)))
        width = min(w, max(1, round(math.sqrt(block) * w / stretch)))
        y, x = int(top * (h - height + 1)), int(left * (w - width + 1))
        new = torch.zeros_like(mask)
        new[y : y + height, x : x + width] = True
        new &= ~mask
        places = new.flatten().nonzero()[:missing, 0]
        mask.view(-1)[places] = True
    return mask
