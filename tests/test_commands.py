"""The command line: quick help, no silent mistakes, one clear line for an error."""

from __future__ import annotations

import importlib
import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

from medvlm import __main__ as program
from medvlm import commands

ROOT = Path(__file__).resolve().parents[1]
TOOLS = '''
"""Stand-ins for commands."""
FACTOR = 2

def paint(wall: str, colour: str = "white", coats: int = 1, *, factor: float = FACTOR, dry: bool = True):
    """Paint a wall.

    Args:
        wall: what to paint.
        colour: of the paint.
        coats: how many.
        factor: of the price.
        dry: let it dry.
    """
    if colour == "plaid":
        raise ValueError("no plaid paint; choose one colour")
    return f"{wall!r} {colour!r} {coats * factor}"

def build(plan, **overrides):
    """Build anything."""
    return f"{plan} {sorted(overrides.items())}"

def judge(wall: str) -> int:
    """Judge a wall."""
    try:
        raise FileNotFoundError("no wall")
    except FileNotFoundError as error:
        raise RuntimeError("Failed to evaluate expression") from error
'''


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """Three commands of a module that is written for the test."""
    package = tmp_path / "shop"
    package.mkdir()
    (package / "tools.py").write_text(TOOLS, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(commands, "_PACKAGE", package)
    table = {name: f"shop.tools:{name}" for name in ("paint", "build", "judge")}
    monkeypatch.setattr(commands, "COMMANDS", table)
    monkeypatch.setattr(program, "COMMANDS", table)
    monkeypatch.delenv("MEDVLM_DEBUG", raising=False)
    yield
    sys.modules.pop("shop.tools", None)
    sys.modules.pop("shop", None)


def run(capsys, *arguments):
    """Run the program and return its exit status and what it wrote."""
    try:
        status = program.main(arguments)
    except SystemExit as end:
        status = end.code
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_runs_a_command_and_prints_what_it_returns(tools, capsys):
    assert run(capsys, "paint", "north", "--coats", "3") == (0, "'north' 'white' 6\n", "")


def test_defaults_that_only_the_import_knows_stay_the_functions(tools, capsys):
    assert run(capsys, "paint", "north", "--factor=5")[1] == "'north' 'white' 5\n"


@pytest.mark.parametrize("arguments", [("2020",), ("--wall", "2020"), ("--wall=2020",)])
def test_text_stays_text(tools, capsys, arguments):
    assert run(capsys, "paint", *arguments)[1] == "'2020' 'white' 2\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("paint", "north", "--color", "red"), "'paint' has no flag --color; did you mean --colour?"),
        (("paint", "north", "--color=red"), "'paint' has no flag --color; did you mean --colour?"),
        (("paint", "north", "--xyz"), "'paint' has no flag --xyz; it takes --coats, --colour, --dry, --factor, --wall"),
        (("paint", "north", "--coats", "two"), "error: --coats takes a whole number, got 'two'.\n"),
        (("paint", "north", "--coats"), "error: --coats takes a whole number, got True.\n"),
        (("paint", "north", "--factor", "1,5"), "error: --factor takes a number, got (1, 5).\n"),
        (("paint", "north", "--dry", "flase"), "error: --dry takes True or False, got 'flase'.\n"),
        (("paint", "a", "b", "1", "c"), "'paint' takes at most 3 arguments without a flag, got 4"),
        (("piant", "north"), "there is no command 'piant'; did you mean 'paint'?"),
        (("paint", "north", "--colour", "plaid"), "error: no plaid paint; choose one colour\n"),
        (("judge", "north"), "error: no wall\n"),
    ],
)
def test_a_mistake_is_one_clear_line_and_status_2(tools, capsys, arguments, words):
    status, out, err = run(capsys, *arguments)
    assert (status, out) == (2, "")
    assert err.startswith("error: ") and words in err and err.count("\n") == 1


@pytest.mark.parametrize("flags", [("--nodry",), ("--dry", "0"), ("--factor", "2", "--dry", "False")])
def test_numbers_and_switches_are_taken_as_they_are(tools, capsys, flags):
    assert run(capsys, "paint", "north", *flags)[:2] == (0, "'north' 'white' 2\n")


def test_a_missing_argument_is_named(tools, capsys):
    status, _, err = run(capsys, "paint")
    assert status == 2 and "wall" in err


def test_overrides_pass_through(tools, capsys):
    assert run(capsys, "build", "plan", "--optimizer::lr", "0.1")[1] == "plan [('optimizer::lr', 0.1)]\n"


def test_debugging_shows_the_traceback(tools, monkeypatch):
    monkeypatch.setenv("MEDVLM_DEBUG", "1")
    with pytest.raises(ValueError, match="no plaid paint"):
        program.main(["paint", "north", "--colour", "plaid"])


def test_help_tells_arguments_without_running(tools, capsys):
    status, out, _ = run(capsys, "paint", "--colour", "plaid", "--help")
    assert status == 0
    assert "Paint a wall." in out and "of the paint." in out and "--coats" in out


@pytest.mark.parametrize(
    ("returned", "status", "text"),
    [(None, 0, ""), (3, 3, ""), ("done", 0, "done\n"), ({"a": 1}, 0, "a: 1\n"), ([1, "b"], 0, "1\nb\n")],
)
def test_what_a_command_returns_is_shown_or_is_the_status(tools, monkeypatch, capsys, returned, status, text):
    monkeypatch.setattr(importlib.import_module("shop.tools"), "judge", lambda wall: returned)
    assert run(capsys, "judge", "north")[:2] == (status, text)


@pytest.mark.parametrize("name", commands.COMMANDS)
def test_every_command_has_a_described_function(name):
    signature, docstring = commands.signature_of(commands.COMMANDS[name])
    assert docstring.splitlines()[0].endswith(".")
    for parameter in signature.parameters.values():
        assert f"{parameter.name}:" in docstring, f"{name} does not describe {parameter.name}"


@pytest.mark.parametrize("name", commands.COMMANDS)
def test_the_described_signature_is_the_functions(name):
    module, _, function = commands.COMMANDS[name].partition(":")
    actual = inspect.signature(getattr(importlib.import_module(module), function)).parameters.values()
    described = commands.signature_of(commands.COMMANDS[name])[0].parameters.values()
    assert [(p.name, p.kind) for p in described] == [(p.name, p.kind) for p in actual]
    assert [p.default is p.empty for p in described] == [p.default is p.empty for p in actual]


@pytest.mark.parametrize("arguments", [("--help",), *((name, "--help") for name in commands.COMMANDS)])
def test_help_of_the_program_needs_neither_torch_nor_monai(arguments):
    code = (
        "import sys; from medvlm.__main__ import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit as end:\n    assert not end.code\n"
        "assert not {'torch', 'monai', 'numpy'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=ROOT, timeout=60,
        env={**os.environ, "PAGER": "cat"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in (commands.COMMANDS if arguments == ("--help",) else arguments[:1]))


def test_module_runs_as_a_program():
    done = subprocess.run(
        [sys.executable, "-m", "medvlm", "version"], capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert done.returncode == 0 and done.stdout.startswith("medvlm 0.1.0\npython 3.")
