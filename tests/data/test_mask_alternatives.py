"""Masks that are mirrored, or whose labels are exchanged, are told from sound ones by their image."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from medvlm.data.case_checks import check_case
from medvlm.data.datalists import SECTIONS, load_datalist
from medvlm.data.mask_evidence import FEW_VOXELS, order
from medvlm.data.mask_plausibility import doubts_about_mask
from medvlm.data.mirrored_masks import better_mirror
from medvlm.data.phantoms import write_phantoms
from medvlm.data.prepare import prepare
from medvlm.data.reading import read_image
from medvlm.data.swapped_labels import roles_of

CHANNELS = ("FLAIR", "T1", "T1c", "T2")


@pytest.fixture(scope="module")
def coarse(tmp_path_factory):
    """Cases of coarse phantoms with a tumour: case, mask, channels, voxel sizes."""
    root = tmp_path_factory.mktemp("coarse")
    write_phantoms(root, "brats2020,msd", cases_per_source=8, healthy_fraction=0.25, shape=(64, 64, 12), seed=11)
    prepare("brats2020,msd", f"{root / 'brats2020'},{root / 'msd'}", str(root / "d.json"))
    cases = [case for section in SECTIONS for case in load_datalist(root / "d.json", section)]
    return [(case, *_arrays(case)) for case in cases if case["tumour"]]


def _arrays(case):
    image = case["image"] if isinstance(case["image"], list) else [case["image"]]
    volumes = [read_image(str(file)).data for file in image]
    stack = volumes if len(volumes) > 1 else np.moveaxis(volumes[0], -1, 0)
    mask = read_image(case["label"])
    return np.asarray(mask.data), dict(zip(case["channels"], stack, strict=True)), mask.spacing_mm


def _exchanged(mask, a, b):
    return np.where(mask == a, b, np.where(mask == b, a, mask))


def _large(mask, value):
    return (mask == value).sum() >= FEW_VOXELS


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((3, 4), (1, 2), 1.0),
        ((1, 2), (3, 4), -1.0),
        ((1, 2), (1, 2), 0.0),
        ((2,), (1, 2, 3, 3), -0.25),
        ((-np.inf, 5), (0,), 0.0),
    ],
    ids=["above", "below", "alike", "ties", "background"],
)
def test_order_counts_pairs(first, second, expected):
    assert order(np.array(first), np.array(second)) == pytest.approx(expected)


def test_order_of_many_voxels_is_that_of_an_even_sample():
    values = np.random.default_rng(0).normal(size=50_000)
    assert order(values + 1, values) == pytest.approx(0.52, abs=0.02)  # 2 * Phi(1 / sqrt(2)) - 1
    assert order(values + 1, values) == pytest.approx(-order(values, values + 1))


def test_a_cavity_and_an_undivided_tumour_have_no_role():
    assert roles_of("brats2024") == {1: "core", 2: "oedema", 3: "enhancing tumour"}
    assert roles_of("binary_wt") == roles_of("unheard") == {}


def test_coarse_phantoms_as_they_were_drawn_raise_no_doubt(coarse):
    assert len(coarse) == 12
    for case, mask, channels, spacing in coarse:
        assert doubts_about_mask(mask, channels, case["convention"], spacing) == []
        assert check_case(case) == []


@pytest.mark.parametrize("kept", [CHANNELS, ("FLAIR",), ("FLAIR", "T1c")], ids="+".join)
@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 1)], ids=["first", "second", "third", "two"])
def test_a_mirrored_mask_is_found_and_the_axes_named(coarse, axes, kept):
    words = " and ".join(("first", "second", "third")[axis] for axis in axes)
    for case, mask, channels, spacing in coarse:
        some = {name: channels[name] for name in kept}
        doubts = doubts_about_mask(np.flip(mask, axes), some, case["convention"], spacing)
        assert any(f"fits the image better when mirrored along its {words} ax" in what for what, _ in doubts)


def test_exchanged_labels_are_found_and_named(coarse):
    tried = 0
    for case, mask, channels, spacing in coarse:
        for a, b in combinations(roles_of(case["convention"]), 2):
            if _large(mask, a) and _large(mask, b):
                tried += 1
                wrong = _exchanged(mask, a, b)
                ((what, remedy),) = doubts_about_mask(wrong, channels, case["convention"], spacing)
                assert f"labels {a} and {b} look swapped: " in what and "exchange the two values" in remedy
    assert tried >= 15


def test_oedema_under_the_value_of_an_absent_enhancing_tumour_is_found(coarse):
    tried = 0
    for case, mask, channels, spacing in coarse:
        roles = roles_of(case["convention"])
        oedema, enhancing = (next(v for v in roles if roles[v] == name) for name in ("oedema", "enhancing tumour"))
        if not (mask == enhancing).any() and _large(mask, oedema):
            tried += 1
            wrong = _exchanged(mask, oedema, enhancing)
            assert "look swapped" in doubts_about_mask(wrong, channels, case["convention"], spacing)[0][0]
    assert tried >= 2


def test_core_and_enhancing_tumour_cannot_be_told_apart_without_t1c(coarse):
    for case, mask, channels, spacing in coarse:
        core, enhancing = (1, 4) if case["convention"] == "brats2017_2021" else (2, 3)
        if _large(mask, core) and _large(mask, enhancing):
            wrong = _exchanged(mask, core, enhancing)
            assert doubts_about_mask(wrong, {"FLAIR": channels["FLAIR"]}, case["convention"], spacing) == []


def test_a_convention_that_explains_the_exchange_is_named(coarse):
    case, mask, channels, spacing = next(c for c in coarse if c[0]["convention"] == "msd" and _large(c[1], 2))
    ((_, remedy),) = doubts_about_mask(mask, channels, "brats2023", spacing)
    assert "declare the convention brats2023" not in remedy and "declare the convention msd" in remedy


def test_a_mask_that_is_its_own_mirror_image_is_left_alone():
    mask = np.zeros((20, 20, 20), np.uint8)
    mask[8:12, 8:12, 8:12] = 1
    image = np.random.default_rng(0).normal(size=mask.shape)
    assert better_mirror(mask, {"FLAIR": image - 3 * mask}, {}) is None


def test_a_picture_of_one_channel_is_compared_with_its_mirror_images():
    mask = np.zeros((40, 50), np.uint8)
    mask[5:12, 10:18] = 255
    flair = np.random.default_rng(0).normal(100, 5, mask.shape) + (mask > 0) * 40
    assert doubts_about_mask(mask, {"FLAIR": flair}, "binary_wt") == []
    assert "along its second axis" in doubts_about_mask(mask[:, ::-1], {"FLAIR": flair}, "binary_wt")[0][0]


def test_channels_of_unstated_weighting_lead_to_no_conclusion(coarse):
    _, mask, channels, spacing = coarse[0]
    assert doubts_about_mask(mask[::-1], {"MRI": channels["FLAIR"]}, "binary_wt", spacing) == []


def test_a_mask_that_leaves_no_brain_outside_leads_to_no_conclusion():
    mask = np.ones((16, 16, 16), np.uint8)
    mask[:8] = 2
    image = np.random.default_rng(0).normal(size=mask.shape)
    assert doubts_about_mask(mask, {"T1c": image, "FLAIR": image}, "brats2023") == []


def test_the_part_of_a_mask_that_lies_off_the_brain_counts_as_darkest():
    brain = np.zeros((20, 20, 20), bool)
    brain[8:] = True
    flair = np.where(brain, np.random.default_rng(0).normal(-50, 5, brain.shape), 0)  # background above the brain
    mask = np.zeros(brain.shape, np.uint8)
    mask[14:18, 5:15, 5:15] = 1
    doubts = doubts_about_mask(mask[::-1], {"FLAIR": flair + 20 * (mask > 0)}, "binary_wt")
    assert [what[:30] for what, _ in doubts] == ["100% of the mask lies on the e", "the mask fits the image better"]


def test_swapped_labels_are_named_beside_the_mirror_where_t1c_stands_alone(coarse):
    case, mask, channels, spacing = next(c for c in coarse if _large(c[1], 4) and _large(c[1], 1))
    wrong = _exchanged(mask, 1, 4)
    doubts = doubts_about_mask(wrong, {"T1c": channels["T1c"]}, case["convention"], spacing)
    assert any("labels 1 and 4 look swapped" in what for what, _ in doubts)
