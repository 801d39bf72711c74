"""Learning from a teacher that does not learn."""

from __future__ import annotations

import pytest
import torch

from medvlm.losses.distillation import FeatureDistillationLoss

STUDENT = torch.tensor([[3.0, 4.0], [1.0, 0.0]])
TEACHER = torch.tensor([[4.0, 3.0], [0.0, 2.0]])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"kind": "cosine"}, [1 - 24 / 25, 1.0]),
        ({"kind": "mse"}, [1.0, 2.5]),
        ({"kind": "mse", "normalise": True}, [0.04, 1.0]),
        ({"kind": "smooth_l1"}, [0.5, 1.0]),
    ],
    ids=["cosine", "mse", "unit-mse", "smooth"],
)
def test_distances_by_hand(options, expected):
    loss = FeatureDistillationLoss(**options)
    torch.testing.assert_close(loss.per_sample(STUDENT, TEACHER), torch.tensor(expected))
    assert loss(STUDENT, TEACHER).item() == pytest.approx(sum(expected) / 2)
    assert loss(STUDENT, STUDENT).item() == pytest.approx(0, abs=1e-6)


def test_the_teacher_receives_no_gradient():
    loss = FeatureDistillationLoss()
    student, teacher = STUDENT.clone().requires_grad_(), TEACHER.clone().requires_grad_()
    loss(student, teacher).backward()
    assert teacher.grad is None and student.grad.abs().sum() > 0


def test_no_samples_is_zero_with_a_gradient():
    loss = FeatureDistillationLoss()
    student = torch.zeros(0, 4, requires_grad=True)
    value = loss(student, torch.zeros(0, 4))
    value.backward()
    assert value.item() == 0 and student.grad.shape == (0, 4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FeatureDistillationLoss("l2"), "got 'l2'"),
        (lambda: FeatureDistillationLoss("cosine", normalise=True), "no effect"),
        (lambda: FeatureDistillationLoss()(torch.zeros(2, 3), torch.zeros(2, 4)), "same shape"),
    ],
    ids=["kind", "normalise", "width"],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
