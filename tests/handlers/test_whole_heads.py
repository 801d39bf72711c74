"""Whole heads are told from extracted brains by their border."""

from __future__ import annotations

import numpy as np
import pytest

from medvlm.handlers.whole_heads import constant_border, looks_whole


def volume(background: float = 0.0, noise: float = 0.0) -> np.ndarray:
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in (24, 28, 12)], indexing="ij"))
    brain = ((grid / 0.8) ** 2).sum(axis=0) < 1
    random = np.random.default_rng(0)
    return np.where(brain, random.normal(500, 50, brain.shape), background + noise * random.random(brain.shape))


@pytest.mark.parametrize("background", [0.0, -1.3])
def test_an_extracted_brain_has_a_constant_border(background):
    assert constant_border(volume(background)) == 1.0 and not looks_whole(volume(background))


def test_air_with_noise_shows_a_whole_head():
    assert constant_border(volume(noise=9.0)) < 0.1 and looks_whole(volume(noise=9.0))


def test_a_brain_that_is_cut_at_one_face_is_still_an_extracted_one():
    assert not looks_whole(volume()[:, :, :6])
