from __future__ import annotations

import pytest

from medvlm.metrics.angiography_facts import Fact
from medvlm.metrics.fact_scores import compare_facts, fact_report, made_up
from medvlm.metrics.trivial_reports import NORMAL_REPORT, constant_reports

WRITTEN = [
    "Right dominant. The mid LAD has an 80% stenosis. The RCA is normal.",
    "Right dominant. The mid RCA is occluded. The LAD is normal.",
    "Left dominant. The left main is normal. The proximal LAD is calcified.",
    "Right dominant. The LAD, circumflex and RCA are free of disease.",
] * 5
PATIENTS = [f"p{n}" for n in range(20)]


def test_the_written_reports_themselves_score_one():
    report = fact_report(WRITTEN, WRITTEN, PATIENTS, n_boot=20)
    assert (report["n"], report["n_patients"], report["n_without_facts"]) == (20, 20, 0)
    for name, scores in (report["kinds"] | report["groups"]).items():
        assert scores["precision"]["value"] == scores["recall"]["value"] == scores["f1"]["value"] == 1, name
        assert scores["extra"] == scores["missed"] == 0
    assert report["hallucination"]["value"] == 0 and report["hallucination"]["n"] == 15


def test_counts_by_hand():
    said = "Right dominant. The mid LAD has a 60% stenosis. Severe stenosis of the mid RCA. The left main is normal."
    report = fact_report([said], WRITTEN[:1], ["p"], n_boot=5)
    stenosis = report["kinds"]["stenosis"]
    assert (stenosis["right"], stenosis["extra"], stenosis["missed"]) == (0, 2, 1)  # the right place, the wrong grade
    everything = report["groups"]["all"]
    assert (everything["right"], everything["extra"], everything["missed"]) == (1, 3, 2)
    assert everything["f1"]["value"] == pytest.approx(2 / 7)
    assert everything["f1"]["ci"] is None  # one patient
    # A wrong grade is an error, not an invention: of two findings one is made up.
    assert (report["hallucination"]["n"], report["hallucination"]["n_made_up"]) == (2, 1)


@pytest.mark.parametrize(
    ("said", "meant", "invented"),
    [
        (Fact("stenosis", "mid_lad", "severe"), Fact("stenosis", "mid_lad", "mild"), 0),
        (Fact("stenosis", "mid_lad", "severe"), Fact("stenosis", "LAD", "severe"), 0),
        (Fact("stenosis", "LAD", "severe"), Fact("stenosis", "diagonal_1", "severe"), 0),
        (Fact("stenosis", "mid_lad", "severe"), Fact("stenosis", "distal_lad", "severe"), 1),
        (Fact("stenosis", "mid_lad", "severe"), Fact("normal", "LAD", "none"), 1),
        (Fact("calcification", "mid_lad", "yes"), Fact("stenosis", "mid_lad", "severe"), 1),
    ],
)
def test_a_finding_is_made_up_where_the_reference_has_nothing(said, meant, invented):
    assert made_up({said}, {meant}) == (1, invented)


def test_what_was_not_claimed_is_not_made_up():
    claims = {Fact("normal", "LAD", "none"), Fact("calcification", "LAD", "no"), Fact("dominance", "coronary", "left")}
    assert made_up(claims, set()) == (0, 0)


def test_the_normal_report_finds_nothing_and_invents_nothing():
    report = fact_report(constant_reports(20), WRITTEN, PATIENTS, n_boot=50)
    assert report["groups"]["findings"]["f1"]["value"] == 0
    assert report["groups"]["findings"]["precision"]["value"] is None  # it claims no finding
    assert report["hallucination"] == {"value": None, "ci": None, "n": 0, "n_made_up": 0}
    assert report["kinds"]["dominance"]["recall"]["value"] == 0.75
    low, high = report["kinds"]["dominance"]["recall"]["ci"]
    assert 0.3 < low < 0.75 < high < 1


def test_empty_reports_claim_nothing():
    report = fact_report([None, ""] * 10, WRITTEN, PATIENTS, n_boot=5)
    assert report["groups"]["all"]["right"] == report["groups"]["all"]["extra"] == 0
    assert report["groups"]["all"]["recall"]["value"] == 0


def test_baselines_are_compared_on_the_same_patients():
    found = compare_facts(
        {"model": WRITTEN, "normal": [NORMAL_REPORT] * 20, "silent": [""] * 20}, WRITTEN, PATIENTS, n_boot=200
    )
    assert set(found["scores"]) == {"model", "normal", "silent"}
    against = found["against"]["normal"]
    assert against["findings"]["difference"] == 1 and against["findings"]["ratio"] is None
    assert against["all"]["ratio"] > 1.5 and against["all"]["ci"][0] > 0 and against["all"]["p"] < 0.05
    assert found["against"]["silent"]["all"]["difference"] == 1


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: fact_report(["a"], ["a", "b"], ["p"]), "got 1, 2 and 1"),
        (lambda: fact_report([], [], []), "no report"),
        (lambda: compare_facts({}, ["a"], ["p"]), "at least the model"),
    ],
)
def test_reports_that_cannot_be_scored_are_refused(call, match):
    with pytest.raises(ValueError, match=match):
        call()
