from __future__ import annotations

import json
import logging

import numpy as np
import pytest

from medvlm.metrics.intervals import wilson
from medvlm.metrics.operating_point import (
    check_operating_point,
    choose_operating_point,
    file_beside,
    file_for,
    load_operating_point,
    misfit,
    save_operating_point,
    threshold_for,
)


@pytest.fixture
def cases():
    # 20 positives at 0.05, 0.10 ... 1.00 and 10 negatives at 0.00 ... 0.09.
    return np.r_[np.ones(20), np.zeros(10)], np.r_[np.arange(1, 21) / 20, np.arange(10) / 100]


@pytest.mark.parametrize(
    ("target", "threshold", "sensitivity", "specificity"),
    [(0.95, 0.095, 0.95, 1.0), (0.5, 0.095, 0.95, 1.0), (1, 0.045, 1.0, 0.5)],  # tied at 0.05: both are positive
)
def test_the_target_is_reached_at_the_highest_specificity(cases, target, threshold, sensitivity, specificity):
    point = choose_operating_point(*cases, target_sensitivity=target)
    assert point["threshold"] == pytest.approx(threshold)
    assert point["achieved"]["sensitivity"] == pytest.approx(sensitivity)
    assert point["achieved"]["specificity"] == pytest.approx(specificity)


def test_no_tumour_is_given_up_where_it_spares_no_false_alarm():
    tumour, probability = np.r_[np.ones(40), np.zeros(20)], np.r_[np.linspace(0.9, 0.99, 40), np.linspace(0, 0.5, 20)]
    point = choose_operating_point(tumour, probability, 0.95)
    assert point["threshold"] == pytest.approx(0.7)  # the middle of the gap, not 0.905, where 38 of 40 are found
    assert (point["achieved"]["sensitivity"], point["achieved"]["specificity"]) == (1.0, 1.0)


def test_without_healthy_cases_below_the_threshold_is_the_highest_that_reaches_the_target():
    probability = np.linspace(0.1, 1.0, 20)
    assert choose_operating_point(np.ones(20), probability, 0.95)["threshold"] == probability[1]
    above = choose_operating_point(np.r_[np.ones(20), np.zeros(5)], np.r_[probability, np.full(5, 0.99)], 0.95)
    assert above["threshold"] == probability[1] and above["achieved"]["specificity"] == 0.0


def test_neighbours_without_a_number_between_them_are_told_apart():
    low = 0.5
    high = float(np.nextafter(low, 1))
    point = choose_operating_point(np.r_[np.ones(10), np.zeros(10)], np.r_[np.full(10, high), np.full(10, low)])
    assert point["threshold"] == high and point["achieved"]["specificity"] == 1.0


def test_cases_tied_at_the_threshold_are_all_positive():
    tumour = np.r_[np.ones(20), np.zeros(3)]
    point = choose_operating_point(tumour, np.r_[np.full(12, 0.9), np.full(8, 0.4), 0.4, 0.39, 0.1], 0.8)
    assert point["threshold"] == pytest.approx(0.395)
    assert point["achieved"]["sensitivity"] == 1.0
    assert point["achieved"]["specificity"] == pytest.approx(2 / 3)


def test_a_point_says_where_it_comes_from(cases):
    point = choose_operating_point(*cases, checkpoint_sha256="ab" * 32)
    assert point["chosen_on"] == "validation"
    assert (point["n"], point["n_positive"], point["frozen"]) == (30, 20, True)
    assert point["checkpoint_sha256"] == "ab" * 32
    assert point["achieved"]["sensitivity_ci"] == pytest.approx(wilson(19, 20))
    assert point["achieved"]["specificity_ci"] == pytest.approx(wilson(10, 10))


def test_what_few_cases_prove_is_said(cases, caplog):
    with caplog.at_level(logging.WARNING):
        choose_operating_point(*cases)
    assert "20 positive of 30 cases, 95% CI 0.764 to 0.991" in caplog.text


@pytest.mark.parametrize("section", ["test", "external_test", "Test"])
def test_a_test_section_is_refused(cases, section):
    with pytest.raises(ValueError, match="choose it on validation"):
        choose_operating_point(*cases, section=section)


def test_too_few_positives_are_refused_with_the_remedy():
    with pytest.raises(ValueError, match="enlarge the validation split"):
        choose_operating_point([1] * 9 + [0] * 50, np.linspace(0, 1, 59))


@pytest.mark.parametrize("target", [0, 1.2, 95])
def test_a_target_out_of_range_is_refused(cases, target):
    with pytest.raises(ValueError, match="0.95 is usual"):
        choose_operating_point(*cases, target_sensitivity=target)


def test_a_file_gives_back_the_very_threshold(cases, tmp_path):
    tumour, probability = cases
    point = choose_operating_point(tumour, probability / 3)
    path = save_operating_point(point, tmp_path / "models" / "operating_point.json")
    assert load_operating_point(path) == point
    assert [file.name for file in path.parent.iterdir()] == ["operating_point.json"]


def test_weights_that_it_was_not_chosen_for_are_reported(cases, tmp_path, caplog):
    path = save_operating_point(choose_operating_point(*cases, checkpoint_sha256="a" * 64), tmp_path / "point.json")
    with caplog.at_level(logging.WARNING):
        caplog.clear()
        load_operating_point(path, checkpoint_sha256="a" * 64)
        assert not caplog.records
        load_operating_point(path, checkpoint_sha256="b" * 64)
    assert "choose it again" in caplog.text


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"threshold": 1.5}', '{"threshold": true}', '{"threshold": null}'])
def test_a_file_without_a_threshold_is_refused_by_name(tmp_path, text):
    path = tmp_path / "point.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"point\.json holds no operating point"):
        load_operating_point(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="choose one on the validation section"):
        load_operating_point(tmp_path / "point.json")


def test_without_a_point_half_is_used_and_said_to_be_unchosen():
    point = check_operating_point(None)
    assert (point["threshold"], point["chosen_on"], point["frozen"]) == (0.5, "default", False)
    json.dumps(point, allow_nan=False)


def test_kinds_of_input_have_thresholds_of_their_own(caplog):
    tumour = np.array([1, 1, 0, 0] * 5 + [1, 1, 0, 0] * 5 + [1, 0])
    probability = np.array([0.9, 0.8, 0.2, 0.1] * 5 + [0.4, 0.3, 0.2, 0.1] * 5 + [0.7, 0.1])
    kinds = ["volume"] * 20 + ["picture"] * 20 + ["film"] * 2
    point = choose_operating_point(tumour, probability, 0.95, kinds=kinds)
    thresholds = {kind: own["threshold"] for kind, own in point["kinds"].items()}
    assert thresholds == pytest.approx({"picture": 0.25, "volume": 0.5})
    assert point["kinds"]["volume"]["achieved"]["specificity"] == 1.0
    assert "too few tumours among the films" in caplog.text
    assert threshold_for(point, "volume") == pytest.approx(0.5)
    assert threshold_for(point, "film") == threshold_for(point, None) == point["threshold"] == pytest.approx(0.25)


def test_a_kind_without_a_threshold_is_refused():
    with pytest.raises(ValueError, match="kind 'picture' needs a threshold"):
        check_operating_point({"threshold": 0.5, "kinds": {"picture": {}}})


def test_settings_it_was_not_chosen_under_are_named_with_both_values(cases):
    chosen = {"image_size": (128, 128), "mirror": True, "pooling": "max"}
    point = choose_operating_point(*cases, settings=chosen)
    assert point["settings"] == {"image_size": [128, 128], "mirror": True, "pooling": "max"}
    assert misfit(point, settings=chosen) == misfit(point, settings={**chosen, "backend": "onnxruntime"}) == ""
    words = misfit(point, settings={"image_size": [128, 96], "mirror": False, "pooling": "max"})
    assert "image_size [128, 128] (here [128, 96]), mirror true (here false);" in words and "pooling" not in words
    assert "use the settings it was chosen with, or choose it again" in words
    assert 'pooling "max" (here not set)' in misfit(point, settings={"image_size": [128, 128], "mirror": True})


@pytest.mark.parametrize("stored", [{}, {"settings": None}, {"settings": {}}], ids=["no key", "none", "empty"])
def test_a_point_of_before_settings_were_stored_still_holds(stored):
    assert misfit({"threshold": 0.4, **stored}, "a" * 64, {"mirror": True}) == ""


def test_settings_in_use_that_nobody_told_are_not_compared():
    assert misfit({"threshold": 0.4, "settings": {"mirror": True}}) == ""


def test_damaged_settings_are_refused():
    with pytest.raises(ValueError, match="names with values, got 'mirror'; choose it again"):
        misfit({"threshold": 0.4, "settings": "mirror"}, settings={})


@pytest.mark.parametrize(
    ("weights", "file"),
    [
        ("model.pt", "operating_point.json"),
        ("model_3d.pt", "operating_point_3d.json"),
        ("classification_only.pt", "operating_point_classification_only.json"),
        ("models.pt", "operating_point_models.json"),
    ],
)
def test_weights_have_an_operating_point_of_their_own(weights, file):
    assert file_for(weights) == file


def test_the_file_lies_beside_its_weights(tmp_path):
    assert file_beside(tmp_path / "fine_tuned.pt") == str(tmp_path / "operating_point_fine_tuned.json")
    assert file_beside(None) == ""
