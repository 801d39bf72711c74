"""List what is misspelt in a merged config: keys, references, names in expressions, arguments of targets."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser
from monai.bundle.properties import InferProperties, MetaProperties, TrainProperties
from monai.bundle.reference_resolver import ReferenceResolver
from monai.bundle.utils import DEFAULT_EXP_MGMT_SETTINGS
from monai.utils import BundlePropertyConfig

from medvlm.engines.expressions import expression_problems
from medvlm.engines.targets import target_problems, walk
from medvlm.spelling import close_names, did_you_mean

__all__ = ["STANDARD_IDS", "OwnFiles", "dropped_overrides", "find_problems", "idle_overrides", "is_read", "references"]

SECTIONS = ("train", "validate")  # the dictionaries that MONAI's bundle specification defines
NOT_CONFIGS = ("metadata.json",)
SWITCH_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
TYPO = 0.8  # a key this near to one that is read is taken for a slip of it


def _property_ids() -> set[str]:
    tables = (TrainProperties, InferProperties, MetaProperties)
    return {ReferenceResolver.normalize_id(p[BundlePropertyConfig.ID]) for table in tables for p in table.values()}


def _tracking_ids() -> set[str]:
    """The keys that ``--tracking mlflow`` puts into a config."""
    return {key for settings in DEFAULT_EXP_MGMT_SETTINGS.values() for key in settings["configs"]} | {"output_dir"}


PROPERTY_IDS = _property_ids()
TRACKING_IDS = _tracking_ids()
STANDARD_IDS = (
    {"initialize", "run", "finalize", "imports"}
    | {"displayable_configs"}  # read by MONAI Label
    | {"checkpoint"}  # read by medvlm.bundle.loading
    | {name.split("::")[0] for name in PROPERTY_IDS}
    | TRACKING_IDS
)


def references(config: Any) -> set[str]:
    """Return every id that a config refers to: ``@id`` in values and expressions, ``%id`` macros of the same file."""
    found: set[str] = set()
    for _, value in walk(config):
        if isinstance(value, str):
            found |= {name for name in ReferenceResolver.match_refs_pattern(value) if name}
            if value.startswith("%"):
                found.add(ConfigParser.split_path_id(value[1:])[1])
    return found


def is_read(name: str, refs: Iterable[str]) -> bool:
    """Tell whether an id, or something inside it, is among the references."""
    return any(ref == name or ref.startswith(f"{name}::") for ref in refs)


@dataclass
class OwnFiles:
    """What the config files of a bundle's own ``configs`` folder hold.

    Attributes:
        ids: every id that some file sets, nested ones joined with ``::``.
        refs: every id that some file refers to.
        files: the names of the files that set a top-level key.
    """

    ids: set[str] = field(default_factory=set)
    refs: set[str] = field(default_factory=set)
    files: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: str | os.PathLike[str] | None) -> OwnFiles:
        """Read the JSON and YAML files of a folder; a folder that is missing holds nothing."""
        own = cls()
        if folder is None or not Path(folder).is_dir():
            return own
        for path in sorted(Path(folder).iterdir()):
            if path.suffix in (".json", ".yaml", ".yml") and path.name not in NOT_CONFIGS:
                own._add(path.name, ConfigParser.load_config_file(path))
        return own

    def _add(self, file: str, config: Any) -> None:
        if not isinstance(config, dict):
            return
        self.refs |= references(config)
        for key, value in config.items():
            name = ReferenceResolver.normalize_id(key.removeprefix("+"))
            self.files.setdefault(name.split("::")[0], []).append(file)
            parts = name.split("::")
            self.ids |= {"::".join(parts[: n + 1]) for n in range(len(parts))}
            self.ids |= {path for path, _ in walk(value, name)}


def find_problems(
    parser: ConfigParser,
    own: OwnFiles | None = None,
    overrides: Mapping[str, Any] | None = None,
    base: Mapping[str, Any] | None = None,
    entry_ids: Iterable[str] = (),
) -> list[str]:
    """List what is misspelt in a merged config.

    Args:
        parser: the merged config, overrides included; parsed when it is not yet.
        own: what the bundle's own files hold; keys of an overlay that is not in use are known by it.
        overrides: the ids that the user overrides.
        base: the config before the overrides.
        entry_ids: ids that are run besides ``initialize``, ``run`` and ``finalize``.

    Returns:
        One sentence a problem: unknown keys, words for switches and numbers, references to nothing, names in
        expressions, arguments of ``_target_`` nodes.
    """
    own = own or OwnFiles()
    if not parser.ref_resolver.items:
        parser.parse(reset=True)
    config = parser.get()
    refs = references(config) | own.refs | (references(base) if base else set())
    problems = _unknown_keys(config, own, refs, STANDARD_IDS | set(entry_ids))
    problems += _unknown_overrides(overrides or {}, base or {}, own, refs)
    problems += _words_for_switches(overrides or {}, base or {})
    problems += _words_for_numbers(overrides or {}, base or {})
    problems += _undefined_references(parser)
    problems += _unknown_stages(config, own)
    problems += expression_problems(config)
    problems += target_problems(config, parser.locator)
    return list(dict.fromkeys(problems))


def _unknown_keys(config: dict, own: OwnFiles, refs: set[str], standard: set[str]) -> list[str]:
    """Top-level keys, and keys of the sections ``train`` and ``validate``, that nothing knows."""
    problems = []
    known_top = set(config) | set(own.files) | standard
    live = {name for name in known_top if name in standard or is_read(name, refs)}
    for key in config:
        if key in live or str(key).startswith("_"):
            continue
        if key not in own.files:
            problems.append(f"unknown key {key!r}{did_you_mean(key, live) or did_you_mean(key, known_top - {key})}")
        elif close_names(key, live, cutoff=TYPO):
            problems.append(f"nothing reads the key {key!r}{did_you_mean(key, live, cutoff=TYPO)}")
    for section in SECTIONS:
        inside = config.get(section)
        if not isinstance(inside, dict) or "_target_" in inside:
            continue
        known = {name.split("::")[1] for name in own.ids | PROPERTY_IDS | refs if name.startswith(f"{section}::")}
        for key in inside:
            name = f"{section}::{key}"
            if name not in own.ids | PROPERTY_IDS and not is_read(name, refs) and not str(key).startswith("_"):
                problems.append(f"unknown key {name!r}{did_you_mean(key, known - {key})}")
    return problems


def _unknown_overrides(overrides: Mapping[str, Any], base: Mapping[str, Any], own: OwnFiles, refs: set) -> list[str]:
    """Overrides of one entry inside a plain dictionary, where that entry did not exist."""
    problems = []
    before = ConfigParser(dict(base))
    for name in map(ReferenceResolver.normalize_id, overrides):
        parent_id, _, leaf = name.rpartition("::")
        parent = before.get(parent_id) if parent_id else None
        if not isinstance(parent, dict) or "_target_" in parent or leaf in parent:
            continue
        if name not in own.ids and not is_read(name, refs):
            problems.append(f"unknown key {name!r}{did_you_mean(leaf, map(str, parent))}")
    return problems


def _words_for_switches(overrides: Mapping[str, Any], base: Mapping[str, Any]) -> list[str]:
    """Overrides of a switch by a word: any text counts as true, ``false`` too."""
    problems = []
    before = ConfigParser(dict(base))
    for name, value in overrides.items():
        meant = SWITCH_WORDS.get(value.strip().lower()) if isinstance(value, str) else None
        id_ = ReferenceResolver.normalize_id(name)
        if meant is not None and isinstance(before.get(id_), bool):
            problems.append(f"{id_!r} is a switch and must be True or False, got the text {value!r}; write {meant}")
    return problems


def _words_for_numbers(overrides: Mapping[str, Any], base: Mapping[str, Any]) -> list[str]:
    """Overrides of a number by a word, which would end in a ``TypeError`` after everything is loaded."""
    problems = []
    before = ConfigParser(dict(base))
    for name, value in overrides.items():
        id_ = ReferenceResolver.normalize_id(name)
        if not isinstance(value, str) or value.startswith(("$", "@", "%")) or not _is_number(before, id_):
            continue
        problems.append(
            f"{id_!r} must be a number, got the text {value!r}; write digits, such as {_example(before, id_)}"
        )
    return problems


def _is_number(config: ConfigParser, id_: str, depth: int = 0) -> bool:
    """Whether an id holds a number, refers to one, or picks one from a table of numbers (``$@table[@key]``)."""
    value = config.get(id_)
    if isinstance(value, str) and depth < 5:
        reference, table = re.fullmatch(r"@([\w:]+)", value), re.fullmatch(r"\$@([\w:]+)\[@[\w:]+\]", value)
        if reference:
            return _is_number(config, reference[1], depth + 1)
        entries = config.get(table[1]) if table else None
        return isinstance(entries, dict) and bool(entries) and all(map(_plain_number, entries.values()))
    return _plain_number(value)


def _plain_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _example(config: ConfigParser, id_: str) -> str:
    value = config.get(id_)
    return str(value) if _plain_number(value) else "3"


def _unknown_stages(config: dict, own: OwnFiles) -> list[str]:
    """Entries of the tables ``*_per_stage`` for stages that do not exist: nothing would read them, no default shows it.

    A stage is what some file or the config gives ``epochs_per_stage``, or the ``stage`` that runs.
    """
    ours = {name.split("::")[1] for name in own.ids if name.startswith("epochs_per_stage::")}
    given = config.get("epochs_per_stage")
    given = set(map(str, given)) if isinstance(given, dict) else set()
    running = {config["stage"]} if isinstance(config.get("stage"), str) else set()
    slips = {name for name in given - ours - running if set(close_names(name, ours, cutoff=TYPO)) - given}
    stages = (ours | given | running) - slips
    if not stages:
        return []
    problems = [f"epochs_per_stage: unknown stage {name!r}{did_you_mean(name, ours)}" for name in sorted(slips)]
    for key, table in config.items():
        if str(key).endswith("_per_stage") and key != "epochs_per_stage" and isinstance(table, dict):
            problems += [
                f"{key}: unknown stage {name!r}{did_you_mean(name, stages) or f'; there are {sorted(stages)}'}"
                for name in map(str, table)
                if name not in stages
            ]
    return problems


def dropped_overrides(names: Iterable[str], base: Mapping[str, Any]) -> list[str]:
    """One sentence for each override of None, which MONAI leaves out, where the config says something else."""
    before, problems = ConfigParser(dict(base)), []
    for name in dict.fromkeys(names):
        id_ = ReferenceResolver.normalize_id(name)
        if before.get(id_) is not None:
            problems.append(
                f"{id_!r} is given as None, which MONAI drops, so that {before.get(id_)!r} would stay; write '$None'"
            )
    return problems


def _undefined_references(parser: ConfigParser) -> list[str]:
    problems = []
    for path, value in walk(parser.get()):
        if not isinstance(value, str) or path.startswith("_meta_"):
            continue
        for ref in ReferenceResolver.match_refs_pattern(value):
            if ref and ref not in parser:
                parent = ref.rpartition("::")[0]
                prefix = f"{parent}::" if parent else ""
                siblings = parser.get(parent) if parent in parser else {}
                names = [f"{prefix}{key}" for key in siblings] if isinstance(siblings, dict) else []
                problems.append(f"{path}: '@{ref}' is not defined{did_you_mean(ref, names)}")
    return problems


def idle_overrides(config: dict, own: OwnFiles, overrides: Iterable[str], refs: set[str]) -> list[str]:
    """Overrides of keys that only configs outside this run read."""
    idle = []
    for name in sorted({ReferenceResolver.normalize_id(name).split("::")[0] for name in overrides}):
        if name in config and name in own.files and name not in STANDARD_IDS and not is_read(name, refs):
            idle.append(f"{name!r} has no effect in this run; it belongs to {', '.join(own.files[name])}")
    return idle
