from __future__ import annotations

import numpy as np
import pytest

from medvlm.metrics.probe_summary import choose_points, compare_probes, summarise_probes

HEADS = {
    "stenosis": {"kind": "binary"},
    "dominance": {"kind": "multiclass", "classes": 3},
    "percent": {"kind": "regression"},
}

BASELINES = {"stenosis": "majority", "dominance": "majority", "percent": "constant"}


@pytest.fixture
def rows():
    generator = np.random.default_rng(0)
    made = []
    for index in range(60):
        truth, dominance, percent = index % 2, index % 3, 10.0 * (index % 10)
        chances = np.full(3, 0.2)
        chances[dominance if index % 4 else (dominance + 1) % 3] = 0.6
        made.append(
            {
                "case_id": f"s{index}",
                "patient_id": f"p{index // 2}",
                "true_stenosis": float(truth),
                "pred_stenosis": float(np.clip(0.3 + 0.4 * truth + generator.normal(0, 0.15), 0, 1)),
                "true_dominance": float(dominance) if index < 50 else None,
                "pred_dominance": int(chances.argmax()),
                **{f"pred_dominance_{k}": float(p) for k, p in enumerate(chances)},
                "true_percent": percent,
                "pred_percent": percent + 5.0,
            }
        )
    return made


def test_every_kind_of_head_is_scored_beside_looking_at_nothing(rows):
    found = summarise_probes(rows, HEADS, constants={"percent": 50.0}, n_boot=50)
    assert found["stenosis"]["metrics"]["roc_auc"]["value"] > 0.85
    assert found["stenosis"]["threshold"] == 0.5 and found["stenosis"]["baseline_majority"]["accuracy"] == 0.5
    assert found["dominance"]["n"] == 50
    assert found["dominance"]["metrics"]["accuracy"]["value"] == pytest.approx(37 / 50)
    assert found["percent"]["metrics"]["mae"]["value"] == pytest.approx(5.0)
    assert found["percent"]["baseline_constant"]["mae"] == pytest.approx(25.0)


def test_a_head_that_nothing_is_known_of_says_so(rows):
    for row in rows:
        row["true_stenosis"] = None
    found = summarise_probes(rows, {"stenosis": {"kind": "binary"}}, n_boot=20)
    assert found["stenosis"]["n"] == 0 and "no study" in found["stenosis"]["note"]


def test_thresholds_are_chosen_for_binary_heads_and_never_on_test(rows):
    points = choose_points(rows, HEADS, "validation", target_sensitivity=0.9)
    assert list(points) == ["stenosis"] and points["stenosis"]["achieved"]["sensitivity"] >= 0.9
    with pytest.raises(ValueError, match="would flatter the test scores"):
        choose_points(rows, HEADS, "test")


def test_every_baseline_is_that_of_the_training_section_where_it_is_given(rows):
    found = summarise_probes(rows, HEADS, constants={"stenosis": 1, "dominance": 2, "percent": 50.0}, n_boot=20)
    chosen = [found[head][f"baseline_{kind}"]["chosen_on"] for head, kind in BASELINES.items()]
    assert chosen == ["training section"] * 3
    assert found["dominance"]["baseline_majority"]["class"] == 2
    assert found["dominance"]["baseline_majority"]["accuracy"] == pytest.approx(16 / 50)  # class 0 has 17 of these
    own = summarise_probes(rows, HEADS, n_boot=20)
    assert [own[head][f"baseline_{kind}"]["chosen_on"] for head, kind in BASELINES.items()] == ["these cases"] * 3


def test_two_runs_are_compared_study_by_study(rows):
    rows = [{**row, "patient_id": row["case_id"]} for row in rows]
    worse = [{**row, "pred_stenosis": 0.5} for row in rows[::-1]]
    found = compare_probes(rows, worse, HEADS)["stenosis"]
    assert found["n"] == 60 and found["difference"] > 0.3 and found["p"] < 1e-6 and "delong" in found["method"]
    with pytest.raises(ValueError, match="the same studies"):
        compare_probes(rows, worse[1:], HEADS)


def test_studies_of_one_patient_are_drawn_together_when_runs_are_compared(rows):
    once = [{**row, "patient_id": row["case_id"]} for row in rows]
    often = [{**row, "case_id": f"{row['case_id']} {k}"} for row in once for k in range(6)]
    worse = [{**row, "pred_stenosis": 1 - row["pred_stenosis"] if n % 12 < 6 else 0.5} for n, row in enumerate(often)]
    found = compare_probes(often, worse, HEADS, n_boot=400)["stenosis"]
    assert found["method"] == "paired bootstrap by patient" and (found["n"], found["n_patients"]) == (360, 60)
    naive = [{**row, "patient_id": row["case_id"]} for row in often]
    delong = compare_probes(naive, [{**row, "patient_id": row["case_id"]} for row in worse], HEADS)["stenosis"]
    assert found["difference"] == pytest.approx(delong["difference"])
    assert np.ptp(found["ci"]) > 1.5 * np.ptp(delong["ci"])
