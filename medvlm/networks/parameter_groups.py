"""Parameter groups for an optimiser, one learning rate a component."""

from __future__ import annotations

from torch import nn


def parameter_groups(
    network: nn.Module,
    lrs: dict[str, float],
    weight_decay: float = 0.0,
    extra: nn.Module | None = None,
    decay_norm_and_bias: bool = False,
) -> list[dict]:
    """Sort the trainable parameters of a network into groups with their own learning rates.

    Frozen parameters are left out. Vectors (biases, normalisation, the attention gates' biases) get no weight decay
    unless ``decay_norm_and_bias``; they are then a second group, ``NAME/no_decay``. The parameters of ``extra`` (learnt
    task weights) never get any.

    Args:
        network: the network, wrapped or not.
        lrs: learning rate for each prefix of parameter names, e.g. ``{"encoder": 1e-4, "encoder.stages.4": 3e-4}``;
            the longest that fits counts. ``"loss"`` is the one of ``extra``.
        weight_decay: weight decay of matrices and kernels.
        extra: a loss with parameters of its own.
        decay_norm_and_bias: decay vectors too.

    Returns:
        Groups with ``name``, ``params``, ``lr`` and ``weight_decay``, in the order of ``lrs``.

    Raises:
        ValueError: if a trainable parameter has no learning rate, a prefix fits no parameter, or all are frozen.
    """
    named = [(name.removeprefix("module."), parameter) for name, parameter in network.named_parameters()]
    fits = {
        prefix for prefix in lrs for name, _ in named if name == prefix or name.startswith(f"{prefix}.")
    } | ({"loss"} if extra is not None else set())
    unknown = [prefix for prefix in lrs if prefix not in fits]
    if unknown:
        raise ValueError(
            f"the learning rates of {unknown} fit no parameter; {type(network).__name__} has "
            f"{sorted({name.split('.')[0] for name, _ in named})}, and a loss given as extra is 'loss'."
        )
    groups: dict[tuple[str, bool], list[nn.Parameter]] = {
        (prefix, decays): [] for prefix in lrs for decays in (True, False)
    }
    for name, parameter in named:
        if parameter.requires_grad:
            decays = weight_decay > 0 and (decay_norm_and_bias or parameter.ndim > 1)
            groups[longest_prefix(name, lrs), decays or weight_decay == 0].append(parameter)
    for name, parameter in extra.named_parameters() if extra is not None else ():
        if parameter.requires_grad:
            groups[longest_prefix(f"loss.{name}", lrs), False].append(parameter)
    result = [
        {
            "name": prefix if decays or prefix == "loss" else f"{prefix}/no_decay",
            "params": parameters,
            "lr": lrs[prefix],
            "weight_decay": weight_decay if decays else 0.0,
        }
        for (prefix, decays), parameters in groups.items()
        if parameters
    ]
    if not result:
        raise ValueError("every parameter is frozen, so that there is nothing to train; unfreeze a component.")
    return result


def longest_prefix(name: str, lrs: dict[str, float]) -> str:
    """The longest key of ``lrs`` that ``name`` starts with, at a dot.

    Raises:
        ValueError: if there is none.
    """
    fitting = [prefix for prefix in lrs if name == prefix or name.startswith(f"{prefix}.")]
    if not fitting:
        raise ValueError(
            f"the trainable parameter {name} has no learning rate (given: {sorted(lrs)}); add one for "
            f"{name.split('.')[0]!r}, or freeze it."
        )
    return max(fitting, key=len)
