"""What a cine says of itself without its pixels being decoded: frames, rate, angles, and whether the file is whole.

This is the reader of ``prepare`` and ``doctor``; training and inference read through ``transforms``.
"""

from __future__ import annotations

import math
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from medvlm.data.dicom_facts import read_dicom_facts
from medvlm.data.reading import ReadError, is_picture, suffix_of

VIDEO = (".avi", ".mp4", ".mov", ".mkv", ".m4v", ".mpg", ".mpeg", ".wmv", ".webm")
ARRAY = (".npz", ".npy")
ARRAY_NAMES = ("video", "frames", "images", "arr_0", "pixel_array")
_AGAIN = "copy or download it again, or leave it out"


@dataclass(frozen=True)
class CineHeader:
    """One video, unread.

    Attributes:
        path: the file, or the folder of frames.
        kind: ``dicom``, ``video``, ``array`` or ``pictures``.
        frames: number of frames.
        height: rows.
        width: columns.
        samples: 1 grey, 3 colour.
        rate_fps: frames a second; ``None`` where it is unknown.
        primary_deg: LAO +, RAO -; ``None`` where it is unknown.
        secondary_deg: cranial +, caudal -; ``None`` where it is unknown.
        modality, patient_id, study_uid, sop_uid: as the DICOM header has them, else empty.
        burned_in: whether the header says that writing is burned into the picture.
        missing_decoder: what has to be installed to decode it, empty where nothing is missing.
    """

    path: str
    kind: str
    frames: int
    height: int
    width: int
    samples: int = 1
    rate_fps: float | None = None
    primary_deg: float | None = None
    secondary_deg: float | None = None
    modality: str = ""
    patient_id: str = ""
    study_uid: str = ""
    sop_uid: str = ""
    burned_in: bool = False
    missing_decoder: str = ""

    @property
    def angles_known(self) -> bool:
        """Whether both angles of the C-arm are there."""
        return self.primary_deg is not None and self.secondary_deg is not None


def read_cine_header(path: str | Path) -> CineHeader:
    """Read what a file or a folder of frames says of itself.

    Args:
        path: XA DICOM (any ending, or none), AVI/MP4 and the like (PyAV), NPZ or NPY, one picture, or a folder of
            pictures in the order of their names.

    Raises:
        ReadError: it is missing, empty, truncated, without pixels or frames, or of a kind that cannot be read.
    """
    path = Path(path)
    if not path.exists():
        raise ReadError(path, "there is no such file", "restore it, or prepare the datalist anew")
    try:
        stat = path.stat()
    except OSError as error:
        raise ReadError(path, f"it cannot be opened ({error.strerror})", "mend its permissions") from error
    return _cached(str(path), stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=1 << 16)
def _cached(name: str, _mtime: int, size: int) -> CineHeader:
    path = Path(name)
    if path.is_dir():
        return _read_pictures(path)
    if size == 0:
        raise ReadError(path, "the file is empty (0 bytes)", "copy or download it again")
    try:
        with path.open("rb") as stream:
            head = stream.read(132)
        if head.startswith(b"version https://git-lfs"):
            raise ReadError(path, "it is a git-lfs pointer, not the video", "fetch it with `git lfs pull`")
        if head[128:] == b"DICM" or suffix_of(path) in (".dcm", ".dicom", ".ima", ""):
            return CineHeader(kind="dicom", **read_dicom_facts(path))
        if suffix_of(path) in ARRAY:
            return _read_array(path)
        if suffix_of(path) in VIDEO:
            return _read_video(path)
        if is_picture(path):
            return _read_picture(path)
    except ReadError:
        raise
    except MemoryError as error:
        raise ReadError(path, "its header needs more memory than there is", _AGAIN) from error
    except Exception as error:  # readers raise whatever they like on damaged files
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ReadError(path, f"it cannot be read ({first_line})", _AGAIN) from error
    remedy = f"give DICOM, {', '.join((*VIDEO, *ARRAY))}, a picture, or a folder of pictures"
    raise ReadError(path, f"the ending {suffix_of(path)!r} is not known, and it is no DICOM file", remedy)


def _read_array(path: Path) -> CineHeader:
    import numpy as np

    extra: dict[str, float] = {}
    if path.suffix.lower() == ".npy":
        with path.open("rb") as stream:
            shape, dtype = _array_header(stream)
            there = path.stat().st_size - stream.tell()
    else:
        with zipfile.ZipFile(path) as archive:
            shapes = {}
            for name in archive.namelist():
                with archive.open(name) as stream:
                    shapes[name] = _array_header(stream)
            name = next((n for n in ARRAY_NAMES if f"{n}.npy" in shapes), None)
            if name is None:
                what = f"it holds {sorted(n.removesuffix('.npy') for n in shapes)[:6]}"
                raise ReadError(path, what, f"call the video one of {', '.join(ARRAY_NAMES)}")
            shape, dtype = shapes[f"{name}.npy"]
            there = None
        with np.load(path, allow_pickle=False) as arrays:
            for key in ("primary_angle", "secondary_angle", "fps", "frame_time_ms"):
                if f"{key}.npy" in shapes and shapes[f"{key}.npy"][1].kind in "iuf":
                    extra[key] = float(np.ravel(arrays[key])[0])
    if len(shape) not in (3, 4) or dtype.kind not in "iufb":
        what = f"its array is {shape} of type {dtype}"
        raise ReadError(path, what, "store the video as (frames, height, width) numbers")
    if there is not None and there < math.prod(shape) * dtype.itemsize:
        raise ReadError(path, "the array ends early", _AGAIN)
    if not shape[0]:
        raise ReadError(path, "it holds 0 frames", "leave it out")
    return CineHeader(
        path=str(path),
        kind="array",
        frames=int(shape[0]),
        height=int(shape[1]),
        width=int(shape[2]),
        samples=int(shape[3]) if len(shape) == 4 else 1,
        rate_fps=extra.get("fps") or (1000 / extra["frame_time_ms"] if extra.get("frame_time_ms") else None),
        primary_deg=extra.get("primary_angle"),
        secondary_deg=extra.get("secondary_angle"),
    )


def _array_header(stream: Any) -> tuple[tuple[int, ...], Any]:
    from numpy.lib import format as npy

    version = npy.read_magic(stream)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read(stream)
    return shape, dtype


def _read_video(path: Path) -> CineHeader:
    try:
        import av
    except ImportError as error:
        raise ReadError(path, "videos need PyAV", "pip install 'medvlm-bundles[video]'") from error
    with av.open(str(path)) as container:
        if not container.streams.video:
            raise ReadError(path, "it holds no video stream", "leave it out")
        stream = container.streams.video[0]
        frames = stream.frames or sum(packet.pts is not None for packet in container.demux(stream))
        rate = float(stream.average_rate) if stream.average_rate else None
        grey = str(stream.codec_context.pix_fmt or "").startswith("gray")
        if not frames:
            raise ReadError(path, "it holds 0 frames", _AGAIN)
        return CineHeader(
            str(path), "video", int(frames), stream.height, stream.width, samples=1 if grey else 3, rate_fps=rate
        )


def _read_picture(path: Path) -> CineHeader:
    width, height, samples = _picture_size(path)
    return CineHeader(str(path), "pictures", 1, height, width, samples=samples)


def _read_pictures(path: Path) -> CineHeader:
    frames = sorted(p for p in path.iterdir() if is_picture(p))
    if not frames:
        there = sorted(p.name for p in path.iterdir())[:4]
        raise ReadError(path, f"the folder holds no pictures, it holds {there}", "give one folder of frames a video")
    sizes: dict[tuple[int, int, int], str] = {}
    for frame in frames:
        sizes.setdefault(_picture_size(frame), frame.name)
    shapes = {size[:2] for size in sizes}
    if len(shapes) > 1:
        shown = ", ".join(f"{w} x {h} ({name})" for (w, h, _), name in list(sizes.items())[:3])
        raise ReadError(path, f"its frames are of unequal size: {shown}", "put each video into a folder of its own")
    (width, height, samples), _ = next(iter(sizes.items()))
    return CineHeader(str(path), "pictures", len(frames), height, width, samples=samples)


def _picture_size(path: Path) -> tuple[int, int, int]:
    from PIL import Image

    try:
        with Image.open(path) as image:
            return (*image.size, len(image.getbands()) if image.mode != "P" else 3)
    except OSError as error:
        raise ReadError(path, "the picture cannot be read", _AGAIN) from error
