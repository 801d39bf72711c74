"""Cases with boxes or a teacher: what is refused, and what a tokenizer learns."""

from __future__ import annotations

import json

import pytest

from medvlm.data.given_cases import cases_with_boxes, cases_with_teacher, texts_with_phrases


def datalist(tmp_path, cases):
    path = tmp_path / "datalist.json"
    path.write_text(json.dumps({"training": cases}), encoding="utf-8")
    return path


def test_a_section_without_any_box_is_refused(tmp_path):
    path = datalist(tmp_path, [{"case_id": "a", "video": ["a.dcm"]}, {"case_id": "b", "video": [], "boxes": []}])
    with pytest.raises(ValueError, match="none of the 2 cases in training.*arcade, cadica.*box_bins to 0"):
        cases_with_boxes(path)


def test_cases_without_boxes_stay_beside_those_with(tmp_path):
    box = {"view": 0, "frame": 0, "box": [1, 2, 3, 4], "name": "p99"}
    path = datalist(tmp_path, [{"case_id": "a", "boxes": [box, box | {"name": "mid_lad"}]}, {"case_id": "b"}])
    assert [case["case_id"] for case in cases_with_boxes(path)] == ["a", "b"]
    assert texts_with_phrases(path, phrases={"p99": "nearly closed"}) == ["mid lad", "nearly closed"]


def test_a_section_without_a_teacher_is_refused_and_its_files_are_found(tmp_path):
    with pytest.raises(ValueError, match="distillation needs a teacher.*none of the 1 cases.*ema_teacher"):
        cases_with_teacher(datalist(tmp_path, [{"case_id": "a"}]))
    path = datalist(tmp_path, [{"case_id": "a", "teacher": "features/a.npy"}, {"case_id": "b", "teacher": [1.0, 2.0]}])
    assert [case["teacher"] for case in cases_with_teacher(path)] == [str(tmp_path / "features/a.npy"), [1.0, 2.0]]
