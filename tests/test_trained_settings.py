"""What a network was trained to see is kept beside its weights and compared."""

import logging

import pytest

from medvlm.trained_settings import caution, compare_settings, head_kinds, keep_settings, settings_file


def test_names_setting_both_values_and_remedy(tmp_path, caplog):
    weights = tmp_path / "model.pt"
    assert keep_settings(weights, {"frames": 2, "image_size": 96}).name == "model.settings.json"
    with caplog.at_level(logging.WARNING):
        words = compare_settings(weights, {"frames": 16, "image_size": 96})
    assert "frames 2 (here 16)" in words and "--frames 2" in words and "image_size" not in words
    assert caplog.messages == [words]


def test_the_remedy_can_be_typed(tmp_path):
    keep_settings(tmp_path / "model.pt", {"channels": ["FLAIR", "T1"], "subtract": "first"})
    words = caution(tmp_path / "model.pt", {"channels": ["FLAIR"], "subtract": "none"})
    assert """--channels '["FLAIR", "T1"]' --subtract first, or the overlays""" in words


def test_says_nothing_where_settings_agree_or_are_unknown(tmp_path):
    weights = tmp_path / "probe.pt"
    assert caution(weights, {"frames": 16}) == ""
    keep_settings(weights, {"frames": 2, "subtract": None})
    assert caution(weights, {"frames": 2, "subtract": None, "pooling": "max"}) == ""
    assert caution(weights, None) == ""


def test_refuses_a_damaged_file(tmp_path):
    settings_file(tmp_path / "model.pt").write_text("[1]")
    with pytest.raises(ValueError, match="copy it again"):
        caution(tmp_path / "model.pt", {"frames": 2})


def test_heads_of_another_kind_are_told(tmp_path, caplog):
    weights = tmp_path / "probe.pt"
    heads = {"stenosis": {"kind": "binary", "lr": 1e-3}, "occlusion": {"kind": "binary"}}
    keep_settings(weights, {"frames": 2, "heads": head_kinds(heads)})
    assert compare_settings(weights, {"frames": 2}, heads) == ""
    other_order = {"occlusion": {"kind": "binary"}, "stenosis": {"kind": "binary"}}
    assert compare_settings(weights, {"frames": 2}, other_order) == ""
    words = compare_settings(weights, {"frames": 2}, heads | {"occlusion": {"kind": "regression"}})
    assert '["occlusion", "binary"]' in words and '(here [["occlusion", "regression"]' in words
    assert words in caplog.text
    assert "--heads" not in words and words.endswith("Give the overlays of its training.")
