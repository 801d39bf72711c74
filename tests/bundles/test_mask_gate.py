"""The mask gate does the same in evaluation, prediction and a loaded bundle, and each says what it did."""

from __future__ import annotations

import csv
import json

import nibabel
import pytest

import medvlm
from medvlm.bundle.curriculum import evaluate
from medvlm.bundle.prediction import predict
from medvlm.engines.tolerant import plain_errors
from medvlm.metrics.operating_point import threshold_for, warn_once
from medvlm.metrics.rows import read_rows

BARE = {"mc_samples": 0, "tta": False, "cam": False, "overlay": False, "progress": False, "min_component_ml": 0}
ALL = 1.0  # every probability lies below


@pytest.fixture(autouse=True)
def nothing_told_yet():
    warn_once.cache_clear()


@pytest.fixture(scope="module")
def scans(phantoms) -> list[str]:
    return sorted(str(path) for path in (phantoms / "brats2021").rglob("*_flair.nii.gz"))[:4]


def test_prediction_empties_the_label_map_and_says_so(trained, scans, tmp_path):
    outlined = 0
    for number, scan in enumerate(scans):
        folder = tmp_path / str(number)
        (free,) = predict(str(trained), scan, str(folder / "free"), **BARE, mask_threshold=0.05).done.values()
        (gated,) = predict(
            str(trained), scan, str(folder / "gated"), **BARE, mask_threshold=0.05, mask_gate=ALL
        ).done.values()
        maps = {
            (run, name): nibabel.load(next((folder / run).rglob(f"{name}.nii.gz"))).get_fdata()
            for run in ("free", "gated")
            for name in ("labels", "probabilities")
        }
        assert free["mask_gate"] is None and not maps["gated", "labels"].any()
        assert (maps["free", "probabilities"] == maps["gated", "probabilities"]).all()
        told, held = gated["mask_gate"], bool(free["voxels"]["WT"])
        assert (told["gate"], told["level"], told["emptied"]) == (ALL, ALL, held)
        assert told["emptied_voxels"] == free["voxels"] and told["emptied_ml"] == free["volumes_ml"]
        assert gated["voxels"] == {"WT": 0} and gated["volumes_ml"] == {"WT": 0}
        assert ("Mask emptied" in gated["summary"]) is held and gated["settings"]["mask_gate"] == ALL
        (row,) = csv.DictReader((folder / "gated" / "summary.csv").open(encoding="utf-8"))
        assert row["mask_emptied"] == str(int(held))
        outlined += held
    assert outlined, "a network that outlines nothing tests nothing"


def test_a_loaded_bundle_empties_what_prediction_empties(trained, scans):
    quick = {"mc_samples": 0, "tta": False, "cam": False, "mask_threshold": 0.05, "min_component_ml": 0}
    free = medvlm.load(trained, device="cpu", overrides=quick)(scans[0])
    gated = medvlm.load(trained, device="cpu", overrides={**quick, "mask_gate": ALL})(scans[0])
    assert free["pred"].any() and not gated["pred"].any() and (free["pred_mask"] == gated["pred_mask"]).all()
    assert gated["result"]["mask_gate"]["emptied"] and "Mask emptied" in gated["result"]["summary"]
    assert "mask_gate" not in free["result"]
    at = medvlm.load(trained, device="cpu", overrides={**quick, "mask_gate": "threshold"})
    result = at(scans[0])["result"]
    assert result["mask_gate"]["level"] == threshold_for(at.operating_point, "volume")
    assert result["mask_gate"]["closed"] is (result["verdict"] == "negative")


def test_an_evaluation_counts_the_emptied_masks(trained, phantoms, tmp_path, capsys):
    quick = {"bootstrap_repeats": 20, "progress": False, "min_component_ml": 0}
    evaluate(str(trained), str(phantoms), output_dir=str(tmp_path / "free"), **quick)
    evaluate(str(trained), str(phantoms), output_dir=str(tmp_path / "gated"), mask_gate=ALL, **quick)
    free, gated = (
        json.loads((tmp_path / run / "evaluation.json").read_text(encoding="utf-8")) for run in ("free", "gated")
    )
    before, after = (read_rows(tmp_path / run / "cases.csv") for run in ("free", "gated"))
    assert free["mask_gate"] is None and "mask_emptied" not in before[0]
    told = gated["mask_gate"]
    held = [row for row in before if row["pred_voxels_WT"]]
    assert held, "a network that outlines nothing tests nothing"
    assert told["levels"] == {"picture": ALL, "volume": ALL} and told["emptied"] == len(held)
    assert told["with_tumour"] == len(told["lost"]) == sum(row["tumour"] == 1 for row in held)
    assert not any(row["pred_voxels_WT"] for row in after)
    assert [row.get("emptied_voxels_WT") or 0 for row in after] == [row["pred_voxels_WT"] for row in before]
    dice = free["segmentation"]["overall"]["WT"]["dice"]
    assert told["dice_without_gate"]["WT"]["value"] == pytest.approx(dice["value"])
    assert gated["segmentation"]["overall"]["WT"]["empty_truth"]["false_alarms"] == 0
    assert gated["agreement"] == free["agreement"], "the heads disagree as before"
    assert gated["classification"] == free["classification"]
    page = (tmp_path / "gated" / "report.html").read_text(encoding="utf-8")
    assert "Mask gate: outlines of cases with a tumour probability below" in page
    assert "Mask gate" not in (tmp_path / "free" / "report.html").read_text(encoding="utf-8")
    assert "mask gate: {'emptied'" in capsys.readouterr().out


def test_a_gate_that_is_none_is_named_before_anything_is_done(trained, phantoms, tmp_path):
    with pytest.raises(ValueError, match=r"mask_gate must be null, 'threshold' or a number .* got 2"), plain_errors():
        evaluate(str(trained), str(phantoms), output_dir=str(tmp_path), mask_gate=2, progress=False)
    assert not list(tmp_path.iterdir())
