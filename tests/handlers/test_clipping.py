from __future__ import annotations

import pytest
import torch
from ignite.engine import Engine

from medvlm.handlers.clipping import GradientClipping


def stepped(max_norm: float | None) -> torch.Tensor:
    """Where one step of plain descent leads from the origin, with a gradient of (3, 4)."""
    weight = torch.nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    GradientClipping(optimizer, max_norm).attach(Engine(lambda *_: None))
    weight.grad = torch.tensor([3.0, 4.0])
    optimizer.step()
    return weight.detach()


def test_the_step_is_as_long_as_allowed_and_points_the_same_way():
    assert stepped(1.0) == pytest.approx(torch.tensor([-0.6, -0.8]), abs=1e-5)


@pytest.mark.parametrize("max_norm", [None, 6.0], ids=["off", "not reached"])
def test_a_short_gradient_stays(max_norm):
    assert stepped(max_norm).tolist() == [-3.0, -4.0]


def test_a_norm_of_nothing_is_refused():
    with pytest.raises(ValueError, match="max_norm must be positive"):
        GradientClipping(torch.optim.SGD([torch.zeros(1)], lr=1.0), 0.0)
