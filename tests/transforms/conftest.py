"""XA files for tests: classic and enhanced, uncompressed and of several codecs."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian, XRayAngiographicImageStorage, generate_uid


def jpeg(frame: np.ndarray) -> bytes:
    """8-bit JPEG baseline of one frame."""
    out = io.BytesIO()
    Image.fromarray(frame).save(out, "JPEG", quality=95)
    return out.getvalue()


def jpeg2000(frame: np.ndarray) -> bytes:
    """Reversible JPEG 2000 code stream of one frame."""
    out = io.BytesIO()
    Image.fromarray(frame).save(out, "JPEG2000", irreversible=False, no_jp2=True)
    return out.getvalue()


def rle(frame: np.ndarray) -> bytes:
    """DICOM RLE of one frame: literal runs only, one segment a byte, the most significant first."""
    planes = frame.astype(f">u{frame.itemsize}")[..., None].view(np.uint8).reshape(*frame.shape, frame.itemsize)
    segments = []
    for byte in range(frame.itemsize):
        coded = bytearray()
        for row in planes[..., byte]:
            for start in range(0, len(row), 128):
                part = row[start : start + 128].tobytes()
                coded += bytes([len(part) - 1]) + part
        segments.append(bytes(coded) + b"\0" * (len(coded) % 2))
    offsets = np.cumsum([64] + [len(s) for s in segments[:-1]])
    return struct.pack("<16L", len(segments), *offsets, *[0] * (15 - len(segments))) + b"".join(segments)


def jpeg_lossless(frame: np.ndarray, precision: int) -> bytes:
    """Lossless JPEG, process 14, first-order prediction, with a flat Huffman table of 5-bit codes."""
    rows, columns = frame.shape
    values = frame.astype(np.int64)
    predicted = np.empty_like(values)
    predicted[:, 1:], predicted[1:, 0], predicted[0, 0] = values[:, :-1], values[:-1, 0], 1 << (precision - 1)
    bits = []
    for difference in (values - predicted).ravel().tolist():
        size = abs(difference).bit_length()
        bits.append(f"{size:05b}")
        if size:
            bits.append(f"{difference if difference > 0 else difference + (1 << size) - 1:0{size}b}")
    text = "".join(bits)
    text += "1" * (-len(text) % 8)
    scan = int(text, 2).to_bytes(len(text) // 8, "big").replace(b"\xff", b"\xff\0")
    table = bytes([0, 0, 0, 0, 0, 17, *[0] * 11, *range(17)])
    return b"".join(
        [
            b"\xff\xd8",
            b"\xff\xc3" + struct.pack(">HBHHB", 11, precision, rows, columns, 1) + bytes([1, 0x11, 0]),
            b"\xff\xc4" + struct.pack(">H", 2 + len(table)) + table,
            b"\xff\xda" + struct.pack(">HB", 8, 1) + bytes([1, 0, 1, 0, 0]),
            scan,
            b"\xff\xd9",
        ]
    )


def save_xa(
    path: Path,
    frames: np.ndarray | Sequence[bytes],
    syntax: UID = ExplicitVRLittleEndian,
    shape: tuple[int, int] | None = None,
    offsets: bool = True,
    fragments: int = 1,
    **tags: object,
) -> Path:
    """Write an XA file.

    Args:
        path: the file.
        frames: ``(T, rows, columns[, 3])`` of stored values, or the encoded frames.
        syntax: transfer syntax.
        shape: rows and columns of encoded frames.
        offsets: write a basic offset table.
        fragments: pieces that each encoded frame is cut into.
        tags: DICOM keywords, ``None`` takes one out.
    """
    coding = {"is_implicit_VR": syntax.is_implicit_VR, "is_little_endian": syntax.is_little_endian}
    data = FileDataset(str(path), {}, preamble=b"\0" * 128, file_meta=FileMetaDataset(), **coding)
    data.file_meta.TransferSyntaxUID = syntax
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = XRayAngiographicImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid()
    data.Modality, data.PhotometricInterpretation, data.SamplesPerPixel = "XA", "MONOCHROME2", 1
    raw = isinstance(frames, np.ndarray)
    data.NumberOfFrames = len(frames)
    data.Rows, data.Columns = frames.shape[1:3] if raw else shape
    data.BitsAllocated = 8 * frames.itemsize if raw else 8
    data.PixelRepresentation = int(raw and frames.dtype.kind == "i")
    if raw and frames.ndim == 4:
        data.SamplesPerPixel, data.PhotometricInterpretation, data.PlanarConfiguration = 3, "RGB", 0
    data.FrameTime = "66.6667"
    data.PositionerPrimaryAngle, data.PositionerSecondaryAngle = "-30", "20"
    for name, value in tags.items():
        if value is None:
            delattr(data, name)
        else:
            setattr(data, name, value)
    data.BitsStored = tags.get("BitsStored", data.BitsAllocated)
    data.HighBit = tags.get("HighBit", data.BitsStored - 1)
    if raw:
        order = "<" if syntax.is_little_endian else ">"
        data.PixelData = frames.astype(frames.dtype.newbyteorder(order)).tobytes()
    else:
        data.PixelData = encapsulate(list(frames), fragments_per_frame=fragments, has_bot=offsets)
        data["PixelData"].is_undefined_length = True
    data["PixelData"].VR = "OW" if raw and data.BitsAllocated > 8 else "OB"
    data.save_as(path, write_like_original=False)
    return path


@pytest.fixture
def xa(tmp_path: Path) -> Callable[..., Path]:
    """Write an XA file of a test: ``xa(frames, name=..., **options of save_xa)``."""

    def write(frames: np.ndarray | Sequence[bytes], name: str = "cine.dcm", **options: object) -> Path:
        return save_xa(tmp_path / name, frames, **options)

    return write


@pytest.fixture
def codecs() -> dict[str, Callable[..., bytes]]:
    """Encoders of one frame."""
    return {"jpeg": jpeg, "jpeg2000": jpeg2000, "rle": rle, "jpeg_lossless": jpeg_lossless}


@pytest.fixture
def cine_frames() -> np.ndarray:
    """Twelve frames of 40 x 48, uint8: a ramp with a dark bar that moves down a row a frame."""
    frames = np.tile(np.linspace(60, 250, 48).astype(np.uint8), (12, 40, 1))
    for index in range(12):
        frames[index, 4 + 2 * index : 7 + 2 * index] = 10 + index
    return frames
