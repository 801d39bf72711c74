"""Source x class ratios."""

from __future__ import annotations

from collections import Counter

import pytest
from torch.utils.data import DataLoader

from medvlm.data.samplers import RatioSampler
from medvlm.data.splits import stratum_of

CASES = [
    {"source": source, "tumour": label, "case_id": f"{source}{label}{i}"}
    for source, label, count in (("a", 0, 3), ("a", 1, 40), ("b", 0, 10), ("b", 1, 17))
    for i in range(count)
]


def _strata(indices):
    return Counter(stratum_of(CASES[i]) for i in indices)


def test_an_epoch_holds_the_ratios_exactly():
    sampler = RatioSampler(CASES, {"a:0": 1, "a:1": 2, "b:0": 1, "b:1": 4}, num_samples=80)
    assert len(sampler) == 80
    assert _strata(sampler) == {"a:0": 10, "a:1": 20, "b:0": 10, "b:1": 40}


def test_rounding_keeps_the_total():
    sampler = RatioSampler(CASES, None, num_samples=10)
    assert sorted(_strata(sampler).values()) == [2, 2, 3, 3]


def test_margins_multiply():
    sampler = RatioSampler(CASES, {"source": {"a": 1, "b": 3}, "class": {"0": 1, 1: 1}}, num_samples=80)
    assert _strata(sampler) == {"a:0": 10, "a:1": 10, "b:0": 30, "b:1": 30}


def test_one_margin_alone_is_kept():
    counts = _strata(RatioSampler(CASES, {"class": {"0": 1, "1": 1}}, num_samples=40))
    assert counts["a:0"] + counts["b:0"] == 20


def test_every_batch_is_nearly_even():
    order = list(RatioSampler(CASES, None, num_samples=80))
    for start in range(0, 80, 8):
        counts = _strata(order[start : start + 8])
        assert all(1 <= counts[s] <= 3 for s in ("a:0", "a:1", "b:0", "b:1"))


def test_cases_repeat_only_after_all_were_seen_across_epochs():
    sampler = RatioSampler(CASES, {"a:0": 0, "a:1": 1, "b:0": 0, "b:1": 0}, num_samples=16)
    seen = []
    for epoch in range(5):
        sampler.set_epoch(epoch)
        seen += list(sampler)
    assert set(Counter(seen[:40]).values()) == {1}
    assert set(Counter(seen).values()) == {2}


def test_the_order_follows_seed_and_epoch_only():
    first = RatioSampler(CASES, num_samples=40, seed=3)
    again = RatioSampler(CASES, num_samples=40, seed=3)
    assert list(first) == list(again) == list(first)
    again.set_epoch(1)
    assert list(again) != list(first)
    assert list(RatioSampler(CASES, num_samples=40, seed=4)) != list(first)


@pytest.mark.parametrize("batch_size", [None, 4])
def test_processes_share_an_epoch_in_equal_parts(batch_size):
    shards = [RatioSampler(CASES, None, 50, batch_size=batch_size, rank=r, world_size=3) for r in range(3)]
    parts = [list(s) for s in shards]
    assert {len(p) for p in parts} == {len(shards[0])} == {17}
    single = RatioSampler(CASES, None, 51)
    assert Counter(i for p in parts for i in p) == Counter(single)
    assert all(set(_strata(p)) == {"a:0", "a:1", "b:0", "b:1"} for p in parts)


def test_a_step_over_all_processes_is_a_single_process_step():
    single = list(RatioSampler(CASES, None, 48, batch_size=8))
    shards = [list(RatioSampler(CASES, None, 48, batch_size=4, rank=r, world_size=2)) for r in range(2)]
    for step in range(6):
        together = shards[0][step * 4 : step * 4 + 4] + shards[1][step * 4 : step * 4 + 4]
        assert together == single[step * 8 : step * 8 + 8]


def test_a_data_loader_takes_it():
    loader = DataLoader(range(len(CASES)), batch_size=8, sampler=RatioSampler(CASES, num_samples=24))
    assert sum(len(batch) for batch in loader) == 24


@pytest.mark.parametrize(
    ("ratios", "words"),
    [
        ({"a:0": 1, "c:1": 1}, r"No cases for \['c:1'\].*'a:1': 40"),
        ({"a:0": 1}, r"do not name \['a:1', 'b:0', 'b:1'\]"),
        ({"source": {"a": 1, "c": 1}}, r"must name \['a', 'b'\].*got \['a', 'c'\]"),
        ({"a:0": -1, "a:1": 1, "b:0": 1, "b:1": 1}, "'a:0' must be a number of at least 0"),
        ({"a:0": 0, "a:1": 0, "b:0": 0, "b:1": 0}, "All ratios are 0"),
        ({}, "must be a dictionary"),
    ],
    ids=["unknown", "unnamed", "margin", "negative", "zero", "empty"],
)
def test_wrong_ratios_say_what_exists(ratios, words):
    with pytest.raises(ValueError, match=words):
        RatioSampler(CASES, ratios)


def test_a_stratum_without_cases_is_an_error_in_the_product_too():
    cases = [c for c in CASES if (c["source"], c["tumour"]) != ("a", 0)]
    with pytest.raises(ValueError, match=r"No cases for \['a:0'\]"):
        RatioSampler(cases, {"source": {"a": 1, "b": 1}, "class": {"0": 1, "1": 1}})


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"rank": 2, "world_size": 2}, "rank must lie"),
        ({"num_samples": 0}, "num_samples"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_numbers_out_of_range_are_refused(kwargs, words):
    with pytest.raises(ValueError, match=words):
        RatioSampler(CASES, None, **kwargs)


def test_no_cases_are_refused():
    with pytest.raises(ValueError, match="at least one case"):
        RatioSampler([])


def test_a_stratum_without_room_is_said(caplog):
    RatioSampler(CASES, {"a:0": 1, "a:1": 100, "b:0": 100, "b:1": 100}, num_samples=10)
    assert "no room for ['a:0']" in caplog.text
