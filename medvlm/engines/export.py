"""A network with named heads as an ONNX file."""

from __future__ import annotations

import copy
import hashlib
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from medvlm.atomic import replacing
from medvlm.networks.nets import HeadsTuple

OUTPUTS = ("mask", "tumour")
"""Names of the exported outputs, in order."""


class MomentNorm(nn.Module):
    """GroupNorm as a scale and a shift a channel, from each channel's first two moments.

    The same function to float32's rounding. OpenVINO runs convolutions channels last and its GroupNorm channels
    first, and a third of the time of a U-Net goes into turning the maps around; means, products and sums need no
    turning.

    Args:
        norm: what it stands for; its weights are taken over as constants.
    """

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        ones, zeros = torch.ones(norm.num_channels), torch.zeros(norm.num_channels)
        weight, bias = (norm.weight, norm.bias) if norm.affine else (ones, zeros)
        # plain tensors, which become constants: the exporter merges equal parameters and then loses one of them
        self.weight = weight.detach().clone().reshape(norm.num_groups, -1)  # (G, C / G)
        self.bias = bias.detach().clone().reshape(norm.num_groups, -1)
        self.eps = norm.eps

    def forward(self, maps: Tensor) -> Tensor:
        """Normalise maps ``(B, C, *S)``."""
        axes = list(range(2, maps.ndim))
        grouped = [-1, *self.weight.shape]  # (B, G, C / G)
        mean = maps.mean(axes).reshape(grouped).mean(2, keepdim=True)  # (B, G, 1)
        square = (maps * maps).mean(axes).reshape(grouped).mean(2, keepdim=True)  # (B, G, 1)
        scale = self.weight * torch.rsqrt((square - mean * mean).clamp(min=0) + self.eps)  # (B, G, C / G)
        shift = self.bias - mean * scale
        shape = [-1, maps.shape[1]] + [1] * len(axes)
        return maps * scale.reshape(shape) + shift.reshape(shape)


def with_moment_norms(network: nn.Module) -> nn.Module:
    """A copy of a network, on the CPU, whose GroupNorms are :class:`MomentNorm`."""
    twin = copy.deepcopy(network).cpu()
    for module in list(twin.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.GroupNorm):
                setattr(module, name, MomentNorm(child))
    return twin


def fingerprint(network: nn.Module, example_shape: Sequence[int]) -> str:
    """Short hash of a network's weights, structure and example shape: the name of its exported file."""
    digest = hashlib.sha256(f"{network}{tuple(example_shape)}{torch.__version__}".encode())
    for name, value in network.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def export_onnx(
    network: nn.Module, path: str | Path, example_shape: Sequence[int], moments: bool = False
) -> Path:
    """Write the two heads of a network as one ONNX file.

    The batch is dynamic; for volumes the sides are too, since every brain's crop has its own.

    Args:
        network: a ``SegClsNet`` or ``MaskNet``.
        path: where the file goes; replaced as a whole.
        example_shape: ``(B, C, *S)`` to trace with.
        moments: write GroupNorm as :class:`MomentNorm`.

    Returns:
        The path.
    """
    path = Path(path)
    volume = len(example_shape) == 5
    free = {0: "batch", **({2: "x", 3: "y", 4: "z"} if volume else {})}
    training = network.training
    view = HeadsTuple(with_moment_norms(network) if moments else network).eval()
    example = torch.zeros(tuple(example_shape), device=next(view.parameters()).device)
    try:
        with replacing(path) as temporary, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                view,
                (example,),
                str(temporary),
                input_names=["image"],
                output_names=list(OUTPUTS),
                dynamic_axes={"image": free, "mask": free, "tumour": {0: "batch"}},
                opset_version=18,
                dynamo=False,
            )
    finally:
        network.train(training)
    return path
