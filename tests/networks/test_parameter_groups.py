"""Every trainable parameter in exactly one group."""

from __future__ import annotations

import pytest
import torch

from medvlm.losses import MultiTaskLoss
from medvlm.networks.freezing import freeze
from medvlm.networks.nets import SegClsNet
from medvlm.networks.parameter_groups import parameter_groups, rates_of_stage

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


class TwoTowers(torch.nn.Module):
    """A network with a scale and a bias, a shared class token, and a component that was left out."""

    def __init__(self) -> None:
        super().__init__()
        self.video = torch.nn.Linear(4, 3)
        self.text = torch.nn.Sequential(torch.nn.Linear(5, 3), torch.nn.LayerNorm(3))
        self.class_token = torch.nn.Parameter(torch.zeros(1, 1, 3))
        self.logits = torch.nn.ParameterDict({"log_scale": torch.tensor(2.3), "bias": torch.tensor(-10.0)})
        self.captioner = None


TOWERS = {"video": 1e-4, "text": 2e-5, "class_token": 1e-4, "logits": 1e-3}


def test_each_component_has_its_own_weight_decay():
    network = TwoTowers()
    decays = {"video": 0.1, "text": 0.02, "text.1": 0.3, "class_token": 0.5}
    groups = {g["name"]: g for g in parameter_groups(network, TOWERS, weight_decay=decays)}
    assert {name: (g["lr"], g["weight_decay"]) for name, g in groups.items()} == {
        "video": (1e-4, 0.1),
        "video/no_decay": (1e-4, 0.0),
        "text": (2e-5, 0.02),
        "text/no_decay": (2e-5, 0.0),
        "class_token": (1e-4, 0.5),
        "logits": (1e-3, 0.0),
    }
    assert ids(p for g in groups.values() for p in g["params"]) == ids(network.parameters())


@pytest.mark.parametrize("decay_norm_and_bias", [False, True])
def test_scale_and_bias_are_never_decayed(decay_norm_and_bias):
    network = TwoTowers()
    groups = parameter_groups(network, TOWERS, weight_decay=0.1, decay_norm_and_bias=decay_norm_and_bias)
    group = {g["name"]: g for g in groups}["logits"]
    assert group["weight_decay"] == 0.0
    assert ids(group["params"]) == ids(network.logits.values())


def test_parts_of_one_rate_with_two_decays_are_two_groups():
    decays = {"video": 0.1, "text": 0.2, "text.1": 0.3, "class_token": 0.1}
    groups = parameter_groups(TwoTowers(), TOWERS, weight_decay=decays, decay_norm_and_bias=True)
    found = {g["name"]: g["weight_decay"] for g in groups}
    assert (found["text"], found["text/text.1"]) == (0.2, 0.3)


def test_named_parts_are_not_decayed():
    network = TwoTowers()
    groups = {g["name"]: g for g in parameter_groups(network, TOWERS, 0.1, no_decay=["class_token"])}
    assert groups["class_token"]["weight_decay"] == 0.0
    with pytest.raises(ValueError, match=r"no_decay names \['cls'\]"):
        parameter_groups(network, TOWERS, 0.1, no_decay=["cls"])


def test_component_that_was_left_out_may_be_named():
    groups = parameter_groups(TwoTowers(), TOWERS | {"captioner": 6e-5}, weight_decay=0.1)
    assert {group["name"].split("/")[0] for group in groups} == set(TOWERS)


def test_parameter_without_a_weight_decay_is_named():
    with pytest.raises(ValueError, match=r"parameter text\.0\.weight has no weight decay .*'text'"):
        parameter_groups(TwoTowers(), TOWERS, weight_decay={"video": 0.1, "class_token": 0.1})


def test_misspelt_weight_decay_is_named():
    with pytest.raises(ValueError, match=r"weight decays of \['txt'\] fit no parameter"):
        parameter_groups(TwoTowers(), TOWERS, weight_decay={"video": 0.1, "txt": 0.1})


def test_parameter_of_both_network_and_loss_is_refused():
    network = TwoTowers()
    with pytest.raises(ValueError, match=r"logits\.log_scale of the network is also scale of the loss"):
        loss = torch.nn.ParameterDict({"scale": network.logits["log_scale"]})
        parameter_groups(network, TOWERS | {"loss": 1e-3}, extra=loss)


def test_tied_parameter_is_in_one_group():
    network = TwoTowers()
    network.text[0].weight = torch.nn.Parameter(torch.zeros(3, 4))
    network.video.weight = network.text[0].weight
    groups = parameter_groups(network, TOWERS, weight_decay=0.1)
    members = ids(p for g in groups for p in g["params"])
    assert len(members) == len(set(members)) and members == ids(network.parameters())


def test_the_rates_of_all_stages_are_checked_whichever_runs():
    network = torch.nn.ModuleDict({"encoder": torch.nn.Linear(2, 2), "head": torch.nn.Linear(2, 2)})
    table = {"first": {"encoder": 1.0, "head": 1.0}, "last": {"encoder": 0.1, "head": 0.3, "loss": 0.1}}
    assert rates_of_stage(table, "last", network) == table["last"]
    with pytest.raises(ValueError, match="stage 'other' has no learning rates, there are some for"):
        rates_of_stage(table, "other", network)
    table["last"]["haed"] = 0.3
    with pytest.raises(ValueError, match=r"learning rates of stage 'last' for \['haed'\] fit no parameter"):
        rates_of_stage(table, "first", network)
