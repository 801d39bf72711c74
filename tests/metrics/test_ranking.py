from __future__ import annotations

import json

import numpy as np
import pytest

from medvlm.metrics.intervals import patient_weights
from medvlm.metrics.ranking import (
    auc_statistic,
    average_precision_statistic,
    delong,
    delong_paired,
    precision_recall_curve,
    roc_curve,
)

CASES = (
    "continuous",
    "ordinal_1_to_5",
    "tiny_n_ties",
    "imbalanced_rounded",
    "a_perfect",
    "a_below_half",
    "edge_identical_scores",
    "edge_ci_reaches_one",
    "edge_constant_score",
)


@pytest.mark.parametrize("name", CASES)
def test_delong_equals_proc(golden, name):
    case = json.loads((golden("statistics") / "delong.json").read_text(encoding="utf-8"))[name]
    for score in ("a", "b"):
        expected = case["expected"][score]
        found = delong(case["label"], case[f"score_{score}"])
        assert found.auc == pytest.approx(expected["auc"], abs=1e-10)
        assert found.variance == pytest.approx(expected["var"], abs=1e-10)
        assert found.interval(0.95) == pytest.approx((expected["ci95"][0], expected["ci95"][2]), abs=1e-10)
        assert found.interval(0.90) == pytest.approx((expected["ci90"][0], expected["ci90"][2]), abs=1e-10)
    found, expected = delong_paired(case["label"], case["score_a"], case["score_b"]), case["expected"]
    assert found["covariance"] == pytest.approx(expected["cov"], abs=1e-10)
    assert found["z"] == pytest.approx(expected["paired"]["Z"], rel=1e-8, abs=1e-10)
    assert found["p"] == pytest.approx(expected["paired"]["p"], rel=1e-8)
    assert found["ci"] == pytest.approx(expected["paired"]["diff_ci95"], abs=1e-10)


def test_auc_by_hand():
    # Pairs: (.4 over .3), (.4 over .4: a tie), (.9 over both).
    assert delong([0, 0, 1, 1], [0.3, 0.4, 0.4, 0.9]).auc == pytest.approx(3.5 / 4)


@pytest.mark.parametrize("decimals", [1, 8], ids=["ties", "no ties"])
def test_statistics_equal_scikit_learn_on_repeated_cases(decimals):
    from sklearn.metrics import average_precision_score, roc_auc_score

    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 60)
    scores = np.round(np.clip(0.3 * labels + generator.random(60) * 0.7, 0, 1), decimals)
    weights = patient_weights(generator.integers(0, 25, 60), 20, seed=1)
    auc, precision = auc_statistic(labels, scores)(weights), average_precision_statistic(labels, scores)(weights)
    for row, (a, p) in enumerate(zip(auc, precision, strict=True)):
        drawn = np.repeat(np.arange(60), weights[row].astype(int))
        assert a == pytest.approx(roc_auc_score(labels[drawn], scores[drawn]), abs=1e-12)
        assert p == pytest.approx(average_precision_score(labels[drawn], scores[drawn]), abs=1e-12)


def test_a_resample_of_one_class_leaves_the_auc_undefined():
    assert np.isnan(auc_statistic([0, 1], [0.1, 0.9])(np.array([[2.0, 0.0]]))[0])


def test_curves_by_hand():
    labels, scores = [1, 0, 1, 0], [0.9, 0.8, 0.7, 0.1]
    assert roc_curve(labels, scores) == {"fpr": [0, 0, 0.5, 0.5, 1], "tpr": [0, 0.5, 0.5, 1, 1]}
    curve = precision_recall_curve(labels, scores)
    assert curve["recall"] == [0.5, 0.5, 1.0, 1.0]
    assert curve["precision"] == pytest.approx([1.0, 0.5, 2 / 3, 0.5])


def test_thinned_curves_keep_their_ends_and_area():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 5000)
    scores = labels + generator.normal(0, 1, 5000)
    curve = roc_curve(labels, scores, max_points=100)
    assert len(curve["fpr"]) <= 100
    assert (curve["fpr"][0], curve["tpr"][0], curve["fpr"][-1], curve["tpr"][-1]) == (0, 0, 1, 1)
    fpr, tpr = np.array(curve["fpr"]), np.array(curve["tpr"])
    assert np.diff(fpr) @ (tpr[1:] + tpr[:-1]) / 2 == pytest.approx(delong(labels, scores).auc, abs=5e-3)


@pytest.mark.parametrize(
    ("labels", "scores", "match"),
    [
        ([0, 1], [0.1], "one label and one score"),
        ([0, 2], [0.1, 0.2], "0 or 1"),
        ([0, 1], [0.1, np.nan], "finite"),
        ([1, 1], [0.1, 0.2], "both classes"),
    ],
)
def test_labels_that_cannot_be_ranked_are_refused(labels, scores, match):
    with pytest.raises(ValueError, match=match):
        delong(labels, scores)
