"""A folder of results a case, whole or absent, and a summary of all: what every writer of predictions does alike."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import monai
import numpy as np
import torch
from ignite.engine import Engine, Events

import medvlm
from medvlm.atomic import sweep, write_text_atomically
from medvlm.handlers.case_files import sha256_of
from medvlm.write_errors import check_writable, clear_error


class CaseFolders(ABC):
    """Base of writers that leave a folder with a ``manifest.json`` for each case of an evaluator.

    A subclass gives :meth:`write`, :meth:`decides` and :meth:`columns`.

    Args:
        output_dir: folder of the cases' folders, ``summary.csv`` and ``failed.json``.
        cases: the cases, looked up by ``case_id``.
        files_key: key of a case's file or files.
        resume: leave out cases that are already there from the same input, weights and settings.
    """

    def __init__(self, output_dir: str | Path, cases: Sequence[dict], files_key: str, resume: bool = True) -> None:
        self.output_dir = Path(output_dir)
        self._cases, self.files_key, self.resume = cases, files_key, resume
        self.written: list[str] = []
        self._hashes: dict[str, list[str]] = {}
        self._started = time.perf_counter()

    @abstractmethod
    def write(self, item: Mapping[str, Any]) -> Path:
        """Write one case; see the subclass."""

    @abstractmethod
    def decides(self, case: Mapping[str, Any]) -> dict[str, Any]:
        """Everything but the input that decides a case's result, as JSON."""

    @abstractmethod
    def columns(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """What the summary's row of a case holds besides its name and status."""

    @cached_property
    def cases(self) -> dict[str, dict]:
        """The cases by their names."""
        return {case["case_id"]: case for case in self._cases}

    @property
    def seconds(self) -> float:
        """Time since the case was begun."""
        return round(time.perf_counter() - self._started, 3)

    def attach(self, engine: Engine) -> None:
        """Try the output folder and sweep it when the run starts, write after each iteration."""
        engine.add_event_handler(Events.STARTED, lambda: sweep(check_writable(self.output_dir)))
        engine.add_event_handler(Events.ITERATION_STARTED, self.begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def begin(self) -> None:
        """Start the clock of a case."""
        self._started = time.perf_counter()

    def __call__(self, engine: Engine) -> None:
        """Write the cases of the batch that the engine has just finished (decollated, post-processed)."""
        for batch, output in zip(engine.state.batch, engine.state.output, strict=True):
            self.write({**batch, **output})

    def done(self, case: Mapping[str, Any]) -> bool:
        """Whether a case is there already, from the same input, weights and settings; ``TolerantDataset`` asks.

        Raises:
            ValueError: When results of another input would be replaced; names both inputs and the remedy.
        """
        manifest = self.manifest_of(case["case_id"])
        if manifest is None:
            self._refuse_other_files(case["case_id"])
        else:
            self._refuse_another_input(case, manifest)
        if not self.resume or manifest is None or manifest.get("signature") != self.signature(case):
            return False
        folder = self.output_dir / case["case_id"]
        return all((folder / name).is_file() for name in manifest["files"])

    def _refuse_other_files(self, case_id: str) -> None:
        """Refuse to replace a folder that no prediction wrote, such as the input's own."""
        folder = self.output_dir / case_id
        if folder.is_dir() and any(folder.iterdir()) and not (folder / "manifest.json").is_file():
            raise ValueError(
                f"{folder} must be absent or hold earlier results, and holds other files, which would be lost; choose "
                "another --output."
            )

    def _refuse_another_input(self, case: Mapping[str, Any], manifest: Mapping[str, Any]) -> None:
        """Refuse a case of the same name whose files are none of those that the results were made from."""
        files, stored = self.files_of(case), manifest.get("inputs") or []
        paths = {os.path.realpath(entry["file"]) for entry in stored}
        if not paths or not all(map(os.path.exists, files)) or paths & {os.path.realpath(file) for file in files}:
            return  # what is not there is said by its loading
        if {entry["sha256"] for entry in stored} & set(self.hashes_of(case)):
            return  # moved or copied
        raise ValueError(
            f"{self.output_dir / case['case_id']} must hold results of {files[0]}, it holds those of "
            f"{stored[0]['file']}, another input of the same name, which would be lost; choose another --output, or "
            "delete that folder."
        )

    def finish(self, failures: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Write ``summary.csv`` and ``failed.json``.

        Args:
            failures: what :class:`medvlm.engines.tolerant.TolerantDataset` noted.

        Returns:
            One row a case of this run, in the order of the cases. The file holds the cases of earlier runs into the
            same folder too, below them, with the status ``earlier``.

        Raises:
            OSError: When they cannot be written; names the file and the remedy.
        """
        failed = {failure.case_id: failure for failure in failures}
        rows = [self._row(case_id, failed.get(case_id)) for case_id in self.cases]
        earlier = [{**self._row(case_id, None), "status": "earlier"} for case_id in self._earlier()]
        columns = list(dict.fromkeys(key for row in [*rows, *earlier] for key in row))
        table = io.StringIO(newline="")
        writer = csv.DictWriter(table, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows([*rows, *earlier])
        try:
            write_text_atomically(table.getvalue(), self.output_dir / "summary.csv")
            write_text_atomically(
                json_text([failure.as_dict() for failure in failures]), self.output_dir / "failed.json"
            )
        except OSError as error:
            raise clear_error(error, self.output_dir / "summary.csv") from error
        return rows

    def _row(self, case_id: str, failure: Any) -> dict[str, Any]:
        manifest = self.manifest_of(case_id) if failure is None else None
        if manifest is None:
            error = failure.message if failure is not None else "not done"
            return {"case_id": case_id, "status": "failed", "error": error}
        status = "done" if case_id in self.written else "kept"
        return {"case_id": case_id, "status": status, "error": "", **self.columns(manifest)}

    def _earlier(self) -> list[str]:
        """Cases that other runs left in this folder, by name."""
        there = {manifest.parent.name for manifest in self.output_dir.glob("*/manifest.json")}
        return sorted(name for name in there - set(self.cases) if self.manifest_of(name) is not None)

    def manifest_of(self, case_id: str) -> dict[str, Any] | None:
        """The manifest that is there; ``None`` where none can be read."""
        try:
            return json.loads((self.output_dir / case_id / "manifest.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def files_of(self, case: Mapping[str, Any]) -> list[str]:
        """A case's files, in order."""
        files = case[self.files_key]
        return [str(file) for file in (files if isinstance(files, list | tuple) else [files])]

    def hashes_of(self, case: Mapping[str, Any]) -> list[str]:
        """Hashes of a case's files, in order; empty for one that is not there."""
        if case["case_id"] not in self._hashes:
            self._hashes[case["case_id"]] = [self.hash_of(file) for file in self.files_of(case)]
        return self._hashes[case["case_id"]]

    def hash_of(self, file: str) -> str:
        """SHA-256 of one file or folder of an input."""
        return sha256_of(file)

    def signature(self, case: Mapping[str, Any]) -> str:
        """Hash of everything that decides a case's result."""
        parts = {"inputs": self.hashes_of(case), **self.decides(case), "medvlm": medvlm.__version__}
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def inputs_of(self, case: Mapping[str, Any]) -> list[dict[str, str]]:
        """Files and hashes, for the manifest."""
        pairs = zip(self.files_of(case), self.hashes_of(case), strict=True)
        return [{"file": file, "sha256": sha} for file, sha in pairs]


def versions() -> dict[str, str]:
    """Versions of what computes, for a manifest."""
    return {
        "medvlm": medvlm.__version__,
        "torch": torch.__version__,
        "monai": monai.__version__,
        "numpy": np.__version__,
    }


def json_text(value: Any) -> str:
    """JSON as results hold it."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
