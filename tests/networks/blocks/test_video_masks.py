"""Masks of videos: counts, shapes in time and space, and what the random numbers come from."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from medvlm.networks.blocks.patches import motion_saliency
from medvlm.networks.blocks.video_masks import (
    KINDS,
    block_mask,
    draw_mask,
    random_mask,
    saliency_mask,
    temporal_mask,
    tube_mask,
)

GOLDEN = Path(os.environ.get("MEDVLM_GOLDEN", Path(__file__).resolve().parents[4] / "shared" / "golden"))
GRID = (4, 6, 5)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def saliency(batch: int = 3) -> torch.Tensor:
    return torch.rand(batch, 120, generator=seeded(9))


@pytest.mark.parametrize(
    ("kind", "count"),
    [("tube", 4 * 22), ("random", 90), ("temporal", 3 * 30), ("block", 4 * 22), ("saliency", 90)],
)
def test_every_sample_hides_as_many_patches(kind, count):
    mask = draw_mask(kind, 3, GRID, 0.75, seeded(), saliency())
    assert mask.shape == (3, 120) and mask.dtype == torch.bool
    assert mask.sum(dim=1).tolist() == [count] * 3
    assert not torch.equal(mask[0], mask[1])


@pytest.mark.parametrize("kind", KINDS)
def test_a_generator_makes_it_repeatable_and_leaves_the_global_numbers_alone(kind):
    before = torch.get_rng_state()
    first, again = (draw_mask(kind, 2, GRID, 0.5, seeded(5), saliency(2)) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, draw_mask(kind, 2, GRID, 0.5, seeded(6), saliency(2)))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("function", [tube_mask, block_mask])
def test_tubes_hide_the_same_places_in_every_frame(function):
    frames = function(2, GRID, 0.6, seeded()).unflatten(1, (4, 30))
    assert (frames == frames[:, :1]).all()


def test_temporal_mask_hides_whole_frames():
    frames = temporal_mask(2, GRID, 0.5, seeded()).unflatten(1, (4, 30))
    assert sorted(frames.sum(dim=2)[0].tolist()) == [0, 0, 30, 30]


def test_random_mask_differs_between_frames():
    frames = random_mask(1, GRID, 0.5, seeded()).unflatten(1, (4, 30))
    assert not (frames == frames[:, :1]).all()


def test_every_place_is_hidden_as_often():
    share = tube_mask(4000, (1, 3, 3), 0.34, seeded()).float().mean(dim=0)
    assert (share - 3 / 9).abs().max() < 0.03


def test_block_mask_leaves_hidden_places_with_hidden_neighbours():
    def neighbours(mask: torch.Tensor) -> float:
        frame = mask.reshape(-1, 14, 14).float()
        padded = torch.nn.functional.pad(frame[:, None], (1, 1, 1, 1))
        around = torch.nn.functional.avg_pool2d(padded, 3, 1)[:, 0] * 9 - frame
        return float((around * frame).sum() / frame.sum())

    assert (
        neighbours(block_mask(50, (1, 14, 14), 0.5, seeded()))
        > neighbours(tube_mask(50, (1, 14, 14), 0.5, seeded())) + 1
    )


def test_salient_places_are_hidden_more_often():
    weight = torch.ones(2000, 20)
    weight[:, :5] = 10.0
    often = saliency_mask(weight, (1, 4, 5), 0.25, seeded()).float().mean(dim=0)
    assert often[:5].min() > 0.6 and often[5:].max() < 0.2
    alike = saliency_mask(weight, (1, 4, 5), 0.25, seeded(), sharpness=0.0).float().mean(dim=0)
    assert (alike - 0.25).abs().max() < 0.05
    always = saliency_mask(weight, (1, 4, 5), 0.25, seeded(), sharpness=50.0)
    assert always[:, :5].all()


def test_saliency_of_a_tube_is_the_mean_over_time():
    weight = torch.full((100, 2 * 6), 1e-3)
    weight[:, 1] = 100.0  # bright in one of two frames
    frames = saliency_mask(weight, (2, 2, 3), 0.2, seeded(), sharpness=3.0, tube=True).unflatten(1, (2, 6))
    assert (frames[:, 0] == frames[:, 1]).all() and frames[:, 0, 1].float().mean() > 0.95


def test_a_still_video_has_no_motion_and_still_gets_a_mask():
    still = motion_saliency(torch.rand(2, 1, 1, 8, 8).expand(-1, -1, 4, -1, -1), (2, 2, 2))
    assert torch.equal(still, torch.zeros(2, 8))
    assert saliency_mask(still, (2, 2, 2), 0.5, seeded()).sum(dim=1).tolist() == [4, 4]


def test_motion_is_found_where_it_is():
    video = torch.zeros(1, 1, 4, 8, 8)
    video[:, :, 2:, 4:, :4] = 1.0
    assert motion_saliency(video, (2, 2, 2)).argmax().item() == 6  # second half, lower left
    assert motion_saliency(video[:, :, :1], (1, 2, 2)).tolist() == [[0.0] * 4]


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: tube_mask(1, GRID, 1.0), "below 1"),
        (lambda: tube_mask(1, (0, 2, 2), 0.5), "positive"),
        (lambda: draw_mask("tubes", 1, GRID), "'tubes'"),
        (lambda: draw_mask("saliency", 1, GRID), "needs saliency"),
        (lambda: saliency_mask(torch.ones(1, 7), GRID), r"\(B, 120\)"),
        (lambda: saliency_mask(saliency(), GRID, sharpness=-1.0), "sharpness"),
        (lambda: block_mask(1, GRID, block=0.0), "area"),
    ],
)
def test_faults_are_named(call, match):
    with pytest.raises(ValueError, match=match):
        call()


def test_tube_masks_hide_as_many_as_the_official_generator():
    path = GOLDEN / "videomae" / "tube_masks.npz"
    if not path.is_file():
        pytest.skip(f"golden values are not at {path}; set MEDVLM_GOLDEN")
    for name, expected in np.load(path).items():
        grid, ratio, _ = name.split("_")
        t, h, w = map(int, grid.split("x"))
        mask = tube_mask(3, (t, h, w), float(ratio[1:]), seeded())
        assert mask.sum(dim=1).tolist() == expected.reshape(3, -1).sum(axis=1).tolist(), name
