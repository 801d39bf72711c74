"""How sure a network is: Monte Carlo dropout and test-time flips."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from medvlm.engines.cam import eager_network


@contextmanager
def active_dropout(network: nn.Module) -> Iterator[int]:
    """Switch the dropout layers of a network on, and nothing else; put their modes back at the end.

    ``Dropout2d`` and ``Dropout3d`` are no subclasses of ``Dropout``: all of torch's are meant.

    Yields:
        The number of layers that drop something.

    Raises:
        ValueError: When no layer does.
    """
    layers = [module for module in network.modules() if isinstance(module, _DropoutNd) and module.p > 0]
    if not layers:
        raise ValueError(
            "Monte Carlo dropout needs at least one dropout layer with a probability above 0, and this network has "
            "none; train with network_def#dropout above 0, or set mc_samples to 0."
        )
    modes = [layer.training for layer in layers]
    try:
        for layer in layers:
            layer.training = True
        yield len(layers)
    finally:
        for layer, mode in zip(layers, modes, strict=True):
            layer.training = mode


def probabilities(out: dict[str, Tensor]) -> tuple[Tensor | None, Tensor | None]:
    """Mask probabilities ``(1, R, *S)`` and the tumour probability ``(1,)`` from an inferer's logits."""
    mask = torch.sigmoid(out["mask"].float()) if "mask" in out else None
    tumour = 1 - torch.softmax(out["tumour"].float(), dim=1)[:, 0] if "tumour" in out else None
    return mask, tumour


class RunningSpread:
    """Standard deviation of tensors that come one at a time (Welford's update), without keeping them."""

    def __init__(self) -> None:
        self.count = 0
        self.mean: Tensor | None = None
        self.squares: Tensor | None = None

    def update(self, value: Tensor) -> None:
        """Take one more sample."""
        self.count += 1
        if self.mean is None or self.squares is None:
            self.mean, self.squares = value.clone(), torch.zeros_like(value)
            return
        step = value - self.mean
        self.mean += step / self.count
        self.squares += step * (value - self.mean)

    def deviation(self) -> Tensor:
        """Population standard deviation of what was seen."""
        if self.squares is None:
            raise ValueError("no sample was seen yet; call update first.")
        return (self.squares / self.count).clamp(min=0).sqrt()


def mc_dropout(
    network: nn.Module, image: Tensor, inferer: Callable, samples: int = 8, seed: int = 0
) -> dict[str, Tensor]:
    """Spread of the predictions when dropout stays on at inference.

    Args:
        network: with dropout layers; a run-time back end's torch network is used.
        image: ``(1, C, *S)``, one case.
        inferer: called as ``inferer(image, network)``, gives ``mask`` and ``tumour`` logits.
        samples: passes, at least 2.
        seed: of the dropout; the global random state is left as it was.

    Returns:
        ``map``: ``(1, 1, *S)``, the standard deviation of the mask's probability, the largest of the regions;
        ``tumour``: ``(1,)``, that of the tumour probability; ``tumour_mean``: ``(1,)``. Heads that are off are
        left out.

    Raises:
        ValueError: When fewer than 2 samples are asked for, no dropout layer is active, or nothing varied.

    Reference:
        Gal and Ghahramani, Dropout as a Bayesian Approximation, ICML 2016, https://arxiv.org/abs/1506.02142.
    """
    if samples < 2:
        raise ValueError(f"Monte Carlo dropout needs at least 2 samples, got {samples}; 0 switches it off.")
    network = eager_network(network)
    masks, tumours = RunningSpread(), RunningSpread()
    devices = [image.device] if image.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), active_dropout(network), torch.no_grad():
        torch.manual_seed(seed)
        for _ in range(samples):
            mask, tumour = probabilities(inferer(image, network))
            if mask is not None:
                masks.update(mask)
            if tumour is not None:
                tumours.update(tumour)
    out: dict[str, Tensor] = {}
    if masks.count:
        out["map"] = masks.deviation().amax(dim=1, keepdim=True)
    if tumours.count:
        out["tumour"], out["tumour_mean"] = tumours.deviation(), tumours.mean
    if not any(bool((value > 0).any()) for key, value in out.items() if key != "tumour_mean"):
        raise ValueError(
            "Monte Carlo dropout changed nothing: the active dropout layers are on no path to a head; "
            "raise network_def#dropout, or set mc_samples to 0."
        )
    return out


def flip_tta(
    network: nn.Module, image: Tensor, inferer: Callable, plain: dict[str, Tensor] | None = None, axis: int = 2
) -> dict[str, Tensor]:
    """Spread between the prediction of a case and that of its left-right mirror image.

    Only left and right are exchanged: the network was trained on no other flip.

    Args:
        network: anything that the inferer takes.
        image: ``(1, C, *S)``, one case, in LPS orientation so that the first spatial axis is left-right.
        inferer: called as ``inferer(image, network)``.
        plain: the prediction of the case itself, where it is already there.
        axis: the axis to flip.

    Returns:
        The keys of :func:`mc_dropout`, over the two predictions.
    """
    image = image.as_tensor() if hasattr(image, "as_tensor") else image
    with torch.no_grad():
        plain = plain if plain is not None else inferer(image, network)
        flipped = dict(inferer(image.flip(axis), network))
    if "mask" in flipped:
        flipped["mask"] = flipped["mask"].flip(axis)
    return spread_of(plain, flipped)


def spread_of(plain: dict[str, Tensor], other: dict[str, Tensor]) -> dict[str, Tensor]:
    """Half the difference between two predictions of the same cases.

    Args:
        plain: ``mask`` logits ``(B, R, *S)``, ``tumour`` logits ``(B, K)``, or one of them.
        other: the same, on the same grid.

    Returns:
        The keys of :func:`mc_dropout`, with a first dimension of B.
    """
    (mask, tumour), (other_mask, other_tumour) = probabilities(plain), probabilities(other)
    out: dict[str, Tensor] = {}
    if mask is not None and other_mask is not None:
        out["map"] = ((mask - other_mask).abs() / 2).amax(dim=1, keepdim=True)
    if tumour is not None and other_tumour is not None:
        out["tumour"], out["tumour_mean"] = (tumour - other_tumour).abs() / 2, (tumour + other_tumour) / 2
    return out
