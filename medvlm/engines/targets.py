"""Compare a config's ``_target_`` nodes with the Python they name."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from pydoc import ErrorDuringImport, locate
from typing import Any

from monai.bundle import ComponentLocator

from medvlm.spelling import close_names, did_you_mean

__all__ = ["MAGIC_KEYS", "import_module_or_none", "missing_part", "resolve_target", "target_problems", "walk"]

MAGIC_KEYS = frozenset({"_target_", "_disabled_", "_requires_", "_desc_", "_mode_", "_debug_"})
NEAR = 0.88  # a keyword this near to a named one is a slip, even where the target takes **kwargs


def walk(config: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield ``(id, value)`` of a config and of everything inside it; ids are joined with ``::``."""
    yield path, config
    pairs = config.items() if isinstance(config, dict) else enumerate(config) if isinstance(config, list) else ()
    for key, value in pairs:
        yield from walk(value, f"{path}::{key}" if path else str(key))


def resolve_target(name: str, locator: ComponentLocator) -> tuple[Any, str]:
    """Import what a ``_target_`` names.

    Args:
        name: a dotted name, or the short name of a part of MONAI.
        locator: MONAI's table of its own short names.

    Returns:
        The object and an empty string, or None and what is wrong with the name.
    """
    if "." not in name:
        modules = locator.get_component_module_name(name)
        if modules is None:
            table = locator._components_table or {}
            return None, f"MONAI has no {name!r}{did_you_mean(name, table, cutoff=0.75)}"
        name = f"{modules[0] if isinstance(modules, list) else modules}.{name}"
    try:
        found = locate(name)
    except ErrorDuringImport as error:
        return None, f"importing {name!r} failed: {error.value}"
    if found is None:
        return None, missing_part(name) or f"{name!r} cannot be found"
    return found, ""


def missing_part(name: str) -> str:
    """Say which part of a dotted name does not exist, and what is near it; empty when the name exists."""
    parts = name.split(".")
    place = import_module_or_none(parts[0])
    if place is None:
        return f"there is no module {parts[0]!r}; is its package installed?"
    for index, part in enumerate(parts[1:], 1):
        dotted = ".".join(parts[:index])
        following = getattr(place, part, None)
        if following is None:
            following = import_module_or_none(f"{dotted}.{part}")
        if following is None:
            inside = set(dir(place)) | {module.name for module in pkgutil.iter_modules(getattr(place, "__path__", []))}
            return f"{dotted!r} has no {part!r}{did_you_mean(part, inside)}"
        place = following
    return ""


def import_module_or_none(name: str) -> Any:
    """Import a module; None when it cannot be imported."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def target_problems(config: Any, locator: ComponentLocator | None = None) -> list[str]:
    """List what the ``_target_`` nodes of a config get wrong.

    Checked without building anything: the target exists, every keyword is one of its arguments, every argument
    without a default is given, and no key between underscores is misspelt. Nodes with ``_disabled_`` true are
    passed over. Where a target takes ``**kwargs``, only a keyword that is nearly one of its named arguments is
    refused.

    Args:
        config: a config whose macros (``%id``) are resolved.
        locator: MONAI's table of short names, made when needed.

    Returns:
        One sentence a problem, which begins with the id of the node.
    """
    locator = locator or ComponentLocator()
    problems: list[str] = []
    for path, node in walk(config):
        if not isinstance(node, dict) or path == "_meta_" or path.startswith("_meta_::"):
            continue
        if "_target_" not in node:
            problems += [f"{path}: {words}" for words in _misspelt_magic(path, node)]
        elif isinstance(node["_target_"], str) and not node["_target_"].startswith(("$", "@", "%")):
            if not _disabled(node):
                problems += [f"{path}: {words}" for words in _node_problems(node, locator)]
    return problems


def _misspelt_magic(path: str, node: dict) -> list[str]:
    """Catch ``_targt_``: without ``_target_`` MONAI takes the node for plain data."""
    if not path:
        return []
    return [
        f"unknown key {key!r}{did_you_mean(key, MAGIC_KEYS)}"
        for key in map(str, node)
        if key.startswith("_") and key.endswith("_") and key not in MAGIC_KEYS and close_names(key, MAGIC_KEYS)
    ]


def _disabled(node: Any) -> bool:
    flag = node.get("_disabled_", False) if isinstance(node, dict) and "_target_" in node else False
    return flag.strip().lower() == "true" if isinstance(flag, str) else bool(flag)


def _node_problems(node: dict, locator: ComponentLocator) -> list[str]:
    component, problem = resolve_target(node["_target_"], locator)
    if problem:
        return [problem]
    if not callable(component):
        return []
    try:
        parameters = inspect.signature(component).parameters.values()
    except (TypeError, ValueError):  # written in C without a signature
        return []
    kinds = inspect.Parameter
    named = {p.name for p in parameters if p.kind in (kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY)}
    swallows = any(p.kind is kinds.VAR_KEYWORD for p in parameters)
    given = {key for key, value in node.items() if key not in MAGIC_KEYS and not _disabled(value)}
    short = node["_target_"].rsplit(".", 1)[-1]
    problems = []
    for key in sorted(given - named):
        magic = key.startswith("_") and key.endswith("_")
        if not swallows or magic or close_names(key, named, cutoff=NEAR):
            hint = did_you_mean(key, named | (MAGIC_KEYS if magic else set()))
            problems.append(f"{short} has no argument {key!r}{hint or _takes(named)}")
    required = [p.name for p in parameters if p.default is p.empty and p.name in named]
    missing = [name for name in required if name not in given]
    if missing and node.get("_mode_", "default") != "callable":
        problems.append(f"{short} needs {', '.join(repr(name) for name in missing)}")
    return problems


def _takes(named: set[str]) -> str:
    return f"; it takes {', '.join(sorted(named))}" if named else "; it takes none"
