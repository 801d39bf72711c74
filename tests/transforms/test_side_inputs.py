"""Further inputs as tensors: vectors, tables, texts, and what is known of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from transforms import SideInputsd

TABLE = {"age": [60.0, 10.0], "ldl": [3.0, 2.0]}


def tokenizer(text, max_length, truncation, padding):
    """One number a word."""
    ids = [1, *[len(word) for word in text.split()][: max_length - 2], 2]
    rest = max_length - len(ids)
    return {"input_ids": ids + [9] * rest, "attention_mask": [1] * len(ids) + [0] * rest}


def side(**settings) -> SideInputsd:
    given = {"vectors": {"ecg": 3}, "tables": {"tabular": TABLE}, "texts": {"note": 6}, "tokenizer": tokenizer}
    return SideInputsd(**{**given, **settings})


def test_values_and_flags_of_what_is_there():
    case = side()({"side": {"ecg": [1.0, None, 3.0], "tabular": {"age": 70, "ldl": None}, "note": "chest pain"}})
    assert case["ecg"].tolist() == [1.0, 0.0, 3.0] and case["ecg_known"].tolist() == [1.0, 0.0, 1.0]
    assert case["tabular"].tolist() == [1.0, 0.0] and case["tabular_known"].tolist() == [1.0, 0.0]
    assert case["note"].tolist() == [1, 5, 4, 2, 0, 0] and case["note"].dtype == torch.int64
    assert case["note_known"].tolist() == [1.0, 1.0, 1.0, 1.0, 0.0, 0.0]


@pytest.mark.parametrize("given", [{}, {"side": None}, {"side": {"ecg": None, "tabular": {}, "note": "  "}}])
def test_what_is_absent_is_zeros_and_not_known(given):
    transform = side()
    case = transform({"case_id": "a", **given})
    assert case["case_id"] == "a" and set(transform.made) <= set(case)
    assert all(case[key].eq(0).all() for key in transform.made)


@pytest.mark.parametrize("kind", [".npy", ".csv"])
def test_a_vector_may_be_a_file(tmp_path, kind):
    path = str(tmp_path / f"ecg{kind}")
    values = np.array([0.5, np.nan, -1.0], dtype=np.float32)
    np.save(path, values) if kind == ".npy" else np.savetxt(path, values[None], delimiter=",")
    case = side()({"side": {"ecg": path}})
    assert case["ecg"].tolist() == [0.5, 0.0, -1.0] and case["ecg_known"].tolist() == [1.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"ekg": [1, 2, 3]}, "no further input is called 'ekg'"),
        ({"tabular": {"aeg": 3}}, "no column of the table 'tabular' is called 'aeg'"),
        ({"tabular": {"age": "old"}}, "must be a number or null, got 'old'"),
        ({"tabular": [1, 2]}, "must have a name"),
        ({"ecg": [1, 2]}, "must have 3 values, got 2"),
        ({"ecg": ["a", 1, 2]}, "must be numbers"),
        ({"ecg": "gone.npy"}, "gone.npy cannot be read as numbers"),
    ],
)
def test_slips_of_the_datalist_are_refused(given, words):
    with pytest.raises(ValueError, match=words):
        side()({"side": given})


def test_what_is_ignored_may_be_there():
    given = {"ekg": [1], "tabular": {"age": 50, "name": "x"}}
    assert side(ignored=["ekg", "name"])({"side": given})["tabular"].tolist() == [-1.0, 0.0]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"vectors": {}, "tables": {}, "texts": {}}, "at least one name"),
        ({"vectors": {"note": 3}}, "each once"),
        ({"vectors": {"ecg": 0}}, "at least one value"),
        ({"tables": {"tabular": {"age": [1.0, 0.0]}}}, "a spread above 0"),
        ({"texts": {"note": 2}}, "at least 3 tokens"),
    ],
)
def test_settings_out_of_range_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        side(**settings)


def test_a_text_without_a_tokenizer_is_refused_when_it_is_read():
    assert side(tokenizer=None).lengths == {"ecg": 3, "tabular": 2}
    with pytest.raises(ValueError, match="needs the tokenizer of the weights"):
        side(tokenizer=None)({})
    with pytest.raises(TypeError, match="tokenizer must be"):
        side(tokenizer="words")
