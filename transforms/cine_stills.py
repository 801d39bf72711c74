"""Cines that are arrays (NPY, NPZ) or pictures (PNG, JPEG, one or a folder of them)."""

from __future__ import annotations

import re
import struct
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from transforms.cine import ASSUMED_FPS, Cine, CineInfo, regular_times
from transforms.photos import PHOTO_SUFFIXES, grey_values

ARRAY_SUFFIXES = (".npy", ".npz")
ARRAY_NAMES = ("video", "frames", "images", "arr_0", "pixel_array")
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R 601-2
EXTRA_NAMES = ("fps", "frame_time_ms", "times_ms", "primary_angle", "secondary_angle")


def in_reading_order(path: Path) -> list[object]:
    """Sort key that puts ``frame2.png`` before ``frame10.png``."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.name.lower())]


class PictureCine(Cine):
    """One picture, or a folder of pictures in the order of the numbers in their names.

    Args:
        path: file or folder.
        fps: frames a second of the sequence.

    Raises:
        ValueError: where a folder has no pictures, or pictures of several sizes.
    """

    def __init__(self, path: str | Path, fps: float | None = None) -> None:
        self.path = Path(path)
        files = [self.path]
        if self.path.is_dir():
            files = [f for f in self.path.iterdir() if f.name.lower().endswith(PHOTO_SUFFIXES) and f.is_file()]
        self.files = sorted(files, key=in_reading_order)
        if not self.files:
            raise ValueError(f"{path}: the folder must hold pictures, it holds none; give one folder a cine.")
        sizes: dict[tuple[int, int], str] = {}
        for file in self.files:
            with Image.open(file) as picture:
                sizes.setdefault((picture.height, picture.width), file.name)
        if len(sizes) > 1:
            found = ", ".join(f"{size} in {name}" for size, name in sorted(sizes.items()))
            raise ValueError(
                f"{path}: all frames of a cine must have one size, got (rows, columns) {found}; keep one cine a folder."
            )
        (height, width), count = next(iter(sizes)), len(self.files)
        notes = ["one frame only"] if count == 1 else []
        if fps is None and count > 1:
            notes.append(f"{ASSUMED_FPS:g} frames a second assumed")
        timing = "one frame" if count == 1 else "assumed" if fps is None else "given"
        times = regular_times(count, fps or ASSUMED_FPS)
        self.info = CineInfo(str(path), count, height, width, times, timing, np.full((count, 2), np.nan), notes=notes)

    def decode(self, indices: Sequence[int], at_least: tuple[int, int] | None = None) -> Iterator[np.ndarray]:
        """See ``Cine.decode``."""
        for index in indices:
            try:
                with Image.open(self.files[index]) as picture:
                    deep = picture.mode.startswith("I") or picture.mode == "F"
                    if picture.format == "JPEG" and at_least is not None:
                        picture.draft("L", (at_least[1], at_least[0]))
                    values = grey_values(picture)
            except (OSError, SyntaxError) as error:  # Pillow calls a damaged PNG a SyntaxError
                raise ValueError(
                    f"{self.files[index]}: the picture is truncated or damaged ({error}); copy it again."
                ) from error
            yield values / 65535.0 if deep else values / 255.0


class ArrayCine(Cine):
    """An array ``(T, rows, columns)`` or ``(T, rows, columns, 3)`` of whole numbers or of floats.

    An NPZ may also hold ``fps``, ``frame_time_ms`` or ``times_ms``, and ``primary_angle``, ``secondary_angle``.
    Whole numbers are shown from 0 to the largest of their type, floats from the least to the largest of the file.

    Args:
        path: ``.npy`` or ``.npz``.
        fps: frames a second where the file does not say.

    Raises:
        ValueError: where the file has no such array, or it is not finite.
    """

    def __init__(self, path: str | Path, fps: float | None = None) -> None:
        self.path = Path(path)
        extra: dict[str, np.ndarray] = {}
        try:
            if self.path.suffix.lower() == ".npy":
                self._array = np.load(self.path, mmap_mode="r", allow_pickle=False)
            else:
                with np.load(self.path, allow_pickle=False) as archive:
                    name = next((n for n in ARRAY_NAMES if n in archive.files), None)
                    if name is None:
                        raise ValueError(
                            f"{path}: the archive must hold one of {ARRAY_NAMES}, it holds {archive.files}; rename it."
                        )
                    mapped = stored_array(self.path, name)
                    self._array = archive[name] if mapped is None else mapped
                    extra = {n: archive[n] for n in EXTRA_NAMES if n in archive.files}
        except (EOFError, OSError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path}: the file is truncated or damaged ({error}); copy or save it again.") from error
        array = self._array
        if array.ndim not in (3, 4) or (array.ndim == 4 and array.shape[3] not in (1, 3)) or 0 in array.shape:
            raise ValueError(
                f"{path}: a cine must have the shape (T, rows, columns) or (T, rows, columns, 3), got {array.shape}; "
                "move its axes."
            )
        if array.dtype.kind not in "uif":
            raise ValueError(f"{path}: a cine must hold numbers, got {array.dtype}; save it as uint8 or uint16.")
        self._range = (0.0, float(np.iinfo(array.dtype).max)) if array.dtype.kind in "ui" else self._extent()
        frames = array.shape[0]
        times, timing, notes = self._times(extra, frames, fps)
        angles = [float(extra.get(f"{name}_angle", np.nan)) for name in ("primary", "secondary")]
        self.info = CineInfo(
            str(path), frames, *array.shape[1:3], times, timing, np.tile(angles, (frames, 1)), notes=notes
        )

    def _extent(self) -> tuple[float, float]:
        low, high = float(self._array.min()), float(self._array.max())
        if not np.isfinite([low, high]).all():
            raise ValueError(f"{self.path}: pixels must be finite, some are NaN or infinite; replace them.")
        return low, high

    @staticmethod
    def _times(extra: dict[str, np.ndarray], frames: int, fps: float | None) -> tuple[np.ndarray, str, list[str]]:
        if frames == 1:
            return np.zeros(1), "one frame", ["one frame only"]
        if "times_ms" in extra and len(extra["times_ms"]) == frames and (np.diff(extra["times_ms"]) > 0).all():
            return np.asarray(extra["times_ms"], dtype=np.float64) - extra["times_ms"][0], "times_ms", []
        if "frame_time_ms" in extra and float(extra["frame_time_ms"]) > 0:
            return regular_times(frames, 1000.0 / float(extra["frame_time_ms"])), "frame_time_ms", []
        if "fps" in extra and float(extra["fps"]) > 0:
            return regular_times(frames, float(extra["fps"])), "fps", []
        if fps is not None:
            return regular_times(frames, fps), "given", []
        return regular_times(frames, ASSUMED_FPS), "assumed", [f"{ASSUMED_FPS:g} frames a second assumed"]

    def decode(self, indices: Sequence[int], at_least: tuple[int, int] | None = None) -> Iterator[np.ndarray]:
        """See ``Cine.decode``."""
        low, high = self._range
        for index in indices:
            frame = np.asarray(self._array[index], dtype=np.float32)
            if frame.ndim == 3:
                weights = LUMA if frame.shape[2] == 3 else np.ones(1, dtype=np.float32)
                frame = frame @ weights
            yield (frame - low) / ((high - low) or 1.0)


def stored_array(path: Path, name: str) -> np.ndarray | None:
    """Map an array of an archive that is not compressed, so that single frames of it can be read.

    Returns:
        The array, or ``None`` where it can only be read as a whole.
    """
    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo(f"{name}.npy")
        if member.compress_type != zipfile.ZIP_STORED:
            return None
        with archive.open(member) as stream:
            version = np.lib.format.read_magic(stream)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, by_columns, kind = read(stream)
            begin = stream.tell()
    if kind.hasobject or 0 in shape:
        return None
    with path.open("rb") as stream:
        stream.seek(member.header_offset + 26)
        begin += member.header_offset + 30 + sum(struct.unpack("<HH", stream.read(4)))  # after the local header
    return np.memmap(path, kind, "r", begin, shape, "F" if by_columns else "C")
