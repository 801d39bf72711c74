"""The draws of a study at the time of prediction."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from transforms import LoadCined, NormaliseCined, RequireViewd, ResampleCined, SampleFramesd


@pytest.fixture
def study(xa, cine_frames) -> dict:
    """Three views of 12 frames at 15 a second, the second of which does not exist, read at 15 a second."""
    first = xa(cine_frames, "one.dcm")
    third = xa(cine_frames[::-1].copy(), "three.dcm")
    case = {"video": [str(first), str(first.parent / "gone.dcm"), str(third)], "case_id": "s"}
    return LoadCined(size=24, fps=15.0, max_views=4)(case)


def test_frames_are_told_with_number_and_time(study):
    ticks, places = json.loads(study["view_ticks"]), json.loads(study["view_places"])
    assert sorted(len(row) for row in ticks) == [0, 0, 12, 12]
    assert ticks[0][3] == [3, pytest.approx(200.0, abs=0.01)]
    assert places[0] == [40, 48, 2, 22, 0, 24]  # 40 x 48 fits 24 x 24 at half the size


def test_the_middle_clip_is_that_of_evaluation(study):
    found = ResampleCined(frames=4)(study)
    assert torch.equal(found["video"], SampleFramesd(frames=4, random=False)(study)["video"])
    assert [frame for frame, _ in json.loads(found["view_ticks"])[0]] == [4, 5, 6, 7]
    assert found["resampled_video"].shape[0] == 0


def test_draws_hold_readable_views_only_and_each_once(study):
    found = ResampleCined(frames=4, resamples=20, normalise=NormaliseCined())(study)
    video, mask = found["resampled_video"], found["resampled_mask"]
    readable = study["view_mask"]
    assert video.shape == (20, 4, 1, 4, 24, 24) and mask.shape == (20, 4)
    assert mask.any(1).all() and not mask[:, ~readable].any()
    assert (mask.sum(1) == 1).any() and (mask.sum(1) == 2).any()  # with replacement
    assert (video[~mask] == 0).all() and video[mask].std(dim=(1, 2, 3, 4), correction=0).allclose(torch.ones(1))


def test_draws_start_at_different_frames(study):
    found = ResampleCined(frames=4, resamples=20)(study)
    views = int(torch.nonzero(study["view_mask"])[0])
    drawn = found["resampled_video"][found["resampled_mask"][:, views], views]
    assert len({clip.numpy().tobytes() for clip in drawn}) > 3


def test_draws_depend_on_the_seed_alone(study):
    one, same, other = (ResampleCined(frames=4, resamples=5, seed=seed)(study) for seed in (0, 0, 1))
    assert torch.equal(one["resampled_video"], same["resampled_video"])
    assert not torch.equal(one["resampled_mask"], other["resampled_mask"]) or not torch.equal(
        one["resampled_video"], other["resampled_video"]
    )


def test_a_short_cine_is_drawn_too(study):
    found = ResampleCined(frames=30, resamples=3)(study)
    assert found["resampled_video"].shape == (3, 4, 1, 30, 24, 24)
    assert np.isfinite(found["resampled_video"].numpy()).all()


def test_a_study_without_a_readable_view_is_refused_with_every_reason(tmp_path):
    (tmp_path / "empty.dcm").write_bytes(b"")
    case = {"video": [str(tmp_path / "gone.dcm"), str(tmp_path / "empty.dcm")], "case_id": "s"}
    read = LoadCined(size=24, max_views=4)(case)
    with pytest.raises(ValueError, match="none of the study's 2 views can be read") as refused:
        RequireViewd()(read)
    assert "gone.dcm: there is no such file" in str(refused.value) and "empty.dcm: the file is empty" in str(
        refused.value
    )
    nothing = LoadCined(size=24, max_views=4)({"video": [], "case_id": "s"})
    with pytest.raises(ValueError, match="the study has no cine"):
        RequireViewd()(nothing)


def test_a_study_with_one_readable_view_passes(study):
    assert RequireViewd()(study)["view_mask"].sum() == 2


@pytest.mark.parametrize(
    ("settings", "message"), [({"resamples": -1}, "resamples"), ({"keys": ["video", "other"]}, "one key")]
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ResampleCined(**settings)
