"""Inferers that run a network with named heads over one whole case."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as functional
from monai.data import MetaTensor
from monai.inferers import Inferer, sliding_window_inference
from torch import Tensor

POOLINGS = ("top_mean", "max", "mean")
ABSENT_LOGIT = -20.0
"""Mask logit of the background and of slices that were not shown to the network: a probability of 2e-9."""


def named_heads(network: Callable, image: Tensor) -> dict[str, Tensor]:
    """Run ``network`` and name its outputs.

    A network (or a runtime back end) with a ``heads`` method is asked for its heads; any other is called, and a bare
    tensor that it returns is taken for the mask.

    Args:
        image: ``(B, C, *S)``.

    Returns:
        ``mask``: logits ``(B, R, *S)``; ``tumour``: logits ``(B, K)``; only the heads that are on.
    """
    out = network.heads(image) if hasattr(network, "heads") else network(image)
    return dict(out) if isinstance(out, Mapping) else {"mask": out}


def pool_slices(logits: Tensor, pooling: str = "top_mean", top_k: int = 3) -> tuple[Tensor, Tensor]:
    """Pool the class logits of a case's slices into the logits of the case.

    ``top_mean`` averages the class probabilities of the ``top_k`` slices that look most like a tumour (the highest
    ``1 - p[0]``), ``max`` takes the one highest, ``mean`` averages all. A case with fewer slices uses those it has,
    so that one picture keeps its own probability.

    Args:
        logits: ``(N, K)``, one row a slice, class 0 = no tumour.
        pooling: one of ``top_mean``, ``max``, ``mean``.
        top_k: number of slices of ``top_mean``.

    Returns:
        The logarithm of the pooled probabilities ``(K,)`` (so that softmax gives the pooled probabilities), and the
        indices of the slices that made it.
    """
    log_probability = functional.log_softmax(logits.float(), dim=1)
    count = {"top_mean": min(top_k, len(logits)), "max": 1, "mean": len(logits)}[pooling]
    chosen = torch.argsort(log_probability[:, 0])[:count]  # least like "no tumour" first
    return torch.logsumexp(log_probability[chosen], dim=0) - math.log(count), chosen


class SliceInferer(Inferer):
    """Run a 2D network over the slices of a volume, and pool the slices' classes into the case's class.

    Slices without any non-zero voxel are not shown to the network: their mask logit is -20 and their class is
    "no tumour" with the same certainty. The mask logit of the other slices' background (exactly 0 in every channel)
    is -20 too: a tumour lies in the head. Slices whose foreground is smaller than ``min_foreground`` times that of the
    largest slice (the tips of the head) are segmented, but take no part in the case's class.

    Args:
        batch_size: slices a forward pass.
        pooling: how the slices' probabilities become the case's; see :func:`pool_slices`.
        top_k: number of slices of ``top_mean``.
        axis: the spatial axis along which to slice, -1 for the last; a case that has one slice is a picture.
        features: also return the network's pooled features of the slices that made the case's class.
        min_foreground: fraction of the largest slice's foreground below which a slice is left out of the pooling.

    Raises:
        ValueError: When a setting is out of range, or a case has no foreground at all.
    """

    def __init__(
        self,
        batch_size: int = 16,
        pooling: str = "top_mean",
        top_k: int = 3,
        axis: int = -1,
        features: bool = False,
        min_foreground: float = 0.1,
    ) -> None:
        if pooling not in POOLINGS:
            raise ValueError(f"pooling must be one of {', '.join(POOLINGS)}, got {pooling!r}.")
        if batch_size < 1 or top_k < 1:
            raise ValueError(f"batch_size and top_k must be at least 1, got {batch_size} and {top_k}.")
        if not 0 <= min_foreground < 1:
            raise ValueError(f"min_foreground must lie in [0, 1), got {min_foreground}.")
        if axis not in (-3, -2, -1, 0, 1, 2):
            raise ValueError(f"axis must name one of three spatial axes (-3..2), got {axis}.")
        self.batch_size = batch_size
        self.pooling = pooling
        self.top_k = top_k
        self.axis = axis % 3
        self.features = features
        self.min_foreground = min_foreground

    @property
    def rule(self) -> str:
        """The pooling in words, for manifests and reports."""
        words = {
            "top_mean": f"mean of the {self.top_k} highest slice probabilities",
            "max": "highest slice probability",
            "mean": "mean of the slice probabilities",
        }
        return words[self.pooling]

    def __call__(self, inputs: Tensor, network: Callable, *args, **kwargs) -> dict[str, Tensor]:
        """Infer a batch of cases.

        Args:
            inputs: ``(B, C, X, Y, Z)``, or ``(B, C, X, Y)`` for pictures; the background is exactly 0.
            network: with ``heads(batch (N, C, X, Y))``, or callable.

        Returns:
            ``mask``: logits ``(B, R, X, Y, Z)``; ``tumour``: logits ``(B, K)`` of the case; ``slice_tumour``: logits
            ``(B, Z, K)``; with ``features``: ``features`` ``(B, F)``. A head that the network lacks is left out.
        """
        image = inputs.as_tensor() if isinstance(inputs, MetaTensor) else inputs
        if image.ndim not in (4, 5):
            raise ValueError(f"SliceInferer needs (B, C, X, Y, Z) or (B, C, X, Y), got {tuple(image.shape)}.")
        flat = image.ndim == 4
        cases = [self._case(case.unsqueeze(-1) if flat else case, network) for case in image]
        out = {key: torch.stack([case[key] for case in cases]) for key in cases[0]}
        if flat and "mask" in out:
            out["mask"] = out["mask"].squeeze(-1)
        return out

    def _case(self, image: Tensor, network: Callable) -> dict[str, Tensor]:
        """Infer one case ``(C, X, Y, Z)``."""
        slices = image.movedim(self.axis + 1, 0)  # (Z, C, X, Y)
        inside = (slices != 0).any(dim=1, keepdim=True)  # (Z, 1, X, Y)
        foreground = inside.flatten(1).sum(dim=1)  # (Z,)
        kept = torch.nonzero(foreground).flatten()
        if len(kept) == 0:
            raise ValueError(f"a case of shape {tuple(image.shape)} holds only zeros; check its image file.")
        parts: dict[str, list[Tensor]] = {}
        for index in kept.split(self.batch_size):
            for key, value in named_heads(network, slices[index].contiguous()).items():
                parts.setdefault(key, []).append(value)
        heads = {key: torch.cat(value) for key, value in parts.items()}
        out: dict[str, Tensor] = {}
        if "mask" in heads:
            mask = heads["mask"].new_full((len(slices), *heads["mask"].shape[1:]), ABSENT_LOGIT)
            mask[kept] = heads["mask"].masked_fill(~inside[kept], ABSENT_LOGIT)
            out["mask"] = mask.movedim(0, self.axis + 1)  # (R, X, Y, Z)
        pooled = torch.nonzero(foreground[kept] >= self.min_foreground * foreground.max()).flatten()
        if "tumour" in heads:
            logits = heads["tumour"].float()
            every = logits.new_full((len(slices), logits.shape[1]), ABSENT_LOGIT)
            every[:, 0] = -ABSENT_LOGIT
            every[kept] = logits
            out["slice_tumour"] = every
            out["tumour"], chosen = pool_slices(logits[pooled], self.pooling, self.top_k)
            pooled = pooled[chosen]
        if self.features:
            chunks = [network.pooled_features(slices[index]) for index in kept[pooled].split(self.batch_size)]
            out["features"] = torch.cat(chunks).mean(dim=0)
        return out


class VolumeInferer(Inferer):
    """Run a 3D network once over a whole crop.

    The crop (made by the preprocessing: the brain's box) is padded with zeros at its far ends to the network's
    divisor. The mask logit of the background (exactly 0 in every channel) becomes -20. Only a crop that is larger
    than ``limit`` is segmented in windows; its class is still computed once, on the whole crop, with the decoder
    switched off.

    Args:
        divisor: each side is padded to a multiple of it; the coarsest stride of the network's encoder.
        limit: largest sides (X, Y, Z) that are computed in one piece.
        overlap: overlap of the windows of a larger crop, 0 to 1.
        features: also return the network's pooled features.

    Raises:
        ValueError: When a setting is out of range.
    """

    rule = "one forward pass over the brain's crop"

    def __init__(
        self,
        divisor: int = 32,
        limit: Sequence[int] = (256, 256, 256),
        overlap: float = 0.25,
        features: bool = False,
    ) -> None:
        if divisor < 1:
            raise ValueError(f"divisor must be at least 1, got {divisor}.")
        if len(limit) != 3 or any(side < divisor or side % divisor for side in limit):
            raise ValueError(f"limit must be three multiples of the divisor {divisor}, got {tuple(limit)}.")
        if not 0 <= overlap < 1:
            raise ValueError(f"overlap must lie in [0, 1), got {overlap}.")
        self.divisor = divisor
        self.limit = tuple(limit)
        self.overlap = overlap
        self.features = features

    def __call__(self, inputs: Tensor, network: Callable, *args, **kwargs) -> dict[str, Tensor]:
        """Infer a batch of volumes.

        Args:
            inputs: ``(B, C, X, Y, Z)``, cropped to the brain.
            network: with ``heads(batch)``, or callable; crops above ``limit`` are classified by ``classify(batch)``
                where the network has it and its class head is on.

        Returns:
            ``mask``: logits ``(B, R, X, Y, Z)``; ``tumour``: logits ``(B, K)``; with ``features``: ``features``
            ``(B, F)``. A head that the network lacks is left out.
        """
        image = inputs.as_tensor() if isinstance(inputs, MetaTensor) else inputs
        if image.ndim != 5:
            raise ValueError(f"VolumeInferer needs (B, C, X, Y, Z), got {tuple(image.shape)}.")
        shape = image.shape[2:]
        far = [-side % self.divisor for side in shape]
        padded = functional.pad(image, [0, far[2], 0, far[1], 0, far[0]]) if any(far) else image
        if all(side <= most for side, most in zip(padded.shape[2:], self.limit, strict=True)):
            out = named_heads(network, padded)
        else:
            out = self._windows(padded, network)
        if "mask" in out:
            out["mask"] = out["mask"][:, :, : shape[0], : shape[1], : shape[2]]
            out["mask"] = out["mask"].masked_fill(~(image != 0).any(dim=1, keepdim=True), ABSENT_LOGIT)
        if self.features:
            out["features"] = network.pooled_features(padded)
        return out

    def _windows(self, image: Tensor, network: Callable) -> dict[str, Tensor]:
        """Segment in windows, and classify the whole image once, with the heads that are on."""
        out: dict[str, Tensor] = {}
        if hasattr(network, "classify") and getattr(network, "tumour_on", True):
            out["tumour"] = network.classify(image)
        if not getattr(network, "mask_on", True):
            return out
        roi = [min(side, most) for side, most in zip(image.shape[2:], self.limit, strict=True)]
        out["mask"] = sliding_window_inference(
            image, roi, 1, lambda window: named_heads(network, window)["mask"].clone(), self.overlap, mode="gaussian"
        )
        return out
