"""Freeze and unfreeze parts of a network by name."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn


class Freezable(nn.Module):
    """A network whose components (its direct children) can be frozen by name.

    A frozen component does not learn, and it stays in evaluation mode when the network is put in training mode, so
    that its normalisation statistics do not drift and its dropout is off.

    Attributes:
        frozen: names of the frozen components; set by ``freeze`` and ``unfreeze``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.frozen: tuple[str, ...] = ()

    def train(self, mode: bool = True) -> Freezable:
        """Set training mode for everything but the frozen components."""
        super().train(mode)
        for name in self.frozen:
            self.get_submodule(name).eval()
        return self


def freeze(network: nn.Module, names: Sequence[str] = ("encoder",)) -> nn.Module:
    """Freeze components: no gradient, evaluation mode that ``network.train()`` does not undo.

    Args:
        network: a ``Freezable`` network, or one wrapped once (its ``module`` is taken).
        names: components, e.g. ``["encoder", "mask_head"]``.

    Returns:
        The network, for use in a JSON expression.

    Raises:
        ValueError: if a name is no component; the message lists those that exist.
    """
    return _set(network, names, frozen=True)


def unfreeze(network: nn.Module, names: Sequence[str] = ("encoder",)) -> nn.Module:
    """Undo ``freeze`` for these components; arguments, return and errors as there."""
    return _set(network, names, frozen=False)


def _set(network: nn.Module, names: Sequence[str], frozen: bool) -> nn.Module:
    if not names:
        return network  # nothing to freeze: any network will do
    inner = network if isinstance(network, Freezable) else getattr(network, "module", network)
    if not isinstance(inner, Freezable):
        raise TypeError(f"only a Freezable network can be frozen by name, got {type(network).__name__}.")
    names = (names,) if isinstance(names, str) else tuple(names)
    components = dict(inner.named_children())
    unknown = [name for name in names if name not in components]
    if unknown:
        raise ValueError(f"{type(inner).__name__} has no component {unknown}; it has {sorted(components)}.")
    for name in names:
        components[name].requires_grad_(not frozen)
    kept = tuple(name for name in inner.frozen if name not in names)
    inner.frozen = (*kept, *names) if frozen else kept
    inner.train(inner.training)
    return network
