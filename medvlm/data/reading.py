"""Reading medical images to look at them: what is wrong with a file, in words that say what to do.

This is the reader of ``prepare`` and ``doctor``; training and inference read through MONAI.
"""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medvlm.data.dicom_slices import missing_slices

NIFTI = (".nii", ".nii.gz")
ITK = (".mha", ".mhd", ".nrrd", ".nhdr")
PICTURE = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
DICOM = (".dcm",)
READABLE = (*NIFTI, *ITK, *PICTURE, *DICOM)


class ReadError(ValueError):
    """A file that cannot be read as an image.

    Args:
        path: the file.
        problem: what is wrong with it.
        remedy: what the reader can do.
    """

    def __init__(self, path: str | Path, problem: str, remedy: str) -> None:
        self.path, self.problem, self.remedy = str(path), problem, remedy
        super().__init__(f"{path}: {problem}; remedy: {remedy}")


@dataclass(frozen=True)
class Picture:
    """An image in memory.

    Attributes:
        data: the array as stored: ``(X, Y, Z)`` or ``(X, Y, Z, C)`` for volumes, ``(H, W)`` or ``(H, W, C)`` for
            pictures.
        affine: ``(4, 4)``, voxel to RAS+ millimetres; ``None`` for pictures, which have none.
        mode: Pillow's mode of a picture, else ``None``.
    """

    data: np.ndarray
    affine: np.ndarray | None
    mode: str | None = None

    @property
    def spacing_mm(self) -> tuple[float, ...] | None:
        """Voxel size along each spatial axis, ``None`` for pictures."""
        return None if self.affine is None else tuple(float(n) for n in np.linalg.norm(self.affine[:3, :3], axis=0))


def suffix_of(path: str | Path) -> str:
    """The file's ending in lower case, ``.nii.gz`` taken as one."""
    name = Path(path).name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else Path(name).suffix


def is_picture(path: str | Path) -> bool:
    """Whether the name says PNG, JPEG, BMP or TIFF."""
    return suffix_of(path) in PICTURE


def read_image(path: str | Path) -> Picture:
    """Read one NIfTI, NRRD, MetaImage, picture, DICOM file or folder of one DICOM series.

    Raises:
        ReadError: the file is missing, empty, cut short, of another kind than its name says, or unreadable.
    """
    path = Path(path)
    suffix = suffix_of(path)
    _look_before_reading(path, suffix)
    try:
        if path.is_dir():
            return _read_dicom_folder(path)
        if suffix in NIFTI:
            return _read_nifti(path)
        if suffix in PICTURE:
            return _read_picture(path)
        return _read_itk(path)
    except ReadError:
        raise
    except MemoryError as error:
        raise ReadError(path, "it needs more memory than there is", "crop or resample it, or leave it out") from error
    except Exception as error:  # readers raise whatever they like on damaged files
        damage = _gzip_damage(path) if suffix == ".nii.gz" else None
        if damage is not None:
            what = f"the compressed data end early or are damaged ({damage})"
            raise ReadError(path, what, "copy or download it again") from error
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        remedy = "copy or download it again, or leave it out"
        raise ReadError(path, f"it cannot be read ({first_line})", remedy) from error


def _gzip_damage(path: Path) -> Exception | None:
    """What hinders unpacking a gzip file to its end, if anything; readers name it in many ways or not at all."""
    try:
        with gzip.open(path) as stream:
            while stream.read(1 << 22):
                pass
    except (EOFError, OSError, zlib.error) as error:
        return error
    return None


def _look_before_reading(path: Path, suffix: str) -> None:
    if not path.exists():
        raise ReadError(path, "there is no such file", "restore it, or prepare the datalist anew")
    if path.is_dir():
        return
    if suffix not in READABLE:
        raise ReadError(path, f"the ending {suffix!r} is not known", f"convert it to one of {', '.join(READABLE)}")
    try:
        with path.open("rb") as stream:
            head = stream.read(512)
    except OSError as error:
        raise ReadError(path, f"it cannot be opened ({error.strerror})", "mend its permissions") from error
    if not head:
        raise ReadError(path, "the file is empty (0 bytes)", "copy or download it again")
    if head.startswith(b"version https://git-lfs"):
        raise ReadError(path, "it is a git-lfs pointer, not the image", "fetch it with `git lfs pull`")
    if suffix == ".nii.gz" and not head.startswith(b"\x1f\x8b"):
        if head[344:347] in (b"n+1", b"ni1"):
            raise ReadError(path, "it is named .nii.gz but is not compressed", "rename it to .nii or compress it")
        kind = "text" if _looks_like_text(head) else "no gzip data"
        raise ReadError(path, f"it is named .nii.gz but holds {kind}", "replace it by the image of that name")


def _looks_like_text(head: bytes) -> bool:
    return all(byte in (9, 10, 13) or byte >= 32 for byte in head)


def _read_nifti(path: Path) -> Picture:
    import nibabel

    image = nibabel.load(path)
    return Picture(np.asanyarray(image.dataobj), np.asarray(image.affine, dtype=float))


def _read_itk(path: Path) -> Picture:
    import SimpleITK as sitk

    return _from_itk(sitk.ReadImage(str(path)), path)


def _read_dicom_folder(path: Path) -> Picture:
    import SimpleITK as sitk

    reader = sitk.ImageSeriesReader()
    series = reader.GetGDCMSeriesIDs(str(path))
    if not series:
        raise ReadError(path, "the folder holds no DICOM series", "give a folder of DICOM files or an image file")
    if len(series) > 1:
        raise ReadError(
            path, f"the folder holds {len(series)} DICOM series", "put each series into a folder of its own"
        )
    files = reader.GetGDCMSeriesFileNames(str(path), series[0])
    problem, remedy = missing_slices(path, files)
    if problem:
        raise ReadError(path, problem, remedy)
    reader.SetFileNames(files)
    return _from_itk(reader.Execute(), path)


def _from_itk(image, path: Path) -> Picture:
    import SimpleITK as sitk

    data = sitk.GetArrayFromImage(image)
    axes = image.GetDimension()
    if axes not in (2, 3, 4) or data.ndim > 4:
        raise ReadError(path, f"it has {data.ndim} axes", "split it into 3-D images")
    data = np.transpose(data, (*range(axes - 1, -1, -1), *range(axes, data.ndim)))  # to (X, Y, Z, C)
    affine, space = np.eye(4), min(axes, 3)
    direction = np.array(image.GetDirection()).reshape(axes, axes)
    affine[:space, :space] = (direction * np.array(image.GetSpacing()))[:space, :space]
    affine[:space, 3] = image.GetOrigin()[:space]
    return Picture(data, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine)  # LPS -> RAS


def _read_picture(path: Path) -> Picture:
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.load()
            mode = image.mode
            return Picture(np.asarray(image.convert("RGB") if mode in ("P", "CMYK", "YCbCr") else image), None, mode)
    except Image.DecompressionBombError as error:
        raise ReadError(path, f"the picture is huge ({error})", "scale it down, or leave it out") from error


def exif_orientation(path: str | Path) -> int:
    """The EXIF orientation of a picture: 1 (upright) to 8, and 1 for a file that states none or is no picture."""
    from PIL import Image

    if not is_picture(path):
        return 1
    try:
        with Image.open(path) as image:
            return int(image.getexif().get(0x0112, 1))
    except (OSError, ValueError, TypeError, Image.DecompressionBombError):
        return 1  # the row of the file itself says why it cannot be read


def read_picture_grey(path: str | Path) -> np.ndarray:
    """Read a picture as grey values; a transparent place counts as black.

    Returns:
        ``(H, W)`` float32; 8-bit pictures in 0..255, 16-bit ones in their own range.

    Raises:
        ReadError: as ``read_image``.
    """
    from PIL import Image

    picture = read_image(path)
    data = picture.data.astype(np.float32)
    if data.ndim == 2:
        return data * 255 if picture.mode == "1" else data
    if picture.mode in ("RGBA", "LA"):
        data = data[..., :-1] * (data[..., -1:] / 255)
    if data.shape[-1] == 1:
        return data[..., 0]
    return np.asarray(Image.fromarray(data[..., :3].clip(0, 255).astype(np.uint8)).convert("L"), dtype=np.float32)


def label_values(label: np.ndarray, path: str | Path) -> np.ndarray:
    """The distinct values of a label map, ascending.

    Raises:
        ReadError: values are not finite or not whole numbers: this is no label map.
    """
    nonzero = label[label != 0]
    values = np.unique(nonzero)
    if nonzero.size < label.size:
        values = np.unique(np.concatenate([values, np.zeros(1, dtype=values.dtype)]))
    if values.dtype.kind == "f" and not (np.isfinite(values).all() and (values == np.round(values)).all()):
        raise ReadError(
            path,
            f"the mask holds values that are no whole numbers (e.g. {values[values != np.round(values)][0]:.4g})",
            "give the label map, not an image or probabilities; resample labels with nearest neighbour",
        )
    return values.astype(np.int64)


def mask_of(picture: Picture, path: str | Path) -> np.ndarray:
    """The label map of an image that was read: one channel, whole numbers.

    Raises:
        ReadError: the mask has several differing channels.
    """
    data = picture.data
    if data.ndim == 3 and picture.affine is None:  # a picture with colour channels
        colours = data[..., :3]
        if data.shape[-1] > 1 and not (colours == colours[..., :1]).all():
            raise ReadError(path, "the mask is a colour picture", "save it as one grey channel of label values")
        return data[..., 0]
    if data.ndim == 4 and data.shape[-1] == 1:
        return data[..., 0]
    return data
