"""Run a bundle's ``inference.json`` on whatever a user has."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser
from monai.bundle.scripts import create_workflow

from medvlm.engines.case_finding import CaseFinder
from medvlm.engines.strict import refuse_lost_overrides
from medvlm.engines.tolerant import CasesFailed, Failure, plain_errors
from medvlm.write_errors import check_writable

logger = logging.getLogger(__name__)


@dataclass
class PredictionReport:
    """What a run of inference did.

    Attributes:
        output: folder of the cases' folders, ``summary.csv`` and ``failed.json``.
        done: manifests of the cases that are there, by case, those of an earlier run included.
        kept: cases that an earlier run had already done.
        failures: cases that failed, with reason.
    """

    output: Path
    done: dict[str, dict[str, Any]] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    @property
    def status(self) -> int:
        """Exit status: 0 when every case is done, else 1."""
        return 1 if self.failures else 0

    def __str__(self) -> str:
        rows = [f"{case_id}: {manifest['summary']}".replace("\n", "; ") for case_id, manifest in self.done.items()]
        rows += [f"{failure.case_id}: FAILED: {failure.message}" for failure in self.failures]
        kept = f" ({len(self.kept)} of them from an earlier run)" if self.kept else ""
        rows.append(f"{len(self.done)} cases in {self.output}{kept}, {len(self.failures)} failed")
        return "\n".join(rows)


def run_inference(
    bundle_root: str | os.PathLike[str],
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    configs: Sequence[str] = ("inference",),
    **overrides: Any,
) -> PredictionReport:
    """Run a bundle's inference on every case of an input.

    Args:
        bundle_root: the bundle's folder.
        source: what the class of the config's ``cases`` takes: see :func:`medvlm.engines.inputs.find_cases` for
            images, :func:`medvlm.engines.study_inputs.find_studies` for videos.
        output: folder for the results.
        configs: ``inference`` and overlays over it: names in the bundle's ``configs``, or files.
        overrides: ids of the config and their values, as on MONAI's command line.

    Returns:
        The report; cases that failed are in it.

    Raises:
        FileNotFoundError: When the input, a config or the weights are missing.
        ValueError: When the input cannot be understood, or the config does not take an override.
        OSError: When the output folder cannot be written.
    """
    root, output = Path(bundle_root).absolute(), Path(output).expanduser().absolute()
    files = [config_file(root, name) for name in configs]
    config = ConfigParser.load_config_files([str(file) for file in files])
    refuse_lost_overrides(config, overrides)
    reading = {**overrides, "output_dir": str(output)}
    CaseFinder(config).check(source, reading)  # before anything is built: what cannot be understood is said at once
    check_writable(output)
    with plain_errors():
        workflow = create_workflow(
            config_file=[str(file) for file in files],
            workflow_type="inference",
            bundle_root=str(root),
            dataset_dir=str(Path(source).expanduser().absolute()),
            output_dir=str(output),
            **overrides,
        )
        workflow.run()
    try:
        with plain_errors():
            workflow.finalize()
    except CasesFailed as error:
        logger.debug("%s", error)
    dataset = workflow.parser.get_parsed_content("dataset")
    failed = {failure.case_id for failure in dataset.failures}
    report = PredictionReport(output, kept=list(dataset.skipped), failures=list(dataset.failures))
    for case in dataset.data:
        file = output / case["case_id"] / "manifest.json"
        if case["case_id"] not in failed and file.is_file():
            report.done[case["case_id"]] = json.loads(file.read_text(encoding="utf-8"))
    return report


def config_file(root: Path, name: str) -> Path:
    """A config by its name in the bundle's ``configs``, or by its path.

    Raises:
        FileNotFoundError: When there is none; lists those that exist.
    """
    for path in (root / "configs" / f"{name}.json", Path(name)):
        if path.is_file():
            return path
    there = sorted(path.stem for path in (root / "configs").glob("inference*.json"))
    raise FileNotFoundError(f"{root.name} has no config {name!r}; for inference there is {', '.join(there) or 'none'}.")
