from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from medvlm.visualize.panels import case_panel, draw_case, montage
from medvlm.visualize.slices import as_regions, content_box, displayable, informative_slice, upright


@pytest.fixture
def brain() -> np.ndarray:
    x, y, z = np.meshgrid(np.arange(40), np.arange(48), np.arange(12), indexing="ij")
    inside = ((x - 20) / 14) ** 2 + ((y - 24) / 18) ** 2 + ((z - 6) / 6) ** 2 < 1
    return (inside * (100 + x)).astype(np.float32)


def _opened(png: bytes) -> np.ndarray:
    picture = Image.open(io.BytesIO(png))
    assert picture.format == "PNG"
    return np.asarray(picture.convert("RGB"))


def test_left_is_shown_right_and_front_on_top():
    plane = np.zeros((5, 7))
    plane[4, 0] = 1  # LPS: x = 4 is the patient's left, y = 0 the front
    shown = upright(plane)
    assert shown.shape == (7, 5) and shown[0, 4] == 1


def test_the_figure_shows_the_plane_unflipped(brain):
    brain[30:33, 8:11, 6] = 500
    axes = draw_case(brain, slice_index=6).axes[0]
    image = axes.images[0]
    row, column = np.unravel_index(np.argmax(image.get_array()), image.get_array().shape)
    height, width = image.get_array().shape
    assert row < height / 2 and column > width / 2
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # row 0 on top


def test_the_slice_with_most_truth_and_prediction_is_chosen(brain):
    truth = np.zeros(brain.shape, bool)
    truth[10:20, 10:20, 3] = True
    pred = np.zeros(brain.shape, bool)
    pred[10:18, 10:20, 8] = True
    truth[10:13, 10:20, 8] = True
    assert informative_slice(brain, truth[None], None) == 3
    assert informative_slice(brain, truth[None], pred[None]) == 8


def test_without_masks_the_map_decides_and_without_maps_the_head(brain):
    heat = np.zeros(brain.shape, np.float32)
    heat[..., 9] = 1
    empty = np.zeros((1, *brain.shape), bool)
    assert informative_slice(brain, empty, heat) == 9
    assert informative_slice(brain, empty) in (5, 6, 7)
    assert informative_slice(np.zeros((4, 4, 5), np.float32)) == 2


def test_the_background_of_a_z_scored_volume_is_black(brain):
    scored = np.where(brain > 0, (brain - 120) / 10, 0).astype(np.float32)
    shown, low, high = displayable(scored)
    assert low < 0 < high
    assert shown[0, 0, 0] == np.float32(low)


def test_the_window_ignores_the_background(brain):
    _, low, high = displayable(brain)
    assert 100 <= low < 110 and 125 < high <= 134


@pytest.mark.parametrize("value", [0.0, 7.0, -3.0])
def test_a_constant_image_is_shown(value):
    png = case_panel(np.full((16, 16), value, np.float32))
    assert _opened(png).shape[2] == 3


def test_the_view_keeps_what_lies_outside_the_head(brain):
    plane = brain[..., 6]
    far = np.zeros(plane.shape, bool)
    far[38, 46] = True
    x, y = content_box(plane, 0, 140)
    wider = content_box(plane, 0, 140, [far])
    assert x.stop < 39 and y.stop < 47
    assert wider[0].stop == 40 and wider[1].stop >= 47


def test_every_given_map_has_its_tile(brain):
    mask = np.zeros((3, *brain.shape), bool)
    mask[:, 15:20, 15:20, 5:8] = True
    heat = np.random.default_rng(0).random(brain.shape)
    figure = draw_case(brain, mask, mask, heat, heat, title="case", regions=("WT", "TC", "ET"))
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == ["Input", "Truth", "Prediction", "Class activation", "Uncertainty"]
    words = [text.get_text() for axes in figure.axes if axes.get_legend() for text in axes.get_legend().get_texts()]
    assert words == ["WT", "TC", "ET", "WT", "TC", "ET", "truth"]
    assert "slice" in figure.texts[0].get_text()


@pytest.mark.parametrize(
    ("shape", "given", "expected"),
    [
        ((40, 48, 12), {"slice_index": 6}, "case \N{MIDDLE DOT} axial slice 7 of 12"),
        ((40, 48), {"place": "axial slice 3 of 9"}, "case \N{MIDDLE DOT} axial slice 3 of 9"),
        ((40, 48), {}, "case"),
    ],
    ids=["volume", "plane of a volume", "picture"],
)
def test_the_heading_says_which_slice_is_shown(shape, given, expected):
    figure = draw_case(np.random.default_rng(0).random(shape), title="case", **given)
    assert figure.texts[0].get_text() == expected


def test_a_contour_is_drawn_in_the_mask_s_place(brain):
    mask = np.zeros(brain.shape, bool)
    mask[15:20, 22:30, 6] = True
    figure = draw_case(brain, pred=mask)
    axes = next(a for a in figure.axes if a.get_title() == "Prediction")
    x, y = content_box(displayable(brain)[0][..., 6], *displayable(brain)[1:], [mask[..., 6]])
    vertices = axes.collections[0].get_paths()[0].vertices
    np.testing.assert_allclose(vertices.min(axis=0), [14.5 - x.start, 21.5 - y.start])
    np.testing.assert_allclose(vertices.max(axis=0), [19.5 - x.start, 29.5 - y.start])


@pytest.mark.parametrize("place", [(slice(15, 20), slice(22, 30)), (slice(None), slice(None))], ids=["inside", "whole"])
def test_tiles_with_outlines_are_drawn_at_the_scale_of_the_others(brain, place):
    mask = np.zeros(brain.shape, bool)
    mask[(*place, 6)] = True
    figure = draw_case(brain, mask, mask, brain / brain.max())
    tiles = [axes for axes in figure.axes if axes.get_title()]
    assert [len(axes.collections) for axes in tiles] == [0, 1, 2, 0]
    assert len({(axes.get_xlim(), axes.get_ylim()) for axes in tiles}) == 1


def test_thick_pixels_are_shown_in_millimetres(brain):
    square = Image.open(io.BytesIO(case_panel(brain, slice_index=6))).size
    tall = Image.open(io.BytesIO(case_panel(brain, slice_index=6, spacing=(1, 1.5, 5)))).size
    assert tall[0] == square[0] and tall[1] > 1.3 * square[1]


def test_plain_slices_and_odd_values_are_accepted():
    image = np.random.default_rng(1).random((20, 30))
    image[3, 3], image[4, 4] = np.nan, np.inf
    png = case_panel(image, truth=image > 2, pred=image[..., None] > 0.9, cam=np.zeros((20, 30)), title="$x_ <b>\n\x07")
    assert _opened(png).std() > 1


@pytest.mark.parametrize("shape", [(3, 3), (20, 30, 2), (2, 20, 31, 1)])
@pytest.mark.parametrize("name", ["truth", "pred"])
def test_a_mask_off_the_grid_is_refused(shape, name):
    with pytest.raises(ValueError, match=f"{name} must be .* like the image"):
        case_panel(np.zeros((20, 30)), **{name: np.zeros(shape)})


def test_wrong_arguments_are_refused_with_their_value():
    image = np.zeros((8, 8, 4))
    with pytest.raises(ValueError, match="pick one channel"):
        case_panel(np.zeros((1, 8, 8, 4)))
    with pytest.raises(ValueError, match=r"cam must be \(8, 8, 4\)"):
        case_panel(image, cam=np.zeros((8, 8, 5)))
    with pytest.raises(ValueError, match="slice_index must be from 0 to 3, got 4"):
        case_panel(image, slice_index=4)
    with pytest.raises(ValueError, match="regions must name"):
        case_panel(image, truth=np.zeros((2, 8, 8, 4)), regions=["WT"])
    with pytest.raises(ValueError, match="spacing must be"):
        case_panel(image, spacing=(0.0, 1.0))


@pytest.mark.parametrize("shape", [(6, 7, 5), (2, 6, 7, 5)])
def test_masks_get_a_region_axis(shape):
    assert as_regions(np.ones(shape), "mask", (6, 7, 5)).shape[1:] == (6, 7, 5)


def test_a_flat_mask_of_regions_is_understood():
    assert as_regions(np.ones((3, 6, 7)), "mask", (6, 7, 1)).shape == (3, 6, 7, 1)


def test_a_montage_shows_slices_with_content(brain):
    assert _opened(montage(brain, brain > 120, title="montage", count=6, columns=3)).std() > 1
    assert _opened(montage(brain[..., 6])).std() > 1
