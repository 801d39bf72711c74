"""Videos (AVI, MP4 and others) through PyAV: seek to a key frame, decode to the frame that is wanted, no further."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from transforms.cine import ASSUMED_FPS, PLAUSIBLE_FPS, Cine, CineInfo, regular_times

VIDEO_SUFFIXES = (".avi", ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv")


def import_av():
    """Import PyAV, or say how to install it."""
    try:
        import av
    except ImportError as error:
        raise ImportError(
            "reading videos needs PyAV, which is not installed; `pip install av`, or `pip install "
            "medvlm-bundles[video]`."
        ) from error
    return av


class VideoCine(Cine):
    """A video file; colours become luminance.

    Args:
        path: the file, which also names it in messages.
        content: the file's bytes, where the video lies inside another file.
        truncated: ``refuse`` a file that has fewer frames than it declares, or ``keep`` those that are there.

    Raises:
        ImportError: without PyAV.
        ValueError: where it holds no video or no frame, or is truncated.
    """

    def __init__(self, path: str | Path, content: bytes | None = None, truncated: str = "refuse") -> None:
        self.path = Path(path)
        self.content = content
        av = import_av()
        try:
            with self._open() as container:
                if not container.streams.video:
                    raise ValueError(f"{path}: the file must hold a video, it holds none; give the video itself.")
                stream = container.streams.video[0]
                height, width, rate = stream.height, stream.width, stream.average_rate
                declared = stream.frames
                packets = [(p.pts, p.is_keyframe) for p in container.demux(stream) if p.size]
                base = float(stream.time_base) if stream.time_base else 0.0
        except av.FFmpegError as error:
            raise ValueError(
                f"{path}: the video is truncated or damaged ({error.strerror}); copy or export it again."
            ) from error
        if not packets:
            raise ValueError(f"{path}: the video must have at least one frame, it has none; export it again.")
        notes: list[str] = []
        if len(packets) < declared:
            if truncated == "refuse":
                raise ValueError(
                    f"{path}: the video is truncated: {declared} frames declared, {len(packets)} found; "
                    "copy or export it again, or read what is there with truncated='keep'."
                )
            notes.append(f"truncated: {len(packets)} of {declared} frames")
        stamps = [pts for pts, _ in packets if pts is not None]
        self._seekable = len(set(stamps)) == len(packets)
        self._stamps = sorted(stamps) if self._seekable else []
        self._keys = sorted(pts for pts, key in packets if key) if self._seekable else []
        frames = len(packets)
        times, timing = np.zeros(1), "one frame"
        if frames == 1:
            notes.append("one frame only")
        else:
            fps = float(rate) if rate else 0.0
            if self._seekable and base:
                times, timing = (np.asarray(self._stamps, dtype=np.float64) - self._stamps[0]) * base * 1000.0, "video"
                fps = 1000.0 / float(np.median(np.diff(times)))
            elif fps:
                times, timing = regular_times(frames, fps), "video"
            if not PLAUSIBLE_FPS[0] <= fps <= PLAUSIBLE_FPS[1]:
                notes.append(f"the frame rate is not plausible ({fps:g}), {ASSUMED_FPS:g} frames a second assumed")
                times, timing = regular_times(frames, ASSUMED_FPS), "assumed"
        self.info = CineInfo(str(path), frames, height, width, times, timing, np.full((frames, 2), np.nan), notes=notes)

    def _open(self):
        return import_av().open(io.BytesIO(self.content) if self.content is not None else str(self.path))

    def decode(self, indices: Sequence[int], at_least: tuple[int, int] | None = None) -> Iterator[np.ndarray]:
        """See ``Cine.decode``."""
        av = import_av()
        absent = set(indices)
        try:
            with self._open() as container:
                for index, frame in self._wanted(container, list(indices)):
                    absent.discard(index)
                    yield self._grey(frame)
        except av.FFmpegError as error:
            raise ValueError(
                f"{self.path}: the video is truncated or damaged ({error.strerror}); copy or export it again."
            ) from error
        if absent:
            raise ValueError(
                f"{self.path}: frames {sorted(absent)[:5]} of {self.info.frames} cannot be decoded; "
                "the video is truncated or damaged, copy or export it again."
            )

    def _wanted(self, container, indices: list[int]) -> Iterator[tuple[int, object]]:
        """Yield the wanted frames with their numbers, from as few decoded ones as the key frames allow."""
        stream = container.streams.video[0]
        if not self._seekable:
            wanted = set(indices)
            for index, frame in enumerate(container.decode(stream)):
                if index in wanted:
                    yield index, frame
                if index >= indices[-1]:
                    return
            return
        number = {stamp: index for index, stamp in enumerate(self._stamps)}
        groups: dict[int, set[int]] = {}
        for index in indices:
            groups.setdefault(int(np.searchsorted(self._keys, self._stamps[index], side="right")) - 1, set()).add(index)
        for key, wanted in groups.items():
            container.seek(self._keys[max(key, 0)], stream=stream)
            for frame in container.decode(stream):
                index = number.get(frame.pts, -1)
                if index in wanted:
                    wanted.discard(index)
                    yield index, frame
                if not wanted or index > max(wanted):
                    break

    @staticmethod
    def _grey(frame) -> np.ndarray:
        if max(component.bits for component in frame.format.components) > 8:
            return frame.to_ndarray(format="gray16le").astype(np.float32) / 65535.0
        return frame.to_ndarray(format="gray")
