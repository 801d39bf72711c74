"""Reading one case: any image a user has, as ``(C, X, Y, Z)`` with an affine, or an error that names the remedy."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path

import nibabel
import numpy as np
import torch
from monai.data import ImageReader, ITKReader, MetaTensor, NibabelReader
from monai.transforms import MapTransform, Transform
from monai.utils import MetaKeys, SpaceKeys

from transforms.dicom_series import check_series
from transforms.photos import LPS, PHOTO_SUFFIXES, PhotoReader

__all__ = ["LPS", "LoadCase", "LoadCased", "PhotoReader"]

NIFTI_SUFFIXES = (".nii", ".nii.gz")
ITK_SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd", ".dcm", ".dicom", ".ima")
CHANNEL_SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")
GRID_TOLERANCE = 0.1  # voxels by which the corners of two grids that are called the same may differ
KINDS = ("image", "label")


def _check_file(path: Path) -> None:
    """Refuse what is missing, empty, or not what its name says."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file; check the path, or prepare the datalist again.")
    if path.is_dir():
        return
    if path.stat().st_size == 0:
        raise ValueError(f"{path}: the file is empty (0 bytes); copy or download it again.")
    if path.name.lower().endswith(".nii.gz"):
        with path.open("rb") as stream:
            head = stream.read(348)
        if not head.startswith(b"\x1f\x8b"):
            kind = "an uncompressed NIfTI file" if head[344:347] in (b"n+1", b"ni1") else f"starts with {head[:12]!r}"
            raise ValueError(
                f"{path}: the name says gzip, the content does not ({kind}); "
                "rename it to .nii if it is one, else download it again."
            )


def _is_dicom(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def _several_channels(path: Path) -> tuple[np.ndarray, dict] | None:
    """Read an NRRD or a MetaImage that holds several channels, as vectors or along a fourth axis.

    Returns:
        ``(X, Y, Z, C)`` and a dictionary with the ``(4, 4)`` affine; None for any other file.
    """
    if path.is_dir() or not path.name.lower().endswith(CHANNEL_SUFFIXES):
        return None
    import SimpleITK

    header = SimpleITK.ImageFileReader()
    header.SetFileName(str(path))
    header.ReadImageInformation()
    axes, vectors = header.GetDimension(), header.GetNumberOfComponents() > 1
    if (axes, vectors) not in ((3, True), (4, False)):
        return None
    image = SimpleITK.ReadImage(str(path))
    array = SimpleITK.GetArrayFromImage(image)  # Z Y X C, or C Z Y X
    array = array.transpose(2, 1, 0, 3) if vectors else array.transpose(3, 2, 1, 0)
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (axes, axes))[:3, :3] * image.GetSpacing()[:3]
    affine[:3, 3] = image.GetOrigin()[:3]
    return array, {MetaKeys.AFFINE: np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine}  # LPS to RAS


class LoadCase(Transform):
    """Read an image or a label, from one file or from one file a channel, into ``(C, X, Y, Z)``.

    NIfTI, NRRD, MetaImage, a DICOM file or a folder with a series, PNG, JPEG, BMP and TIFF; a 2D image gets Z = 1,
    and the last axis of a 4D file becomes the channels. Affines are in RAS world coordinates, as nibabel's.

    Args:
        kind: ``"image"`` (float32; not constant) or ``"label"`` (uint8; whole numbers 0 to 255, one channel).
        min_side: shortest X and Y, in voxels.
        max_voxels: largest number of voxels of one file.
    """

    def __init__(self, kind: str = "image", min_side: int = 8, max_voxels: int = 1_000_000_000) -> None:
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {KINDS}, got {kind!r}.")
        self.kind = kind
        self.min_side = min_side
        self.max_voxels = max_voxels

    def __call__(
        self, source: str | Path | Sequence[str | Path], names: Sequence[str] = (), keep: Sequence[int] | None = None
    ) -> MetaTensor:
        """Read one case.

        Args:
            source: a path, or one path a channel.
            names: names of the channels, for messages.
            keep: indices of the channels that are wanted; files of others are not opened, others of a 4D file are
                neither checked nor returned. None for all.

        Returns:
            ``(C, X, Y, Z)`` with ``affine``, ``filename_or_obj`` and the original shape in ``meta``.

        Raises:
            FileNotFoundError: where a file is missing.
            ValueError: where a file cannot be read or used; the message names it and the remedy.
        """
        sources = [source] if isinstance(source, (str, Path)) else source
        if "" in sources:
            raise ValueError("a case must name its file, got an empty path; is there such a case?")
        paths = [Path(p) for p in sources]
        if not paths:
            raise ValueError("a case must have at least one file, got an empty list; give its path or paths.")
        several = len(paths) > 1
        if keep is not None and several:
            paths, names = [paths[index] for index in keep], [names[index] for index in keep]
        loaded = [self._read_file(path) for path in paths]
        if keep is not None and not several:
            loaded, names = [_kept(*loaded[0], paths[0], names, keep)], [names[index] for index in keep]
        for path, (channels, _) in zip(paths, loaded, strict=True):
            if several and len(channels) != 1:
                raise ValueError(
                    f"{path}: each of the {len(paths)} files of a case must hold one channel, this one holds "
                    f"{len(channels)}; save each channel as a 3D file, or give the 4D file alone."
                )
        grid = loaded[0][0].shape[1:]
        affine = loaded[0][1]
        for path, (channels, other) in zip(paths[1:], loaded[1:], strict=True):
            check_same_grid(channels.shape[1:], other, path, grid, affine, paths[0])
        array = torch.empty((sum(len(channels) for channels, _ in loaded), *grid), dtype=torch.float32)
        np.concatenate([channels for channels, _ in loaded], out=array.numpy(), casting="unsafe")  # the only copy
        self._check_values(array, paths, names, tell_channel=len(array) > 1 or (keep is not None and not several))
        if self.kind == "label":
            array = array.round_().to(torch.uint8)
        meta = {  # the same keys for every format, so that mixed sources collate
            MetaKeys.ORIGINAL_AFFINE: affine.copy(),
            MetaKeys.SPATIAL_SHAPE: np.asarray(array.shape[1:]),
            MetaKeys.SPACE: SpaceKeys.RAS,
            MetaKeys.ORIGINAL_CHANNEL_DIM: 0,
            "filename_or_obj": str(paths[0]),
        }
        return MetaTensor(array, affine=torch.from_numpy(affine), meta=meta)

    def _read_one(self, path: Path) -> tuple[np.ndarray, dict]:
        reader = self._reader(path)
        return reader.get_data(reader.read(str(path)))

    def _reader(self, path: Path) -> ImageReader:
        name = path.name.lower()
        if path.is_dir():
            check_series(path)
            return ITKReader()
        if name.endswith(NIFTI_SUFFIXES):
            shape = nibabel.load(path).shape
            if np.prod(shape, dtype=np.float64) > self.max_voxels:
                raise ValueError(f"it must have at most {self.max_voxels} voxels, its header says {shape}")
            return NibabelReader(squeeze_non_spatial_dims=True)
        if name.endswith(PHOTO_SUFFIXES):
            return PhotoReader(keep_indices=self.kind == "label")
        if name.endswith(ITK_SUFFIXES) or _is_dicom(path):
            return ITKReader()
        known = ", ".join(NIFTI_SUFFIXES + ITK_SUFFIXES + PHOTO_SUFFIXES)
        raise ValueError(f"the format is unknown; convert it to one of {known}, or give a folder with a DICOM series")

    def _read_file(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        """Read one file into ``(C, X, Y, Z)`` of the file's own type, and its ``(4, 4)`` affine."""
        _check_file(path)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                array, meta = _several_channels(path) or self._read_one(path)
        except (EOFError, zlib.error) as error:
            raise ValueError(
                f"{path}: the compressed data is truncated or damaged ({error}); copy or download it again."
            ) from error
        except Exception as error:
            reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
            if str(path) in reason and isinstance(error, ValueError):
                raise
            raise ValueError(
                f"{path}: cannot be read: {reason}; if the file should be valid, open it in a viewer and save it again."
            ) from error
        if array.dtype.kind not in "biuf":
            raise ValueError(
                f"{path}: voxels must be real numbers, got {'colours' if array.dtype.fields else array.dtype}; "
                "save grey values, of complex numbers the magnitude."
            )
        while array.ndim > 4 and array.shape[-1] == 1:
            array = array.squeeze(-1)
        if not 2 <= array.ndim <= 4:
            raise ValueError(
                f"{path}: an image must have 2, 3 or 4 dimensions, got shape {tuple(array.shape)}; "
                "save it as one 3D file a channel."
            )
        array = array[..., None] if array.ndim == 2 else array
        array = np.moveaxis(array, -1, 0) if array.ndim == 4 else array[None]  # C X Y Z
        if min(array.shape[1:3]) < self.min_side or array.shape[3] < 1:
            raise ValueError(
                f"{path}: an image must be at least {self.min_side} x {self.min_side} voxels in plane, "
                f"got {tuple(array.shape[1:])}; give the original image, not a thumbnail or a crop."
            )
        return array, _square(np.asarray(meta[MetaKeys.AFFINE], dtype=np.float64))

    def _check_values(
        self, array: torch.Tensor, paths: Sequence[Path], names: Sequence[str], tell_channel: bool
    ) -> None:
        """Refuse NaN, infinity, constant images, and labels that are no label maps."""
        if self.kind == "label" and len(array) != 1:
            raise ValueError(f"{paths[0]}: a label must have one channel, got {len(array)}; save one map of values.")
        for index, channel in enumerate(array):
            where = f"{paths[index] if len(paths) == len(array) else paths[0]}"
            if tell_channel:
                where += f", channel {names[index] if index < len(names) else index}"
            low, high = channel.min().item(), channel.max().item()
            if not np.isfinite([low, high]).all():
                bad = int((~torch.isfinite(channel)).sum())
                raise ValueError(
                    f"{where}: voxels must be finite, {bad} of {channel.numel()} are NaN or infinite; "
                    "replace them by the background value."
                )
            if self.kind == "image" and low == high:
                what = "all zero" if low == 0 else f"constant ({low:g})"
                raise ValueError(f"{where}: the image is {what} and shows nothing; export it again, or drop the case.")
            if self.kind == "label" and (low < 0 or high > 255 or (channel - channel.round()).abs().max() > 1e-3):
                raise ValueError(
                    f"{where}: a label must hold whole numbers 0 to 255, got values from {low:g} to {high:g}; "
                    "are image and label swapped, or was the mask resampled with interpolation?"
                )


def _kept(
    channels: np.ndarray, affine: np.ndarray, path: Path, names: Sequence[str], keep: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """The wanted channels of a 4D file ``(C, X, Y, Z)``, and its affine."""
    if len(channels) != len(names):
        raise ValueError(
            f"{path}: each channel must have its own name, got {len(channels)} channels and names {list(names)}; "
            'give "channels" in file order.'
        )
    return channels[list(keep)], affine


def _square(affine: np.ndarray) -> np.ndarray:
    """A 4x4 affine from that of a 2D or 3D image."""
    out = np.eye(4)
    n = min(len(affine) - 1, 3)
    out[:n, :n], out[:n, 3] = affine[:n, :n], affine[:n, -1]
    return out


def check_same_grid(
    shape: Sequence[int],
    affine: np.ndarray,
    path: str | Path,
    other_shape: Sequence[int],
    other_affine: np.ndarray,
    other_path: str | Path,
) -> None:
    """Refuse two images that do not share their ``(X, Y, Z)`` shape and their ``(4, 4)`` affine.

    Raises:
        ValueError: with both files, and the shapes or the affines that differ.
    """
    remedy = "resample one of them onto the other's grid (nearest neighbour for a label)."
    if tuple(shape) != tuple(other_shape):
        shapes = f"{tuple(shape)} in {path}, {tuple(other_shape)} in {other_path}"
        raise ValueError(f"all files of a case must have one shape, got {shapes}; {remedy}")
    corners = np.stack(np.meshgrid(*[(0, n - 1) for n in shape], [1], indexing="ij"), axis=-1).reshape(-1, 4)  # 8 4
    shift = np.linalg.norm(corners @ (affine - other_affine).T, axis=1).max()
    if shift > GRID_TOLERANCE * np.linalg.norm(other_affine[:3, :3], axis=0).min():
        first, second = (np.array2string(a, precision=4, suppress_small=True) for a in (affine, other_affine))
        raise ValueError(
            f"all files of a case must have one affine, corners of {path} and {other_path} are {shift:.3g} mm apart: "
            f"{first} and {second}; {remedy}"
        )


class LoadCased(MapTransform):
    """Read the image and the label of a case, and say what is known about it.

    Args:
        keys: the image's key, and the label's.
        min_side: see ``LoadCase``.
        max_voxels: see ``LoadCase``.
        channels: names that the network uses: a case that has some of them is read without its others, whose files may
            be broken or missing then; one that has none is read whole, so that what follows can say what it has.
    """

    def __init__(
        self,
        keys: Sequence[str] = ("image", "label"),
        min_side: int = 8,
        max_voxels: int = 1_000_000_000,
        channels: Sequence[str] | None = None,
    ) -> None:
        super().__init__(keys)
        if len(self.keys) not in (1, 2):
            raise ValueError(f"keys must name the image, or the image and the label, got {self.keys}.")
        self.image_key = self.keys[0]
        self.label_key = self.keys[1] if len(self.keys) == 2 else None
        self.channels = None if channels is None else tuple(channels)
        self.load_image = LoadCase("image", min_side, max_voxels)
        self.load_label = LoadCase("label", min_side, max_voxels)

    def __call__(self, data: Mapping[Hashable, object]) -> dict[Hashable, object]:
        """Read one case of a datalist.

        Returns:
            The case with ``image`` ``(C, X, Y, Z)`` float32 and ``channels``, the names of what was read of it;
            ``label`` ``(1, X, Y, Z)`` uint8 on the same grid, zeros where the case has none; ``mask_known`` 0.0 or 1.0
            (1.0 also for ``empty_mask``); ``tumour`` 0 or 1, 0 where unknown; ``tumour_known`` 0.0 or 1.0;
            ``regions``, ``{}`` where the case has no label.
        """
        d = dict(data)
        source, names = d[self.image_key], list(d.get("channels") or ())
        if len(set(names)) != len(names):
            file = source if isinstance(source, (str, Path)) else source[0]
            raise ValueError(
                f"{file}: each channel of a case must have its own name, got {names}; correct \"channels\" of the "
                "case, in the order of its files or of the 4D file."
            )
        keep = [index for index, name in enumerate(names) if self.channels is None or name in self.channels]
        if 0 < len(keep) < len(names):
            image = d[self.image_key] = self.load_image(source, names, keep)
            d["channels"] = [names[index] for index in keep]
            source = source if isinstance(source, (str, Path)) else [source[index] for index in keep]
        else:
            image = d[self.image_key] = self.load_image(source, names)
        tumour = d.get("tumour")
        d["tumour"], d["tumour_known"] = int(tumour or 0), float(tumour is not None)
        if self.label_key is None:
            return d
        path = d.get(self.label_key)
        if path:
            label = self.load_label(path)
            first = source if isinstance(source, (str, Path)) else source[0]
            grids = [(x.shape[1:], x.affine.numpy()) for x in (label, image)]
            check_same_grid(*grids[0], path, *grids[1], first)
        else:
            label = MetaTensor(torch.zeros(1, *image.shape[1:], dtype=torch.uint8)).copy_meta_from(image)
        d[self.label_key] = label
        d["mask_known"] = float(bool(path) or bool(d.pop("empty_mask", False)))
        d["regions"] = d.get("regions") or {}
        return d
