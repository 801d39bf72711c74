"""Runs of video-text networks against each other on the same studies: which objective adds what.

Scores are means over studies (retrieval, where a report that several studies share is a query of each of them) or
ratios over all studies together (facts), so a text-to-video score may differ a little from the one of the retrieval
section, whose queries are the unique texts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medvlm.metrics.fact_scores import GROUPS, f1_statistic
from medvlm.metrics.intervals import Statistic, interval_entry, paired_bootstrap, weighted_mean
from medvlm.metrics.ranking import auc_statistic
from medvlm.metrics.rows import check_unique, read_rows

Rows = Sequence[Mapping[str, Any]]


def _mean(values: np.ndarray) -> Statistic:
    return weighted_mean(values[:, 0])


def _auc(values: np.ndarray) -> Statistic | None:
    truth = values[:, 0].astype(int)
    return auc_statistic(truth, values[:, 1]) if len(set(truth.tolist())) == 2 else None


def _share(values: np.ndarray) -> Statistic:
    def share(weights: np.ndarray) -> np.ndarray:
        pooled = weights @ values
        with np.errstate(invalid="ignore", divide="ignore"):
            return pooled[:, 0] / pooled[:, 1]

    return share


def metrics_of(rows: Rows) -> dict[str, tuple[tuple[str, ...], Callable[[np.ndarray], Statistic | None]]]:
    """Metrics that rows have columns for: name -> columns, and what makes a statistic of them ``(N, columns)``."""
    there = {key for row in rows for key, value in row.items() if value is not None}
    metrics: dict[str, tuple[tuple[str, ...], Callable]] = {}
    for way in ("video_to_text", "text_to_video"):
        for name in ("hit@1", "mrr"):
            metrics[f"{way}_{name}"] = ((f"{name}_{way}",), _mean)
    for group in GROUPS:
        counts = tuple(f"facts_{count}_{group}" for count in ("right", "extra", "missed"))
        metrics[f"fact_f1_{group}"] = (counts, f1_statistic)
    metrics["hallucination"] = (("findings_made_up", "findings_said"), _share)
    for key in sorted(there):
        if key.startswith("zero_shot_"):
            task = key.removeprefix("zero_shot_")
            metrics[f"roc_auc_{task}"] = ((f"target_{task}", key), _auc)
    return {name: entry for name, entry in metrics.items() if set(entry[0]) <= there}


def compare_runs(
    rows: Rows, others: Mapping[str, str | Path | Rows], name: str, seed: int = 0, n_boot: int = 1000
) -> dict[str, Any]:
    """Scores of every run, and the paired differences of this one from the others.

    Args:
        rows: of this run, see ``medvlm.metrics.cine_rows.study_rows``.
        others: name -> rows or ``cases.csv`` of other runs.
        name: of this run.
        seed: of the bootstrap.
        n_boot: resamples of patients.

    Returns:
        ``runs``: name -> metric -> ``value``, ``ci``, ``n``; ``differences``: ``name``, ``against``, ``metric``,
        ``difference`` (name minus against), ``ci``, ``p``, ``n``, ``n_patients``, over the studies that both runs have
        scored; ``problems``: name -> why a run could not be compared.
    """
    found: dict[str, Any] = {"runs": {name: _scores(rows, seed, n_boot)}, "differences": [], "problems": {}}
    for against, other in others.items():
        try:
            theirs = read_rows(other) if isinstance(other, str | Path) else list(other)
            pairs = _aligned(rows, theirs, name, against)
        except (OSError, ValueError) as error:
            found["problems"][against] = str(error)
            continue
        found["runs"][against] = _scores(theirs, seed, n_boot)
        found["differences"] += _differences(pairs, name, against, seed, n_boot)
    return found


def _scores(rows: Rows, seed: int, n_boot: int) -> dict[str, dict[str, Any]]:
    out = {}
    for metric, (columns, make) in metrics_of(rows).items():
        kept = [row for row in rows if _has(row, columns)]
        statistic = make(_values(kept, columns))
        if statistic is None:
            continue
        value = float(statistic(np.ones((1, len(kept))))[0])
        interval = interval_entry(statistic, [_patient(row) for row in kept], n_boot, seed)
        out[metric] = {"value": value if math.isfinite(value) else None, **interval, "n": len(kept)}
    return out


def _differences(
    pairs: list[tuple[Mapping, Mapping]], name: str, against: str, seed: int, n_boot: int
) -> list[dict[str, Any]]:
    ours, theirs = (metrics_of([pair[side] for pair in pairs]) for side in (0, 1))
    out = []
    for metric, (columns, make) in ours.items():
        kept = [pair for pair in pairs if all(_has(row, columns) for row in pair)] if metric in theirs else []
        if not kept:
            continue
        first, second = (make(_values([pair[side] for pair in kept], columns)) for side in (0, 1))
        if first is None or second is None:
            continue
        patients = [_patient(row) for row, _ in kept]
        found = paired_bootstrap(first, second, patients, n_boot, seed)
        if math.isfinite(found["difference"]):
            n = {"n": len(kept), "n_patients": len(set(patients))}
            out.append({"name": name, "against": against, "metric": metric, **found, **n})
    return out


def _aligned(rows: Rows, other: Rows, name: str, against: str) -> list[tuple[Mapping, Mapping]]:
    check_unique(other, f"run {against!r}")
    mine, theirs = ({str(row["case_id"]): row for row in one} for one in (rows, other))
    if set(mine) != set(theirs):
        counts = f"{len(mine.keys() - theirs.keys())} only in {name!r}, {len(theirs.keys() - mine.keys())} only in "
        raise ValueError(
            f"both runs must hold the same studies, got {counts}{against!r}; evaluate both on one section of one "
            "datalist."
        )
    apart = [case for case in mine if _patient(mine[case]) != _patient(theirs[case])]
    if apart:
        raise ValueError(f"patients must be the same in both runs, but differ for {apart[:5]}; use one datalist.")
    return [(mine[case], theirs[case]) for case in mine]


def _has(row: Mapping[str, Any], columns: Sequence[str]) -> bool:
    return all(row.get(column) is not None for column in columns)


def _values(rows: Rows, columns: Sequence[str]) -> np.ndarray:
    return np.array([[row[column] for column in columns] for row in rows], dtype=np.float64)


def _patient(row: Mapping[str, Any]) -> str:
    return str(row.get("patient_id") or row["case_id"])
