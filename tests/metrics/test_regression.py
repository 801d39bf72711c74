from __future__ import annotations

import numpy as np
import pytest

from medvlm.metrics.intervals import patient_weights
from medvlm.metrics.regression import r2_statistic, regression_report


def test_scores_by_hand():
    report = regression_report([0, 50, 100, None, np.nan], [10, 50, 80, 1, 2], list("abcde"), n_boot=10)
    values = {name: entry["value"] for name, entry in report["metrics"].items()}
    assert values == pytest.approx({"mae": 10, "rmse": np.sqrt(500 / 3), "r2": 1 - 500 / 5000, "bias": -10 / 3})
    assert (report["n"], report["n_unknown"]) == (3, 2)
    assert report["baseline_constant"] == {
        "constant": 50,
        "chosen_on": "these cases",
        "mae": pytest.approx(100 / 3),
        "rmse": pytest.approx(np.sqrt(5000 / 3)),
    }
    assert report["agreement"]["bias"] == pytest.approx(-10 / 3)


def test_r2_equals_scikit_learn_on_repeated_cases():
    from sklearn.metrics import r2_score

    generator = np.random.default_rng(0)
    target = 40 + 20 * generator.normal(size=30)
    predicted = target + 10 * generator.normal(size=30)
    weights = patient_weights(generator.integers(0, 12, 30), 20, seed=1)
    for row, value in zip(weights, r2_statistic(target, predicted)(weights), strict=True):
        drawn = np.repeat(np.arange(30), row.astype(int))
        assert value == pytest.approx(r2_score(target[drawn], predicted[drawn]), abs=1e-12)


def test_intervals_hold_the_value_and_widen_with_fewer_patients():
    generator = np.random.default_rng(1)
    target = generator.uniform(0, 100, 200)
    shift = np.repeat(generator.normal(0, 15, 20), 10)  # what a patient's studies share
    predicted = target + shift
    alone = regression_report(target, predicted, range(200), n_boot=300)["metrics"]
    grouped = regression_report(target, predicted, np.arange(200) // 10, n_boot=300)["metrics"]
    for name in ("mae", "rmse", "r2", "bias"):
        for metrics in (alone, grouped):
            assert metrics[name]["ci"][0] < metrics[name]["value"] < metrics[name]["ci"][1], name
        width = [metrics[name]["ci"][1] - metrics[name]["ci"][0] for metrics in (alone, grouped)]
        assert width[1] > 1.5 * width[0], name


def test_equal_targets_leave_r2_undefined():
    metrics = regression_report([7, 7], [6, 8], ["a", "b"], n_boot=10)["metrics"]
    assert metrics["r2"] == {"value": None, "ci": None} and metrics["mae"]["value"] == 1


def test_a_given_constant_is_the_baseline():
    baseline = regression_report([0, 10], [0, 10], ["a", "b"], constant=20, n_boot=5)["baseline_constant"]
    assert (baseline["constant"], baseline["chosen_on"], baseline["mae"]) == (20, "given", 15)


def test_unknown_targets_alone_are_a_note():
    assert regression_report([None], [1.0], ["a"]) == {"n": 0, "n_unknown": 1, "note": "no target is known"}


@pytest.mark.parametrize(
    ("target", "predicted", "match"), [([1.0], [1.0, 2.0], "got 1, 2 and 1"), ([1.0], [np.nan], "finite")]
)
def test_predictions_that_cannot_be_scored_are_refused(target, predicted, match):
    with pytest.raises(ValueError, match=match):
        regression_report(target, predicted, ["a"])
