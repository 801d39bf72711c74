"""From the bytes of one DICOM frame to what a viewer shows: decoding, LUTs, window, inversion, luminance."""

from __future__ import annotations

import io
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit, RLELossless

from transforms.cine_dicom_tags import group, numbers

try:  # pydicom 3
    from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut
except ImportError:  # pydicom 2
    from pydicom.pixel_data_handlers.util import apply_color_lut, apply_modality_lut, apply_voi_lut

PYDICOM_2 = pydicom.__version__.startswith("2.")
GREY = ("MONOCHROME1", "MONOCHROME2")
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R 601-2, as Pillow
RESCALE = ("RescaleSlope", "RescaleIntercept", "RescaleType")
WINDOW = ("WindowCenter", "WindowWidth", "VOILUTFunction")
LIBJPEG = (("libjpeg", "gdcm"), "pylibjpeg pylibjpeg-libjpeg")
OPENJPEG = (("openjpeg", "gdcm", "PIL"), "pylibjpeg pylibjpeg-openjpeg")
HIGH_THROUGHPUT = (("openjpeg",), "pylibjpeg pylibjpeg-openjpeg")
DECODERS = {  # end of the transfer syntax: modules of which one is needed, packages to install
    "4.51": LIBJPEG,
    "4.57": LIBJPEG,
    "4.70": LIBJPEG,
    "4.80": LIBJPEG,
    "4.81": LIBJPEG,
    "4.90": OPENJPEG,
    "4.91": OPENJPEG,
    "4.201": HIGH_THROUGHPUT,
    "4.202": HIGH_THROUGHPUT,
    "4.203": HIGH_THROUGHPUT,
}
VIDEO_SYNTAXES = tuple(f"1.2.840.10008.1.2.4.{n}" for n in range(100, 109))


def is_plain(syntax: UID) -> bool:
    """Whether frames lie uncompressed in the (possibly deflated) data set."""
    return not syntax.is_compressed or syntax == DeflatedExplicitVRLittleEndian


def require_decoder(syntax: UID, path: Path) -> None:
    """Refuse a transfer syntax that nothing installed can decode.

    Raises:
        ImportError: with the package to install.
        ValueError: where no package could.
    """
    if is_plain(syntax) or syntax in (JPEGBaseline8Bit, RLELossless, *VIDEO_SYNTAXES):
        return
    needed = DECODERS.get(str(syntax).removeprefix("1.2.840.10008.1.2."))
    if needed is None:
        raise ValueError(f"{path}: the transfer syntax {syntax.name} cannot be read; export the file uncompressed.")
    modules, packages = needed
    if not any(find_spec(module) for module in modules):
        raise ImportError(
            f"{path}: reading {syntax.name} needs one of the modules {', '.join(modules)}, none is installed; "
            f"`pip install {packages}`, or `pip install medvlm-bundles[dicom]`."
        )


def decode_jpeg(data: bytes, at_least: tuple[int, int] | None) -> tuple[np.ndarray, tuple[int, int]]:
    """Decode an 8-bit JPEG into luminance.

    Args:
        data: the picture.
        at_least: rows and columns that it may be reduced to, in halves, inside the decoder; ``None``: full size.

    Returns:
        uint8 ``(rows, columns)``, and the size before any reduction.
    """
    with Image.open(io.BytesIO(data)) as picture:
        size = (picture.height, picture.width)
        if at_least is not None:
            picture.draft("L", (at_least[1], at_least[0]))
        return np.asarray(picture if picture.mode == "L" else picture.convert("L")), size


def decode_frame(header: Dataset, data: bytes) -> np.ndarray:
    """Decode one frame, uncompressed or of any codec that pydicom knows.

    Args:
        header: describes the pixels.
        data: the frame's bytes.

    Returns:
        Codes of stored values, ``(rows, columns)`` unsigned (two's complement for signed ones) without bits above
        those stored; or ``(rows, columns, 3)`` for colours.
    """
    syntax = header.file_meta.TransferSyntaxUID
    bits, stored = int(header.BitsAllocated), int(header.BitsStored)
    shift = 0
    if is_plain(syntax) and int(header.SamplesPerPixel) == 1:
        order = "<" if syntax.is_little_endian else ">"
        pixels = np.frombuffer(data, dtype=f"{order}u{bits // 8}").reshape(int(header.Rows), int(header.Columns))
        high = header.get("HighBit")
        shift = max(0, int(high) + 1 - stored) if high is not None else 0
    else:
        pixels = _decode_with_pydicom(header, data, syntax)
        if pixels.ndim == 3:
            return pixels
        pixels = pixels.view(f"u{pixels.itemsize}")
    pixels = pixels >> shift if shift else pixels
    return pixels & ((1 << stored) - 1) if stored + shift < 8 * pixels.itemsize else pixels


def _decode_with_pydicom(header: Dataset, data: bytes, syntax: UID) -> np.ndarray:
    """Let pydicom decode a data set that holds nothing but this frame; the way that versions 2 and 3 share."""
    one = Dataset()
    names = (
        "Rows Columns BitsAllocated BitsStored HighBit PixelRepresentation SamplesPerPixel PhotometricInterpretation "
        "PlanarConfiguration"
    )
    for name in names.split():
        if header.get(name) is not None:
            one[name] = header[name]
    plain = is_plain(syntax)
    one.file_meta = FileMetaDataset()
    one.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if plain else syntax
    if PYDICOM_2:
        one.is_little_endian, one.is_implicit_VR = True, plain
    one.NumberOfFrames = 1
    one.PixelData = data if plain else encapsulate([data])
    one["PixelData"].VR = "OW" if plain else "OB"
    one["PixelData"].is_undefined_length = not plain
    pixels = one.pixel_array
    space = str(one.PhotometricInterpretation)
    if pixels.ndim == 3 and space.startswith("YBR_FULL") and PYDICOM_2:
        return np.repeat(pixels[..., :1], 3, axis=2)  # version 2 leaves YBR as it is: Y is the luminance
    return pixels


def luminance(header: Dataset, pixels: np.ndarray) -> np.ndarray:
    """Turn a decoded colour frame, or the luminance of a JPEG, into float32 0..1."""
    if str(header.PhotometricInterpretation) == "PALETTE COLOR":
        colours = apply_color_lut(pixels, header)
        return (colours[..., :3].astype(np.float32) @ LUMA) / float(np.iinfo(colours.dtype).max)
    grey = pixels.astype(np.float32) if pixels.ndim == 2 else pixels[..., :3].astype(np.float32) @ LUMA
    return grey / float((1 << int(header.BitsStored)) - 1)


def display_settings(header: Dataset, frame: int) -> Dataset:
    """Collect what decides how a frame is shown: its own groups (enhanced), those of all frames, the header's."""
    out = Dataset()
    out.file_meta = header.file_meta  # says how the LUTs are written
    if PYDICOM_2:
        out.is_little_endian = header.is_little_endian
    names = "BitsStored BitsAllocated PixelRepresentation PhotometricInterpretation VOILUTSequence".split()
    relation = str(header.get("PixelIntensityRelationship") or "").upper()
    if relation not in ("LOG", "DISP"):  # there the modality LUT leads back to X-ray intensity, not to the display
        names.append("ModalityLUTSequence")
    for name in [*names, *RESCALE, *WINDOW]:
        if header.get(name) not in (None, ""):
            out[name] = header[name]
    for sequence, wanted in (("PixelValueTransformationSequence", RESCALE), ("FrameVOILUTSequence", WINDOW)):
        nested = group(header, sequence, frame)
        for name in wanted:
            if nested is not None and nested.get(name) not in (None, ""):
                out[name] = nested[name]
    return out


def display_table(settings: Dataset, window: bool) -> tuple[np.ndarray, str]:
    """Compute the display value of every code: modality LUT or rescale, VOI LUT or window, inversion.

    Args:
        settings: see ``display_settings``.
        window: apply the VOI LUT or window.

    Returns:
        ``(2 ** BitsStored,)`` float32 in 0..1, and why the window was passed over, or ``""``.
    """
    bits, signed = int(settings.BitsStored), bool(int(settings.PixelRepresentation))
    lowest = -(1 << (bits - 1)) if signed else 0
    values = np.arange(lowest, lowest + (1 << bits)).astype(np.int16 if signed else np.uint16)
    values = np.asarray(apply_modality_lut(values, settings))
    problem, shown = "", None
    if window:
        try:
            if "VOILUTSequence" in settings:
                top = 2.0 ** int(settings.VOILUTSequence[0].LUTDescriptor[2]) - 1
                shown = np.asarray(apply_voi_lut(values, settings), dtype=np.float64) / top
            elif "WindowCenter" in settings and "WindowWidth" in settings:
                shown = windowed(values.astype(np.float64), settings)
            if shown is not None and not np.ptp(shown) > 0:
                raise ValueError("it shows nothing")
        except Exception as error:  # a window must not stop a study, however it is broken
            problem, shown = f"the window is not usable ({error})", None
    if shown is None:
        values = values.astype(np.float64)  # a range of int16 does not fit into int16
        shown = (values - float(values.min())) / (float(np.ptp(values)) or 1.0)
    shown = 1.0 - shown if str(settings.PhotometricInterpretation) == "MONOCHROME1" else shown
    return np.roll(shown, lowest).astype(np.float32), problem  # entry = code; negative values have the high codes


def windowed(values: np.ndarray, settings: Dataset) -> np.ndarray:
    """Apply the first window of a file (DICOM PS3.3 C.11.2.1.2 and C.11.2.1.3).

    Args:
        values: after the modality LUT.
        settings: with WindowCenter and WindowWidth, and VOILUTFunction where it is not LINEAR.

    Returns:
        The same shape, 0..1.

    Raises:
        ValueError: where the window is not a window.
    """
    centres, widths = numbers(settings.WindowCenter), numbers(settings.WindowWidth)
    if not centres or not widths or not widths[0] > 0:
        raise ValueError(f"centre {settings.WindowCenter}, width {settings.WindowWidth}")
    centre, width = centres[0], widths[0]
    function = str(settings.get("VOILUTFunction") or "LINEAR").upper()
    if function == "SIGMOID":
        return 1.0 / (1.0 + np.exp(-4.0 * (values - centre) / width))
    if function != "LINEAR_EXACT":
        centre, width = centre - 0.5, max(width - 1.0, 1e-6)
    return np.clip((values - centre) / width + 0.5, 0.0, 1.0)
