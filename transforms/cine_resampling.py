"""Studies at the time of prediction: at least one view that can be read, and other draws of its views and frames."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Mapping

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from transforms.cine import check_short, window_ticks
from transforms.cine_sampling import SampleFramesd


class RequireViewd(MapTransform):
    """Refuse a study none of whose views could be read, with the reason for each of them.

    Args:
        keys: the cines' key, after ``LoadCined``.
    """

    def __init__(self, keys: KeysCollection = "video") -> None:
        super().__init__(keys)

    def __call__(self, data: Mapping[Hashable, object]) -> dict[Hashable, object]:
        """Return the case as it is.

        Raises:
            ValueError: where ``view_mask`` is nowhere True.
        """
        if bool(torch.as_tensor(data["view_mask"]).any()):
            return dict(data)
        files, problems = json.loads(data["view_files"]), json.loads(data["view_problems"])
        reasons = [f"{file}: {why}" if file not in why else why for file, why in zip(files, problems, strict=True)]
        reasons = [reason.removeprefix(": ") for reason, why in zip(reasons, problems, strict=True) if why]
        reasons += [f"{file}: {why}" for file, why in json.loads(data.get("view_skipped") or "{}").items()]
        raise ValueError(f"none of the study's {len(reasons)} views can be read: {'; '.join(reasons)}")


class ResampleCined(MapTransform):
    """Cut the middle clip out of each cine that ``LoadCined(frames=None)`` has read, and draw the study again.

    A draw takes as many views as could be read, with replacement, keeps each of them once (a study is a set), and
    begins each clip at a random tick. What an answer does from draw to draw says how much it hangs on which views and
    frames happened to be seen. The draws depend on ``seed`` alone.

    Args:
        keys: the cines' key.
        frames: T.
        resamples: R draws; 0: none.
        seed: of the draws.
        short: see ``window_ticks``.
        normalise: applied to the clips of each draw, as a transform of the same key (``NormaliseCined``).
    """

    def __init__(
        self,
        keys: KeysCollection = "video",
        frames: int = 16,
        resamples: int = 0,
        seed: int = 0,
        short: str = "loop",
        normalise: Callable[[dict], dict] | None = None,
    ) -> None:
        super().__init__(keys)
        if len(self.keys) != 1:
            raise ValueError(f"keys must name one key, that of the cines, got {self.keys}.")
        if resamples < 0:
            raise ValueError(f"resamples must be 0 (off) or more, got {resamples}.")
        self.middle = SampleFramesd(keys, frames, random=False, short=short)
        self.frames, self.resamples, self.seed, self.short = frames, resamples, seed, check_short(short)
        self.normalise = normalise

    def __call__(self, data: Mapping[Hashable, object]) -> dict[Hashable, object]:
        """Sample one study.

        Returns:
            The case with ``video`` ``(N, C, T, H, W)`` as ``SampleFramesd(random=False)`` gives it, ``view_ticks`` of
            these frames, ``resampled_video`` ``(R, N, C, T, H, W)`` and ``resampled_mask`` ``(R, N)``.
        """
        d = dict(data)
        key = self.keys[0]
        clips, mask = list(d[key]), torch.as_tensor(d["view_mask"])
        ticks = json.loads(d["view_ticks"])
        d = self.middle(d)
        d["view_ticks"] = json.dumps([self._kept(row, None) for row in ticks])
        draws, masks = [], torch.zeros(self.resamples, len(clips), dtype=torch.bool)
        random = np.random.RandomState(self.seed)
        readable = torch.nonzero(mask).flatten().tolist()
        for number in range(self.resamples):
            video = torch.zeros_like(d[key])
            for view in sorted({int(v) for v in random.choice(readable, len(readable))} if readable else ()):
                count = clips[view].shape[1]
                start = int(random.randint(max(count - self.frames, 0) + 1 if count >= self.frames else count))
                chosen = window_ticks(count, self.frames, self.short, start)
                video[view] = clips[view][:, torch.from_numpy(chosen)].to(video.dtype)
                masks[number, view] = True
            draws.append(self._normalised(key, video, masks[number]))
        d["resampled_video"] = torch.stack(draws) if draws else d[key].new_zeros(0, *d[key].shape)
        d["resampled_mask"] = masks
        return d

    def _kept(self, ticks: list, start: int | None) -> list:
        return [ticks[i] for i in window_ticks(len(ticks), self.frames, self.short, start)] if ticks else []

    def _normalised(self, key: Hashable, video: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return video if self.normalise is None else self.normalise({key: video, "view_mask": mask})[key]
