from __future__ import annotations

import numpy as np
import pytest
import torch

from medvlm.handlers.mask_gate import CHOSEN_HERE, EvaluationGate, GateMaskd, check_gate, gate_level, gate_words
from medvlm.metrics.operating_point import warn_once

POINT = {"threshold": 0.5, "kinds": {"volume": {"threshold": 0.8}}}


@pytest.fixture(autouse=True)
def nothing_told_yet():
    warn_once.cache_clear()


def sample(probability: float | None = 0.6, calibrated: bool = True, voxels: int = 3) -> dict:
    labels = torch.zeros(1, 4, 4, 2, dtype=torch.uint8)
    labels.view(-1)[:voxels] = 1
    result = {"tumour_probability": probability, "threshold": 0.8, "calibrated": calibrated, "summary": "said"}
    return {"pred": labels, "pred_mask": labels.float() * 0.9, "result": result}


@pytest.mark.parametrize("gate", [0, -0.1, 1.5, "none", True, "0.3"])
def test_a_gate_that_is_none_is_refused(gate):
    with pytest.raises(ValueError, match="mask_gate must be null, 'threshold' or a number above 0 and up to 1, got"):
        check_gate(gate)


def test_without_a_gate_nothing_changes():
    before = sample()
    after = GateMaskd()(before)
    assert after["pred"].sum() == 3 and after["result"] == before["result"]


@pytest.mark.parametrize(
    ("gate", "probability", "emptied"),
    [
        ("threshold", 0.79, True),
        ("threshold", 0.8, False),
        (0.3, 0.6, False),
        (0.3, 0.29, True),
        (1.0, 0.999, True),
        ("threshold", None, False),
    ],
)
def test_the_label_map_is_emptied_below_the_gate_alone(gate, probability, emptied):
    before = sample(probability)
    after = GateMaskd(gate=gate)(before)
    assert after["pred"].any().item() is not emptied and before["pred"].sum() == 3, "the input is left alone"
    assert torch.equal(after["pred_mask"], before["pred_mask"]), "the probabilities are kept"
    told = after["result"]["mask_gate"]
    assert told == {"gate": gate, "level": gate if gate != "threshold" else 0.8, "closed": emptied, "emptied": emptied}
    assert ("Mask emptied: a region outlined" in after["result"]["summary"]) is emptied


def test_an_empty_map_is_not_said_to_be_emptied():
    told = GateMaskd(gate=0.9)(sample(voxels=0))["result"]
    assert told["mask_gate"]["closed"] and not told["mask_gate"]["emptied"] and told["summary"] == "said"


def test_a_threshold_that_nobody_chose_closes_no_gate(caplog):
    after = GateMaskd(gate="threshold")(sample(calibrated=False))
    assert after["pred"].sum() == 3 and after["result"]["mask_gate"]["level"] is None
    assert "needs a frozen threshold" in caplog.text and "choose it (overlay calibrate)" in caplog.text
    assert gate_level(0.3, 0.5, calibrated=False) == 0.3, "a number needs none"


def test_the_words_name_amount_probability_and_gate():
    assert gate_words(0.89, 0.57, 19.7) == (
        "Mask emptied: 19.7 mL outlined, but tumour probability 0.57 below the gate 0.89"
    )


def rows_of(gate: EvaluationGate, *cases: tuple[str, float, int | None, int]) -> list[dict]:
    """Rows as the writer makes them: name, probability, class, voxels outlined of a truth of 2 in the tumours."""
    rows = []
    for name, probability, tumour, voxels in cases:
        pred, truth = np.zeros((1, 4, 4, 2), bool), np.zeros((1, 4, 4, 2), bool)
        pred.reshape(-1)[:voxels] = True
        truth.reshape(-1)[: 2 * bool(tumour)] = True
        closed = gate.closes("volume", probability)
        row = {"case_id": name, "patient_id": name, "tumour": tumour, "probability": probability, "mask_known": 1}
        row["dice_WT"] = float(not truth.any()) if closed else 2 * (pred & truth).sum() / max(pred.sum() + 2, 1)
        row["true_voxels_WT"] = int(truth.sum())
        rows.append(row | gate.columns(pred, truth, (1.0, 1.0, 2.0), ["WT"], closed))
    return rows


def test_an_evaluation_counts_what_was_emptied_and_what_it_cost():
    gate = EvaluationGate("threshold")
    gate.set(POINT, freeze=False)
    rows = rows_of(gate, ("healthy", 0.7, 0, 5), ("missed", 0.6, 1, 2), ("found", 0.9, 1, 2), ("clear", 0.1, 0, 0))
    assert [row["mask_emptied"] for row in rows] == [1, 1, 0, 0]
    assert rows[0]["emptied_voxels_WT"] == 5 and rows[0]["emptied_volume_ml_WT"] == pytest.approx(0.01)
    assert rows[1]["ungated_dice_WT"] == 1.0 and "ungated_dice_WT" not in rows[2]
    told = gate.summary(rows, ["WT"], n_boot=50)
    assert told["gate"] == "threshold" and told["levels"] == {"picture": 0.5, "volume": 0.8}
    counts = {name: told[name] for name in ("n", "emptied", "with_tumour", "without_tumour", "unknown", "lost")}
    assert counts == {
        "n": 4, "emptied": 2, "with_tumour": 1, "without_tumour": 1, "unknown": 0, "lost": ["missed"],
    }  # fmt: skip
    assert told["dice_without_gate"]["WT"]["n"] == 4 and "note" not in told


def test_a_class_that_is_not_known_is_told_from_the_mask():
    gate = EvaluationGate(1.0)
    gate.set(None, freeze=False)
    rows = [{**row, "tumour": None} for row in rows_of(gate, ("a", 0.7, 1, 5), ("b", 0.7, 0, 5))]
    told = gate.summary([*rows, {**rows[0], "case_id": "c", "mask_known": 0}], ["WT"], n_boot=50)
    assert (told["with_tumour"], told["without_tumour"], told["unknown"]) == (1, 1, 1)


@pytest.mark.parametrize("point", [POINT, None], ids=["chosen here", "none chosen"])
def test_a_gate_at_a_threshold_not_yet_known_is_left_open_and_says_so(point, caplog):
    gate = EvaluationGate("threshold")
    gate.set(point, freeze=point is not None)
    assert not gate.closes("volume", 0.01)
    told = gate.summary(rows_of(gate, ("a", 0.1, 0, 5)), ["WT"], n_boot=50)
    assert told["emptied"] == 0 and (told["note"] == CHOSEN_HERE) is (point is not None)
    assert told["note"] in caplog.text


def test_without_a_gate_rows_and_summary_say_nothing():
    gate = EvaluationGate()
    gate.set(POINT, freeze=False)
    rows = rows_of(gate, ("a", 0.1, 0, 5))
    assert "mask_emptied" not in rows[0] and gate.summary(rows, ["WT"]) is None
