from __future__ import annotations

import numpy as np
import pytest

from medvlm.metrics.ranking import delong
from medvlm.metrics.zero_shot import (
    embed_prompts,
    prompt_ensemble,
    zero_shot_probabilities,
    zero_shot_report,
)

PROMPTS = {"stenosis": {"negative": np.array([1.0, 0, 0]), "positive": np.array([0, 1.0, 0])}}


def test_probabilities_by_hand():
    video = np.array([[1.0, 1, 0], [0, 3, 0], [1, 0, 0]])
    found = zero_shot_probabilities(video, np.eye(3)[:2], scale=2)
    assert found[:, 1] == pytest.approx([0.5, 1 / (1 + np.exp(-2)), 1 / (1 + np.exp(2))])
    assert found.sum(axis=1) == pytest.approx([1, 1, 1])


def test_an_ensemble_weighs_wordings_not_lengths():
    assert prompt_ensemble(np.array([[5.0, 0], [0, 1]])) == pytest.approx(np.array([1, 1]) / np.sqrt(2))


def test_the_auc_has_delongs_interval_and_does_not_depend_on_the_scale():
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 2, 60)
    video = np.stack([1 - truth, truth, np.ones(60)], axis=1) + generator.normal(0, 1.2, (60, 3))
    reports = [
        zero_shot_report(video, PROMPTS, {"stenosis": truth}, range(60), scale=scale, n_boot=20)["stenosis"]
        for scale in (1.0, 20.0)
    ]
    unit = video / np.linalg.norm(video, axis=1, keepdims=True)
    expected = delong(truth, unit[:, 1] - unit[:, 0])
    for report in reports:
        auc = report["metrics"]["roc_auc"]
        assert (auc["value"], auc["method"]) == (pytest.approx(expected.auc), "delong")
        assert auc["ci"] == pytest.approx(expected.interval(), abs=1e-6)
    assert reports[0]["confusion"] == reports[1]["confusion"]


def test_unknown_targets_are_left_out_and_counted():
    video = np.array([[0, 1.0, 0], [1, 0, 0], [0, 1, 1]])
    report = zero_shot_report(video, PROMPTS, {"stenosis": [1, 0, None], "other": [1, 1, 1]}, range(3), n_boot=5)
    assert set(report) == {"stenosis"}
    assert (report["stenosis"]["n"], report["stenosis"]["n_unknown"]) == (2, 1)
    nothing = zero_shot_report(video, PROMPTS, {"stenosis": [None] * 3}, range(3))["stenosis"]
    assert nothing == {"n": 0, "n_unknown": 3, "note": "no target is known"}


def test_every_wording_is_embedded():
    asked = []

    def embed(texts):
        asked.extend(texts)
        return np.random.default_rng(len(texts)).normal(size=(len(texts), 4))

    prompts = {"a": {"positive": ["x", "y"], "negative": ["z"]}, "b": {"positive": ["u"], "negative": ["v", "w"]}}
    found = embed_prompts(prompts, embed)
    assert set(found) == set(prompts) and sorted(asked) == list("uvwxyz")
    assert all(np.linalg.norm(vector) == pytest.approx(1) for sides in found.values() for vector in sides.values())


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: prompt_ensemble(np.zeros((0, 3))), "at least one prompt"),
        (lambda: prompt_ensemble(np.array([[1.0, 0], [-1, 0]])), "not zero"),
        (lambda: embed_prompts({"a": {"positive": ["x"]}}, lambda texts: np.eye(1)), "negative missing"),
        (lambda: zero_shot_probabilities(np.eye(2), np.eye(2), scale=0), "scale must be positive"),
        (lambda: zero_shot_probabilities(np.zeros((1, 2)), np.eye(2)), "videos must be finite"),
        (lambda: zero_shot_report(np.eye(3), PROMPTS, {"b": [1, 0, 1]}, range(3)), r"prompts \(stenosis\)"),
        (lambda: zero_shot_report(np.eye(3), PROMPTS, {"stenosis": [1, 0]}, range(3)), "got 3, 2, 3"),
    ],
)
def test_inputs_that_cannot_be_classified_are_refused(call, match):
    with pytest.raises(ValueError, match=match):
        call()
