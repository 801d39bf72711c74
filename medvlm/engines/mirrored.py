"""Averaging the predictions of a case and of its left-right mirror image."""

from __future__ import annotations

from collections.abc import Callable

import torch
from monai.inferers import Inferer
from torch import Tensor

from medvlm.engines.uncertainty import spread_of


class MirroredInferer(Inferer):
    """Run another inferer on a case and on its left-right mirror image, and average the logits of the two.

    No other flip is used: the networks are trained on this one alone.

    Args:
        inferer: gives ``mask`` and ``tumour`` logits, or one of them.
        enabled: without it the inner inferer's answer is passed on as it is.
        axis: the axis to flip of ``(B, C, X, Y[, Z])`` in LPS orientation, where X is left-right.
    """

    def __init__(self, inferer: Inferer, enabled: bool = True, axis: int = 2) -> None:
        if axis < 2:
            raise ValueError(f"axis must name a spatial axis of (B, C, X, Y[, Z]), 2 or more, got {axis}.")
        self.inferer = inferer
        self.enabled = enabled
        self.axis = axis

    def __call__(self, inputs: Tensor, network: Callable, *args, **kwargs) -> dict[str, Tensor]:
        """Infer a batch of cases.

        Args:
            inputs: ``(B, C, X, Y[, Z])``.
            network: anything that the inner inferer takes.

        Returns:
            What the inner inferer gives, averaged over both images, and the spread between the two:
            ``uncertainty_tta`` ``(B, 1, X, Y[, Z])`` of the mask's probability, ``tumour_spread_tta`` ``(B,)``.
        """
        image = inputs.as_tensor() if hasattr(inputs, "as_tensor") else inputs
        plain = self.inferer(image, network)
        if not self.enabled:
            return plain
        other = dict(self.inferer(image.flip(self.axis), network))
        if "mask" in other:
            other["mask"] = other["mask"].flip(self.axis)
        spread = spread_of(plain, other)
        out = {key: torch.lerp(value, other[key].to(value), 0.5) for key, value in plain.items()}
        if "map" in spread:
            out["uncertainty_tta"] = spread["map"]
        if "tumour" in spread:
            out["tumour_spread_tta"] = spread["tumour"]
        return out
