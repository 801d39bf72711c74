"""Freezing by name, normalisation statistics included."""

from __future__ import annotations

import copy

import pytest
import torch

from medvlm.networks.freezing import Freezable, freeze, freeze_fraction, unfreeze
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


def test_what_a_component_itself_keeps_from_learning_stays_frozen():
    network = small_net()
    teacher = next(iter(network.encoder.parameters())).requires_grad_(False)
    learning = {name for name, p in network.named_parameters() if p.requires_grad}
    unfreeze(network, ["encoder", "decoder"])
    assert not teacher.requires_grad
    for _ in range(2):  # a second freeze must not forget what the first one held
        freeze(network, ["encoder"])
    assert not any(p.requires_grad for p in network.encoder.parameters())
    unfreeze(network, ["encoder"])
    assert {name for name, p in network.named_parameters() if p.requires_grad} == learning


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


class Encoder(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.position = torch.nn.Parameter(torch.zeros(1, 1, 4))
        self.stem = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.BatchNorm1d(4))
        self.blocks = torch.nn.ModuleList(torch.nn.Linear(4, 4) for _ in range(4))
        self.norm = torch.nn.LayerNorm(4)


class Layered(Freezable):
    def __init__(self):
        super().__init__()
        self.encoder = torch.nn.ModuleDict({"inner": Encoder()})
        self.head = torch.nn.Linear(4, 1)


def learning(network: torch.nn.Module) -> set[str]:
    return {name.rsplit(".", 1)[0] for name, p in network.named_parameters() if p.requires_grad}


def test_fraction_freezes_from_the_input():
    network = freeze_fraction(Layered(), {"encoder": 0.5}).train()
    prefix = "encoder.inner"
    assert learning(network) == {f"{prefix}.blocks.2", f"{prefix}.blocks.3", f"{prefix}.norm", "head"}
    assert not network.encoder["inner"].position.requires_grad
    stopped = {name for name, module in network.named_modules() if not module.training}
    assert stopped == {f"{prefix}.{name}" for name in ("stem", "stem.0", "stem.1", "blocks.0", "blocks.1")}


@pytest.mark.parametrize(("fraction", "frozen"), [(0, 0), (0.1, 0), (0.25, 1), (0.75, 3)])
def test_fraction_counts_layers(fraction, frozen):
    network = freeze_fraction(Layered(), {"encoder": fraction})
    blocks = network.encoder["inner"].blocks
    assert [block.weight.requires_grad for block in blocks] == [False] * frozen + [True] * (4 - frozen)
    assert network.encoder["inner"].position.requires_grad == (frozen == 0)


def test_whole_fraction_is_freeze_and_unfreeze_undoes_it():
    network = freeze_fraction(Layered(), {"encoder": 1.0})
    assert network.frozen == ("encoder",) and learning(network) == {"head"}
    freeze_fraction(network, {"encoder": 0.5})
    assert "encoder" not in network.frozen and "encoder.inner.norm" in learning(network)
    unfreeze(network, ["encoder"]).train()
    assert network.frozen == () and all(module.training for module in network.modules())
    assert all(p.requires_grad for p in network.parameters())


@pytest.mark.parametrize(
    ("fractions", "words"),
    [
        ({"encoder": 1.5}, "lies in 0..1"),
        ({"decoder": 0.5}, r"no component \['decoder'\]"),
        ({"head": 0.5}, "'head' has no list of layers"),
    ],
)
def test_wrong_fractions_are_refused(fractions, words):
    with pytest.raises(ValueError, match=words):
        freeze_fraction(Layered(), fractions)
