"""Additive attention gate."""

from __future__ import annotations

import pytest
import torch

from medvlm.networks.blocks.attention_gate import AttentionGate, OpenGate


@pytest.mark.parametrize(
    ("spatial_dims", "skip", "gating"),
    [(2, (2, 8, 16, 12), (2, 16, 8, 6)), (3, (1, 8, 8, 4, 6), (1, 16, 4, 2, 3))],
    ids=["2d", "3d"],
)
def test_shapes(spatial_dims, skip, gating):
    gate = AttentionGate(spatial_dims, skip_channels=8, gating_channels=16)
    assert gate(torch.randn(skip), torch.randn(gating)).shape == skip
    assert gate.attention(torch.randn(skip), torch.randn(gating)).shape == (skip[0], 1, *skip[2:])


def test_hand_computed_coefficients():
    """One channel, hidden = relu(mean of the skip's 2x2 block + 2 · gating), score = 3 · hidden − 1."""
    gate = AttentionGate(2, 1, 1, inner_channels=1)
    with torch.no_grad():
        gate.skip_projection.weight.fill_(0.25)
        gate.gating_projection.weight.fill_(2.0)
        gate.gating_projection.bias.zero_()
        gate.score.weight.fill_(3.0)
        gate.score.bias.fill_(-1.0)
    skip = torch.tensor([[[[1.0, 3.0], [0.0, 4.0]]]])
    expected = torch.sigmoid(torch.tensor(3.0 * (2.0 + 2 * 0.5) - 1.0))
    torch.testing.assert_close(gate(skip, torch.full((1, 1, 1, 1), 0.5)), skip * expected)
    closed = torch.sigmoid(torch.tensor(-1.0))
    torch.testing.assert_close(gate(skip, torch.full((1, 1, 1, 1), -9.0)), skip * closed)


def test_coefficients_are_between_0_and_1():
    gate = AttentionGate(2, 4, 8)
    coefficients = gate.attention(torch.randn(2, 4, 8, 8) * 10, torch.randn(2, 8, 4, 4) * 10)
    assert coefficients.min() >= 0 and coefficients.max() <= 1 and coefficients.std() > 0


def test_both_inputs_receive_gradients():
    skip, gating = torch.randn(1, 4, 8, 8, requires_grad=True), torch.randn(1, 8, 4, 4, requires_grad=True)
    AttentionGate(2, 4, 8)(skip, gating).square().sum().backward()
    assert skip.grad.abs().sum() > 0 and gating.grad.abs().sum() > 0


def test_open_gate_changes_nothing():
    skip = torch.randn(1, 4, 8, 8)
    assert OpenGate()(skip, torch.randn(1, 8, 4, 4)) is skip
