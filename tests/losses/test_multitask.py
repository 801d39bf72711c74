"""The loss with partly known targets."""

from __future__ import annotations

import math

import pytest
import torch

from medvlm.losses import MultiTaskLoss, RegionLoss
from medvlm.losses.multitask import weights_of_stage


def batch(mask_known=(1, 1, 1), tumour_known=(1, 1, 1)) -> tuple[dict, dict]:
    torch.manual_seed(0)
    pred = {
        "mask": torch.randn(3, 2, 8, 8, requires_grad=True),
        "tumour": torch.randn(3, 2, requires_grad=True),
    }
    target = {
        "mask": (torch.rand(3, 2, 8, 8) > 0.7).to(torch.uint8),
        "mask_known": torch.tensor(mask_known, dtype=torch.float32),
        "tumour": torch.tensor([0, 1, 1]),
        "tumour_known": torch.tensor(tumour_known, dtype=torch.float32),
    }
    return pred, target


def test_hand_computed_value():
    """Squared error 4 and 16 with the second mask unknown; cross-entropy log 2 of the one known class."""
    loss = MultiTaskLoss(mask_loss=torch.nn.MSELoss(reduction="none"), weights={"mask": 0.5, "tumour": 3.0})
    pred = {"mask": torch.tensor([[2.0], [4.0]]), "tumour": torch.zeros(2, 2)}
    target = {
        "mask": torch.zeros(2, 1), "mask_known": torch.tensor([1.0, 0.0]),
        "tumour": torch.tensor([1, 0]), "tumour_known": torch.tensor([0.0, 1.0]),
    }
    assert loss(pred, target).item() == pytest.approx(0.5 * 4 + 3 * math.log(2))
    assert {key: float(value) for key, value in loss.terms.items()} == pytest.approx(
        {"total": 2 + 3 * math.log(2), "mask": 4.0, "weight_mask": 0.5, "known_mask": 1,
         "tumour": math.log(2), "weight_tumour": 3.0, "known_tumour": 1}
    )


@pytest.mark.parametrize("weighting", ["fixed", "kendall"])
def test_unknown_samples_have_no_part(weighting):
    pred, target = batch(mask_known=(1, 0, 1), tumour_known=(0, 1, 1))
    full = MultiTaskLoss(weighting=weighting)(pred, target)
    full.backward()
    assert pred["mask"].grad[1].abs().sum() == 0 and pred["tumour"].grad[0].abs().sum() == 0
    assert (pred["mask"].grad[[0, 2]].flatten(1).abs().sum(1) > 0).all()
    alone = {key: value.detach() for key, value in pred.items()}
    other = dict(target, mask=target["mask"].clone(), tumour=torch.tensor([1, 1, 1]))
    other["mask"][1] = 1 - other["mask"][1]
    assert MultiTaskLoss(weighting=weighting)(alone, other).item() == full.item()


def test_loss_is_the_mean_over_the_known_ones():
    pred, target = batch(mask_known=(1, 0, 1))
    masks = RegionLoss()(pred["mask"], target["mask"])
    classes = torch.nn.functional.cross_entropy(pred["tumour"], target["tumour"])
    expected = (masks[0] + masks[2]) / 2 + classes
    torch.testing.assert_close(MultiTaskLoss()(pred, target), expected)


def test_values_that_are_not_finite_in_an_unknown_sample_do_no_harm():
    pred, target = batch(mask_known=(1, 0, 1))
    target["mask"] = target["mask"].float()
    target["mask"][1] = torch.nan
    total = MultiTaskLoss()(pred, target)
    total.backward()
    assert torch.isfinite(total) and torch.isfinite(pred["mask"].grad).all()


@pytest.mark.parametrize("weighting", ["fixed", "kendall", "gradnorm"])
def test_batch_without_any_target_is_exactly_zero_with_a_graph(weighting):
    pred, target = batch(mask_known=(0, 0, 0), tumour_known=(0, 0, 0))
    loss = MultiTaskLoss(weighting=weighting, shared=[torch.nn.Parameter(torch.ones(1))])
    total = loss(pred, target)
    total.backward()
    assert total.item() == 0
    for values in pred.values():
        assert values.grad is not None and (values.grad == 0).all()
    assert loss.terms["known_mask"] == loss.terms["known_tumour"] == 0


@pytest.mark.parametrize("absent", ["mask", "tumour"])
def test_absent_task_has_zero_gradient_and_no_regulariser(absent):
    pred, target = batch(**{f"{absent}_known": (0, 0, 0)})
    loss = MultiTaskLoss(weighting="kendall", weights={"mask": 2.0, "tumour": 2.0})
    total = loss(pred, target)
    total.backward()
    present = {"mask": "tumour", "tumour": "mask"}[absent]
    assert (pred[absent].grad == 0).all()
    assert total.item() == pytest.approx(2 * float(loss.terms[present]) - math.log(2) / 2, rel=1e-5)


@pytest.mark.parametrize("weighting", ["kendall", "gradnorm"])
@pytest.mark.parametrize("off", ["mask", "tumour"])
def test_a_task_of_weight_0_leaves_nothing_to_balance(weighting, off):
    loss = MultiTaskLoss(weighting=weighting, weights={off: 0.0})
    pred, target = batch()
    total = loss(pred, target)
    total.backward()
    on = {"mask": "tumour", "tumour": "mask"}[off]
    assert total.item() == float(loss.terms[on]) and not list(loss.parameters())
    assert (pred[off].grad == 0).all() and (pred[on].grad != 0).any()


def test_head_that_is_off_is_left_out():
    pred, target = batch()
    loss = MultiTaskLoss()
    loss({"mask": pred["mask"]}, {key: target[key] for key in ("mask", "mask_known")})
    assert "tumour" not in loss.terms


def test_bfloat16_logits_give_a_float32_loss():
    pred, target = batch()
    total = MultiTaskLoss()({key: value.bfloat16() for key, value in pred.items()}, target)
    assert total.dtype == torch.float32


def test_label_smoothing_and_class_weights():
    pred = {"tumour": torch.tensor([[2.0, 0.0], [0.0, 1.0]])}
    target = {"tumour": torch.tensor([0, 1]), "tumour_known": torch.ones(2)}
    log = torch.log_softmax(pred["tumour"], 1)
    smooth = -(0.95 * log[0, 0] + 0.05 * log[0, 1] + 0.95 * log[1, 1] + 0.05 * log[1, 0]) / 2
    torch.testing.assert_close(MultiTaskLoss(label_smoothing=0.1)(pred, target), smooth)
    weighted = -(log[0, 0] + 3 * log[1, 1]) / 2
    torch.testing.assert_close(MultiTaskLoss(class_weights=[1, 3])(pred, target), weighted)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weighting": "uncertainty"}, r"one of \['fixed', 'gradnorm', 'kendall'\] or a module, got 'uncertainty'"),
        ({"weights": {"masks": 1.0}}, "did you mean .mask."),
        ({"weights": {"mask": -1.0}}, "at least 0"),
        ({"tumour_loss": torch.nn.CrossEntropyLoss(reduction="none"), "label_smoothing": 0.1}, "set them in yours"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        MultiTaskLoss(**settings)


def test_reduced_loss_is_refused_with_the_remedy():
    pred, target = batch()
    with pytest.raises(ValueError, match="reduction to 'none'"):
        MultiTaskLoss(tumour_loss=torch.nn.CrossEntropyLoss())(pred, target)


def test_missing_targets_are_named():
    pred, target = batch()
    del target["mask_known"]
    with pytest.raises(ValueError, match=r"lacks \['mask_known'\]"):
        MultiTaskLoss()(pred, target)
    with pytest.raises(ValueError, match=r"heads \('mask', 'tumour'\), got \['seg'\]"):
        MultiTaskLoss()({"seg": pred["mask"]}, target)


def test_the_weights_of_all_stages_are_checked_whichever_runs():
    table = {"segmentation": {"tumour": 0.0}, "joint": {"mask": 1.0, "tumour": 0.5}}
    assert weights_of_stage(table, "segmentation") == {"mask": 1.0, "tumour": 0.0}
    assert weights_of_stage(table, "joint") == {"mask": 1.0, "tumour": 0.5}
    assert weights_of_stage(table, "other") == {"mask": 1.0, "tumour": 1.0}
    table["joint"] = {"tumor": 0.5}
    with pytest.raises(ValueError, match="task_weights_per_stage::joint names the task 'tumor'.*did you mean 'tumour'"):
        weights_of_stage(table, "segmentation")


@pytest.mark.parametrize("wrong", [{"mask": -1.0}, {"mask": math.nan}, {"mask": "1"}, {"mask": True}, [1.0, 1.0]])
def test_a_weight_that_is_no_factor_is_refused(wrong):
    with pytest.raises(ValueError, match="weights must"):
        MultiTaskLoss(weights=wrong)
