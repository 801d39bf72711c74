"""What an XA DICOM file says of itself, and whether all of its pixels are there, without decoding them.

Reference:
    DICOM PS3.3: PositionerPrimaryAngle (0018,1510), PositionerSecondaryAngle (0018,1511), FrameTimeVector (0018,1065),
    FrameTime (0018,1063), CineRate (0018,0040), RecommendedDisplayFrameRate (0008,2144); PS3.5 A.4 for fragments.
"""

from __future__ import annotations

import math
import os
import struct
from pathlib import Path
from typing import Any

from medvlm.data.dicom_decoding import missing_decoder
from medvlm.data.reading import ReadError

_ITEM, _SEQUENCE_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
_PIXEL_TAGS = {(0x7FE0, 0x0010), (0x7FE0, 0x0008), (0x7FE0, 0x0009)}
_UNDEFINED = 0xFFFFFFFF
_AGAIN = "copy or download it again, or leave it out"


def read_dicom_facts(path: Path) -> dict[str, Any]:
    """Read the header of one DICOM file and check that its pixels are all there, without decoding them.

    Returns:
        What ``CineHeader`` holds, ``kind`` aside.

    Raises:
        ReadError: there are no pixels, no frames, or the file ends early.
        pydicom.errors.InvalidDicomError: it is no DICOM file.
    """
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
    return dict(
        path=str(path),
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
