"""The scores that choose the weights of a video-text network or a probe."""

from __future__ import annotations

import logging
import math

import pytest
import torch
from torch import nn

from medvlm.handlers.study_score import StudyScore, score_of
from medvlm.losses.probes import ProbeLoss

HEADS = {"percent": {"kind": "regression"}, "occlusion": {"kind": "binary"}, "stenosis": {"kind": "binary"}}


def batch(truths, said, names=("percent", "occlusion", "stenosis")):
    """Every study known; one answer a head."""
    count = len(next(iter(truths.values())))
    targets = torch.tensor([[float(truths[name][index]) for name in names] for index in range(count)])
    pred = {name: torch.tensor(values, dtype=torch.float32)[:, None] for name, values in said.items()}
    target = {"targets": targets, "targets_known": torch.ones_like(targets), "study_valid": torch.ones(count)}
    return pred, target


@pytest.fixture
def answers():
    truths = {"percent": [1, 2, 3, 4], "occlusion": [1, 0, 1, 0], "stenosis": [0, 0, 1, 1]}
    said = {"percent": [0, 0, 0, 0], "occlusion": [-1, 1, -1, 1], "stenosis": [-2, -1, 1, 2]}
    return truths, said


@pytest.mark.parametrize(("scored", "value"), [(["stenosis"], 1.0), (["occlusion"], 0.0), (None, 0.5)])
@pytest.mark.parametrize("names", [("percent", "occlusion", "stenosis"), ("stenosis", "percent", "occlusion")])
def test_the_column_of_a_head_follows_the_names_of_the_targets(answers, scored, value, names):
    metric = StudyScore("roc_auc", heads=HEADS, names=names, scored=scored)
    metric.update(batch(*answers, names=names))
    assert metric.compute() == pytest.approx(value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"scored": ["stenoses"]}, "got \\['stenoses'\\]; did you mean 'stenosis'"),
        ({"scored": ["percent"]}, "of which there are \\['occlusion', 'stenosis'\\], got \\['percent'\\]"),
        ({"scored": {"stenosis": 0}}, "takes a list of binary heads"),
        ({"names": ["percent", "occlusion"]}, "\\['stenosis'\\] are not in"),
        ({"heads": {"percent": {"kind": "regression"}}}, "set key_score to 'loss'"),
    ],
    ids=["misspelt", "not binary", "columns by number", "no column", "no binary head"],
)
def test_heads_that_cannot_be_scored_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        StudyScore("roc_auc", **{"heads": HEADS, **settings})


@pytest.mark.parametrize(("heads", "score"), [(HEADS, "roc_auc"), ({"percent": {"kind": "regression"}}, "loss")])
def test_probes_without_a_binary_head_are_chosen_by_their_loss(heads, score):
    assert score_of(heads) == score


def test_a_missing_class_makes_the_score_unknown_and_is_told_once_with_the_counts(answers, caplog):
    truths, said = answers
    metric = StudyScore("roc_auc", heads=HEADS, scored=["stenosis"], section="tuning")
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            metric.reset()
            metric.update(batch({**truths, "stenosis": [0, 0, 0, 0]}, said))
            assert math.isnan(metric.compute())
    assert len(caplog.records) == 1
    assert "'tuning'" in caplog.text and "stenosis: 4 negative and 0 positive" in caplog.text
    assert "last epoch's weights" in caplog.text


def test_a_head_that_lacks_a_class_is_left_out_of_the_mean_and_named(answers, caplog):
    truths, said = answers
    metric = StudyScore("roc_auc", heads=HEADS)
    metric.update(batch({**truths, "occlusion": [1, 1, 1, 1]}, said))
    assert metric.compute() == 1.0 and "occlusion: 0 negative and 4 positive" in caplog.text


@pytest.mark.parametrize("score", ["loss", "loss/stenosis"])
def test_a_loss_that_compares_with_nothing_is_unknown_and_not_the_best(answers, score):
    metric = StudyScore(score, loss=ProbeLoss({"stenosis": {"kind": "binary"}}, names=list(HEADS)))
    pred, target = batch(*answers)
    metric.update((pred, {**target, "targets_known": torch.zeros(4, 3)}))
    assert math.isnan(metric.compute())
    metric.update((pred, target))
    assert metric.compute() < 0


def test_one_study_cannot_be_retrieved(caplog):
    metric = StudyScore("retrieval")
    unit = nn.functional.normalize(torch.ones(1, 4), dim=-1)
    known = {"report_known": torch.ones(1), "study_valid": torch.ones(1), "report_key": torch.zeros(1)}
    metric.update(({"video_embedding": unit, "text_embedding": unit}, known))
    assert math.isnan(metric.compute()) and "1 studies have a report" in caplog.text
