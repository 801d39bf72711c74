"""The picture of a sentence's evidence shows the frame, the heat where it lies, and the box."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from medvlm.visualize.study_pictures import evidence_picture


def drawn(heat: np.ndarray, frame: np.ndarray | None = None, **changes) -> np.ndarray:
    settings = {
        "edges": ((0, 60), (0, 80)),
        "box": {"x": 40, "y": 0, "width": 40, "height": 30},
        "sentence": "70% stenosis of the mid LAD.",
        "place": "view 1, frame 3",
    }
    frame = np.tile(np.linspace(0, 1, 80, dtype=np.float32), (60, 1)) if frame is None else frame
    png = evidence_picture(frame, heat, **{**settings, **changes})
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def coloured(picture: np.ndarray) -> np.ndarray:
    return np.ptp(picture, axis=2) > 40


def test_heat_is_laid_on_the_right_tile_where_it_lies():
    heat = np.zeros((2, 2))
    heat[0, 1] = 1.0
    there = coloured(drawn(heat, box=None))
    rows, columns = np.nonzero(there)
    middle = there.shape[1] / 2
    assert there.sum() > 500 and columns.min() > middle  # nothing on the plain frame
    assert columns.mean() > middle * 1.6 and rows.mean() < there.shape[0] / 2


@pytest.mark.parametrize("value", [0.0, 0.3], ids=["zero", "even"])
def test_a_map_without_a_peak_shows_nothing_but_the_box(value):
    with_box, without = (coloured(drawn(np.full((2, 2), value), **settings)) for settings in ({}, {"box": None}))
    assert 50 < with_box.sum() < 0.05 * with_box.size and without.sum() < with_box.sum() / 5


def test_the_picture_keeps_the_frames_proportions():
    flat = drawn(np.ones((2, 2)), np.random.default_rng(0).random((30, 80), dtype=np.float32))
    tall = drawn(np.ones((2, 2)), np.random.default_rng(0).random((90, 80), dtype=np.float32))
    assert flat.shape[1] == tall.shape[1] and tall.shape[0] > 1.8 * flat.shape[0]


def test_a_constant_frame_and_a_long_sentence_can_be_drawn():
    picture = drawn(np.ones((2, 2)), np.zeros((60, 80), np.float32), sentence="no stenosis of the LAD " * 30)
    assert picture.shape[0] > drawn(np.ones((2, 2))).shape[0] + 50


@pytest.mark.parametrize("frame", [np.zeros((3, 4, 5)), np.zeros((0, 4))])
def test_what_is_no_picture_is_refused(frame):
    with pytest.raises(ValueError, match="must be rows and columns"):
        drawn(np.ones((2, 2)), frame)
