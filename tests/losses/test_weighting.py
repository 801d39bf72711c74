"""Fixed, uncertainty and GradNorm weights against golden values of the papers' formulas."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from medvlm.losses import FixedWeights, GradNormWeights, MultiTaskLoss, UncertaintyWeights
from medvlm.losses.partial import PartialMean

ROOT = Path(os.environ.get("MEDVLM_GOLDEN", Path(__file__).parents[3] / "shared" / "golden"))
CLOSE = dict(rtol=1e-9, atol=1e-11)


@pytest.fixture(scope="module")
def golden() -> dict[str, torch.Tensor]:
    path = ROOT / "losses" / "losses.npz"
    if not path.is_file():
        pytest.skip(f"golden values are not at {path}; set MEDVLM_GOLDEN")
    with np.load(path) as stored:
        return {key: torch.as_tensor(stored[key]) for key in stored.files if key.startswith(("kendall", "gradnorm"))}


def mean_of(loss: torch.Tensor, count: int = 1) -> PartialMean:
    return PartialMean(local=loss, value=loss.detach(), count=count)


def kendall(golden, active=None) -> tuple[UncertaintyWeights, torch.Tensor, dict[str, PartialMean]]:
    kinds = {str(i): "classification" if c else "regression" for i, c in enumerate(golden["kendall/is_classification"])}
    weighting = UncertaintyWeights(dict.fromkeys(kinds, 1.0), kinds).double()
    with torch.no_grad():
        weighting.log_variance.copy_(golden["kendall/log_var"])
    losses = golden["kendall/task_losses"].clone().requires_grad_()
    counts = [1] * 4 if active is None else active.int().tolist()
    return weighting, losses, {str(i): mean_of(losses[i] * counts[i], counts[i]) for i in range(4)}


def test_fixed_weights_multiply():
    weighting = FixedWeights({"mask": 2.0, "tumour": 0.5})
    assert weighting({"mask": mean_of(torch.tensor(3.0)), "tumour": mean_of(torch.tensor(4.0))}).item() == 8.0


def test_uncertainty_equals_golden_total_and_gradients(golden):
    weighting, losses, means = kendall(golden)
    total = weighting(means)
    total.backward()
    torch.testing.assert_close(total.detach(), golden["kendall/paper/total"], **CLOSE)
    torch.testing.assert_close(weighting.log_variance.grad, golden["kendall/paper/grad_log_var"], **CLOSE)
    torch.testing.assert_close(losses.grad, golden["kendall/paper/grad_task_losses"], **CLOSE)


def test_uncertainty_leaves_absent_tasks_out(golden):
    weighting, losses, means = kendall(golden, golden["kendall/active"])
    total = weighting(means)
    total.backward()
    absent = ~golden["kendall/active"]
    torch.testing.assert_close(total.detach(), golden["kendall/paper/total_active_only"], **CLOSE)
    assert (weighting.log_variance.grad[absent] == 0).all()
    assert (losses.grad[absent] == 0).all()


def test_uncertainty_starts_from_the_given_weights():
    weighting = UncertaintyWeights({"mask": 2.0, "tumour": 0.5}, {"tumour": "regression"})
    assert weighting.current() == pytest.approx({"mask": 2.0, "tumour": 0.5})


def test_uncertainty_comes_back_from_its_limit():
    weighting = UncertaintyWeights({"mask": 1.0}, limits=(-1.0, 1.0))
    with torch.no_grad():
        weighting.log_variance.fill_(5.0)
    total = weighting({"mask": mean_of(torch.tensor(1.0))})
    total.backward()
    assert total.item() == pytest.approx(math.exp(-1.0) + 0.5)
    assert weighting.log_variance.grad.item() == pytest.approx(0.5 - math.exp(-1.0))


def test_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="'classification' or 'regression'"):
        UncertaintyWeights({"mask": 1.0}, {"mask": "ordinal"})


def gradnorm_case(golden, case: str):
    g = {key.removeprefix(f"gradnorm/{case}/"): v for key, v in golden.items() if key.startswith(f"gradnorm/{case}/")}
    shared = torch.nn.Parameter(g["W"].clone())
    features = torch.tanh(g["x"] @ g["W0"]) @ shared
    losses = [
        (features @ g["a1"] - g["y1"]).square().mean(),
        functional.binary_cross_entropy_with_logits(features @ g["a2"], g["y2"]),
        functional.cross_entropy(features @ g["A3"], g["y3"]),
    ]
    settings = {"alpha": float(g["alpha"]), "smallest": -math.inf}
    weighting = GradNormWeights(dict.fromkeys("abc", 1.0), [shared], **settings).double()
    with torch.no_grad():
        weighting.weights.copy_(g["w"])
        weighting.initial_losses.copy_(g["L0"])
    return g, shared, weighting, {task: mean_of(loss) for task, loss in zip("abc", losses, strict=True)}


@pytest.mark.parametrize("case", ["case0", "case1", "case2"])
@pytest.mark.parametrize("rule", ["sgd", "adam"])
def test_gradnorm_equals_golden_step(golden, case, rule):
    g, shared, weighting, means = gradnorm_case(golden, case)
    optimizer = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[rule](weighting.parameters(), lr=float(g["lr"]))
    total = weighting(means)
    total.backward()
    torch.testing.assert_close(total.detach(), (g["w"] * g["task_losses"]).sum(), **CLOSE)
    torch.testing.assert_close(weighting.weights.grad, g["dLgrad_dw"], **CLOSE)
    torch.testing.assert_close(shared.grad, g["dtotal_dW"], **CLOSE)
    optimizer.step()
    torch.testing.assert_close(weighting.weights.detach(), g[f"w_{rule}_raw"], **CLOSE)
    weighting.renormalise()
    torch.testing.assert_close(weighting.weights.detach(), g[f"w_{rule}_renorm"], **CLOSE)


def test_gradnorm_weights_stay_positive():
    weighting = GradNormWeights({"mask": 1.0, "tumour": 1.0}, smallest=0.01)
    with torch.no_grad():
        weighting.weights.copy_(torch.tensor([-0.5, 1.99]))
    weighting.renormalise()
    assert weighting.current() == pytest.approx({"mask": 0.01, "tumour": 1.99})


def test_gradnorm_objective_equals_golden(golden):
    g, shared, weighting, means = gradnorm_case(golden, "case0")
    torch.testing.assert_close(weighting.balance(means, [shared]).detach(), g["L_grad"], **CLOSE)


def test_gradnorm_leaves_an_absent_task_out(golden):
    g, shared, weighting, means = gradnorm_case(golden, "case0")
    weighting.initial_losses[1] = math.nan
    means["b"] = mean_of(means["b"].local * 0.0, count=0)
    weighting(means).backward()
    assert weighting.weights.grad[1] == 0
    assert (weighting.weights.grad[[0, 2]] != 0).all()
    assert math.isnan(weighting.initial_losses[1])


def test_gradnorm_with_one_task_keeps_its_weights(golden):
    _, shared, weighting, means = gradnorm_case(golden, "case0")
    weighting({"a": means["a"]}).backward()
    assert weighting.weights.grad is None
    assert shared.grad.abs().sum() > 0


def test_gradnorm_remembers_the_first_loss_of_each_task(golden):
    g, _, weighting, means = gradnorm_case(golden, "case0")
    weighting.initial_losses.fill_(math.nan)
    weighting(means)
    torch.testing.assert_close(weighting.initial_losses, g["task_losses"], **CLOSE)
    assert "initial_losses" in weighting.state_dict()


def test_gradnorm_with_a_frozen_shared_layer_warns_once_and_goes_on(golden, caplog):
    _, shared, weighting, _ = gradnorm_case(golden, "case0")
    shared.requires_grad_(False)
    head = torch.nn.Parameter(torch.tensor(2.0, dtype=torch.float64))
    for _ in range(2):
        weighting({"a": mean_of(head * 1.0), "b": mean_of(head * 2.0)}).backward()
    assert weighting.weights.grad is None
    assert caplog.text.count("shared layer is frozen") == 1


def test_gradnorm_does_not_learn_in_evaluation(golden):
    _, _, weighting, means = gradnorm_case(golden, "case0")
    weighting.initial_losses.fill_(math.nan)
    with torch.no_grad():
        assert not weighting(means).requires_grad
    assert weighting.initial_losses.isnan().all()


def test_gradnorm_without_a_shared_layer_says_how_to_give_it():
    with pytest.raises(RuntimeError, match="shared_parameters"):
        GradNormWeights({"mask": 1.0})({"mask": mean_of(torch.tensor(1.0))})


def test_gradnorm_weights_move_towards_the_slower_task():
    """A task whose gradient is tiny gains weight, and the sum stays the number of tasks."""
    torch.manual_seed(0)
    shared = torch.nn.Linear(4, 4)
    loss = MultiTaskLoss(
        mask_loss=lambda pred, target: 100 * (pred - target).square(),
        tumour_loss=lambda pred, target: 0.01 * pred.square().sum(1),
        weighting="gradnorm",
        shared=shared.parameters(),
    )
    optimizer = torch.optim.SGD(loss.parameters(), lr=1e-3)
    data = torch.randn(8, 4)
    ones = torch.ones(8)
    for _ in range(20):
        features = shared(data)
        target = {"mask": torch.zeros(8, 4), "mask_known": ones, "tumour": ones.long(), "tumour_known": ones}
        optimizer.zero_grad()
        loss({"mask": features, "tumour": features}, target).backward()
        optimizer.step()
    loss.weighting.renormalise()
    weights = loss.weighting.current()
    assert weights["tumour"] > 1.5 > 0.5 > weights["mask"]
    assert sum(weights.values()) == pytest.approx(2.0)
