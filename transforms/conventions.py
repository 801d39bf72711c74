"""What several transforms need: an output that keeps the input's meta data, and a probability that is one."""

from __future__ import annotations

import torch
from monai.data import MetaTensor


def like(out: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
    """``out`` with the affine and meta data of ``source`` where that is a ``MetaTensor``, else as it is."""
    return MetaTensor(out).copy_meta_from(source) if isinstance(source, MetaTensor) else out


def check_probability(prob: float) -> None:
    """Refuse what is no probability; MONAI's ``RandomizableTransform`` would clip it without a word.

    Raises:
        ValueError: where ``prob`` lies outside 0 to 1.
    """
    if not 0 <= prob <= 1:
        raise ValueError(f"prob must be between 0 and 1, got {prob}.")
