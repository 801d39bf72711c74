from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.special import expit

from medvlm.metrics.calibration import (
    bin_index,
    calibration_errors,
    ece_statistic,
    fit_platt,
    fit_temperature,
    negative_log_likelihood,
    reliability,
)


def golden_cases(folder):
    inputs = np.load(folder / "calibration_inputs.npz")
    for name, case in json.loads((folder / "calibration_expected.json").read_text(encoding="utf-8")).items():
        labels, probabilities = inputs[f"{name}__label"], inputs[f"{name}__prob"]
        if probabilities.ndim == 2:
            labels, probabilities = (probabilities.argmax(axis=1) == labels).astype(int), probabilities.max(axis=1)
        for bins, expected in case["by_bins"].items():
            yield name, labels, probabilities, int(bins), expected


def test_errors_equal_torchmetrics(golden):
    seen = 0
    for name, labels, probabilities, bins, expected in golden_cases(golden("statistics")):
        if name == "on_bin_edges":
            continue  # it gives 1.0 a bin of its own; ours belongs to the last
        tolerance = 1e-6 if name == "multiclass" else 1e-12  # torchmetrics casts several classes to float32
        found = calibration_errors(labels, probabilities, bins)
        for key, theirs in (("ece", "ECE_l1"), ("mce", "MCE_max"), ("rmsce", "RMSCE_l2")):
            assert found[key] == pytest.approx(expected["torchmetrics"][theirs], abs=tolerance)
        seen += 1
    assert seen >= 6


def test_errors_equal_monai_with_bins_closed_at_the_right(golden):
    seen = 0
    for _, labels, probabilities, bins, expected in golden_cases(golden("statistics")):
        if "monai_float32" in expected:
            found = calibration_errors(labels, probabilities, bins, closed="right")
            assert found["ece"] == pytest.approx(expected["monai_float32"]["expected_right=False"], abs=1e-6)
            assert found["mce"] == pytest.approx(expected["monai_float32"]["maximum_right=False"], abs=1e-6)
            seen += 1
    assert seen >= 7


@pytest.mark.parametrize(("closed", "expected"), [("left", [0, 1, 2, 3, 3]), ("right", [0, 0, 1, 2, 3])])
def test_edges_belong_to_the_stated_side(closed, expected):
    assert bin_index(np.array([0, 0.25, 0.5, 0.75, 1]), 4, closed).tolist() == expected


def test_the_table_by_hand():
    table = reliability([0, 1, 1, 1], [0.1, 0.2, 0.9, 1.0], bins=2)
    assert table["count"] == [2, 2]
    assert table["confidence"] == pytest.approx([0.15, 0.95])
    assert table["frequency"] == [0.5, 1.0]
    assert calibration_errors([0, 1, 1, 1], [0.1, 0.2, 0.9, 1.0], 2)["ece"] == pytest.approx((0.35 + 0.05) / 2)


def test_an_empty_bin_says_so():
    assert reliability([1], [0.9], bins=2)["frequency"] == [None, 1.0]


def test_the_weighted_error_equals_that_of_repeated_cases():
    generator = np.random.default_rng(0)
    labels, probabilities = generator.integers(0, 2, 40), generator.random(40)
    weights = generator.integers(0, 3, size=(5, 40)).astype(float)
    for row, value in zip(weights, ece_statistic(labels, probabilities)(weights), strict=True):
        drawn = np.repeat(np.arange(40), row.astype(int))
        assert value == pytest.approx(calibration_errors(labels[drawn], probabilities[drawn])["ece"], abs=1e-12)


@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_the_temperature_equals_the_optimum(golden, kind):
    inputs = np.load(golden("statistics") / "scaling_inputs.npz")
    expected = json.loads((golden("statistics") / "scaling_expected.json").read_text(encoding="utf-8"))[kind][
        "temperature"
    ]
    logits, labels = inputs[f"{kind}__logit"], inputs[f"{kind}__label"]
    temperature = fit_temperature(logits, labels)
    assert temperature == pytest.approx(expected["T"], rel=1e-9)
    assert negative_log_likelihood(logits, labels) == pytest.approx(expected["nll_before"], abs=1e-12)
    assert negative_log_likelihood(logits / temperature, labels) == pytest.approx(expected["nll_after"], abs=1e-12)


@pytest.mark.parametrize(("smoothed", "key"), [(True, "platt_smoothed_targets"), (False, "platt_unsmoothed")])
def test_platt_scaling_equals_the_optimum(golden, smoothed, key):
    inputs = np.load(golden("statistics") / "scaling_inputs.npz")
    expected = json.loads((golden("statistics") / "scaling_expected.json").read_text(encoding="utf-8"))["binary"][key]
    found = fit_platt(inputs["binary__logit"], inputs["binary__label"], smoothed)
    assert found == pytest.approx((expected["a"], expected["b"]), rel=1e-8)


def test_an_overconfident_network_is_cooled_to_what_made_its_labels():
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 2, 20000)
    labels = generator.random(20000) < expit(logits)
    assert fit_temperature(3 * logits, labels) == pytest.approx(3, rel=0.05)
    assert fit_platt(3 * logits, labels) == pytest.approx((1 / 3, 0), abs=0.05)


@pytest.mark.parametrize(("logits", "labels"), [([-1, 1], [0, 1]), ([-1, 1], [1, 0]), ([0, 0], [0, 1])])
def test_labels_without_a_finite_temperature_are_refused(logits, labels):
    with pytest.raises(ValueError, match="no finite temperature"):
        fit_temperature(np.array(logits), np.array(labels))


def test_separated_classes_need_smoothed_targets():
    logits, labels = np.array([-2.0, -1.0, 1.0, 2.0]), np.array([0, 0, 1, 1])
    with pytest.raises(ValueError, match="smoothed=True"):
        fit_platt(logits, labels, smoothed=False)
    assert fit_platt(logits, labels)[0] > 0


def test_logits_in_place_of_probabilities_are_refused():
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
        reliability([0, 1], [-2.0, 3.0])
