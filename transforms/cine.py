"""One cine: what its header says, the frames that were asked for, and sampling in time instead of by stride."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch.nn import functional

PLAUSIBLE_FPS = (0.2, 1000.0)
ASSUMED_FPS = 15.0
AT_ONCE = 16  # frames of full size that are held at a time
SHORT_POLICIES = ("loop", "hold")
TRUNCATED_POLICIES = ("refuse", "keep")


@dataclass
class CineInfo:
    """What is known of a cine before a frame is decoded.

    Attributes:
        path: file or folder.
        frames: number of frames that can be read.
        height: rows of a frame, in pixels.
        width: columns of a frame, in pixels.
        times_ms: ``(frames,)``, begin of each frame in milliseconds from the first.
        timing: where the times come from, such as ``FrameTimeVector``; ``assumed`` where nothing says.
        angles: ``(frames, 2)``, primary (LAO +, RAO -) and secondary (cranial +) angle in degrees, NaN unknown.
        spacing_mm: rows, columns; ``None`` unknown.
        burned_in: whether the file says that annotation is burned into the pixels; ``None`` where it does not say.
        notes: remarks that do not prevent reading.
    """

    path: str
    frames: int
    height: int
    width: int
    times_ms: np.ndarray
    timing: str = "assumed"
    angles: np.ndarray = field(default_factory=lambda: np.full((1, 2), np.nan))
    spacing_mm: tuple[float, float] | None = None
    burned_in: bool | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def interval_ms(self) -> float:
        """Median time between two frames; that of ``ASSUMED_FPS`` where there is one frame."""
        return float(np.median(np.diff(self.times_ms))) if self.frames > 1 else 1000.0 / ASSUMED_FPS

    @property
    def seconds(self) -> float:
        """Duration: up to the end of the last frame."""
        return float(self.times_ms[-1] - self.times_ms[0] + self.interval_ms) / 1000.0

    @property
    def view_angles(self) -> tuple[float, float]:
        """Primary and secondary angle in degrees, averaged on the circle over the frames; NaN where unknown."""
        if (self.angles == self.angles[0]).all():
            return float(self.angles[0, 0]), float(self.angles[0, 1])
        radians = np.deg2rad(self.angles)
        mean = np.rad2deg(np.arctan2(np.sin(radians).mean(0), np.cos(radians).mean(0)))
        return float(mean[0]), float(mean[1])


class Cine(ABC):
    """A cine that decodes frames when they are asked for; it holds no open file.

    Attributes:
        info: see ``CineInfo``.
    """

    info: CineInfo

    @abstractmethod
    def decode(self, indices: Sequence[int], at_least: tuple[int, int] | None = None) -> Iterator[np.ndarray]:
        """Decode frames one after the other.

        Args:
            indices: distinct frame numbers from 0, ascending.
            at_least: rows and columns that a frame may be reduced to, where the codec can do so cheaply; None: full.

        Yields:
            A float32 or uint8 ``(rows, columns)`` a frame; the white of the display is 1.0 or 255, black 0.
        """

    def read(self, indices: Sequence[int] | None = None, size: tuple[int, int] | None = None) -> torch.Tensor:
        """Read frames, each decoded once even where it is asked for several times.

        Args:
            indices: frame numbers from 0, in any order, repeats allowed; ``None``: all.
            size: rows and columns to fit the frames into (see ``fit_frames``); ``None``: as they are.

        Returns:
            float32 ``(T, rows, columns)`` in 0..1.

        Raises:
            IndexError: where the cine does not have a frame.
            ValueError: where a frame cannot be decoded, or frames differ in size.
        """
        indices = list(range(self.info.frames)) if indices is None else [int(i) for i in indices]
        distinct = sorted(set(indices))
        if distinct and not 0 <= distinct[0] <= distinct[-1] < self.info.frames:
            raise IndexError(
                f"{self.info.path}: frames must lie in 0..{self.info.frames - 1}, got {distinct[0]}..{distinct[-1]}."
            )
        pieces: list[torch.Tensor] = []
        waiting: list[np.ndarray] = []
        for frame in self.decode(distinct, None if size is None else (2 * size[0], 2 * size[1])):
            if waiting and frame.shape != waiting[0].shape:
                raise ValueError(
                    f"{self.info.path}: all frames of a cine must have one size, got {waiting[0].shape} and "
                    f"{frame.shape} (rows, columns); keep one series a folder, or export the frames again."
                )
            waiting.append(frame)
            if len(waiting) == AT_ONCE:
                pieces.append(_stack(waiting, size))
                waiting = []
        if waiting:
            pieces.append(_stack(waiting, size))
        stack = torch.cat(pieces) if pieces else torch.zeros(0, *(size or (self.info.height, self.info.width)))
        order = {frame: place for place, frame in enumerate(distinct)}
        return stack if indices == distinct else stack[[order[i] for i in indices]]


def _stack(frames: list[np.ndarray], size: tuple[int, int] | None) -> torch.Tensor:
    """Stack decoded frames into float32 ``(T, rows, columns)`` in 0..1, of the size that is wanted."""
    stack = torch.from_numpy(np.stack(frames))
    stack = stack.float().div_(255.0) if stack.dtype == torch.uint8 else stack.float()
    return stack if size is None else fit_frames(stack, size)


def fit_frames(frames: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Scale frames into a size without distortion, with anti-aliasing, in the middle of black.

    Args:
        frames: float ``(T, rows, columns)``.
        size: rows and columns of the result.

    Returns:
        ``(T, *size)``.
    """
    down, right = inner_box(frames.shape[1:], size)
    inner = (down.stop - down.start, right.stop - right.start)
    if inner != tuple(frames.shape[1:]):
        frames = functional.interpolate(frames[:, None], inner, mode="bilinear", antialias=True)[:, 0]
    return functional.pad(frames, (right.start, size[1] - right.stop, down.start, size[0] - down.stop))


def inner_box(shape: Sequence[int], size: tuple[int, int]) -> tuple[slice, slice]:
    """Find where ``fit_frames`` puts frames of ``shape`` (rows, columns) in a picture of ``size``."""
    scale = min(size[0] / shape[0], size[1] / shape[1])
    inner = [max(1, round(side * scale)) for side in shape]
    begin = [(whole - side) // 2 for whole, side in zip(size, inner, strict=True)]
    return slice(begin[0], begin[0] + inner[0]), slice(begin[1], begin[1] + inner[1])


def regular_times(frames: int, fps: float) -> np.ndarray:
    """Times in milliseconds of ``frames`` frames at a constant rate."""
    return np.arange(frames, dtype=np.float64) * (1000.0 / fps)


def frame_grid(times_ms: np.ndarray, fps: float | None, seconds: float | None = None) -> np.ndarray:
    """Find the frame that is nearest to each tick of a clock that starts with the cine.

    Args:
        times_ms: ``(frames,)``, ascending.
        fps: ticks a second; ``None``: one tick a frame, whatever their times.
        seconds: duration of the cine; ``None``: up to the last frame.

    Returns:
        ``(ticks,)`` frame numbers, at least one; a frame may stand several times where ``fps`` is above its rate.
    """
    if fps is None:
        return np.arange(len(times_ms))
    times = np.asarray(times_ms, dtype=np.float64) - times_ms[0]
    duration = times[-1] / 1000.0 if seconds is None else seconds
    ticks = np.arange(max(1, math.floor(duration * fps + 1e-3))) * (1000.0 / fps)
    middles = (times[1:] + times[:-1]) / 2.0
    return np.searchsorted(middles, ticks - 1e-6)


def window_ticks(ticks: int, frames: int, short: str = "loop", start: int | None = None) -> np.ndarray:
    """Choose consecutive ticks of a clock.

    Args:
        ticks: how many there are.
        frames: how many to choose.
        short: what follows the last tick of a cine that is too short: ``loop`` (from the beginning again, as a viewer
            plays it) or ``hold`` (the last frame stays).
        start: first tick; ``None``: the middle of the cine, or its beginning where it is too short.

    Returns:
        ``(frames,)`` numbers of ticks.
    """
    if start is None:
        start = max(0, (ticks - frames) // 2)
    chosen = start + np.arange(frames)
    return chosen % ticks if short == "loop" else np.minimum(chosen, ticks - 1)


def check_short(short: str) -> str:
    """Refuse an unknown policy for short cines."""
    if short not in SHORT_POLICIES:
        raise ValueError(f"short must be one of {SHORT_POLICIES}, got {short!r}.")
    return short


def check_truncated(truncated: str) -> str:
    """Refuse an unknown policy for truncated files."""
    if truncated not in TRUNCATED_POLICIES:
        raise ValueError(f"truncated must be one of {TRUNCATED_POLICIES}, got {truncated!r}.")
    return truncated


def angle_features(primary: float | None, secondary: float | None) -> np.ndarray:
    """Describe a C-arm position to a network.

    Args:
        primary: degrees, LAO +, RAO -; ``None`` or NaN unknown.
        secondary: degrees, cranial +; ``None`` or NaN unknown.

    Returns:
        ``(6,)`` float32: sine, cosine, 1.0 of the primary angle, then of the secondary; 0, 0, 0 where unknown.
    """
    out = np.zeros(6, dtype=np.float32)
    for place, angle in ((0, primary), (3, secondary)):
        if angle is not None and math.isfinite(angle):
            out[place : place + 3] = math.sin(math.radians(angle)), math.cos(math.radians(angle)), 1.0
    return out
