from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from medvlm.metrics.lesionwise import CONVENTIONS, lesion_wise
from medvlm.metrics.segmentation import dice, hd95_mm, volume_ml, voxel_rates

REGIONS = {"WT": (1, 2, 3), "TC": (1, 3), "ET": (3,)}
SPACING = (1.0, 1.0, 1.0)


def official_columns(pred, truth, spacing, convention) -> dict[str, float]:
    scores = lesion_wise(pred, truth, spacing, convention)
    sensitivity, specificity = voxel_rates(pred, truth)
    return {
        "Num_TP": scores.true_positives,
        "Num_FP": scores.false_positives,
        "Num_FN": scores.false_negatives,
        "Sensitivity": sensitivity,
        "Specificity": specificity,
        "Legacy_Dice": dice(pred, truth),
        "Legacy_HD95": hd95_mm(pred, truth, spacing),
        "GT_Complete_Volume": 1000 * volume_ml(truth, spacing),
        "LesionWise_Score_Dice": scores.dice,
        "LesionWise_Score_HD95": scores.hd95_mm,
    }


@pytest.mark.parametrize("number", range(1, 16))
def test_every_column_equals_the_official_evaluator(golden, number):
    folder = golden("brats_lesionwise")
    cases = json.loads((folder / "expected.json").read_text(encoding="utf-8"))["cases"]
    name = next(name for name in cases if name.startswith(f"c{number:02d}"))
    case = cases[name]
    masks = np.load(folder / case["npz"])
    assert set(case["results"]) == {f"BraTS-{key.upper()}" for key in CONVENTIONS}
    for region, values in REGIONS.items():
        pred, truth = (np.isin(masks[key], values) for key in ("pred", "gt"))
        found: dict = {}
        for convention, rules in CONVENTIONS.items():
            found[rules] = found.get(rules) or official_columns(pred, truth, masks["spacing"], convention)
            expected = case["results"][f"BraTS-{convention.upper()}"][region]
            for column, value in found[rules].items():
                assert value == pytest.approx(float(expected[column]), abs=1e-6), f"{convention} {region} {column}"


@pytest.mark.parametrize("number", [6, 8, 9, 13, 15])
@pytest.mark.parametrize(("dilated", "convention"), [("dil3", "gli"), ("dil1", "men")])
def test_every_lesion_equals_the_official_evaluator(golden, number, dilated, convention):
    folder = golden("brats_lesionwise")
    cases = json.loads((folder / "expected.json").read_text(encoding="utf-8"))["cases"]
    case = next(case for name, case in cases.items() if name.startswith(f"c{number:02d}"))
    masks = np.load(folder / case["npz"])
    for region, expected in case["raw"][dilated].items():
        pred, truth = (np.isin(masks[key], REGIONS[region]) for key in ("pred", "gt"))
        scores = lesion_wise(pred, truth, masks["spacing"], convention)
        found = sorted((lesion.volume_mm3, lesion.dice, lesion.hd95_mm) for lesion in scores.lesions)
        official = sorted((e["gt_vol"], e["dice"], float(e["hd95_raw"])) for e in expected["lesions"])
        np.testing.assert_allclose(np.array(found).reshape(-1, 3), np.array(official).reshape(-1, 3), atol=1e-6)
        assert scores.false_positives == len(expected["fp_pred_ids"])


def test_a_case_of_full_size_equals_the_official_evaluator(golden):
    case = json.loads((golden("brats_lesionwise") / "large_case.json").read_text(encoding="utf-8"))
    masks = {key: painted(case["shape"], case[f"{key}_ellipsoids"]) for key in ("gt", "pred")}
    for key, mask in masks.items():
        assert hashlib.sha256(mask.tobytes()).hexdigest() == case[f"sha256_{key}"]
    for convention, regions in (("gli", ("WT", "ET")), ("met", ("TC",))):
        for region in regions:
            pred, truth = np.isin(masks["pred"], REGIONS[region]), np.isin(masks["gt"], REGIONS[region])
            expected = case["results"][f"BraTS-{convention.upper()}"][region]
            for column, value in official_columns(pred, truth, case["spacing"], convention).items():
                assert value == pytest.approx(float(expected[column]), abs=1e-6), column


def painted(shape, ellipsoids) -> np.ndarray:
    mask = np.zeros(shape, dtype=np.int8)
    axes = np.ogrid[tuple(slice(0, size) for size in shape)]
    for part in ellipsoids:
        parts = [((axis - c) / r) ** 2 for axis, c, r in zip(axes, part["c"], part["r"], strict=True)]
        mask[parts[0] + parts[1] + parts[2] <= 1.0] = part["label"]
    return mask


def cubes(*corners: tuple[int, int, int], side: int = 4, shape: tuple[int, int, int] = (40, 40, 24)) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    for corner in corners:
        mask[tuple(slice(c, c + side) for c in corner)] = True
    return mask


def test_one_lesion_found_one_missed_and_one_invented():
    truth = cubes((4, 4, 4), (30, 30, 4))
    pred = cubes((4, 4, 4), (4, 30, 12))
    scores = lesion_wise(pred, truth, SPACING)
    assert (scores.true_positives, scores.false_negatives, scores.false_positives) == (1, 1, 1)
    assert scores.dice == pytest.approx(1 / 3)
    assert scores.hd95_mm == pytest.approx(2 * 374 / 3)


@pytest.mark.parametrize(("convention", "gap", "lesions"), [("gli", 6, 1), ("gli", 7, 2), ("men", 2, 1), ("men", 3, 2)])
def test_parts_of_the_truth_merge_across_gaps_that_the_dilation_bridges(convention, gap, lesions):
    truth = cubes((4, 4, 4), (8 + gap, 4, 4))
    assert len(lesion_wise(truth, truth, SPACING, convention).lesions) == lesions


@pytest.mark.parametrize(("convention", "kept"), [("gli", 0), ("met", 1)])
def test_small_lesions_leave_the_score_but_small_false_positives_stay(convention, kept):
    truth, pred = cubes((4, 4, 4), side=2), cubes((30, 30, 4), side=1)
    scores = lesion_wise(pred, truth, SPACING, convention)
    assert len(scores.kept) == scores.false_negatives == kept
    assert scores.false_positives == 1
    assert (scores.dice, scores.hd95_mm) == (0.0, 374.0)


def test_a_component_beside_a_small_lesion_is_neither_found_nor_false():
    scores = lesion_wise(cubes((6, 4, 4), side=2), cubes((4, 4, 4), side=2), SPACING)
    assert (scores.true_positives, scores.false_positives) == (0, 0)
    assert (scores.dice, scores.hd95_mm) == (1.0, 0.0)


def test_empty_masks_score_as_perfect():
    empty = np.zeros((8, 8, 8), dtype=bool)
    scores = lesion_wise(empty, empty, SPACING)
    assert (scores.dice, scores.hd95_mm, scores.lesions) == (1.0, 0.0, ())


def test_lesions_at_the_border_merge_through_space_outside_their_box():
    truth = np.zeros((20, 20, 20), dtype=bool)
    truth[5:8, 5:8, 0] = True
    truth[13:16, 5:8, 0] = True
    for crop in (True, False):
        assert len(lesion_wise(truth, truth, SPACING, "gli", crop=crop).lesions) == 1


@pytest.mark.parametrize("convention", ["gli", "met"])
@pytest.mark.parametrize("seed", range(4))
def test_crops_change_no_value(convention, seed):
    generator = np.random.default_rng(seed)
    noise = [gaussian_filter(generator.normal(size=(44, 40, 24)), 1.5) for _ in range(2)]
    truth, pred = noise[0] > 0.2, noise[0] + 0.5 * noise[1] > 0.22
    spacing = (0.8, 1.1, 2.5)
    inside = lesion_wise(pred, truth, spacing, convention)
    assert len(inside.lesions) > 1
    outside = lesion_wise(pred, truth, spacing, convention, crop=False)
    assert inside.false_positive_components == outside.false_positive_components
    for one, other in zip(inside.lesions, outside.lesions, strict=True):
        assert (one.volume_mm3, one.components, one.dice) == (other.volume_mm3, other.components, other.dice)
        assert one.hd95_mm == pytest.approx(other.hd95_mm, abs=1e-9)


def test_a_slice_is_scored_in_its_plane():
    truth = cubes((4, 4, 0), (25, 25, 0), side=9, shape=(40, 40, 1))
    pred = cubes((5, 4, 0), side=9, shape=(40, 40, 1))
    scores = lesion_wise(pred, truth, (1.0, 1.0, 1.0))
    assert scores == lesion_wise(pred[..., 0], truth[..., 0], (1.0, 1.0))
    assert (scores.true_positives, scores.false_negatives) == (1, 1)
    assert scores.kept[0].dice == pytest.approx(8 / 9)
    assert scores.kept[0].hd95_mm == pytest.approx(1.0)


def test_an_unknown_convention_is_refused():
    with pytest.raises(ValueError, match="must be one of"):
        lesion_wise(np.zeros((2, 2, 2)), np.zeros((2, 2, 2)), SPACING, "glioma")
