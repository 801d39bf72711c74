from __future__ import annotations

import numpy as np
import pytest

from medvlm.data.phantoms.coronary_projection import CArm, TubeProjector

SIZE = 64
PIXEL_MM = 1.0


def arm(primary=0.0, secondary=0.0):
    return CArm(primary, secondary, SIZE, SIZE * PIXEL_MM)


def line(start, end, radius_mm, count=400):
    """Points, radii and volumes of a straight tube."""
    way = np.linspace(0, 1, count)[:, None]
    points = np.asarray(start) + way * (np.asarray(end, float) - start)
    volume = np.pi * radius_mm**2 * np.linalg.norm(np.subtract(end, start)) / count
    return points[None], np.full((1, count), radius_mm), np.full((1, count), volume)


def far(primary=0.0, secondary=0.0):
    """A source so far away that rays are parallel."""
    return CArm(primary, secondary, SIZE, SIZE * PIXEL_MM, source_to_patient_mm=1e7, source_to_detector_mm=1e7 + 300)


def drawn(view, tube, blur=0.01):
    points, radius, volume = tube
    pixels, magnification = view.project(points)
    projector = TubeProjector(SIZE, 4.0, blur)
    return projector(pixels, radius * magnification / PIXEL_MM, volume * (magnification / PIXEL_MM) ** 2)[0]


@pytest.mark.parametrize(
    ("angles", "point", "column", "row"),
    [
        ((0, 0), (10, 0, 0), 1, 0),  # the patient's left is on the right of the image
        ((0, 0), (0, 0, 10), 0, -1),  # the head is up
        ((45, 0), (0, 10, 0), 1, 0),  # LAO: the spine moves to the right
        ((-45, 0), (0, 10, 0), -1, 0),  # RAO: to the left
        ((0, 30), (0, -10, 0), 0, 1),  # cranial: what is anterior moves down
        ((0, -30), (0, -10, 0), 0, -1),  # caudal: up
    ],
)
def test_angles_turn_the_patient_as_on_a_c_arm(angles, point, column, row):
    pixels, _ = arm(*angles).project(np.array(point, float))
    shift = pixels - (SIZE - 1) / 2
    assert np.sign(np.round(shift, 6)).tolist() == [column, row]


def test_axes_are_orthonormal_and_the_viewer_sits_at_the_detector():
    axes = arm(37, -21).axes()
    assert np.allclose(axes @ axes.T, np.eye(3))
    assert np.allclose(np.cross(axes[0], axes[1]), -axes[2])  # right x down points away from the viewer


def test_what_is_nearer_to_the_source_is_larger():
    _, magnification = arm().project(np.array([[0, 50, 0], [0, 0, 0], [0, -50, 0]], float))
    assert magnification[0] > magnification[1] == 1 > magnification[2]  # the source is behind the back
    assert magnification[0] == pytest.approx(765 / 715)


def test_detector_pixels_are_larger_than_those_at_the_heart():
    assert arm().imager_pixel_mm == pytest.approx(PIXEL_MM * 1050 / 765)


@pytest.mark.parametrize("radius_mm", [0.3, 0.5, 1.0, 1.7, 2.5])
def test_volume_is_kept_at_any_calibre(radius_mm):
    tube = line((-20, 0, -5), (20, 0, 12), radius_mm)
    assert drawn(far(), tube).sum() * PIXEL_MM**2 == pytest.approx(tube[2].sum(), rel=0.01)


def test_a_ray_through_the_middle_passes_the_diameter():
    image = drawn(far(), line((-25, 0, 0), (25, 0, 0), 3.0))
    assert image[SIZE // 2, SIZE // 2] == pytest.approx(6.0, rel=0.08)
    assert image[10].max() < 1e-3


def test_a_foreshortened_tube_is_darker():
    flat = drawn(far(), line((-10, 0, 0), (10, 0, 0), 2.0))
    steep = drawn(far(60), line((-10, 0, 0), (10, 0, 0), 2.0))  # seen at 60 degrees: twice the way through it
    middle = SIZE // 2
    assert steep[middle, middle] == pytest.approx(2 * flat[middle, middle], rel=0.05)


def test_crossing_tubes_add_up():
    one, other = line((-20, 0, -20), (20, 0, 20), 1.0), line((-20, 30, 20), (20, 30, -20), 1.0)
    both = tuple(np.concatenate(pair, 1) for pair in zip(one, other, strict=True))
    assert np.allclose(drawn(far(), both), drawn(far(), one) + drawn(far(), other), atol=1e-4)


def test_what_lies_outside_the_frame_leaves_no_trace():
    assert np.abs(drawn(far(), line((60, 0, -40), (60, 0, 40), 2.0))).max() < 1e-4
