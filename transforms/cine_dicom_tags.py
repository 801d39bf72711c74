"""What the header of an XA file says of time and of the C-arm, in its classic and in its enhanced form."""

from __future__ import annotations

import math
from datetime import datetime

import numpy as np
from pydicom.dataset import Dataset

from transforms.cine import ASSUMED_FPS, PLAUSIBLE_FPS, regular_times


def numbers(value: object) -> list[float]:
    """Read one or several DICOM numbers; an empty or unreadable one makes the list empty."""
    if value is None or value == "":
        return []
    values = value if isinstance(value, (list, tuple)) or hasattr(value, "append") else [value]
    try:
        out = [float(v) for v in values]
    except (TypeError, ValueError):
        return []
    return out if all(math.isfinite(v) for v in out) else []


def number(value: object) -> float | None:
    """Read one DICOM number, ``None`` where there is none."""
    found = numbers(value)
    return found[0] if found else None


def group(dataset: Dataset, name: str, frame: int = 0) -> Dataset | None:
    """Find a functional group of a frame: its own, else the one that all frames share, else ``None``."""
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or []
    own = per_frame[frame] if frame < len(per_frame) else None
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    for holder in (own, shared[0] if shared else None):
        found = holder.get(name) if holder is not None else None
        if found:
            return found[0]
    return None


def frame_times(dataset: Dataset, frames: int, notes: list[str]) -> tuple[np.ndarray, str]:
    """Find when each frame was taken.

    By priority: FrameTimeVector, FrameTime, CineRate, RecommendedDisplayFrameRate, the frames' own reference times
    (enhanced), ``ASSUMED_FPS``. What is not plausible is noted and passed over.

    Args:
        dataset: the header.
        frames: number of frames.
        notes: is appended to.

    Returns:
        ``(frames,)`` milliseconds from the first frame, and where they come from.
    """
    if frames == 1:
        return np.zeros(1), "one frame"
    vector = numbers(dataset.get("FrameTimeVector"))
    if vector:
        steps = np.asarray(vector[1:] if len(vector) == frames else vector)
        if len(steps) == frames - 1 and (steps > 0).all() and _plausible(1000.0 / float(np.median(steps))):
            return np.concatenate([[0.0], np.cumsum(steps)]), "FrameTimeVector"
        notes.append(f"FrameTimeVector is not usable ({len(vector)} values for {frames} frames)")
    for name, is_rate in (("FrameTime", False), ("CineRate", True), ("RecommendedDisplayFrameRate", True)):
        value = number(dataset.get(name))
        if value is None:
            continue
        fps = value if is_rate else 1000.0 / value if value > 0 else 0.0
        if _plausible(fps):
            return regular_times(frames, fps), name
        notes.append(f"{name} is not plausible ({value:g})")
    reference = _reference_times(dataset, frames)
    if reference is not None:
        return reference, "FrameReferenceDateTime"
    notes.append(f"no frame time in the header, {ASSUMED_FPS:g} frames a second assumed")
    return regular_times(frames, ASSUMED_FPS), "assumed"


def _plausible(fps: float) -> bool:
    return PLAUSIBLE_FPS[0] <= fps <= PLAUSIBLE_FPS[1]


def _reference_times(dataset: Dataset, frames: int) -> np.ndarray | None:
    found = []
    for frame in range(frames):
        content = group(dataset, "FrameContentSequence", frame)
        text = str((content.get("FrameReferenceDateTime") if content is not None else None) or "")
        text = text or str((content.get("FrameAcquisitionDateTime") if content is not None else None) or "")
        try:
            found.append(datetime.strptime(text[:21], "%Y%m%d%H%M%S.%f" if "." in text else "%Y%m%d%H%M%S"))
        except ValueError:
            return None
    times = np.asarray([(moment - found[0]).total_seconds() * 1000.0 for moment in found])
    steps = np.diff(times)
    return times if (steps > 0).all() and _plausible(1000.0 / float(np.median(steps))) else None


def positioner_angles(dataset: Dataset, frames: int, notes: list[str]) -> np.ndarray:
    """Find the C-arm's angles at each frame.

    A single increment of a moving positioner is the change from frame to frame, a vector holds each frame's offset
    from the first angle (DICOM PS3.3 C.8.7.5.1.3).

    Args:
        dataset: the header.
        frames: number of frames.
        notes: is appended to.

    Returns:
        ``(frames, 2)``: primary (LAO +, RAO -) and secondary (cranial +) in degrees, NaN where unknown.
    """
    out = np.full((frames, 2), np.nan)
    moving = str(dataset.get("PositionerMotion") or "").upper() == "DYNAMIC"
    for column, (name, limit) in enumerate((("PositionerPrimaryAngle", 180.0), ("PositionerSecondaryAngle", 90.0))):
        first = number(dataset.get(name))
        if first is not None:
            out[:, column] = first
            steps = numbers(dataset.get(f"{name}Increment")) if moving else []
            if len(steps) == 1:
                out[:, column] += steps[0] * np.arange(frames)
            elif len(steps) == frames:
                out[:, column] += steps
            elif steps:
                notes.append(f"{name}Increment has {len(steps)} values for {frames} frames and is passed over")
        else:
            for frame in range(frames):
                position = group(dataset, "PositionerPositionSequence", frame)
                value = number(position.get(name)) if position is not None else None
                out[frame, column] = np.nan if value is None else value
        wrapped = np.where(limit == 180.0, (out[:, column] + 180.0) % 360.0 - 180.0, out[:, column])
        if moving and first is not None:
            out[:, column] = wrapped
        if (np.abs(out[:, column]) > limit).any():
            notes.append(f"{name} is outside -{limit:g}..{limit:g} ({out[0, column]:g}) and taken as unknown")
            out[:, column] = np.nan
    return out
