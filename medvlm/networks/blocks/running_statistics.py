"""Forward passes on altered inputs that must not move the running statistics of BatchNorm."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def kept_statistics(network: nn.Module) -> Iterator[None]:
    """Let BatchNorm normalise by the batch as it does, but keep its running statistics as they are.

    A masked video has other statistics than a whole one; an encoder that sees both in training would be evaluated on
    whole videos with a mixture of the two.

    Args:
        network: whose BatchNorm layers are meant; one without any is left alone.
    """
    layers = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
    try:
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
