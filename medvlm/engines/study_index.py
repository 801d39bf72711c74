"""The studies that a prediction looks for similar ones in: built once from the training section, or on demand."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.networks.utils import eval_mode

from medvlm.data.datalists import load_datalist, read_datalist
from medvlm.data.search_index import NAME, SearchIndex, build_index, open_index
from medvlm.engines.tolerant import Failure, TolerantDataset, collate_one
from medvlm.handlers.case_files import sha256_of

logger = logging.getLogger(__name__)

SPARE = 8
"""Matches asked for beyond those wanted, since the study itself may be among them."""


class StudyIndex:
    """An index of embedded studies that belongs to a file of weights.

    Args:
        folder: of the index.
        network: ``StudyNetwork``.
        transform: preprocessing of one case, up to ``video``, ``view_mask`` and ``angles``.
        checkpoint: file of the weights, whose hash the index carries.
        device: where studies are embedded.
        engine: ``auto``, ``exact`` or ``faiss``; see ``SearchIndex.search``.
        section: of a datalist that an index is built from.
        progress: show a bar.
    """

    def __init__(
        self,
        folder: str | Path,
        network: Any,
        transform: Callable[[dict], dict],
        checkpoint: str | Path,
        device: str | torch.device = "cpu",
        engine: str = "auto",
        section: str = "training",
        progress: bool = True,
    ) -> None:
        self.folder, self.network, self.transform = Path(folder), network, transform
        self.checkpoint, self.device, self.engine = Path(checkpoint), torch.device(device), engine
        self.section, self.progress = section, progress
        self.opened: SearchIndex | None = None
        self.note = ""

    @property
    def model(self) -> str:
        """Hash of the weights."""
        return sha256_of(self.checkpoint)

    def open(self) -> SearchIndex | None:
        """The index of these weights; ``None`` where there is none, and ``note`` says why and what to do."""
        remedy = "build one with python -m medvlm search BUNDLE --build --dataset_dir DIR"
        if self.opened is None and not (self.folder / NAME).is_file():
            self.note = f"there is no search index in {self.folder}; {remedy}"
        elif self.opened is None:
            try:
                self.opened, self.note = open_index(self.folder, self.model), ""
            except (ValueError, FileNotFoundError) as error:
                self.note = f"{str(error).rstrip('.')}; {remedy}"
        return self.opened

    def prepare(self, source: str | Path | None = None) -> StudyIndex:
        """Open the index; where there is none at all, build it from the training section of a datalist.

        An index of other weights, or a damaged one, is never replaced here.

        Args:
            source: what the prediction reads; only a datalist with reports in ``section`` can give an index.
        """
        missing = not (self.folder / NAME).is_file()
        if missing and source is not None and Path(source).suffix.lower() == ".json" and Path(source).is_file():
            if any(case.get("report") for case in read_datalist(source).get(self.section) or []):
                self.build(load_datalist(source, self.section))
        if self.open() is None:
            logger.warning("no reports are retrieved: %s", self.note)
        return self

    def embed(self, cases: Sequence[dict]) -> tuple[np.ndarray, list[dict[str, Any]], list[Failure]]:
        """Embed studies.

        Args:
            cases: as in a datalist.

        Returns:
            ``(N, E)``, one record a study, and the studies that could not be read, with reasons.
        """
        dataset = TolerantDataset(
            cases, self.transform, keys=("video", "view_mask", "angles", "case_id"), progress=self.progress
        )
        by_id = {case["case_id"]: case for case in cases}
        rows, records = [], []
        network = self.network.prepare()
        network.to(self.device)
        with eval_mode(network), torch.no_grad():
            for item in dataset:
                batch = collate_one([item])
                views = (batch[key].to(self.device) for key in ("video", "view_mask", "angles"))
                rows.append(network.embed_study(*views)[0].float().cpu().numpy())
                records.append(record_of(by_id[item["case_id"]]))
        return np.array(rows), records, dataset.failures

    def build(self, cases: Sequence[dict], replace: bool = False) -> list[Failure]:
        """Embed studies that have a report and make the index of them.

        Returns:
            The studies that could not be read.

        Raises:
            FileExistsError: there is an index and ``replace`` is False.
            ValueError: no study has a report and a readable view.
        """
        self.network.prepare()
        if (self.folder / NAME).is_file() and not replace:
            raise FileExistsError(f"there is an index in {self.folder} already; append to it, or replace it.")
        rows, records, failures = self.embed(self._with_reports(cases))
        if not len(rows):
            raise ValueError(f"an index needs studies with a report and a readable view, none of {len(cases)} has.")
        self.opened = build_index(self.folder, rows, records, self.model, replace=replace)
        logger.info("search index of %d studies: %s", len(self.opened), self.folder)
        return failures

    def append(self, cases: Sequence[dict]) -> list[Failure]:
        """Embed further studies and add them; those whose id is there already are left out.

        Returns:
            The studies that could not be read.

        Raises:
            FileNotFoundError: there is no index of these weights.
        """
        index = self.open()
        if index is None:
            raise FileNotFoundError(self.note)
        known = {record["id"] for record in index.records()}
        new = [case for case in self._with_reports(cases) if record_of(case)["id"] not in known]
        if len(new) < len(cases):
            logger.info("%d of %d studies are left out: without a report, or there", len(cases) - len(new), len(cases))
        rows, records, failures = self.embed(new)
        self.opened = index.append(rows, records) if len(rows) else index
        return failures

    @staticmethod
    def _with_reports(cases: Sequence[dict]) -> list[dict]:
        return [case for case in cases if str(case.get("report") or "").strip()]

    def search(self, embedding: Any, k: int, without: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """The reports of the most similar studies.

        Args:
            embedding: ``(E,)`` of a study or a text.
            k: how many at most.
            without: a case whose own study is left out, told by ``case_id`` and ``study_id``.

        Returns:
            ``rank`` from 1, ``score`` (cosine), ``text``, ``id``, and what else was stored; empty without an index.
        """
        index = self.open()
        if index is None or k < 1:
            return []
        own = {str(without[key]) for key in ("case_id", "study_id") if without and without.get(key)}
        found = []
        for match in index.search(np.asarray(embedding), k + SPARE * bool(own), self.engine)[0]:
            if own & {str(match.record.get(key)) for key in ("id", "study_id")}:
                continue
            found.append({"rank": len(found) + 1, "score": round(match.score, 6), **match.record})
        return found[:k]

    def describe(self) -> dict[str, Any]:
        """The index in a manifest: its folder, size and contents' hash, or why there is none."""
        index = self.open()
        if index is None:
            return {"studies": 0, "note": self.note}
        return {"folder": str(self.folder), "studies": len(index), "parts": index.checksums, "note": ""}


def record_of(case: Mapping[str, Any]) -> dict[str, Any]:
    """What an index keeps of a study."""
    known = {key: str(case[key]) for key in ("study_id", "patient_id", "source") if case.get(key)}
    return {"id": str(case["case_id"]), "text": str(case.get("report") or "").strip() or None, **known}
