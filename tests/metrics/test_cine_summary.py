from __future__ import annotations

import json
import math

import numpy as np
import pytest

from medvlm.metrics.cine_rows import study_rows
from medvlm.metrics.cine_summary import CONSTANT, NEAREST, Study, summarise_studies
from medvlm.metrics.zero_shot import embed_prompts
from medvlm.metrics.zero_shot_tasks import zero_shot_tasks

REPORTS = [
    "Right dominant. The mid LAD has an 80% stenosis. The RCA is normal.",
    "Right dominant. The mid RCA is occluded. The LAD is normal.",
    "Left dominant. The left main is normal. The proximal LAD is calcified.",
    "Right dominant. The LAD, circumflex and RCA are free of disease.",
]
TASKS = zero_shot_tasks(
    {"stenosis": {"target": "max_stenosis", "above": 70, "positive": ["bad"], "negative": ["good"]}}
)


def basis(index: int, size: int = 8) -> np.ndarray:
    return np.eye(size)[index]


@pytest.fixture
def studies() -> list[Study]:
    """Four studies with reports, each video on its own report; one without a report, one unreadable."""
    made = [
        Study(
            f"c{i}", f"p{i}", f"s{i}", "here", report, 2, {}, {"max_stenosis": 80 if i < 2 else 10}, basis(i), basis(i)
        )
        for i, report in enumerate(REPORTS)
    ]
    made.append(Study("c4", "p4", "s4", "here", "", 1, {"s4/b.dcm": "truncated"}, {}, basis(4), basis(5)))
    lost = {"s5/a.dcm": "no pixel data", "s5/b.dcm": "no pixel data"}
    made.append(Study("c5", "p5", "s5", "here", REPORTS[0], 0, lost, {"max_stenosis": 10}, basis(0), basis(0)))
    for study in made:
        study.generated, study.caption_score, study.nearest, study.nearest_case = study.report, -1.0, REPORTS[3], "t0"
    return made


@pytest.fixture
def prompts() -> dict:
    vectors = {"bad": basis(0) + basis(1), "good": basis(2) + basis(3)}
    tasks = {name: task.prompts for name, task in TASKS.items()}
    return embed_prompts(tasks, lambda texts: np.stack([vectors[text] for text in texts]))


def summary(studies, prompts=None, **options) -> dict:
    rows = study_rows(studies, TASKS, prompts)
    return summarise_studies(studies, rows, TASKS, prompts, n_boot=20, **options)


def test_perfect_studies_score_one_and_the_unreadable_one_has_no_part(studies, prompts):
    found = summary(studies, prompts)
    assert found["n"] == {
        "studies": 6, "patients": 6, "evaluated": 5, "unreadable": 1, "views_read": 9, "views_unreadable": 3,
        "without_report": 1,
    }  # fmt: skip
    assert found["unreadable"] == [{"case_id": "c5", "problems": studies[5].problems}]
    ways = [found["retrieval"][way] for way in ("video_to_text", "text_to_video")]
    assert [way["metrics"]["hit@1"]["value"] for way in ways] == [1, 1]
    assert [(way["n_queries"], way["n_candidates"]) for way in ways] == [(4, 4), (4, 5)]  # the fifth is a candidate
    assert [way["metrics"]["hit@1"]["chance"] for way in ways] == pytest.approx([1 / 4, 1 / 5])
    task = found["zero_shot"]["tasks"]["stenosis"]
    assert task["n"] == 4 and task["n_unknown"] == 1 and task["metrics"]["roc_auc"]["value"] == 1
    assert task["prompts"] == {"positive": ["bad"], "negative": ["good"]}
    scores = found["captioning"]["facts"]["scores"]
    assert scores["network"]["groups"]["all"]["f1"]["value"] == 1 and scores["network"]["n"] == 4
    assert set(scores) == {"network", CONSTANT, NEAREST}
    assert scores[CONSTANT]["groups"]["findings"]["f1"]["value"] == 0
    assert found["captioning"]["texts"]["network"]["tokenised"]["rouge_l"]["value"] == pytest.approx(1)
    json.dumps(found, allow_nan=False)


def test_an_unreadable_study_that_would_win_changes_nothing(studies, prompts):
    before = summary(studies[:5], prompts)
    after = summary(studies, prompts)
    for part in ("zero_shot", "captioning", "ablation"):
        assert after[part] == before[part]
    for way in ("video_to_text", "text_to_video"):
        assert after["retrieval"][way] == before["retrieval"][way]


def test_rows_hold_ranks_counted_by_hand(studies, prompts):
    studies[0].video = basis(1)  # nearest: report 1; report 0 ties with 2 and 3 at cosine 0, ranks 2 to 4
    rows = study_rows(studies, TASKS, prompts)
    assert [row["rank_video_to_text"] for row in rows[:4]] == [3, 1, 1, 1]
    assert rows[0]["hit@1_video_to_text"] == 0
    assert rows[0]["mrr_video_to_text"] == pytest.approx((1 / 2 + 1 / 3 + 1 / 4) / 3)
    assert rows[1]["rank_text_to_video"] == 1.5  # two videos lie on report 1, one of them is right
    assert rows[1]["hit@1_text_to_video"] == pytest.approx(0.5)
    assert rows[0]["similarity"] == 0 and rows[1]["similarity"] == pytest.approx(1)
    assert (rows[0]["facts_right_findings"], rows[0]["facts_missed_findings"]) == (1, 0)
    assert rows[0]["target_stenosis"] == 1 and rows[2]["target_stenosis"] == 0
    for name in ("rank_video_to_text", "zero_shot_stenosis", "facts_right_all"):
        assert rows[5][name] is None, name
    assert rows[4]["rank_video_to_text"] is None and rows[4]["zero_shot_stenosis"] is not None
    assert json.loads(rows[5]["view_problems"]) == studies[5].problems


def test_equal_reports_are_right_for_each_other(studies):
    studies[1].report = REPORTS[0].upper()
    studies[1].video = basis(0)
    found = summary(studies)
    assert found["retrieval"]["n_unique_texts"] == 3
    assert found["retrieval"]["video_to_text"]["metrics"]["hit@1"]["value"] == 1


def test_what_was_not_trained_is_said_and_not_scored(studies, prompts):
    for study in studies:
        study.generated = None
    found = summary(studies, prompts)
    assert "not trained to write" in found["captioning"]["note"] and found["retrieval"]["video_to_text"]
    for study in studies:
        study.video = study.text = None
        study.generated = study.report
    found = summary(studies)
    assert "not trained to align" in found["retrieval"]["note"] and "note" in found["zero_shot"]
    assert found["captioning"]["facts"]["scores"]["network"]["groups"]["all"]["f1"]["value"] == 1


def test_without_a_gallery_the_nearest_report_is_said_to_be_absent(studies):
    for study in studies:
        study.nearest = None
    found = summary(studies)["captioning"]
    assert NEAREST not in found["texts"] and "no gallery" in found["nearest_note"]


def test_nothing_but_unreadable_studies_is_reported_as_that(studies, prompts):
    found = summary(studies[5:], prompts)
    assert found["n"]["evaluated"] == 0
    notes = [found[part]["note"] for part in ("retrieval", "zero_shot", "captioning")]
    assert all("readable" in note for note in notes)


def test_an_empty_caption_claims_nothing(studies):
    studies[0].generated = ""
    row = study_rows(studies)[0]
    assert (row["findings_said"], row["findings_made_up"], row["facts_right_all"]) == (0, 0, 0)
    assert row["facts_missed_all"] > 0
    assert math.isclose(summary(studies)["captioning"]["texts"]["network"]["n_empty"], 1)


def test_the_empty_section_and_repeated_cases_are_refused(studies):
    with pytest.raises(ValueError, match="section of the datalist is empty"):
        summarise_studies([], [])
    with pytest.raises(ValueError, match="'c0'"):
        summarise_studies([*studies, studies[0]], [])
