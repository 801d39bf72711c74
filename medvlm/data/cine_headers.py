"""What a cine says of itself without its pixels being decoded: frames, rate, angles, and whether the file is whole.

This is the reader of ``prepare`` and ``doctor``; training and inference read through ``transforms``.
"""

from __future__ import annotations

import math
import os
import struct
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from medvlm.data.reading import ReadError, is_picture, suffix_of

VIDEO = (".avi", ".mp4", ".mov", ".mkv", ".m4v", ".mpg", ".mpeg", ".wmv", ".webm")
ARRAY = (".npz", ".npy")
ARRAY_NAMES = ("video", "frames", "images", "arr_0", "pixel_array")
_ITEM, _SEQUENCE_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
_PIXEL_TAGS = {(0x7FE0, 0x0010), (0x7FE0, 0x0008), (0x7FE0, 0x0009)}
_UNDEFINED = 0xFFFFFFFF
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
            return _read_dicom(path)
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


def _read_dicom(path: Path) -> CineHeader:
    import pydicom

    size = path.stat().st_size
    with path.open("rb") as stream:
        header = pydicom.dcmread(stream, stop_before_pixels=True, force=False)
        start = stream.tell()
        stream.seek(start)
        place = stream.read(12)
    rows, columns = int(header.get("Rows") or 0), int(header.get("Columns") or 0)
    declared = header.get("NumberOfFrames")
    frames = 1 if declared in (None, "") else int(declared)
    if start >= size or not _is_pixel_tag(place, header):
        if _truncated_before_pixels(header):
            raise ReadError(path, "the file ends before its pixel data", _AGAIN)
        raise ReadError(path, "it holds no pixel data", "leave it out: it is a report or a setting, not a video")
    if frames < 1:
        raise ReadError(path, f"it declares {frames} frames", "leave it out, or mend NumberOfFrames (0028,0008)")
    if not rows or not columns:
        raise ReadError(path, f"it declares {rows} x {columns} pixels", _AGAIN)
    samples = int(header.get("SamplesPerPixel") or 1)
    syntax = header.file_meta.get("TransferSyntaxUID") if hasattr(header, "file_meta") else None
    if syntax is None or not syntax.is_deflated:
        bits = int(header.get("BitsAllocated") or 8)
        _check_length(path, size, start, header, frames, rows * columns * samples * bits // 8)
    primary, secondary = dicom_angles(header)
    return CineHeader(
        path=str(path),
        kind="dicom",
        frames=frames,
        height=rows,
        width=columns,
        samples=samples,
        rate_fps=dicom_rate(header),
        primary_deg=primary,
        secondary_deg=secondary,
        modality=str(header.get("Modality") or ""),
        patient_id=str(header.get("PatientID") or ""),
        study_uid=str(header.get("StudyInstanceUID") or ""),
        sop_uid=str(header.get("SOPInstanceUID") or ""),
        burned_in=str(header.get("BurnedInAnnotation") or "").upper() == "YES",
        missing_decoder=missing_decoder(syntax),
    )


def _is_pixel_tag(place: bytes, header: Any) -> bool:
    if len(place) < 8:
        return False
    order = "<" if _little_endian(header) else ">"
    return struct.unpack(order + "HH", place[:4]) in _PIXEL_TAGS


def _little_endian(header: Any) -> bool:
    syntax = header.file_meta.get("TransferSyntaxUID") if hasattr(header, "file_meta") else None
    return syntax is None or syntax.is_little_endian


def _truncated_before_pixels(header: Any) -> bool:
    """A picture's header that stops early: it names its size or class, but no pixels follow."""
    return header.get("Rows") is not None or header.get("Modality") in ("XA", "XRF", "RF")


def _check_length(path: Path, size: int, start: int, header: Any, frames: int, frame_bytes: int) -> None:
    """Compare the length that the pixels need with the length that the file has."""
    syntax = header.file_meta.get("TransferSyntaxUID") if hasattr(header, "file_meta") else None
    order = "<" if _little_endian(header) else ">"
    with path.open("rb") as stream:
        stream.seek(start + 4)
        explicit = stream.read(2) in (b"OB", b"OW", b"OF", b"OD", b"UN")
        stream.seek(start + (8 if explicit else 4))
        (length,) = struct.unpack(order + "I", stream.read(4))
        begin = stream.tell()
        if length == _UNDEFINED or (syntax is not None and syntax.is_compressed):
            fragments, whole = _walk_fragments(stream, size)
            if not whole:
                what = f"the compressed pixel data end early, after {fragments} fragments of {frames} frames"
                raise ReadError(path, what, _AGAIN)
            if fragments < frames and not _is_mpeg(syntax):
                what = f"it declares {frames} frames and holds {fragments}"
                raise ReadError(path, what, _AGAIN)
            return
    there = min(length, size - begin)
    if there < frames * frame_bytes:
        have = there // frame_bytes if frame_bytes else 0
        what = f"the pixel data end early: {have} of {frames} frames are whole"
        raise ReadError(path, what, _AGAIN)


def _walk_fragments(stream: Any, size: int) -> tuple[int, bool]:
    """Step over the items of encapsulated pixels: number of fragments, and whether the last one is whole."""
    count = -1  # the first item is the table of offsets
    while True:
        tag = stream.read(4)
        raw = stream.read(4)
        if tag == _SEQUENCE_END:
            return count, True
        if tag != _ITEM or len(raw) < 4:
            return max(count, 0), False
        (length,) = struct.unpack("<I", raw)
        if stream.tell() + length > size:
            return max(count, 0), False
        stream.seek(length, os.SEEK_CUR)
        count += 1


def _is_mpeg(syntax: Any) -> bool:
    return str(syntax).startswith("1.2.840.10008.1.2.4.10")


def missing_decoder(syntax: Any) -> str:
    """What has to be installed to decode a transfer syntax; empty where nothing is missing."""
    if syntax is None or not syntax.is_compressed or syntax.is_deflated:
        return ""
    from pydicom.pixels import get_decoder

    name = getattr(syntax, "name", str(syntax))
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        return f"a converter: {name} cannot be decoded here; store the video as MP4 or uncompressed DICOM"
    if decoder.is_available:
        return ""
    return f"the package for {name}: pip install 'medvlm-bundles[dicom]' (pylibjpeg and its plug-ins)"


def dicom_rate(header: Any) -> float | None:
    """Frames a second from FrameTimeVector, FrameTime, CineRate or RecommendedDisplayFrameRate, in this order."""
    vector = _numbers(header.get("FrameTimeVector"))
    steps = [v for v in vector[1:] if v > 0]
    if steps:
        return 1000 * len(steps) / sum(steps)
    for name in ("FrameTime", "CineRate", "RecommendedDisplayFrameRate"):
        values = [v for v in _numbers(header.get(name)) if v > 0]
        if values:
            return 1000 / values[0] if name == "FrameTime" else values[0]
    return None


def dicom_angles(header: Any) -> tuple[float | None, float | None]:
    """Primary (LAO +) and secondary (cranial +) angle of the first frame, nested ones of Enhanced XA included."""
    places = [header]
    for name in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in list(header.get(name) or [])[:1]:
            places += list(group.get("PositionerPositionSequence") or [])[:1]
    found: list[float | None] = []
    for name in ("PositionerPrimaryAngle", "PositionerSecondaryAngle"):
        values = [v for place in places for v in _numbers(place.get(name))[:1]]
        found.append(values[0] if values else None)
    return found[0], found[1]


def _numbers(value: Any) -> list[float]:
    if value is None or value == "":
        return []
    items = value if isinstance(value, list | tuple) or hasattr(value, "append") else [value]
    try:
        numbers = [float(item) for item in items if item not in (None, "")]
    except (TypeError, ValueError):
        return []
    return [n for n in numbers if math.isfinite(n)]


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
            for key in ("primary_angle", "secondary_angle", "fps"):
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
        rate_fps=extra.get("fps"),
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
