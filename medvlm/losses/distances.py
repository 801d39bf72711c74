"""What every loss between two tensors checks first."""

from __future__ import annotations

from torch import Tensor


def check_same(name: str, left: Tensor, other: str, right: Tensor) -> None:
    """Refuse shapes that would be broadcast without a word.

    Raises:
        ValueError: when the shapes differ.
    """
    if left.shape != right.shape:
        raise ValueError(
            f"{name} and {other} must have the same shape, got {tuple(left.shape)} and {tuple(right.shape)}."
        )


def single(values: Tensor) -> Tensor:
    """At least single precision: losses under autocast are not computed in half."""
    return values.float() if values.is_floating_point() and values.dtype.itemsize < 4 else values
