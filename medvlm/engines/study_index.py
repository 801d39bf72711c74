"""The studies that a prediction looks for similar ones in: built once from the training section, or on demand."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.networks.utils import eval_mode

from medvlm.data.datalists import load_datalist, read_datalist
from medvlm.data.search_index import NAME, SearchIndex, build_index, open_index
from medvlm.engines.tolerant import Failure, TolerantDataset, collate_one
from medvlm.handlers.case_files import sha256_of
from medvlm.write_errors import check_writable

logger = logging.getLogger(__name__)

OPTION = "folder (--index_dir of predict, --index of search)"
SPARE = 8
"""Matches asked for beyond those wanted, since the study itself may be among them."""


@dataclass
class Indexed:
    """What became of the studies that were given to an index.

    Attributes:
        added: how many were put in.
        without_report: how many of those have no report: words and videos find them, but no report is retrieved.
        already: how many were left out since the index has a study of that id.
        failures: those that could not be read, with reasons.
    """

    added: int = 0
    without_report: int = 0
    already: int = 0
    failures: list[Failure] = field(default_factory=list)

    def __str__(self) -> str:
        parts = [f"{self.added} studies added"]
        parts += [f"{self.without_report} of them without a report"] if self.without_report else []
        parts += [f"{self.already} left out, whose id is in the index already"] if self.already else []
        parts += [f"{len(self.failures)} left out that cannot be read"] if self.failures else []
        return ", ".join(parts)


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
        side: names of further inputs that the transform gives, with what is known of them.
        seen: settings that the videos are read with; an index of others does not fit, as one of other weights.
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
        side: Sequence[str] = (),
        seen: Mapping[str, Any] | None = None,
    ) -> None:
        self.side, self.seen = tuple(side), dict(seen or {})
        self.folder, self.network, self.transform = Path(folder), network, transform
        self.checkpoint, self.device, self.engine = Path(checkpoint), torch.device(device), engine
        self.section, self.progress = section, progress
        self.opened: SearchIndex | None = None
        self.note = ""
        self._unbuilt = ""  # why none could be built

    @property
    def model(self) -> str:
        """Hash of the weights and of the settings that the videos are read with."""
        weights = sha256_of(self.checkpoint)
        if not self.seen:
            return weights
        return hashlib.sha256(f"{weights}\n{json.dumps(self.seen, sort_keys=True, default=str)}".encode()).hexdigest()

    def open(self) -> SearchIndex | None:
        """The index of these weights; ``None`` where there is none, and ``note`` says why and what to do."""
        if self.opened is None:
            remedy = "build one with python -m medvlm search BUNDLE --build --dataset_dir DIR"
            try:
                if self.there:
                    self.opened, self.note = open_index(self.folder, self.model), ""
                else:
                    self.note = self._unbuilt or f"there is no search index in {self.folder}; {remedy}"
            except (ValueError, OSError) as error:
                self.note = f"{str(error).rstrip('.')}; {remedy}"
        return self.opened

    @property
    def there(self) -> bool:
        """Whether there is an index, of these weights or others."""
        return (self.folder / NAME).is_file()

    def prepare(self, source: str | Path | None = None) -> StudyIndex:
        """Open the index; where there is none at all, build it from the training section of a datalist.

        An index of other weights, or a damaged one, is never replaced here. A prediction does not need an index: one
        that cannot be read or built is told in ``note`` and in the log, and nothing is retrieved.

        Args:
            source: what the prediction reads; only a datalist with reports in ``section`` can give an index.

        Raises:
            FileNotFoundError: there are no weights.
            ValueError: the weights do not fit the network or the tokenizer.
        """
        self.network.prepare()
        try:
            if not self.there and source is not None and Path(source).suffix.lower() == ".json":
                if any(has_report(case) for case in read_datalist(source).get(self.section) or []):
                    self.build(load_datalist(source, self.section))
        except (ValueError, OSError) as error:
            self._unbuilt = (
                f"no search index could be built of the {self.section} section: {str(error).rstrip('.')}; "
                "nothing is retrieved without one"
            )
        if self.open() is None:
            logger.warning("no reports are retrieved: %s", self.note)
        return self

    def embed(self, cases: Sequence[dict]) -> tuple[np.ndarray, list[dict[str, Any]], list[Failure]]:
        """Embed studies.

        Args:
            cases: as in a datalist.

        Returns:
            ``(N, E)``, one record a study, and the studies that could not be embedded, with reasons.
        """
        flags = [f"{name}_known" for name in self.side]
        keys = ("video", "view_mask", "angles", "case_id", *self.side, *flags)
        dataset = TolerantDataset(cases, self.transform, keys=keys, progress=self.progress)
        by_id = {case["case_id"]: case for case in cases}
        rows, records = [], []
        network = self.network.prepare()
        network.to(self.device)
        with eval_mode(network), torch.no_grad():
            for item in dataset:
                case = by_id[item["case_id"]]
                batch = collate_one([item])
                views = [batch[key].to(self.device) for key in ("video", "view_mask", "angles")]
                if self.side:
                    views += [{name: batch[name].to(self.device) for name in self.side}]
                    views += [{name: batch[f"{name}_known"].to(self.device) for name in self.side}]
                try:
                    rows.append(network.embed_study(*views)[0].float().cpu().numpy())
                except RuntimeError as error:  # one study that does not fit the memory must not stop the others
                    dataset.note(case, error)
                    continue
                records.append(record_of(case))
        return np.array(rows), records, dataset.failures

    def build(self, cases: Sequence[dict], replace: bool = False) -> Indexed:
        """Embed studies and make the index of them; a report is not needed.

        Returns:
            How many studies it holds, and which could not be read.

        Raises:
            FileExistsError: there is an index and ``replace`` is False.
            OSError: the folder cannot be written; said before a study is read.
            ValueError: no study has a readable view.
        """
        self.network.prepare()
        if self.there and not replace:
            raise FileExistsError(f"there is an index in {self.folder} already; append to it, or replace it.")
        check_writable(self.folder, OPTION)
        rows, records, failures = self.embed(cases)
        if not len(rows):
            raise ValueError(
                f"an index needs studies with a readable view, none of {len(cases)} has"
                f"{f' ({failures[0].case_id}: {failures[0].message})' if failures else ''}."
            )
        self.opened, self.note = build_index(self.folder, rows, records, self.model, replace=replace), ""
        done = Indexed(len(records), sum(record["text"] is None for record in records), 0, failures)
        logger.info("search index %s: %s", self.folder, done)
        return done

    def append(self, cases: Sequence[dict]) -> Indexed:
        """Embed further studies and add them; those whose id is there already are left out.

        Returns:
            How many were added, how many were there, and which could not be read.

        Raises:
            FileNotFoundError: there is no index of these weights.
            OSError: the folder cannot be written; the index is as it was.
        """
        index = self.open()
        if index is None:
            raise FileNotFoundError(self.note)
        check_writable(self.folder, OPTION)
        known = {record["id"] for record in index.records()}
        new = [case for case in cases if record_of(case)["id"] not in known]
        rows, records, failures = self.embed(new)
        self.opened = index.append(rows, records) if len(rows) else index
        without = sum(record["text"] is None for record in records)
        done = Indexed(len(records), without, len(cases) - len(new), failures)
        logger.info("search index %s: %s", self.folder, done)
        return done

    def search(
        self, embedding: Any, k: int, without: Mapping[str, Any] | None = None, reports: bool = False
    ) -> list[dict[str, Any]]:
        """The most similar studies.

        Args:
            embedding: ``(E,)`` of a study or a text.
            k: how many at most.
            without: a case whose own study is left out, told by ``case_id`` and ``study_id``.
            reports: only studies that have a report.

        Returns:
            ``rank`` from 1, ``score`` (cosine), ``text``, ``id``, and what else was stored; empty without an index.
        """
        index = self.open()
        if index is None or k < 1:
            return []
        own = {str(without[key]) for key in ("case_id", "study_id") if without and without.get(key)}
        query, asked = np.asarray(embedding), k + SPARE * bool(own)
        while True:
            found = [
                {"score": round(match.score, 6), **match.record}
                for match in index.search(query, asked, self.engine)[0]
                if not own & {str(match.record.get(key)) for key in ("id", "study_id")}
                and (match.record.get("text") or not reports)
            ]
            if len(found) >= k or asked >= len(index):
                return [{"rank": rank, **match} for rank, match in enumerate(found[:k], start=1)]
            asked *= 4

    def describe(self) -> dict[str, Any]:
        """The index in a manifest: its folder, size and contents' hash, or why there is none."""
        index = self.open()
        if index is None:
            return {"studies": 0, "note": self.note}
        return {"folder": str(self.folder), "studies": len(index), "parts": index.checksums, "note": ""}


def has_report(case: Mapping[str, Any]) -> bool:
    """Whether a study has a report with something in it."""
    return bool(str(case.get("report") or "").strip())


def record_of(case: Mapping[str, Any]) -> dict[str, Any]:
    """What an index keeps of a study."""
    known = {key: str(case[key]) for key in ("study_id", "patient_id", "source") if case.get(key)}
    return {"id": str(case["case_id"]), "text": str(case.get("report") or "").strip() or None, **known}
