"""Every trainable parameter in exactly one group."""

from __future__ import annotations

import pytest
import torch

from medvlm.losses import MultiTaskLoss
from medvlm.networks.freezing import freeze
from medvlm.networks.nets import SegClsNet
from medvlm.networks.parameter_groups import parameter_groups

LRS = {"encoder": 1e-4, "decoder": 3e-4, "mask_head": 3e-4, "tumour_head": 1e-3}


@pytest.fixture
def network() -> SegClsNet:
    return SegClsNet(features=(8, 16))


def ids(parameters) -> list[int]:
    return sorted(id(parameter) for parameter in parameters)


@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
def test_each_parameter_is_in_one_group_with_its_rate(network, weight_decay):
    groups = parameter_groups(network, LRS, weight_decay=weight_decay)
    assert ids(p for group in groups for p in group["params"]) == ids(network.parameters())
    for group in groups:
        component = group["name"].split("/")[0]
        assert group["lr"] == LRS[component]
        assert set(ids(group["params"])) <= set(ids(network.get_submodule(component).parameters()))
    torch.optim.AdamW(groups)


def test_without_decay_there_is_one_group_a_component(network):
    assert [group["name"] for group in parameter_groups(network, LRS)] == list(LRS)


def test_vectors_are_not_decayed(network):
    groups = {group["name"]: group for group in parameter_groups(network, LRS, weight_decay=0.01)}
    assert groups["encoder"]["weight_decay"] == 0.01 and groups["encoder/no_decay"]["weight_decay"] == 0
    assert all(p.ndim > 1 for p in groups["encoder"]["params"])
    assert all(p.ndim == 1 for p in groups["encoder/no_decay"]["params"])


def test_vectors_are_decayed_when_asked(network):
    groups = parameter_groups(network, LRS, weight_decay=0.01, decay_norm_and_bias=True)
    assert {(group["name"], group["weight_decay"]) for group in groups} == {(name, 0.01) for name in LRS}


def test_longest_prefix_counts(network):
    groups = {g["name"]: g for g in parameter_groups(network, LRS | {"encoder.stages.1": 5e-5})}
    assert ids(groups["encoder.stages.1"]["params"]) == ids(network.encoder.stages[1].parameters())
    assert ids(groups["encoder"]["params"]) == ids(network.encoder.stages[0].parameters())


def test_frozen_components_are_left_out(network):
    groups = parameter_groups(freeze(network, ["encoder", "decoder"]), LRS)
    assert [group["name"] for group in groups] == ["mask_head", "tumour_head"]


def test_head_that_is_off_is_left_out():
    groups = parameter_groups(SegClsNet(features=(8, 16), heads=("tumour",)), LRS)
    assert [group["name"] for group in groups] == ["encoder", "tumour_head"]


def test_learnt_task_weights_are_never_decayed(network):
    loss = MultiTaskLoss(weighting="kendall")
    group = parameter_groups(network, LRS | {"loss": 1e-2}, weight_decay=0.01, extra=loss)[-1]
    assert (group["name"], group["lr"], group["weight_decay"]) == ("loss", 1e-2, 0.0)
    assert ids(group["params"]) == ids(loss.parameters())


def test_loss_without_parameters_needs_no_rate(network):
    assert len(parameter_groups(network, LRS, extra=MultiTaskLoss())) == 4
    assert len(parameter_groups(network, LRS | {"loss": 1e-2}, extra=MultiTaskLoss())) == 4


def test_wrapped_network_has_the_same_groups(network):
    groups = parameter_groups(torch.nn.DataParallel(network), LRS)
    assert [group["name"] for group in groups] == list(LRS)


def test_forgotten_parameter_is_named(network):
    with pytest.raises(ValueError, match=r"parameter decoder\.ups\.0\S+ has no learning rate .*'decoder'"):
        parameter_groups(network, {"encoder": 1e-4})
    with pytest.raises(ValueError, match=r"parameter loss\.weighting\.log_variance has no learning rate"):
        parameter_groups(network, LRS, extra=MultiTaskLoss(weighting="kendall"))


def test_misspelt_component_is_named(network):
    with pytest.raises(ValueError, match=r"\['encodr'\] fit no parameter.*'encoder'"):
        parameter_groups(network, LRS | {"encodr": 1e-4})


def test_nothing_to_train_is_refused(network):
    with pytest.raises(ValueError, match="every parameter is frozen"):
        parameter_groups(freeze(network, list(LRS)), LRS)
