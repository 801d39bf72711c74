"""Lint the configs of a bundle."""

from __future__ import annotations

import ast
import itertools
import json
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

from monai.bundle import ConfigParser

from medvlm.bundle.locate import find_bundle
from medvlm.bundle.report import Report
from medvlm.engines.config_problems import STANDARD_IDS, OwnFiles, find_problems, is_read
from medvlm.engines.expressions import parse_expression
from medvlm.engines.targets import walk

__all__ = ["audit", "config_files", "personal_paths", "runs_of"]

LONGEST_EXPRESSION = 80
TEXT = {".json", ".yaml", ".yml", ".md", ".txt", ".conf", ".cfg", ".toml", ".py", ".csv"}
_PERSONAL = re.compile(r"(?<![\w.:/@-])(?:/(?:home|root|Users|tmp|mnt|scratch|work|volume)/[\w.-]+|[A-Z]:\\Users\\\w+)")


def audit(bundle: str) -> Report:
    """Lint a bundle's configs: misspelt and dead keys, missing names, over-long or hidden logic, machines' paths.

    Every config is checked as it runs: overlays are merged over the config that they fit. Nothing is built and
    nothing is run.

    Args:
        bundle: name or path of the bundle.

    Returns:
        A table; the exit status is 1 when something is wrong, 0 when there are only places to look at.
    """
    root = find_bundle(bundle)
    report = Report(f"audit of {root.name}")
    files = config_files(root)
    broken = _unreadable(files)
    report.add("readable", broken, f"{len(files)} configs")
    if broken:
        return report
    report.add("names", _name_problems(root, files), "every key, reference, target, argument and name exists")
    report.add("strict", _unchecked(root, files), "initialize begins with strict.check()")
    report.add("dead keys", _dead_keys(root, files), "every key is read", verdict="look")
    logic, long = _expressions(files)
    report.add("logic in JSON", logic, "no lambda, no comprehension with a condition")
    report.add("expressions", long, f"none is longer than {LONGEST_EXPRESSION} characters", verdict="look")
    report.add("targets", _short_targets(files), "all have full dotted names", verdict="look")
    report.add(
        "python", [f"{path.relative_to(root)} belongs in a library" for path in root.rglob("*.py")], "none inside"
    )
    report.add("paths", personal_paths(root), "no path of one machine")
    return report


def config_files(root: Path) -> list[Path]:
    """Return the bundle's JSON configs except the metadata, sorted by name."""
    return sorted(path for path in (root / "configs").glob("*.json") if path.name != "metadata.json")


def runs_of(root: Path, files: list[Path]) -> dict[str, tuple[ConfigParser, list[str]]]:
    """Merge each config with the base that it fits best.

    Returns:
        For each file's name: the parser of the merged config and its problems. Of the bases tried (none, ``train``,
        ``train`` + ``evaluate``, ``inference``, and ``train`` + ``train_NAME`` with and without its ``evaluate_NAME``)
        the one counts over which the file adds fewest problems.
    """
    own = OwnFiles.read(root / "configs")
    train, evaluate, inference = (root / "configs" / f"{name}.json" for name in ("train", "evaluate", "inference"))
    bases = [[], [train], [train, evaluate], [inference]]
    for other in sorted((root / "configs").glob("train_*.json")):  # and what evaluates an overlay of its own
        bases += [[train, other], [train, other, other.with_name(other.name.replace("train_", "evaluate_"))]]
    bases = [base for base in bases if all(path.is_file() for path in base)]
    before = [_merge(root, base, own) if base else None for base in bases]
    runs = {}
    for file in files:
        tried = []
        for base, alone in zip(bases, before, strict=True):
            run = _merge(root, [*base, file], own) if file not in base else None
            if run is not None:
                known = set(alone[1]) if alone else set()
                tried.append((len(set(run[1]) - known), run))
        if tried:
            runs[file.name] = min(tried, key=lambda entry: entry[0])[1]
    return runs


def _merge(root: Path, files: list[Path], own: OwnFiles) -> tuple[ConfigParser, list[str]] | None:
    parser = ConfigParser()
    try:
        with warnings.catch_warnings():  # MONAI warns of merging into a base that lacks the key
            warnings.simplefilter("error", UserWarning)
            parser.read_config([str(path) for path in files])
        parser.read_meta(str(root / "configs" / "metadata.json"))
    except (KeyError, IndexError, ValueError, UserWarning):  # the overlay changes something that this base lacks
        return None
    return (parser, find_problems(parser, own)) if "network_def" in parser else None


def _unreadable(files: list[Path]) -> list[str]:
    problems = []
    for file in files:
        try:
            json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            problems.append(f"{file.name}: {error}")
    return problems


def _name_problems(root: Path, files: list[Path]) -> list[str]:
    runs = runs_of(root, files)
    problems = [f"{file.name} fits neither alone nor over train, evaluate or inference" for file in files
                if file.name not in runs]  # fmt: skip
    seen: set[str] = set()
    for name in sorted(runs, key=lambda name: (name not in ("train.json", "inference.json"), name)):
        new = [problem for problem in runs[name][1] if problem not in seen]
        seen.update(new)
        problems += [f"{name}: {problem}" for problem in new]
    return problems


def _unchecked(root: Path, files: list[Path]) -> list[str]:
    """Configs whose merged ``initialize`` does not begin with the check."""
    problems = []
    for name, (parser, _) in runs_of(root, files).items():
        first = parser.get("initialize::0", "")
        if "run" in parser and not (isinstance(first, str) and first.endswith("check()")):
            problems.append(f"{name}: make '$strict.check()' the first entry of initialize")
    return problems


def _dead_keys(root: Path, files: list[Path]) -> list[str]:
    own = OwnFiles.read(root / "configs")
    dead = [
        key for key in own.files if key not in STANDARD_IDS and not key.startswith("_") and not is_read(key, own.refs)
    ]
    return [f"nothing in the configs reads {key!r} of {', '.join(own.files[key])}" for key in dead]


def _texts(files: list[Path], prefix: str) -> Iterator[tuple[str, str]]:
    for file in files:
        for path, value in walk(json.loads(file.read_text(encoding="utf-8"))):
            if isinstance(value, str) and value.startswith(prefix):
                yield f"{file.name}: {path}", value


def _expressions(files: list[Path]) -> tuple[list[str], list[str]]:
    logic, long = [], []
    for place, value in _texts(files, "$"):
        if len(value) - 1 > LONGEST_EXPRESSION:
            long.append(f"{place} has {len(value) - 1} characters; give it a name in Python")
        try:
            nodes = list(ast.walk(parse_expression(value)))
        except SyntaxError:
            continue  # listed under names
        if any(isinstance(node, ast.Lambda) for node in nodes):
            logic.append(f"{place} holds a lambda; give it a name in Python")
        if any(isinstance(node, ast.comprehension) and node.ifs for node in nodes):
            logic.append(f"{place} holds a comprehension with a condition; give it a name in Python")
    return logic, long


def _short_targets(files: list[Path]) -> list[str]:
    return [
        f"{file.name}: {path} targets {value!r}; write its full dotted name"
        for file in files
        for path, value in walk(json.loads(file.read_text(encoding="utf-8")))
        if path.endswith("_target_")
        and isinstance(value, str)
        and "." not in value
        and not value.startswith(("$", "@"))
    ]


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").splitlines()


def personal_paths(root: Path) -> list[str]:
    """List the text files of a bundle that name a folder of one machine or person."""
    texts = sorted(path for path in root.rglob("*") if path.suffix in TEXT or path.name == "LICENSE")
    kept = [
        path for path in texts if path.is_file() and not {"models", "eval", "logs"} & set(path.relative_to(root).parts)
    ]
    lines = itertools.chain.from_iterable(
        ((path, number, line) for number, line in enumerate(_lines(path), 1)) for path in kept
    )
    return [
        f"{path.relative_to(root)}:{number} names {found[0]}"
        for path, number, line in lines
        if (found := _PERSONAL.search(line))
    ]
