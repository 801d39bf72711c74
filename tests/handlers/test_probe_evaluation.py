from __future__ import annotations

import csv
import json

import pytest
import torch
from ignite.engine import Engine

from medvlm.handlers.probe_evaluation import ProbeEvaluation, training_medians

HEADS = {
    "stenosis": {"kind": "binary"},
    "dominance": {"kind": "multiclass", "classes": 3},
    "percent": {"kind": "regression"},
}


@pytest.fixture
def run(tmp_path):
    def evaluate(**settings) -> dict:
        truth = torch.tensor([[1.0, 2.0, 80.0], [0.0, 0.0, 10.0], [1.0, 1.0, 90.0], [0.0, 0.0, 20.0]])
        known = torch.ones(4, 3)
        known[2, 1] = 0
        valid = torch.tensor([True, True, True, False])
        batch = {
            "case_id": ["a", "b", "c", "d"],
            "patient_id": ["p1", "p2", "p3", "p4"],
            "source": ["x"] * 4,
            "view_mask": valid[:, None].expand(4, 2),
            "view_problems": [json.dumps(["", ""])] * 3 + [json.dumps(["v1.dcm: truncated", "v2.dcm: no pixels"])],
        }
        pred = {
            "stenosis": torch.tensor([[2.0], [-2.0], [0.5], [float("nan")]]),
            "dominance": torch.eye(3)[torch.tensor([2, 0, 1, 0])] * 4,
            "percent": torch.tensor([[70.0], [20.0], [95.0], [0.0]]),
            "attention": torch.full((4, 2), 0.5),
        }
        (tmp_path / "probe.pt").write_bytes(b"weights")
        handler = ProbeEvaluation(
            tmp_path / "out", HEADS, {"name": "b", "version": "1"}, tmp_path / "probe.pt", tmp_path / "points.json",
            n_boot=20, progress=False, **settings,
        )  # fmt: skip
        engine = Engine(
            lambda _, b: {"pred": pred, "label": {"study_valid": valid, "targets": truth, "targets_known": known}}
        )
        handler.attach(engine)
        return engine.run([batch]).evaluation

    return evaluate


def test_an_unreadable_study_is_listed_and_scored_nowhere(run, tmp_path):
    evaluation = run()
    assert evaluation["n"] == {"studies": 4, "without_readable_view": 1, "patients": 4}
    assert evaluation["heads"]["stenosis"]["n"] == 3 and evaluation["heads"]["dominance"]["n"] == 2
    with open(tmp_path / "out" / "cases.csv", encoding="utf-8", newline="") as stream:
        lost = list(csv.DictReader(stream))[3]
    assert lost["pred_stenosis"] == "" and "v1.dcm: truncated" in lost["view_problems"]
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "v2.dcm: no pixels" in page and "could not be made" not in page


def test_thresholds_are_frozen_on_validation_and_read_on_test(run, tmp_path):
    (tmp_path / "points.json").write_text(json.dumps({"stenosis": {"threshold": 0.9}}), encoding="utf-8")
    assert run()["heads"]["stenosis"]["confusion"] == {"tp": 0, "fp": 0, "tn": 1, "fn": 2}
    stale = {"stenosis": {"threshold": 0.9, "checkpoint_sha256": "other"}}
    (tmp_path / "points.json").write_text(json.dumps(stale), encoding="utf-8")
    assert run()["heads"]["stenosis"]["threshold"] == 0.5


def test_medians_come_from_the_training_section():
    cases = [{"targets": {"percent": value}} for value in (10.0, 50.0, 60.0, None)] + [{}]
    assert training_medians(cases, HEADS) == {"percent": 50.0}
