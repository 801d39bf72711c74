"""Sampling in time, fitting into a size, and the description of angles."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from transforms.cine import CineInfo, angle_features, fit_frames, frame_grid, regular_times, window_ticks


@pytest.mark.parametrize("source_fps", [7.5, 12.5, 15.0, 25.0, 30.0])
def test_a_clock_shows_the_same_moments_whatever_the_rate_of_the_file(source_fps):
    times = regular_times(int(4 * source_fps), source_fps)
    grid = frame_grid(times, 7.5, seconds=4.0)
    assert len(grid) == 30
    assert np.abs(times[grid] - np.arange(30) * 1000 / 7.5).max() <= 500 / source_fps + 1e-6


def test_a_clock_as_fast_as_the_file_takes_every_frame():
    assert frame_grid(regular_times(50, 15.0), 15.0, 50 / 15).tolist() == list(range(50))
    assert frame_grid(regular_times(50, 15.0), None).tolist() == list(range(50))


def test_a_faster_clock_repeats_frames():
    assert frame_grid(regular_times(3, 10.0), 20.0, 0.3).tolist() == [0, 0, 1, 1, 2, 2]


def test_irregular_frames_are_taken_by_their_times():
    times = np.array([0.0, 10.0, 20.0, 500.0, 990.0, 1000.0])
    assert frame_grid(times, 2.0, seconds=1.6).tolist() == [0, 3, 5]


def test_one_frame_fills_the_clock_once():
    assert frame_grid(np.zeros(1), 7.5, 1 / 15).tolist() == [0]


@pytest.mark.parametrize(
    ("ticks", "frames", "short", "start", "expected"),
    [
        (10, 4, "loop", None, [3, 4, 5, 6]),
        (10, 4, "loop", 6, [6, 7, 8, 9]),
        (4, 4, "hold", None, [0, 1, 2, 3]),
        (3, 7, "loop", None, [0, 1, 2, 0, 1, 2, 0]),
        (3, 7, "hold", None, [0, 1, 2, 2, 2, 2, 2]),
        (3, 4, "loop", 2, [2, 0, 1, 2]),
    ],
)
def test_windows(ticks, frames, short, start, expected):
    assert window_ticks(ticks, frames, short, start).tolist() == expected


def test_frames_keep_their_proportions():
    out = fit_frames(torch.ones(2, 100, 50), (20, 20))
    assert out.shape == (2, 20, 20)
    assert out[:, :, 5:15].min() > 0.999 and out[:, :, :5].max() == 0 and out[:, :, 15:].max() == 0


def test_shrinking_does_not_alias():
    stripes = (torch.arange(200) % 2).float().expand(1, 200, 200)
    assert (fit_frames(stripes, (50, 50)) - 0.5).abs().max() < 0.05


def test_angles_are_sine_cosine_and_known():
    assert angle_features(-30, 20) == pytest.approx([-0.5, 3**0.5 / 2, 1, 0.34202, 0.93969, 1], abs=1e-5)
    assert angle_features(None, float("nan")).tolist() == [0] * 6
    assert angle_features(0, None).tolist() == [0, 1, 1, 0, 0, 0]


def test_seconds_last_to_the_end_of_the_last_frame():
    info = CineInfo("a", 30, 8, 8, regular_times(30, 15.0))
    assert info.seconds == pytest.approx(2.0) and info.interval_ms == pytest.approx(1000 / 15)
