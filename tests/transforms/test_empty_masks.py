"""Forgetting empty masks."""

from __future__ import annotations

import pytest
import torch

from transforms import RandForgetEmptyMaskd


def sample(empty: bool, known: float = 1.0) -> dict:
    label = torch.zeros(1, 8, 8)
    label[0, 2:4, 2:4] = 0 if empty else 1
    return {"image": torch.ones(1, 8, 8), "label": label, "mask_known": known, "tumour": 0, "tumour_known": 1.0}


def test_an_empty_mask_is_forgotten_and_nothing_else_changes():
    given = sample(empty=True)
    d = RandForgetEmptyMaskd(prob=1.0)(given)
    assert d.pop("mask_known") == 0.0
    assert given.pop("mask_known") == 1.0  # the caller's sample is left alone
    assert all(d[key] is given[key] for key in given)


@pytest.mark.parametrize(("empty", "known", "prob"), [(False, 1.0, 1.0), (True, 1.0, 0.0), (True, 0.0, 1.0)])
def test_masks_with_tumour_unknown_ones_and_probability_0_stay(empty, known, prob):
    assert RandForgetEmptyMaskd(prob=prob)(sample(empty, known))["mask_known"] == known


def test_the_share_is_the_one_asked_for():
    forget = RandForgetEmptyMaskd(prob=0.3).set_random_state(0)
    share = sum(forget(sample(empty=True))["mask_known"] == 0 for _ in range(1000)) / 1000
    assert abs(share - 0.3) < 0.05


def test_the_draws_do_not_depend_on_the_masks():
    runs = []
    for first in (True, False):
        forget = RandForgetEmptyMaskd(prob=0.5).set_random_state(1)
        forget(sample(empty=first))
        runs.append([forget(sample(empty=True))["mask_known"] for _ in range(20)])
    assert runs[0] == runs[1]


@pytest.mark.parametrize("prob", [-0.1, 1.5])
def test_a_probability_out_of_range_is_refused(prob):
    with pytest.raises(ValueError, match="prob must be between 0 and 1"):
        RandForgetEmptyMaskd(prob=prob)
