from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from medvlm.data.phantoms.geometry import Grid
from medvlm.data.phantoms.pictures import (
    FOUR_CLASS_STYLE,
    MIN_CONSPICUITY,
    YES_NO_STYLE,
    conspicuity,
    draw_slice,
)
from medvlm.data.phantoms.scanners import STYLES
from medvlm.data.phantoms.subjects import Person, Study

SEEDS = range(10)


def drawn(seed, kind="glioma", faint=False, style=YES_NO_STYLE):
    person = Person.sample(np.random.SeedSequence([3, seed]), kind, faint)
    return draw_slice(person, np.random.default_rng(seed), STYLES["mixed"], style, "axial", 1.0, True)


def square(inside, around, spread, part=None):
    """A study of one axial slice: a square tumour of one grey value in noise around another."""
    rng = np.random.default_rng(0)
    image = rng.normal(around, spread, (64, 64, 1)).astype(np.float32)
    labels = np.zeros((64, 64, 1), np.uint8)
    labels[20:40, 20:40] = 1
    image[labels > 0] = inside
    if part is not None:
        labels[24:34, 24:34], image[24:34, 24:34] = 2, part
    return Study(np.stack([image] * 4), labels, labels > 9, Grid((64, 64, 1), (1.15, 1.15, 4)), {})


def test_conspicuity_is_contrast_in_deviations_of_the_surroundings():
    assert conspicuity(square(70, 50, 5), "FLAIR") == pytest.approx(20 / 5, rel=0.15)
    assert conspicuity(square(50, 50, 5), "T1") < 0.2


def test_a_rim_or_core_counts_where_the_whole_has_no_contrast():
    assert conspicuity(square(50, 50, 5, part=70), "T1c") == pytest.approx(20 / 5, rel=0.15)


def test_without_a_tumour_nothing_stands_out():
    study = square(50, 50, 5)
    study.labels[:] = 0
    assert conspicuity(study, "T2") == 0


@pytest.mark.parametrize("faint", [False, True])
def test_tumours_stand_out_in_the_weighting_that_is_shown(faint):
    seen = [conspicuity(*drawn(seed, faint=faint)) for seed in SEEDS]
    assert np.mean(np.array(seen) >= MIN_CONSPICUITY) >= 0.9
    assert min(seen) > 0.5 * MIN_CONSPICUITY


@pytest.mark.parametrize("kind", ["meningioma", "pituitary"])
def test_other_tumours_stand_out_too(kind):
    seen = [conspicuity(*drawn(seed, kind, style=FOUR_CLASS_STYLE)) for seed in SEEDS]
    assert np.mean(np.array(seen) >= MIN_CONSPICUITY) >= 0.9


def test_tumours_are_not_lit_up_beyond_what_it_takes():
    """Half of those whose contrast is raised stay near the limit: the task is not made trivial."""
    seen = [conspicuity(*drawn(seed, faint=True)) for seed in SEEDS]
    assert np.median(seen) < 2 * MIN_CONSPICUITY


def test_controls_are_shown_in_the_weightings_in_which_tumours_are():
    def counted(kind):
        return Counter(drawn(seed, kind)[1] for seed in range(30))

    ill, well = counted("glioma"), counted(None)
    assert all(abs(ill[name] - well[name]) <= 9 for name in ill | well)  # 30 draws, 3 standard deviations


def test_controls_hold_no_tumour():
    study, _ = drawn(1, None)
    assert not study.labels.any() and study.facts == {"tumour": 0}


def test_the_same_seed_gives_the_same_slice():
    (one, name), (other, same) = drawn(4), drawn(4)
    assert name == same and np.array_equal(one.images, other.images)
