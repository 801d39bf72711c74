"""Keeping z-scored images well-formed under MONAI's intensity augmentations."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Randomizable, Transform

from transforms.conventions import like


class ForegroundOnly(Randomizable, Transform):
    """Apply an intensity transform to the foreground of a z-scored image, and leave the background exactly 0.

    Blur and low resolution smear the foreground into the background, noise fills it, and contrast moves its 0
    somewhere else; a network must not see where an augmentation was at work.

    Args:
        transform: a MONAI array transform that keeps the shape, such as ``RandGaussianNoise``.
        positive: shift each channel so that its darkest foreground voxel is 0 before the transform, and back after
            it. A bias field or a gamma acts on such intensities in a scanner; on z-scored ones it would turn around
            the mean.
        renormalise: bring each channel's foreground back to mean 0 and standard deviation 1, which is what the
            normalisation at inference gives.
    """

    def __init__(
        self, transform: Callable[[torch.Tensor], torch.Tensor], positive: bool = False, renormalise: bool = False
    ) -> None:
        if not callable(transform) or isinstance(transform, MapTransform):
            raise TypeError(f"transform must be an array transform such as RandGaussianNoise(), got {transform!r}.")
        self.transform = transform
        self.positive = positive
        self.renormalise = renormalise

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> ForegroundOnly:
        """Seed the wrapped transform."""
        super().set_random_state(seed, state)
        if isinstance(self.transform, Randomizable):
            self.transform.set_random_state(seed, state)
        return self

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        """Transform one image.

        Args:
            image: ``(C, X, Y[, Z])``, background 0 in each channel.

        Returns:
            The same shape and type; channels that are all background stay 0.

        Raises:
            ValueError: where the wrapped transform changes the shape.
        """
        plain = image.as_tensor() if isinstance(image, MetaTensor) else image
        mask = plain != 0
        floor = [float(c[m].min()) if self.positive and m.any() else 0.0 for c, m in zip(plain, mask, strict=True)]
        shift = plain.new_tensor(floor).reshape(-1, *[1] * (plain.ndim - 1))
        out = torch.as_tensor(self.transform(torch.where(mask, plain - shift, 0)))
        out = (out.as_tensor() if isinstance(out, MetaTensor) else out).to(plain.dtype)
        if out.shape != plain.shape:
            raise ValueError(f"the wrapped transform must keep the shape {tuple(plain.shape)}, got {tuple(out.shape)}.")
        out = torch.where(mask, out + shift, 0)
        if self.renormalise:
            for channel, inside in zip(out, mask, strict=True):
                values = channel[inside]
                if values.numel() > 1 and values.std(correction=0) > 0:
                    channel[inside] = (values - values.mean()) / values.std(correction=0)
        return like(out, image)


class ForegroundOnlyd(Randomizable, MapTransform):
    """Dictionary form of ``ForegroundOnly``; each key draws its own parameters.

    Args:
        keys: images.
        transform: see ``ForegroundOnly``.
        positive: see ``ForegroundOnly``.
        renormalise: see ``ForegroundOnly``.
        allow_missing_keys: skip keys that the case does not have.
    """

    def __init__(
        self,
        keys: KeysCollection,
        transform: Callable[[torch.Tensor], torch.Tensor],
        positive: bool = False,
        renormalise: bool = False,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.apply = ForegroundOnly(transform, positive, renormalise)

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> ForegroundOnlyd:
        """Seed the wrapped transform."""
        super().set_random_state(seed, state)
        self.apply.set_random_state(seed, state)
        return self

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        """Transform ``data[key]`` for each key."""
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.apply(d[key])
        return d
