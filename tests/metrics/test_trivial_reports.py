from __future__ import annotations

import numpy as np
import pytest

from medvlm.metrics.angiography_facts import Fact, extract_facts, fact_set
from medvlm.metrics.trivial_reports import NORMAL_REPORT, constant_reports, nearest_reports


def test_the_normal_report_says_that_everything_is_normal():
    assert fact_set(extract_facts(NORMAL_REPORT)) == {
        Fact("dominance", "coronary", "right"),
        *(Fact("normal", place, "none") for place in ("left_main", "LAD", "LCX", "RCA")),
    }
    assert constant_reports(3) == [NORMAL_REPORT] * 3


def test_the_nearest_report_passes_over_studies_without_one():
    training = np.eye(3)
    texts, rows, cosine = nearest_reports(np.array([[1, 0.1, 0], [0, 0, 5]]), training, [None, "b", "c"])
    assert (texts, rows.tolist()) == (["b", "c"], [1, 2])
    assert cosine == pytest.approx([0.1 / np.sqrt(1.01), 1], abs=1e-6)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: constant_reports(2, " "), "needs words"),
        (lambda: nearest_reports(np.eye(2), np.eye(2), ["", None]), "got none"),
        (lambda: nearest_reports(np.eye(2), np.eye(2), ["a"]), "got 1 for 2"),
    ],
)
def test_baselines_without_reports_are_refused(call, match):
    with pytest.raises(ValueError, match=match):
        call()
