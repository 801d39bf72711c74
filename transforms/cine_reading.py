"""Opening any cine that a user has, and a reader of them for MONAI."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from monai.config import PathLike
from monai.data import ImageReader
from monai.utils import MetaKeys, ensure_tuple

from transforms.cine import Cine, check_truncated
from transforms.cine_dicom import DicomCine
from transforms.cine_stills import ARRAY_SUFFIXES, ArrayCine, PictureCine, in_reading_order
from transforms.cine_video import VIDEO_SUFFIXES, VideoCine
from transforms.photos import PHOTO_SUFFIXES

DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
KNOWN_SUFFIXES = DICOM_SUFFIXES + VIDEO_SUFFIXES + ARRAY_SUFFIXES + PHOTO_SUFFIXES


def open_cine(
    path: str | Path,
    window: bool = True,
    fps: float | None = None,
    refuse_burned_in: bool = False,
    truncated: str = "refuse",
) -> Cine:
    """Open a cine: DICOM, AVI/MP4, NPY/NPZ, a picture, or a folder of pictures.

    Args:
        path: file or folder.
        window: apply the VOI LUT or window of a DICOM file.
        fps: frames a second of what does not say it itself.
        refuse_burned_in: see ``DicomCine``.
        truncated: see ``DicomCine``.

    Returns:
        The cine, with its header read and no frame decoded.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: a video without PyAV.
        ValueError: it cannot be read; the message names the file and the remedy.
    """
    check_truncated(truncated)
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file; check the path, or prepare the datalist again.")
    if path.is_file() and path.stat().st_size == 0:
        raise ValueError(f"{path}: the file is empty (0 bytes); copy or download it again.")
    name = path.name.lower()
    try:
        if path.is_dir() or name.endswith(PHOTO_SUFFIXES):
            return PictureCine(path, fps)
        if name.endswith(ARRAY_SUFFIXES):
            return ArrayCine(path, fps)
        if name.endswith(VIDEO_SUFFIXES):
            return VideoCine(path, truncated=truncated)
        if name.endswith(DICOM_SUFFIXES) or _is_dicom(path):
            return DicomCine(path, window, refuse_burned_in, truncated)
    except (FileNotFoundError, ImportError):
        raise
    except Exception as error:
        if isinstance(error, ValueError) and str(path) in str(error):
            raise
        raise ValueError(
            f"{path}: cannot be read: {reason_of(error)}; "
            "if the file should be valid, open it in a viewer and save it again."
        ) from error
    raise ValueError(f"{path}: the format is unknown; convert it to one of {', '.join(KNOWN_SUFFIXES)}.")


def reason_of(error: Exception) -> str:
    """The last line of an error's message, or its type where it has none."""
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else type(error).__name__


def _is_dicom(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def views_of(source: str | Path | Sequence[str | Path]) -> list[str]:
    """List the cines of a study.

    Args:
        source: one path, or one path a view. A folder that holds nothing but pictures is one cine; any other folder
            stands for the cines in it, sub-folders included.

    Returns:
        Paths, in the order given, those of a folder in the order of the numbers in their names.
    """
    out: list[str] = []
    for path in [source] if isinstance(source, (str, Path)) else source:
        path = Path(path)
        if not path.is_dir():
            out.append(str(path))
            continue
        inside = sorted((p for p in path.iterdir() if not p.name.startswith(".")), key=in_reading_order)
        files = [p for p in inside if p.is_file()]
        if any(p.name.lower().endswith(PHOTO_SUFFIXES) for p in files) and not any(map(_is_cine_file, files)):
            out.append(str(path))
            continue
        out += [str(p) for p in files if _is_cine_file(p)]
        for folder in (p for p in inside if p.is_dir()):
            out += views_of(folder)
    return out


def _is_cine_file(path: Path) -> bool:
    name = path.name.lower()
    if name == "dicomdir" or name.endswith(PHOTO_SUFFIXES):
        return False
    return name.endswith(DICOM_SUFFIXES + VIDEO_SUFFIXES + ARRAY_SUFFIXES) or _is_dicom(path)


class CineReader(ImageReader):
    """MONAI reader of cines: ``(x, y, T)`` float32 in 0..1, time last.

    Args:
        window: see ``open_cine``.
        fps: see ``open_cine``.
        refuse_burned_in: see ``open_cine``.
        truncated: see ``open_cine``.
    """

    def __init__(
        self,
        window: bool = True,
        fps: float | None = None,
        refuse_burned_in: bool = False,
        truncated: str = "refuse",
    ) -> None:
        super().__init__()
        check_truncated(truncated)
        self.options = {"window": window, "fps": fps, "refuse_burned_in": refuse_burned_in, "truncated": truncated}

    def verify_suffix(self, filename: Sequence[PathLike] | PathLike) -> bool:
        """Whether all names end as a cine's."""
        return all(f"{name}".lower().endswith(KNOWN_SUFFIXES) for name in ensure_tuple(filename))

    def read(self, data: Sequence[PathLike] | PathLike) -> Cine | list[Cine]:
        """Open one cine or a list of them; no frame is decoded yet."""
        cines = [open_cine(f"{name}", **self.options) for name in ensure_tuple(data)]
        return cines if len(cines) > 1 else cines[0]

    def get_data(self, img: Cine | Sequence[Cine]) -> tuple[np.ndarray, dict]:
        """Decode all frames.

        Returns:
            ``(x, y, T)``, or ``(N, x, y, T)`` for N cines of one shape; the metadata, with the first cine's
            ``affine`` (pixel spacing in mm, 1 for time), ``times_ms`` and ``angles``.
        """
        cines = list(img) if isinstance(img, (list, tuple)) else [img]
        arrays = [cine.read().numpy().transpose(2, 1, 0) for cine in cines]  # x y T
        shapes = {array.shape for array in arrays}
        if len(shapes) > 1:
            raise ValueError(f"cines that are channels of one case must have one shape, got {sorted(shapes)}.")
        several = len(arrays) > 1
        info = cines[0].info
        rows, columns = info.spacing_mm or (1.0, 1.0)
        affine = np.diag([columns, rows, 1.0, 1.0])
        meta = {
            MetaKeys.AFFINE: affine,
            MetaKeys.ORIGINAL_AFFINE: affine.copy(),
            MetaKeys.SPATIAL_SHAPE: np.asarray(arrays[0].shape),
            MetaKeys.ORIGINAL_CHANNEL_DIM: 0 if several else float("nan"),
            "times_ms": info.times_ms,
            "angles": info.angles,
        }
        return (np.stack(arrays) if several else arrays[0]), meta
