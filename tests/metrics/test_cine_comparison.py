from __future__ import annotations

import numpy as np
import pytest

from medvlm.metrics.cine_comparison import compare_runs, metrics_of
from medvlm.metrics.rows import write_rows


def rows(n: int = 30, hits: float = 1.0, right: int = 2, captions: bool = True) -> list[dict]:
    made = []
    for index in range(n):
        row = {"case_id": f"c{index}", "patient_id": f"p{index}", "source": "x"}
        for way in ("video_to_text", "text_to_video"):
            row |= {f"hit@1_{way}": float(index < hits * n), f"mrr_{way}": 1.0 if index < hits * n else 0.25}
        row |= {"target_stenosis": index % 2, "zero_shot_stenosis": 0.9 if index % 2 else 0.1}
        if captions:
            row |= {"facts_right_findings": right, "facts_extra_findings": 1, "facts_missed_findings": 1}
            row |= {"findings_said": 4, "findings_made_up": 1}
        made.append(row)
    return made


def test_scores_and_differences_by_hand():
    found = compare_runs(rows(), {"weak": rows(hits=0.5, right=1)}, "full", n_boot=200)
    assert found["runs"]["full"]["video_to_text_hit@1"]["value"] == 1
    assert found["runs"]["weak"]["video_to_text_mrr"]["value"] == pytest.approx(0.625)
    assert found["runs"]["full"]["fact_f1_findings"]["value"] == pytest.approx(4 / 6)
    assert found["runs"]["full"]["hallucination"]["value"] == pytest.approx(0.25)
    assert found["runs"]["full"]["roc_auc_stenosis"]["value"] == 1
    by_metric = {entry["metric"]: entry for entry in found["differences"]}
    hit = by_metric["video_to_text_hit@1"]
    assert hit["difference"] == pytest.approx(0.5) and hit["ci"][0] > 0 and hit["p"] < 0.05 and hit["n"] == 30
    assert by_metric["fact_f1_findings"]["difference"] == pytest.approx(4 / 6 - 2 / 4)
    assert by_metric["roc_auc_stenosis"]["difference"] == 0


def test_equal_runs_differ_by_nothing():
    for entry in compare_runs(rows(), {"again": rows()}, "full", n_boot=50)["differences"]:
        assert entry["difference"] == 0 and entry["ci"] == [0, 0], entry["metric"]


def test_a_metric_that_one_run_lacks_is_not_compared():
    found = compare_runs(rows(), {"contrastive": rows(captions=False)}, "full", n_boot=20)
    assert "fact_f1_findings" in found["runs"]["full"] and "fact_f1_findings" not in found["runs"]["contrastive"]
    assert not any(entry["metric"].startswith("fact") for entry in found["differences"])
    assert any(entry["metric"] == "text_to_video_mrr" for entry in found["differences"])


def test_only_studies_that_both_runs_scored_are_compared():
    other = rows()
    other[0]["hit@1_video_to_text"] = None
    found = {e["metric"]: e for e in compare_runs(rows(), {"b": other}, "a", n_boot=20)["differences"]}
    assert (found["video_to_text_hit@1"]["n"], found["video_to_text_mrr"]["n"]) == (29, 30)


def test_files_are_read_and_a_run_that_does_not_fit_is_named_not_dropped(tmp_path):
    path = write_rows(rows(hits=0.5), tmp_path / "weak.csv")
    others = {"weak": path, "short": rows(20), "gone": tmp_path / "none.csv"}
    found = compare_runs(rows(), others, "full", n_boot=20)
    assert list(found["runs"]) == ["full", "weak"]
    assert "same studies" in found["problems"]["short"] and "none.csv" in found["problems"]["gone"]


def test_other_patients_are_refused():
    other = rows()
    other[3]["patient_id"] = "somebody"
    assert "c3" in compare_runs(rows(), {"b": other}, "a", n_boot=5)["problems"]["b"]


def test_one_class_gives_no_area():
    one = [row | {"target_stenosis": 1} for row in rows()]
    assert "roc_auc_stenosis" in metrics_of(one)
    assert "roc_auc_stenosis" not in compare_runs(one, {}, "a", n_boot=5)["runs"]["a"]


def test_a_row_alone_has_values_without_intervals():
    found = compare_runs(rows(1), {}, "a", n_boot=5)["runs"]["a"]
    assert found["video_to_text_hit@1"] == {"value": 1.0, "ci": None, "n": 1}
    assert np.isfinite(found["hallucination"]["value"])
