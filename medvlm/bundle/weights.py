"""Load the weights of a bundle, or say why they do not fit."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

__all__ = ["load_weights", "sha256_of"]


def load_weights(network: nn.Module, file: str | Path, device: str | torch.device = "cpu") -> nn.Module:
    """Copy a plain state dict into a network.

    Args:
        network: receives the weights.
        file: a state dict saved by ``torch.save``.
        device: where the tensors are read to.

    Returns:
        The same network.

    Raises:
        FileNotFoundError: when the file is missing.
        ValueError: when the file is no state dict, or does not fit; names the keys that differ.
    """
    path = Path(file)
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}.")
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch raises many kinds for a broken file
        raise ValueError(f"{path} cannot be read as weights ({error}); train or download them again.") from error
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ValueError(f"{path} holds no plain state dict; save network.state_dict().")
    problems = _differences(network.state_dict(), state)
    if problems:
        shown = "".join(f"\n  {problem}" for problem in problems[:10])
        more = f"\n  and {len(problems) - 10} more" if len(problems) > 10 else ""
        raise ValueError(f"{path} does not fit the network:{shown}{more}\nUse the configuration it was trained with.")
    network.load_state_dict(state)
    return network


def _differences(expected: Mapping[str, torch.Tensor], found: Mapping[str, torch.Tensor]) -> list[str]:
    problems = [f"{key} is missing" for key in expected if key not in found]
    problems += [f"{key} is not in the network" for key in found if key not in expected]
    problems += [
        f"{key} is {tuple(found[key].shape)}, the network has {tuple(value.shape)}"
        for key, value in expected.items()
        if key in found and found[key].shape != value.shape
    ]
    return problems


def sha256_of(file: str | Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
