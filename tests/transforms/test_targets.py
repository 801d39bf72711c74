"""Targets as a vector and a mask."""

from __future__ import annotations

import pytest
import torch

from transforms import TargetsToTensord

NAMES = ["stenosis", "max_stenosis", "dominance"]


def test_known_and_unknown_targets():
    d = TargetsToTensord(names=NAMES)({"targets": {"max_stenosis": 85, "stenosis": None, "other": 3}})
    assert d["targets"].tolist() == [0, 85, 0] and d["targets"].dtype == torch.float32
    assert d["targets_known"].tolist() == [0, 1, 0]


def test_a_zero_and_a_false_are_known():
    d = TargetsToTensord(names=NAMES)({"targets": {"stenosis": False, "dominance": 0, "max_stenosis": float("nan")}})
    assert d["targets"].tolist() == [0, 0, 0] and d["targets_known"].tolist() == [1, 0, 1]


@pytest.mark.parametrize("case", [{}, {"targets": None}, {"targets": {}}])
def test_a_case_without_targets_knows_none(case):
    assert TargetsToTensord(names=NAMES)(case)["targets_known"].tolist() == [0, 0, 0]


@pytest.mark.parametrize("value", ["severe", float("inf"), [1]])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(ValueError, match="case 'c1': target 'stenosis' must be a finite number, got .*; prepare the"):
        TargetsToTensord(names=NAMES)({"targets": {"stenosis": value}, "case_id": "c1"})


@pytest.mark.parametrize("names", [[], ["a", "a"]])
def test_names_are_checked(names):
    with pytest.raises(ValueError, match="names must be distinct and not empty"):
        TargetsToTensord(names=names)


def test_the_case_is_not_changed():
    case = {"targets": {"stenosis": 1}, "other": 5}
    assert TargetsToTensord(names=NAMES)(case)["other"] == 5
    assert case == {"targets": {"stenosis": 1}, "other": 5}
