"""Losses of probes: golden focal values, errors by hand, unknown targets and unreadable studies."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from medvlm.losses.probes import BinaryProbeLoss, MulticlassProbeLoss, ProbeLoss, RegressionProbeLoss, make_probe_loss

ROOT = Path(os.environ.get("MEDVLM_GOLDEN", Path(__file__).parents[3] / "shared" / "golden"))
CLOSE = dict(rtol=1e-9, atol=1e-12)
HEADS = {
    "stenosis": {"kind": "binary", "dropout": 0.1, "lr": 1e-3},
    "dominance": {"kind": "multiclass", "classes": 3, "loss_options": {"label_smoothing": 0.1}},
    "max_stenosis": {"kind": "regression", "loss": "huber", "spread": 20.0, "weight": 0.5},
}


@pytest.fixture(scope="module")
def golden() -> dict[str, torch.Tensor]:
    path = ROOT / "losses" / "losses.npz"
    if not path.is_file():
        pytest.skip(f"golden values are not at {path}; set MEDVLM_GOLDEN")
    with np.load(path) as stored:
        return {key: torch.as_tensor(stored[key]) for key in stored.files if key.startswith("focal")}


@pytest.mark.parametrize(("gamma", "alpha"), [(2.0, 0.25), (2.0, None), (0.0, None), (1.5, 0.75)])
def test_binary_focal_equals_golden(golden, gamma, alpha):
    key = f"focal/binary/g{gamma}_a{-1 if alpha is None else alpha}"
    logits = golden["focal/binary/logits"].clone().requires_grad_()
    losses = BinaryProbeLoss(gamma, alpha)(logits[:, None], golden["focal/binary/targets"])
    losses.mean().backward()
    torch.testing.assert_close(losses.detach(), golden[f"{key}/per_element"], **CLOSE)
    torch.testing.assert_close(logits.grad, golden[f"{key}/grad_mean"], **CLOSE)


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("weighted", [True, False])
def test_multiclass_focal_equals_golden(golden, gamma, weighted):
    key = f"focal/softmax/g{gamma}_{'alpha' if weighted else 'noalpha'}"
    alpha = golden["focal/softmax/alpha_per_class"].tolist() if weighted else None
    logits = golden["focal/softmax/logits"].clone().requires_grad_()
    losses = MulticlassProbeLoss(gamma, alpha)(logits, golden["focal/softmax/targets"])
    losses.mean().backward()
    torch.testing.assert_close(losses.detach(), golden[f"{key}/per_sample"], **CLOSE)
    torch.testing.assert_close(logits.grad, golden[f"{key}/grad_mean_over_samples"], **CLOSE)


@pytest.mark.parametrize(("kind", "expected"), [("mse", [0.25, 9.0]), ("mae", [0.5, 3.0]), ("huber", [0.125, 2.5])])
def test_regression_errors_are_in_units_of_the_spread(kind, expected):
    losses = RegressionProbeLoss(kind, spread=20.0)(torch.tensor([[60.0], [10.0]]), torch.tensor([50.0, 70.0]))
    torch.testing.assert_close(losses, torch.tensor(expected))
    assert RegressionProbeLoss(kind)(torch.tensor([[7.0]]), torch.tensor([7.0])).item() == 0


def test_positive_weight_multiplies_the_positives_alone():
    losses = BinaryProbeLoss(positive_weight=3.0)(torch.zeros(2, 1), torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(losses, math.log(2) * torch.tensor([3.0, 1.0]))


def target(**changes) -> dict[str, torch.Tensor]:
    return {
        "targets": torch.tensor([[1.0, 2.0, 80.0], [0.0, 0.0, 0.0], [1.0, 1.0, 30.0], [0.0, -9.0, 50.0]]),
        "targets_known": torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 1.0], [0.0, 1.0, 1.0], [1.0, 0.0, 1.0]]),
        "study_valid": torch.tensor([True, False, True, True]),
    } | changes


def pred() -> dict[str, torch.Tensor]:
    return {
        "stenosis": torch.zeros(4, 1, requires_grad=True),
        "dominance": torch.zeros(4, 3, requires_grad=True),
        "max_stenosis": torch.full((4, 1), 50.0, requires_grad=True),
        "attention": torch.zeros(4, 2),
    }


def test_only_known_targets_of_readable_studies_count():
    loss, heads = ProbeLoss(HEADS), pred()
    total = loss(heads, target())
    total.backward()
    huber = (1.0 + 0.5 + 0.0) / 3  # errors of 1.5, 1 and 0 spreads
    assert total.item() == pytest.approx(math.log(2) + math.log(3) + 0.5 * huber)
    found = {name: float(value) for name, value in loss.terms.items()}
    assert found == pytest.approx(
        {
            "total": total.item(), "stenosis": math.log(2), "dominance": math.log(3), "max_stenosis": huber,
            "weight_stenosis": 1, "weight_dominance": 1, "weight_max_stenosis": 0.5,
            "known_stenosis": 2, "known_dominance": 2, "known_max_stenosis": 3,
        }
    )  # fmt: skip
    assert (heads["stenosis"].grad[[1, 2]] == 0).all() and (heads["stenosis"].grad[[0, 3]] != 0).all()


def test_a_head_that_nobody_knows_is_zero_with_a_gradient():
    heads = pred()
    total = ProbeLoss(HEADS)(heads, target(targets_known=torch.zeros(4, 3)))
    total.backward()
    assert total.item() == 0
    assert all((heads[name].grad == 0).all() for name in HEADS)


def test_columns_are_found_by_their_names():
    loss = ProbeLoss({"max_stenosis": {"kind": "regression"}}, names=["stenosis", "dominance", "max_stenosis"])
    assert loss(pred(), target()).item() == pytest.approx((30**2 + 20**2) / 3)


def test_uncertainty_weights_know_a_regression():
    loss = ProbeLoss(HEADS, weighting="kendall")
    assert loss.weighting.scales == {"stenosis": 1.0, "dominance": 1.0, "max_stenosis": 0.5}
    assert loss.weighting.current() == pytest.approx({"stenosis": 1.0, "dominance": 1.0, "max_stenosis": 0.5})


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ({"kind": "ordinal"}, "needs a kind"),
        ({"kind": "binary", "loss": "ce"}, r"takes a loss of \('bce', 'focal'\), got 'ce'"),
        ({"kind": "binary", "weigth": 2}, "did you mean 'weight'"),
        ({"kind": "regression", "loss_options": {"delta": 2}}, r"takes \(\), got \['delta'\]"),
        ({"kind": "multiclass", "classes": 3, "loss_options": {"class_weights": [1, 2]}}, "has 3 classes"),
        ({"kind": "regression", "spread": 0}, "spread=0"),
        ({"kind": "binary", "loss": "focal", "loss_options": {"alpha": 2}}, "alpha=2"),
    ],
)
def test_wrong_settings_of_a_head_are_refused(head, message):
    with pytest.raises(ValueError, match=message):
        make_probe_loss("stenosis", head)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"targets": torch.full((4, 3), 0.5)}, "whole classes 0 to 1"),
        ({"targets": torch.zeros(4, 2)}, "one column for each"),
        ({"targets": torch.full((4, 3), 3.0)}, "whole classes 0 to 1, got"),
    ],
)
def test_targets_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        ProbeLoss(HEADS)(pred(), target(**changes))


def test_missing_targets_and_heads_are_named():
    with pytest.raises(ValueError, match=r"lacks \['study_valid'\]"):
        ProbeLoss(HEADS)(pred(), {key: value for key, value in target().items() if key != "study_valid"})
    with pytest.raises(ValueError, match=r"got \['attention'\]"):
        ProbeLoss(HEADS)({"attention": torch.zeros(4, 2)}, target())
    with pytest.raises(ValueError, match=r"\['stenosis'\] is not in"):
        ProbeLoss({"stenosis": {"kind": "binary"}}, names=["calcification"])
