"""Drawing one axial slice of a case for 2D training."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import MapTransform, Randomizable, Transform

from transforms.intensity import is_foreground


def _slice(volume: torch.Tensor, index: int) -> torch.Tensor:
    """Slice ``index`` of ``(C, X, Y, Z)`` as ``(C, X, Y)``, its affine moved there and its history left behind."""
    if not isinstance(volume, MetaTensor):
        return volume[..., index].clone()
    affine = volume.affine.clone()
    affine[:3, 3] += index * affine[:3, 2]
    meta = {key: value for key, value in volume.meta.items() if key != "affine"}
    return MetaTensor(volume.as_tensor()[..., index].clone(), affine=affine, meta=meta)


class RandSlice(Randomizable, Transform):
    """Draw an axial slice, with tumour or without as asked.

    Slices whose foreground is small against the fullest slice's are never drawn, and slices with fewer than
    ``min_voxels`` tumour voxels, too few to be sure of, only where there is no other.

    Args:
        tumour_fraction: probability of a slice with tumour, where the volume has both.
        min_voxels: tumour voxels that make a slice one with tumour.
        min_foreground: smallest foreground area, as a share of the fullest slice's.
    """

    def __init__(self, tumour_fraction: float = 0.5, min_voxels: int = 10, min_foreground: float = 0.1) -> None:
        if not 0 <= tumour_fraction <= 1 or not 0 <= min_foreground <= 1:
            raise ValueError(
                "tumour_fraction and min_foreground must be between 0 and 1, "
                f"got {tumour_fraction} and {min_foreground}."
            )
        if min_voxels < 1:
            raise ValueError(f"min_voxels must be at least 1, got {min_voxels}.")
        self.tumour_fraction = tumour_fraction
        self.min_voxels = min_voxels
        self.min_foreground = min_foreground
        self.index = 0

    def randomize(self, image: torch.Tensor, label: torch.Tensor | None = None) -> None:
        """Draw ``index`` for ``(C, X, Y, Z)`` tensors; without a label, among all slices that show enough."""
        depth = image.shape[-1]
        draw, which = self.R.rand(), self.R.rand()  # the same number of draws for every case
        if depth == 1:
            self.index = 0
            return
        area = is_foreground(torch.as_tensor(image)).any(0).sum((0, 1)).cpu().numpy()  # Z
        enough = area >= max(1.0, self.min_foreground * area.max())
        pool = np.flatnonzero(enough) if enough.any() else np.arange(depth)
        if label is not None:
            voxels = (torch.as_tensor(label) != 0).any(0).sum((0, 1)).cpu().numpy()[pool]  # of each slice in the pool
            with_tumour, without = pool[voxels >= self.min_voxels], pool[voxels == 0]
            wanted, other = (with_tumour, without) if draw < self.tumour_fraction else (without, with_tumour)
            pool = next((found for found in (wanted, other) if len(found)), pool)
        self.index = int(pool[int(which * len(pool))])

    def __call__(
        self, image: torch.Tensor, label: torch.Tensor | None = None, randomize: bool = True
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Draw a slice of an image and of its label.

        Args:
            image: ``(C, X, Y, Z)``, background 0.
            label: ``(R, X, Y, Z)`` regions, or None where they are unknown.
            randomize: draw anew.

        Returns:
            ``(C, X, Y)``, and ``(R, X, Y)`` or None.
        """
        if image.ndim != 4 or (label is not None and label.shape[1:] != image.shape[1:]):
            other = None if label is None else tuple(label.shape)
            raise ValueError(f"RandSlice needs (C, X, Y, Z) tensors of one size, got {tuple(image.shape)} and {other}.")
        if randomize:
            self.randomize(image, label)
        return _slice(image, self.index), None if label is None else _slice(label, self.index)


class RandSliced(Randomizable, MapTransform):
    """Dictionary form of ``RandSlice``; also corrects what is known about the slice's class.

    Where the mask is known, ``tumour`` becomes that of the slice. Where it is unknown, a slice of a volume with
    tumour may miss it, so that ``tumour_known`` becomes 0; a healthy volume has healthy slices, and a 2D image keeps
    its class.

    Args:
        keys: the image's key first, then the label's and those of other volumes.
        tumour_fraction: see ``RandSlice``.
        min_voxels: see ``RandSlice``.
        min_foreground: see ``RandSlice``.
        label_key: which key holds the regions.
    """

    def __init__(
        self,
        keys: Sequence[str] = ("image", "label"),
        tumour_fraction: float = 0.5,
        min_voxels: int = 10,
        min_foreground: float = 0.1,
        label_key: str = "label",
    ) -> None:
        super().__init__(keys)
        self.label_key = label_key
        self.draw = RandSlice(tumour_fraction, min_voxels, min_foreground)

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> RandSliced:
        """Seed the wrapped transform."""
        super().set_random_state(seed, state)
        self.draw.set_random_state(seed, state)
        return self

    def __call__(self, data: Mapping[Hashable, object]) -> dict[Hashable, object]:
        """Draw a slice: ``data[key]`` ``(C, X, Y, Z)`` becomes ``(C, X, Y)``."""
        d = dict(data)
        mask_known = bool(d.get("mask_known", self.label_key in d))
        volumes = {key: d[key] for key in self.keys}
        image = volumes[self.keys[0]]
        depth = image.shape[-1]
        self.draw.randomize(image, volumes.get(self.label_key) if mask_known else None)
        for key, volume in volumes.items():
            d[key], _ = self.draw(volume, randomize=False)
        if mask_known and self.label_key in d:
            d["tumour"], d["tumour_known"] = int(bool((d[self.label_key] != 0).any())), 1.0
        elif depth > 1 and d.get("tumour", 0) != 0:
            d["tumour_known"] = 0.0
        return d
