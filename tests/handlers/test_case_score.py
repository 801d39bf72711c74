"""The scores that choose a checkpoint."""

from __future__ import annotations

import math

import pytest
import torch

from medvlm.handlers.case_score import CaseScore


def case(
    pred: float, truth: float, probability: float, tumour: int, mask_known: float = 1.0, tumour_known: float = 1.0
):
    shape = (1, 4, 4, 2)
    return {
        "pred_mask": torch.full(shape, pred),
        "label": torch.full(shape, truth),
        "probability": probability,
        "tumour": tumour,
        "mask_known": mask_known,
        "tumour_known": tumour_known,
    }


def test_dice_is_the_mean_over_cases_with_the_rule_for_empties():
    metric = CaseScore("dice")
    metric.update([case(0.0, 0.0, 0.1, 0), case(0.9, 0.0, 0.1, 0), case(0.9, 1.0, 0.9, 1)])
    assert metric.compute() == pytest.approx(2 / 3)


def test_unknown_masks_and_classes_have_no_part():
    metric = CaseScore("joint")
    metric.update(
        [case(0.9, 1.0, 0.9, 1), case(0.9, 0.0, 0.2, 0, mask_known=0.0), case(0.9, 1.0, 0.0, 1, tumour_known=0)]
    )
    assert metric.compute() == pytest.approx(1.0)


def test_roc_auc_counts_pairs():
    metric = CaseScore("roc_auc")
    metric.update([case(0, 0, p, t) for p, t in ((0.9, 1), (0.4, 1), (0.5, 0), (0.1, 0))])
    assert metric.compute() == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("score", "cases", "words"),
    [
        ("roc_auc", [case(0, 0, 0.2, 0), case(0, 0, 0.4, 0)], "2 cases without and 0 with a tumour"),
        ("dice", [case(0, 0, 0.2, 0, mask_known=0.0)], "0 known masks"),
    ],
)
def test_a_score_that_cannot_be_computed_is_unknown_and_told_once(score, cases, words, caplog):
    metric = CaseScore(score, section="tuning")
    metric.update(cases)
    assert math.isnan(metric.compute()) and math.isnan(metric.compute())
    assert len(caplog.records) == 1 and "'tuning'" in caplog.text and words in caplog.text


def test_reset_forgets():
    metric = CaseScore("dice")
    metric.update([case(0.9, 0.0, 0.1, 0)])
    metric.reset()
    with pytest.raises(RuntimeError, match="has seen no case"):
        metric.compute()


def test_an_unknown_score_is_refused():
    with pytest.raises(ValueError, match="score must be one of"):
        CaseScore("accuracy")
