"""What evaluation writes agrees with the cases, and the operating point comes from validation alone."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import monai.bundle
import nibabel
import numpy as np
import pytest
from sklearn.metrics import average_precision_score, matthews_corrcoef, roc_auc_score

import medvlm
from medvlm.bundle.curriculum import evaluate, freeze_operating_point
from medvlm.data.datalists import load_datalist
from medvlm.engines.tolerant import plain_errors
from medvlm.metrics.operating_point import threshold_for
from medvlm.metrics.rows import read_rows

SMALL = {"bootstrap_repeats": 20, "progress": False}


@pytest.fixture(scope="module")
def evaluated(trained, phantoms, tmp_path_factory) -> Path:
    """Folder with the evaluation of the test section, run as MONAI runs it, from another working directory."""
    out = tmp_path_factory.mktemp("evaluated")
    configs = [str(trained / "configs" / f"{name}.json") for name in ("train", "evaluate")]
    monai.bundle.run(config_file=configs, dataset_dir=str(phantoms), output_dir=str(out), **SMALL)
    return out


@pytest.fixture(scope="module")
def evaluation(evaluated) -> dict:
    return json.loads((evaluated / "evaluation.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def rows(evaluated) -> list[dict]:
    return read_rows(evaluated / "cases.csv")


def point_of(bundle: Path) -> dict:
    return json.loads((bundle / "models" / "operating_point.json").read_text(encoding="utf-8"))


def test_every_test_case_has_one_row_with_what_is_known_of_it(rows, phantoms):
    cases = {case["case_id"]: case for case in load_datalist(phantoms / "datalist.json", "test")}
    assert [row["case_id"] for row in rows] == list(cases)
    for row in rows:
        case = cases[row["case_id"]]
        assert (row["source"], row["patient_id"], row["tumour"]) == (
            case["source"], case["patient_id"], case.get("tumour"),
        )  # fmt: skip
        assert row["mask_known"] == int("label" in case or bool(case.get("empty_mask")))
        assert (row["dice_WT"] is None) == (not row["mask_known"])
        assert 0 <= row["probability"] <= 1 and row["pred_voxels_WT"] >= 0
        assert (row["pred_volume_ml_WT"] is None) == (row["kind"] == "picture"), "a pixel of a picture has no size"
    assert {row["mask_known"] for row in rows} == {0, 1}, "the phantoms must hold masked and unmasked cases"
    assert {row["tumour"] for row in rows} == {0, 1}


def test_the_parts_of_evaluation_json_are_there(evaluation, trained):
    metadata = json.loads((trained / "configs" / "metadata.json").read_text(encoding="utf-8"))
    assert evaluation["bundle"] == {"name": metadata["name"], "version": metadata["version"]}
    weights = (trained / "models" / "model.pt").read_bytes()
    assert evaluation["checkpoint"] == {"file": "model.pt", "sha256": hashlib.sha256(weights).hexdigest()}
    assert evaluation["section"] == "test" and evaluation["seed"] == 0 and evaluation["created"]
    assert {"n", "segmentation", "classification", "confounding", "agreement", "ablation", "worst"} <= set(evaluation)
    region = evaluation["segmentation"]["overall"]["WT"]
    for measure in ("dice", "iou", "hd95_mm", "lw_dice", "lw_hd95_mm"):
        assert {"value", "ci", "n", "median", "std"} <= set(region[measure])
    metrics = evaluation["classification"]["overall"]["metrics"]
    wanted = {"sensitivity", "specificity", "balanced_accuracy", "mcc", "f1", "accuracy", "roc_auc", "pr_auc", "ece"}
    wanted |= {f"{kind}_at_{prevalence}" for kind in ("ppv", "npv") for prevalence in (1, 5, 10)}
    assert wanted <= set(metrics)
    assert {"source_from_features", "label_by_source", "within_source_auc", "note"} <= set(evaluation["confounding"])
    assert {"both", "neither", "mask_only", "class_only", "disagreeing"} <= set(evaluation["agreement"])


def test_the_scores_are_those_of_the_rows(evaluation, rows):
    assert evaluation["n"] == {"cases": len(rows), "patients": len({row["patient_id"] for row in rows})}
    masked = [row for row in rows if row["mask_known"]]
    region = evaluation["segmentation"]["overall"]["WT"]
    for measure in ("dice", "iou", "hd95_mm", "lw_dice", "lw_hd95_mm"):
        values = [row[f"{measure}_WT"] for row in masked if row[f"{measure}_WT"] is not None]
        assert region[measure]["n"] == len(values)
        assert region[measure]["value"] == pytest.approx(np.mean(values))
        assert region[measure]["median"] == pytest.approx(np.median(values))
    measured = [row for row in masked if row["kind"] == "volume"]
    bias = np.mean([row["pred_volume_ml_WT"] - row["true_volume_ml_WT"] for row in measured])
    assert region["volume_ml"]["bias"] == pytest.approx(bias)

    truth = np.array([row["tumour"] for row in rows])
    score = np.array([row["probability"] for row in rows])
    called = score >= np.array([threshold_for(evaluation["operating_point"], row["kind"]) for row in rows])
    report = evaluation["classification"]["overall"]
    counts = {
        "tp": int((called & (truth == 1)).sum()), "fp": int((called & (truth == 0)).sum()),
        "tn": int((~called & (truth == 0)).sum()), "fn": int((~called & (truth == 1)).sum()),
    }  # fmt: skip
    assert report["confusion"] == counts and report["n"] == len(rows) and report["n_positive"] == int(truth.sum())
    values = {name: metric["value"] for name, metric in report["metrics"].items()}
    assert values["sensitivity"] == pytest.approx(counts["tp"] / truth.sum())
    assert values["specificity"] == pytest.approx(counts["tn"] / (1 - truth).sum())
    assert values["mcc"] == pytest.approx(matthews_corrcoef(truth, called))
    assert values["roc_auc"] == pytest.approx(roc_auc_score(truth, score))
    assert values["pr_auc"] == pytest.approx(average_precision_score(truth, score))


def test_each_source_is_scored_on_its_own_cases(evaluation, rows):
    sources = {row["source"] for row in rows}
    assert set(evaluation["segmentation"]["per_source"]) == set(evaluation["classification"]["per_source"]) == sources
    for source in sources:
        own = [row for row in rows if row["source"] == source]
        assert evaluation["classification"]["per_source"][source]["n"] == len(own)
        dices = [row["dice_WT"] for row in own if row["dice_WT"] is not None]
        if dices:
            found = evaluation["segmentation"]["per_source"][source]["WT"]["dice"]
            assert found["n"] == len(dices) and found["value"] == pytest.approx(np.mean(dices))
        table = evaluation["confounding"]["label_by_source"][source]
        assert (table["0"], table["1"]) == tuple(sum(row["tumour"] == value for row in own) for value in (0, 1))


def test_the_worst_are_the_worst_and_the_disagreeing_disagree(evaluation, rows):
    scored = [row for row in rows if row["dice_WT"] is not None and row["dice_WT"] < 1]
    dices = sorted((row["dice_WT"], row["case_id"]) for row in scored)
    first = [case for case in evaluation["worst"] if case in {name for _, name in dices}]
    by_case = {name: dice for dice, name in dices}
    assert [by_case[name] for name in first] == [dice for dice, _ in dices[: len(first)]]
    point, volume_ml = evaluation["operating_point"], evaluation["agreement"]["threshold_ml"]

    def outlined(row: dict) -> bool:
        return row["pred_voxels_WT"] > 0 if row["kind"] == "picture" else row["pred_volume_ml_WT"] > volume_ml

    expected = {
        row["case_id"] for row in rows if (row["probability"] >= threshold_for(point, row["kind"])) != outlined(row)
    }
    assert set(evaluation["agreement"]["disagreeing"]) == expected


def test_inference_gives_what_evaluation_scored(trained, phantoms, rows):
    """The two configs prepare, run and put back a case alike; the scores are recomputed from inference's mask."""
    cases = {case["case_id"]: case for case in load_datalist(phantoms / "datalist.json", "test")}
    row = next(row for row in rows if row["mask_known"] and row["tumour"] and "label" in cases[row["case_id"]])
    case = cases[row["case_id"]]
    result = medvlm.load(trained, device="cpu", overrides={"mc_samples": 0, "tta": False, "cam": False})(
        {key: case[key] for key in ("image", "channels", "case_id")}
    )
    assert result["result"]["tumour_probability"] == pytest.approx(row["probability"], abs=1e-5)
    label = nibabel.load(case["label"])
    truth = np.isin(np.asarray(label.dataobj), case["regions"]["WT"])
    mask = result["pred"][0].numpy() > 0
    assert mask.shape == truth.shape
    dice = 1.0 if not mask.any() and not truth.any() else 2 * (mask & truth).sum() / (mask.sum() + truth.sum())
    assert dice == pytest.approx(row["dice_WT"], abs=1e-6)
    millilitres = mask.sum() * np.prod(label.header.get_zooms()[:3]) / 1000
    assert millilitres == pytest.approx(row["pred_volume_ml_WT"], rel=1e-5)


class Page(HTMLParser):
    """What a page would fetch, and its words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fetched, self.words = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        names = ("src", "srcset", "data", "poster") + (("href",) if tag in ("link", "use", "image") else ())
        self.fetched += [value for name, value in attributes if name in names and value]

    def handle_data(self, data):
        self.words.append(data)


def test_the_report_is_one_file_with_the_numbers_and_the_pictures(evaluated, evaluation):
    text = (evaluated / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.fetched and all(link.startswith(("data:", "#")) for link in page.fetched)
    assert not re.search(r"@import|url\(\s*['\"]?(?!data:|#)", text)
    words = " ".join(page.words)
    assert all(case in words for case in evaluation["worst"])
    assert f"{evaluation['segmentation']['overall']['WT']['dice']['value']:.2f}" in words
    pictures = [link for link in page.fetched if link.startswith("data:image/")]
    assert len(pictures) >= len(evaluation["worst"])


def test_the_same_evaluation_twice_is_the_same(evaluated, evaluation, trained, phantoms, tmp_path):
    evaluate(str(trained), str(phantoms), output_dir=str(tmp_path), **SMALL)
    assert (tmp_path / "cases.csv").read_bytes() == (evaluated / "cases.csv").read_bytes()
    again = json.loads((tmp_path / "evaluation.json").read_text(encoding="utf-8"))
    assert {**again, "created": ""} == {**evaluation, "created": ""}


def test_the_threshold_is_the_one_frozen_on_validation(evaluation, trained):
    assert evaluation["operating_point"] == point_of(trained)
    assert evaluation["operating_point"]["chosen_on"] == "validation" and evaluation["operating_point"]["frozen"]


def test_calibration_reaches_the_target_with_the_fewest_false_alarms(trained, phantoms, tmp_path):
    file, out = tmp_path / "operating_point.json", tmp_path / "eval"
    freeze_operating_point(
        str(trained), str(phantoms), operating_point=str(file), output_dir=str(out), target_sensitivity=0.75,
        min_positives=1, **SMALL,
    )  # fmt: skip
    point, rows = json.loads(file.read_text(encoding="utf-8")), read_rows(out / "cases.csv")
    validation = {case["case_id"] for case in load_datalist(phantoms / "datalist.json", "validation")}
    assert {row["case_id"] for row in rows} == validation
    scores, others = (np.array([row["probability"] for row in rows if row["tumour"] == is_one]) for is_one in (1, 0))
    reaching = [score for score in scores if (scores >= score).mean() >= 0.75]
    assert (scores >= point["threshold"]).mean() >= 0.75 and point["threshold"] <= max(reaching)
    assert (others >= point["threshold"]).sum() == (others >= max(reaching)).sum()  # no more than at the highest
    assert point["n"] == len(rows) and point["n_positive"] == len(scores) and point["frozen"]
    weights = (trained / "models" / "model.pt").read_bytes()
    assert point["checkpoint_sha256"] == hashlib.sha256(weights).hexdigest()


def test_the_test_section_never_chooses_a_threshold(trained, phantoms, tmp_path):
    before = (trained / "models" / "operating_point.json").read_bytes()
    with pytest.raises(ValueError, match="choose it on validation"), plain_errors():
        evaluate(
            str(trained), str(phantoms), overlays="calibrate", section="test", output_dir=str(tmp_path / "eval"),
            min_positives=1, **SMALL,
        )  # fmt: skip
    assert (trained / "models" / "operating_point.json").read_bytes() == before


def test_a_threshold_needs_enough_positives(trained, phantoms, tmp_path):
    file = tmp_path / "operating_point.json"
    with pytest.raises(ValueError, match="too few to set a sensitivity"), plain_errors():
        freeze_operating_point(
            str(trained), str(phantoms), operating_point=str(file), output_dir=str(tmp_path / "eval"),
            min_positives=1000, **SMALL,
        )  # fmt: skip
    assert not file.exists()


def test_a_threshold_of_other_weights_is_not_used(trained, phantoms, tmp_path):
    evaluate(
        str(trained), str(phantoms), weights=str(trained / "models" / "stage_1.pt"), output_dir=str(tmp_path), **SMALL
    )
    point = json.loads((tmp_path / "evaluation.json").read_text(encoding="utf-8"))["operating_point"]
    assert point["threshold"] == 0.5 and not point["frozen"]


def test_a_run_is_compared_with_others_on_the_same_cases(evaluated, trained, phantoms, tmp_path):
    shutil.copytree(evaluated, tmp_path / "twin")
    evaluate(
        str(trained), str(phantoms), output_dir=str(tmp_path / "eval"),
        ablation_against={"twin": str(tmp_path / "twin" / "cases.csv")},
        **SMALL,
    )  # fmt: skip
    ablation = json.loads((tmp_path / "eval" / "evaluation.json").read_text(encoding="utf-8"))["ablation"]
    assert ablation and {(entry["name"], entry["against"]) for entry in ablation} == {("joint", "twin")}
    assert all(entry["difference"] == 0 for entry in ablation if entry["difference"] is not None)


@pytest.mark.parametrize(
    ("overlay", "column", "absent"),
    [("segmentation_only", "dice_WT", "probability"), ("classification_only", "probability", "dice_WT")],
)
def test_a_single_task_network_is_evaluated_by_its_overlay(
    bundle, phantoms, tiny, tmp_path, overlay, column, absent, capsys
):
    configs = [str(bundle / "configs" / f"{name}.json") for name in ("train", overlay)]
    folders = {"ckpt_dir": str(tmp_path), "log_dir": str(tmp_path / "logs")}
    monai.bundle.run(config_file=configs, dataset_dir=str(phantoms), **folders, **{**tiny, "pictures": 0})
    capsys.readouterr()
    evaluate(
        str(bundle), str(phantoms), overlays=overlay, ckpt_dir=str(tmp_path), output_dir=str(tmp_path / "eval"),
        **{key: value for key, value in tiny.items() if "::" not in key and key != "epochs"},
    )  # fmt: skip
    log = "".join(capsys.readouterr())
    assert "on section 'validation'" not in log and "on section 'test'" in log
    rows = read_rows(tmp_path / "eval" / "cases.csv")
    assert any(row[column] is not None for row in rows)
    assert all(row.get(absent) is None for row in rows)
