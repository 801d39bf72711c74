"""What a network was trained with and to see, kept with its weights, so that use under other settings is noticed."""

from __future__ import annotations

import json
import logging
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medvlm.atomic import write_text_atomically

logger = logging.getLogger(__name__)

QUIET_IDS = (
    "progress", "num_workers", "log_dir", "output_dir", "cache_rate", "log_interval", "pictures", "pictures_interval",
    "resume", "device", "bundle_root", "dataset_dir", "datalist", "ckpt_dir", "imports", "displayable_configs",
)  # fmt: skip
"""Ids that do not change the weights: what is shown and kept, where files lie (their contents count), the machine."""

SHOWN = 8


def settings_file(weights: str | Path) -> Path:
    """The file beside the weights: ``model.settings.json`` of ``model.pt``."""
    return Path(weights).with_suffix(".settings.json")


def keep_settings(weights: str | Path, settings: Mapping[str, Any]) -> Path:
    """Write the settings of the training beside its weights, replacing the file in one step."""
    text = json.dumps(dict(settings), indent=4, default=str)
    return write_text_atomically(text + "\n", settings_file(weights))


def plain_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as their JSON file gives them back."""
    return json.loads(json.dumps(dict(settings), default=str))


def settings_apart(stored: Mapping[str, Any], here: Mapping[str, Any]) -> dict[str, str]:
    """Compare what was stored with what is in use; other names in use do not matter.

    Returns:
        By name of a setting that differs, in words: the name, what was stored and what is here.
    """
    found = plain_settings(here)
    return {
        name: f"{name} {json.dumps(value)} (here {json.dumps(found[name]) if name in found else 'not set'})"
        for name, value in stored.items()
        if name not in found or found[name] != value
    }


def caution(weights: str | Path, settings: Mapping[str, Any] | None) -> str:
    """Say in what the settings here differ from those of the training; empty where they agree or nobody stored them.

    Args:
        weights: file of the weights.
        settings: in use here, by name; only names that were stored are compared.

    Raises:
        ValueError: the stored file holds no names with values.
    """
    path = settings_file(weights)
    if not path.is_file():
        return ""
    try:
        stored = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} holds no settings ({error}); copy it again with its weights.") from error
    here = settings or {}
    apart = settings_apart({name: value for name, value in stored.items() if name in here}, here)
    if not apart:
        return ""
    flags = " ".join(f"--{name} {_typed(stored[name])}" for name in apart if name != "heads")  # which are no flag
    remedy = ", or ".join([*filter(None, [flags]), "the overlays of its training"])
    return (
        f"{Path(weights).name} was trained with other settings: {', '.join(apart.values())}; its answers here are not "
        f"those that were measured. Give {remedy}."
    )


def _typed(value: Any) -> str:
    """A value as one types it on the command line."""
    return shlex.quote(json.dumps(value) if isinstance(value, list | dict) else str(value))


def head_kinds(heads: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Name and kind of each head of a probe, in the order of the names: its weights say neither."""
    return sorted([name, str(head.get("kind"))] for name, head in heads.items())


def compare_settings(
    weights: str | Path, settings: Mapping[str, Any] | None, heads: Mapping[str, Mapping[str, Any]] | None = None
) -> str:
    """As :func:`caution`, told in the log; ``heads`` are those of a probe."""
    words = caution(weights, dict(settings or {}) | ({} if heads is None else {"heads": head_kinds(heads)}))
    if words:
        logger.warning("%s", words)
    return words


def configurations_apart(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Say in which ids two configurations differ; empty where they agree.

    Returns:
        Such as ``seed 0 then, 1 now; image_size 128 then, absent now``; the first ones where there are many.
    """
    names = [name for name in dict.fromkeys([*before, *now]) if before.get(name) != now.get(name)]
    words = [f"{name} {_brief(before.get(name))} then, {_brief(now.get(name))} now" for name in names[:SHOWN]]
    more = f"; and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return "; ".join(words) + more


def _brief(text: str | None, width: int = 60) -> str:
    if text is None:
        return "absent"
    return text if len(text) <= width else f"{text[: width - 3]}..."
