from __future__ import annotations

import numpy as np
import pytest

from medvlm.metrics.segmentation import bounding_box, dice, hd95_mm, iou, volume_ml, voxel_rates


def boxes(pred: slice, truth: slice) -> tuple[np.ndarray, np.ndarray]:
    made = np.zeros((2, 12, 12, 12), dtype=np.uint8)
    made[0, pred, 2:6, 2:6] = 1
    made[1, truth, 2:6, 2:6] = 1
    return made[0], made[1]


def test_overlap_by_hand():
    pred, truth = boxes(slice(2, 6), slice(4, 10))  # 4, 6 and 2 slabs of 16 voxels
    assert dice(pred, truth) == pytest.approx(2 * 2 / 10)
    assert iou(pred, truth) == pytest.approx(2 / 8)


def test_a_perfect_prediction():
    pred, truth = boxes(slice(2, 6), slice(2, 6))
    assert dice(pred, truth) == iou(pred, truth) == 1.0
    assert hd95_mm(pred, truth, (1, 1, 1)) == 0.0


@pytest.mark.parametrize(
    ("pred", "truth", "expected"),
    [(0, 0, (1.0, 1.0, 0.0)), (1, 0, (0.0, 0.0, 374.0)), (0, 1, (0.0, 0.0, 374.0))],
    ids=["both empty", "false positive", "missed"],
)
def test_the_brats_policy_for_empty_masks(pred, truth, expected):
    pred, truth = np.full((4, 4, 4), pred), np.full((4, 4, 4), truth)
    assert (dice(pred, truth), iou(pred, truth), hd95_mm(pred, truth, (1, 1, 1))) == expected


def test_the_undefined_policy_leaves_empty_cases_out():
    empty, full = np.zeros((4, 4, 4)), np.ones((4, 4, 4))
    assert np.isnan(dice(empty, empty, empties="undefined"))
    assert np.isinf(hd95_mm(full, empty, (1, 1, 1), empties="undefined"))


def test_distances_are_in_mm_along_each_axis():
    pred, truth = boxes(slice(2, 6), slice(5, 9))
    assert hd95_mm(pred, truth, (4.0, 1.0, 1.0)) == pytest.approx(12.0)


def test_a_volume_of_one_slice_is_measured_along_its_contour():
    truth = np.zeros((40, 40), bool)
    truth[5:35, 5:35] = True
    pred = np.zeros_like(truth)
    pred[10:30, 10:30] = True
    flat = hd95_mm(pred[..., None], truth[..., None], (1.0, 1.0, 7.0))
    assert flat == hd95_mm(pred, truth, (1.0, 1.0))
    assert flat > 5  # corners are further than sides; faces of the slab would say 0 for most of it


def test_volumes_are_in_ml():
    assert volume_ml(np.ones((10, 10, 10)), (1.0, 2.0, 0.5)) == pytest.approx(1.0)


def test_voxel_rates_by_hand():
    pred, truth = boxes(slice(2, 6), slice(4, 10))
    sensitivity, specificity = voxel_rates(pred, truth)
    assert sensitivity == pytest.approx(32 / 96)
    assert specificity == pytest.approx(1 - 32 / (12**3 - 96))


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: dice(np.ones((2, 2)), np.ones((2, 3))), "share a grid"),
        (lambda: dice(np.full((2, 2), 4), np.ones((2, 2))), "split labels into regions"),
        (lambda: dice(np.ones((2, 2)), np.ones((2, 2)), empties="nan"), "must be one of"),
        (lambda: hd95_mm(np.ones((2, 2)), np.ones((2, 2)), (1.0, 0.0)), "positive spacing"),
        (lambda: hd95_mm(np.ones((2, 2)), np.ones((2, 2)), (1.0, 1.0, 1.0)), "one positive spacing for each"),
    ],
)
def test_what_does_not_fit_is_refused(call, match):
    with pytest.raises(ValueError, match=match):
        call()


def test_the_box_of_a_mask_stays_within_the_array():
    mask = np.zeros((5, 6), bool)
    mask[1, 3:5] = True
    assert bounding_box(mask) == (slice(1, 2), slice(3, 5))
    assert bounding_box(mask, margin=3) == (slice(0, 5), slice(0, 6))
    assert bounding_box(np.zeros((5, 6), bool)) == (slice(0, 0), slice(0, 0))
