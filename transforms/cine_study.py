"""A study: its cines as one tensor with the C-arm's angles, and a mask of what could be read."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from transforms.boxes import BOX_KEYS
from transforms.cine import Cine, angle_features, check_short, check_truncated, frame_grid, inner_box, window_ticks
from transforms.cine_reading import open_cine, reason_of, views_of
from transforms.cine_sampling import spread
from transforms.given_targets import POSITIVE_KEYS, TEACHER_KEYS

logger = logging.getLogger(__name__)

LEAST_RANGE = 1e-6  # of the display, far below one step of 16 bits
SUBTRACTIONS = ("none", "first")
RAW = (dict, list, str)  # of the datalist, not made into tensors: left out
UNREADABLE = (OSError, ValueError, MemoryError)


class LoadCined(MapTransform):
    """Read the cines of a study.

    Of a study with more cines than ``max_views``, cines at even distances in the list are read: the left coronary is
    usually filmed first, and the first cines alone would miss the right one. A cine that cannot be read gives way to
    another one where the study has more. It is never an error of the study: ``view_mask`` is False for it.

    Time is sampled with a clock of ``fps`` ticks a second; each tick shows the frame nearest to it.

    Args:
        keys: the cines' key: a path, one path a view, or a folder (see ``transforms.cine_reading.views_of``).
        size: rows and columns, or one number for both; frames keep their proportions and lie in the middle of black.
        fps: ticks a second; ``None``: every frame.
        frames: T ticks from the middle of each cine, only these decoded; ``None``: all ticks, as uint8 to be cached.
        max_views: N, the cines of a case.
        random_views: keep all cines of the study, so that ``SampleFramesd`` draws N anew each time; needs
            ``frames=None``.
        channels: 1, or 3 for networks that were trained on colours (three times the same).
        short: see ``window_ticks``.
        window: see ``open_cine``.
        refuse_burned_in: see ``open_cine``.
        truncated: see ``open_cine``.
        subtract: ``"first"``: subtract the cine's first frame, before the contrast has come, from every other, so that
            bone and diaphragm fade and vessels stay (digital subtraction angiography); ``"none"``.
    """

    def __init__(
        self,
        keys: KeysCollection = "video",
        size: int | Sequence[int] = 112,
        fps: float | None = 7.5,
        frames: int | None = None,
        max_views: int = 6,
        random_views: bool = False,
        channels: int = 1,
        short: str = "loop",
        window: bool = True,
        refuse_burned_in: bool = False,
        truncated: str = "refuse",
        subtract: str = "none",
    ) -> None:
        super().__init__(keys)
        if subtract not in SUBTRACTIONS:
            raise ValueError(f"subtract must be one of {SUBTRACTIONS}, got {subtract!r}.")
        if len(self.keys) != 1:
            raise ValueError(f"keys must name one key, that of the cines, got {self.keys}.")
        self.size = (int(size), int(size)) if isinstance(size, (int, float)) else (int(size[0]), int(size[1]))
        for name, value in (("size", min(self.size)), ("fps", fps), ("frames", frames), ("max_views", max_views)):
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be positive, got {value}.")
        if channels not in (1, 3):
            raise ValueError(f"channels must be 1 or 3, got {channels}; angiograms are grey.")
        if random_views and frames is not None:
            raise ValueError(
                f"random_views needs frames=None, got frames={frames}; SampleFramesd then draws views and frames."
            )
        self.fps, self.frames, self.max_views, self.channels = fps, frames, max_views, channels
        self.random_views = random_views
        self.short = check_short(short)
        self.subtract = subtract
        self.options = {"window": window, "refuse_burned_in": refuse_burned_in, "truncated": check_truncated(truncated)}

    def __call__(self, data: Mapping[Hashable, object]) -> dict[Hashable, object]:
        """Read one study.

        Args:
            data: the case. ``view_angles`` (a primary and a secondary angle in degrees, or None, for each view) and
                ``view_fps`` (a number, or one a view) stand in for what files do not say.

        Returns:
            The case with ``video`` ``(N, C, T, H, W)`` float32 in 0..255, or with ``frames=None`` a list of N uint8
            tensors ``(C, T_i, H, W)``; ``view_mask`` ``(N,)`` bool; ``angles`` ``(N, 6)`` (see ``angle_features``);
            ``view_files``, ``view_problems`` and ``view_notes``, JSON lists of N strings; ``view_ticks``, a JSON list
            of N lists of the frames that were read, each with its number and its time in milliseconds;
            ``view_places``, a JSON list of N lists: rows and columns of a frame in the file, and where it lies in the
            pictures: top, bottom, left, right (empty for what was not read); ``view_numbers``, a JSON list of N: which
            of the study's cines it is, from 0 (-1: none); ``view_skipped``, a JSON dictionary of the cines that are not
            among the N, and why; and ``view_slots`` and ``clock_fps`` for ``SampleFramesd``.

        Raises:
            ImportError: where a codec has no decoder, which is no fault of the study.
            KeyError: where the case has no cines' key.
        """
        d = dict(data)
        if self.keys[0] not in d:
            raise KeyError(f"the case must have {self.keys[0]!r}, it has {sorted(map(str, d))}; prepare it again.")
        paths = views_of(d[self.keys[0]])
        readable, problems = {}, {}
        slots = max(len(paths), 1) if self.random_views else self.max_views
        for index in spread(len(paths), slots):
            if len(readable) == slots:
                break
            try:
                readable[index] = self._read(paths[index], index, d)
            except UNREADABLE as error:
                problems[index] = reason_of(error)
                logger.warning("a view cannot be read: %s", problems[index])
        shown = sorted([*readable, *list(problems)[: slots - len(readable)]])
        video, mask, angles = [], torch.zeros(slots, dtype=torch.bool), torch.zeros(slots, 6)
        words = {name: [""] * slots for name in ("view_files", "view_problems", "view_notes")}
        ticks: list[list[tuple[int, float]]] = [[] for _ in range(slots)]
        places: list[list[int]] = [[] for _ in range(slots)]
        numbers = [*shown, *[-1] * (slots - len(shown))]
        for slot, number in enumerate(numbers):
            index = None if number < 0 else number
            if index is not None:
                words["view_files"][slot] = paths[index]
                words["view_problems"][slot] = problems.get(index, "")
            if index not in readable:
                video.append(self._nothing())
                continue
            clip, features, notes, ticks[slot], places[slot] = readable[index]
            video.append(clip)
            mask[slot], angles[slot] = True, torch.from_numpy(features)
            words["view_notes"][slot] = "; ".join(notes)
        if not paths:
            words["view_problems"][0] = "the study has no cine"
        skipped = {
            path: problems.get(index, f"not among the {slots} views that are read")
            for index, path in enumerate(paths)
            if index not in shown
        }
        d[self.keys[0]] = torch.stack(video) if self.frames else video
        d["view_mask"], d["angles"] = mask, angles
        d |= {name: json.dumps(texts) for name, texts in words.items()}
        d |= {"view_ticks": json.dumps(ticks), "view_places": json.dumps(places), "view_numbers": json.dumps(numbers)}
        d["view_skipped"] = json.dumps(skipped)
        d["view_slots"] = self.max_views
        d["clock_fps"] = float(self.fps or 0.0)
        return d

    def _read(
        self, path: str, index: int, case: Mapping
    ) -> tuple[torch.Tensor, np.ndarray, list[str], list[tuple[int, float]], list[int]]:
        """Read one view: ``(C, T, H, W)``, its angles' features, remarks, its entries of ticks and of places."""
        rates, given = case.get("view_fps"), case.get("view_angles") or []
        rate = rates[index] if isinstance(rates, (list, tuple)) and index < len(rates) else rates
        cine = open_cine(path, fps=rate if isinstance(rate, (int, float)) and rate > 0 else None, **self.options)
        angles = list(cine.info.view_angles)
        if index < len(given) and given[index]:
            angles = [own if math.isfinite(own) else other for own, other in zip(angles, given[index], strict=True)]
        chosen = self._frames_of(cine)
        clip = self._clip(cine, chosen)  # T H W
        shape = (cine.info.height, cine.info.width)
        down, right = inner_box(shape, self.size)
        seen = clip[:, down, right]
        low, high = float(seen.min()), float(seen.max())
        if high - low < LEAST_RANGE:
            raise ValueError(f"{path}: the cine is constant ({low:g}) and shows nothing; export it again, or drop it.")
        clip = ((clip - low) * (255.0 / (high - low))).clamp_(0.0, 255.0)
        clip = clip if self.frames else clip.round_().to(torch.uint8)
        ticks = [(int(frame), round(float(cine.info.times_ms[frame]), 3)) for frame in chosen]
        place = [*shape, down.start, down.stop, right.start, right.stop]
        clip = clip.expand(self.channels, *clip.shape).contiguous()
        return clip, angle_features(*angles), cine.info.notes, ticks, place

    def _clip(self, cine: Cine, chosen: Sequence[int]) -> torch.Tensor:
        """The chosen frames ``(T, H, W)``, less the first one of the cine where it is subtracted."""
        if self.subtract == "none" or cine.info.frames < 2:
            return cine.read(chosen, self.size)
        frames = cine.read([0, *chosen], self.size)
        return frames[1:] - frames[:1]

    def _frames_of(self, cine: Cine) -> list[int]:
        grid = frame_grid(cine.info.times_ms, self.fps, cine.info.seconds)
        return list(grid if self.frames is None else grid[window_ticks(len(grid), self.frames, self.short)])

    def _nothing(self) -> torch.Tensor:
        shape = (self.channels, self.frames or 0, *self.size)
        return torch.zeros(shape, dtype=torch.float32 if self.frames else torch.uint8)


class PickCined(MapTransform):
    """Keep of a study what the networks, the losses and the reports need, and what collates.

    Args:
        keys: keys that each case must have.
        optional: keys that are kept where a case has them; every case of a batch must then have them.
        texts: keys of strings; an absent one becomes ``""``.
        side: names of further inputs (``SideInputsd``), kept with what is known of them.
    """

    def __init__(
        self,
        keys: KeysCollection = ("video", "view_mask", "angles"),
        optional: Sequence[str] = (
            "input_ids",
            "attention_mask",
            "report_known",
            "report_key",
            "study_key",
            "targets",
            "targets_known",
            *BOX_KEYS,
            *POSITIVE_KEYS,
            *TEACHER_KEYS,
        ),
        texts: Sequence[str] = (
            "case_id",
            "patient_id",
            "study_id",
            "source",
            "report",
            "view_files",
            "view_problems",
            "view_notes",
            "view_skipped",
        ),
        side: Sequence[str] = (),
    ) -> None:
        super().__init__((*keys, *(key for name in side for key in (name, f"{name}_known"))))
        self.optional, self.texts = tuple(optional), tuple(texts)

    def __call__(self, data: Mapping[Hashable, object]) -> dict[Hashable, object]:
        """Pick from one case.

        Raises:
            KeyError: where a key of ``keys`` is absent.
        """
        absent = [key for key in self.keys if data.get(key) is None]
        if absent:
            raise KeyError(f"the case must have {absent}, it has {sorted(map(str, data))}; add the transforms before.")
        d = {key: data[key] for key in self.keys}
        d |= {key: data[key] for key in self.optional if data.get(key) is not None and not isinstance(data[key], RAW)}
        return d | {key: str(data.get(key) or "") for key in self.texts}
