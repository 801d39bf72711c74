"""What a network was trained with and to see, kept with its weights, so that use under other settings is noticed."""

from __future__ import annotations

import json
import logging
import shlex
from collections.abc import Mapping, Sequence
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

TRAINED_HEADS = "trained_heads"
"""The name under which the heads that were trained are stored among the settings."""


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


def stored_settings(weights: str | Path) -> dict[str, Any]:
    """Read what lies beside the weights; empty where nobody stored anything.

    Raises:
        ValueError: the stored file holds no names with values.
    """
    path = settings_file(weights)
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} holds no settings ({error}); copy it again with its weights.") from error


def trained_heads(
    network: Any, weights: Mapping[str, float], frozen: Sequence[str] = (), initial: str | Path | None = None
) -> list[str] | None:
    """Name the heads that are trained once a stage has run: by it, or before it by what it starts from.

    Args:
        network: its ``NAME_on`` says whether the head of a task is on; on where it says nothing.
        weights: of the tasks in this stage; 0 for a task that is not trained.
        frozen: components that do not learn, among them ``NAME_head``.
        initial: weights file that the stage starts from, or None.

    Returns:
        The names, sorted; None where the initial weights do not say what they were trained for and this stage does
        not train every head.
    """
    own = {
        name
        for name, weight in weights.items()
        if weight > 0 and f"{name}_head" not in frozen and getattr(network, f"{name}_on", True)
    }
    before = stored_settings(initial).get(TRAINED_HEADS) if initial else []
    if before is None:
        return sorted(own) if own == set(weights) else None
    return sorted(own | set(before))


def untrained_heads(weights: str | Path, heads: Sequence[str] = ("mask", "tumour")) -> list[str]:
    """Those of the heads that no training has reached, by what is stored beside the weights; none where nothing is.

    Args:
        weights: file of the weights.
        heads: names to ask about.

    Raises:
        ValueError: the stored file holds no names with values.
    """
    known = stored_settings(weights).get(TRAINED_HEADS)
    return [] if known is None else [name for name in heads if name not in known]


def untrained_words(weights: str | Path, heads: Sequence[str] | None = None) -> str:
    """Say which heads of the weights were never trained; by default as stored, empty where all were."""
    heads = untrained_heads(weights) if heads is None else heads
    if not heads:
        return ""
    return f"The {' and the '.join(heads)} head of {Path(weights).name} was never trained: its answer does not count"


def caution(weights: str | Path, settings: Mapping[str, Any] | None) -> str:
    """Say in what the settings here differ from those of the training; empty where they agree or nobody stored them.

    Args:
        weights: file of the weights.
        settings: in use here, by name; only names that were stored are compared.

    Raises:
        ValueError: the stored file holds no names with values.
    """
    stored, here = stored_settings(weights), settings or {}
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
