"""XA DICOM, classic and enhanced: single frames decoded from their place in the file, and shown as a viewer does."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.errors import InvalidDicomError
from pydicom.filebase import DicomBytesIO
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit

from transforms.cine import Cine, CineInfo
from transforms.cine_dicom_frames import UNDEFINED, FrameMap, encapsulated_frames, native_frames, pixel_value
from transforms.cine_dicom_tags import frame_times, group, number, numbers, positioner_angles

logger = logging.getLogger(__name__)

GREY = ("MONOCHROME1", "MONOCHROME2")
LIBJPEG = (("libjpeg", "gdcm"), "pylibjpeg pylibjpeg-libjpeg")
OPENJPEG = (("openjpeg", "gdcm", "PIL"), "pylibjpeg pylibjpeg-openjpeg")
DECODERS = {  # transfer syntax: modules of which one is needed, packages to install
    "1.2.840.10008.1.2.4.51": LIBJPEG,
    "1.2.840.10008.1.2.4.57": LIBJPEG,
    "1.2.840.10008.1.2.4.70": LIBJPEG,
    "1.2.840.10008.1.2.4.80": LIBJPEG,
    "1.2.840.10008.1.2.4.81": LIBJPEG,
    "1.2.840.10008.1.2.4.90": OPENJPEG,
    "1.2.840.10008.1.2.4.91": OPENJPEG,
    "1.2.840.10008.1.2.4.201": (("openjpeg",), "pylibjpeg pylibjpeg-openjpeg"),
    "1.2.840.10008.1.2.4.202": (("openjpeg",), "pylibjpeg pylibjpeg-openjpeg"),
    "1.2.840.10008.1.2.4.203": (("openjpeg",), "pylibjpeg pylibjpeg-openjpeg"),
}
BUILT_IN = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.5")
VIDEO = tuple(f"1.2.840.10008.1.2.4.{n}" for n in range(100, 109))


class DicomCine(Cine):
    """A DICOM file with one or more frames.

    Grey values go through the modality LUT or rescale, then the VOI LUT or window (the first of several), then are
    inverted for MONOCHROME1; without a window the whole range of stored values is shown. Colours become luminance.

    Args:
        path: the file.
        window: apply the VOI LUT or window of the file.
        refuse_burned_in: refuse files that say that annotation is burned into the pixels.
        truncated: ``refuse`` a file that ends early, or ``keep`` its whole frames.

    Raises:
        ImportError: where no decoder of the file's codec is installed.
        ValueError: where the file is no DICOM, has no pixels, or is truncated.
    """

    def __init__(
        self, path: str | Path, window: bool = True, refuse_burned_in: bool = False, truncated: str = "refuse"
    ) -> None:
        if truncated not in ("refuse", "keep"):
            raise ValueError(f"truncated must be 'refuse' or 'keep', got {truncated!r}.")
        self.path = Path(path)
        self.window = window
        self._tables: dict[int, np.ndarray] = {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.header, self.frame_map = read_header(self.path)
        header, notes = self.header, []
        self.syntax = str(header.file_meta.TransferSyntaxUID)
        require_decoder(self.syntax, self.path)
        frames = self._count_frames(truncated, notes)
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

    def _count_frames(self, truncated: str, notes: list[str]) -> int:
        """Compare the frames that are there with those that the header declares."""
        declared = declared_frames(self.header)
        there = len(self.frame_map.pieces)
        if there == 0:
            raise ValueError(
                f"{self.path}: the pixel data must hold a whole frame, it holds none "
                f"({declared} declared); the file is truncated or empty, copy or export it again."
            )
        if declared is None or declared < 1:
            if declared is not None:
                notes.append(f"{declared} frames declared, {there} found")
            return there
        if there < declared:
            if truncated == "refuse" or self.frame_map.complete:
                raise ValueError(
                    f"{self.path}: the pixel data is truncated: {declared} frames declared, {there} whole ones found; "
                    "copy or export the file again."
                )
            notes.append(f"truncated: {there} of {declared} frames")
            return there
        return declared

    def decode(self, indices: Sequence[int], at_least: tuple[int, int] | None = None) -> list[np.ndarray]:
        """See ``Cine.decode``; JPEG baseline is reduced while it is decoded."""
        out = []
        with self.frame_map.open(self.path) as stream, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for index in indices:
                data = self.frame_map.read(stream, index)
                try:
                    out.append(self._grey(data, index, at_least))
                except ValueError:
                    raise
                except Exception as error:
                    reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
                    raise ValueError(
                        f"{self.path}: frame {index} cannot be decoded: {reason}; copy or export the file again."
                    ) from error
        return out

    def _grey(self, data: bytes, index: int, at_least: tuple[int, int] | None) -> np.ndarray:
        """Turn the bytes of a frame into display values, float32 0..1."""
        header = self.header
        if self.syntax == JPEGBaseline8Bit:
            stored = self._jpeg(data, at_least)
        else:
            stored = decode_frame(header, data)
            shape = (int(header.Rows), int(header.Columns))
            if stored.shape[:2] != shape:
                raise ValueError(
                    f"{self.path}: frame {index} must have the size of the header, {shape}, got {stored.shape[:2]}; "
                    "export the file again."
                )
        if str(header.PhotometricInterpretation) not in GREY:
            return luminance(header, stored)
        table = self._table(index)
        return table[stored.astype(np.int64) - self._lowest]

    def _jpeg(self, data: bytes, at_least: tuple[int, int] | None) -> np.ndarray:
        with Image.open(io.BytesIO(data)) as picture:
            size = (picture.height, picture.width)
            expected = (int(self.header.Rows), int(self.header.Columns))
            if size != expected:
                raise ValueError(
                    f"{self.path}: all frames must have the size of the header, {expected}, got {size}; "
                    "export the file again."
                )
            if at_least is not None:
                picture.draft("L", (at_least[1], at_least[0]))
            return np.asarray(picture if picture.mode == "L" else picture.convert("L"))

    @property
    def _lowest(self) -> int:
        return -(1 << (int(self.header.BitsStored) - 1)) if int(self.header.PixelRepresentation) else 0

    def _table(self, index: int) -> np.ndarray:
        """Return the display value, 0..1, of every stored value of a frame."""
        key = index if self.header.get("PerFrameFunctionalGroupsSequence") else 0
        if key not in self._tables:
            self._tables[key] = display_table(self.header, key, self.window, self._lowest)
        return self._tables[key]


def read_header(path: Path) -> tuple[FileDataset, FrameMap]:
    """Read a file up to its pixels, and find the frames.

    Raises:
        ValueError: where it is no DICOM file or holds no pixels.
    """
    remedy = "copy or export the file again."
    try:
        with path.open("rb") as stream:
            header = pydicom.dcmread(stream, stop_before_pixels=True, force=False)
            syntax = header.file_meta.get("TransferSyntaxUID")
            if syntax is None:
                header.file_meta.TransferSyntaxUID = syntax = ImplicitVRLittleEndian
            content = None
            if syntax == DeflatedExplicitVRLittleEndian:
                content = bytes(pydicom.dcmread(path).get("PixelData") or b"")
                stream = DicomBytesIO(content)
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
    except (EOFError, OSError, AttributeError, KeyError, NotImplementedError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(f"{path}: the header is truncated or damaged ({error}); {remedy}") from error
    return header, frames


def _check_header(path: Path, header: Dataset, length: int | None) -> None:
    needed = ("Rows", "Columns", "BitsAllocated", "BitsStored", "PhotometricInterpretation", "SamplesPerPixel")
    absent = [name for name in needed if header.get(name) in (None, "")]
    if length is None or (length == 0 and not absent):
        what = str(header.get("Modality") or "unknown modality")
        raise ValueError(
            f"{path}: the file must hold pixel data, it holds none ({what}); give the image itself, "
            "not a report, a presentation state or a directory, or export the file again."
        )
    if absent:
        raise ValueError(f"{path}: the header must describe the pixels, {absent} are absent; export the file again.")
    if "PixelRepresentation" not in header:
        header.PixelRepresentation = 0
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


def require_decoder(syntax: str, path: Path) -> None:
    """Refuse a transfer syntax that nothing installed can decode.

    Raises:
        ImportError: with the package to install.
        ValueError: where nothing could.
    """
    name = pydicom.uid.UID(syntax).name
    if syntax in DECODERS:
        modules, packages = DECODERS[syntax]
        if not any(find_spec(module) for module in modules):
            raise ImportError(
                f"{path}: reading {name} needs one of the modules {', '.join(modules)}, none is installed; "
                f"`pip install {packages}`, or `pip install medvlm-bundles[dicom]`."
            )
    elif pydicom.uid.UID(syntax).is_compressed and syntax not in (*BUILT_IN, DeflatedExplicitVRLittleEndian):
        raise ValueError(f"{path}: the transfer syntax {name} cannot be read; export the file uncompressed.")


def decode_frame(header: Dataset, data: bytes) -> np.ndarray:
    """Decode one frame with pydicom.

    Args:
        header: describes the pixels.
        data: the frame's bytes, compressed or not.

    Returns:
        Stored values ``(rows, columns)`` or ``(rows, columns, samples)``, without bits above those that are stored.
    """
    one = Dataset()
    for name in (
        "Rows Columns BitsAllocated BitsStored HighBit PixelRepresentation SamplesPerPixel PhotometricInterpretation "
        "PlanarConfiguration"
    ).split():
        if header.get(name) is not None:
            one[name] = header[name]
    syntax = header.file_meta.TransferSyntaxUID
    plain = not syntax.is_compressed or syntax == DeflatedExplicitVRLittleEndian
    if plain and int(header.SamplesPerPixel) == 1:
        order = "<" if syntax.is_little_endian else ">"
        kind = "i" if int(header.PixelRepresentation) else "u"
        stored = np.frombuffer(data, dtype=f"{order}{kind}{int(header.BitsAllocated) // 8}")
        stored = stored.reshape(int(header.Rows), int(header.Columns))
    else:
        one.file_meta = FileMetaDataset()
        one.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if plain else syntax
        one.is_little_endian, one.is_implicit_VR = True, plain
        one.NumberOfFrames = 1
        one.PixelData = data if plain else encapsulate([data])
        one["PixelData"].is_undefined_length = not plain
        stored = one.pixel_array
    if stored.ndim == 3:
        return stored
    spare = int(header.BitsAllocated) - int(header.BitsStored)
    if spare and plain:
        shift = int(header.get("HighBit") or int(header.BitsStored) - 1) + 1 - int(header.BitsStored)
        stored = np.left_shift(stored, spare - shift) >> spare  # arithmetic for signed values: keeps the sign
    return stored


def luminance(header: Dataset, pixels: np.ndarray) -> np.ndarray:
    """Turn a decoded colour frame into luminance, float32 0..1."""
    if pixels.ndim == 2 and str(header.PhotometricInterpretation) == "PALETTE COLOR":
        from pydicom.pixel_data_handlers.util import apply_color_lut

        pixels = apply_color_lut(pixels, header)
        return (pixels[..., :3] @ np.array([0.299, 0.587, 0.114])).astype(np.float32) / np.iinfo(pixels.dtype).max
    top = float((1 << int(header.BitsStored)) - 1)
    if pixels.ndim == 2:
        return pixels.astype(np.float32) / top
    return (pixels[..., :3].astype(np.float32) @ np.array([0.299, 0.587, 0.114], dtype=np.float32)) / top


def display_table(header: Dataset, frame: int, window: bool, lowest: int) -> np.ndarray:
    """Return the display value of every stored value: modality LUT, VOI LUT or window, inversion.

    Args:
        header: the data set.
        frame: whose functional groups are used, in an enhanced file.
        window: apply the VOI LUT or window.
        lowest: the smallest stored value, that of entry 0.

    Returns:
        ``(2 ** bits,)`` float32 in 0..1.
    """
    from pydicom.pixel_data_handlers.util import apply_modality_lut, apply_voi_lut

    stored = np.arange(lowest, lowest + (1 << int(header.BitsStored)))
    kind = np.int16 if lowest else np.uint16
    scale = Dataset()
    names = "BitsStored BitsAllocated PixelRepresentation PhotometricInterpretation ModalityLUTSequence VOILUTSequence"
    for name in [*names.split(), *RESCALE, *WINDOW]:
        if header.get(name) not in (None, ""):
            scale[name] = header[name]
    for sequence, wanted in (("PixelValueTransformationSequence", RESCALE), ("FrameVOILUTSequence", WINDOW)):
        nested = group(header, sequence, frame)
        for name in wanted:
            if nested is not None and nested.get(name) not in (None, ""):
                scale[name] = nested[name]
    values = np.asarray(apply_modality_lut(stored.astype(kind), scale), dtype=np.float64)
    if window and ("VOILUTSequence" in scale or "WindowCenter" in scale):
        try:
            shown = np.asarray(apply_voi_lut(values if "VOILUTSequence" not in scale else values.astype(int), scale))
            values = shown if np.ptp(shown) > 0 else values
        except (ValueError, NotImplementedError, AttributeError, IndexError, KeyError) as error:
            logger.warning("the window of %s is passed over: %s", getattr(header, "filename", "a file"), error)
    span = float(np.ptp(values))
    table = ((values - values.min()) / (span or 1.0)).astype(np.float32)
    return 1.0 - table if str(header.PhotometricInterpretation) == "MONOCHROME1" else table


RESCALE = ("RescaleSlope", "RescaleIntercept", "RescaleType")
WINDOW = ("WindowCenter", "WindowWidth", "VOILUTFunction")
