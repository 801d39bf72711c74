"""BatchNorm's running statistics through passes that must not move them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medvlm.networks.blocks.running_statistics import kept_statistics


def test_statistics_stay_and_the_batch_is_normalised_as_ever():
    layer, x = nn.BatchNorm1d(3), torch.randn(8, 3) + 5
    with kept_statistics(nn.Sequential(layer)):
        inside = layer(x)
    assert torch.equal(layer.running_mean, torch.zeros(3)) and torch.equal(layer.running_var, torch.ones(3))
    torch.testing.assert_close(inside, layer(x))


@pytest.mark.parametrize("momentum", [0.1, None])
def test_they_move_again_afterwards_even_after_an_error(momentum):
    layer = nn.BatchNorm1d(3, momentum=momentum)
    with pytest.raises(RuntimeError, match="stop"), kept_statistics(layer):
        raise RuntimeError("stop")
    layer(torch.randn(8, 3) + 5)
    assert layer.momentum == momentum and float(layer.running_mean.mean()) > 0.3
