"""A searchable collection of studies: embeddings and reports on disk, memory-mapped, appended to, never half written.

A folder holds ``index.json`` and, for each batch that was added, three files: ``part_N.npy`` (embeddings),
``part_N.jsonl`` (one record a line) and ``part_N.offsets.npy`` (where each line begins). Only ``index.json`` says what
belongs to the index, and it is replaced last: a process that is killed leaves the index as it was.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medvlm.atomic import replacing, write_text_atomically
from medvlm.metrics.retrieval import top_matches

_LOG = logging.getLogger(__name__)
FORMAT = 1
NAME = "index.json"
ENGINES = ("auto", "exact", "faiss")
_SPARE = 16
"""Candidates that FAISS gives beyond k; their cosines are computed exactly, so that its rounding loses none."""
_SINGLE = 1e-6
"""What single precision can tell apart of cosines; nearer ties than the spare candidates hold are searched exactly."""


@dataclass(frozen=True)
class Match:
    """One study that was found.

    Attributes:
        rank: from 1.
        score: cosine.
        row: place in the index.
        record: what was stored of it: ``id``, ``text`` and whatever else was given.
    """

    rank: int
    score: float
    row: int
    record: dict[str, Any]


def build_index(
    folder: str | Path,
    embeddings: np.ndarray,
    records: Sequence[Mapping[str, Any]],
    model: str,
    replace: bool = False,
) -> SearchIndex:
    """Make an index.

    Args:
        folder: where; made when absent.
        embeddings: ``(N, D)``, finite, no row zero; stored as float32 of unit length.
        records: ``(N,)``: each with an ``id`` that no other has, a ``text`` (None where unknown), and any JSON values.
        model: checksum of the weights that made the embeddings (:func:`medvlm.handlers.case_files.sha256_of`).
        replace: whether an index that is there already goes.

    Returns:
        The index, open.

    Raises:
        FileExistsError: there is an index and ``replace`` is False.
        ValueError: embeddings and records do not fit, or ids repeat.
        OSError: the folder cannot be written.
    """
    folder = Path(folder)
    old: list[str] = []
    if (folder / NAME).is_file():
        if not replace:
            raise FileExistsError(f"there is an index in {folder} already; append to it, or pass replace=True.")
        old = [part["name"] for part in _read_head(folder)["parts"]]
    if not model:
        raise ValueError("an index needs the checksum of the model that made it, got an empty one.")
    rows = _checked(embeddings, records, known=set())
    number = 1 + max((int(name.rpartition("_")[2]) for name in old), default=-1)
    part = _write_part(folder, number, rows, records)
    _write_head(folder, {"format": FORMAT, "model": model, "width": rows.shape[1], "parts": [part]})
    for name in old:
        _remove_part(folder, name)
    return open_index(folder, model)


def open_index(folder: str | Path, model: str | None = None) -> SearchIndex:
    """Open an index without reading its embeddings.

    Args:
        folder: of the index.
        model: checksum of the weights in use; None takes the index as it is.

    Raises:
        FileNotFoundError: there is no index, or one of its files is missing.
        ValueError: another model made it, or a file is not what the index says.
    """
    folder = Path(folder)
    head = _read_head(folder)
    if model is not None and model != head["model"]:
        raise ValueError(
            f"the index in {folder} was made by another model, or of videos that were read with other settings "
            f"({head['model'][:12]}..., in use is {model[:12]}...): their embeddings cannot be compared; build the "
            "index anew, or use the weights and settings that made it."
        )
    return SearchIndex(folder, head)


class SearchIndex:
    """Studies that can be searched; made by :func:`build_index` and :func:`open_index`.

    Args:
        folder: of the index.
        head: what ``index.json`` holds.
    """

    def __init__(self, folder: Path, head: dict) -> None:
        self.folder, self.model, self.width = folder, str(head["model"]), int(head["width"])
        self._head = head
        self._embeddings, self._offsets, self._lines = [], [], []
        for part in head["parts"]:
            embeddings, offsets, lines = _map_part(folder, part, self.width)
            self._embeddings.append(embeddings)
            self._offsets.append(offsets)
            self._lines.append(lines)
        self._starts = np.cumsum([0, *(len(rows) for rows in self._embeddings)])
        self._faiss: Any = None

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __repr__(self) -> str:
        return f"SearchIndex({len(self)} studies, {self.width} numbers each, model {self.model[:12]})"

    @property
    def checksums(self) -> list[str]:
        """SHA-256 of each part, as written when it was added."""
        return [part["sha256"] for part in self._head["parts"]]

    def record(self, row: int) -> dict[str, Any]:
        """What was stored of one study; reads its line only."""
        if not 0 <= row < len(self):
            raise IndexError(f"rows are 0..{len(self) - 1}, got {row}.")
        part = int(np.searchsorted(self._starts, row, side="right")) - 1
        begin, end = self._offsets[part][row - self._starts[part] : row - self._starts[part] + 2]
        return json.loads(bytes(self._lines[part][int(begin) : int(end)]).decode("utf-8"))

    def records(self) -> Iterator[dict[str, Any]]:
        """Every record, in order."""
        return (self.record(row) for row in range(len(self)))

    def embedding(self, row: int) -> np.ndarray:
        """Unit vector ``(D,)`` of one study."""
        part = int(np.searchsorted(self._starts, row, side="right")) - 1
        return np.array(self._embeddings[part][row - self._starts[part]])

    def append(self, embeddings: np.ndarray, records: Sequence[Mapping[str, Any]]) -> SearchIndex:
        """Add studies made by the same model.

        Args:
            embeddings: ``(N, D)``.
            records: ``(N,)``, as in :func:`build_index`; no id may be in the index already.

        Returns:
            The longer index; this one still sees what it saw.

        Raises:
            ValueError: the width differs, or an id is there already.
            OSError: the folder cannot be written; the index is as it was.
        """
        head = _read_head(self.folder)  # another process may have appended
        index = SearchIndex(self.folder, head)
        rows = _checked(embeddings, records, known={record["id"] for record in index.records()})
        if head["model"] != self.model or rows.shape[1] != self.width:
            raise ValueError(
                f"the index holds {self.width} numbers a study of model {self.model[:12]}, got {rows.shape[1]} for "
                f"{head['model'][:12]}; build a new index for another model."
            )
        number = 1 + max(int(part["name"].rpartition("_")[2]) for part in head["parts"])
        part = _write_part(self.folder, number, rows, records)
        _write_head(self.folder, head | {"parts": [*head["parts"], part]})
        return open_index(self.folder, self.model)

    def search(self, queries: np.ndarray, k: int = 10, engine: str = "auto", block: int = 8192) -> list[list[Match]]:
        """The most similar studies of each query.

        Args:
            queries: ``(D,)`` or ``(Q, D)`` embeddings, of a text or of a study.
            k: how many at most.
            engine: ``exact`` reads the embeddings block by block; ``faiss`` takes a flat index in memory, whose results
                are the same; ``auto`` takes FAISS where it is installed.
            block: rows read at once by ``exact``.

        Returns:
            For each query its matches, best first; of equal cosines the earlier study first.

        Raises:
            ValueError: the width differs, or there is no such engine.
            ImportError: ``faiss`` is asked for and not installed.
        """
        queries = np.atleast_2d(np.asarray(queries, dtype=np.float64))
        if queries.shape[1] != self.width:
            raise ValueError(f"queries need {self.width} numbers as the index has, got {queries.shape[1]}.")
        lengths = np.linalg.norm(queries, axis=1)
        if not (np.isfinite(lengths) & (lengths > 0)).all():
            raise ValueError("a query must be finite and not zero; embed a study or a text that has something in it.")
        if engine not in ENGINES:
            raise ValueError(f"engine is one of {', '.join(ENGINES)}, got {engine!r}.")
        k = min(k, len(self))
        if engine == "exact" or (engine == "auto" and not _has_faiss()):
            rows, cosines = self._exact(queries, k, block)
        else:
            rows, cosines = self._with_faiss(queries, k)
        return [
            [
                Match(rank, float(score), int(row), self.record(int(row)))
                for rank, (row, score) in enumerate(zip(own_rows, own_scores, strict=True), 1)
            ]
            for own_rows, own_scores in zip(rows, cosines, strict=True)
        ]

    def _exact(self, queries: np.ndarray, k: int, block: int) -> tuple[np.ndarray, np.ndarray]:
        found = [top_matches(queries, rows, k, candidate_block=block) for rows in self._embeddings if len(rows)]
        starts = [start for start, rows in zip(self._starts, self._embeddings, strict=False) if len(rows)]
        rows = np.concatenate([own + start for (own, _), start in zip(found, starts, strict=True)], axis=1)
        cosines = np.concatenate([own for _, own in found], axis=1)
        return _first(rows, cosines, k)

    def _with_faiss(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        logging.getLogger("faiss.loader").setLevel(logging.WARNING)  # it tells each instruction set that it tries
        try:
            import faiss
        except ImportError as error:
            raise ImportError(
                "engine='faiss' needs FAISS: python -m pip install 'medvlm-bundles[search]'; 'exact' needs nothing."
            ) from error
        if self._faiss is None:
            self._faiss = faiss.IndexFlatIP(self.width)
            for rows in self._embeddings:
                self._faiss.add(np.ascontiguousarray(rows))
        unit = queries / np.linalg.norm(queries, axis=1, keepdims=True)
        scores, near = self._faiss.search(unit.astype(np.float32), min(k + _SPARE, len(self)))
        rows, cosines = [], []
        for query, own, score in zip(queries, near, scores, strict=True):
            if len(own) < len(self) and score[k - 1] - score[-1] < _SINGLE:  # single precision cannot order so many
                exact_rows, exact_cosines = self._exact(query[None], k, 8192)
                rows.append(exact_rows[0])
                cosines.append(exact_cosines[0])
                continue
            own = np.sort(own)
            place, cosine = top_matches(query[None], np.stack([self.embedding(int(row)) for row in own]), k)
            rows.append(own[place[0]])
            cosines.append(cosine[0])
        return np.stack(rows), np.stack(cosines)


def _first(rows: np.ndarray, cosines: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    order = np.lexsort((rows, -cosines), axis=1)[:, :k]
    return np.take_along_axis(rows, order, 1), np.take_along_axis(cosines, order, 1)


def _has_faiss() -> bool:
    from importlib.util import find_spec

    return find_spec("faiss") is not None


def _checked(embeddings: np.ndarray, records: Sequence[Mapping[str, Any]], known: set[str]) -> np.ndarray:
    """Unit float32 rows, when they and the records can be stored."""
    rows = np.asarray(embeddings, dtype=np.float64)
    if rows.ndim != 2 or not len(rows) or len(rows) != len(records):
        raise ValueError(
            f"an index needs (N, D) embeddings and N records, got {rows.shape} and {len(records)} records."
        )
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    wrong = ~np.isfinite(length[:, 0]) | (length[:, 0] == 0)
    if wrong.any():
        raise ValueError(
            f"embeddings must be finite and not zero, {int(wrong.sum())} are not, first row {int(wrong.argmax())}; "
            "leave studies without a readable video out."
        )
    seen = set(known)
    for number, record in enumerate(records):
        missing = [key for key in ("id", "text") if key not in record]
        if missing or not isinstance(record["id"], str) or not record["id"]:
            raise ValueError(f"record {number} needs an id (text) and a text (or None), got {sorted(record)}.")
        if record["id"] in seen:
            raise ValueError(f"ids must be unique, {record['id']!r} (record {number}) is there already.")
        seen.add(record["id"])
    return (rows / length).astype(np.float32)


def _write_part(folder: Path, number: int, rows: np.ndarray, records: Sequence[Mapping[str, Any]]) -> dict:
    name = f"part_{number}"
    lines = [json.dumps(dict(record), ensure_ascii=False, sort_keys=True).encode("utf-8") + b"\n" for record in records]
    offsets = np.cumsum([0, *(len(line) for line in lines)], dtype=np.int64)
    digest = hashlib.sha256(rows.tobytes())
    for path, write in (
        (folder / f"{name}.npy", lambda file: np.save(file, rows)),
        (folder / f"{name}.offsets.npy", lambda file: np.save(file, offsets)),
        (folder / f"{name}.jsonl", lambda file: file.writelines(lines)),
    ):
        with replacing(path) as temporary, temporary.open("wb") as file:
            write(file)
    for line in lines:
        digest.update(line)
    return {"name": name, "studies": len(rows), "bytes": int(offsets[-1]), "sha256": digest.hexdigest()}


def _map_part(folder: Path, part: dict, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    paths = [folder / f"{part['name']}{suffix}" for suffix in (".npy", ".offsets.npy", ".jsonl")]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise FileNotFoundError(f"the index in {folder} lacks {', '.join(missing)}; build it anew.")
    embeddings, offsets = np.load(paths[0], mmap_mode="r"), np.load(paths[1], mmap_mode="r")
    if (
        embeddings.shape != (part["studies"], width)
        or offsets.shape != (part["studies"] + 1,)
        or paths[2].stat().st_size != part["bytes"]
    ):
        raise ValueError(f"{part['name']} of the index in {folder} is not what {NAME} says; build the index anew.")
    return embeddings, offsets, np.memmap(paths[2], dtype=np.uint8, mode="r")


def verify_index(folder: str | Path) -> list[str]:
    """Read everything and compare it with the checksums.

    Returns:
        Names of parts whose files changed; empty when all is well.
    """
    folder, changed = Path(folder), []
    head = _read_head(folder)
    for part in head["parts"]:
        embeddings, _, lines = _map_part(folder, part, head["width"])
        digest = hashlib.sha256(np.ascontiguousarray(embeddings).tobytes())
        digest.update(lines.tobytes())
        if digest.hexdigest() != part["sha256"]:
            changed.append(part["name"])
    return changed


def _remove_part(folder: Path, name: str) -> None:
    for suffix in (".npy", ".offsets.npy", ".jsonl"):
        try:
            (folder / f"{name}{suffix}").unlink(missing_ok=True)
        except OSError as error:
            _LOG.warning("could not remove %s%s of the replaced index (%s); it may be deleted.", name, suffix, error)


def _read_head(folder: Path) -> dict:
    path = folder / NAME
    if not path.is_file():
        raise FileNotFoundError(f"there is no search index in {folder}; build one of the studies' embeddings first.")
    try:
        head = json.loads(path.read_text(encoding="utf-8"))
        complete = {"format", "model", "width", "parts"} <= set(head)
    except (json.JSONDecodeError, TypeError) as error:
        raise ValueError(f"{path} is no index ({error}); build it anew.") from error
    if not complete or head["format"] != FORMAT:
        raise ValueError(f"{path} is no index of format {FORMAT}; build it anew with this version.")
    return head


def _write_head(folder: Path, head: dict) -> None:
    write_text_atomically(json.dumps(head, indent=2) + "\n", folder / NAME)
