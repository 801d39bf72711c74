"""Answers of the heads: scales, intervals, thresholds and verdicts."""

from __future__ import annotations

import json

import pytest
import torch

from medvlm.handlers.study_heads import check_head_words, head_answers, head_words, interval, read_points

SPECS = {
    "stenosis": {"kind": "binary"},
    "max_stenosis": {"kind": "regression"},
    "dominance": {"kind": "multiclass"},
}
ITEM = {
    "pred_head_stenosis": torch.tensor([0.0]),
    "pred_resampled_stenosis": torch.tensor([[-1.0], [0.5], [1.0]]),
    "pred_head_max_stenosis": torch.tensor([62.0]),
    "pred_resampled_max_stenosis": torch.tensor([[50.0], [60.0], [70.0]]),
    "pred_head_dominance": torch.tensor([2.0, 0.0, 0.0]),
    "pred_resampled_dominance": torch.tensor([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0]]),
}


def test_each_kind_is_told_on_its_scale():
    answers = head_answers(
        ITEM, SPECS, class_names={"dominance": ["right", "left", "both"]}, units={"max_stenosis": "%"}
    )
    assert answers["stenosis"]["probability"] == 0.5 and answers["stenosis"]["verdict"] == "positive"
    assert not answers["stenosis"]["calibrated"] and answers["stenosis"]["threshold"] == 0.5
    assert answers["max_stenosis"]["value"] == 62.0 and answers["max_stenosis"]["unit"] == "%"
    assert answers["max_stenosis"]["interval"] == [50.5, 69.5]
    assert answers["dominance"]["class"] == "right"
    assert sum(answers["dominance"]["probabilities"].values()) == pytest.approx(1, abs=1e-3)
    low, high = answers["dominance"]["intervals"]["left"]
    assert low < answers["dominance"]["probabilities"]["left"] + 0.02 and high > 0.7


def test_a_frozen_threshold_decides(tmp_path):
    answers = head_answers(ITEM, SPECS, {"stenosis": {"threshold": 0.51}})
    assert answers["stenosis"]["verdict"] == "negative" and answers["stenosis"]["calibrated"]


def test_the_interval_holds_the_answer_itself():
    draws = torch.tensor([[1.0], [1.1], [1.2]]).numpy()[:, 0]
    assert interval(0.2, draws) == [0.2, pytest.approx(1.195)]
    assert interval(3.0, draws)[1] == 3.0


@pytest.mark.parametrize("draws", [None, [], [0.4, 0.4]], ids=["none", "no draws", "all alike"])
def test_without_a_spread_there_is_no_interval(draws):
    assert interval(0.4, None if draws is None else torch.tensor(draws).numpy()) is None


def test_heads_that_were_not_computed_are_left_out():
    assert set(head_answers({"pred_head_stenosis": torch.zeros(1)}, SPECS)) == {"stenosis"}


def test_answers_in_words():
    answers = head_answers(ITEM, SPECS, {"stenosis": {"threshold": 0.3}}, {"dominance": ["right", "left", "both"]})
    assert head_words("stenosis", answers["stenosis"]) == "stenosis 0.50 (0.29 to 0.73), positive"
    assert head_words("max_stenosis", answers["max_stenosis"]) == "max stenosis 62 (50.5 to 69.5)"
    assert head_words("dominance", answers["dominance"]) == "dominance right (0.79)"


def test_points_of_other_weights_do_not_count(tmp_path, caplog):
    file = tmp_path / "operating_points.json"
    points = {"a": {"threshold": 0.4, "checkpoint_sha256": "mine"}, "b": {"threshold": 0.2, "checkpoint_sha256": "x"}}
    file.write_text(json.dumps(points), encoding="utf-8")
    fit, unfit = read_points(file, "mine")
    assert set(fit) == {"a"} and set(unfit) == {"b"} and "other weights" in unfit["b"]
    assert "the threshold of b in" in caplog.text and "other weights" in caplog.text
    assert read_points(tmp_path / "gone.json", "mine") == ({}, {})


def test_points_of_other_settings_do_not_count_and_are_told_once(tmp_path, caplog):
    file = tmp_path / "points.json"
    points = {name: {"threshold": 0.4, "settings": {"frames": 16, "max_views": 4}} for name in ("a", "b")}
    file.write_text(json.dumps({**points, "old": {"threshold": 0.3}}), encoding="utf-8")
    assert set(read_points(file, None, {"frames": 16, "max_views": 4})[0]) == {"a", "b", "old"}
    for _ in range(2):
        fit, unfit = read_points(file, None, {"frames": 16, "max_views": 6})
    assert set(fit) == {"old"} and "max_views 4 (here 6)" in unfit["a"] and "frames" not in unfit["a"]
    assert len(caplog.records) == 1 and "the threshold of a, b in" in caplog.text and "overlay calibrate" in caplog.text


@pytest.mark.parametrize(
    "content",
    ["[]", '{"a": {}}', "broken", '{"a": {"threshold": "high"}}', '{"a": {"threshold": 0.5, "settings": ["frames"]}}'],
)
def test_a_damaged_file_of_points_is_refused(tmp_path, content):
    (tmp_path / "points.json").write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match="holds no operating points"):
        read_points(tmp_path / "points.json", None)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"class_names": {"dominence": ["a", "b", "c"]}}, "does not have; did you mean 'dominance'"),
        ({"units": {"dominance": "%"}}, "units are of regression heads, 'dominance' is multiclass"),
        ({"class_names": {"dominance": ["a", "b"]}}, "'dominance' needs 3 names"),
    ],
    ids=["misspelt", "another kind", "too few"],
)
def test_names_that_do_not_fit_the_heads_are_refused(given, words):
    with pytest.raises(ValueError, match=words):
        check_head_words({**SPECS, "dominance": {"kind": "multiclass", "classes": 3}}, **given)


def test_names_of_heads_that_do_not_exist_are_told(caplog):
    check_head_words(SPECS, {"dominance": ["a", "b", "c"]}, {"syntax": "points"})
    assert len(caplog.records) == 1 and "units of ['syntax'] have no effect" in caplog.text
