"""What decides the weights of a run, in a form that two runs can be compared by."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch.distributed as dist
from monai.bundle import ConfigParser, ConfigWorkflow

from medvlm.engines.config_problems import TRACKING_IDS
from medvlm.engines.running import callers
from medvlm.handlers.case_files import sha256_of
from medvlm.trained_settings import QUIET_IDS

__all__ = ["run_configuration"]

def run_configuration(files: Iterable[str | Path | None] = ()) -> dict[str, str]:
    """The configuration of the running workflow or parser, its overrides included; meant for JSON.

    Args:
        files: further files that decide the weights, such as the datalist: by their contents, wherever they lie.

    Returns:
        By id, nested ones joined with ``::``: the value as JSON text, unevaluated; the number of ``processes``, since
        their batches are one; and by the name of each of the files: its SHA-256. Ids that do not change the weights
        are left out: ``QUIET_IDS``, those of MONAI's experiment tracking, those that start with ``_``.
    """
    found: dict[str, str] = {}
    quiet = TRACKING_IDS.union(QUIET_IDS)
    for key, value in _running_parser().get().items():
        if key not in quiet and not str(key).startswith("_"):
            _flatten(value, str(key), found)
    found["processes"] = str(dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1)
    for file in filter(None, files):
        path = Path(file)
        found[f"contents of {path.name}"] = sha256_of(path) if path.is_file() else "absent"
    return found


def _flatten(value: Any, name: str, found: dict[str, str]) -> None:
    inside = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else None
    if not inside or (isinstance(value, list) and not any(isinstance(each, Mapping | list) for each in value)):
        found[name] = json.dumps(value, default=str, sort_keys=True)
        return
    for key, each in inside:
        _flatten(each, f"{name}::{key}", found)


def _running_parser() -> ConfigParser:
    for frame in callers():
        owner = frame.f_locals.get("self")
        if isinstance(owner, ConfigWorkflow):
            return owner.parser
        if isinstance(owner, ConfigParser):
            return owner
    raise RuntimeError("run_configuration() looks at the config that calls it: use it in one.")
