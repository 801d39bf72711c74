from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from medvlm.data.phantoms.geometry import Grid, Waves, cover, ellipsoid_mm, rotation
from medvlm.data.phantoms.scanners import MODALITIES, STYLES
from medvlm.data.phantoms.subjects import MIN_TUMOUR_ML, Person
from medvlm.data.phantoms.tumours import ENHANCING, NECROSIS, OEDEMA

GRID = Grid((64, 64, 20), (3.0, 3.0, 7.2))
T1, T1C, T2, FLAIR = range(4)


def scan(seed, kind="glioma", faint=False, rich=False, style="mixed", grid=GRID, **kwargs):
    person = Person.sample(np.random.SeedSequence([7, seed]), kind, faint, rich)
    return person.scan(np.random.default_rng(seed), STYLES[style], grid, **kwargs)


@pytest.fixture(scope="module")
def studies():
    return [scan(seed, rich=bool(seed % 2), style="clean") for seed in range(8)]


def mean(study, channel, value):
    return float(study.images[channel][study.labels == value].mean())


def white(study, channel):
    return float(study.images[channel][study.white].mean())


def test_modalities_are_named_in_order():
    assert MODALITIES == ("T1", "T1c", "T2", "FLAIR")


def test_oedema_is_brighter_than_white_matter_on_flair_and_t2_and_darker_on_t1(studies):
    with_oedema = [study for study in studies if (study.labels == OEDEMA).sum() > 30]
    assert len(with_oedema) >= 5
    for study in with_oedema:
        assert mean(study, FLAIR, OEDEMA) > 1.1 * white(study, FLAIR)
        assert mean(study, T2, OEDEMA) > 1.1 * white(study, T2)
        assert mean(study, T1, OEDEMA) < white(study, T1)


def test_enhancing_rim_is_bright_on_t1c_only_and_necrosis_is_dark_there(studies):
    enhancing = [study for study in studies if (study.labels == ENHANCING).sum() > 20]
    assert len(enhancing) >= 3
    for study in enhancing:
        gain = mean(study, T1C, ENHANCING) / white(study, T1C)
        assert gain > 1.05 and gain > 1.2 * mean(study, T1, ENHANCING) / white(study, T1)
    necrotic = [study for study in enhancing if (study.labels == NECROSIS).sum() > 20]
    assert necrotic
    assert all(mean(study, T1C, NECROSIS) < mean(study, T1C, ENHANCING) for study in necrotic)


def test_tissues_have_the_contrast_of_each_weighting():
    """In a healthy person fluid (the dark end of T1) is the bright end of T2 and the dark end of FLAIR."""
    study = scan(3, kind=None, style="clean", noise=0.0)
    brain = study.images[T1] > 0
    fluid = brain & (study.images[T1] < 0.55 * white(study, T1)) & (study.images[T2] > 1.5 * white(study, T2))
    assert fluid.sum() > 50
    assert study.images[T2][fluid].mean() > 2 * white(study, T2)
    assert study.images[FLAIR][fluid].mean() < 0.8 * white(study, FLAIR)
    grey = brain & ~fluid & (study.images[T1] < 0.8 * white(study, T1)) & (study.images[T1] > 0.6 * white(study, T1))
    assert study.images[FLAIR][grey].mean() > white(study, FLAIR)


def test_controls_have_no_label_and_yet_bright_spots_on_flair():
    study = scan(1, kind=None, rich=True)
    assert not study.labels.any() and study.facts == {"tumour": 0}
    brain = study.images[FLAIR] > 0
    bright = study.images[FLAIR] > 1.35 * white(study, FLAIR)
    assert 0.001 < bright[brain].mean() < 0.2


def test_rich_mimics_are_brighter_than_poor_ones():
    def bright(rich):
        study = scan(2, kind=None, rich=rich, style="clean")
        return (study.images[FLAIR] > 1.3 * white(study, FLAIR)).sum()

    assert bright(True) > 2 * bright(False)


@pytest.mark.parametrize("faint", [False, True])
def test_tumours_reach_the_least_volume_and_can_be_seen(faint):
    for seed in range(6):
        study = scan(seed, faint=faint, style="noisy")
        assert study.facts["volume_ml"] >= MIN_TUMOUR_ML
        distance = ndimage.distance_transform_edt(study.labels == 0, sampling=GRID.spacing_mm)
        solid, near = study.labels > NECROSIS, study.white & (distance < 30)
        signal = [(np.median(study.images[c][solid]), study.images[c][near]) for c in (T2, FLAIR)]
        contrast = max((tumour - tissue.mean()) / tissue.std() for tumour, tissue in signal)
        assert contrast > 1.5, f"seed {seed}: {contrast:.2f}"


def test_faint_tumours_are_fainter_than_others():
    def contrast(faint):
        studies = [scan(seed, faint=faint, style="clean") for seed in range(6)]
        return np.mean([mean(s, FLAIR, OEDEMA) / white(s, FLAIR) for s in studies if (s.labels == OEDEMA).any()])

    assert contrast(True) < 0.9 * contrast(False)


def test_low_grade_does_not_enhance():
    grades = [scan(seed) for seed in range(12)]
    low = [study for study in grades if study.facts["grade"] == "low"]
    assert low and all(not (study.labels == ENHANCING).any() for study in low)
    assert any((study.labels == ENHANCING).any() for study in grades)


def test_a_later_visit_shows_the_same_tumour_larger():
    person = Person.sample(np.random.SeedSequence(11), "glioma")
    first, later = (person.scan(np.random.default_rng(5), STYLES["mixed"], GRID, growth=g) for g in (1.0, 1.3))
    assert later.facts["volume_ml"] > 1.2 * first.facts["volume_ml"]
    assert (first.labels > 0)[later.labels > 0].mean() > 0.3


def test_anatomy_does_not_depend_on_the_grid():
    person = Person.sample(np.random.SeedSequence(4), None)
    fine = person.scan(np.random.default_rng(0), STYLES["clean"], Grid((96, 96, 1), (2, 2, 4), (0, 0, 12)), noise=0)
    coarse = person.scan(np.random.default_rng(0), STYLES["clean"], Grid((48, 48, 1), (4, 4, 4), (0, 0, 12)), noise=0)
    pooled = fine.images[T2][..., 0].reshape(48, 2, 48, 2).mean((1, 3))
    both = (pooled > 0) & (coarse.images[T2][..., 0] > 0)
    assert np.corrcoef(pooled[both], coarse.images[T2][..., 0][both])[0, 1] > 0.85


def test_meningioma_lies_at_the_edge_and_enhances_as_a_whole():
    for seed in range(3):
        study = scan(seed, kind="meningioma")
        assert (study.labels == NECROSIS).sum() == 0
        core = study.labels == ENHANCING
        assert core.sum() > 5
        gap = np.linalg.norm((np.argwhere(core).mean(0) - np.array([31.5, 31.5, 9.5])) * GRID.spacing_mm)
        assert gap > 35


def test_a_grid_that_misses_the_head_is_refused():
    with pytest.raises(ValueError, match="let the grid cover the head"):
        scan(0, grid=Grid((16, 16, 8), (1.0, 1.0, 1.0), (300, 0, 0)))


def test_unknown_tumour_kind_is_refused():
    with pytest.raises(ValueError, match="kind must be one of .*got 'adenoma'"):
        scan(0, kind="adenoma")


def test_ellipsoid_distance_is_exact_for_a_sphere():
    points = np.array([[0, 0, 7], [0, 3, 0], [5, 0, 0]], np.float32)
    assert ellipsoid_mm(points, (0, 0, 0), (5, 5, 5)) == pytest.approx([2, -2, 0], abs=1e-5)


def test_cover_goes_from_full_to_empty_over_its_width():
    assert cover(np.array([-2.0, -0.5, 0.0, 0.5, 2.0]), 2.0).tolist() == [1, 0.75, 0.5, 0.25, 0]


def test_waves_have_zero_mean_and_unit_deviation():
    values = Waves(np.random.default_rng(0), (5, 10), 60)(Grid((30, 30, 30), (4, 4, 4)).points())
    assert abs(values.mean()) < 0.1 and values.std() == pytest.approx(1, abs=0.15)


def test_sheet_distance_of_a_single_wave_is_the_distance_to_its_zeros():
    wave = Waves(np.random.default_rng(0), (20, 20), 1)
    wave.vectors, wave.phases = np.array([[2 * np.pi / 20, 0, 0]], np.float32), np.array([np.pi / 2], np.float32)
    assert wave.sheet_mm(np.array([[0.5, 9, 9], [-1, 0, 0]], np.float32)) == pytest.approx([0.5, 1], abs=0.05)


def test_rotations_keep_lengths():
    turn = rotation(np.random.default_rng(0), (30, 30, 30))
    assert turn @ turn.T == pytest.approx(np.eye(3), abs=1e-5)


def test_grid_points_are_centred():
    points = Grid((3, 2, 1), (2, 4, 5), (1, 0, 0)).points()
    assert points.shape == (6, 3)
    assert points.mean(0) == pytest.approx([1, 0, 0])
    assert points[:, 0].tolist() == [-1, -1, 1, 1, 3, 3]
