"""The teacher that follows a network."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from medvlm.networks.blocks.ema import EmaTeacher


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))


def shift(net: nn.Module, by: float) -> None:
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(by)


def test_first_update_takes_the_weights_whole():
    net = network()
    teacher = EmaTeacher(net, decay=0.9)
    shift(net, 3.0)  # as if a checkpoint had been loaded after construction
    teacher.update(net)
    assert all(torch.equal(a, b) for a, b in zip(teacher.network.parameters(), net.parameters(), strict=True))


def test_later_updates_are_a_running_mean():
    net = network()
    teacher = EmaTeacher(net, decay=0.5)
    for _ in range(30):
        teacher.update(net)
    before = copy.deepcopy(net)
    shift(net, 1.0)
    teacher.update(net)
    for own, old in zip(teacher.network.parameters(), before.parameters(), strict=True):
        assert torch.allclose(own, old + 0.5, atol=1e-6)


def test_teacher_is_faster_at_the_start():
    net = network()
    teacher = EmaTeacher(net, decay=0.999)
    teacher.update(net)
    start = net[0].weight.detach().clone()
    shift(net, 1.0)
    teacher.update(net)
    assert torch.allclose(teacher.network[0].weight, start + 1 - 2 / 11, atol=1e-6)


def test_buffers_are_copied():
    net = network().train()
    teacher = EmaTeacher(net)
    net(torch.randn(8, 3))
    teacher.update(net)
    assert torch.equal(teacher.network[1].running_mean, net[1].running_mean)


@pytest.mark.parametrize("settings", [{"foreach": False}, {"foreach": True}, {"fused": True}], ids=str)
def test_it_follows_each_optimiser_step_once(settings):
    net = network().train()
    teacher, optimizer = EmaTeacher(net), torch.optim.AdamW(net.parameters(), lr=0.1, **settings)
    seen = []
    for _ in range(3):
        optimizer.zero_grad()
        for _ in range(2):  # accumulation: two passes a step
            seen.append(teacher.follow(net))
            net(torch.randn(4, 3)).square().mean().backward()
        optimizer.step()
    assert seen == [True, False] * 3 and int(teacher.updates) == 3


def test_a_frozen_network_is_not_followed():
    net = network().requires_grad_(False)
    assert EmaTeacher(net).follow(net) is False


def test_teacher_never_learns_and_has_no_dropout():
    net = network()
    teacher = EmaTeacher(net).train()
    x = torch.randn(4, 3)
    first = teacher(x)
    assert torch.equal(first, teacher(x)) and not first.requires_grad
    assert not [p for p in teacher.parameters() if p.requires_grad]


def test_decay_out_of_range_is_refused():
    with pytest.raises(ValueError, match="0 to 1, got 1.5"):
        EmaTeacher(network(), decay=1.5)
