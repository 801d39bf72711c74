"""Freeze and unfreeze parts of a network by name."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from torch import nn


class Freezable(nn.Module):
    """A network whose components (its direct children) can be frozen by name.

    A frozen component does not learn, and it stays in evaluation mode when the network is put in training mode, so
    that its normalisation statistics do not drift and its dropout is off.

    Attributes:
        frozen: names of the frozen components, or of their frozen layers (``"encoder.blocks.0"``); set by ``freeze``,
            ``freeze_fraction`` and ``unfreeze``.
        held: names of the parameters that learnt before they were frozen, which ``unfreeze`` lets learn again.
    """

    def __init__(self) -> None:
        super().__init__()
        self.frozen: tuple[str, ...] = ()
        self.held: frozenset[str] = frozenset()

    def train(self, mode: bool = True) -> Freezable:
        """Set training mode for everything but the frozen components."""
        super().train(mode)
        for name in self.frozen:
            self.get_submodule(name).eval()
        return self


def freeze(network: nn.Module, names: Collection[str] = ("encoder",)) -> nn.Module:
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


def unfreeze(network: nn.Module, names: Collection[str] = ("encoder",)) -> nn.Module:
    """Undo ``freeze`` and ``freeze_fraction`` for these components; arguments, return and errors as in ``freeze``.

    What a component itself keeps from learning (a teacher that is a moving average, layers of a text encoder that it
    froze when it was built) stays as it is.
    """
    return _set(network, names, frozen=False)


def _set(network: nn.Module, names: Collection[str], frozen: bool) -> nn.Module:
    if not names:
        return network  # nothing to freeze: any network will do
    names = (names,) if isinstance(names, str) else tuple(names)
    inner = _freezable(network, names)
    for name in names:
        if frozen:
            hold(inner, name)
        else:
            _release(inner, name)
    kept = tuple(name for name in inner.frozen if name.split(".")[0] not in names)
    inner.frozen = (*kept, *names) if frozen else kept
    inner.train(inner.training)
    return network


def hold(network: Freezable, name: str, recurse: bool = True) -> None:
    """Keep the parameters of a module from learning, and remember those that did.

    Args:
        network: that the module belongs to.
        name: of the module in the network.
        recurse: also those of the modules in it.
    """
    module = network.get_submodule(name)
    learning = {path: p for path, p in module.named_parameters(name, recurse=recurse) if p.requires_grad}
    network.held |= learning.keys()
    for parameter in learning.values():
        parameter.requires_grad_(False)


def _release(network: Freezable, name: str) -> None:
    """Let the parameters of a component learn again that ``hold`` has kept from it."""
    for path, parameter in network.get_submodule(name).named_parameters(name):
        if path in network.held:
            parameter.requires_grad_(True)
    network.held = frozenset(path for path in network.held if path.split(".")[0] != name)


def _freezable(network: nn.Module, names: Collection[str]) -> Freezable:
    """The network inside a wrapper; refuses one that is not ``Freezable`` or lacks a component of that name."""
    inner = network if isinstance(network, Freezable) else getattr(network, "module", network)
    if not isinstance(inner, Freezable):
        raise TypeError(f"only a Freezable network can be frozen by name, got {type(network).__name__}.")
    components = dict(inner.named_children())
    unknown = [name for name in names if name not in components]
    if unknown:
        raise ValueError(f"{type(inner).__name__} has no component {unknown}; it has {sorted(components)}.")
    return inner


def freeze_fraction(network: nn.Module, fractions: Mapping[str, float]) -> nn.Module:
    """Freeze the first layers of components, counted from the input: 0.5 freezes the half that is nearest to the data.

    The layers of a component are the members of its largest ``ModuleList`` (by parameters), e.g. the blocks of a
    transformer. The first ``round(fraction * layers)`` of them are frozen, and with any of them what is registered
    before them (patch or word embedding, positions, learnt tokens). What comes after the layers is frozen with 1 only,
    which is ``freeze`` of the component. 0 changes nothing.

    Args:
        network: a ``Freezable`` network, or one wrapped once.
        fractions: fraction in 0..1 by component, e.g. ``{"video_encoder": 0.5}``.

    Returns:
        The network, for use in a JSON expression.

    Raises:
        ValueError: if a fraction is not in 0..1, a name is no component, or a component has no layers to count.
    """
    wrong = {name: fraction for name, fraction in fractions.items() if not 0 <= fraction <= 1}
    if wrong:
        raise ValueError(f"a fraction of layers lies in 0..1 (1 freezes all of a component), got {wrong}.")
    _set(network, [name for name, fraction in fractions.items() if fraction == 1], frozen=True)
    partly = {name: fraction for name, fraction in fractions.items() if 0 < fraction < 1}
    if not partly:
        return network
    inner = _freezable(network, partly)
    _set(inner, {name.split(".")[0] for name in inner.frozen} & set(partly), frozen=False)  # forget an earlier fraction
    for name, fraction in partly.items():
        path = layer_list(inner, name)
        count = round(fraction * len(inner.get_submodule(path)))
        layers = [f"{path}.{index}" for index in range(count)]
        before = input_side(inner, name, path) if count else []
        for layer in (*before, *layers):
            hold(inner, layer)
        inner.frozen = (*inner.frozen, *before, *layers)
    inner.train(inner.training)
    return network


def input_side(network: Freezable, name: str, path: str) -> list[str]:
    """Freeze the parameters that lie directly on the way to a list of layers, and name the modules before it.

    Args:
        network: the network.
        name: of the component.
        path: of the list of layers in it.

    Returns:
        Names of the modules that are registered before the list, at each level between the component and the list.
    """
    before, at = [], name
    while at != path:
        module = network.get_submodule(at)
        hold(network, at, recurse=False)
        following = path.removeprefix(f"{at}.").split(".")[0]
        children = [child for child, _ in module.named_children()]
        before += [f"{at}.{child}" for child in children[: children.index(following)]]
        at = f"{at}.{following}"
    return before


def layer_list(network: nn.Module, name: str) -> str:
    """Name of the largest ``ModuleList`` of a component.

    Raises:
        ValueError: if there is none with two layers.
    """
    lists = [
        (sum(p.numel() for p in module.parameters()), path)
        for path, module in network.named_modules()
        if path.startswith(f"{name}.") and isinstance(module, nn.ModuleList) and len(module) > 1
    ]
    if not lists:
        raise ValueError(
            f"the component {name!r} has no list of layers of which a fraction could be frozen; freeze it."
        )
    return max(lists, key=lambda item: item[0])[1]
