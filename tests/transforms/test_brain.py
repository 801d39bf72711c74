"""Whole heads are told from extracted brains by their border, and the brain is found in them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from transforms import BrainZScore, ExtractBrain, ExtractBraind, brain_in_head
from transforms.brain import constant_border, looks_whole

SPACING = (2.0, 2.0, 3.0)


def volume(background: float = 0.0, noise: float = 0.0) -> np.ndarray:
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in (24, 28, 12)], indexing="ij"))
    brain = ((grid / 0.8) ** 2).sum(axis=0) < 1
    random = np.random.default_rng(0)
    return np.where(brain, random.normal(500, 50, brain.shape), background + noise * random.random(brain.shape))


def head(scalp: float = 900.0, lesion: float = 1500.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A head in air with noise, its brain and a lesion at the brain's surface; in mm around the brain's middle."""
    x, y, z = np.meshgrid(
        *[(np.arange(n) - n / 2) * step for n, step in zip((100, 116, 56), SPACING, strict=True)], indexing="ij"
    )

    def ellipsoid(*radii: float) -> np.ndarray:
        return sum((axis / radius) ** 2 for axis, radius in zip((x, y, z), radii, strict=True)) < 1

    brain, skull, skin = ellipsoid(66, 82, 62), ellipsoid(73, 89, 69), ellipsoid(81, 97, 77)
    spot = ((x - 52) ** 2 + y**2 + (z - 5) ** 2 < 20**2) & brain
    neck = (np.hypot(x, y) < 60) & (z < -55) & ~skull
    image = np.zeros(brain.shape)
    for where, level in ((skin | neck, scalp), (skull, 60.0), (brain, 500.0), (ellipsoid(9, 25, 12), 90.0)):
        image[where] = level
    image[spot] = lesion
    image *= 1 + 0.3 * x / 100  # the coil's shading
    return np.abs(image + np.random.default_rng(0).normal(0, 20, image.shape)), brain, spot


def case(array: np.ndarray, spacing: tuple[float, ...] = SPACING) -> MetaTensor:
    return MetaTensor(torch.from_numpy(array)[None], affine=torch.diag(torch.tensor([*spacing, 1.0])))


@pytest.mark.parametrize("background", [0.0, -1.3])
def test_an_extracted_brain_has_a_constant_border(background):
    assert constant_border(volume(background)) == 1.0 and not looks_whole(volume(background))


def test_air_with_noise_shows_a_whole_head():
    assert constant_border(volume(noise=9.0)) < 0.1 and looks_whole(volume(noise=9.0))


def test_a_brain_that_is_cut_at_one_face_is_still_an_extracted_one():
    assert not looks_whole(volume()[:, :, :6])


@pytest.mark.parametrize("scalp", [150.0, 520.0, 1600.0])
def test_the_brain_is_found_whatever_the_brightness_of_the_scalp(scalp):
    array, brain, _ = head(scalp)
    found = brain_in_head(array, SPACING)
    assert 2 * (found & brain).sum() / (found.sum() + brain.sum()) > 0.93
    assert found[brain].mean() > 0.93


@pytest.mark.parametrize("lesion", [120.0, 700.0, 2000.0])
def test_a_lesion_at_the_surface_stays(lesion):
    array, _, spot = head(lesion=lesion)
    assert brain_in_head(array, SPACING)[spot].mean() > 0.93


def test_the_grid_does_not_matter():
    array, brain, _ = head()
    twice = brain_in_head(array.repeat(4, 0).repeat(4, 1), (0.5, 0.5, 3.0))
    assert twice.shape == (400, 464, 56)
    truth = brain.repeat(4, 0).repeat(4, 1)
    assert 2 * (twice & truth).sum() / (twice.sum() + truth.sum()) > 0.93


@pytest.mark.parametrize(
    "array", [np.full((20, 20, 8), 3.0), np.random.default_rng(0).random((60, 60, 20)), np.eye(30)[..., None] * [0, 1]]
)
def test_where_there_is_no_head_nothing_is_found(array):
    assert not brain_in_head(array, SPACING).any()


def test_what_is_left_is_normalised_like_an_extracted_brain():
    array, brain, _ = head()
    d = ExtractBraind("image")({"image": case(array)})
    assert d["whole_head"] and 0.9 < d["extracted_ml"] / (brain.sum() * 0.012) < 1.1
    assert torch.equal(d["image"].affine, case(array).affine)
    scored = BrainZScore()(d["image"])[0].numpy()
    assert (scored != 0)[brain].mean() > 0.93 and (scored != 0)[~brain].mean() < 0.03
    assert (scored[:, :, 0] == 0).all()


def test_extracted_volumes_pictures_and_what_holds_no_brain_stay_as_they_are():
    extract = ExtractBrain()
    for given in (case(volume()), case(volume(noise=9.0)[..., :1]), case(volume(noise=9.0)), case(head()[0])[..., 0]):
        out, _, brain_ml = extract.noted(given)
        assert out is given and extract(given) is given and brain_ml == 0
    assert extract.noted(case(volume(noise=9.0)))[1]
    never = ExtractBraind("image", when="never")({"image": case(head()[0])})
    assert never["whole_head"] and never["extracted_ml"] == 0 and looks_whole(never["image"][0].numpy())


def test_a_head_whose_air_was_set_to_zero_is_extracted_on_demand_only():
    array, brain, _ = head()
    array[array < 70] = 0
    array[0] = array[-1] = array[:, 0] = array[:, -1] = array[..., 0] = array[..., -1] = 0
    assert ExtractBraind("image")({"image": case(array)})["extracted_ml"] == 0
    d = ExtractBraind("image", when="always")({"image": case(array)})
    assert not d["whole_head"] and d["extracted_ml"] / (brain.sum() * 0.012) == pytest.approx(1, abs=0.1)


def test_channels_have_one_mask_and_a_missing_one_has_no_vote():
    first, second = head(scalp=900.0)[0], head(scalp=150.0)[0]
    image = MetaTensor(torch.from_numpy(np.stack([first, np.zeros_like(first), second])), affine=case(first).affine)
    out = ExtractBrain()(image).numpy()
    outside = out[0] == out[0].min()
    assert np.array_equal(outside, out[2] == out[2].min()) and 0.5 < outside.mean() < 0.95
    assert (out[1] == 0).all()


def test_another_rule_is_refused():
    with pytest.raises(ValueError, match="auto, always, never"):
        ExtractBrain("yes")
