"""An empty training loader is refused before anything runs."""

from __future__ import annotations

import pytest
from torch.utils.data import DataLoader, DistributedSampler

from medvlm.engines.steps import total_steps


def loader(cases: int, batch_size: int, processes: int = 1) -> DataLoader:
    data = list(range(cases))
    sampler = DistributedSampler(data, num_replicas=processes, rank=0)
    return DataLoader(data, batch_size=batch_size, sampler=sampler, drop_last=True)


def test_steps_are_full_batches_times_epochs():
    assert total_steps(loader(33, 16), 3) == 6


@pytest.mark.parametrize(
    ("cases", "batch_size", "processes", "words"),
    [
        (12, 16, 1, "12 samples an epoch do not fill a batch of 16.*--batch_size 12 or less"),
        (12, 8, 2, "6 samples an epoch in each of 2 processes do not fill a batch of 8.*--batch_size 6 or less"),
    ],
    ids=["one process", "two processes"],
)
def test_fewer_studies_than_a_batch_are_refused_with_the_numbers(cases, batch_size, processes, words):
    with pytest.raises(ValueError, match=words):
        total_steps(loader(cases, batch_size, processes), 1)


def test_no_epoch_is_refused():
    with pytest.raises(ValueError, match="epochs must be at least 1, got 0"):
        total_steps(loader(4, 2), 0)
