"""Weights that change while training goes on."""

from __future__ import annotations

import pytest
import torch

from medvlm.losses.partial import PartialMean
from medvlm.losses.schedules import Schedule
from medvlm.losses.weighting import FixedWeights, ScheduledWeights, UncertaintyWeights, make_weighting


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [1, 1, 1]),
        ({"kind": "linear", "steps": 4}, [0, 0.25, 0.5, 0.75, 1, 1]),
        ({"kind": "cosine", "steps": 4}, [0, 0.1464466, 0.5, 0.8535534, 1, 1]),
        ({"kind": "cosine", "steps": 2, "delay": 2}, [0, 0, 0, 0.5, 1]),
        ({"kind": "linear", "steps": 2, "start": 3, "end": 1}, [3, 2, 1, 1]),
        ({"kind": "constant", "delay": 1, "end": 2}, [0, 2, 2]),
    ],
    ids=["constant", "linear", "cosine rises", "delayed", "falls", "switched on"],
)
def test_factors_by_hand(settings, expected):
    schedule = Schedule(**settings)
    assert [schedule(step) for step in range(len(expected))] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "cosin"}, "must be one of"),
        ({"kind": "linear"}, "steps of at least 1"),
        ({"steps": 10}, "a constant schedule needs no steps"),
        ({"kind": "linear", "steps": 2, "start": -1}, "at least 0, got start=-1"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Schedule(**settings)


def one(value: float) -> PartialMean:
    loss = torch.tensor(value, requires_grad=True)
    return PartialMean(loss * 1.0, loss.detach(), 1)


def scheduled() -> ScheduledWeights:
    return ScheduledWeights({"a": 2.0, "b": 4.0}, {"b": {"kind": "linear", "steps": 2}})


def test_each_training_step_moves_the_weight():
    weighting = scheduled()
    totals = [weighting({"a": one(1.0), "b": one(1.0)}).item() for _ in range(4)]
    assert totals == [2.0, 4.0, 6.0, 6.0]
    assert weighting.current() == {"a": 2.0, "b": 4.0}


def test_validation_does_not_move_the_weight():
    weighting = scheduled()
    with torch.no_grad():
        for _ in range(3):
            assert weighting({"a": one(1.0), "b": one(1.0)}).item() == 2.0
    assert weighting({"b": one(1.0)}).item() == 0.0


def test_a_resumed_run_goes_on_where_it_was():
    weighting, resumed = scheduled(), scheduled()
    weighting({"a": one(1.0), "b": one(1.0)})
    resumed.load_state_dict(weighting.state_dict())
    assert resumed({"a": one(1.0), "b": one(1.0)}).item() == 4.0


def test_weightings_are_made_by_name():
    weights = {"a": 1.0, "b": 2.0}
    assert isinstance(make_weighting("fixed", weights), FixedWeights)
    assert isinstance(make_weighting("fixed", weights, schedules={"a": {}}), ScheduledWeights)
    uncertain = make_weighting("kendall", weights, {"b": "regression"})
    assert isinstance(uncertain, UncertaintyWeights) and uncertain.scales == {"a": 1.0, "b": 0.5}
    assert make_weighting(uncertain, weights) is uncertain


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: make_weighting("equal", {"a": 1.0}), "must be one of"),
        (lambda: make_weighting("kendall", {"a": 1.0}, schedules={"a": {}}), "schedules change fixed weights"),
        (lambda: ScheduledWeights({"a": 1.0}, {"b": {}}), r"schedules are for \['a'\], got \['b'\]"),
        (lambda: ScheduledWeights({"a": 1.0}, {"a": {"step": 3}}), r"a schedule takes .* got \['step'\]"),
    ],
    ids=["name", "no effect", "task", "setting"],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
