"""Compare the names in a config's ``$`` expressions with what its imports define."""

from __future__ import annotations

import ast
import builtins
import re
from types import ModuleType
from typing import Any

from medvlm.engines.targets import import_module_or_none, missing_part, walk
from medvlm.spelling import did_you_mean

__all__ = ["expression_problems", "imported_names", "parse_expression"]

MONAI_NAMES = {"monai": "monai", "torch": "torch", "np": "numpy", "numpy": "numpy"}
_REFERENCE = re.compile(r"@\w+(?:(?:::|#)\w+)*")
_STAND_IN = "_reference_"


def parse_expression(text: str) -> ast.Module:
    """Parse a config string that begins with ``$``; references become a name.

    Raises:
        SyntaxError: when it is not Python.
    """
    return ast.parse(_REFERENCE.sub(_STAND_IN, text.removeprefix("$")).strip())


def imported_names(config: Any) -> dict[str, str]:
    """Return what the import statements of a config define: name -> dotted name.

    ``$import a.b`` without ``as`` is listed as ``a.b``: MONAI stores it under that name, which no expression can use.
    """
    names = {}
    for _, value in walk(config):
        if isinstance(value, str) and value.startswith("$") and "import" in value:
            try:
                statement = parse_expression(value).body[0]
            except (SyntaxError, IndexError):
                continue
            if isinstance(statement, ast.Import):
                names[statement.names[0].asname or statement.names[0].name] = statement.names[0].name
            elif isinstance(statement, ast.ImportFrom):
                alias = statement.names[0]
                names[alias.asname or alias.name] = f"{statement.module}.{alias.name}"
    return names


def expression_problems(config: Any) -> list[str]:
    """List the expressions that cannot be evaluated: syntax, names nobody imports, attributes that modules lack.

    Args:
        config: a merged config, with its ``imports``.

    Returns:
        One sentence a problem, which begins with the id of the expression.
    """
    imported = {**MONAI_NAMES, **imported_names(config)}
    problems = [f"imports: {why}" for name in imported.values() if (why := missing_part(name))]
    for path, value in walk(config):
        if not isinstance(value, str) or not value.startswith("$") or path.startswith("_meta_"):
            continue
        try:
            tree = parse_expression(value)
        except SyntaxError as error:
            problems.append(f"{path}: {value!r} is not a Python expression: {error.msg}")
            continue
        if tree.body and not isinstance(tree.body[0], (ast.Import, ast.ImportFrom)):
            problems += [f"{path}: {words}" for words in _name_problems(tree, imported)]
    return problems


def _name_problems(tree: ast.Module, imported: dict[str, str]) -> list[str]:
    nodes = list(ast.walk(tree))
    bound = {node.id for node in nodes if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}
    bound |= {node.arg for node in nodes if isinstance(node, ast.arg)} | {_STAND_IN}
    problems = []
    for node in nodes:
        if isinstance(node, ast.Name) and node.id not in bound and node.id not in imported:
            if not hasattr(builtins, node.id):
                problems.append(_unknown_name(node.id, imported))
    for node in nodes:
        chain = _chain(node)
        if chain and chain[0] in imported and chain[0] not in bound:
            problems += [why for why in [_missing_attribute(imported[chain[0]], chain)] if why]
    return list(dict.fromkeys(problems))


def _unknown_name(name: str, imported: dict[str, str]) -> str:
    inside = [dotted for dotted in imported if dotted.startswith(f"{name}.")]
    if inside:
        return f"name {name!r} is not imported: '$import {inside[0]}' needs '$import {name}' beside it, or 'as'"
    usable = [known for known in imported if "." not in known]
    return f"name {name!r} is not imported{did_you_mean(name, usable)}"


def _chain(node: ast.AST) -> list[str]:
    """Return ``["a", "b", "c"]`` for the node of ``a.b.c``, else nothing."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return [node.id, *reversed(parts)] if isinstance(node, ast.Name) and parts else []


def _missing_attribute(root: str, chain: list[str]) -> str:
    """Say which part of ``a.b.c`` does not exist, as long as modules lead there."""
    place: Any = import_module_or_none(root)
    dotted = root
    for part in chain[1:]:
        if not isinstance(place, ModuleType):
            return ""
        following = getattr(place, part, None)
        if following is None and not hasattr(place, part):
            following = import_module_or_none(f"{dotted}.{part}")
            if following is None:
                return missing_part(f"{dotted}.{part}")
        place, dotted = following, f"{dotted}.{part}"
    return ""
