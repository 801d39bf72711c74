"""One seed an epoch, so that a run that was killed goes on exactly as it would have gone."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events


class EpochSeeding:
    """Seed every random thing from ``(seed, epoch)`` when an epoch starts.

    An interrupted run that resumes from an epoch's checkpoint then draws the numbers that the uninterrupted one would
    have drawn: bit for bit on a CPU with ``num_workers=0``; worker processes take their seeds from the loader.

    Args:
        seed: base seed, 0 or more.
        dataset: a dataset whose ``transform`` has MONAI's ``set_random_state``, or ``None``.
        sampler: a sampler with ``set_epoch``, or ``None``.
        rank: added to the seed, so that the processes of one run draw different augmentations.
    """

    def __init__(self, seed: int, dataset: Any = None, sampler: Any = None, rank: int = 0) -> None:
        if seed < 0:
            raise ValueError(f"seed must be 0 or more, got {seed}; any such integer will do.")
        self.seed, self.dataset, self.sampler, self.rank = seed, dataset, sampler, rank

    def attach(self, engine: Engine) -> None:
        """Register the handler before all others of the engine's epoch start."""
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Seed python, numpy, torch, the data set's transforms and the sampler for the epoch that starts."""
        words = np.random.SeedSequence([self.seed, self.rank, engine.state.epoch]).generate_state(2)
        value = int(words[0])
        random.seed(value)
        np.random.seed(value)
        torch.manual_seed(value)
        transform = getattr(self.dataset, "transform", None)
        if hasattr(transform, "set_random_state"):
            transform.set_random_state(seed=int(words[1]))
        if hasattr(self.sampler, "set_epoch"):
            self.sampler.set_epoch(engine.state.epoch)
