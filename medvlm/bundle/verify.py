"""Check a bundle as the model zoo's continuous integration does, without a network."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import monai.bundle
import torch
from monai.bundle import ConfigParser, ConfigWorkflow
from monai.utils import BundleProperty, BundlePropertyConfig

from medvlm.bundle.audit import personal_paths
from medvlm.bundle.locate import find_bundle
from medvlm.bundle.report import Report
from medvlm.handlers.case_files import sha256_of
from medvlm.metrics.operating_point import check_operating_point, file_for, misfit

__all__ = ["SCHEMA", "verify"]

SCHEMA = Path(__file__).with_name("metadata_schema.json")
NEEDED = ("LICENSE", "configs/metadata.json", "configs/inference.json", "docs/README.md", "docs/data_license.txt")
WEIGHTS = "models/model.pt"
POINTS_OF_HEADS, PROBE = "operating_points.json", "probe.pt"
_NAMED_FILE = re.compile(r"(?:configs|docs|models|eval)/[\w./-]*\w\.\w+|(?<![\w/.])(?:LICENSE|large_files\.ya?ml)\b")


def verify(bundle: str, dataset_dir: str | None = None, allow_without_weights: bool = False) -> Report:
    """Check a bundle as the model zoo does: files, metadata, properties, network, TorchScript, documentation.

    Args:
        bundle: name or path of the bundle.
        dataset_dir: folder of data; with it the properties are built by MONAI's ``check_properties``, without it
            their ids are looked for.
        allow_without_weights: a missing ``models/model.pt`` is no failure; the export is tried on random weights.

    Returns:
        A table; the exit status is 1 when a check failed.
    """
    root = find_bundle(bundle)
    report = Report(f"verification of {root.name}")
    report.add("files", [f"{name} is missing" for name in NEEDED if not (root / name).is_file()], "all there")
    weights = (root / WEIGHTS).is_file() or _listed_as_large(root)
    missing = [] if weights else [f"{WEIGHTS} is missing: train the bundle, or list it in large_files.yml"]
    report.add("weights", missing, WEIGHTS, verdict="look" if allow_without_weights else "failed")
    for file in sorted((root / "models").glob("operating_point*.json")):
        _check_points(report, file)
    report.add("version", _version_problems(root), "in the changelog")
    report.add("metadata", _attempt(lambda: _verify_metadata(root)), f"valid against {SCHEMA.name}")
    for kind, file in (("train", "train.json"), ("infer", "inference.json")):
        if (root / "configs" / file).is_file():
            report.add(f"properties of {file}", _property_problems(root, file, kind, dataset_dir), "all there")
    if (root / "configs" / "inference.json").is_file():
        report.add("network in and out", _attempt(lambda: _verify_net(root)), "shapes and types as in the metadata")
        report.add("TorchScript", _attempt(lambda: _export(root)), "exported and loaded again")
    report.add("README", _readme_problems(root, weights or allow_without_weights), "names only files that exist")
    report.add("paths", personal_paths(root), "no path of one machine")
    return report


def _attempt(step: Callable[[], None]) -> list[str]:
    """Run a step of MONAI; its failure becomes one line."""
    try:
        with _quiet():
            step()
    except Exception as error:  # the step may run any code that the bundle names
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        return [f"{type(cause).__name__}: {str(cause).strip() or repr(cause)}"]
    return []


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide MONAI's progress and input summaries: the report says what matters."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)


def _listed_as_large(root: Path) -> bool:
    files = [root / f"large_files.{ending}" for ending in ("yml", "yaml", "json")]
    return any(file.is_file() and WEIGHTS in file.read_text(encoding="utf-8") for file in files)


def _check_points(report: Report, file: Path) -> None:
    """Add whether frozen thresholds, of one answer or of several heads, were chosen for the weights that are there."""
    check, heads = "operating point fits the weights", file.name == POINTS_OF_HEADS
    weights = [path for path in file.parent.glob("*.pt") if (path.name == PROBE if heads else _is_of(file, path))]
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        points = {name: check_operating_point(point) for name, point in (content if heads else {"": content}).items()}
        digest = sha256_of(weights[0]) if weights else None
        reasons = {name: misfit(point, digest) for name, point in points.items()}
    except (AttributeError, TypeError, ValueError) as error:
        report.add(check, [f"{file.name} holds no operating point ({error}); choose it again (overlay calibrate)"])
        return
    if not weights:
        report.add(check, [f"the weights of {file.name} are not here to compare it with"], verdict="look")
        return
    problems = [" ".join(filter(None, [file.name, name, reason])) for name, reason in reasons.items() if reason]
    report.add(check, problems, f"{file.name} was chosen for {weights[0].name}")


def _is_of(point: Path, weights: Path) -> bool:
    return file_for(weights.name) == point.name


def _version_problems(root: Path) -> list[str]:
    file = root / "configs" / "metadata.json"
    try:
        metadata = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        return [f"metadata.json is not JSON: {error}"]
    version = metadata.get("version")
    if version not in metadata.get("changelog", {}):
        return [f"version {version!r} has no entry in changelog; write what changed"]
    return []


def _verify_metadata(root: Path) -> None:
    """Validate with MONAI's command; it does not download a schema that already lies at ``filepath``."""
    monai.bundle.verify_metadata(
        meta_file=str(root / "configs" / "metadata.json"), filepath=str(SCHEMA), create_dir=False
    )


def _property_problems(root: Path, file: str, kind: str, dataset_dir: str | None) -> list[str]:
    problems: list[str] = []
    overrides = {"bundle_root": str(root), **({"dataset_dir": str(dataset_dir)} if dataset_dir else {})}

    def check() -> None:
        config = str(root / "configs" / file)
        workflow = ConfigWorkflow(config, workflow_type=kind, logging_file=False, **overrides)
        handlers = workflow.parser.get("train::handlers", [])
        for index, handler in enumerate(handlers if isinstance(handlers, list) else []):
            if not isinstance(handler, dict):
                problems.append(f"train::handlers::{index} is {handler!r}; MONAI's check needs a dictionary there")
        if problems:
            return
        if dataset_dir:
            workflow.initialize()
            problems.extend(f"{name!r} is missing or has a wrong id" for name in workflow.check_properties() or [])
        else:
            problems.extend(_missing_ids(workflow))

    return _attempt(check) or problems


def _missing_ids(workflow: ConfigWorkflow) -> list[str]:
    """What ``check_properties`` asks, judged by the ids alone, so that no data is needed."""
    problems = []
    for name, entry in workflow.properties.items():
        identifier = entry[BundlePropertyConfig.ID]
        if entry[BundleProperty.REQUIRED] and identifier not in workflow.parser:
            problems.append(f"required property {name!r} (id {identifier!r}) is missing")
        elif not entry[BundleProperty.REQUIRED] and not workflow._check_optional_id(name=name, property=entry):
            problems.append(f"optional property {name!r} must have the id {identifier!r}")
    return problems


def _verify_net(root: Path) -> None:
    monai.bundle.verify_net_in_out(
        net_id="network_def",
        meta_file=str(root / "configs" / "metadata.json"),
        config_file=str(root / "configs" / "inference.json"),
        device="cpu",
        bundle_root=str(root),
    )


def _export(root: Path) -> None:
    """Export to TorchScript with MONAI's command, by scripting or else by tracing, and load the result."""
    config = str(root / "configs" / "inference.json")
    with tempfile.TemporaryDirectory() as folder:
        weights = root / WEIGHTS
        if not weights.is_file():
            parser = ConfigParser(ConfigParser.load_config_files(config))
            parser.update({"bundle_root": str(root)})
            weights = Path(folder) / "random.pt"
            torch.save(parser.get_parsed_content("network_def").state_dict(), weights)
        exported = Path(folder) / "model.ts"
        settings = {
            "net_id": "network_def",
            "filepath": str(exported),
            "ckpt_file": str(weights),
            "meta_file": str(root / "configs" / "metadata.json"),
            "config_file": config,
            "bundle_root": str(root),
        }
        try:
            monai.bundle.ckpt_export(**settings)
        except (RuntimeError, TypeError, ValueError):  # torch, of what can only be traced
            monai.bundle.ckpt_export(**settings, use_trace=True)
        torch.jit.load(str(exported))


def _readme_problems(root: Path, weights: bool) -> list[str]:
    file = root / "docs" / "README.md"
    if not file.is_file():
        return []
    problems = []
    for name in sorted(set(_NAMED_FILE.findall(file.read_text(encoding="utf-8")))):
        made = name.startswith("eval/") or (name.startswith("models/") and weights)
        if not made and not (root / name).exists():
            problems.append(f"docs/README.md names {name}, which does not exist")
    return problems
