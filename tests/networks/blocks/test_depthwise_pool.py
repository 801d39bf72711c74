"""Depthwise convolution of channels-last tokens: the values and gradients of torch's."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from medvlm.networks.blocks.depthwise_pool import depthwise_pool

CASES = [
    ((2, 4, 6, 7), (3, 3, 3), (1, 1, 1)),
    ((1, 5, 9, 8), (3, 3, 3), (2, 2, 2)),
    ((1, 1, 5, 5), (3, 3, 3), (1, 2, 2)),
    ((2, 3, 16, 16), (3, 3, 3), (1, 8, 8)),
    ((1, 3, 15, 18), (3, 3, 3), (1, 4, 4)),
    ((1, 4, 13, 9), (3, 3, 3), (2, 5, 4)),
    ((1, 6, 5, 5), (5, 1, 3), (1, 1, 1)),
    ((1, 2, 3, 3), (1, 1, 1), (1, 2, 2)),
    ((1, 2, 3, 3), (3, 3, 3), (4, 1, 1)),
]


@pytest.mark.parametrize(("shape", "kernel", "stride"), CASES, ids=str)
def test_equals_conv3d_with_its_gradients(shape, kernel, stride):
    torch.manual_seed(0)
    maps = torch.randn(*shape, 8, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(8, 1, *kernel, dtype=torch.float64, requires_grad=True)
    padding = tuple(k // 2 for k in kernel)
    expected = functional.conv3d(maps.permute(0, 4, 1, 2, 3), weight, None, stride, padding, groups=8)
    expected = expected.permute(0, 2, 3, 4, 1)
    cotangent = torch.randn_like(expected)
    ours = depthwise_pool(maps, weight, stride)
    torch.testing.assert_close(ours, expected)
    with torch.no_grad():
        torch.testing.assert_close(depthwise_pool(maps, weight, stride), expected)
    for got, wanted in zip(
        torch.autograd.grad(ours, (maps, weight), cotangent),
        torch.autograd.grad(expected, (maps, weight), cotangent),
        strict=True,
    ):
        torch.testing.assert_close(got, wanted)


def test_has_gradients_of_gradients():
    torch.manual_seed(0)
    maps = torch.randn(1, 3, 4, 4, 2, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 1, 3, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda m, w: depthwise_pool(m, w, (1, 2, 2)), (maps, weight))
    assert torch.autograd.gradgradcheck(lambda m, w: depthwise_pool(m, w, (1, 1, 1)), (maps, weight))


def test_only_the_gradient_that_is_asked_for_is_computed():
    maps, weight = torch.randn(1, 2, 4, 4, 8), torch.randn(8, 1, 3, 3, 3, requires_grad=True)
    depthwise_pool(maps, weight, (1, 1, 1)).sum().backward()
    assert weight.grad.shape == weight.shape
    assert maps.grad is None
