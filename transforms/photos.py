"""Reading pictures (PNG, JPEG, BMP, TIFF) as one grey slice with a patient orientation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from monai.config import PathLike
from monai.data import ImageReader
from monai.utils import MetaKeys, SpaceKeys, ensure_tuple
from PIL import Image, ImageOps

PHOTO_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
GREY_MODES = ("L", "I", "I;16", "I;16B", "I;16L", "F")  # one number a pixel, read as it stands
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # RAS affine of an array whose x runs to the Left and y to the Posterior


def grey_values(picture: Image.Image, keep_indices: bool = False) -> np.ndarray:
    """Turn any Pillow picture into grey values, upright as its EXIF orientation says.

    Transparent pixels are seen against black. Colours become luminance (ITU-R 601-2). 16- and 32-bit greys keep
    their values.

    Args:
        picture: an opened picture of any mode.
        keep_indices: read the palette's indices instead of its colours, as a mask needs.

    Returns:
        float32 ``(rows, columns)``.
    """
    picture = ImageOps.exif_transpose(picture)
    if picture.mode == "1":
        picture = picture.convert("L")
    if picture.mode not in GREY_MODES and not (keep_indices and picture.mode == "P"):
        if picture.mode in ("LA", "PA", "La", "RGBA", "RGBa") or "transparency" in picture.info:
            layer = picture.convert("RGBA")
            picture = Image.new("RGBA", layer.size, (0, 0, 0, 255))
            picture.alpha_composite(layer)
        picture = picture.convert("RGB").convert("L")
    return np.asarray(picture, dtype=np.float32)


class PhotoReader(ImageReader):
    """MONAI reader of pictures: every colour mode becomes one grey slice ``(x, y, 1)`` in LPS orientation.

    MONAI's ``PILReader`` leaves colours as channels and gives no affine; here pictures and volumes look the same way
    after ``Orientation("LPS")``.

    Args:
        max_pixels: largest picture that is decoded; its size is read from the header first.
        keep_indices: see ``grey_values``.
    """

    def __init__(self, max_pixels: int = 50_000_000, keep_indices: bool = False) -> None:
        super().__init__()
        self.max_pixels = max_pixels
        self.keep_indices = keep_indices

    def verify_suffix(self, filename: Sequence[PathLike] | PathLike) -> bool:
        """Whether all names end as a picture's."""
        return all(f"{name}".lower().endswith(PHOTO_SUFFIXES) for name in ensure_tuple(filename))

    def read(self, data: Sequence[PathLike] | PathLike, **kwargs) -> np.ndarray | list[np.ndarray]:
        """Decode one picture or a list of them.

        Returns:
            float32 ``(rows, columns)``, or a list of such.

        Raises:
            ValueError: where a picture has more than ``max_pixels`` pixels or more than one page.
        """
        arrays = [self._decode(f"{name}", **kwargs) for name in ensure_tuple(data)]
        return arrays if len(arrays) > 1 else arrays[0]

    def _decode(self, name: str, **kwargs) -> np.ndarray:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # our own limit below has the clearer message
        try:
            picture = Image.open(name, **kwargs)
        finally:
            Image.MAX_IMAGE_PIXELS = limit
        with picture:
            width, height = picture.size
            if width * height > self.max_pixels:
                raise ValueError(
                    f"{name}: a picture must have at most {self.max_pixels} pixels, got {width} x {height}; "
                    "scale it down, or crop it to the head."
                )
            pages = getattr(picture, "n_frames", 1)
            if pages > 1:
                raise ValueError(
                    f"{name}: a picture must have one page, got {pages}; save one page as PNG, or the stack as NIfTI."
                )
            return grey_values(picture, self.keep_indices)

    def get_data(self, img: np.ndarray | Sequence[np.ndarray]) -> tuple[np.ndarray, dict]:
        """Put decoded pictures into MONAI's axis order.

        Returns:
            The array, ``(x, y, 1)`` or ``(N, x, y, 1)`` for N pictures, and its metadata with the affine.
        """
        arrays = [array.T[..., None] for array in (img if isinstance(img, list) else [img])]
        shapes = {array.shape for array in arrays}
        if len(shapes) > 1:
            raise ValueError(f"pictures that are channels of one case must have one size, got {sorted(shapes)}.")
        several = len(arrays) > 1
        meta = {
            MetaKeys.AFFINE: LPS.copy(),
            MetaKeys.ORIGINAL_AFFINE: LPS.copy(),
            MetaKeys.SPATIAL_SHAPE: np.asarray(arrays[0].shape),
            MetaKeys.SPACE: SpaceKeys.RAS,
            MetaKeys.ORIGINAL_CHANNEL_DIM: 0 if several else float("nan"),
        }
        return (np.stack(arrays) if several else arrays[0]), meta
