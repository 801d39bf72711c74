"""Leaving out specks that are too small to be a lesion."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform
from scipy import ndimage


class DropSmallComponents(Transform):
    """Lower the probabilities of small connected components of a volume to below the threshold.

    The probabilities inside such a component are capped just under the threshold, so that a map still shows that
    something was seen there. Pictures (one slice) are left as they are: they have no volume.

    Args:
        min_ml: components of a smaller volume are dropped; 0 keeps all.
        threshold: probability above which a voxel belongs to a component.

    Raises:
        ValueError: if a setting is out of range.
    """

    def __init__(self, min_ml: float = 0.5, threshold: float = 0.5) -> None:
        if min_ml < 0:
            raise ValueError(f"min_ml must not be negative, got {min_ml}; 0 keeps every component.")
        if not 0 < threshold < 1:
            raise ValueError(f"threshold must lie in (0, 1), got {threshold}.")
        self.min_ml, self.threshold = min_ml, threshold

    def __call__(self, probability: torch.Tensor) -> torch.Tensor:
        """Filter each region by itself.

        Args:
            probability: ``(R, X, Y, Z)``; a ``MetaTensor`` tells the voxel's size, else it is 1 mm.

        Returns:
            The same shape and type; 26-connected components below ``min_ml`` are capped.
        """
        if self.min_ml == 0 or probability.ndim != 4 or probability.shape[-1] == 1:
            return probability
        voxel_mm3 = float(probability.pixdim.prod()) if isinstance(probability, MetaTensor) else 1.0
        fewest = self.min_ml * 1000 / voxel_mm3
        out = probability.clone()
        for region in out:
            inside = torch.as_tensor(region).detach().cpu().numpy() > self.threshold
            labels, count = ndimage.label(inside, structure=np.ones((3, 3, 3)))
            small = np.flatnonzero(np.bincount(labels.ravel(), minlength=count + 1) < fewest)
            dropped = np.isin(labels, small[small > 0])
            if dropped.any():
                mask = torch.as_tensor(dropped, device=region.device)
                region[mask] = torch.clamp(region[mask], max=self.threshold * 0.99)
        return out


class DropSmallComponentsd(MapTransform):
    """Dictionary form of ``DropSmallComponents``.

    Args:
        keys: probabilities.
        min_ml: see ``DropSmallComponents``.
        threshold: see ``DropSmallComponents``.
        allow_missing_keys: skip keys that the case does not have.
    """

    def __init__(
        self, keys: KeysCollection, min_ml: float = 0.5, threshold: float = 0.5, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.drop = DropSmallComponents(min_ml, threshold)

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        """Filter ``data[key]`` for each key."""
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.drop(d[key])
        return d
