"""Augmenting training samples without MONAI's record of it, which takes as long as the augmentation."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np
from monai.data import MetaTensor, get_track_meta, set_track_meta
from monai.transforms import Compose, Randomizable, Transform
from monai.transforms.traits import RandomizableTrait


class Untracked(Randomizable, Transform, RandomizableTrait):
    """Apply transforms to plain tensors: no affine, no file names, and no list of applied operations to invert.

    For the random transforms of training, whose samples are never taken back to the image's grid. The draws and the
    values are those of ``Compose``. Whether MONAI tracks is one switch for the whole process, so other threads must not
    transform meanwhile (loader processes may).

    Args:
        transforms: dictionary transforms, in order; a cache ends before them.
    """

    def __init__(self, transforms: Sequence[Callable]) -> None:
        self.inner = Compose(list(transforms))

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> Untracked:
        """Seed the inner transforms."""
        super().set_random_state(seed, state)
        self.inner.set_random_state(seed, state)
        return self

    def __call__(self, data: Mapping[Hashable, object]) -> dict[Hashable, object]:
        """Apply the transforms to one case; its own tensors are not changed unless a transform writes into them."""
        plain = {key: value.as_tensor() if isinstance(value, MetaTensor) else value for key, value in data.items()}
        before = get_track_meta()
        set_track_meta(False)
        try:
            return self.inner(plain)
        finally:
            set_track_meta(before)
