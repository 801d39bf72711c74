"""Fitting a case into a fixed in-plane size so that MONAI can undo it, and a safe change of spacing."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import GaussianSmooth, InvertibleTransform, MapTransform, Resize, Spacingd, SpatialPad
from monai.transforms.spatial.functional import resize
from monai.utils import ensure_tuple_rep

from transforms.conventions import like

LINEAR = {"linear", "bilinear", "trilinear"}
EXACT = {"nearest": "nearest-exact"}  # torch's "nearest" is off by half a pixel against linear interpolation
MODES = sorted(LINEAR | {"nearest", "nearest-exact", "area"})


class FitInPlane(InvertibleTransform):
    """Scale so that the longer of X and Y is ``size``, leave Z alone, and pad evenly to ``(size, size, Z)``.

    MONAI's ``Resize`` and ``SpatialPad`` do it and are traced, so that ``Invertd`` puts a prediction back.

    Args:
        size: in-plane side of the output, in voxels.
        mode: ``"bilinear"`` (smoothed before it shrinks), ``"nearest"`` for labels, or ``"area"``.
        value: what is padded with.
    """

    def __init__(self, size: int = 128, mode: str = "bilinear", value: float = 0.0) -> None:
        if not isinstance(size, int) or size < 1:
            raise ValueError(f"size must be a positive whole number, got {size!r}; 128 fits the default network.")
        if mode not in MODES:
            raise ValueError(f"mode must be one of {MODES}, got {mode!r}.")
        self.size = size
        self.mode = mode
        self.resizer = Resize(spatial_size=(size, size, -1))  # traced in its name, which makes it invert its own work
        self.padder = SpatialPad(spatial_size=(size, size, -1), value=value)

    def __call__(self, image: torch.Tensor, mode: str | None = None) -> torch.Tensor:
        """Fit one image.

        Args:
            image: ``(C, X, Y)`` or ``(C, X, Y, Z)``.
            mode: another mode for this call.

        Returns:
            float32 ``(C, size, size[, Z])``.
        """
        mode = mode or self.mode
        dims = image.ndim - 1
        if dims not in (2, 3):
            raise ValueError(f"FitInPlane needs (C, X, Y) or (C, X, Y, Z), got shape {tuple(image.shape)}.")
        x, y, *rest = image.shape[1:]
        scale = self.size / max(x, y)
        shape = (max(1, round(x * scale)), max(1, round(y * scale)), *rest)
        smooth = mode in LINEAR
        torch_mode = ("bilinear" if dims == 2 else "trilinear") if smooth else EXACT.get(mode, mode)
        image = resize(
            _smoothed(image, shape) if smooth else image,
            shape,
            torch_mode,
            align_corners=False if smooth else None,
            dtype=torch.float32,
            input_ndim=dims,
            anti_aliasing=False,
            anti_aliasing_sigma=None,
            lazy=False,
            transform_info=self.resizer.get_transform_info(),
        )
        self.padder.spatial_size = (self.size, self.size, -1)[:dims]
        return self.padder(image)

    def inverse(self, data: torch.Tensor) -> torch.Tensor:
        """Undo the padding, then the scaling."""
        return self.resizer.inverse(self.padder.inverse(data))


def _smoothed(image: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """What ``resize(anti_aliasing=True)`` does before it shrinks X and Y, in 2D: faster than along Z too."""
    sigma = [max(0.0, (old / new - 1) / 2) for old, new in zip(image.shape[1:3], shape[:2], strict=True)]
    if not any(sigma):
        return image
    plain = torch.as_tensor(image, dtype=torch.float32)
    plain = plain.as_tensor() if isinstance(plain, MetaTensor) else plain
    planes = plain.movedim(-1, 1).flatten(0, 1) if plain.ndim == 4 else plain
    planes = GaussianSmooth(sigma)(planes.contiguous())
    out = planes.unflatten(0, (len(plain), -1)).movedim(1, -1) if plain.ndim == 4 else planes
    return like(out.contiguous(), image)


class FitInPlaned(MapTransform, InvertibleTransform):
    """Dictionary form of ``FitInPlane``.

    Args:
        keys: images and labels.
        size: see ``FitInPlane``.
        mode: one mode, or one a key.
        allow_missing_keys: skip keys that the case does not have.
    """

    def __init__(
        self,
        keys: KeysCollection,
        size: int = 128,
        mode: str | Sequence[str] = "bilinear",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.modes = ensure_tuple_rep(mode, len(self.keys))
        self.fit = [FitInPlane(size, one) for one in self.modes][0]  # checks each mode

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        """Fit ``data[key]`` for each key."""
        d = dict(data)
        for key, mode in self.key_iterator(d, self.modes):
            d[key] = self.fit(d[key], mode)
        return d

    def inverse(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        """Undo it for each key."""
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.fit.inverse(d[key])
        return d


class SpacingSafed(Spacingd):
    """MONAI's ``Spacingd``, which in 1.6.1 fails where another key of the case starts with ``"<key>_"``.

    ``Spacingd`` takes every such key for a dictionary of metadata; those that are none are hidden from it here.
    """

    def __call__(self, data: Mapping[Hashable, torch.Tensor], lazy: bool | None = None) -> dict[Hashable, torch.Tensor]:
        """See ``Spacingd``."""
        prefixes = tuple(f"{key}_" for key in self.keys)
        others = {key: value for key, value in data.items() if key not in self.keys and not isinstance(value, dict)}
        hidden = {key: value for key, value in others.items() if isinstance(key, str) and key.startswith(prefixes)}
        shown = {key: value for key, value in data.items() if key not in hidden}
        done = super().__call__(shown, lazy)
        return {**{key: done.pop(key) if key in done else hidden[key] for key in data}, **done}
