from __future__ import annotations

import math

import numpy as np
import pytest

from medvlm.metrics.agreement import bland_altman, heads_agree


def test_heads_by_hand():
    volumes = [20, 5, 0, 3, 0.05, 0]
    found = heads_agree("abcdef", [0.9, 0.8, 0.1, 0.2, 0.95, 0.3], volumes, threshold=0.5, threshold_ml=0.1)
    assert (found["both"], found["neither"], found["mask_only"], found["class_only"]) == (2, 2, 1, 1)
    assert found["disagreeing"] == ["e", "d"]  # 0.95 is further from the threshold than 0.2
    assert found["agreement"] == pytest.approx(4 / 6)


def test_spearman_follows_ranks_only():
    assert heads_agree("abcd", [0.1, 0.2, 0.3, 0.9], [0, 1, 50, 51], 0.5)["spearman"] == pytest.approx(1.0)
    assert heads_agree("abcd", [0.1, 0.2, 0.3, 0.9], [4, 3, 2, 1], 0.5)["spearman"] == pytest.approx(-1.0)
    assert heads_agree("abc", [0.1, 0.2, 0.3], [0, 0, 0], 0.5)["spearman"] is None
    assert heads_agree("ab", [0.1, 0.2], [0, 1], 0.5)["spearman"] is None


def test_values_must_match_cases():
    with pytest.raises(ValueError, match="one value a case"):
        heads_agree("ab", [0.1], [0, 1], 0.5)


def test_limits_of_agreement_by_hand():
    found = bland_altman([11, 18, 31], [10, 20, 30])  # differences 1, -2, 1
    assert found["bias"] == pytest.approx(0.0)
    assert found["limits_of_agreement"] == pytest.approx([-1.96 * np.sqrt(3), 1.96 * np.sqrt(3)])


def test_one_case_has_a_bias_but_no_limits():
    assert bland_altman([3], [1]) == {"bias": 2.0, "limits_of_agreement": None, "n": 1}
    assert bland_altman([], []) == {"bias": None, "limits_of_agreement": None, "n": 0}


def test_a_picture_counts_as_seen_by_the_mask_once_anything_is_outlined():
    found = heads_agree(["a", "b", "c"], [0.9, 0.9, 0.2], [math.nan, math.nan, 5.0], 0.5, outlined=[True, False, True])
    assert (found["both"], found["class_only"], found["mask_only"]) == (1, 1, 1)
    assert found["disagreeing"] == ["b", "c"]
