"""Runs against each other on the same cases: paired differences with intervals by patient.

``python -m medvlm compare joint/cases.csv segmentation/cases.csv`` prints the table.
"""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medvlm.atomic import replacing
from medvlm.metrics.classification import rate_statistic
from medvlm.metrics.intervals import Statistic, paired_bootstrap, weighted_mean
from medvlm.metrics.operating_point import threshold_for
from medvlm.metrics.ranking import auc_statistic, average_precision_statistic
from medvlm.metrics.rows import check_unique, read_rows, regions_of
from medvlm.write_errors import check_writable

logger = logging.getLogger(__name__)

MASK_METRICS = ("dice", "lw_dice", "hd95_mm")
VERDICT_METRICS = ("balanced_accuracy", "sensitivity", "specificity")
_COLUMNS = ("name", "against", "metric", "difference", "ci", "p", "n", "n_patients")


@dataclass(frozen=True)
class Comparison:
    """Rows of differences; as text a table.

    Attributes:
        rows: dictionaries of ``name``, ``against``, ``metric``, ``difference`` (name minus against), ``ci``, ``p``,
            ``n`` and ``n_patients``.
    """

    rows: list[dict]

    def __iter__(self) -> Iterator[dict]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __str__(self) -> str:
        cells = [("run", "against", "metric", "difference", "95% CI", "p", "cases", "patients")]
        for row in self.rows:
            ci = "-" if row["ci"] is None else f"{row['ci'][0]:+.4f} to {row['ci'][1]:+.4f}"
            p = "-" if row["p"] is None else f"{row['p']:.3f}"
            n = (str(row["n"]), str(row["n_patients"]))
            cells.append((row["name"], row["against"], row["metric"], f"{row['difference']:+.4f}", ci, p, *n))
        widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
        return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in cells)


def compare(
    *cases_csv: str,
    names: Sequence[str] | None = None,
    against: str | None = None,
    out: str | None = None,
    threshold: float | Sequence[float] | None = None,
    seed: int = 0,
    n_boot: int = 1000,
) -> Comparison:
    """Compare runs that evaluated the same cases.

    Args:
        cases_csv: two or more files that evaluation wrote.
        names: one a file; by default the name of the folder that holds it.
        against: name of the run that every other is compared with; by default the first is compared with each of
            the others.
        out: write the differences here too, as .json or .csv.
        threshold: for verdicts, one for all or one a file; by default each run's own, of the ``evaluation.json``
            beside its cases, or 0.5 without one.
        seed: of the bootstrap; resamples are the same for all runs.
        n_boot: number of resamples of patients.

    Returns:
        One row a run and metric, for metrics that both runs have.

    Raises:
        ValueError: on fewer than two files, names that repeat, cases that differ between runs, or another ending of
            ``out``; the latter before anything is read.
        OSError: ``out`` cannot be written; before anything is read.
    """
    if out is not None:
        _check_out(Path(out))
    if len(cases_csv) < 2:
        raise ValueError(f"at least two files are needed, got {len(cases_csv)}: compare A/cases.csv B/cases.csv.")
    paths = [Path(path) for path in cases_csv]
    names = [str(name) for name in names] if names is not None else _names(paths)
    if len(names) != len(paths) or len(set(names)) != len(names):
        raise ValueError(f"{len(paths)} different names are needed, got {names}; pass --names '[a,b]'.")
    if against is not None and against not in names:
        raise ValueError(f"against must be one of {names}, got {against!r}.")
    runs = {name: read_rows(path) for name, path in zip(names, paths, strict=True)}
    if threshold is None:
        thresholds = [own_thresholds(path, runs[name]) for name, path in zip(names, paths, strict=True)]
    else:
        thresholds = list(threshold) if isinstance(threshold, list | tuple) else [threshold] * len(paths)
    if len(thresholds) != len(paths):
        raise ValueError(f"one threshold for all or one a file is needed, got {thresholds} for {len(paths)} files.")
    at = dict(zip(names, thresholds, strict=True))
    rows: list[dict] = []
    pairs = [(names[0], other) for other in names[1:]]
    if against is not None:
        pairs = [(name, against) for name in names if name != against]
    for pair in pairs:
        both = [runs[name] for name in pair]
        rows += compare_rows(*both, *pair, thresholds=tuple(at[name] for name in pair), seed=seed, n_boot=n_boot)
    if not rows:
        raise ValueError("the runs share no metric: one has masks only, the other probabilities only.")
    found = Comparison(rows)
    if out is not None:
        _write(found, Path(out))
    return found


def compare_rows(
    rows: Sequence[dict],
    other: Sequence[dict],
    name: str,
    against: str,
    thresholds: tuple[float | Mapping[str, float], float | Mapping[str, float]] = (0.5, 0.5),
    seed: int = 0,
    n_boot: int = 1000,
) -> list[dict]:
    """Differences between two runs' rows (see :mod:`medvlm.metrics.rows`) of the same cases.

    Args:
        rows: of the run ``name``.
        other: of the run ``against``, in any order.
        name: first run.
        against: second run.
        thresholds: of either run, for verdicts: one for all cases, or one by case id.
        seed: of the bootstrap.
        n_boot: number of resamples of patients.

    Returns:
        ``name``, ``against``, ``metric``, ``difference``, ``ci``, ``p``, ``n``, ``n_patients`` for each metric that
        both runs have on some cases; each metric over the cases where both have it.

    Raises:
        ValueError: when case ids, patients or known classes differ.
    """
    pairs = _aligned(rows, other, name, against)
    found = []

    def add(metric: str, kept: list[tuple[dict, dict]], first: Statistic, second: Statistic) -> None:
        patients = [_patient(mine) for mine, _ in kept]
        difference = paired_bootstrap(first, second, patients, n_boot, seed)
        n = {"n": len(kept), "n_patients": len(set(patients))}
        found.append({"name": name, "against": against, "metric": metric, **difference, **n})

    for region in regions_of(rows):
        for metric in MASK_METRICS:
            column = f"{metric}_{region}"
            kept = [pair for pair in pairs if all(row.get(column) is not None for row in pair)]
            if kept:
                add(column, kept, *(weighted_mean([pair[side][column] for pair in kept]) for side in (0, 1)))
    kept = [pair for pair in pairs if pair[0].get("tumour") is not None and _both(pair, "probability")]
    labels = np.array([mine["tumour"] for mine, _ in kept])
    if len(set(labels.tolist())) == 2:
        scores = [np.array([pair[side]["probability"] for pair in kept]) for side in (0, 1)]
        add("roc_auc", kept, *(auc_statistic(labels, score) for score in scores))
        add("pr_auc", kept, *(average_precision_statistic(labels, score) for score in scores))
        ids = [mine["case_id"] for mine, _ in kept]
        limits = [at if isinstance(at, int | float) else np.array([at[case] for case in ids]) for at in thresholds]
        called = [score >= limit for score, limit in zip(scores, limits, strict=True)]
        for metric in VERDICT_METRICS:
            add(metric, kept, *(rate_statistic(labels, verdicts, metric) for verdicts in called))
    return found


def _both(pair: tuple[dict, dict], column: str) -> bool:
    return all(row.get(column) is not None for row in pair)


def _patient(row: dict) -> str:
    return str(row.get("patient_id") or row["case_id"])


def _aligned(rows: Sequence[dict], other: Sequence[dict], name: str, against: str) -> list[tuple[dict, dict]]:
    for run, one in ((name, rows), (against, other)):
        check_unique(one, f"run {run!r}")
    mine, theirs = ({row["case_id"]: row for row in one} for one in (rows, other))
    if set(mine) != set(theirs):
        only = {run: sorted(a.keys() - b.keys()) for run, a, b in ((name, mine, theirs), (against, theirs, mine))}
        words = "; ".join(f"{len(ids)} only in {run!r}: {ids[:5]}" for run, ids in only.items() if ids)
        raise ValueError(f"both runs must hold the same cases, got {words}; evaluate both on one datalist section.")
    for column in ("tumour", "patient_id"):
        apart = [case for case in mine if mine[case].get(column) != theirs[case].get(column)]
        if apart:
            raise ValueError(f"{column} must be the same in both runs, but differs for {apart[:5]}; use one datalist.")
    return [(mine[case], theirs[case]) for case in mine]


def _names(paths: list[Path]) -> list[str]:
    parents = [path.resolve().parent.name for path in paths]
    return parents if len(set(parents)) == len(parents) else [str(path) for path in paths]


def own_thresholds(path: Path, rows: Sequence[dict]) -> dict[str, float]:
    """The frozen thresholds of the run whose cases these are, of the ``evaluation.json`` beside them; else 0.5.

    Args:
        path: of ``cases.csv``.
        rows: what it holds.

    Returns:
        The threshold by case id; it differs between cases where kinds of input have thresholds of their own.
    """
    beside = path.with_name("evaluation.json")
    if not beside.is_file():
        logger.info("no evaluation.json beside %s: verdicts at threshold 0.5.", path)
        return {row["case_id"]: 0.5 for row in rows}
    try:
        point = json.loads(beside.read_text(encoding="utf-8"))["operating_point"]
        return {row["case_id"]: threshold_for(point, row.get("kind")) for row in rows}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{beside} holds no operating point; evaluate again, or pass --threshold.") from error


def _check_out(path: Path) -> None:
    if path.suffix not in (".json", ".csv"):
        raise ValueError(f"out must end in .json or .csv, got {path}; give it one of these endings.")
    if path.is_dir():
        raise IsADirectoryError(f"out must be a file, but {path} is a folder; choose another --out.")
    check_writable(path.parent, "--out")


def _write(found: Comparison, path: Path) -> None:
    with replacing(path) as draft, draft.open("w", newline="", encoding="utf-8") as stream:
        if path.suffix == ".json":
            json.dump(found.rows, stream, indent=1, allow_nan=False)
            return
        writer = csv.writer(stream)
        writer.writerow([*(c for c in _COLUMNS if c != "ci"), "ci_low", "ci_high"])
        for row in found.rows:
            writer.writerow([*(row[c] for c in _COLUMNS if c != "ci"), *(row["ci"] or (None, None))])
