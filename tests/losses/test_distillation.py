"""Learning from a teacher that does not learn."""

from __future__ import annotations

import math

import pytest
import torch

from medvlm.losses.distillation import FeatureDistillationLoss, LogitDistillationLoss, similarity_logits

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


def test_logits_by_hand():
    """Teacher (3/4, 1/4), student (1/2, 1/2) at T = 1; the factor T² otherwise."""
    student, teacher = torch.zeros(1, 2), torch.tensor([[math.log(3.0), 0.0]])
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert LogitDistillationLoss(1.0)(student, teacher).item() == pytest.approx(expected)
    assert LogitDistillationLoss(2.0)(student, 2 * teacher).item() == pytest.approx(4 * expected)
    assert LogitDistillationLoss()(teacher, teacher).item() == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("loss", [FeatureDistillationLoss(), LogitDistillationLoss()])
def test_the_teacher_receives_no_gradient(loss):
    student, teacher = STUDENT.clone().requires_grad_(), TEACHER.clone().requires_grad_()
    loss(student, teacher).backward()
    assert teacher.grad is None and student.grad.abs().sum() > 0


@pytest.mark.parametrize("loss", [FeatureDistillationLoss(), LogitDistillationLoss()])
def test_no_samples_is_zero_with_a_gradient(loss):
    student = torch.zeros(0, 4, requires_grad=True)
    value = loss(student, torch.zeros(0, 4))
    value.backward()
    assert value.item() == 0 and student.grad.shape == (0, 4)


def test_rankings_of_teachers_of_another_width_compare():
    image, text = torch.eye(3), torch.eye(3)
    wide_image, wide_text = torch.eye(3, 5), torch.eye(3, 5)
    teacher = similarity_logits(wide_image, wide_text, 10.0)
    assert LogitDistillationLoss()(similarity_logits(image, text, 10.0), teacher).item() == pytest.approx(0, abs=1e-6)
    assert LogitDistillationLoss()(similarity_logits(image, text.roll(1, 0), 10.0), teacher).item() > 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FeatureDistillationLoss("l2"), "got 'l2'"),
        (lambda: FeatureDistillationLoss("cosine", normalise=True), "no effect"),
        (lambda: LogitDistillationLoss(0), "must be positive"),
        (lambda: FeatureDistillationLoss()(torch.zeros(2, 3), torch.zeros(2, 4)), "same shape"),
    ],
    ids=["kind", "normalise", "temperature", "width"],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
