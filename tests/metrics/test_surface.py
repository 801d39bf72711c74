from __future__ import annotations

import numpy as np
import pytest

from medvlm.metrics.surface import contour_element_lengths, hausdorff_mm, surface_element_areas, surface_elements


def test_a_cut_corner_has_the_area_of_its_triangle():
    # Midpoints of three edges of a 2 x 3 x 6 mm cell at one corner: (1, 0, 0), (0, 1.5, 0), (0, 0, 3).
    expected = 0.5 * np.linalg.norm(np.cross([-1, 1.5, 0], [-1, 0, 3]))
    areas = surface_element_areas((2.0, 3.0, 6.0))
    for bit in range(8):
        assert areas[1 << bit] == pytest.approx(expected, abs=1e-12)
        assert areas[255 - (1 << bit)] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("code", "area"), [(0b11110000, 18.0), (0b11001100, 12.0), (0b10101010, 6.0)])
def test_a_flat_surface_has_the_area_of_the_cells_face(code, area):
    assert surface_element_areas((2.0, 3.0, 6.0))[code] == pytest.approx(area, abs=1e-12)


def test_uniform_neighbourhoods_hold_no_surface():
    areas = surface_element_areas((1.0, 1.0, 1.0))
    assert areas[0] == areas[255] == 0
    assert (areas[1:255] > 0).all()


def test_every_area_equals_that_of_its_complement_and_of_its_mirror_image():
    areas = surface_element_areas((1.0, 2.0, 3.0))
    np.testing.assert_allclose(areas, areas[::-1], atol=1e-12)
    cubes = (np.arange(256)[:, None] >> np.arange(7, -1, -1) & 1).reshape(-1, 2, 2, 2)
    few = np.flatnonzero(cubes.sum(axis=(1, 2, 3)) <= 3)  # with four inside, saddles are triangulated one way only
    mirrored = cubes[few][:, ::-1].reshape(-1, 8) @ (1 << np.arange(7, -1, -1))
    np.testing.assert_allclose(areas[few], areas[mirrored], atol=1e-12)


@pytest.mark.parametrize(
    ("spacing", "total", "weighted"),
    [
        ((1.0, 1.0, 1.0), 241.34313970553745, 11930.441166920587),
        ((0.9, 1.3, 5.0), 1082.6737632466798, 53444.13884943297),
    ],
)
def test_areas_sum_to_those_of_monais_table(spacing, total, weighted):
    # MONAI 1.6.1, create_table_neighbour_code_to_surface_area, in float64; importing it here would cost seconds.
    areas = surface_element_areas(spacing)
    assert areas.sum() == pytest.approx(total, rel=1e-12)
    assert areas @ (np.arange(256) ** 2 % 97) == pytest.approx(weighted, rel=1e-12)


def test_lengths_in_the_plane_follow_the_contour():
    lengths = contour_element_lengths((3.0, 4.0))
    assert lengths[0b1000] == lengths[0b0111] == 2.5  # a corner cut off
    assert lengths[0b1100] == 4.0  # first row inside: the contour runs along the second axis
    assert lengths[0b1010] == 3.0
    assert lengths[0b1001] == lengths[0b0110] == 5.0
    assert lengths[0] == lengths[15] == 0


def test_the_surface_of_a_box_sums_to_its_faces_with_cut_edges_and_corners():
    mask = np.ones((3, 4, 5), dtype=bool)
    points, areas = surface_elements(mask, (1.0, 1.0, 1.0))
    assert len(points) == 4 * 5 * 6 - 2 * 3 * 4
    flat = 2 * (2 * 3 + 3 * 4 + 2 * 4)
    edges = 4 * (2 + 3 + 4) * np.sqrt(0.5)
    corners = 8 * np.sqrt(3) / 8
    assert areas.sum() == pytest.approx(flat + edges + corners, abs=1e-9)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.5, 2.0, 3.0)])
def test_shifting_a_plate_gives_the_shift_in_mm(spacing):
    pred, truth = np.zeros((20, 20, 12), bool), np.zeros((20, 20, 12), bool)
    truth[:, :, 3] = True
    pred[:, :, 7] = True
    assert hausdorff_mm(pred, truth, spacing) == pytest.approx(4 * spacing[2])


def test_five_percent_of_the_surface_may_lie_anywhere():
    truth = np.zeros((30, 30), bool)
    truth[2:28, 2:28] = True
    pred = truth.copy()
    pred[0, 14] = True  # a speck: less than 5% of the contour
    assert hausdorff_mm(pred, truth, (1.0, 1.0)) == 0.0
    assert hausdorff_mm(pred, truth, (1.0, 1.0), percentile=100) == pytest.approx(2.0)


def test_empty_masks_have_no_distance():
    empty, full = np.zeros((4, 4), bool), np.ones((4, 4), bool)
    assert np.isnan(hausdorff_mm(empty, empty, (1, 1)))
    assert np.isinf(hausdorff_mm(full, empty, (1, 1)))
    assert np.isinf(hausdorff_mm(empty, full, (1, 1)))
    assert hausdorff_mm(full, full, (1, 1)) == 0


def test_a_spacing_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="one spacing each"):
        surface_elements(np.ones((2, 2, 2), bool), (1.0, 1.0))
