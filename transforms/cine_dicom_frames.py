"""Where the frames of a DICOM file lie: read from the headers, so that one frame costs one seek."""

from __future__ import annotations

import io
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

ITEM, DELIMITER = 0xFFFEE000, 0xFFFEE0DD
UNDEFINED = 0xFFFFFFFF
PIXEL_DATA = 0x7FE00010
LONG_VRS = (b"OB", b"OW", b"OD", b"OF", b"OL", b"OV", b"UN")
STARTS = (b"\xff\xd8", b"\xff\x4f\xff\x51")  # JPEG and JPEG-LS; JPEG 2000


@dataclass
class FrameMap:
    """The pieces of file that make up each frame.

    Attributes:
        pieces: of each frame, ``(offset, length)`` in bytes.
        content: the whole data set where it had to be inflated; ``None``: the pieces lie in the file itself.
        complete: whether the file ends where its headers say.
    """

    pieces: list[list[tuple[int, int]]]
    content: bytes | None = None
    complete: bool = True

    def open(self, path: str | Path) -> BinaryIO:
        """Open what the pieces lie in."""
        return io.BytesIO(self.content) if self.content is not None else Path(path).open("rb")

    def read(self, stream: BinaryIO, frame: int) -> bytes:
        """Read one frame."""
        parts = []
        for offset, length in self.pieces[frame]:
            stream.seek(offset)
            parts.append(stream.read(length))
        return b"".join(parts)


def pixel_value(stream: BinaryIO, little: bool, implicit: bool) -> int | None:
    """Step over the header of the pixel data element.

    Args:
        stream: at the element, where reading with ``stop_before_pixels`` has left it; afterwards at the value.
        little: byte order.
        implicit: whether the element has no VR.

    Returns:
        The length of the value in bytes, ``UNDEFINED`` where it is encapsulated; ``None`` where there is no such
        element.
    """
    order = "<" if little else ">"
    head = stream.read(8)
    if len(head) < 8:
        return None
    group, element = struct.unpack(order + "HH", head[:4])
    if (group << 16) + element != PIXEL_DATA:
        return None
    if implicit:
        return struct.unpack(order + "L", head[4:])[0]
    if head[4:6] in LONG_VRS:
        length = stream.read(4)
        return struct.unpack(order + "L", length)[0] if len(length) == 4 else None
    return struct.unpack(order + "H", head[6:8])[0]


def native_frames(stream: BinaryIO, value_length: int, frame_bits: int) -> FrameMap:
    """Locate the frames of uncompressed pixel data.

    Args:
        stream: at the value.
        value_length: bytes that the header promises.
        frame_bits: size of a frame in bits; a frame starts on a whole byte or the file is refused by its reader.
    """
    begin = stream.tell()
    there = stream.seek(0, os.SEEK_END) - begin
    length = frame_bits // 8
    count = min(there, value_length) // length if length else 0
    return FrameMap([[(begin + i * length, length)] for i in range(count)], complete=there >= value_length)


def encapsulated_frames(stream: BinaryIO, declared: int, extended: list[int] | None = None) -> FrameMap:
    """Locate the frames of compressed pixel data by walking over the headers of its fragments.

    Args:
        stream: at the value: the item with the basic offset table.
        declared: number of frames of the header, 0 unknown.
        extended: offsets of the extended offset table.
    """
    begin = stream.tell()
    end = stream.seek(0, os.SEEK_END)
    stream.seek(begin)
    table, fragments, complete = _walk(stream, end)
    if not fragments:
        return FrameMap([], complete=complete)
    spans = [(value, length) for _, value, length in fragments]
    if declared == len(fragments):
        return FrameMap([[span] for span in spans], complete=complete)
    if declared == 1:
        return FrameMap([spans], complete=complete)
    origin = fragments[0][0]
    offsets = [item - origin for item, _, _ in fragments]
    starts = [start for start in extended or table if start <= offsets[-1]]
    if not starts or not set(starts) <= set(offsets):
        starts = []
        for offset, (value, _) in zip(offsets, spans, strict=True):
            stream.seek(value)
            if stream.read(4).startswith(STARTS):
                starts.append(offset)
    if not starts or starts[0] != 0:  # RLE and others: one fragment a frame
        return FrameMap([[span] for span in spans], complete=complete)
    frames: list[list[tuple[int, int]]] = []
    for offset, span in zip(offsets, spans, strict=True):
        if offset in starts:
            frames.append([])
        frames[-1].append(span)
    if not complete and len(frames) < min(declared, len(fragments)):
        frames.pop()  # its further fragments may be missing
    return FrameMap(frames, complete=complete)


def _walk(stream: BinaryIO, end: int) -> tuple[list[int], list[tuple[int, int, int]], bool]:
    """Return the basic offset table, the fragments (item offset, value offset, length), and whether all is there."""
    table: list[int] = []
    fragments: list[tuple[int, int, int]] = []
    first = True
    while True:
        place = stream.tell()
        head = stream.read(8)
        if len(head) < 8:
            return table, fragments, False
        group, element, length = struct.unpack("<HHL", head)
        tag = (group << 16) + element
        if tag == DELIMITER:
            return table, fragments, True
        if tag != ITEM or place + 8 + length > end:
            return table, fragments, False
        if first:
            table = np.frombuffer(stream.read(length), dtype="<u4").tolist()
            first = False
        else:
            fragments.append((place, place + 8, length))
            stream.seek(length, os.SEEK_CUR)
