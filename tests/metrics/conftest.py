"""Golden values of official scripts, where a checkout has them, and rows of a small evaluation."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def golden():
    """Folder of golden values; tests that need it skip without."""

    def folder(name: str) -> Path:
        path = Path(os.environ.get("MEDVLM_GOLDEN", REPOSITORY.parent / "shared" / "golden")) / name
        if not path.is_dir():
            pytest.skip(f"no golden values for {name}: set MEDVLM_GOLDEN to the folder that holds them")
        return path

    return folder


@pytest.fixture
def rows():
    """Forty cases of three sources: two with masks, one of them with two cases a patient; one with classes only."""
    generator = np.random.default_rng(3)
    made = []
    for index in range(40):
        source = ("alpha", "beta", "gamma")[index % 3]
        tumour = int(index % 5 != 0)
        known = source != "gamma"
        row = {
            "case_id": f"{source}_{index:02d}",
            "patient_id": f"p{index // 6}" if source == "beta" else f"q{index}",
            "source": source,
            "tumour": tumour,
            "probability": float(np.clip(0.3 + 0.35 * tumour + generator.normal(0, 0.15), 0.01, 0.99)),
            "mask_known": int(known),
        }
        volume = float(tumour * generator.gamma(3, 10))
        dice = float(generator.beta(9, 2)) if tumour else 1.0
        scores = {
            "dice": dice,
            "iou": dice / (2 - dice),
            "hd95_mm": float(tumour * generator.gamma(2, 3)),
            "lw_dice": dice * 0.9 if tumour else 1.0,
            "lw_hd95_mm": float(tumour * generator.gamma(2, 9)),
            "lw_tp": tumour,
            "lw_fp": 0,
            "lw_fn": 0,
            "true_volume_ml": volume,
        }
        row |= {f"{key}_WT": value if known else None for key, value in scores.items()}
        row["pred_volume_ml_WT"] = volume * float(generator.normal(1, 0.1))
        made.append(row)
    return made
