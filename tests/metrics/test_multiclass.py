"""Scores of heads with several classes."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, balanced_accuracy_score, f1_score, roc_auc_score

from medvlm.metrics.intervals import wilson
from medvlm.metrics.multiclass import multiclass_report


@pytest.fixture
def sample():
    generator = np.random.default_rng(3)
    truth = generator.integers(0, 3, 90)
    logits = generator.normal(size=(90, 3)) + 1.5 * np.eye(3)[truth]
    return truth, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def test_every_score_equals_scikit_learns(sample):
    truth, chances = sample
    called, member = chances.argmax(axis=1), np.eye(3)[truth]
    metrics = multiclass_report(truth, chances, range(90), n_boot=50)["metrics"]
    expected = {
        "accuracy": (called == truth).mean(),
        "balanced_accuracy": balanced_accuracy_score(truth, called),
        "macro_f1": f1_score(truth, called, average="macro"),
        "macro_auc": roc_auc_score(truth, chances, multi_class="ovr"),
        "macro_pr_auc": average_precision_score(member, chances, average="macro"),
    }
    assert {name: metrics[name]["value"] for name in expected} == pytest.approx(expected)
    assert set(metrics) == {*expected, "ece"}
    for name in expected:
        assert metrics[name]["ci"][0] <= metrics[name]["value"] <= metrics[name]["ci"][1]
        assert metrics[name]["method"] == "bootstrap by patient"


def test_all_of_a_few_cases_right_leaves_no_limits_without_width():
    truth = np.array([0, 1, 2, 0, 1, 2])
    metrics = multiclass_report(truth, np.eye(3)[truth] * 0.7 + 0.1, range(6), n_boot=50)["metrics"]
    assert metrics["balanced_accuracy"]["method"] == "limits of each class"
    gap = 1 - wilson(2, 2)[0]
    assert metrics["balanced_accuracy"]["ci"] == pytest.approx([1 - gap / np.sqrt(3), 1])
    assert metrics["macro_f1"]["ci"] is None and "same value" in metrics["macro_f1"]["note"]


def test_calibration_is_that_of_the_class_that_is_said():
    truth, chances = np.array([0, 0, 0, 1]), np.tile([0.75, 0.25], (4, 1))
    report = multiclass_report(truth, chances, list("abcd"), n_boot=20)
    assert report["metrics"]["ece"]["value"] == pytest.approx(0)
    assert report["curves"]["reliability"]["count"][7] == 4


def test_balanced_accuracy_counts_classes_alike():
    truth, chances = np.array([0] * 8 + [1] * 2), np.tile([0.9, 0.1], (10, 1))
    report = multiclass_report(truth, chances, list(range(10)), n_boot=20)
    assert report["metrics"]["accuracy"]["value"] == pytest.approx(0.8)
    assert report["metrics"]["balanced_accuracy"]["value"] == pytest.approx(0.5)
    assert report["confusion"] == [[8, 0], [2, 0]] and report["baseline_majority"]["accuracy"] == 0.8


def test_the_baseline_answers_the_class_of_the_training_section():
    truth, chances = np.array([0] * 8 + [1] * 2), np.tile([0.9, 0.1], (10, 1))
    baseline = multiclass_report(truth, chances, list(range(10)), majority=1, n_boot=5)["baseline_majority"]
    assert baseline["class"] == 1 and baseline["chosen_on"] == "training section"
    assert baseline["accuracy"] == pytest.approx(0.2) and baseline["balanced_accuracy"] == pytest.approx(0.5)
    with pytest.raises(ValueError, match="a class of 0 to 1, got 2"):
        multiclass_report(truth, chances, list(range(10)), majority=2, n_boot=5)


def test_a_rare_class_is_in_every_resample(sample):
    truth, chances = sample
    truth = np.where(truth == 2, 0, truth)
    truth[:2] = 2
    metrics = multiclass_report(truth, chances, range(90), n_boot=300)["metrics"]
    assert metrics["balanced_accuracy"]["method"] == "bootstrap by patient within class"
    assert all("dropped" not in entry and entry["ci"] for entry in metrics.values())
