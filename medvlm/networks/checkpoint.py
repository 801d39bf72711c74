"""Load weights into a network, or say why they do not fit."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

logger = logging.getLogger(__name__)

WRAPPERS = ("model", "network", "state_dict")
SHOWN = 5


class CheckpointError(ValueError):
    """A checkpoint that cannot be read or does not fit the network."""


def read_state(path: str | Path) -> dict[str, Tensor]:
    """Read a state dict from a file of weights.

    Args:
        path: a file written by ``torch.save``: a state dict, or a dictionary that holds one under ``model``,
            ``network`` or ``state_dict`` (as MONAI's ``CheckpointSaver`` writes). Names that
            DistributedDataParallel has prefixed with ``module.`` are given without the prefix.

    Returns:
        Name → tensor, on the CPU. Only tensors and plain containers are unpickled.

    Raises:
        FileNotFoundError: if there is no such file.
        CheckpointError: if the file is damaged, or holds no state dict.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint at {path}; train first, or give the path of a model.pt.")
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, KeyError, ValueError, pickle.UnpicklingError) as error:
        reason = str(error).strip().split("\n")[0][:200]
        raise CheckpointError(
            f"{path} ({path.stat().st_size} bytes) is not a readable file of weights: {type(error).__name__}: {reason} "
            "It may be truncated, damaged or hold more than tensors; copy or download it again, or save a state dict."
        ) from error
    for key in WRAPPERS:
        if isinstance(stored, dict) and isinstance(stored.get(key), dict):
            stored = stored[key]
            break
    if not isinstance(stored, dict) or not stored or not all(isinstance(v, Tensor) for v in stored.values()):
        found = sorted(map(str, stored))[:SHOWN] if isinstance(stored, dict) else type(stored).__name__
        raise CheckpointError(
            f"{path} holds no state dict (name → tensor), neither by itself nor under {WRAPPERS}; found {found}."
        )
    return {name.removeprefix("module."): value for name, value in stored.items()}


def load_weights(
    network: nn.Module, path: str | Path, strict: bool = True, components: Sequence[str] | None = None
) -> nn.Module:
    """Load weights into a network; nothing is changed when they do not fit.

    Args:
        network: the network, not yet wrapped for distributed training.
        path: see ``read_state``.
        strict: refuse a checkpoint that does not fit exactly; otherwise load what fits in name and shape, and log
            what does not.
        components: load these components only (e.g. ``["encoder"]``), each of them whole.

    Returns:
        The network, for use in a JSON expression.

    Raises:
        FileNotFoundError: if there is no such file.
        CheckpointError: if the file is damaged, or does not fit (with the keys that are missing, unexpected or of
            another shape), or nothing in it fits.
        ValueError: if a component does not exist.
    """
    state, own = read_state(path), network.state_dict()
    if components is not None:
        existing = [name for name, _ in network.named_children()]
        unknown = [name for name in components if name not in existing]
        if unknown:
            raise ValueError(f"{type(network).__name__} has no component {unknown}; it has {existing}.")
        prefixes = tuple(f"{name}." for name in components)
        own = {name: value for name, value in own.items() if name.startswith(prefixes)}
        state = {name: value for name, value in state.items() if name.startswith(prefixes)}
    faults = mismatches(own, state)
    fitting = {name: v for name, v in state.items() if name in own and v.shape == own[name].shape}
    if faults and (strict or not fitting):
        raise CheckpointError(
            f"{path} does not fit {type(network).__name__}: {'; '.join(faults)}; components concerned: "
            f"{', '.join(_concerned(own, state))}. Build it with the same overlays and settings as the training."
        )
    if faults:
        logger.warning("%s fits only in part: %s.", path, "; ".join(faults))
    network.load_state_dict(fitting, strict=not faults and components is None)
    return network


def _concerned(own: dict[str, Tensor], state: dict[str, Tensor]) -> list[str]:
    """Components with a name that only one side has, or a tensor of another shape."""
    apart = {name for name in own.keys() | state.keys() if name not in own or name not in state}
    apart |= {name for name in own.keys() & state.keys() if own[name].shape != state[name].shape}
    return sorted({name.partition(".")[0] for name in apart})


def mismatches(own: dict[str, Tensor], state: dict[str, Tensor]) -> list[str]:
    """Say in what a state dict differs from the one of a network.

    Args:
        own: the network's.
        state: the checkpoint's.

    Returns:
        One phrase for each kind of fault, with the first few names; empty where everything fits.
    """
    shapes = [
        f"{name} {tuple(state[name].shape)} in the file, {tuple(value.shape)} in the network"
        for name, value in own.items()
        if name in state and state[name].shape != value.shape
    ]
    kinds = {
        "missing": [name for name in own if name not in state],
        "unexpected": [name for name in state if name not in own],
        "of another shape": shapes,
    }
    return [
        f"{len(names)} {kind}: {', '.join(names[:SHOWN])}{', ...' if len(names) > SHOWN else ''}"
        for kind, names in kinds.items()
        if names
    ]


def load_initial(network: nn.Module, path: str | Path | None, components: Sequence[str] | None = None) -> nn.Module:
    """Load the weights that a stage starts from, or leave the network as it is where there are none (``None``).

    ``components`` names those to load, each of them whole, e.g. what a probe shares with the network before it.
    """
    return network if not path else load_weights(network, path, components=components)
