"""What single sections of the report say."""

from __future__ import annotations

import re

import pytest

from medvlm.visualize.page import table
from medvlm.visualize.sections import agreement, confounding_reading
from medvlm.visualize.sections.summary import summary


def _text(markup: str) -> str:
    return " ".join(re.sub("<[^>]*>", " ", markup).split())


def test_the_dice_says_over_which_cases_and_stands_beside_that_of_tumours(evaluation, rows):
    scores = evaluation["segmentation"]["overall"]["WT"]
    assert "cases with a tumour 0" not in _text(summary(evaluation, rows, {}))
    scores["empty_truth"] = {"n": 27, "false_alarms": 3}
    scores["dice_with_tumour"] = {"value": 0.771, "ci": [0.7, 0.83], "n": 40}
    text = _text(summary(evaluation, rows, {}))
    assert "Dice, WT, all cases 0.86 (0.82\N{EN DASH}0.90) mean of 67 cases with a known mask; 27 hold no WT" in text
    assert "Dice, WT, cases with a tumour 0.77 (0.70\N{EN DASH}0.83) mean of 40 cases whose true mask holds WT" in text


def test_the_agreement_counts_what_it_lists(evaluation, rows):
    rows[13] |= {"pred_volume_ml_WT": None, "pred_voxels_WT": 31}
    evaluation["agreement"]["disagreeing"].append("elsewhere")
    text = _text(agreement(evaluation, rows, {}))
    assert "Cases whose heads disagree (4)" in text and "heads disagree (n = 3)" in text
    assert "A dot a case: 99 volumes and 1 picture;" in text
    assert "Not drawn, for want of a row with both answers: 1 of the cases that disagree." in text
    assert "is 0.81 (volumes only)" in text


def test_an_interval_breaks_from_its_value_and_nowhere_else():
    made = table(["Source", "Dice"], [["a (b)", "0.75 (0.59\N{EN DASH}0.88)"], ["c", "12 of 30 (words)"]])
    assert '0.75 <span class="together">(0.59\N{EN DASH}0.88)</span></td>' in made
    assert ">a (b)</th>" in made and ">12 of 30 (words)</td>" in made


def test_the_confounding_audit_is_read_aloud():
    probe = {"balanced_accuracy": 0.9, "ci": [0.8, 0.95], "chance": 0.5, "permutation": {"p": 0.005, "n": 199}}
    sources = {"a": {"0": 0, "1": 9}, "b": {"0": 9, "1": 0}}
    said = " ".join(confounding_reading({"source_from_features": probe, "label_by_source": sources}))
    assert "The features carry the source (p = 0.005, 199 permutations of the sources)" in said
    assert "a holds only tumours" in said and "b holds only cases without a tumour" in said
    both = {"a": {"0": 4, "1": 9}, "b": {"0": 9, "1": 2}}
    said = " ".join(confounding_reading({"label_by_source": both}))
    assert "holds both" in said
    assert confounding_reading({}) == []
    assert "one source only" in " ".join(confounding_reading({"label_by_source": {"a": {"0": 1, "1": 2}}}))


@pytest.mark.parametrize(
    ("permutation", "words"),
    [
        ({"p": 0.05, "n": 19}, "The features carry the source (p = 0.050, 19 permutations of the sources)"),
        ({"p": 0.095, "n": 199}, "cannot be told from chance (p = 0.095, 199 permutations of the sources)."),
        ({"p": 0.1, "n": 9}, "so few permutations cannot reach p = 0.05"),
        ({"p": 0.2}, "cannot be told from chance (p = 0.20)."),
        (None, "was not tested"),
    ],
)
def test_the_features_carry_the_source_only_where_the_test_says_so(permutation, words):
    # An interval above chance does not decide: it is that of one classifier, and no test of the features.
    probe = {"balanced_accuracy": 0.9, "ci": [0.8, 0.95], "chance": 0.5, "permutation": permutation}
    (said,) = confounding_reading({"source_from_features": probe})
    assert words in said
    assert ("carry the source" in said) == words.startswith("The features carry")
