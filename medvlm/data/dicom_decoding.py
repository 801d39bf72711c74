"""Decoding of single DICOM frames, and what is missing for it, under pydicom 3 and pydicom 2 alike."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np


def missing_decoder(syntax: Any) -> str:
    """What has to be installed to decode a transfer syntax; empty where nothing is missing."""
    if syntax is None or not syntax.is_compressed or syntax.is_deflated:
        return ""
    name = getattr(syntax, "name", str(syntax))
    known, available = _decoders(syntax)
    if not known:
        return f"a converter: {name} cannot be decoded here; store the video as MP4 or uncompressed DICOM"
    if available:
        return ""
    return f"the package for {name}: pip install 'medvlm-bundles[dicom]' (pylibjpeg and its plug-ins)"


def decode_one_frame(path: str | Path, index: int | None = None) -> np.ndarray:
    """Decode one frame of a file, and no other.

    Args:
        path: of a DICOM file.
        index: of the frame, from 0; none where the file holds one.

    Returns:
        Stored values, ``(rows, columns)`` or ``(rows, columns, 3)``.

    Raises:
        Exception: of whatever kind pydicom and its decoders raise on pixels that they cannot read.
    """
    pixels = _pixels()
    return _decode_with_pydicom_2(path, index) if pixels is None else pixels.pixel_array(path, index=index)


def _pixels() -> ModuleType | None:
    """The module that decodes frames one by one; none in pydicom 2."""
    try:
        from pydicom import pixels
    except ImportError:
        return None
    return pixels


def _decoders(syntax: Any) -> tuple[bool, bool]:
    """Whether pydicom knows a decoder of a syntax, and whether one is installed."""
    pixels = _pixels()
    if pixels is None:
        return _handlers(syntax)
    try:
        return True, pixels.get_decoder(syntax).is_available
    except NotImplementedError:
        return False, False


def _handlers(syntax: Any) -> tuple[bool, bool]:
    """The same of pydicom 2, whose handler of pylibjpeg names syntaxes that it lacks the plug-in of."""
    from pydicom import config

    fitting = [handler for handler in config.pixel_data_handlers if handler.supports_transfer_syntax(syntax)]
    there = [handler for handler in fitting if handler.is_available()]
    return bool(fitting), any(h.HANDLER_NAME != "pylibjpeg" or syntax in _pylibjpeg_syntaxes() for h in there)


def _pylibjpeg_syntaxes() -> set[str]:
    from pylibjpeg.utils import get_pixel_data_decoders

    return {str(uid) for uid in get_pixel_data_decoders()}


def _decode_with_pydicom_2(path: str | Path, index: int | None) -> np.ndarray:
    """Leave the one frame in the data set: ``pixel_array`` of pydicom 2 decodes all that it finds."""
    import pydicom
    from pydicom.encaps import encapsulate, generate_pixel_data_frame

    dataset = pydicom.dcmread(path)
    if index is not None:
        syntax, frames = dataset.file_meta.TransferSyntaxUID, int(dataset.NumberOfFrames)
        if syntax.is_compressed and not syntax.is_deflated:
            found = next(islice(generate_pixel_data_frame(dataset.PixelData, frames), index, None), None)
            if found is None:
                raise ValueError(f"there is no frame {index}")
            dataset.PixelData = encapsulate([found])
            dataset["PixelData"].is_undefined_length = True
        else:
            size = dataset.Rows * dataset.Columns * dataset.SamplesPerPixel * dataset.BitsAllocated // 8
            dataset.PixelData = dataset.PixelData[index * size : (index + 1) * size]
        dataset.NumberOfFrames = 1
    return dataset.pixel_array
