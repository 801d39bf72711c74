from __future__ import annotations

import numpy as np
import pytest

from medvlm.metrics.confounding import (
    _out_of_fold,
    confounding_note,
    label_by_source,
    label_from_source,
    source_from_features,
)


@pytest.fixture
def sources():
    return ["a"] * 30 + ["b"] * 30


def features(sources, step: float) -> np.ndarray:
    made = np.random.default_rng(0).normal(size=(len(sources), 8))
    made[:, 0] += step * (np.array(sources) == "b")
    return made


def test_a_source_that_shows_is_told(sources):
    found = source_from_features(features(sources, 6), sources, range(60), n_permutations=19, n_boot=200)
    assert found["balanced_accuracy"] > 0.95
    assert found["ci"][0] > found["chance"] == 0.5 and found["ci"][0] < found["ci"][1]
    assert found["permutation"]["p"] == pytest.approx(1 / 20)
    assert found["permutation"]["mean"] == pytest.approx(0.5, abs=0.12)


def test_a_source_that_does_not_show_is_at_chance(sources):
    found = source_from_features(features(sources, 0), sources, range(60), n_permutations=19, n_boot=200)
    assert found["ci"][0] < 0.5
    assert found["permutation"]["p"] > 0.05


def test_by_default_enough_permutations_are_made_to_tell(sources):
    found = source_from_features(features(sources, 6), sources, range(60), n_boot=50)
    assert found["permutation"]["n"] >= 199
    assert found["permutation"]["p"] == pytest.approx(1 / (1 + found["permutation"]["n"]))


def test_where_features_say_nothing_every_p_is_as_likely():
    # Sources of unequal size, patients with several cases, some of them in two sources.
    patients = np.repeat(np.arange(30), 2)
    labels = np.where(np.arange(60) < 44, "a", "b")
    labels[[40, 42]] = "b"
    found = []
    for seed in range(60):
        names = np.random.default_rng(seed).normal(size=(30, 6))[patients]
        found.append(source_from_features(names, labels, patients, n_permutations=19, n_boot=2, seed=seed))
    p = np.array([one["permutation"]["p"] for one in found])
    assert p.mean() == pytest.approx(0.5, abs=0.12)
    assert (p <= 0.1).mean() <= 0.2
    assert np.mean([one["permutation"]["mean"] for one in found]) == pytest.approx(0.5, abs=0.05)


def test_two_sources_are_told_by_the_linear_discriminant():
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    # Many cases of few features: the ridge is nothing, and the nearest whitened mean is Fisher's discriminant.
    truth = np.array([0] * 900 + [1] * 300)
    made = np.random.default_rng(0).normal(size=(1200, 3)) @ np.array([[40, 3, 0], [0, 30, 0], [9, 0, 60]])
    made[truth == 1] += [30, -25, 40]
    fold = np.arange(1200) % 4
    answers = _out_of_fold(made * 1.0, truth[None], fold)[0]
    model = LinearDiscriminantAnalysis(priors=[0.5, 0.5])
    theirs = np.empty(1200, int)
    for number in range(4):
        theirs[fold == number] = model.fit(made[fold != number], truth[fold != number]).predict(made[fold == number])
    assert (answers == theirs).mean() > 0.97


def test_a_constant_feature_and_more_features_than_cases_are_no_trouble(sources):
    made = np.c_[features(sources, 6), np.full(60, 7.0), np.random.default_rng(2).normal(size=(60, 100))]
    found = source_from_features(made, sources, range(60), n_boot=50)
    assert found["permutation"]["p"] <= 0.05


def test_a_source_that_shows_in_a_direction_of_little_variance_is_told(sources):
    random = np.random.default_rng(5)
    made = random.normal(size=(60, 4)) @ random.normal(size=(4, 40)) + 0.2 * random.normal(size=(60, 40))
    made += 0.2 * random.normal(size=40) * (np.array(sources) == "b")[:, None]
    found = source_from_features(made, sources, range(60), n_boot=50)
    assert found["balanced_accuracy"] > 0.8 and found["permutation"]["p"] <= 0.05


def test_cases_of_a_patient_never_help_each_other(sources):
    # Features that only name the patient: told across a patient's own cases, but nothing about the source.
    patients = np.arange(60) // 6
    names = np.random.default_rng(1).normal(size=(10, 40))[patients]
    labels = np.array(["a", "b"])[np.random.default_rng(3).permutation([0, 1] * 5)][patients]
    found = source_from_features(names, labels, patients, n_permutations=0, n_boot=100)
    assert found["balanced_accuracy"] < 0.85
    assert found["permutation"] is None


def test_small_sources_are_left_out_and_named(sources):
    found = source_from_features(
        features(sources + ["c"] * 4, 3), sources + ["c"] * 4, [*range(60), 90, 90, 91, 91], n_permutations=0, n_boot=50
    )
    assert found["sources"] == ["a", "b"]
    assert found["n"] == 60
    assert "c" in found["note"]


def test_one_source_cannot_be_told_from_another():
    found = source_from_features(np.zeros((5, 2)), ["a"] * 5, range(5))
    assert found["balanced_accuracy"] is None
    assert "two sources" in found["note"]


def test_features_that_are_not_numbers_are_refused(sources):
    with pytest.raises(ValueError, match="must be finite"):
        source_from_features(np.full((60, 2), np.nan), sources, range(60))


def test_the_table_counts_unknown_labels():
    table = label_by_source(["b", "a", "a", "a"], [1, 0, None, 1])
    assert table == {"a": {"0": 1, "1": 1, "unknown": 1}, "b": {"0": 0, "1": 1, "unknown": 0}}


@pytest.mark.parametrize(
    ("counts", "accuracy", "balanced", "words"),
    [
        ({"a": (0, 140), "b": (21, 0)}, 1.0, 1.0, "Every source holds one class only"),
        ({"a": (10, 30), "b": (10, 30)}, 0.75, 0.5, "Every source holds both classes"),
        ({"a": (0, 40), "b": (20, 20)}, 0.75, 5 / 6, "One class only in a"),
        ({"a": (5, 5)}, 0.5, 0.5, "One source only"),
    ],
)
def test_what_the_table_means_is_said(counts, accuracy, balanced, words):
    table = {name: {"0": n0, "1": n1, "unknown": 0} for name, (n0, n1) in counts.items()}
    found = label_from_source(table)
    assert found["accuracy"] == pytest.approx(accuracy)
    assert found["balanced_accuracy"] == pytest.approx(balanced)
    assert confounding_note(table).startswith(words)


def test_without_both_classes_nothing_can_be_told():
    assert label_from_source({"a": {"0": 0, "1": 4, "unknown": 2}}) is None
    assert confounding_note({"a": {"0": 0, "1": 0, "unknown": 2}}) == "No case has a known class."
