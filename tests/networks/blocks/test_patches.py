"""Patches of videos and their normalised target, equal to VideoMAE's."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from medvlm.networks.blocks.patches import patch_grid, patchify, pixel_target, unpatchify

GOLDEN = Path(os.environ.get("MEDVLM_GOLDEN", Path(__file__).resolve().parents[4] / "shared" / "golden")) / "videomae"
CASES = ("p16_norm", "p16_raw", "p8_norm")


@pytest.fixture(scope="module")
def golden():
    path = GOLDEN / "target.npz"
    if not path.is_file():
        pytest.skip(f"golden values are not at {path}; set MEDVLM_GOLDEN")
    return np.load(path)


def inputs(golden, case: str) -> tuple[torch.Tensor, tuple[int, int, int], bool, torch.Tensor]:
    clip = torch.from_numpy(golden[f"{case}/clip_u8"]).double() / 255
    side = int(golden[f"{case}/patch"])
    return clip, (2, side, side), bool(golden[f"{case}/normalised"]), torch.from_numpy(golden[f"{case}/mask"]).bool()


@pytest.mark.parametrize("case", CASES)
def test_target_is_the_official_one(golden, case):
    clip, patch, normalised, mask = inputs(golden, case)
    found = pixel_target(clip, patch, normalised)
    expected = torch.from_numpy(golden[f"{case}/target_masked_engine_f32"])
    assert (found[mask].reshape(expected.shape) - expected).abs().max() < 1e-5
    assert np.allclose(found[0, 0], golden[f"{case}/target_f64_first_token"], atol=1e-5)
    loss = (torch.from_numpy(golden[f"{case}/pred"]) - found[mask].reshape(expected.shape)).square().mean()
    assert abs(float(loss) - float(golden[f"{case}/loss_f64"])) < 1e-5


@pytest.mark.parametrize("case", CASES)
def test_one_channel_is_the_official_rule_too(golden, case):
    clip, patch, normalised, mask = inputs(golden, case)
    found = pixel_target(clip[:, :1], patch, normalised)[mask]
    assert np.allclose(found[0], golden[f"{case}/gray_target_f64_masked_token0"], atol=1e-5)
    assert float(found.square().mean()) == pytest.approx(float(golden[f"{case}/gray_loss_f64_vs_zero_pred"]), rel=1e-5)


def test_a_constant_patch_has_the_target_zero(golden):
    clip, patch, normalised, _ = inputs(golden, "p16_constpatch")
    found = pixel_target(clip, patch, normalised)
    assert found[0, 0].abs().max() < 1e-4  # the official engine has up to 0.03 of rounding here
    expected = torch.from_numpy(golden["p16_constpatch/target_masked_engine_f32"])[:, 1:]
    assert (found[:, 1:] - expected).abs().max() < 1e-5


def test_noise_of_a_flat_background_stays_small():
    video = 0.3 + 1e-4 * torch.randn(1, 1, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    assert pixel_target(video, (2, 8, 8)).abs().max() < 0.1
    assert pixel_target(video, (2, 8, 8), floor_std=0.0).abs().max() > 1.0


def test_target_has_no_gradient():
    video = torch.rand(1, 1, 2, 8, 8, requires_grad=True)
    assert not pixel_target(video, (2, 4, 4)).requires_grad


def test_patches_are_cut_in_order_and_put_back():
    video = torch.arange(2 * 3 * 4 * 4 * 6).reshape(2, 3, 4, 4, 6)
    patches = patchify(video, (2, 2, 3))
    assert patches.shape == (2, 8, 12, 3)
    assert torch.equal(patches[1, 3, :, 2].reshape(2, 2, 3), video[1, 2, :2, 2:, 3:])
    assert torch.equal(unpatchify(patches, (2, 2, 2), (2, 2, 3)), video)


def test_sides_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match=r"divisible by the patch \(2, 16, 16\), got \(4, 30, 32\)"):
        patch_grid(torch.zeros(1, 1, 4, 30, 32))
    with pytest.raises(ValueError, match="floor_std"):
        pixel_target(torch.zeros(1, 1, 2, 16, 16), floor_std=-1.0)
