from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from medvlm.coronary import SEGMENTS
from medvlm.data.phantoms.coronary_anatomy import LEFT, RIGHT, SEGMENT_INDEX, coronary_tree
from medvlm.data.phantoms.coronary_disease import Disease, Lesion, Rates, diseased_lumen, draw_disease
from medvlm.data.phantoms.coronary_dynamics import Injection, Motion

SECONDS = np.arange(0, 4, 0.05)
INJECTION = {side: Injection(side, start_s=0.2, stop_s=2.0, speed_mm_s=300, wash_out_s=0.5) for side in (LEFT, RIGHT)}


@lru_cache(maxsize=32)
def tree_of(seed=0, dominance="right", step_mm=0.8):
    return coronary_tree(np.random.default_rng(seed), dominance, step_mm)


def names(tree, side=None):
    return {SEGMENTS[index].name for index in tree.segments(side)}


def lesion(name, percent, **more):
    return Lesion(SEGMENT_INDEX[name], percent, more.pop("place", 0.5), more.pop("length_mm", 10.0), **more)


def lumen_of(tree, *lesions):
    return diseased_lumen(tree, Disease(lesions, frozenset()))


def test_all_named_segments_occur():
    found = set().union(*(names(tree_of(seed, which)) for seed in range(8) for which in ("right", "left")))
    assert found == {segment.name for segment in SEGMENTS}


@pytest.mark.parametrize(
    ("dominance", "of_left", "of_right"),
    [
        ("right", set(), {"distal_rca", "rca_pda", "rca_posterolateral"}),
        ("left", {"lcx_pda", "lcx_posterolateral"}, set()),
        ("codominant", {"lcx_posterolateral"}, {"distal_rca", "rca_pda"}),
    ],
)
def test_dominance_decides_where_the_posterior_branches_leave(dominance, of_left, of_right):
    posterior = {"lcx_pda", "lcx_posterolateral", "distal_rca", "rca_pda", "rca_posterolateral"}
    for seed in range(4):
        tree = tree_of(seed, dominance)
        assert names(tree, LEFT) & posterior == of_left
        assert names(tree, RIGHT) & posterior == of_right


def test_unknown_dominance_is_refused():
    with pytest.raises(ValueError, match="dominance must be one of right, left, codominant, got 'balanced'"):
        tree_of(dominance="balanced")


def test_the_person_does_not_depend_on_the_step():
    fine, coarse = tree_of(3, step_mm=0.4), tree_of(3, step_mm=1.6)
    assert names(fine) == names(coarse)
    for segment in fine.segments():
        ends = [tree.points_mm[tree.segment == segment][-1] for tree in (fine, coarse)]
        assert np.linalg.norm(ends[0] - ends[1]) < 4


def test_without_variation_everybody_has_the_same_arteries():
    def mid_rca(seed, variation):
        tree = coronary_tree(np.random.default_rng(seed), "right", variation=variation)
        return tree.points_mm[tree.segment == SEGMENT_INDEX["mid_rca"]]

    assert np.array_equal(mid_rca(0, 0.0), mid_rca(1, 0.0))
    spread = [np.linalg.norm(mid_rca(0, variation)[0] - mid_rca(1, variation)[0]) for variation in (0.3, 1.0)]
    assert 0 < spread[0] < spread[1]


def test_flow_beyond_a_tight_stenosis_is_less_and_later():
    tree = tree_of(0)
    bed = np.flatnonzero(tree.segment == SEGMENT_INDEX["distal_rca"])[-1]
    filled = {
        percent: INJECTION[RIGHT].concentration(tree, lumen_of(tree, lesion("mid_rca", percent)), SECONDS)[:, bed]
        for percent in (80, 95, 99)
    }
    assert filled[80].max() > filled[95].max() > filled[99].max() > 0.4
    begin = {percent: (curve > 0.3).argmax() for percent, curve in filled.items()}
    assert begin[80] < begin[95] < begin[99]


def test_pieces_join_without_gaps_and_add_up():
    tree = tree_of(1)
    for number, joint in enumerate(tree.joints):
        own = np.flatnonzero(tree.branch == number)
        assert np.linalg.norm(np.diff(tree.points_mm[own], axis=0), axis=1).max() < 2.5
        if joint >= 0:
            assert np.linalg.norm(tree.points_mm[own[0]] - tree.points_mm[joint]) < 1e-9
            assert tree.path_mm[own[0]] == pytest.approx(tree.path_mm[joint])


def test_beyond_a_place_lies_all_that_it_feeds():
    tree = tree_of(0)
    middle = np.flatnonzero(tree.segment == SEGMENT_INDEX["proximal_lad"])[5]
    beyond = {SEGMENTS[index].name for index in np.unique(tree.segment[tree.beyond(middle)]) if index >= 0}
    assert {"mid_lad", "distal_lad", "diagonal_1"} <= beyond
    assert not beyond & {"left_main", "proximal_lcx", "marginal_1", "mid_rca"}


@pytest.mark.parametrize("percent", [20, 50, 75, 90, 99])
def test_a_narrowing_has_its_diameter(percent):
    tree = tree_of(0)
    share = lumen_of(tree, lesion("mid_rca", percent)).radius_mm / tree.radius_mm
    assert share.min() == pytest.approx(1 - percent / 100)
    assert set(tree.segment[share < 1]) == {SEGMENT_INDEX["mid_rca"]}


def test_contrast_fills_from_the_ostium_and_washes_out():
    tree = tree_of(0)
    filled = INJECTION[RIGHT].concentration(tree, lumen_of(tree), SECONDS)
    near, far = (np.flatnonzero(tree.segment == SEGMENT_INDEX[name])[-1] for name in ("proximal_rca", "rca_pda"))
    assert filled[0].max() == 0
    assert (filled[:, near] > 0.5).argmax() < (filled[:, far] > 0.5).argmax()
    assert filled[:, far].max() > 0.95
    assert filled[-1].max() < 0.1
    assert filled[:, tree.side == LEFT].max() == 0


@pytest.mark.parametrize(
    ("collaterals", "same", "other"),
    [("none", 0.0, 0.0), ("ipsilateral", 0.45, 0.0), ("contralateral", 0.0, 0.45)],
)
def test_beyond_an_occlusion_contrast_comes_by_collaterals_only(collaterals, same, other):
    tree = tree_of(0)
    lumen = lumen_of(tree, lesion("proximal_rca", 100, chronic=True, collaterals=collaterals))
    bed = tree.segment == SEGMENT_INDEX["distal_rca"]
    for side, expected in ((RIGHT, same), (LEFT, other)):
        filled = INJECTION[side].concentration(tree, lumen, SECONDS)[:, bed]
        assert filled.max() == pytest.approx(expected, abs=0.02)
        if expected:
            assert SECONDS[(filled.max(1) > 0.1).argmax()] > 0.2 + 0.5 * 1.8  # late
    stump = INJECTION[RIGHT].concentration(tree, lumen, SECONDS)[:, tree.segment == SEGMENT_INDEX["proximal_rca"]]
    assert stump[:, 0].max() > 0.95


def test_the_heart_beats_and_breathes():
    tree, still = tree_of(0), Motion(1.0, 0.0, 1.0, 0.25, 0.0, 0.0)
    beating = still.moved(tree.points_mm, tree.frame, tree.length_mm, 25.0, SECONDS)
    assert np.allclose(beating[0], beating[20], atol=1e-6)  # one beat a second
    assert 4 < np.linalg.norm(beating[7] - beating[0], axis=1).max() < 20
    breathing = Motion(1.0, 0.0, 0.0, 0.25, 6.0, 0.0).moved(tree.points_mm, tree.frame, tree.length_mm, 25.0, SECONDS)
    shift = breathing[20] - breathing[0]
    assert np.allclose(shift, [0, 0, -6], atol=1e-6)


def draws(positive, count=200, rates=None):
    out = []
    for seed in range(count):
        tree = tree_of(seed % 6, step_mm=3.0)
        rng = np.random.default_rng([7, seed])
        out.append((tree, draw_disease(rng, tree, tree.segments(), positive, rates or Rates())))
    return out


@pytest.mark.parametrize("positive", [False, True])
def test_the_class_is_what_was_asked(positive):
    assert all((disease.worst() > 70) == positive for _, disease in draws(positive, 120))


def test_lesions_lie_in_segments_that_fill():
    for tree, disease in draws(True):
        blocked = lumen_of(tree, *disease.lesions).blocked
        for one in disease.lesions:
            own = np.flatnonzero(tree.segment == one.segment)
            assert one.percent == 100 or not blocked[own].any()


def test_calcification_and_further_lesions_do_not_tell_the_class():
    counts = {kind: [disease for _, disease in draws(kind)] for kind in (False, True)}
    calcified = [np.mean([len(disease.calcified) for disease in counts[kind]]) for kind in (False, True)]
    assert abs(calcified[0] - calcified[1]) < 0.15
    milder = [np.mean([sum(x.percent <= 70 for x in d.lesions) for d in counts[kind]]) for kind in (False, True)]
    assert abs(milder[0] - milder[1]) < 0.3


def test_shares_of_faint_branch_and_occluded_lesions_are_kept():
    trunk = draws(True, 60, Rates(branch=0, occlusion=0, faint=0))
    assert all("_" in x.name and x.name.split("_")[1] in ("main", "lad", "lcx", "rca") for _, d in trunk
               for x in d.lesions if x.percent > 70)  # fmt: skip
    assert not any(x.percent == 100 for _, d in trunk for x in d.lesions)
    occluded = draws(True, 60, Rates(occlusion=1.0))
    assert all(disease.worst() == 100 for _, disease in occluded)
