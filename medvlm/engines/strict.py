"""Refuse a config that holds a misspelt name, before anything of it is built.

MONAI merges overrides into a bundle's config without asking whether anything reads them, so
``--epochz 3`` trains with the default number of epochs. A bundle of this library calls :func:`check` in the first
entry of ``initialize`` (``$import medvlm.engines.strict as strict`` and ``$strict.check()``, or ``$import medvlm``
and ``$import medvlm.engines.strict`` and the full name); then the stock ``python -m monai.bundle run`` checks it too,
and so does everything else that initialises a workflow.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from monai.bundle import ConfigParser, ConfigWorkflow
from monai.bundle.reference_resolver import ReferenceResolver
from monai.bundle.scripts import create_workflow

from medvlm.engines.config_problems import OwnFiles, dropped_overrides, find_problems, idle_overrides, references
from medvlm.engines.running import callers
from medvlm.engines.targets import walk
from medvlm.engines.tolerant import innermost
from medvlm.spelling import did_you_mean

__all__ = ["ConfigError", "StrictWorkflow", "check", "refuse_lost_overrides"]

logger = logging.getLogger(__name__)

_WORKFLOW_ARGUMENTS = {
    "config_file", "meta_file", "logging_file", "init_id", "run_id", "final_id", "tracking", "workflow_type",
    "workflow_name", "properties_path", "args_file",
}  # fmt: skip


class ConfigError(ValueError):
    """A config names something that does not exist. The text lists every problem found."""


@dataclass
class _Running:
    """The config being run, found in the callers' frames."""

    parser: ConfigParser | None = None
    workflow: ConfigWorkflow | None = None
    config_file: str | Sequence[str] | None = None
    overrides: dict[str, Any] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)

    @classmethod
    def find(cls) -> _Running:
        running = cls()
        for frame in callers():
            owner = frame.f_locals.get("self")
            if running.workflow is None and isinstance(owner, ConfigWorkflow):
                running.workflow, running.parser = owner, owner.parser
            elif running.parser is None and isinstance(owner, ConfigParser):
                running.parser = owner
            elif frame.f_code is create_workflow.__code__:
                arguments = frame.f_locals.get("_args") or {}
                running.config_file = frame.f_locals.get("config_file")
                running.overrides = {k: v for k, v in arguments.items() if k not in _WORKFLOW_ARGUMENTS}
                running.dropped = [*_nones(frame, "kwargs"), *_nones(frame.f_back, "override")]
                break
        return running


def _nones(frame: FrameType | None, name: str) -> list[str]:
    """Overrides of None among the further arguments of a MONAI function: it drops them without a word."""
    given = frame.f_locals.get(name) if frame is not None else None
    return [key for key, value in given.items() if value is None] if isinstance(given, dict) else []


def check(parser: ConfigParser | None = None) -> None:
    """Refuse the running config when it holds a misspelt name; the first entry of a bundle's ``initialize``.

    Every top-level key must be one of MONAI's own, be referred to (``@key``, ``%key``), or stand in a file of the
    bundle's ``configs`` folder; every reference must lead somewhere; every ``_target_`` must exist and take the
    arguments that it is given. An override that only another overlay reads is logged as a warning.

    Args:
        parser: the config to check; by default that of the workflow or parser whose expression calls this.

    Raises:
        ConfigError: lists all problems. Uncaught, it is shown without its traceback (``MEDVLM_DEBUG=1`` shows it).
        RuntimeError: when no config is running.
    """
    running = _Running(parser=parser) if parser is not None else _Running.find()
    if running.parser is None:
        raise RuntimeError("check() looks at the config that calls it: use '$strict.check()' in one.")
    _end_with_the_reason()
    workflow = running.workflow
    if isinstance(workflow, StrictWorkflow):  # has checked already
        return
    folder = workflow.config_root_path if workflow is not None else _folder_of(running.parser)
    entry_ids = (workflow.init_id, workflow.run_id, workflow.final_id) if workflow is not None else ()
    base = ConfigParser.load_config_files(running.config_file) if running.config_file else None
    _refuse(running.parser, OwnFiles.read(folder), running.overrides, base, entry_ids, running.dropped)


def _folder_of(parser: ConfigParser) -> Path | None:
    root = parser.get_parsed_content("bundle_root") if "bundle_root" in parser else None
    return Path(root) / "configs" if isinstance(root, (str, os.PathLike)) else None


def _refuse(
    parser: ConfigParser,
    own: OwnFiles,
    overrides: Mapping[str, Any],
    base: Mapping | None,
    entry_ids: Iterable[str],
    dropped: Iterable[str] = (),
) -> None:
    problems = find_problems(parser, own, overrides, base, entry_ids) + dropped_overrides(dropped, base or {})
    if problems:
        _end_with_the_reason()
        rows = "".join(f"\n  {problem}" for problem in problems)
        raise ConfigError(f"{len(problems)} problem{'s' * (len(problems) > 1)} in the config:{rows}")
    refs = references(parser.get()) | (references(base) if base else set())
    for words in idle_overrides(parser.get(), own, overrides, refs):
        logger.warning("the override of %s.", words)


def _end_with_the_reason() -> None:
    """Let an uncaught error end the program with its own words, which MONAI buries under pages of wrapping.

    A `ConfigError` is shown without its traceback; below that of any other error stands what it began with.
    """
    previous = sys.excepthook
    if getattr(previous, "shows_config_errors", False):
        return

    def hook(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        inner: BaseException | None = error
        while inner is not None and not isinstance(inner, ConfigError):
            inner = inner.__cause__ or inner.__context__
        if inner is None or os.environ.get("MEDVLM_DEBUG"):
            previous(kind, error, trace)
        reason = innermost(error) if inner is None else inner
        if reason is not error and str(reason):
            sys.stderr.write(f"error: {reason}\n")

    hook.shows_config_errors = True  # type: ignore[attr-defined]
    sys.excepthook = hook


class StrictWorkflow(ConfigWorkflow):
    """MONAI's config workflow that checks every name before anything is instantiated.

    ``python -m monai.bundle run_workflow --workflow_name medvlm.engines.strict.StrictWorkflow --config_file ...``
    checks bundles whose ``initialize`` does not. Arguments are those of ``monai.bundle.ConfigWorkflow``.

    Raises:
        ConfigError: at construction for an override whose parent does not exist; at ``initialize`` for the rest.
    """

    def __init__(self, config_file: str | Sequence[str], *args: Any, **kwargs: Any) -> None:
        parameters = ("meta_file", "logging_file", "init_id", "run_id", "final_id", "tracking", "workflow_type")
        known = {*parameters, "properties_path"}
        overrides = {key: value for key, value in kwargs.items() if key not in known}
        base = ConfigParser.load_config_files(config_file)
        _end_with_the_reason()
        refuse_lost_overrides(base, overrides)
        super().__init__(config_file, *args, **kwargs)
        self._overrides, self._base = overrides, base

    def initialize(self) -> Any:
        """Check, then initialise as MONAI does."""
        self.parser.parse(reset=True)
        entry_ids = (self.init_id, self.run_id, self.final_id)
        _refuse(self.parser, OwnFiles.read(self.config_root_path), self._overrides, self._base, entry_ids)
        return super().initialize()


def refuse_lost_overrides(base: Mapping[str, Any], overrides: Mapping[str, Any]) -> None:
    """Refuse overrides inside something that does not exist, which MONAI answers with a bare ``KeyError``.

    Args:
        base: the merged config before the overrides.
        overrides: ids and values, nested ids with ``::`` or ``#``.

    Raises:
        ConfigError: the first such override, with what is probably meant.
    """
    before = ConfigParser(dict(base))
    given = {ReferenceResolver.normalize_id(name) for name in overrides}
    for name in map(ReferenceResolver.normalize_id, overrides):
        parts = name.split("::")
        if parts[0] in given or parts[0] == "_meta_":  # given whole; in a file of its own
            continue
        for depth in range(1, len(parts)):
            parent, grandparent = "::".join(parts[:depth]), "::".join(parts[: depth - 1])
            if parent not in before:
                near = before.get(grandparent)
                names = map(str, near) if isinstance(near, dict) else ()
                deeper = _deeper(before.get(), parent, "::".join(parts[depth:]))
                hint = did_you_mean(name, deeper, cutoff=0.0) or did_you_mean(parts[depth - 1], names)
                raise ConfigError(f"unknown key {name!r}: there is no {parent!r}{hint}")
            if not isinstance(before.get(parent), (dict, list)):
                raise ConfigError(
                    f"unknown key {name!r}: {parent!r} is {before.get(parent)!r}, which has no entries; override "
                    f"{parent!r} as a whole"
                )


def _deeper(config: Any, parent: str, rest: str) -> list[str]:
    """The same id below a longer path, ``train::trainer::max_epochs`` for ``trainer::max_epochs``."""
    paths = [path for path, value in walk(config) if path.endswith(f"::{parent}") and isinstance(value, (dict, list))]
    found = [f"{path}::{rest}" for path in paths]
    here = ConfigParser(config)
    return [name for name in found if name in here] or found
