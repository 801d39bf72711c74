"""What a network was trained to see is kept beside its weights and compared."""

import json
import logging
from types import SimpleNamespace

import pytest

from medvlm.trained_settings import (
    caution,
    compare_settings,
    head_kinds,
    keep_settings,
    settings_file,
    trained_heads,
    untrained_heads,
    untrained_words,
)


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


BOTH, MASK, TUMOUR = {"mask": 1.0, "tumour": 0.7}, {"mask": 1.0, "tumour": 0.0}, {"mask": 0.0, "tumour": 1.0}
ALL_ON, MASK_ON = SimpleNamespace(mask_on=True, tumour_on=True), SimpleNamespace(mask_on=True, tumour_on=False)


@pytest.mark.parametrize(
    ("network", "weights", "frozen", "before", "heads"),
    [
        (ALL_ON, BOTH, (), None, ["mask", "tumour"]),
        (ALL_ON, MASK, (), None, ["mask"]),
        (MASK_ON, BOTH, (), None, ["mask"]),
        (ALL_ON, BOTH, ("encoder", "tumour_head"), None, ["mask"]),
        (ALL_ON, TUMOUR, ("encoder", "mask_head"), {"trained_heads": ["mask"]}, ["mask", "tumour"]),
        (ALL_ON, MASK, (), {"trained_heads": ["mask"]}, ["mask"]),
        (ALL_ON, BOTH, (), {"image_size": 128}, ["mask", "tumour"]),
        (ALL_ON, MASK, (), {"image_size": 128}, None),
    ],
    ids=["both", "mask", "off", "frozen", "one after the other", "again", "not known: both", "not known: one"],
)
def test_heads_are_trained_by_a_stage_or_before_it(tmp_path, network, weights, frozen, before, heads):
    if before is not None:
        keep_settings(tmp_path / "start.pt", before)
    start = None if before is None else str(tmp_path / "start.pt")
    assert trained_heads(network, weights, frozen, start) == heads


def test_a_head_that_was_never_trained_is_named_and_changes_no_caution(tmp_path):
    weights = tmp_path / "stage_1.pt"
    assert untrained_heads(weights) == [] and untrained_words(weights) == ""
    keep_settings(weights, {"image_size": 96, "trained_heads": ["mask"]})
    assert untrained_heads(weights) == ["tumour"] and untrained_heads(weights, ["mask"]) == []
    assert untrained_words(weights).startswith("The tumour head of stage_1.pt was never trained")
    assert caution(weights, {"image_size": 96}) == ""
    assert json.loads(settings_file(weights).read_text())["trained_heads"] == ["mask"]
