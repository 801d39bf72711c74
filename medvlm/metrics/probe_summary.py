"""From the answers of probe heads, one row a study, to scores with intervals over patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medvlm.metrics.classification import classification_report
from medvlm.metrics.intervals import BY_CLASS, BY_PATIENT, paired_bootstrap, rare_strata
from medvlm.metrics.multiclass import multiclass_report
from medvlm.metrics.operating_point import check_operating_point, choose_operating_point
from medvlm.metrics.ranking import auc_statistic, delong_paired
from medvlm.metrics.regression import regression_report
from medvlm.metrics.summary import plain

Row = Mapping[str, Any]


def truth_column(head: str) -> str:
    """Column of a head's true value in ``cases.csv``."""
    return f"true_{head}"


def answer_column(head: str) -> str:
    """Column of a head's answer: a probability, a predicted class, or a predicted value."""
    return f"pred_{head}"


def known_rows(rows: Sequence[Row], head: str) -> list[Row]:
    """The rows whose truth and answer are both there."""
    return [r for r in rows if r.get(truth_column(head)) is not None and r.get(answer_column(head)) is not None]


def class_counts(rows: Sequence[Row], head: str) -> tuple[int, int]:
    """Known studies of a binary head without and with the finding."""
    truth = [row[truth_column(head)] > 0.5 for row in known_rows(rows, head)]
    return len(truth) - sum(truth), sum(truth)


def choose_points(
    rows: Sequence[Row],
    heads: Mapping[str, Mapping],
    section: str,
    target_sensitivity: float = 0.9,
    checkpoint_sha256: str | None = None,
    min_positives: int = 10,
    settings: Mapping[str, Any] | None = None,
) -> dict[str, dict]:
    """An operating point of each binary head with enough positives, chosen on validation.

    Args:
        rows: one a study.
        heads: settings by name; ``kind`` is read.
        section: where the rows come from; a test section is refused.
        target_sensitivity: that each threshold is to reach.
        checkpoint_sha256: of the weights.
        min_positives: heads with fewer are left out.
        settings: what besides the weights decides the probabilities, stored with each point.
    """
    points = {}
    for head in (name for name, spec in heads.items() if spec["kind"] == "binary"):
        known = known_rows(rows, head)
        truth = [int(row[truth_column(head)] > 0.5) for row in known]
        if sum(truth) >= max(min_positives, 1):
            points[head] = choose_operating_point(
                truth,
                [row[answer_column(head)] for row in known],
                target_sensitivity,
                section,
                [row["patient_id"] for row in known],
                checkpoint_sha256,
                min_positives,
                settings=settings,
            )
    return points


def summarise_probes(
    rows: Sequence[Row],
    heads: Mapping[str, Mapping],
    points: Mapping[str, Mapping] | None = None,
    constants: Mapping[str, float] | None = None,
    n_boot: int = 1000,
    seed: int = 0,
) -> dict[str, dict]:
    """Score every head.

    Args:
        rows: one a study that had a readable view: ``patient_id``, ``true_HEAD`` (None = unknown), ``pred_HEAD``; of a
            multiclass head also ``pred_HEAD_K``, the probability of class K.
        heads: settings by name; ``kind`` and ``classes`` are read.
        points: the frozen operating point of binary heads; 0.5 where there is none.
        constants: what looking at nothing would answer: of a regression head the training median, of the others the
            commonest class of the training section; these studies' own where it is not given.
        n_boot: resamples of patients.
        seed: of the resamples.

    Returns:
        By head ``kind`` and, of a binary one, what ``classification_report`` gives with its ``operating_point``; of a
        multiclass one what ``multiclass_report`` gives; of a regression what ``regression_report`` gives. The baselines
        say what they were ``chosen_on``. A head without a known truth has ``n`` 0 and a ``note``.
    """
    found = {}
    for head, spec in heads.items():
        known = known_rows(rows, head)
        if not known:
            found[head] = {"kind": spec["kind"], "n": 0, "note": "no study of this section has a known value"}
            continue
        truth = np.array([row[truth_column(head)] for row in known], dtype=float)
        answer = np.array([row[answer_column(head)] for row in known], dtype=float)
        patients = [row["patient_id"] for row in known]
        draw, constant = {"n_boot": n_boot, "seed": seed}, (constants or {}).get(head)
        if spec["kind"] == "binary":
            point = check_operating_point((points or {}).get(head))
            report = classification_report(truth > 0.5, answer, patients, point["threshold"], majority=constant, **draw)
            report["operating_point"] = point
        elif spec["kind"] == "multiclass":
            chances = np.array([[row[f"{answer_column(head)}_{k}"] for k in range(spec["classes"])] for row in known])
            report = multiclass_report(truth.astype(int), chances, patients, constant, **draw)
        else:
            report = regression_report(truth, answer, patients, constant, **draw)
            if constant is not None:
                report["baseline_constant"]["chosen_on"] = "training section"
        found[head] = {"kind": spec["kind"], **report}
    return plain(found)


def compare_probes(
    rows: Sequence[Row], other: Sequence[Row], heads: Mapping[str, Mapping], n_boot: int = 1000, seed: int = 0
) -> dict[str, dict]:
    """The AUCs of two runs on the same studies, by head.

    DeLong's paired test takes studies for independent: it is used where each patient has one study, and elsewhere the
    bootstrap that draws the same patients for both runs.

    Args:
        rows: of the first run.
        other: of the second, in any order.
        heads: settings by name; ``kind`` is read.
        n_boot: resamples of patients.
        seed: of the resamples.

    Returns:
        By binary head with both classes ``n``, ``n_patients``, ``difference`` (first minus second), ``ci``, ``p`` and
        ``method``.

    Raises:
        ValueError: when the runs hold other studies.
    """
    theirs = {row["case_id"]: row for row in other}
    if set(theirs) != {row["case_id"] for row in rows}:
        raise ValueError("both runs must hold the same studies; evaluate both on one section of one datalist.")
    found = {}
    for head in (name for name, spec in heads.items() if spec["kind"] == "binary"):
        known = [r for r in known_rows(rows, head) if theirs[r["case_id"]].get(answer_column(head)) is not None]
        truth = np.array([int(row[truth_column(head)] > 0.5) for row in known])
        if len(set(truth.tolist())) < 2:
            continue
        scores = (
            np.array([row[answer_column(head)] for row in known], dtype=float),
            np.array([theirs[row["case_id"]][answer_column(head)] for row in known], dtype=float),
        )
        patients = [str(row["patient_id"]) for row in known]
        n = {"n": len(known), "n_patients": len(set(patients))}
        if n["n_patients"] == n["n"]:
            found[head] = {**n, **delong_paired(truth, *scores), "method": "delong, paired"}
            continue
        strata = rare_strata(truth.tolist(), patients)
        areas = (auc_statistic(truth, score) for score in scores)
        difference = paired_bootstrap(*areas, patients, n_boot, seed, strata=strata)
        found[head] = {**n, **difference, "method": f"paired {BY_PATIENT if strata is None else BY_CLASS}"}
    return plain(found)
