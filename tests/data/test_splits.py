"""Grouped, stratified, deterministic splits."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from medvlm.data.splits import SPLIT_SECTIONS, absent_strata, count_rows, fold_cases, split_cases, stratum_of


def _cases(**counts: int) -> list[dict]:
    """``a0=5`` makes five cases of source a, class 0."""
    return [
        {"case_id": f"{key}_{i}", "patient_id": f"{key}_{i}", "source": key[:-1], "tumour": int(key[-1])}
        for key, count in counts.items()
        for i in range(count)
    ]


def _groups(cases, every=1):
    return [f"{c['source']}{c['tumour']}_{int(c['case_id'].rpartition('_')[2]) // every}" for c in cases]


def test_shares_hold_within_each_source_and_class():
    cases = _cases(a0=20, a1=40, b1=30)
    sections = split_cases(cases, _groups(cases))
    counts = {s: Counter(stratum_of(c) for c in sections[s]) for s in SPLIT_SECTIONS}
    assert counts["training"] == {"a:0": 14, "a:1": 28, "b:1": 21}
    assert counts["validation"] == {"a:0": 2, "a:1": 4, "b:1": 3}
    assert counts["test"] == {"a:0": 4, "a:1": 8, "b:1": 6}


def test_groups_stay_together():
    cases = _cases(a0=30, a1=31)
    groups = _groups(cases, every=3)
    sections = split_cases(cases, groups)
    home = {}
    by_id = dict(zip((c["case_id"] for c in cases), groups, strict=True))
    for section, inside in sections.items():
        for case in inside:
            assert home.setdefault(by_id[case["case_id"]], section) == section
    assert sum(len(s) for s in sections.values()) == 61


def test_the_order_of_listing_does_not_matter_but_the_seed_does():
    cases = _cases(a0=20, a1=20)
    shuffled = list(cases)
    random.Random(1).shuffle(shuffled)
    first = split_cases(cases, _groups(cases), seed=4)
    assert split_cases(shuffled, _groups(shuffled), seed=4) == first
    assert split_cases(cases, _groups(cases), seed=5) != first


@pytest.mark.parametrize("count", [3, 4, 5, 7])
def test_three_groups_suffice_to_stand_in_every_section(count):
    cases = _cases(a0=count, a1=40)
    sections = split_cases(cases, _groups(cases), (0.8, 0.1, 0.1))
    assert all(any(c["tumour"] == 0 for c in sections[s]) for s in SPLIT_SECTIONS)


def test_mixed_patients_still_represent_each_class():
    cases = _cases(a1=30)
    cases += [{"case_id": f"n{i}", "patient_id": f"a1_{i}", "source": "a", "tumour": 0} for i in range(3)]
    sections = split_cases(cases, [c["patient_id"] for c in cases])
    assert all(any(c["tumour"] == 0 for c in sections[s]) for s in SPLIT_SECTIONS)


def test_a_share_of_zero_leaves_the_section_empty():
    cases = _cases(a0=10)
    sections = split_cases(cases, _groups(cases), (0.5, 0.0, 0.5))
    assert [len(sections[s]) for s in SPLIT_SECTIONS] == [5, 0, 5]


@pytest.mark.parametrize("fractions", [(0.7, 0.3), (0.7, 0.2, 0.2), (1.2, -0.1, -0.1), "abc", 0.7])
def test_fractions_must_be_three_that_sum_to_one(fractions):
    with pytest.raises(ValueError, match="three shares that sum to 1"):
        split_cases(_cases(a0=3), ["a", "b", "c"], fractions)


def test_every_case_is_tested_once_over_the_folds():
    cases = _cases(a0=17, a1=23)
    groups = _groups(cases, every=2)
    folds = fold_cases(cases, groups, 5)
    tested = [c["case_id"] for fold in folds for c in fold["test"]]
    assert sorted(tested) == sorted(c["case_id"] for c in cases)
    by_id = dict(zip((c["case_id"] for c in cases), groups, strict=True))
    for fold in folds:
        sides = [{by_id[c["case_id"]] for c in fold[s]} for s in SPLIT_SECTIONS]
        assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])
        assert {c["tumour"] for c in fold["test"]} == {0, 1}
        assert sum(len(fold[s]) for s in SPLIT_SECTIONS) == 40
    sizes = [len(fold["test"]) for fold in folds]
    assert max(sizes) - min(sizes) <= 4


def test_small_strata_are_spread_over_different_folds():
    cases = _cases(a0=1, b0=1, c0=1, d0=1)
    folds = fold_cases(cases, _groups(cases), 4)
    assert [len(fold["test"]) for fold in folds] == [1, 1, 1, 1]


@pytest.mark.parametrize("folds", [1, 2.5, True])
def test_folds_must_be_a_number_above_one(folds):
    with pytest.raises(ValueError, match="folds must be a whole number of at least 2"):
        fold_cases(_cases(a0=4), list("abcd"), folds)


def test_more_folds_than_patients_are_refused():
    with pytest.raises(ValueError, match="3 folds need as many patients, there are 2"):
        fold_cases(_cases(a0=4), list("aabb"), 3)


def test_a_stratum_too_small_for_every_section_is_named_and_tested_first():
    cases = _cases(a1=20, b1=2)
    sections = split_cases(cases, _groups(cases))
    assert [c["source"] for c in sections["test"]].count("b") == 1
    assert absent_strata(sections) == [("b:1", "validation")]


def test_counts_are_by_source_class_and_section():
    cases = _cases(a0=1, a1=2)
    cases[1]["label"] = "m.nii"
    rows = count_rows({"training": cases, "test": []})
    assert rows == [
        {"source": "a", "class": "0", "section": "training", "cases": 1, "patients": 1, "masks": 0},
        {"source": "a", "class": "1", "section": "training", "cases": 2, "patients": 2, "masks": 1},
    ]
