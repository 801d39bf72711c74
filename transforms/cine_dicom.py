"""XA DICOM, classic and enhanced: single frames decoded from their place in the file, and shown as a viewer does."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit

from transforms.cine import Cine, CineInfo, check_truncated
from transforms.cine_dicom_frames import UNDEFINED, FrameMap, encapsulated_frames, native_frames, pixel_value
from transforms.cine_dicom_pixels import (
    GREY,
    VIDEO_SYNTAXES,
    decode_frame,
    decode_jpeg,
    display_settings,
    display_table,
    luminance,
    require_decoder,
)
from transforms.cine_dicom_tags import frame_times, number, numbers, positioner_angles
from transforms.cine_video import VideoCine


class DicomCine(Cine):
    """A DICOM file with one or more frames.

    Grey values go through the modality LUT or rescale, then the VOI LUT or window (the first of several), then are
    inverted for MONOCHROME1; without a window the whole range of stored values is shown. Colours become luminance.

    Args:
        path: the file.
        window: apply the VOI LUT or window of the file.
        refuse_burned_in: refuse files that say that annotation is burned into the pixels.
        truncated: ``refuse`` a file that has fewer frames than it declares, or ``keep`` those that are whole.

    Raises:
        ImportError: where no decoder of the file's codec is installed.
        ValueError: where the file is no DICOM, has no pixels, or is truncated.
    """

    def __init__(
        self, path: str | Path, window: bool = True, refuse_burned_in: bool = False, truncated: str = "refuse"
    ) -> None:
        check_truncated(truncated)
        self.path = Path(path)
        self.window = window
        self._tables: dict[str, np.ndarray | None] = {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.header, self.frame_map = read_header(self.path)
        header, notes = self.header, []
        self._syntax = header.file_meta.TransferSyntaxUID
        require_decoder(self._syntax, self.path)
        self._video = self._open_video() if self._syntax in VIDEO_SYNTAXES else None
        frames = self._count_frames(truncated, notes)
        if frames == 1:
            notes.append("one frame only")
        times, timing = frame_times(header, frames, notes)
        if str(header.PhotometricInterpretation) not in GREY:
            notes.append(f"colour ({header.PhotometricInterpretation}) is read as luminance")
        flag = str(header.get("BurnedInAnnotation") or "").upper()
        if flag == "YES":
            if refuse_burned_in:
                raise ValueError(
                    f"{self.path}: BurnedInAnnotation must not be YES here; use a file without annotation, "
                    "or read with refuse_burned_in=False."
                )
            notes.append("annotation is burned into the pixels")
        spacing = numbers(header.get("PixelSpacing")) or numbers(header.get("ImagerPixelSpacing"))
        self.info = CineInfo(
            path=str(self.path),
            frames=frames,
            height=int(header.Rows),
            width=int(header.Columns),
            times_ms=times,
            timing=timing,
            angles=positioner_angles(header, frames, notes),
            spacing_mm=(spacing[0], spacing[1]) if len(spacing) == 2 and min(spacing) > 0 else None,
            burned_in={"YES": True, "NO": False}.get(flag),
            notes=notes,
        )

    def _open_video(self) -> VideoCine:
        """Open MPEG or HEVC, which runs through all fragments as one stream."""
        with self.frame_map.open(self.path) as stream:
            content = b"".join(self.frame_map.read(stream, index) for index in range(len(self.frame_map.pieces)))
        return VideoCine(self.path, content)

    def _count_frames(self, truncated: str, notes: list[str]) -> int:
        """Compare the frames that are there with those that the header declares."""
        declared = declared_frames(self.header)
        there = len(self.frame_map.pieces) if self._video is None else self._video.info.frames
        remedy = "the file is truncated or empty, copy or export it again."
        if there == 0:
            raise ValueError(
                f"{self.path}: the pixel data must hold a whole frame, it holds none "
                f"({declared or 0} declared); {remedy}"
            )
        if declared is None or declared < 1:
            if declared is not None:
                notes.append(f"{declared} frames declared, {there} found")
            return there
        if there < declared:
            if truncated == "refuse":
                raise ValueError(
                    f"{self.path}: the pixel data is truncated: {declared} frames declared, {there} whole ones found; "
                    "copy or export the file again, or read what is there with truncated='keep'."
                )
            notes.append(f"truncated: {there} of {declared} frames")
            return there
        if there > declared:
            notes.append(f"{declared} frames declared, {there} found; only the declared ones are read")
        return declared

    def decode(self, indices: Sequence[int], at_least: tuple[int, int] | None = None) -> Iterator[np.ndarray]:
        """See ``Cine.decode``; JPEG baseline is reduced while it is decoded."""
        if self._video is not None:
            yield from self._video.decode(indices, at_least)
            return
        with self.frame_map.open(self.path) as stream:
            for index in indices:
                try:
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")
                        frame = self._show(self.frame_map.read(stream, index), index, at_least)
                except Exception as error:
                    if str(self.path) in str(error):
                        raise
                    reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
                    raise ValueError(
                        f"{self.path}: frame {index} cannot be decoded: {reason}; copy or export the file again."
                    ) from error
                yield frame

    def _show(self, data: bytes, index: int, at_least: tuple[int, int] | None) -> np.ndarray:
        """Turn the bytes of a frame into display values, uint8 or float32 0..1."""
        expected = (int(self.header.Rows), int(self.header.Columns))
        if self._syntax == JPEGBaseline8Bit:
            codes, size = decode_jpeg(data, at_least)
        else:
            codes = decode_frame(self.header, data)
            size = codes.shape[:2]
        if size != expected:
            raise ValueError(
                f"{self.path}: all frames must have the size of the header, {expected}, frame {index} has {size}; "
                "export the file again."
            )
        if str(self.header.PhotometricInterpretation) not in GREY:
            return luminance(self.header, codes)
        table = self._table(index)
        return codes if table is None else np.take(table, codes)

    def _table(self, index: int) -> np.ndarray | None:
        """Return the display value of every code of a frame; ``None`` where an 8-bit code is the value itself."""
        nested = self.header.get("PerFrameFunctionalGroupsSequence")
        settings = display_settings(self.header, index if nested else 0) if nested or not self._tables else None
        key = str(settings) if nested else ""
        if key not in self._tables:
            table, problem = display_table(settings, self.window)
            if problem and problem not in self.info.notes:
                self.info.notes.append(problem)
            plain = len(table) == 256 and np.allclose(table, np.arange(256) / 255.0, atol=1e-6)
            self._tables[key] = None if plain else table
        return self._tables[key]


def read_header(path: Path) -> tuple[FileDataset, FrameMap]:
    """Read a file up to its pixels, and find the frames.

    Raises:
        ValueError: where it is no DICOM file or holds no pixels.
    """
    remedy = "copy or export the file again."
    try:
        with path.open("rb") as stream:
            header = pydicom.dcmread(stream, stop_before_pixels=True, force=_lacks_preamble(stream))
            syntax = header.file_meta.get("TransferSyntaxUID") or ImplicitVRLittleEndian
            header.file_meta.TransferSyntaxUID = syntax
            content = None
            if syntax == DeflatedExplicitVRLittleEndian:
                content = bytes(pydicom.dcmread(path).get("PixelData") or b"")
                stream = io.BytesIO(content)
                length: int | None = len(content) or None
            else:
                length = pixel_value(stream, syntax.is_little_endian, syntax.is_implicit_VR)
            _check_header(path, header, length)
            if length == UNDEFINED or syntax.is_compressed and content is None:
                extended = header.get("ExtendedOffsetTable")
                table = np.frombuffer(extended, dtype="<u8").tolist() if extended else []
                frames = encapsulated_frames(stream, declared_frames(header) or 0, table)
            else:
                frames = native_frames(stream, length, _frame_bits(header))
            frames.content = content
    except InvalidDicomError as error:
        raise ValueError(f"{path}: this is no DICOM file; give the original file, or convert it.") from error
    except (EOFError, OSError, AttributeError, KeyError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(f"{path}: the header is truncated or damaged ({error}); {remedy}") from error
    return header, frames


def _lacks_preamble(stream: BinaryIO) -> bool:
    """Whether a file begins at once with its first group, as old ones do."""
    head = stream.read(132)
    stream.seek(0)
    return head[128:] != b"DICM" and head[:2] in (b"\x02\x00", b"\x08\x00")


def _check_header(path: Path, header: Dataset, length: int | None) -> None:
    absent = [name for name in ("Rows", "Columns", "BitsAllocated") if header.get(name) in (None, "")]
    usual = {"PixelRepresentation": 0, "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2"}
    for name, value in {**usual, "BitsStored": header.get("BitsAllocated")}.items():
        if header.get(name) in (None, ""):
            setattr(header, name, value)
    if length is None or (length == 0 and not absent):
        what = str(header.get("Modality") or "unknown modality")
        raise ValueError(
            f"{path}: the file must hold pixel data, it holds none ({what}); give the image itself, "
            "not a report, a presentation state or a directory, or copy the file again where it is truncated."
        )
    if absent:
        raise ValueError(f"{path}: the header must describe the pixels, {absent} are absent; export the file again.")
    if not 1 < int(header.BitsStored) <= int(header.BitsAllocated) <= 16 or int(header.BitsAllocated) not in (8, 16):
        raise ValueError(
            f"{path}: pixels must have 8 to 16 bits, got {header.BitsStored} stored in {header.BitsAllocated}; "
            "export the file as 8 or 16 bits."
        )


def declared_frames(header: Dataset) -> int | None:
    """Read NumberOfFrames; ``None`` where the header has none (one frame, or a broken one)."""
    value = number(header.get("NumberOfFrames"))
    return None if value is None else int(value)


def _frame_bits(header: Dataset) -> int:
    samples = int(header.SamplesPerPixel)
    if str(header.PhotometricInterpretation) == "YBR_FULL_422":
        samples = 2
    return int(header.Rows) * int(header.Columns) * samples * int(header.BitsAllocated)
