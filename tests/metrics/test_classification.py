from __future__ import annotations

import json

import numpy as np
import pytest

from medvlm.metrics.classification import (
    classification_report,
    confusion,
    majority_baseline,
    predictive_values,
    rate_statistic,
    rates,
)
from medvlm.metrics.intervals import wilson


def test_the_earlier_systems_numbers_follow_from_its_counts():
    found = rates(tp=136, tn=11, fp=10, fn=4)  # facts: recall 97.1%, specificity 52.4%, F1 95.1%, accuracy 91.3%
    assert found["sensitivity"] == pytest.approx(136 / 140)
    assert found["specificity"] == pytest.approx(11 / 21)
    assert found["f1"] == pytest.approx(0.951, abs=5e-4)
    assert found["accuracy"] == pytest.approx(0.913, abs=5e-4)
    assert found["balanced_accuracy"] == pytest.approx((136 / 140 + 11 / 21) / 2)
    baseline = majority_baseline(np.r_[np.ones(140), np.zeros(21)])
    assert baseline["accuracy"] == pytest.approx(0.870, abs=5e-4)
    assert baseline["f1"] == pytest.approx(0.930, abs=5e-4)
    assert baseline["balanced_accuracy"] == 0.5


def test_rates_equal_scikit_learn():
    from sklearn.metrics import balanced_accuracy_score, f1_score, matthews_corrcoef

    generator = np.random.default_rng(0)
    labels, called = generator.integers(0, 2, 80), generator.random(80) > 0.4
    found = rates(**confusion(labels, called))
    assert found["mcc"] == pytest.approx(matthews_corrcoef(labels, called))
    assert found["f1"] == pytest.approx(f1_score(labels, called))
    assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, called))
    for name, value in found.items():
        assert rate_statistic(labels, called, name)(np.ones((1, 80)))[0] == pytest.approx(float(value))


def test_predictive_values_by_hand():
    # 1000 people, 10 ill: 9 found; of 990 healthy 99 called ill.
    ppv, npv = predictive_values(0.9, 0.9, 0.01)
    assert ppv == pytest.approx(9 / 108)
    assert npv == pytest.approx(891 / 892)


def test_a_prevalence_in_percent_is_refused():
    with pytest.raises(ValueError, match="1% is 0.01"):
        predictive_values(0.9, 0.9, 5)


def test_always_positive_has_mcc_zero():
    found = rates(tp=3, fp=2, tn=0, fn=0)
    assert found["mcc"] == 0.0
    assert np.isnan(found["npv"])


@pytest.fixture
def sample():
    generator = np.random.default_rng(5)
    tumour = generator.integers(0, 2, 80)
    return tumour, np.clip(0.3 + 0.3 * tumour + generator.normal(0, 0.2, 80), 0, 1)


def test_a_report_holds_every_metric_with_value_interval_and_method(sample):
    report = classification_report(*sample, range(80), threshold=0.45, n_boot=200)
    names = "sensitivity specificity balanced_accuracy mcc f1 accuracy ppv npv roc_auc pr_auc ece".split()
    names += [f"{kind}_at_{percent}" for kind in ("ppv", "npv") for percent in (1, 5, 10)]
    assert sorted(report["metrics"]) == sorted(names)
    for name, entry in report["metrics"].items():
        assert set(entry) == {"value", "ci", "method"}
        if name != "ece":  # resampling can only add to a sum of gaps
            assert entry["ci"][0] <= entry["value"] <= entry["ci"][1], name
    assert sum(report["confusion"].values()) == report["n"] == 80
    assert set(report["curves"]) == {"roc", "pr", "reliability"}
    json.dumps(report, allow_nan=False)


def test_methods_follow_the_number_of_cases_a_patient_has(sample):
    single = classification_report(*sample, range(80), 0.45, n_boot=100)["metrics"]
    assert single["roc_auc"]["method"] == "delong"
    assert single["sensitivity"]["method"] == "wilson"
    several = classification_report(*sample, np.arange(80) // 2, 0.45, n_boot=100)["metrics"]
    assert several["roc_auc"]["method"] == several["sensitivity"]["method"] == "bootstrap by patient"
    assert several["roc_auc"]["value"] == single["roc_auc"]["value"]


def test_a_case_at_the_threshold_is_positive():
    report = classification_report([0, 1], [0.4, 0.5], "ab", threshold=0.5, n_boot=10)
    assert report["confusion"] == {"tp": 1, "fp": 0, "tn": 1, "fn": 0}


def test_perfection_on_few_cases_proves_little():
    metrics = classification_report([0] * 6 + [1] * 6, [0.1] * 6 + [0.9] * 6, range(12), n_boot=200)["metrics"]
    assert metrics["roc_auc"] == {"value": 1.0, "ci": list(wilson(6, 6)), "method": "wilson on disjoint pairs"}
    assert metrics["specificity"]["ci"] == list(wilson(6, 6))
    assert metrics["ppv_at_1"]["value"] == 1.0
    assert metrics["ppv_at_1"]["ci"][0] < 0.02


def test_no_interval_of_a_few_cases_that_are_all_right_is_without_width():
    metrics = classification_report([0, 1, 1, 1, 1], [0.1, 0.9, 0.9, 0.8, 0.9], range(5), n_boot=200)["metrics"]
    balanced = metrics["balanced_accuracy"]
    assert balanced["method"] == "limits of sensitivity and specificity"
    gaps = [1 - metrics[name]["ci"][0] for name in ("sensitivity", "specificity")]
    assert balanced["ci"] == pytest.approx([1 - np.hypot(*gaps) / 2, 1])
    for name in ("mcc", "f1", "pr_auc"):
        assert metrics[name]["value"] == pytest.approx(1) and metrics[name]["ci"] is None
        assert "same value" in metrics[name]["note"]
    assert all(entry["ci"] is None or entry["ci"][1] > entry["ci"][0] for entry in metrics.values())


def test_a_second_healthy_picture_of_one_patient_does_not_open_the_predictive_value():
    tumour, probability = [0] * 6 + [1] * 6, [0.1] * 5 + [0.9] * 7
    once = classification_report(tumour, probability, range(12), n_boot=200)["metrics"]
    twice = classification_report(tumour, probability, [0, *range(11)], n_boot=200)["metrics"]
    assert twice["specificity"]["method"] == "wilson on effective patients"
    assert twice["ppv_at_1"]["ci"][1] < 1
    assert twice["ppv_at_1"]["ci"] == pytest.approx(once["ppv_at_1"]["ci"], rel=0.5)


@pytest.mark.parametrize(("label", "rate", "value"), [(1, "sensitivity", 0.75), (0, "specificity", 0.25)])
def test_one_class_only_gives_the_one_rate_that_exists(label, rate, value):
    report = classification_report([label] * 4, [0.2, 0.6, 0.7, 0.9], "abcd")
    assert report["note"] == "one class only"
    assert "metrics" not in report
    assert report["rates"] == {rate: {"value": value, "ci": list(wilson(int(4 * value), 4)), "method": "wilson"}}


def test_patients_must_match_cases():
    with pytest.raises(ValueError, match="one patient a case"):
        classification_report([0, 1], [0.1, 0.9], "a")


def test_a_class_of_few_patients_is_drawn_within_itself_and_no_resample_is_lost(sample):
    tumour, probability = sample
    tumour = np.where(np.arange(80) < 4, 1, 0)
    patients = np.arange(80) // 2  # two positive patients
    report = classification_report(tumour, probability, patients, n_boot=200)
    assert report["metrics"]["pr_auc"]["method"] == "bootstrap by patient within class"
    assert report["metrics"]["roc_auc"]["method"] == "bootstrap by patient within class"
    assert all("dropped" not in entry for entry in report["metrics"].values())
    whole = classification_report(tumour, probability, patients, n_boot=200, rare=0)
    assert whole["metrics"]["pr_auc"]["method"] == "bootstrap by patient"
    assert whole["metrics"]["pr_auc"]["dropped"] > 0


def test_the_baseline_answers_the_commoner_class_of_the_training_section():
    assert majority_baseline(np.array([1, 1, 1, 0]), majority=0) == {
        "class": 0, "chosen_on": "training section", "accuracy": 0.25, "f1": 0.0, "balanced_accuracy": 0.5
    }  # fmt: skip
    assert majority_baseline(np.array([1, 1, 1, 0]))["chosen_on"] == "these cases"
