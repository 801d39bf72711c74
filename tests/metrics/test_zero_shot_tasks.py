from __future__ import annotations

import pytest

from medvlm.metrics.zero_shot_tasks import zero_shot_tasks

SIDES = {"positive": ["a"], "negative": ["b"]}


@pytest.mark.parametrize(
    ("settings", "value", "truth"),
    [
        ({}, 1, 1),
        ({}, 0, 0),
        ({"above": 70}, 70, 0),
        ({"above": 70}, 70.5, 1),
        ({"classes": [0, 1]}, 1, 1),
        ({"classes": [0, 1]}, 0, 0),
        ({"classes": [0, 1]}, 2, None),
        ({}, None, None),
        ({}, float("nan"), None),
    ],
)
def test_a_target_becomes_a_class(settings, value, truth):
    task = zero_shot_tasks({"t": {"target": "x", **SIDES, **settings}})["t"]
    assert task.truth({"x": value}) == truth
    assert task.truth({}) is None and task.truth(None) is None
    assert task.prompts == {"positive": ("a",), "negative": ("b",)}


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ({"target": "x", **SIDES, "abov": 1}, "'t' has no field 'abov'.*did you mean 'above'"),
        ({"target": "x", "positive": ["a"]}, r"'t' lacks \['negative'\]"),
        ({"target": "x", "positive": ["a"], "negative": []}, "'t': negative must be a list"),
        ({"target": "x", "positive": "a", "negative": ["b"]}, "'t': positive must be a list"),
        ({"target": "x", **SIDES, "above": 1, "classes": [0, 1]}, "above or classes"),
        ({"target": "x", **SIDES, "classes": [1, 1]}, "negative and the positive class"),
    ],
)
def test_a_task_that_is_not_possible_is_refused_by_name(task, said):
    with pytest.raises(ValueError, match=said):
        zero_shot_tasks({"t": task})


def test_no_tasks_are_no_tasks():
    assert zero_shot_tasks(None) == {}
