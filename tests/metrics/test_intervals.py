from __future__ import annotations

import json

import numpy as np
import pytest

from medvlm.metrics.intervals import (
    bootstrap,
    bootstrap_interval,
    effective_number,
    interval_entry,
    mean_of_rates,
    paired_bootstrap,
    patient_weights,
    percentile_interval,
    rare_strata,
    rate_interval,
    weighted_mean,
    wilson,
)


def test_wilson_equals_statsmodels(golden):
    for row in json.loads((golden("statistics") / "wilson.json").read_text(encoding="utf-8")):
        found = wilson(row["k"], row["n"], 1 - row["alpha"])
        assert found == pytest.approx((row["low"], row["high"]), abs=1e-12)


def test_wilson_of_the_facts():
    assert wilson(11, 21) == pytest.approx((0.324, 0.717), abs=5e-4)


@pytest.mark.parametrize(("k", "n"), [(0, 0), (3, 2), (-1, 4)])
def test_a_rate_that_cannot_be_is_refused(k, n):
    with pytest.raises(ValueError, match="0 <= successes <= n"):
        wilson(k, n)


def test_cases_of_a_patient_are_drawn_together():
    weights = patient_weights(["a", "b", "a", "c"], 200, seed=1)
    assert weights.shape == (200, 4)
    np.testing.assert_array_equal(weights[:, 0], weights[:, 2])
    np.testing.assert_array_equal(weights[:, [0, 1, 3]].sum(axis=1), 3)  # as many patients as there are


def test_the_bootstrap_repeats_with_its_seed_only():
    values = weighted_mean(np.arange(20.0))
    first, again, other = (bootstrap(values, range(20), 50, seed) for seed in (4, 4, 5))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_many_cases_are_drawn_in_parts_of_the_same_whole(monkeypatch):
    values, patients = weighted_mean(np.arange(20.0)), np.arange(20) // 3
    whole = bootstrap(values, patients, 50, seed=4)
    np.testing.assert_allclose(whole, values(patient_weights(patients, 50, seed=4)), atol=1e-12)
    monkeypatch.setattr("medvlm.metrics.intervals._CHUNK_CELLS", 70)
    np.testing.assert_allclose(bootstrap(values, patients, 50, seed=4), whole, atol=1e-12)


def test_repeating_a_patients_cases_adds_no_certainty():
    values = np.random.default_rng(0).normal(size=30)
    single = bootstrap_interval(weighted_mean(values), range(30), 2000, 0)
    repeated = bootstrap_interval(weighted_mean(np.repeat(values, 10)), np.repeat(np.arange(30), 10), 2000, 0)
    naive = bootstrap_interval(weighted_mean(np.repeat(values, 10)), range(300), 2000, 0)
    assert repeated == pytest.approx(single, abs=1e-12)
    assert naive[1] - naive[0] < 0.5 * (repeated[1] - repeated[0])


def test_the_interval_of_a_mean_is_near_the_normal_one():
    values = np.random.default_rng(1).normal(2.0, 3.0, size=200)
    half = 1.96 * values.std() / np.sqrt(200)
    low, high = bootstrap_interval(weighted_mean(values), range(200), 4000, 0)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.06)


def test_no_interval_where_none_is_known():
    assert bootstrap_interval(weighted_mean(np.ones(5)), ["a"] * 5) is None
    assert percentile_interval(np.array([1.0, np.nan, np.nan, 2.0])) is None
    assert percentile_interval(np.r_[np.linspace(0, 1, 101), np.nan], 0.9) == pytest.approx((0.05, 0.95))


def test_identical_runs_differ_by_nothing():
    values = np.random.default_rng(0).random(25)
    found = paired_bootstrap(weighted_mean(values), weighted_mean(values), range(25), 200)
    assert found == {"difference": 0.0, "ci": [0.0, 0.0], "p": 1.0}


def test_pairing_finds_a_small_constant_gain():
    values = np.random.default_rng(0).random(25)
    found = paired_bootstrap(weighted_mean(values + 0.01), weighted_mean(values), range(25), 999)
    assert found["difference"] == pytest.approx(0.01)
    assert found["ci"] == pytest.approx([0.01, 0.01])
    assert found["p"] == pytest.approx(2 / 1000)


def test_p_values_under_no_difference_are_spread_evenly():
    generator = np.random.default_rng(2)
    runs = generator.normal(size=(200, 2, 60))
    found = [paired_bootstrap(weighted_mean(a), weighted_mean(b), range(60), 200) for a, b in runs]
    assert 0.01 < np.mean([one["p"] < 0.05 for one in found]) < 0.11


@pytest.mark.parametrize(
    ("hits", "patients", "expected", "method"),
    [
        ([1, 0, 1, 1], "abcd", wilson(3, 4), "wilson"),
        ([1, 1, 1, 1], "aabb", wilson(2, 2), "wilson on patients"),
        ([0, 0, 0, 0], "aabb", wilson(0, 2), "wilson on patients"),
        ([], "", None, "no cases"),
    ],
)
def test_rates_take_the_patient_as_unit(hits, patients, expected, method):
    assert rate_interval(np.array(hits), list(patients)) == (expected, method)


def test_rates_of_patients_with_several_cases_are_bootstrapped():
    hits, patients = np.arange(60) % 4 > 0, np.arange(60) // 2
    ci, method = rate_interval(hits, patients, 500)
    assert method == "bootstrap by patient"
    assert ci == bootstrap_interval(weighted_mean(hits), patients, 500)
    assert ci[0] < 0.75 < ci[1]


def test_a_second_picture_of_one_of_few_patients_hardly_moves_the_interval_of_a_rate():
    hits = np.array([1, 1, 1, 1, 1, 0])
    (low, high), method = rate_interval(hits, list("aabcde"))
    single = wilson(5, 6)
    assert method == "wilson on effective patients"
    assert low == pytest.approx(single[0], abs=0.06) and high == pytest.approx(single[1], abs=0.02)
    assert low < single[0] and single[1] < high < 1


def test_a_bootstrap_that_reaches_one_gives_way_to_wilson():
    hits, patients = np.arange(60) > 0, np.arange(60) // 2  # one miss of thirty patients
    assert bootstrap_interval(weighted_mean(hits), patients)[1] == 1
    (low, high), method = rate_interval(hits, patients)
    assert method == "wilson on effective patients"
    assert (low, high) == pytest.approx(wilson(59, 60), abs=2e-3)  # the other of the pair is right: independent


@pytest.mark.parametrize(
    ("hits", "patients", "expected"),
    [
        ([1, 1, 0, 0, 1, 1, 1, 1, 0, 0], "aabbccddee", 5),  # all alike within a patient
        ([1, 0, 1, 0, 1, 0, 1, 0, 1, 0], "aabbccddee", 10),  # patients do not differ
        ([1, 1, 1, 0, 0, 0, 1, 1, 1, 1], "aabbccddee", 5.25),
        ([1, 0, 1, 0], "aabb", 2),  # two patients say nothing of how patients differ
        ([1, 0, 1], "aaa", 1),
    ],
    ids=["alike", "independent", "between", "few", "one"],
)
def test_the_effective_number_lies_between_patients_and_cases(hits, patients, expected):
    assert effective_number(np.array(hits), list(patients)) == pytest.approx(expected)


def test_wilson_on_effective_patients_holds_the_rate_as_often_as_it_says():
    generator, held, drawn = np.random.default_rng(0), 0, 0
    for _ in range(300):
        sizes, rates = generator.integers(1, 5, 10), generator.beta(0.7 * 7 / 3, 0.3 * 7 / 3, 10)  # correlation 0.3
        patients = np.repeat(np.arange(10), sizes)
        ci, method = rate_interval(generator.random(len(patients)) < rates[patients], patients)
        drawn += method == "wilson on effective patients"
        held += method == "wilson on effective patients" and ci[0] <= 0.7 <= ci[1]
    assert drawn > 290 and 0.91 < held / drawn < 0.99


def test_the_limits_of_a_mean_of_rates_by_hand():
    assert mean_of_rates((1.0, 1.0), ((0.7, 1.0), (0.6, 1.0))) == pytest.approx((0.75, 1.0))  # 3-4-5
    assert mean_of_rates((0.5, 0.7), ((0.2, 0.8), (0.3, 0.9))) == pytest.approx((0.35, 0.6 + np.hypot(0.3, 0.2) / 2))


def share_of(label):
    """The share of resamples' weight on cases with a label; undefined without any."""

    def share(weights):
        with np.errstate(invalid="ignore"):
            return (weights @ label) / (weights @ label)

    return share


def test_within_strata_as_many_patients_of_each_are_drawn_as_there_are():
    strata, label = [1, 1, 0, 0, 0, 0, 0, 0, 0, 0], np.r_[np.ones(2), np.zeros(8)]
    sums = bootstrap(lambda weights: weights @ label, range(10), 300, 0, strata)
    np.testing.assert_array_equal(sums, 2)
    assert len(set(bootstrap(lambda weights: weights[:, 0], range(10), 300, 0, strata).tolist())) > 1


def test_a_patient_with_cases_of_two_classes_stays_whole():
    patients, strata = list("aabcdd"), [0, 1, 0, 1, 1, 0]
    pairs = bootstrap(lambda weights: weights[:, 0] - weights[:, 1], patients, 100, 0, strata)
    np.testing.assert_array_equal(pairs, 0)
    with pytest.raises(ValueError, match="one stratum a case"):
        bootstrap(weighted_mean(np.ones(6)), patients, 5, 0, [0])


def test_resamples_that_leave_a_value_undefined_are_counted():
    label = np.r_[np.ones(2), np.zeros(18)]
    entry = interval_entry(share_of(label), range(20), 1000)
    assert entry["dropped"] == pytest.approx(1000 * (18 / 20) ** 20, abs=40) and entry["ci"] is None
    assert set(interval_entry(share_of(label), range(20), 1000, strata=label)) == {"ci", "note"}
    rarer = interval_entry(share_of(np.eye(20)[0]), range(20), 1000)
    assert rarer["ci"] is None and rarer["dropped"] > 200
    assert paired_bootstrap(share_of(label), weighted_mean(label), range(20))["dropped"] > 0


def test_a_value_that_no_resample_moves_has_a_note_in_place_of_limits_without_width():
    entry = interval_entry(weighted_mean(np.full(30, 0.1)), range(30), 200)
    assert entry["ci"] is None and "same value" in entry["note"]
    assert bootstrap_interval(weighted_mean(np.full(30, 0.1)), range(30), 200) is None


def test_classes_are_strata_where_one_has_few_patients():
    classes, patients = [0] * 20 + [1] * 10, list(range(30))
    assert rare_strata(classes, patients) is None
    assert rare_strata(classes, [*patients[:-1], 28]) is classes  # nine patients of class 1
