"""Treating some known empty masks as unknown."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform

from transforms.conventions import check_probability


class RandForgetEmptyMaskd(RandomizableTransform, MapTransform):
    """Call the mask of a sample without tumour unknown, with a probability; its class stays known.

    Healthy images teach the mask little and cost a decoder as much as the others. With the loss and the network
    sparing samples of unknown mask (``skip_unknown_masks``), a step becomes cheaper and its mask loss belongs more to
    samples that show something.

    Args:
        keys: the label's key.
        prob: probability for each sample whose mask is known and empty; the others are never changed.
        known_key: where it is said whether the mask is known, 0 or 1.
    """

    def __init__(self, keys: KeysCollection = "label", prob: float = 0.5, known_key: str = "mask_known") -> None:
        check_probability(prob)
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob)
        self.known_key = known_key

    def __call__(self, data: Mapping[Hashable, object]) -> dict[Hashable, object]:
        """Set ``data[known_key]`` to 0, or leave it.

        Args:
            data: ``(R, *S)`` regions under each key.

        Returns:
            The same entries; the labels are not changed.
        """
        d = dict(data)
        self.randomize(None)  # a draw for every sample, so that what follows does not depend on the masks
        if self._do_transform and d.get(self.known_key, False):
            labels = [torch.as_tensor(d[key]) for key in self.key_iterator(d)]
            if not any(bool((label != 0).any()) for label in labels):
                d[self.known_key] = 0.0
        return d
