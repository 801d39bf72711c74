"""The commands of ``python -m medvlm``, described without importing what they run.

A command is a function of the library. Its name, arguments, defaults and docstring are read from its source text, so
that ``--help`` needs neither torch nor monai and can never differ from the function itself; the module is imported
when the command is called.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["COMMANDS", "check_values", "command", "signature_of", "text_parameters"]

COMMANDS = {
    "phantom": "medvlm.data.phantoms.dataset:write_phantoms",
    "phantom_coronary": "medvlm.data.phantoms.coronary_dataset:write_coronary_phantoms",
    "prepare": "medvlm.data.prepare:prepare",
    "doctor": "medvlm.data.doctor:doctor",
    "train": "medvlm.bundle.curriculum:train",
    "evaluate": "medvlm.bundle.curriculum:evaluate",
    "predict": "medvlm.bundle.prediction:predict",
    "search": "medvlm.bundle.search:search",
    "compare": "medvlm.metrics.comparison:compare",
    "audit": "medvlm.bundle.audit:audit",
    "verify": "medvlm.bundle.verify:verify",
    "pack": "medvlm.bundle.pack:pack",
    "publish": "medvlm.bundle.publish:publish",
    "version": "medvlm.bundle.versions:version",
}
"""Name of the command -> ``module:function``, the module that defines the function."""

_PACKAGE = Path(__file__).parent
_VALUES = {"int": (int, "a whole number"), "float": ((int, float), "a number"), "bool": (int, "True or False")}
_TEXT = {"str", "Path", "os.PathLike[str]", "os.PathLike", "PathLike", "None"}


class _Unknown:
    """A default that only the import tells; it is left out of the call, so that the function's own holds."""

    def __init__(self, source: str) -> None:
        self.source = source

    def __repr__(self) -> str:
        return self.source


def _definition(target: str) -> ast.FunctionDef:
    module, _, function = target.partition(":")
    stem = _PACKAGE.joinpath(*module.split(".")[1:])
    file = stem / "__init__.py" if stem.is_dir() else stem.with_suffix(".py")
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name == function:
            return node
    raise ImportError(f"{file.name} defines no function {function!r}; mend COMMANDS in commands.py.")


def _default(node: ast.expr | None) -> Any:
    if node is None:
        return inspect.Parameter.empty
    try:
        return ast.literal_eval(node)
    except ValueError:
        return _Unknown(ast.unparse(node))


def signature_of(target: str) -> tuple[inspect.Signature, str]:
    """Read the signature and the docstring of ``module:function`` from its source text.

    Raises:
        ImportError: when the module does not define the function.
    """
    node = _definition(target)
    kinds = inspect.Parameter
    arguments = node.args
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(positional) - len(arguments.defaults)) + list(arguments.defaults)
    rows = [(kinds.POSITIONAL_OR_KEYWORD, arg, default) for arg, default in zip(positional, defaults, strict=True)]
    rows += [(kinds.VAR_POSITIONAL, arguments.vararg, None)] if arguments.vararg else []
    keywords = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    rows += [(kinds.KEYWORD_ONLY, arg, default) for arg, default in keywords]
    rows += [(kinds.VAR_KEYWORD, arguments.kwarg, None)] if arguments.kwarg else []
    parameters = [
        kinds(
            arg.arg,
            kind,
            default=_default(default),
            annotation=ast.unparse(arg.annotation) if arg.annotation else kinds.empty,
        )
        for kind, arg, default in rows
    ]
    return inspect.Signature(parameters), ast.get_docstring(node) or ""


def check_values(signature: inspect.Signature, given: Mapping[str, Any]) -> None:
    """Refuse a value that is not what a parameter's annotation says, where that is a number or a switch.

    Args:
        signature: of a command, annotations as text.
        given: values by the parameters' names.

    Raises:
        ValueError: names the flag, what it takes and the value.
    """
    for name, value in given.items():
        annotation = signature.parameters[name].annotation
        kinds = set(annotation.replace(" ", "").split("|")) if isinstance(annotation, str) else set()
        wanted = next((kind for kind in ("bool", "float", "int") if kind in kinds), None)
        if wanted is None or kinds - {wanted, "None"} or (value is None and "None" in kinds):
            continue
        types, words = _VALUES[wanted]
        wrong = value not in (0, 1) if wanted == "bool" else isinstance(value, bool)
        if wrong or not isinstance(value, types):
            raise ValueError(f"--{name} takes {words}, got {value!r}.")


def command(name: str) -> Callable[..., Any]:
    """Return a function that looks like the command and imports it when called."""
    target = COMMANDS[name]
    signature, docstring = signature_of(target)
    many = next((p for p in signature.parameters.values() if p.kind is p.VAR_KEYWORD), None)
    loose = next((p for p in signature.parameters.values() if p.kind is p.VAR_POSITIONAL), None)
    positional = [p.name for p in signature.parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]

    def run(*args: Any, **kwargs: Any) -> Any:
        module, _, function = target.partition(":")
        bound = signature.bind(*args, **kwargs)
        fixed = [key for key in bound.arguments if many is None or key != many.name]
        check_values(signature, {key: bound.arguments[key] for key in fixed})
        call = getattr(importlib.import_module(module), function)
        known = {key: value for key, value in bound.arguments.items() if not isinstance(value, _Unknown)}
        overrides = known.pop(many.name, {}) if many else {}
        row = known.pop(loose.name, ()) if loose else ()
        before = [known.pop(name) for name in positional if name in known] if row else []
        return call(*before, *row, **known, **overrides)

    run.__name__ = run.__qualname__ = name
    run.__doc__ = docstring
    run.__signature__ = signature  # type: ignore[attr-defined]
    return run


def text_parameters(signature: inspect.Signature) -> list[str]:
    """Name the parameters whose value is text even where it looks like a number, such as a folder ``2020``."""
    return [
        p.name
        for p in signature.parameters.values()
        if isinstance(p.annotation, str) and set(p.annotation.replace(" ", "").split("|")) <= _TEXT
    ]
