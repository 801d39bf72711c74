from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from medvlm.visualize.cine_panels import Look, Tile, contact_sheet, looked_at, shown_range, tile_row


def opened(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


@pytest.fixture
def video() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(3, 8, 20, 30)).astype(np.float32)


def test_a_sheet_has_a_row_a_view_and_at_most_six_frames(video):
    one, three = (opened(contact_sheet(video[:n], [f"view {i}" for i in range(n)])) for n in (1, 3))
    assert three.shape[0] == pytest.approx(3 * one.shape[0], rel=0.1) and three.shape[1] == one.shape[1]
    assert opened(contact_sheet(video[:, :2], ["a", "b", "c"])).shape[1] < one.shape[1]


def test_frames_are_shown_from_the_first_to_the_last():
    ramp = np.arange(8, dtype=np.float32)[None, :, None, None] * np.ones((1, 8, 20, 20), np.float32)
    sheet = opened(contact_sheet(ramp, ["view"]))
    middle = sheet[sheet.shape[0] // 2].mean(axis=1)
    assert middle[160:260].mean() < 5 and middle[-60:-20].mean() > 250  # black first, white last


def test_the_heat_lies_where_the_weight_is_and_on_the_view_that_has_it(video):
    flat = np.zeros_like(video)
    flat[1] = 1.0  # the view with the weight is bright everywhere once it is shown alone
    heat = np.zeros((3, 4, 5, 5), np.float32)
    heat[1, 2, 0, 0] = 1.0
    shown = opened(looked_at(flat, ["a", "b", "c"], [Look("A stenosis.", heat)]))
    empty = opened(looked_at(flat, ["a", "b", "c"], [Look("A stenosis.", heat * 1e-30)]))
    colour = lambda image: np.abs(image[..., 0] - image[..., 2]) > 60  # noqa: E731
    assert colour(shown).sum() > 100 > colour(empty).sum()


def test_every_sentence_gets_a_row(video):
    heat = np.ones((3, 4, 5, 5), np.float32)
    one, two = (opened(looked_at(video, ["a", "b", "c"], [Look("x.", heat)] * n)) for n in (1, 2))
    assert two.shape[0] == pytest.approx(2 * one.shape[0], rel=0.05)


def test_only_the_right_study_has_a_green_frame(video):
    tiles = [Tile(video[0, 0], "rank 1", False), Tile(video[1, 0], "rank 2", True), Tile(video[2, 0], "rank 3", False)]
    image = opened(tile_row(tiles))
    green = (image[..., 1] - image[..., 0] > 80) & (image[..., 1] > 100)
    columns = np.flatnonzero(green.any(axis=0)) / image.shape[1]
    assert 0.3 < columns.min() and columns.max() < 0.7
    with pytest.raises(ValueError, match="at least one study"):
        tile_row([])


@pytest.mark.parametrize(
    ("shape", "labels", "heat", "said"),
    [
        ((3, 8, 20), ["a"] * 3, (3, 4, 5, 5), r"\(N, T, H, W\) with N labels"),
        ((3, 8, 20, 30), ["a"] * 2, (3, 4, 5, 5), r"2 labels"),
        ((3, 8, 20, 30), ["a"] * 3, (2, 4, 5, 5), r"heat \(N, t, h, w\) of the 3 views"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(shape, labels, heat, said):
    with pytest.raises(ValueError, match=said):
        looked_at(np.zeros(shape), labels, [Look("x.", np.ones(heat))])


def test_a_constant_view_has_a_range():
    assert shown_range(np.full((2, 3), 4.0)) == (4.0, 5.0)
