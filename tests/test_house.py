"""The rules of the house: who may import whom, what stays cheap, what no file may hold. See docs/design.md."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BLOCK_PARTS = {"encoders", "decoders", "heads"}
ABOVE = {"engines", "handlers", "visualize", "bundle", "app"}
MAY_NOT_IMPORT = {  # part of medvlm: the parts that it may not import
    "networks": ABOVE | {"losses", "metrics", "data"},
    "losses": ABOVE | {"networks"},
    "metrics": ABOVE | {"networks"},
    "data": ABOVE | {"networks", "losses"},
    "handlers": {"networks", "bundle", "app"},
    "visualize": {"engines", "networks", "bundle", "app"},
    "engines": {"bundle", "app"},
}
MACHINE_PATH = re.compile(r"(?<![\w.])/(work|tmp|root|home|volume)/")
TEXT = {".py", ".json", ".md", ".txt", ".cfg", ".toml", ".yml", ".yaml", ".conf", ".html", ".css"}


def files(*patterns: str) -> list[Path]:
    found = [path for pattern in patterns for path in ROOT.glob(pattern)]
    return sorted(path for path in found if path.is_file() and "__pycache__" not in path.parts)


LIBRARY = files("medvlm/**/*.py", "transforms/**/*.py")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path, tree: ast.AST) -> Iterator[str]:
    """Every dotted name that a file imports, relative ones resolved; ``from a import b`` gives ``a`` and ``a.b``."""
    package = list(path.relative_to(ROOT).with_suffix("").parts[:-1])
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            stem = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*stem, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def forbidden(path: Path, imported: str) -> str:
    """Say why a file may not import a name; empty when it may."""
    here, there = path.relative_to(ROOT).with_suffix("").parts, imported.split(".")
    if there[0] == "bundles":
        return "nothing imports bundles"
    if {here[0], there[0]} == {"medvlm", "transforms"}:
        return "transforms and medvlm never import each other: they meet in JSON"
    if here[0] != "medvlm" or there[0] != "medvlm" or len(here) < 3 or len(there) < 2:
        return ""
    if there[1] in MAY_NOT_IMPORT.get(here[1], set()):
        return f"{here[1]} may not import {there[1]}"
    if here[1] == there[1] == "networks" and len(here) > 3 and len(there) > 2:
        lower, upper = here[2], there[2]
        if lower == "blocks" and upper in BLOCK_PARTS | {"nets"}:
            return "blocks are leaves"
        if lower in BLOCK_PARTS and upper in (BLOCK_PARTS - {lower}) | {"nets"}:
            return f"{lower} may not import {upper}"
    return ""


def test_there_is_a_library_to_look_at():
    assert len(LIBRARY) > 10


@pytest.mark.parametrize("path", LIBRARY, ids=name_of)
def test_imports_keep_to_the_layers(path):
    names = imports(path, ast.parse(path.read_text(encoding="utf-8")))
    found = {name: why for name in names if (why := forbidden(path, name))}
    assert not found


@pytest.mark.parametrize(
    ("file", "imported", "allowed"),
    [
        ("transforms/regions.py", "medvlm.data", False),
        ("medvlm/data/splits.py", "transforms", False),
        ("medvlm/losses/multitask.py", "medvlm.networks.nets", False),
        ("medvlm/networks/blocks/gate.py", "medvlm.networks.heads", False),
        ("medvlm/networks/heads/mask.py", "medvlm.networks.decoders.unet", False),
        ("medvlm/networks/nets/seg_cls.py", "medvlm.networks.decoders.unet", True),
        ("medvlm/handlers/score.py", "medvlm.metrics", True),
        ("medvlm/engines/strict.py", "medvlm.bundle.locate", False),
        ("medvlm/bundle/verify.py", "medvlm.engines.strict", True),
        ("medvlm/engines/strict.py", "medvlm.spelling", True),
    ],
)
def test_the_layers_are_told_apart(file, imported, allowed):
    assert (forbidden(ROOT / file, imported) == "") is allowed


def test_parts_do_not_import_in_circles():
    graph: dict[str, set[str]] = {}
    for path in LIBRARY:
        here = path.relative_to(ROOT).parts
        if here[0] == "medvlm" and len(here) > 2:
            for name in imports(path, ast.parse(path.read_text(encoding="utf-8"))):
                there = name.split(".")
                if there[0] == "medvlm" and len(there) > 1 and (ROOT / "medvlm" / there[1]).is_dir():
                    graph.setdefault(here[1], set()).add(there[1])
    while leaves := {part for part in graph if not graph[part] - {part}}:
        graph = {part: uses - leaves for part, uses in graph.items() if part not in leaves}
        graph = {part: {use for use in uses if use in graph} for part, uses in graph.items()}
    assert not graph, f"circle among {sorted(graph)}"


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("module", ["medvlm", "medvlm.__main__", "medvlm.commands", "medvlm.bundle.locate"])
def test_import_is_cheap(module):
    heavy = ("torch", "monai", "ignite", "numpy", "transformers", "matplotlib", "itk", "scipy")
    code = f"import sys, {module}; print([name for name in {heavy} if name in sys.modules])"
    assert run_python(code) == "[]"


def test_transforms_is_ours():
    file = run_python("import importlib.util as u; print(u.find_spec('transforms').origin)")
    assert Path(file).resolve() == (ROOT / "transforms" / "__init__.py").resolve()


def test_tests_are_no_packages():
    assert not files("tests/**/__init__.py")


def test_bundles_hold_no_python():
    assert not files("bundles/**/*.py")


@pytest.mark.parametrize("path", files("bundles/*/configs/*.json"), ids=name_of)
def test_bundle_configs_hold_no_hidden_logic(path):
    json.loads(path.read_text(encoding="utf-8"))
    expressions = re.findall(r'"\$((?:[^"\\]|\\.)*)"', path.read_text(encoding="utf-8"))
    assert not [text for text in expressions if "lambda" in text or re.search(r"\bfor\b.*\bif\b", text)]


def texts() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], capture_output=True, text=True, cwd=ROOT
    )
    names = listed.stdout.splitlines() if listed.returncode == 0 else []
    return [ROOT / name for name in names if (ROOT / name).suffix in TEXT and (ROOT / name).is_file()]


def test_no_file_names_a_folder_of_one_machine():
    found = [
        f"{name_of(path)}:{number}"
        for path in texts()
        if path.relative_to(ROOT).parts[0] != "tests"
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        if MACHINE_PATH.search(line)
    ]
    assert not found


@pytest.mark.parametrize("path", LIBRARY, ids=name_of)
def test_library_neither_prints_nor_asserts(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    calls = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert "print" not in calls or path.name == "__main__.py"
    assert not [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Assert)]


@pytest.mark.parametrize("path", LIBRARY, ids=name_of)
def test_file_is_not_too_long_and_its_name_says_something(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400
    assert not re.fullmatch(r"(utils?|helpers?|common|misc)|.*_(v\d|simple|new|old)", path.stem)
