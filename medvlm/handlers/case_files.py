"""Files of one case's results: compressed NIfTI on the input's grid, hashes, a folder that is whole or absent."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nibabel
import numpy as np

from medvlm.atomic import OLDER, claimed
from medvlm.write_errors import check_writable, clear_error


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Give a temporary neighbour to write into; it takes the place of ``target`` when all went well.

    Raises:
        OSError: When something cannot be written; the temporary folder is gone then, and an older ``target`` stays.
    """
    parent = check_writable(target.parent)
    with claimed(parent) as temporary:
        try:
            yield temporary
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(temporary, 0o777 & ~umask)  # mkdtemp's 0700 would hide the case from the user's group
            if target.exists():
                with claimed(parent, OLDER) as older:
                    os.replace(target, older / target.name)
                    os.replace(temporary, target)
                    shutil.rmtree(older)
            else:
                os.replace(temporary, target)
        except OSError as error:
            shutil.rmtree(temporary, ignore_errors=True)
            raise clear_error(error, target) from error
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file, or of a folder's files in the order of their names.

    Raises:
        OSError: When something cannot be read.
    """
    path = Path(path)
    digest = hashlib.sha256()
    files = sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]
    for file in files:
        if path.is_dir():
            digest.update(file.name.encode())
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def input_header(path: str | Path) -> nibabel.Nifti1Header | None:
    """Header of a NIfTI input, whose codes and units the outputs take over; None for other formats."""
    if not str(path).lower().endswith((".nii", ".nii.gz")):
        return None
    image = nibabel.load(path)
    return image.header if isinstance(image.header, nibabel.Nifti1Header) else None


def save_nifti(
    path: str | Path,
    data: np.ndarray,
    affine: np.ndarray,
    like: nibabel.Nifti1Header | None = None,
    slope: float = 1.0,
) -> None:
    """Write a uint8 NIfTI, compressed at gzip level 1, the same bytes each time.

    Args:
        path: ends in ``.nii.gz``.
        data: uint8, ``(X, Y, Z)`` or ``(X, Y, Z, R)``.
        affine: voxel to RAS millimetres ``(4, 4)``.
        like: header of the input; its codes and units are taken over, and its affine where it is the same grid.
        slope: what readers multiply the stored values with.
    """
    image = nibabel.Nifti1Image(data, affine)
    if like is not None and np.allclose(like.get_best_affine(), affine, atol=1e-4):
        image.header.set_xyzt_units(*like.get_xyzt_units())
        image.header.set_qform(like.get_qform(), int(like["qform_code"]))
        image.header.set_sform(like.get_sform(), int(like["sform_code"]))
        image = nibabel.Nifti1Image(data, like.get_best_affine(), image.header)
    image.header.set_data_dtype(np.uint8)
    image.header.set_slope_inter(slope, 0)
    with open(path, "wb") as stream, gzip.GzipFile("", "wb", 1, stream, mtime=0) as packed:
        packed.write(image.to_bytes())
