"""Depthwise convolution over time and space of tokens that lie channels last, quick on a CPU forwards and backwards."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

Triple = tuple[int, int, int]


def depthwise_pool(maps: Tensor, weight: Tensor, stride: Triple) -> Tensor:
    """Convolve every channel with a kernel of its own, padded by half the kernel.

    It equals ``torch.nn.functional.conv3d`` with as many groups as channels. The tokens are read where they lie, with
    no transposition. Where the stride in space leaves gaps between the windows, only the windows are read. On a CPU
    the gradients are computed in parts for which torch has quick kernels.

    Args:
        maps: ``(B, t, h, w, C)``.
        weight: ``(C, 1, k_t, k_h, k_w)``, odd sides.
        stride: ``(t, h, w)``.

    Returns:
        ``(B, t', h', w', C)``.
    """
    kernel = tuple(weight.shape[2:])
    padding = tuple(k // 2 for k in kernel)
    if stride[1] > kernel[1] and stride[2] > kernel[2]:
        maps, stride, padding = windows(maps, kernel, stride), (stride[0], *kernel[1:]), (padding[0], 0, 0)
    maps = maps.permute(0, 4, 1, 2, 3)  # (B, C, t, h, w), channels last in memory
    learns = torch.is_grad_enabled() and (maps.requires_grad or weight.requires_grad)
    # graphs and mixed precision take the operation of torch
    plain = torch.jit.is_tracing() or torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu")
    if learns and not plain and maps.device.type == "cpu":
        pooled = DepthwiseConvolution.apply(maps, weight, stride, padding)
    else:
        pooled = functional.conv3d(maps, weight, None, stride, padding, groups=weight.shape[0])
    return pooled.permute(0, 2, 3, 4, 1)


def windows(maps: Tensor, kernel: Triple, stride: Triple) -> Tensor:
    """Cut out the windows in space that a convolution with gaps reads, and put them side by side.

    Args:
        maps: ``(B, t, h, w, C)``.
        kernel: ``(t, h, w)``.
        stride: ``(t, h, w)``, larger than the kernel in space.

    Returns:
        ``(B, t, h' * k_h, w' * k_w, C)``.
    """
    for axis in (1, 2):  # rows, columns
        size, k, s = maps.shape[axis + 1], kernel[axis], stride[axis]
        number = (size + 2 * (k // 2) - k) // s + 1
        before, after = k // 2, number * s - size - k // 2  # the last window may end before or beyond the last row
        along = [0, 0] * (3 - axis) + [before, after]
        maps = functional.pad(maps, along).unflatten(axis + 1, (number, s)).narrow(axis + 2, 0, k)
        maps = maps.flatten(axis + 1, axis + 2)
    return maps


class DepthwiseConvolution(torch.autograd.Function):
    """Depthwise ``conv3d`` of channels-last maps whose gradients are convolutions that torch computes quickly."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, weight: Tensor, stride: Triple, padding: Triple) -> Tensor:
        """Convolve ``(B, C, t, h, w)``."""
        ctx.save_for_backward(maps, weight)
        ctx.stride, ctx.padding = stride, padding
        return functional.conv3d(maps, weight, None, stride, padding, groups=weight.shape[0])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        """Gradients of the maps and of the weight; made of differentiable operations."""
        maps, weight = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last_3d)
        of_maps = of_weight = None
        if ctx.needs_input_grad[0]:
            of_maps = gradient_of_maps(gradient, maps, weight, ctx.stride, ctx.padding)
        if ctx.needs_input_grad[1]:
            of_weight = gradient_of_weight(gradient, maps, weight, ctx.stride, ctx.padding)
        return of_maps, of_weight, None, None


def gradient_of_maps(gradient: Tensor, maps: Tensor, weight: Tensor, stride: Triple, padding: Triple) -> Tensor:
    """Gradient of the maps: where the stride is one, a convolution with the mirrored kernel."""
    groups = weight.shape[0]
    if stride == (1, 1, 1) and padding == tuple(k // 2 for k in weight.shape[2:]):
        return functional.conv3d(gradient, weight.flip(2, 3, 4), None, 1, padding, groups=groups)
    ones, none = (1, 1, 1), (0, 0, 0)
    return torch.ops.aten.convolution_backward(
        gradient, maps, weight, None, stride, padding, ones, False, none, groups, (True, False, False)
    )[0]


def gradient_of_weight(gradient: Tensor, maps: Tensor, weight: Tensor, stride: Triple, padding: Triple) -> Tensor:
    """Gradient of the weight: for each tap in time, the one of a convolution of single frames.

    Args:
        gradient: ``(B, C, t', h', w')``, channels last.
        maps: ``(B, C, t, h, w)``, channels last.
        weight: ``(C, 1, k_t, k_h, k_w)``.
        stride: of the convolution.
        padding: of the convolution.
    """
    frames, results = maps.shape[2], gradient.shape[2]
    taps = []
    for tap in range(weight.shape[2]):
        shift = tap - padding[0]  # result t reads frame t * stride + shift
        first = max(-(shift // stride[0]), 0)
        last = min((frames - 1 - shift) // stride[0], results - 1)
        if last < first:
            taps.append(torch.zeros_like(weight[:, :, tap]))
            continue
        read = maps[:, :, first * stride[0] + shift : last * stride[0] + shift + 1 : stride[0]]
        taps.append(
            torch.ops.aten.convolution_backward(
                as_frames(gradient[:, :, first : last + 1]),
                as_frames(read),
                weight[:, :, tap],
                None,
                stride[1:],
                padding[1:],
                (1, 1),
                False,
                (0, 0),
                weight.shape[0],
                (False, True, False),
            )[1]
        )
    return torch.stack(taps, dim=2)


def as_frames(maps: Tensor) -> Tensor:
    """Fold time into the batch: ``(B, C, t, h, w)`` to ``(B * t, C, h, w)``, channels last."""
    return maps.permute(0, 2, 3, 4, 1).flatten(0, 1).permute(0, 3, 1, 2)
