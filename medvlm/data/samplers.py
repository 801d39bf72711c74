"""A sampler that draws each source x class in the ratio asked for."""

from __future__ import annotations

import logging
import math
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import torch.distributed as dist
from torch.utils.data.distributed import DistributedSampler

from medvlm.data.splits import class_of

logger = logging.getLogger(__name__)


class RatioSampler(DistributedSampler):
    """Draw cases so that each source x class has its share of an epoch, and nearly so of every batch.

    The counts of an epoch are exact up to rounding. Inside a stratum cases are drawn without replacement until
    all have been seen, across epochs too; a stratum smaller than its count repeats. The order depends on the seed
    and the epoch only. It is a ``DistributedSampler`` because MONAI's trainers call ``set_epoch`` on those.

    Args:
        cases: cases in the order of the data set, with ``source`` and ``tumour``.
        ratios: one of ``{"brats2021:1": 2, "kaggle_yes_no:0": 1, ...}`` (``source:class``, class ``0``, ``1`` or
            ``unknown``), or ``{"source": {...}, "class": {...}}`` with either key or both (their product), or
            ``None`` for the same share of each stratum. Every stratum that exists must be named; a share of 0
            leaves it out.
        num_samples: samples of an epoch over all processes; ``None`` is the number of cases. Rounded up to a
            multiple of ``world_size``.
        seed: another seed, another order.
        batch_size: samples of one process and step. With it, the samples of step k over all processes are those
            that a single process would have at step k with the batch size times ``world_size``.
        rank: of this process; ``None`` asks torch.distributed, 0 where that is not started.
        world_size: number of processes; ``None`` likewise, 1.

    Raises:
        ValueError: a key names no stratum that exists, a stratum is not named, a share is negative or all are 0,
            or a number is out of range; the message lists what exists.
    """

    def __init__(
        self,
        cases: Sequence[Mapping],
        ratios: Mapping | None = None,
        num_samples: int | None = None,
        seed: int = 0,
        batch_size: int | None = None,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        started = dist.is_available() and dist.is_initialized()
        world_size = (dist.get_world_size() if started else 1) if world_size is None else world_size
        rank = (dist.get_rank() if started else 0) if rank is None else rank
        if world_size < 1 or not 0 <= rank < world_size:
            raise ValueError(f"rank must lie in 0..world_size - 1, got rank {rank} of world_size {world_size}.")
        if not len(cases):
            raise ValueError("RatioSampler needs at least one case, got none; is the section of the datalist empty?")
        if num_samples is not None and num_samples < 1:
            raise ValueError(f"num_samples must be positive, got {num_samples}; None takes the number of cases.")
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"batch_size must be positive, got {batch_size}.")
        super().__init__(cases, num_replicas=world_size, rank=rank, shuffle=True, seed=seed)
        wanted = len(cases) if num_samples is None else num_samples
        self.num_samples = math.ceil(wanted / world_size)
        self.total_size = self.num_samples * world_size
        self.batch_size = batch_size

        members: dict[str, list[int]] = defaultdict(list)
        for index, case in enumerate(cases):
            members[f"{case.get('source', '')}:{class_of(case)}"].append(index)
        self.members = {stratum: members[stratum] for stratum in sorted(members)}
        shares = _shares(ratios, self.members)
        self.counts = _exact_counts(shares, self.total_size)
        unseen = [s for s, n in self.counts.items() if n == 0 and shares[s] > 0]
        if unseen:
            logger.warning("An epoch of %d samples has no room for %s; raise num_samples.", self.total_size, unseen)

    def __len__(self) -> int:
        """Samples of an epoch that this process draws."""
        return self.num_samples

    def __iter__(self) -> Iterator[int]:
        """Indices of this process's samples of the present epoch."""
        order = self.global_order()
        step = self.total_size if self.batch_size is None else self.batch_size * self.num_replicas
        for start in range(0, self.total_size, step):
            block = order[start : start + step]
            share = len(block) // self.num_replicas
            yield from block[self.rank * share : (self.rank + 1) * share]

    def global_order(self) -> list[int]:
        """Indices of all processes' samples of the present epoch, strata interleaved evenly."""
        places = []
        for stratum, count in self.counts.items():
            shift = random.Random(f"{self.seed}:{self.epoch}:{stratum}:shift").random()
            drawn = self._draw(stratum, count)
            places += [((i + shift) / count, stratum, index) for i, index in enumerate(drawn)]
        return [index for _, _, index in sorted(places)]

    def _draw(self, stratum: str, count: int) -> list[int]:
        """The present epoch's part of an endless row of shuffled passes over the stratum."""
        inside = self.members[stratum]
        drawn: list[int] = []
        position = self.epoch * count
        while len(drawn) < count:
            turn, offset = divmod(position + len(drawn), len(inside))
            shuffled = list(inside)
            random.Random(f"{self.seed}:{stratum}:{turn}").shuffle(shuffled)
            drawn += shuffled[offset : offset + count - len(drawn)]
        return drawn


def _shares(ratios: Mapping | None, members: Mapping[str, list[int]]) -> dict[str, float]:
    if ratios is None:
        return dict.fromkeys(members, 1.0)
    if not isinstance(ratios, Mapping) or not ratios:
        raise ValueError(f"ratios must be a dictionary, got {ratios!r}; strata that exist: {_listing(members)}.")
    table = _product(ratios, members) if set(ratios) <= {"source", "class"} else {str(k): v for k, v in ratios.items()}
    unknown = sorted(set(table) - set(members))
    if unknown:
        raise ValueError(f"No cases for {unknown} of ratios; strata that exist (with cases): {_listing(members)}.")
    unnamed = sorted(set(members) - set(table))
    if unnamed:
        raise ValueError(f"ratios do not name {unnamed}, which have cases; give each a share, 0 to leave it out.")
    for key, value in table.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0 or math.isinf(value):
            raise ValueError(f"The ratio of {key!r} must be a number of at least 0, got {value!r}.")
    if not any(table.values()):
        raise ValueError("All ratios are 0; give at least one stratum a positive share.")
    return {stratum: float(table[stratum]) for stratum in members}


def _product(ratios: Mapping, members: Mapping[str, list[int]]) -> dict[str, float]:
    """Share of source times share of class; a missing margin counts 1 for what exists."""
    sources = {s.rpartition(":")[0] for s in members}
    classes = {s.rpartition(":")[2] for s in members}
    by_source = {str(k): v for k, v in ratios.get("source", dict.fromkeys(sources, 1)).items()}
    by_class = {str(k): v for k, v in ratios.get("class", dict.fromkeys(classes, 1)).items()}
    for word, given, there in (("source", by_source, sources), ("class", by_class, classes)):
        if set(given) != there:
            raise ValueError(f"ratios[{word!r}] must name {sorted(there)} (0 leaves one out), got {sorted(given)}.")
    if "source" in ratios and "class" in ratios:
        product = {f"{s}:{c}": a * b for s, a in by_source.items() for c, b in by_class.items()}
        return {key: value for key, value in product.items() if value or key in members}
    # one margin only: its share is divided among the strata that exist
    margin, part = (by_source, 0) if "source" in ratios else (by_class, 2)
    sizes = defaultdict(int)
    for stratum, inside in members.items():
        sizes[stratum.rpartition(":")[part]] += len(inside)
    return {
        stratum: margin[stratum.rpartition(":")[part]] * len(inside) / sizes[stratum.rpartition(":")[part]]
        for stratum, inside in members.items()
    }


def _exact_counts(shares: Mapping[str, float], total: int) -> dict[str, int]:
    """Round shares to counts that sum to the total: largest remainder."""
    whole = sum(shares.values())
    exact = {s: total * share / whole for s, share in shares.items()}
    counts = {s: int(e) for s, e in exact.items()}
    by_remainder = sorted(exact, key=lambda s: (-(exact[s] - counts[s]), s))
    for stratum in by_remainder[: total - sum(counts.values())]:
        counts[stratum] += 1
    return counts


def _listing(members: Mapping[str, list[int]]) -> dict[str, int]:
    return {stratum: len(inside) for stratum, inside in members.items()}
