"""Parameter groups for an optimiser, one learning rate and weight decay a component."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from torch import nn


def parameter_groups(
    network: nn.Module,
    lrs: Mapping[str, float],
    weight_decay: float | Mapping[str, float] = 0.0,
    extra: nn.Module | None = None,
    decay_norm_and_bias: bool = False,
    no_decay: Sequence[str] = (),
) -> list[dict]:
    """Sort the trainable parameters of a network into groups with their own learning rates.

    Every trainable parameter is in exactly one group; frozen ones are left out. Vectors (biases, normalisation, the
    attention gates' biases) get no weight decay unless ``decay_norm_and_bias``; they are then a second group,
    ``NAME/no_decay``. Scalars (the log-scale and bias of a contrastive loss) and the parameters of ``extra`` (learnt
    task weights) never get any.

    Args:
        network: the network, wrapped or not.
        lrs: learning rate for each prefix of parameter names, e.g. ``{"encoder": 1e-4, "encoder.stages.4": 3e-4}``;
            the longest that fits counts. ``"loss"`` is the one of ``extra``. A component that the network has room for
            but was built without (``None``, or without parameters) may be named.
        weight_decay: weight decay of matrices and kernels; one for all, or one for each prefix, again the longest.
        extra: a loss with parameters of its own.
        decay_norm_and_bias: decay vectors too.
        no_decay: names of parameters, or of components, that are not decayed whatever their shape, as whole parts of
            their dotted name, e.g. ``["class_token", "position"]``.

    Returns:
        Groups with ``name``, ``params``, ``lr`` and ``weight_decay``, in the order of ``lrs``; a learning rate whose
        parts have several weight decays gives one group for each, ``NAME/PREFIX``.

    Raises:
        ValueError: if a trainable parameter has no learning rate or weight decay or would be in two groups, a prefix
            fits no parameter, a name of ``no_decay`` fits none, or all are frozen.
    """
    named = [(name.removeprefix("module."), parameter) for name, parameter in network.named_parameters()]
    decays = dict(weight_decay) if isinstance(weight_decay, Mapping) else None
    _refuse_unknown("learning rates of", lrs, network, named, extra)
    _refuse_unknown("weight decays of", decays or {}, network, named, None)
    unfit = [part for part in no_decay if not any(part in name.split(".") for name, _ in named)]
    if unfit:
        raise ValueError(f"no_decay names {unfit}, which are part of no parameter's name; remove or rename them.")

    def decay_of(name: str, parameter: nn.Parameter) -> tuple[str, float]:
        """The prefix that gives the weight decay (empty where there is one for all), and the decay."""
        if parameter.ndim == 0 or set(no_decay) & set(name.split(".")):
            return "", 0.0
        if parameter.ndim < 2 and not decay_norm_and_bias:
            return "", 0.0
        prefix = "" if decays is None else longest_prefix(name, decays, "weight decay")
        return prefix, float(weight_decay if decays is None else decays[prefix])

    found: dict[str, list[tuple[nn.Parameter, str, float]]] = {prefix: [] for prefix in lrs}
    for name, parameter in named:
        if parameter.requires_grad:
            found[longest_prefix(name, lrs)].append((parameter, *decay_of(name, parameter)))
    seen = {id(parameter): name for name, parameter in named}
    for name, parameter in extra.named_parameters() if extra is not None else ():
        if parameter.requires_grad and id(parameter) in seen:
            raise ValueError(
                f"the parameter {seen[id(parameter)]} of the network is also {name} of the loss, so that it would be "
                "in two groups; let the loss read it from the network's output."
            )
        if parameter.requires_grad:
            found[longest_prefix(f"loss.{name}", lrs)].append((parameter, "", 0.0))
    result = [group for prefix, members in found.items() for group in _split(prefix, members, lrs[prefix])]
    if not result:
        raise ValueError("every parameter is frozen, so that there is nothing to train; unfreeze a component.")
    return result


def rates_of_stage(
    table: Mapping[str, Mapping[str, float]], stage: str, network: nn.Module
) -> Mapping[str, float]:
    """The learning rates of one stage of a curriculum; meant for JSON.

    The names of all stages are checked, so that a slip in the last one is found before the first starts.

    Args:
        table: learning rates by stage and prefix of parameter names, see :func:`parameter_groups`.
        stage: the one that runs.
        network: whose parameters they are; ``loss`` is the loss, where it has some.

    Raises:
        ValueError: when the stage has no entry, or a name fits no parameter.
    """
    named = list(network.named_parameters())
    for name, rates in table.items():
        _refuse_unknown(f"learning rates of stage {name!r} for", rates, network, named, nn.Identity())
    if stage not in table:
        raise ValueError(f"stage {stage!r} has no learning rates, there are some for {sorted(table)}; add an entry.")
    return table[stage]


def _split(prefix: str, members: list[tuple[nn.Parameter, str, float]], lr: float) -> Iterable[dict]:
    """One group for each weight decay of the members of a prefix, the undecayed last."""
    kinds = {(source, decay) for _, source, decay in members if decay > 0}
    several = len({decay for _, decay in kinds}) > 1
    groups: dict[str, list[nn.Parameter]] = {}
    decay_by_name: dict[str, float] = {}
    plain = prefix if not kinds else f"{prefix}/no_decay"
    for parameter, source, decay in sorted(members, key=lambda member: member[2] == 0):
        name = plain if decay == 0 else f"{prefix}/{source}" if several and source != prefix else prefix
        groups.setdefault(name, []).append(parameter)
        decay_by_name[name] = decay
    for name, parameters in groups.items():
        yield {"name": name, "params": parameters, "lr": lr, "weight_decay": decay_by_name[name]}


def _refuse_unknown(
    what: str,
    given: Mapping[str, float],
    network: nn.Module,
    named: Sequence[tuple[str, nn.Parameter]],
    extra: nn.Module | None,
) -> None:
    """Raise for a prefix that is neither the start of a parameter's name nor a component that was left out."""
    unknown = [
        prefix
        for prefix in given
        if not any(_starts(name, prefix) for name, _ in named)
        and not _is_left_out(network, prefix)
        and not (prefix == "loss" and extra is not None)
    ]
    if unknown:
        raise ValueError(
            f"the {what} {unknown} fit no parameter; {type(network).__name__} has "
            f"{sorted({name.split('.')[0] for name, _ in named})}, and a loss given as extra is 'loss'."
        )


def _starts(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(f"{prefix}.")


def _is_left_out(network: nn.Module, prefix: str) -> bool:
    """Whether the network has a component of this name that is ``None`` or a module without parameters."""
    part: object = getattr(network, "module", network)
    for step in prefix.split("."):
        if not isinstance(part, nn.Module) or not hasattr(part, step):
            return False
        part = getattr(part, step)
    return part is None or isinstance(part, nn.Module)


def longest_prefix(name: str, given: Mapping[str, float], what: str = "learning rate") -> str:
    """The longest key of ``given`` that ``name`` starts with, at a dot.

    Raises:
        ValueError: if there is none.
    """
    fitting = [prefix for prefix in given if _starts(name, prefix)]
    if not fitting:
        raise ValueError(
            f"the trainable parameter {name} has no {what} (given: {sorted(given)}); add one for "
            f"{name.split('.')[0]!r}, or freeze it."
        )
    return max(fitting, key=len)
