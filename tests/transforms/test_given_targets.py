"""Given positives and a given teacher's features as tensors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from transforms import PickCined, SoftPositivesd, TeacherFeaturesd


def test_a_case_is_named_alike_wherever_it_is_named():
    transform = SoftPositivesd(count=3)
    one = transform({"case_id": "a", "similar": {"b": 0.5, "c": 1}})
    other = transform({"case_id": "b"})
    assert one["similar_keys"][0] == other["case_key"] != one["case_key"]
    assert one["similar_weights"].tolist() == [0.5, 1.0, 0.0] and one["similar_keys"][2] == 0
    assert other["similar_keys"].eq(0).all()


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ({"case_id": "a", "similar": {"b": 1.5}}, "in 0..1"),
        ({"case_id": "a", "similar": {"b": 1, "c": 1}}, "at most 1 weights"),
        ({"case_id": "a", "similar": ["b"]}, "weights by case_id"),
        ({"similar": {}}, "must have a case_id"),
    ],
)
def test_slips_in_given_positives_are_refused(case, words):
    with pytest.raises(ValueError, match=words):
        SoftPositivesd(count=1)(case)
    with pytest.raises(ValueError, match="count must be at least 1"):
        SoftPositivesd(count=0)


@pytest.mark.parametrize("kind", ["numbers", ".npy"])
def test_features_of_a_teacher_are_numbers_or_a_file(tmp_path, kind):
    np.save(tmp_path / "t.npy", np.array([[1.0, 2.0]]))
    case = TeacherFeaturesd(dim=2)({"teacher": [1.0, 2.0] if kind == "numbers" else str(tmp_path / "t.npy")})
    assert case["teacher"].tolist() == [1.0, 2.0] and case["teacher_known"] == 1.0
    nothing = TeacherFeaturesd(dim=2)({})
    assert nothing["teacher"].tolist() == [0.0, 0.0] and nothing["teacher_known"] == 0.0


@pytest.mark.parametrize("value", [[1.0], [1.0, float("nan")], "gone.npy"])
def test_features_that_do_not_fit_are_refused(value):
    with pytest.raises(ValueError, match="must be 2 finite numbers|cannot be read"):
        TeacherFeaturesd(dim=2)({"teacher": value})


def test_what_was_not_made_into_tensors_is_left_out():
    views = {"video": torch.zeros(1), "view_mask": torch.ones(1), "angles": torch.zeros(1)}
    raw = PickCined()({**views, "teacher": "a.npy", "case_id": "a"})
    assert "teacher" not in raw and raw["case_id"] == "a"
    made = PickCined()(TeacherFeaturesd(dim=2)({**views, "teacher": [1.0, 2.0]}))
    assert made["teacher"].shape == (2,) and made["teacher_known"] == 1.0
