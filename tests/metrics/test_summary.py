from __future__ import annotations

import json
import math

import numpy as np
import pytest

from medvlm.metrics.rows import write_rows
from medvlm.metrics.summary import plain, segmentation_summary, summarise, worst_cases

QUICK = {"n_boot": 50, "n_permutations": 2}


def test_a_summary_has_the_parts_that_the_report_reads(rows):
    summary = summarise(rows, section="test", bundle={"name": "b", "version": "1"}, checkpoint={"file": "f"}, **QUICK)
    parts = "bundle checkpoint section created seed n operating_point segmentation classification confounding agreement"
    assert set(parts.split()) | {"ablation", "worst", "n_boot"} == set(summary)
    assert summary["n"] == {"cases": 40, "patients": 34}
    assert set(summary["segmentation"]["per_source"]) == {"alpha", "beta", "gamma"}
    json.dumps(summary, allow_nan=False)


def test_a_mean_is_over_cases_with_known_masks(rows):
    found = summarise(rows, **QUICK)["segmentation"]["overall"]["WT"]
    values = [row["dice_WT"] for row in rows if row["mask_known"]]
    assert found["dice"]["value"] == pytest.approx(np.mean(values))
    assert found["dice"]["median"] == pytest.approx(np.median(values))
    assert found["dice"]["std"] == pytest.approx(np.std(values, ddof=1))
    assert found["dice"]["n"] == len(values) == 27
    assert found["dice"]["ci"][0] < found["dice"]["value"] < found["dice"]["ci"][1]


def test_empty_masks_cannot_lift_the_dice_of_tumours(rows):
    found = summarise(rows, **QUICK)["segmentation"]["overall"]["WT"]
    ill = [row["dice_WT"] for row in rows if row["mask_known"] and row["tumour"]]
    assert found["dice_with_tumour"]["value"] == pytest.approx(np.mean(ill))
    assert found["dice_with_tumour"]["value"] < found["dice"]["value"]
    assert found["empty_truth"] == {"n": 27 - len(ill), "false_alarms": 0}


def test_a_source_without_masks_says_so(rows):
    per_source = summarise(rows, **QUICK)["segmentation"]["per_source"]
    assert per_source["gamma"] == {"n": 0, "note": "no mask is known"}


def test_a_source_of_one_class_says_so(rows):
    for row in rows:
        if row["source"] == "alpha":
            row["tumour"] = 1
    summary = summarise(rows, **QUICK)
    assert summary["classification"]["per_source"]["alpha"]["note"] == "one class only"
    assert "metrics" in summary["classification"]["per_source"]["beta"]
    assert summary["confounding"]["within_source_auc"]["alpha"]["value"] is None
    assert summary["confounding"]["within_source_auc"]["beta"]["value"] > 0.5
    assert summary["confounding"]["note"].startswith("One class only in alpha")


def test_unknown_classes_are_left_out(rows):
    for row in rows[:5]:
        row["tumour"] = None
    summary = summarise(rows, **QUICK)
    assert summary["classification"]["overall"]["n"] == 35
    assert sum(counts["unknown"] for counts in summary["confounding"]["label_by_source"].values()) == 5


def test_verdicts_use_the_frozen_threshold(rows):
    summary = summarise(rows, operating_point={"threshold": 0.0, "frozen": True, "chosen_on": "validation"}, **QUICK)
    assert summary["classification"]["overall"]["confusion"]["fn"] == 0
    assert summary["classification"]["overall"]["metrics"]["specificity"]["value"] == 0.0
    assert summary["operating_point"]["chosen_on"] == "validation"
    assert summarise(rows, **QUICK)["operating_point"]["frozen"] is False


@pytest.mark.parametrize("by_case", [False, True])
def test_the_audit_reads_features_in_order_or_by_case(rows, by_case):
    values = np.random.default_rng(0).normal(size=(40, 6))
    values[:, 0] += [5.0 * (row["source"] == "beta") for row in rows]
    features = {row["case_id"]: value for row, value in zip(rows, values, strict=True)} if by_case else values
    told = summarise(rows, features, **QUICK)["confounding"]["source_from_features"]
    assert told["chance"] == pytest.approx(1 / 3)
    assert told["balanced_accuracy"] > 0.5


def test_features_must_cover_every_case(rows):
    with pytest.raises(ValueError, match="got none for"):
        summarise(rows, {"alpha_00": np.zeros(3)}, **QUICK)


def test_the_ablation_is_paired(rows, tmp_path):
    other = [{**row, "dice_WT": None if row["dice_WT"] is None else row["dice_WT"] - 0.01} for row in rows]
    path = write_rows(other, tmp_path / "cases.csv")
    summary = summarise(rows, others={"rows": other, "file": path}, **QUICK)
    gains = [row for row in summary["ablation"] if row["metric"] == "dice_WT"]
    assert [row["against"] for row in gains] == ["rows", "file"]
    for row in gains:
        assert row["name"] == "joint"
        assert row["difference"] == pytest.approx(0.01)
        assert row["ci"] == pytest.approx([0.01, 0.01])


def test_the_worst_come_first_and_errors_of_the_class_fill_up(rows):
    for row in rows:
        row["dice_WT"] = None if row["dice_WT"] is None else 1.0
        row["probability"] = 0.9 if row["tumour"] else 0.1
    by_name = {row["case_id"]: row for row in rows}
    by_name["alpha_03"]["dice_WT"], by_name["beta_01"]["dice_WT"] = 0.4, 0.2
    by_name["gamma_02"]["probability"], by_name["gamma_08"]["probability"] = 0.4, 0.01
    assert worst_cases(rows, ["WT"]) == ["beta_01", "alpha_03", "gamma_08", "gamma_02"]
    assert worst_cases(rows, ["WT"], n=1) == ["beta_01"]


def test_a_segmentation_run_without_probabilities(rows):
    summary = summarise([{**row, "probability": None} for row in rows], **QUICK)
    assert summary["classification"]["overall"]["n"] == 0
    assert summary["agreement"]["note"] == "one head only"
    assert summary["segmentation"]["overall"]["WT"]["dice"]["n"] == 27


def test_a_classification_run_without_regions(rows):
    summary = summarise([{k: v for k, v in row.items() if not k.endswith("_WT")} for row in rows], **QUICK)
    assert summary["segmentation"]["overall"]["note"] == "no mask is known"
    assert summary["agreement"]["note"] == "no region was segmented"
    assert summary["classification"]["overall"]["n"] == 40


def test_a_head_that_is_off_is_said_though_its_truth_is_known(rows):
    own = ("dice", "iou", "hd95", "lw_", "pred_volume")
    classes = [{key: value for key, value in row.items() if not key.startswith(own)} for row in rows]
    assert any(row["mask_known"] for row in classes)
    summary = summarise(classes, regions=["WT"], n_boot=20)
    assert summary["segmentation"]["overall"] == {"n": 0, "note": "the mask head is off"}
    assert summary["segmentation"]["per_source"]["alpha"] == {"n": 0, "note": "the mask head is off"}
    masks = summarise([{**row, "probability": None} for row in rows], regions=["WT"], n_boot=20)
    assert masks["classification"]["overall"] == {"n": 0, "note": "the class head is off"}
    unknown = summarise([{**row, "tumour": None} for row in rows], regions=["WT"], n_boot=20)
    assert unknown["classification"]["overall"] == {"n": 0, "note": "no class is known"}


def test_a_single_case_gives_values_without_intervals(rows):
    summary = summarise(rows[1:2], **QUICK)
    found = summary["segmentation"]["overall"]["WT"]["dice"]
    assert found["ci"] is None
    assert found["std"] is None
    assert found["value"] == rows[1]["dice_WT"]
    assert summary["classification"]["overall"]["note"] == "one class only"
    json.dumps(summary, allow_nan=False)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda rows: rows.clear(), "nothing to summarise"),
        (lambda rows: rows.append(dict(rows[0])), "more often"),
        (lambda rows: rows[2].update(case_id=None), "every row needs a case_id"),
        (lambda rows: rows[2].update(probability=1.2), "got 1.2 for"),
        (lambda rows: rows[2].update(probability=math.nan), "got nan for"),
    ],
)
def test_rows_that_cannot_be_trusted_are_refused(rows, change, match):
    change(rows)
    with pytest.raises(ValueError, match=match):
        summarise(rows, **QUICK)


def test_json_types_only():
    value = {1: np.float32(0.5), "b": (np.nan, np.inf, np.int64(3)), "c": np.array([[1.0, np.nan]]), "d": np.bool_(1)}
    assert plain(value) == {"1": 0.5, "b": [None, None, 3], "c": [[1.0, None]], "d": True}


def test_the_same_seed_gives_the_same_summary(rows):
    first, again, other = (summarise(rows, seed=seed, **QUICK) for seed in (1, 1, 2))
    for summary in (first, again, other):
        summary.pop("created")
        summary.pop("seed")
    assert first == again
    assert first != other


def test_no_known_mask_has_no_numbers():
    assert segmentation_summary([{"mask_known": 0}], ["WT"]) == {"n": 0, "note": "no mask is known"}


def test_agreement_is_that_of_the_whole_tumour_wherever_it_stands(rows):
    both = [{**row, **{k.replace("_WT", "_TC"): v for k, v in row.items() if k.endswith("_WT")}} for row in rows]
    assert summarise(both, **{**QUICK, "regions": ["TC", "WT"]})["agreement"]["region"] == "WT"
