"""Augmentations on the foreground only."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import (
    Compose,
    RandAdjustContrast,
    RandAdjustContrastd,
    RandBiasField,
    RandGaussianNoise,
    RandGaussianSmooth,
    RandSimulateLowResolution,
    RandSpatialCrop,
)

from transforms import ForegroundOnly, ForegroundOnlyd

TRANSFORMS = {
    "noise": RandGaussianNoise(prob=1.0, std=0.3),
    "blur": RandGaussianSmooth(prob=1.0, sigma_x=(1, 1.5), sigma_y=(1, 1.5), sigma_z=(1, 1.5)),
    "gamma": RandAdjustContrast(prob=1.0, gamma=(0.5, 0.7)),
    "bias": RandBiasField(prob=1.0, coeff_range=(0.2, 0.4)),
    "low resolution": RandSimulateLowResolution(prob=1.0, zoom_range=(0.4, 0.6)),
    "several": Compose([RandGaussianNoise(prob=1.0), RandAdjustContrast(prob=1.0)]),
}


def scored(shape: tuple[int, ...] = (2, 40, 40)) -> MetaTensor:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(shape, dtype=torch.bool)
    mask[:, 8:32, 10:30] = True
    inside = (values - values[mask].mean()) / values[mask].std(correction=0)
    return MetaTensor(torch.where(mask, inside, 0), affine=torch.diag(torch.tensor([2.0, 2, 1, 1])))


@pytest.mark.parametrize("positive", [False, True], ids=["as it is", "positive"])
@pytest.mark.parametrize("shape", [(2, 40, 40), (1, 40, 40, 6)], ids=["2d", "3d"])
@pytest.mark.parametrize("name", TRANSFORMS)
def test_background_stays_zero_and_foreground_changes(name, shape, positive):
    image = scored(shape)
    before = image.clone()
    transform = TRANSFORMS[name]
    if name == "low resolution" and len(shape) == 3:  # MONAI's default mode serves 3D only
        transform = RandSimulateLowResolution(prob=1.0, zoom_range=(0.4, 0.6), upsample_mode="bilinear")
    out = ForegroundOnly(transform, positive=positive, renormalise=True).set_random_state(0)(image)
    mask = before.as_tensor() != 0
    assert not out.as_tensor()[~mask].any()
    assert (out - before).as_tensor()[mask].abs().mean() > 0.01
    for channel, inside in zip(out.as_tensor(), mask, strict=True):
        assert channel[inside].mean().abs() < 1e-4
        assert channel[inside].std(correction=0) == pytest.approx(1, abs=1e-3)
    torch.testing.assert_close(image, before)
    torch.testing.assert_close(out.affine, before.affine)


def test_without_the_wrapper_monai_moves_the_background():
    image = scored()
    assert TRANSFORMS["gamma"].set_random_state(0)(image)[image == 0].abs().max() > 0.1


def test_positive_keeps_the_order_of_intensities_under_gamma_and_bias():
    image = scored()
    mask = image.as_tensor() != 0
    out = ForegroundOnly(TRANSFORMS["gamma"], positive=True).set_random_state(0)(image).as_tensor()
    order = image.as_tensor()[0][mask[0]].argsort()
    assert (out[0][mask[0]][order].diff() >= -1e-4).all()
    darkest = ForegroundOnly(TRANSFORMS["bias"], positive=True).set_random_state(0)(image).as_tensor()
    assert darkest[0][mask[0]][order[0]] == pytest.approx(float(image.as_tensor()[0][mask[0]].min()), abs=1e-4)


def test_an_empty_channel_stays_empty():
    image = scored()
    image[1] = 0
    out = ForegroundOnly(RandGaussianNoise(prob=1.0), positive=True, renormalise=True)(image)
    assert not out[1].any() and torch.isfinite(out).all()


def test_the_seed_reaches_the_wrapped_transform_through_compose():
    pipeline = Compose([ForegroundOnlyd("image", RandGaussianNoise(prob=0.5))])
    runs = []
    for _ in range(2):
        pipeline.set_random_state(11)
        runs.append(torch.stack([pipeline({"image": scored()})["image"].as_tensor() for _ in range(6)]))
    torch.testing.assert_close(runs[0], runs[1])
    same = [torch.equal(image, scored().as_tensor()) for image in runs[0]]
    assert any(same) and not all(same)


def test_a_cropping_transform_is_refused():
    with pytest.raises(ValueError, match=r"must keep the shape \(2, 40, 40\), got \(2, 20, 20\)"):
        ForegroundOnly(RandSpatialCrop((20, 20), random_size=False))(scored())


def test_a_dictionary_transform_is_refused():
    with pytest.raises(TypeError, match=r"must be an array transform such as RandGaussianNoise"):
        ForegroundOnly(RandAdjustContrastd("image"))
