from __future__ import annotations

import csv
import json
import logging

import pytest
import torch
from ignite.engine import Engine

from medvlm.handlers.probe_evaluation import ProbeEvaluation, training_constants

HEADS = {
    "stenosis": {"kind": "binary"},
    "dominance": {"kind": "multiclass", "classes": 3},
    "percent": {"kind": "regression"},
}


@pytest.fixture
def run(tmp_path):
    def evaluate(heads=HEADS, repeated: int = 1, **settings) -> dict:
        truth = torch.tensor([[1.0, 2.0, 80.0], [0.0, 0.0, 10.0], [1.0, 1.0, 90.0], [0.0, 0.0, 20.0]])
        known = torch.ones(4, 3)
        known[2, 1] = 0
        valid = torch.tensor([True, True, True, False])
        batch = {
            "case_id": ["a", "b", "c", "d"],
            "patient_id": ["p1", "p2", "p3", "p4"],
            "source": ["x"] * 4,
            "view_mask": valid[:, None].expand(4, 2),
            "view_files": [json.dumps(["far/s/v1.dcm", "far/s/v2.dcm"])] * 4,
            "view_problems": [json.dumps(["", ""])] * 3 + [json.dumps(["far/s/v1.dcm: truncated", "no pixels"])],
            "view_skipped": [json.dumps({"far/s/v3.dcm": "cut short"})] + ["{}"] * 3,
        }
        pred = {
            "stenosis": torch.tensor([[2.0], [-2.0], [0.5], [float("nan")]]),
            "dominance": torch.eye(3)[torch.tensor([2, 0, 1, 0])] * 4,
            "percent": torch.tensor([[70.0], [20.0], [95.0], [0.0]]),
            "attention": torch.full((4, 2), 0.5),
        }
        (tmp_path / "probe.pt").write_bytes(b"weights")
        handler = ProbeEvaluation(
            tmp_path / "out", heads, {"name": "b", "version": "1"}, tmp_path / "probe.pt", tmp_path / "points.json",
            n_boot=20, progress=False, **settings,
        )  # fmt: skip
        engine = Engine(
            lambda _, b: {"pred": pred, "label": {"study_valid": valid, "targets": truth, "targets_known": known}}
        )
        handler.attach(engine)
        return getattr(engine.run([batch] * repeated), "evaluation", None)

    return evaluate


def test_an_unreadable_study_is_listed_and_scored_nowhere(run, tmp_path):
    evaluation = run()
    assert evaluation["n"] == {"studies": 4, "without_readable_view": 1, "patients": 4}
    assert evaluation["heads"]["stenosis"]["n"] == 3 and evaluation["heads"]["dominance"]["n"] == 2
    with open(tmp_path / "out" / "cases.csv", encoding="utf-8", newline="") as stream:
        lost = list(csv.DictReader(stream))[3]
    assert lost["pred_stenosis"] == "" and lost["view_problems"] == "s/v1.dcm: truncated; s/v2.dcm: no pixels"
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "s/v2.dcm: no pixels" in page and "could not be made" not in page


def test_files_that_gave_way_to_others_are_named(run, tmp_path):
    run()
    with open(tmp_path / "out" / "cases.csv", encoding="utf-8", newline="") as stream:
        assert next(csv.DictReader(stream))["view_problems"] == "s/v3.dcm: cut short"


def test_a_study_that_a_sampler_repeats_counts_once(run):
    assert run(repeated=2)["n"]["studies"] == 4


@pytest.mark.parametrize(
    ("name", "freeze", "option"), [("out", False, "--output_dir"), ("frozen", True, "--operating_points")]
)
def test_a_folder_that_cannot_be_written_is_refused_before_the_first_study(tmp_path, name, freeze, option):
    (tmp_path / name).write_text("a file in its place", encoding="utf-8")
    handler = ProbeEvaluation(
        tmp_path / "out", HEADS, {}, tmp_path / "probe.pt", tmp_path / "frozen" / "points.json", section="validation",
        freeze=freeze, progress=False,
    )  # fmt: skip
    engine = Engine(lambda *_: pytest.fail("the evaluation has begun"))
    handler.attach(engine)
    with pytest.raises(FileExistsError, match=f"{name}.*choose another {option}"):
        engine.run([0])


def test_the_first_process_writes_for_all(run, tmp_path, monkeypatch):
    monkeypatch.setattr("medvlm.handlers.probe_evaluation.is_main_process", lambda: False)
    assert run() is None and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("heads", "words"),
    [
        (HEADS, "stenosis: 2 positive and 1 negative), at least 5 positive are needed, and no file is written"),
        ({"percent": {"kind": "regression"}}, "none of the heads ['percent'] is binary"),
    ],
    ids=["too few positives", "no binary head"],
)
def test_calibration_without_a_threshold_says_why_and_writes_no_file(run, tmp_path, caplog, heads, words):
    with caplog.at_level(logging.INFO):
        run(heads, freeze=True, section="validation", min_positives=5, names=list(HEADS))
    assert words in caplog.text and "frozen in" not in caplog.text
    assert not (tmp_path / "points.json").exists()


def test_thresholds_are_frozen_on_validation_and_read_on_test(run, tmp_path):
    (tmp_path / "points.json").write_text(json.dumps({"stenosis": {"threshold": 0.9}}), encoding="utf-8")
    assert run()["heads"]["stenosis"]["confusion"] == {"tp": 0, "fp": 0, "tn": 1, "fn": 2}
    stale = {"stenosis": {"threshold": 0.9, "checkpoint_sha256": "other"}}
    (tmp_path / "points.json").write_text(json.dumps(stale), encoding="utf-8")
    assert run()["heads"]["stenosis"]["threshold"] == 0.5


def test_a_threshold_of_other_settings_is_not_used_and_the_report_says_so(run, tmp_path):
    seen = {"frames": 16, "subtract": "first"}
    run(freeze=True, section="validation", min_positives=1, settings=seen)
    assert json.loads((tmp_path / "points.json").read_text(encoding="utf-8"))["stenosis"]["settings"] == seen
    assert run(settings=seen)["heads"]["stenosis"]["operating_point"]["frozen"]
    point = run(settings={**seen, "frames": 8})["heads"]["stenosis"]["operating_point"]
    assert point["threshold"] == 0.5 and not point["frozen"] and "frames 16 (here 8)" in point["note"]
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "not chosen on data: points.json was chosen with other settings: frames 16 (here 8)" in page


def test_constants_come_from_the_training_section():
    targets = [(1, 2, 10.0), (0, 2, 50.0), (0, 1, 60.0), (None, None, None)]
    cases = [{"targets": dict(zip(HEADS, values, strict=True))} for values in targets]
    assert training_constants([*cases, {}], HEADS) == {"stenosis": 0, "dominance": 2, "percent": 50.0}
    assert training_constants(cases[3:], HEADS) == {}


def test_a_run_to_compare_with_that_does_not_exist_is_refused_before_the_first_study(run, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere.cases\.csv \(other\); evaluate those runs first"):
        run(against={"other": "nowhere/cases.csv"})
    assert not (tmp_path / "out" / "cases.csv").exists()


def test_the_report_says_what_the_baselines_and_the_comparison_are(run, tmp_path):
    run()
    rows = str(tmp_path / "out" / "cases.csv")
    evaluation = run(constants={"stenosis": 0, "dominance": 2, "percent": 50.0}, against={"other": rows})
    assert evaluation["heads"]["stenosis"]["baseline_majority"]["accuracy"] == pytest.approx(1 / 3)
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "chosen on: training section" in page and "delong, paired" in page and "could not be made" not in page
