"""A made evaluation after the schema, with every part present, and its rows."""

from __future__ import annotations

import numpy as np
import pytest


def _score(value: float, width: float = 0.04, n: int = 40) -> dict:
    return {"value": value, "ci": [value - width, min(1.0, value + width)], "n": n, "median": value + 0.01, "std": 0.1}


def _region(dice: float, n: int) -> dict:
    millimetres = {"value": 6.31, "ci": [4.2, 9.93], "n": n, "median": 3.0, "std": 12.0}
    return {
        "dice": _score(dice, n=n),
        "iou": _score(dice - 0.1, n=n),
        "hd95_mm": millimetres,
        "lw_dice": _score(dice - 0.05, n=n),
        "lw_hd95_mm": {**millimetres, "value": 31.4, "ci": [12.5, 57.0]},
        "volume_ml": {"bias": -1.43, "limits_of_agreement": [-12.1, 9.2], "n": n},
    }


def _classification(n: int, positive: int) -> dict:
    grid = np.linspace(0, 1, 21)
    rates = ("sensitivity", "specificity", "balanced_accuracy", "f1", "accuracy", "roc_auc", "pr_auc")
    metrics = {name: {"value": 0.91, "ci": [0.84, 0.96], "method": "wilson"} for name in rates}
    metrics |= {"mcc": {"value": 0.71, "ci": [0.52, 0.85], "method": "bootstrap"}}
    metrics |= {f"{kind}_at_{p}": _score(0.4) for kind in ("ppv", "npv") for p in (1, 5, 10)}
    metrics["ece"] = {"value": 0.062, "ci": [0.04, 0.11], "method": "bootstrap"}
    negative = n - positive
    return {
        "n": n,
        "n_patients": n - 3,
        "n_positive": positive,
        "prevalence": positive / n,
        "confusion": {"tp": positive - 4, "fn": 4, "fp": 5, "tn": negative - 5},
        "metrics": metrics,
        "baseline_majority": {"accuracy": 0.6, "f1": 0.75, "balanced_accuracy": 0.5},
        "curves": {
            "roc": {"fpr": list(grid), "tpr": list(grid**0.2)},
            "pr": {"recall": list(grid), "precision": list(1 - 0.4 * grid**4)},
            "reliability": {
                "confidence": [0.05, 0.3, 0.5, 0.7, 0.95],
                "frequency": [0.02, 0.2, 0.6, 0.7, 0.97],
                "count": [40, 5, 3, 6, 46],
            },
        },
    }


@pytest.fixture
def rows() -> list[dict]:
    rng = np.random.default_rng(7)
    found = []
    for index in range(100):
        tumour, known = int(index % 5 > 1), int(index % 3 != 0)
        true = float(rng.gamma(2, 20)) * tumour
        predicted = max(0.0, true + float(rng.normal(0, 5))) if tumour else float(rng.choice([0, 0, 0, 2.5]))
        dice = float(np.clip(rng.normal(0.86, 0.1), 0, 1)) if tumour else float(predicted == 0)
        row = {
            "case_id": f"case_{index:03d}",
            "patient_id": f"p{index // 2}",
            "tumour": tumour,
            "mask_known": known,
            "source": ("brats2021", "kaggle_yes_no", "msd")[index % 3],
            "probability": float(np.clip(rng.normal(0.9 if tumour else 0.1, 0.15), 0, 1)),
            "pred_volume_ml_WT": predicted,
        }
        scores = {"dice": dice, "iou": dice * 0.9, "hd95_mm": 374.0 if dice == 0 else 4.2, "lw_dice": dice, "lw_fp": 1}
        row |= {f"{name}_WT": value if known else None for name, value in scores.items()}
        row["true_volume_ml_WT"] = true if known else None
        found.append(row)
    return found


@pytest.fixture
def evaluation(rows: list[dict]) -> dict:
    sources = ("brats2021", "msd")
    return {
        "bundle": {"name": "brats_mri_multitask", "version": "0.1.0"},
        "checkpoint": {
            "file": "models/model.pt",
            "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        },
        "section": "test",
        "created": "2025-11-20T16:00:00+00:00",
        "seed": 0,
        "n": {"cases": 100, "patients": 50},
        "operating_point": {
            "threshold": 0.43,
            "target_sensitivity": 0.95,
            "chosen_on": "validation",
            "n": 60,
            "frozen": True,
        },
        "segmentation": {
            "overall": {"WT": _region(0.861, 67)},
            "per_source": {name: {"WT": _region(0.84 + 0.03 * i, 33)} for i, name in enumerate(sources)},
        },
        "classification": {
            "overall": _classification(100, 60),
            "per_source": {
                "brats2021": _classification(34, 21),
                "kaggle_yes_no": _classification(33, 19),
                "msd": {"n": 33, "note": "one class only"},
            },
        },
        "confounding": {
            "source_from_features": {"balanced_accuracy": 0.58, "ci": [0.47, 0.69], "chance": 0.333},
            "label_by_source": {
                "brats2021": {"0": 13, "1": 21, "unknown": 0},
                "kaggle_yes_no": {"0": 14, "1": 19, "unknown": 0},
                "msd": {"0": 0, "1": 33, "unknown": 0},
            },
            "within_source_auc": {"brats2021": {"value": 0.9, "ci": [0.8, 0.97]}, "kaggle_yes_no": 0.88, "msd": None},
            "note": None,
        },
        "agreement": {
            "threshold_ml": 0.5,
            "both": 55,
            "neither": 36,
            "mask_only": 4,
            "class_only": 5,
            "spearman": 0.81,
            "disagreeing": ["case_000", "case_013", "case_047"],
        },
        "ablation": [
            {
                "name": "joint",
                "against": "segmentation only",
                "metric": "dice_WT",
                "difference": -0.012,
                "ci": [-0.031, 0.006],
                "p": 0.21,
                "n": 67,
            },
            {
                "name": "joint",
                "against": "classification only",
                "metric": "roc_auc",
                "difference": 0.031,
                "ci": [0.008, 0.055],
                "p": 0.009,
                "n": 100,
            },
        ],
        "worst": [f"case_{i:03d}" for i in (13, 22, 34, 41, 52, 61, 71, 82, 91, 97)],
    }
