"""Freezing by name, normalisation statistics included."""

from __future__ import annotations

import copy

import pytest
import torch

from medvlm.networks.freezing import freeze, unfreeze
from medvlm.networks.nets import SegClsNet


def small_net(**settings) -> SegClsNet:
    torch.manual_seed(0)
    return SegClsNet(features=(4, 8, 16), norm="BATCH", **settings)


def train_steps(network: SegClsNet, steps: int = 3) -> None:
    network.train()
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1, momentum=0.9)
    for _ in range(steps):
        optimizer.zero_grad()
        heads = network(torch.randn(4, 1, 16, 16) * 3 + 1)
        (heads["mask"].square().mean() + heads["tumour"].square().mean()).backward()
        optimizer.step()


def changed(network: SegClsNet, before: dict[str, torch.Tensor]) -> set[str]:
    return {key.split(".")[0] for key, value in network.state_dict().items() if not torch.equal(value, before[key])}


def test_frozen_encoder_keeps_weights_and_batch_statistics():
    network = freeze(small_net(), ["encoder"])
    before = copy.deepcopy(network.state_dict())
    train_steps(network)
    assert changed(network, before) == {"decoder", "mask_head", "tumour_head"}


def test_unfrozen_encoder_learns_again():
    network = unfreeze(freeze(small_net(), ["encoder"]), ["encoder"])
    before = copy.deepcopy(network.state_dict())
    train_steps(network)
    assert changed(network, before) == {"encoder", "decoder", "mask_head", "tumour_head"}


def test_train_leaves_frozen_parts_in_evaluation_mode():
    network = freeze(small_net(dropout=0.5), ["encoder", "decoder"])
    network.eval()
    network.train()
    modes = {name: {m.training for m in child.modules()} for name, child in network.named_children()}
    assert modes == {"encoder": {False}, "decoder": {False}, "mask_head": {True}, "tumour_head": {True}}
    unfreeze(network, ["decoder"])
    assert all(m.training for m in network.decoder.modules())


def test_dropout_of_a_frozen_encoder_is_off():
    network = freeze(small_net(dropout=0.5), ["encoder"]).train()
    image = torch.randn(1, 1, 16, 16)
    first, second = network.encode(image), network.encode(image)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_freezing_survives_a_copy():
    network = copy.deepcopy(freeze(small_net(), ["encoder"])).train()
    assert network.frozen == ("encoder",)
    assert not network.encoder.training


def test_freezing_reaches_through_a_wrapper():
    wrapped = torch.nn.DataParallel(small_net())
    assert freeze(wrapped, "encoder") is wrapped
    wrapped.train()
    assert not wrapped.module.encoder.training


def test_unknown_name_lists_the_components():
    with pytest.raises(ValueError, match=r"no component \['encoder2'\].*'decoder', 'encoder', 'mask_head'"):
        freeze(small_net(), ["encoder2"])


def test_plain_module_is_refused():
    with pytest.raises(TypeError, match="Freezable"):
        freeze(torch.nn.Linear(2, 2), ["weight"])
