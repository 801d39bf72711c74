"""Cutting clips out of cines that have been read, and bringing them to one range of greys."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable

from transforms.cine import check_short, window_ticks

SAID_OF_VIEWS = {  # what LoadCined says of each view, as a JSON list; and what it says of an absent one
    "view_files": "", "view_problems": "", "view_notes": "", "view_ticks": [], "view_places": [], "view_numbers": -1,
}  # fmt: skip


def spread(count: int, slots: int) -> list[int]:
    """Order ``0..count-1`` so that the first ``slots`` lie at even distances, and the others follow."""
    if count <= slots:
        return list(range(count))
    first = [int((place + 0.5) * count / slots) for place in range(slots)]
    return first + [index for index in range(count) if index not in first]


class SampleFramesd(Randomizable, MapTransform):
    """Cut T frames out of each cine that ``LoadCined(frames=None)`` has read, and stack the views.

    Args:
        keys: the cines' key.
        frames: T.
        random: begin anywhere (and draw the views where there are more than wanted) instead of in the middle.
        fps: ticks a second, where fewer are wanted than were read; ``None``: those that were read.
        short: see ``window_ticks``.
    """

    def __init__(
        self,
        keys: KeysCollection = "video",
        frames: int = 16,
        random: bool = True,
        fps: float | None = None,
        short: str = "loop",
    ) -> None:
        super().__init__(keys)
        if frames < 1 or (fps is not None and not fps > 0):
            raise ValueError(f"frames and fps must be positive, got {frames} and {fps}.")
        self.frames, self.random, self.fps = frames, random, fps
        self.short = check_short(short)

    def __call__(self, data: Mapping[Hashable, object]) -> dict[Hashable, object]:
        """Sample one study.

        Returns:
            The case with ``video`` ``(N, C, T, H, W)`` float32 in 0..255, zeros where ``view_mask`` is False; what is
            said of the views (``view_ticks`` and so on) is that of these views and frames.
        """
        d = dict(data)
        for key in self.key_iterator(d):
            clips = list(d[key])
            slots = int(d.get("view_slots", len(clips)))
            chosen = [self._frames_of(clip.shape[1], d) for clip in clips]
            d[key] = torch.stack([_cut(clip, frames, self.frames) for clip, frames in zip(clips, chosen, strict=True)])
            if "view_ticks" in d:
                ticks = zip(json.loads(d["view_ticks"]), chosen, strict=True)
                d["view_ticks"] = json.dumps([[row[frame] for frame in frames] for row, frames in ticks])
            if len(clips) != slots:
                self._pick_views(d, key, slots)
        d.pop("view_slots", None)
        return d

    def _frames_of(self, ticks: int, case: Mapping) -> list[int]:
        """Which of a clip's ticks are seen: T of them, none of a view that is absent."""
        if ticks == 0:
            return []
        cached = float(case.get("clock_fps") or 0.0)
        step = 1.0
        if self.fps is not None:
            if not cached:
                raise ValueError("fps of SampleFramesd needs fps of LoadCined, which is None; give it there.")
            step = cached / self.fps
        coarse = max(1, int(ticks / step + 1e-6))
        phase, start = 0.0, None
        if self.random:
            start = int(self.R.randint(max(coarse - self.frames, 0) + 1 if coarse >= self.frames else coarse))
            phase = float(self.R.uniform(0.0, step)) if step > 1.0 else 0.0
        chosen = window_ticks(coarse, self.frames, self.short, start)
        return np.minimum((chosen * step + phase + 1e-6).astype(int), ticks - 1).tolist()

    def _pick_views(self, d: dict, key: Hashable, slots: int) -> None:
        """Keep ``slots`` views, or fill up with absent ones."""
        count = len(d[key])
        readable = torch.nonzero(d["view_mask"]).flatten().tolist()
        order = readable if not self.random else self.R.permutation(readable).astype(int).tolist()
        if not self.random:
            order = [readable[i] for i in spread(len(readable), slots)]
        order = sorted((order + [i for i in range(count) if i not in readable])[:slots])
        missing = slots - len(order)
        for name in (key, "view_mask", "angles"):
            kept = d[name][order]
            d[name] = torch.cat([kept, kept.new_zeros(missing, *kept.shape[1:])]) if missing else kept
        for name, nothing in SAID_OF_VIEWS.items():
            if name in d:
                said = json.loads(d[name])
                d[name] = json.dumps([said[i] for i in order] + [nothing] * missing)


def _cut(clip: torch.Tensor, frames: list[int], count: int) -> torch.Tensor:
    """The chosen frames ``(C, T, H, W)`` float32 of a clip ``(C, T_i, H, W)``; zeros where there are none."""
    if not frames:
        return torch.zeros(clip.shape[0], count, *clip.shape[2:])
    return clip[:, frames].float()


class NormaliseCined(MapTransform):
    """Bring each view to mean 0 and standard deviation 1, after cutting off its darkest and brightest pixels.

    Args:
        keys: videos ``(N, C, T, H, W)``.
        low: percentile below which pixels are cut off (the shutter).
        high: percentile above which they are.
    """

    def __init__(self, keys: KeysCollection = "video", low: float = 0.5, high: float = 99.5) -> None:
        super().__init__(keys)
        if not 0 <= low < high <= 100:
            raise ValueError(f"low and high must be percentiles with 0 <= low < high <= 100, got {low} and {high}.")
        self.low, self.high = low, high

    def __call__(self, data: Mapping[Hashable, object]) -> dict[Hashable, object]:
        """Normalise the views of one study.

        Returns:
            The case with float32 videos; views that are absent stay 0.
        """
        d = dict(data)
        for key in self.key_iterator(d):
            video = d[key].float().clone()
            mask = d.get("view_mask", torch.ones(len(video), dtype=torch.bool))
            for index in torch.nonzero(mask).flatten().tolist():
                view = video[index]
                low, high = np.percentile(view.numpy(), [self.low, self.high])
                view = view.clamp(float(low), float(high))
                video[index] = (view - view.mean()) / view.std(correction=0).clamp_min(1e-6)
            d[key] = video
        return d
