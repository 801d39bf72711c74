from __future__ import annotations

import numpy as np
import pytest

from medvlm.data.phantoms.coronary_anatomy import LEFT, RIGHT, SEGMENT_INDEX, coronary_tree
from medvlm.data.phantoms.coronary_cine import Look, View, draw_cine
from medvlm.data.phantoms.coronary_disease import Disease, Lesion
from medvlm.data.phantoms.coronary_scene import Room

LOOK = Look()
QUIET = Room(noise=0.0, scatter=0.05, gamma=1.0, edge="none", vignetting=0.2, texture=0.03)
TREE = coronary_tree(np.random.default_rng(3), "right", LOOK.step_mm, 1.25)
RIGHT_VIEW = View(RIGHT, 40.0, 0.0, 16, 1000 / 7.5, (5, 1))
LEFT_VIEW = View(LEFT, -25.0, -22.0, 16, 1000 / 7.5, (5, 2))


def disease(*lesions, calcified=()):
    rows = tuple(Lesion(SEGMENT_INDEX[name], percent, 0.5, 12.0, **more) for name, percent, more in lesions)
    return Disease(rows, frozenset(SEGMENT_INDEX[name] for name in calcified))


def cine(view, *lesions, room=QUIET, bits=12, calcified=(), look=LOOK):
    return draw_cine(TREE, disease(*lesions, calcified=calcified), view, look, room, bits).astype(float)


HEALTHY = cine(RIGHT_VIEW)


@pytest.mark.parametrize(("bits", "dtype"), [(8, np.uint8), (10, np.uint16), (12, np.uint16)])
def test_values_fit_their_bits(bits, dtype):
    frames = draw_cine(TREE, disease(), LEFT_VIEW, LOOK, QUIET, bits)
    assert frames.shape == (16, 96, 96) and frames.dtype == dtype
    assert 2 ** (bits - 1) < frames.max() < 2**bits


def test_equal_arguments_draw_equal_frames():
    room = Room.draw(np.random.default_rng(0))
    assert np.array_equal(cine(LEFT_VIEW, room=room), cine(LEFT_VIEW, room=room))


def test_contrast_comes_and_goes():
    dark = (cine(RIGHT_VIEW, look=Look(contrast=0.0)) - HEALTHY).mean((1, 2))  # of what the contrast alone absorbs
    assert dark[0] == 0 and dark.argmax() in range(5, 12)
    assert dark[-1] < 0.7 * dark.max()


def test_vessels_move_with_the_heart():
    filled = HEALTHY[6:11] - HEALTHY[0]
    assert np.abs(np.diff(filled, axis=0)).max() > 0.1 * np.abs(filled).max()


@pytest.mark.parametrize("size", [64, 96])
def test_a_severe_stenosis_shows_and_a_mild_one_hardly(size):
    look = Look(size=size)
    healthy = cine(RIGHT_VIEW, look=look)
    lost = {
        percent: (cine(RIGHT_VIEW, ("mid_rca", percent, {}), look=look) - healthy)[8].max() for percent in (20, 50, 90)
    }
    vessel = (healthy[0] - healthy[8]).max()
    assert lost[20] < 0.45 * lost[90] and lost[50] < lost[90]
    assert lost[90] > 0.5 * vessel  # most of the vessel's darkness is gone there


def test_an_occlusion_stops_the_vessel():
    change = (cine(RIGHT_VIEW, ("mid_rca", 100, {})) - HEALTHY)[8]
    assert (change > 150).sum() > 100  # the whole bed is missing
    stump = cine(RIGHT_VIEW, ("distal_rca", 100, {})) - HEALTHY
    assert (stump[8] > 150).sum() < (change > 150).sum()


def test_collaterals_fill_the_bed_late_and_faintly():
    blind = cine(RIGHT_VIEW, ("mid_rca", 100, {"chronic": True}))
    fed = cine(RIGHT_VIEW, ("mid_rca", 100, {"chronic": True, "collaterals": "ipsilateral"}))
    darker = (blind - fed).max((1, 2))
    assert darker[4] < 5 and darker[9:].max() > 100
    assert darker.max() < (HEALTHY[0] - HEALTHY).max()


def test_contralateral_collaterals_show_the_right_bed_in_a_left_injection():
    blind = cine(LEFT_VIEW, ("proximal_rca", 100, {"chronic": True}))
    fed = cine(LEFT_VIEW, ("proximal_rca", 100, {"chronic": True, "collaterals": "contralateral"}))
    assert (blind - fed)[4].max() < 5 and (blind - fed)[9:].max() > 100


def test_the_first_frame_tells_nothing_of_stenoses():
    for lesion in (("mid_rca", 90, {}), ("proximal_rca", 100, {"chronic": True, "collaterals": "ipsilateral"})):
        assert np.array_equal(cine(RIGHT_VIEW, lesion)[0], HEALTHY[0])


def test_calcification_shows_before_the_contrast():
    change = HEALTHY[0] - cine(RIGHT_VIEW, calcified=("mid_rca",))[0]
    assert change.max() > 60
    assert (change > 30).sum() < 200


def test_noise_and_calibre_are_factors():
    noisy = Room(**{**QUIET.__dict__, "noise": 0.04})
    residue = (cine(RIGHT_VIEW, room=noisy) - HEALTHY)[0]
    assert 20 < residue.std() < 300
    wide = coronary_tree(np.random.default_rng(3), "right", LOOK.step_mm, 2.5)
    assert np.allclose(wide.radius_mm, 2 * TREE.radius_mm)
