"""Grad-CAM on the shared encoder, seen through the class head."""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor, nn


def eager_network(network: nn.Module) -> nn.Module:
    """The torch network behind a run-time back end or a distributed wrapper, or the network itself."""
    for name in ("eager", "module"):
        network = getattr(network, name, network)
    return network


def check_level(level: int, maps: int) -> None:
    """Refuse a level that names none of an encoder's maps.

    Raises:
        ValueError: with the range.
    """
    if not -maps <= level < maps:
        raise ValueError(
            f"cam_level must name one of the encoder's {maps} maps, {-maps} to {maps - 1} (finest to coarsest), "
            f"got {level}."
        )


def class_activation(network: nn.Module, image: Tensor, class_index: int = 1, level: int | None = None) -> Tensor:
    """Grad-CAM of one class on a map of the encoder.

    The class logit's gradient, averaged over space, weighs the channels of the encoder's map; negative sums are cut
    off. The scale is that of the logit: it is the same for all images of a call, so that the slices of one volume
    may be compared, and :func:`scaled` brings a whole case to [0, 1].

    Args:
        network: with ``encode(image)`` (maps, finest to coarsest) and ``tumour_head(maps)``; in evaluation mode.
        image: ``(B, C, *S)``.
        class_index: the class to explain; 1 = tumour.
        level: which of the encoder's maps; None is the coarsest of at least a quarter of the image's resolution, below
            both maps that the class head pools. On coarser maps the spatial mean of a gradient that comes through
            a normalisation is close to 0, and its sign says little.

    Returns:
        ``(B, 1, *S)``, at least 0, without gradient.

    Raises:
        ValueError: When the network has no class head that is on, or ``level`` names no map.

    Reference:
        Selvaraju et al., Grad-CAM: Visual Explanations from Deep Networks, ICCV 2017,
        https://arxiv.org/abs/1610.02391. The map is that of a shared encoder stage, not of the last layer.
    """
    network = eager_network(network)
    if not hasattr(network, "tumour_head") or not getattr(network, "tumour_on", True):
        raise ValueError("Grad-CAM looks through the class head, and this network has none that is on; set cam False.")
    image = image.as_tensor() if hasattr(image, "as_tensor") else image
    wanted = [parameter.requires_grad for parameter in network.parameters()]
    with torch.inference_mode(False), torch.enable_grad():
        try:
            network.requires_grad_(False)  # only the maps need a gradient
            maps = network.encode(image.detach().clone().requires_grad_(True))
            if level is None:
                level = max((i for i, m in enumerate(maps) if 4 * m.shape[2] >= image.shape[2]), default=0)
            check_level(level, len(maps))
            logits = network.tumour_head(maps)
            gradient = torch.autograd.grad(logits[:, class_index].sum(), maps[level])[0]  # (B, C', *S')
        finally:
            for parameter, want in zip(network.parameters(), wanted, strict=True):
                parameter.requires_grad_(want)
    weight = gradient.flatten(2).mean(dim=2)  # (B, C')
    activation = torch.einsum("bc,bc...->b...", weight, maps[level].detach()).clamp(min=0).unsqueeze(1)
    mode = {4: "bilinear", 5: "trilinear"}[activation.ndim]
    return functional.interpolate(activation, size=image.shape[2:], mode=mode, align_corners=False)


def scaled(activation: Tensor) -> Tensor:
    """Divide a case's activation by its largest value, so that it lies in [0, 1]; zeros stay zeros.

    Args:
        activation: at least 0, any shape, one case.
    """
    most = activation.max()
    return activation / most if most > 0 else activation


def volume_activation(
    network: nn.Module, image: Tensor, slice_logits: Tensor | None, batch_size: int = 16, level: int | None = None
) -> Tensor:
    """Grad-CAM of one case, for a 2D network slice by slice.

    Args:
        network: see :func:`class_activation`.
        image: ``(1, C, X, Y, Z)``, one case.
        slice_logits: ``(Z, K)`` for a 2D network: only slices whose tumour probability is at least a tenth of the
            case's highest are explained, each weighed by its probability; None for a 3D network.
        batch_size: slices a pass.
        level: see :func:`class_activation`.

    Returns:
        ``(1, 1, X, Y, Z)`` in [0, 1].
    """
    if slice_logits is None:
        return scaled(class_activation(network, image, level=level))
    probability = 1 - torch.softmax(slice_logits.float(), dim=1)[:, 0]  # (Z,)
    out = image.new_zeros((1, 1, *image.shape[2:]))
    out = out.as_tensor() if hasattr(out, "as_tensor") else out
    chosen = torch.nonzero(probability >= 0.1 * probability.max()).flatten()
    for index in chosen.split(batch_size):
        slices = image[0, ..., index].movedim(-1, 0)  # (N, C, X, Y)
        activation = class_activation(network, slices, level=level) * probability[index].view(-1, 1, 1, 1)
        out[0, ..., index] = activation.movedim(0, -1)
    return scaled(out)
