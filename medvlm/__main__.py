"""``python -m medvlm COMMAND``: one command per job. Imports what a command needs only when it runs."""

from __future__ import annotations

import contextlib
import inspect
import logging
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

import fire
from fire.decorators import SetParseFns

from medvlm.commands import COMMANDS, command, text_parameters
from medvlm.spelling import close_names, did_you_mean

_HELP = {"-h", "--help"}
_EXPECTED = (ValueError, OSError, ImportError, RuntimeError, KeyError)


class UsageError(ValueError):
    """The command line itself is wrong."""


def check_arguments(name: str, function: Callable[..., Any], arguments: Sequence[str]) -> None:
    """Refuse flags that the command does not have, before it runs; fire would run it first.

    Commands that end in ``**overrides`` take every flag: they are ids of a bundle's config, which checks them itself.

    Raises:
        UsageError: names the flag that is probably meant.
    """
    parameters = inspect.signature(function).parameters.values()
    names = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    overrides = any(p.kind is p.VAR_KEYWORD for p in parameters)
    positional, waiting = 0, False
    for argument in arguments:
        flag = re.match(r"--?([A-Za-z_][^=]*)(=.*)?$", argument, re.DOTALL)
        if flag is None:
            positional, waiting = positional + (not waiting), False
            continue
        waiting = flag[2] is None
        known = flag[1].replace("-", "_")
        if argument.startswith("--") and (overrides or known in names or known.removeprefix("no") in names):
            continue
        if len(known) == 1 and sum(n.startswith(known) for n in names) == 1:  # fire's short flags
            continue
        near = " or ".join(f"--{close}" for close in close_names(known, names))
        there = ", ".join(f"--{each}" for each in sorted(names)) or "none"
        hint = f"; did you mean {near}?" if near else f"; it takes {there}"
        raise UsageError(f"'{name}' has no flag {argument.split('=')[0]}{hint}")
    room = sum(p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters)
    if positional > room and not any(p.kind is p.VAR_POSITIONAL for p in parameters):
        raise UsageError(f"'{name}' takes at most {room} arguments without a flag, got {positional}.")


def explain(error: BaseException) -> str:
    """Return one clear message: that of the first cause, without MONAI's and fire's wrapping."""
    while type(error) is RuntimeError and error.__cause__ is not None:
        error = error.__cause__
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return text or type(error).__name__


def _report(result: Any) -> int:
    """Show what a command returned; an ``int`` is its exit status, and so is ``status`` of a report."""
    if isinstance(result, bool) or result is None:
        return 0
    if isinstance(result, int):
        return result
    if isinstance(result, (list, tuple)):
        for row in result:
            print(row)
    elif isinstance(result, dict):
        for key, value in result.items():
            print(f"{key}: {value}")
    else:
        print(result)
    return int(getattr(result, "status", 0))


def _run(arguments: list[str]) -> int:
    name, rest = arguments[0], arguments[1:]
    if name not in COMMANDS:
        raise UsageError(f"there is no command {name!r}{did_you_mean(name, COMMANDS)} See python -m medvlm --help")
    function = command(name)
    signature = inspect.signature(function)
    if _HELP & set(rest):
        with contextlib.redirect_stderr(sys.stdout):
            fire.Fire({name: function}, command=[name, "--", "--help"], name="medvlm")
    check_arguments(name, function, rest)
    SetParseFns(**{parameter: str for parameter in text_parameters(signature)})(function)
    result: list[Any] = []
    fire.Fire({name: function}, command=[name, *rest], name="medvlm", serialize=result.append)
    return _report(result[0]) if result else 0


def _overview() -> str:
    width = max(map(len, COMMANDS))
    rows = [f"  {name:<{width}} {(command(name).__doc__ or '').strip().splitlines()[0]}" for name in COMMANDS]
    usage = "usage: python -m medvlm COMMAND [ARGUMENTS]"
    return "\n".join([usage, "", *rows, "", "python -m medvlm COMMAND --help tells its arguments."])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return the exit status: 0 done, 1 the command found problems, 2 an error, 130 interrupted."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in _HELP | {"help"}:
        print(_overview())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        arguments[0] = "version"
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except _EXPECTED as error:
        if os.environ.get("MEDVLM_DEBUG"):
            raise
        sys.stderr.write(f"error: {explain(error)}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
