"""How many steps a training takes, known before it starts."""

from __future__ import annotations

from collections.abc import Sized
from typing import Any


def total_steps(loader: Sized, epochs: int) -> int:
    """The batches of all epochs of this process; meant for a scheduler in JSON.

    MONAI skips a training whose loader is empty with a warning, and the run then ends as if it had trained.

    Args:
        loader: of the training section.
        epochs: at least 1.

    Raises:
        ValueError: when an epoch would have no batch, or there is no epoch.
    """
    if epochs < 1:
        raise ValueError(f"epochs must be at least 1, got {epochs}; nothing would be trained.")
    if len(loader):
        return epochs * len(loader)
    raise ValueError(f"training needs at least one batch an epoch, got 0: {_why_empty(loader)}")


def _why_empty(loader: Any) -> str:
    """The numbers behind an empty loader and the remedy."""
    sampler, batch = getattr(loader, "sampler", None), getattr(loader, "batch_size", None)
    drawn = len(sampler) if isinstance(sampler, Sized) else len(getattr(loader, "dataset", ()))
    if not drawn:
        return "the training section gives no sample; see the datalist with `python -m medvlm doctor`."
    processes = getattr(sampler, "num_replicas", 1)
    shares = f" in each of {processes} processes" if processes > 1 else ""
    return (
        f"{drawn} samples an epoch{shares} do not fill a batch of {batch}, and one that is not full is dropped; use "
        f"--batch_size {drawn} or less, or more studies."
    )
