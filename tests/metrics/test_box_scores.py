"""Overlap of boxes counted by hand, and what a report of them says."""

from __future__ import annotations

import numpy as np
import pytest

from medvlm.metrics.box_scores import box_report, iou
from medvlm.metrics.cine_summary import Study, summarise_studies

TRUE = np.array([[0.0, 0.0, 0.2, 0.2], [0.5, 0.5, 0.9, 0.9], [0.0, 0.0, 0.4, 0.4], [0.1, 0.1, 0.3, 0.3]])


@pytest.mark.parametrize(
    ("other", "expected"),
    [([0, 0, 2, 2], 1.0), ([1, 0, 3, 2], 1 / 3), ([2, 0, 4, 2], 0.0), ([0, 0, 1, 1], 0.25), ([1, 1, 1, 1], 0.0)],
)
def test_overlap(other, expected):
    assert iou(np.array([[0.0, 0.0, 2.0, 2.0]]), np.array([other], dtype=float))[0] == pytest.approx(expected)


def test_scores_are_means_over_boxes_with_intervals_over_patients():
    found = TRUE.copy()
    found[2:] += 1.0  # beside the reference
    report = box_report(found, TRUE, ["a", "a", "b", "c"], n_boot=200)
    assert (report["n"], report["n_patients"]) == (4, 3)
    assert report["network"]["iou"]["value"] == report["network"]["accuracy"]["value"] == 0.5
    low, high = report["network"]["iou"]["ci"]
    assert low == 0.0 and 0.5 < high <= 1.0, "a resample may hold only the patients that were missed"
    assert report["network"]["accuracy"]["method"] == "wilson on effective patients"
    assert 0 < report["mean_box"]["iou"]["value"] < 0.5


def test_one_patient_has_no_interval_of_the_mean():
    report = box_report(TRUE, TRUE, ["a"] * 4, n_boot=50)
    assert report["network"]["iou"] == {"value": 1.0, "ci": None}


def studies(**boxes) -> list[Study]:
    return [Study(case_id=c, patient_id=c, study_id=c, source="s", report="", views_read=1, **boxes) for c in "ab"]


def test_an_evaluation_scores_only_where_there_are_references():
    whole = studies(found_boxes=TRUE[:2].tolist(), true_boxes=TRUE[:2].tolist(), reference_boxes=3)
    without = Study("c", "c", "c", "s", "", 1, found_boxes=[], true_boxes=[])
    boxes = summarise_studies([*whole, without], [], n_boot=20)["boxes"]
    assert (boxes["n"], boxes["n_patients"], boxes["n_reference"]) == (4, 2, 6)
    assert boxes["network"]["iou"]["value"] == 1.0


@pytest.mark.parametrize(
    ("boxes", "words"),
    [({}, "not trained to locate"), ({"found_boxes": [], "true_boxes": []}, "no study has a reference box")],
    ids=["no box tokens", "no reference"],
)
def test_without_boxes_a_note_says_why(boxes, words):
    assert words in summarise_studies(studies(**boxes), [], n_boot=20)["boxes"]["note"]
