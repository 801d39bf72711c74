"""From rows, one a case, to ``evaluation.json``: every score with its n and interval, overall and per source."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from medvlm.metrics.agreement import bland_altman, heads_agree
from medvlm.metrics.classification import classification_report
from medvlm.metrics.comparison import compare_rows, own_thresholds
from medvlm.metrics.confounding import confounding_note, label_by_source, label_from_source, source_from_features
from medvlm.metrics.intervals import interval_entry, weighted_mean
from medvlm.metrics.operating_point import check_operating_point, threshold_for
from medvlm.metrics.rows import check_unique, read_rows, regions_of

MEASURES = ("dice", "iou", "hd95_mm", "lw_dice", "lw_hd95_mm")
NO_MASK = "no mask is known"
MASK_HEAD_OFF, CLASS_HEAD_OFF = "the mask head is off", "the class head is off"


def summarise(
    rows: Sequence[dict],
    features: np.ndarray | Mapping[str, np.ndarray] | None = None,
    operating_point: Mapping | None = None,
    regions: Sequence[str] | None = None,
    section: str | None = None,
    bundle: dict | None = None,
    checkpoint: dict | None = None,
    others: Mapping[str, Sequence[dict] | str | Path] | None = None,
    name: str = "joint",
    seed: int = 0,
    n_boot: int = 1000,
    n_permutations: int = 199,
    bins: int = 10,
    threshold_ml: float = 0.1,
    n_worst: int = 10,
) -> dict:
    """Summarise an evaluation.

    Args:
        rows: see :mod:`medvlm.metrics.rows`; None marks what is unknown.
        features: pooled features for the confounding audit: ``(N, F)`` in the order of the rows, or by case id.
        operating_point: frozen on validation; without one verdicts use 0.5, and say that nothing was chosen.
        regions: names; by default those the rows have columns for. The first is compared with the class head.
        section: of the datalist that was evaluated; this and the next two are left out when not given.
        bundle: ``name`` and ``version``.
        checkpoint: ``file`` and ``sha256``.
        others: other runs on the same cases, by name: the ablation. Their ``cases.csv`` (verdicts at the threshold of
            the ``evaluation.json`` beside it), or their rows (verdicts at this run's threshold).
        name: of this run, in the ablation.
        seed: of every bootstrap.
        n_boot: resamples of patients.
        n_permutations: of the confounding audit.
        bins: of the reliability table.
        threshold_ml: predicted volume above which the mask says tumour.
        n_worst: how many of the worst cases to name.

    Returns:
        The dictionary of ``evaluation.json``; plain JSON types, None where a value is undefined.

    Raises:
        ValueError: without rows, with a case twice, or with probabilities outside [0, 1].
    """
    point = check_operating_point(operating_point)
    rows = [{**row, "threshold": threshold_for(point, row.get("kind"))} for row in _checked(rows)]
    regions = list(regions) if regions is not None else regions_of(rows)
    groups = _by_source(rows)
    draw = {"seed": seed, "n_boot": n_boot}
    given = {"bundle": bundle, "checkpoint": checkpoint, "section": section}
    summary = {key: value for key, value in given.items() if value is not None} | {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": seed,
        "n_boot": n_boot,
        "n": {"cases": len(rows), "patients": len({row["patient_id"] for row in rows})},
        "operating_point": point,
        "segmentation": {
            "overall": segmentation_summary(rows, regions, **draw),
            "per_source": {source: segmentation_summary(own, regions, **draw) for source, own in groups.items()},
        },
        "classification": {
            "overall": _classification(rows, bins, draw),
            "per_source": {s: _classification(own, bins, draw) for s, own in groups.items()},
        },
        "confounding": None,
        "agreement": _agreement(rows, regions, threshold_ml),
        "ablation": _ablation(rows, others or {}, name, draw),
        "worst": worst_cases(rows, regions, n_worst),
    }
    within = summary["classification"]["per_source"]
    summary["confounding"] = _confounding(rows, features, within, draw | {"n_permutations": n_permutations})
    return plain(summary)


def segmentation_summary(rows: Sequence[dict], regions: Iterable[str], seed: int = 0, n_boot: int = 1000) -> dict:
    """Means over cases with a known mask.

    Args:
        rows: of the cases.
        regions: names.
        seed: of the bootstrap.
        n_boot: resamples of patients.

    Returns:
        For each region ``dice``, ``iou``, ``hd95_mm``, ``lw_dice``, ``lw_hd95_mm`` (each ``value``, ``ci``, ``n``,
        ``median``, ``std``), ``dice_with_tumour`` (the same over cases where the truth holds the region, so that
        empty masks cannot lift it), ``empty_truth`` (``n`` cases without the region and the ``false_alarms`` among
        them) and ``volume_ml`` (Bland-Altman). Without any known mask, or where no mask was predicted, ``n`` 0 and a
        ``note``.
    """
    known = [row for row in rows if row.get("mask_known")]
    regions = list(regions)
    if not known or not regions:
        return {"n": 0, "note": NO_MASK}
    if not any(_sizes(row, region)[1] is not None or _scored(row, region) for row in known for region in regions):
        return {"n": 0, "note": MASK_HEAD_OFF}
    summary = {}
    for region in regions:
        found = {m: _mean([(r, r.get(f"{m}_{region}")) for r in known], seed, n_boot) for m in MEASURES}
        volumes = [(r.get(f"true_volume_ml_{region}"), r.get(f"pred_volume_ml_{region}")) for r in known]
        volumes = [pair for pair in volumes if None not in pair]
        sizes = [(row, *_sizes(row, region)) for row in known]
        there = [(row, row.get(f"dice_{region}")) for row, true, _ in sizes if true is not None and true > 0]
        absent = [pred for _, true, pred in sizes if true == 0]
        found["dice_with_tumour"] = _mean(there, seed, n_boot)
        found["empty_truth"] = {"n": len(absent), "false_alarms": sum(pred > 0 for pred in absent)}
        found["volume_ml"] = bland_altman([pred for _, pred in volumes], [true for true, _ in volumes])
        summary[region] = found
    return summary


def _scored(row: dict, region: str) -> bool:
    return any(row.get(f"{measure}_{region}") is not None for measure in MEASURES)


def _sizes(row: dict, region: str) -> tuple[float | None, float | None]:
    """True and predicted extent, in voxels where they were counted (a picture has no millilitres)."""
    kind = "voxels" if row.get(f"pred_voxels_{region}") is not None else "volume_ml"
    return row.get(f"true_{kind}_{region}"), row.get(f"pred_{kind}_{region}")


def _mean(values: list[tuple[dict, float | None]], seed: int, n_boot: int) -> dict:
    kept = [(row["patient_id"], value) for row, value in values if value is not None and math.isfinite(value)]
    if not kept:
        return {"value": None, "ci": None, "n": 0, "median": None, "std": None}
    numbers = np.array([value for _, value in kept])
    return {
        "value": float(numbers.mean()),
        **interval_entry(weighted_mean(numbers), [patient for patient, _ in kept], n_boot, seed),
        "n": len(kept),
        "median": float(np.median(numbers)),
        "std": float(numbers.std(ddof=1)) if len(kept) > 1 else None,
    }


def worst_cases(rows: Sequence[dict], regions: Sequence[str], n: int = 10) -> list[str]:
    """Names of the worst cases.

    First by the mean Dice over regions, where the mask is known and the Dice below 1; then, if places are left, cases
    whose verdict is wrong, the most confident first (``threshold`` of each row, else 0.5).
    """
    scored = []
    for row in rows:
        values = [row.get(f"dice_{region}") for region in regions]
        values = [value for value in values if value is not None]
        if values and np.mean(values) < 1:
            distances = [row.get(f"hd95_mm_{region}") or 0.0 for region in regions]
            scored.append((float(np.mean(values)), -max(distances), row["case_id"]))
    names = [case for *_, case in sorted(scored)]
    wrong = [
        (-abs(row["probability"] - row.get("threshold", 0.5)), row["case_id"])
        for row in rows
        if _has_verdict(row) and (row["probability"] >= row.get("threshold", 0.5)) != bool(row["tumour"])
    ]
    names += [case for _, case in sorted(wrong) if case not in names]
    return names[:n]


def plain(value: object) -> object:
    """JSON types only: numpy becomes Python, keys become text, and NaN and infinity become None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _checked(rows: Sequence[dict]) -> list[dict]:
    if not rows:
        raise ValueError("nothing to summarise: no case was evaluated; check the section and the list of broken cases.")
    missing = sorted({index for index, row in enumerate(rows) if row.get("case_id") in (None, "")})
    if missing:
        raise ValueError(f"every row needs a case_id, rows {missing[:5]} have none.")
    check_unique(rows, "an evaluation")
    out = []
    for row in rows:
        probability = row.get("probability")
        if probability is not None and not 0 <= probability <= 1:  # also catches nan
            raise ValueError(
                f"probabilities must lie in [0, 1], got {probability} for {row['case_id']}; apply the softmax, and "
                "look at the input if it is NaN."
            )
        patient, source = row.get("patient_id") or row["case_id"], row.get("source") or "unknown"
        out.append({**row, "case_id": str(row["case_id"]), "patient_id": str(patient), "source": str(source)})
    return out


def _by_source(rows: Sequence[dict]) -> dict[str, list[dict]]:
    groups: dict[str, list[dict]] = {}
    for row in rows:
        groups.setdefault(row["source"], []).append(row)
    return dict(sorted(groups.items()))


def _has_verdict(row: dict) -> bool:
    return row.get("tumour") is not None and row.get("probability") is not None


def _classification(rows: Sequence[dict], bins: int, draw: dict) -> dict:
    known = [row for row in rows if _has_verdict(row)]
    if all(row.get("probability") is None for row in rows):
        return {"n": 0, "note": CLASS_HEAD_OFF}
    if not known:
        return {"n": 0, "note": "no class is known"}
    return classification_report(
        np.array([row["tumour"] for row in known]),
        np.array([row["probability"] for row in known]),
        [row["patient_id"] for row in known],
        np.array([row["threshold"] for row in known]),
        bins=bins,
        **draw,
    )


def _agreement(rows: Sequence[dict], regions: Sequence[str], threshold_ml: float) -> dict:
    if not regions:
        return {"n": 0, "note": "no region was segmented"}
    region = "WT" if "WT" in regions else regions[0]
    kept = [row for row in rows if row.get("probability") is not None and _sizes(row, region)[1] is not None]
    if not kept:
        return {"n": 0, "note": "one head only"}
    return {"region": region} | heads_agree(
        [row["case_id"] for row in kept],
        [row["probability"] for row in kept],
        [_outlined(row, region, "volume_ml") for row in kept],
        np.array([row["threshold"] for row in kept]),
        threshold_ml,
        [_sizes(row, region)[1] > 0 or _outlined(row, region, "voxels") > 0 for row in kept],
    )


def _outlined(row: dict, region: str, unit: str) -> float:
    """What the mask head outlined, also where a mask gate emptied it; NaN where that is unknown."""
    found = [row.get(f"{name}_{unit}_{region}") for name in ("emptied", "pred")]
    return next((float(value) for value in found if value is not None), math.nan)


def _confounding(rows: Sequence[dict], features: object, within: dict[str, dict], draw: dict) -> dict:
    table = label_by_source([row["source"] for row in rows], [row.get("tumour") for row in rows])
    told = None
    if features is not None:
        if isinstance(features, Mapping):
            lacking = [row["case_id"] for row in rows if row["case_id"] not in features]
            if lacking:
                raise ValueError(f"features must cover every case, got none for {lacking[:5]}.")
            features = np.stack([np.asarray(features[row["case_id"]]) for row in rows])
        told = source_from_features(
            features, [row["source"] for row in rows], [row["patient_id"] for row in rows], **draw
        )
    undefined = {"value": None, "ci": None, "method": None}
    aucs = {
        source: {"n": report["n"]} | (report["metrics"]["roc_auc"] if "metrics" in report else undefined)
        for source, report in within.items()
    }
    return {
        "source_from_features": told,
        "label_by_source": table,
        "label_from_source": label_from_source(table),
        "within_source_auc": aucs,
        "note": confounding_note(table),
    }


def _ablation(rows: list[dict], others: Mapping, name: str, draw: dict) -> list[dict]:
    found = []
    for against, other in others.items():
        mine = theirs = {row["case_id"]: row["threshold"] for row in rows}
        if isinstance(other, str | Path):
            path, other = Path(other), read_rows(other)
            theirs = own_thresholds(path, other)
        found += compare_rows(rows, _checked(other), name, against, (mine, theirs), **draw)
    return found
