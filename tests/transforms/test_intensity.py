"""The one normalisation, on made images of every kind of source."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import CropForeground, NormalizeIntensity

from transforms import BrainZScore, BrainZScored, brain_foreground, is_foreground

SIDE = 128


def ellipse(side: int = SIDE, rx: float = 0.33, ry: float = 0.42, depth: int = 1) -> np.ndarray:
    x, y = np.meshgrid(*2 * [np.linspace(-1, 1, side)], indexing="ij")
    return np.repeat(((x / (2 * rx)) ** 2 + (y / (2 * ry)) ** 2 < 1)[..., None], depth, axis=2)


def skull_stripped(depth: int = 1, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A brain of int16-like intensities, among them zero and negative ones, on a background of exactly 0."""
    mask = ellipse(depth=depth)
    values = np.random.default_rng(seed).normal(300, 60, mask.shape).round()
    values[60:66, 60:70] = 0  # dark ventricle
    values[70:72, 60:70] = -20
    return np.where(mask, values, 0).astype(np.float32), mask


def photo(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A whole head of grey levels on a noisy black background, with dark skull and ventricles inside."""
    rng = np.random.default_rng(seed)
    head = ellipse()
    image = rng.integers(0, 7, head.shape).astype(np.float32)
    image[head] = 190 + rng.normal(0, 8, head.sum())  # scalp
    image[ellipse(rx=0.30, ry=0.39)] = 4  # skull
    brain = ellipse(rx=0.28, ry=0.37)
    image[brain] = 120 + rng.normal(0, 15, brain.sum())
    image[58:70, 55:75] = 5
    return image.clip(0, 255).round(), head


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * float((a & b).sum()) / float(a.sum() + b.sum())


@pytest.mark.parametrize("depth", [1, 5])
def test_skull_stripped_is_the_nonzero_rule_with_holes_filled(depth):
    image, mask = skull_stripped(depth)
    np.testing.assert_array_equal(brain_foreground(image), mask)
    solid = image.copy()
    solid[mask & (image == 0)] = 1
    ours = BrainZScore()(torch.from_numpy(solid)[None])
    torch.testing.assert_close(ours, NormalizeIntensity(nonzero=True)(torch.from_numpy(solid)[None]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("background", [-5.34254121, 0.0, 3.0], ids=["lowest", "mean", "in between"])
def test_z_scored_volumes_are_found_again_whatever_their_background_became(background):
    image, mask = skull_stripped(4)
    scored = (image - image[mask].mean()) / image[mask].std()
    given = np.where(mask, scored, background).astype(np.float32)
    np.testing.assert_array_equal(brain_foreground(given), mask)
    out = BrainZScore()(torch.from_numpy(given)[None])[0].numpy()
    np.testing.assert_allclose(out[mask], scored[mask], atol=1e-4)
    assert (out[~mask] == 0).all()


def test_twice_is_once_on_a_brain():
    once = BrainZScore()(torch.from_numpy(skull_stripped(3)[0])[None])
    torch.testing.assert_close(BrainZScore()(once), once, atol=1e-5, rtol=0)


def decorate(name: str, image: np.ndarray) -> np.ndarray:
    """Add what pictures from the internet have around the head."""
    if name == "grey background":
        return np.maximum(image, 27 + np.random.default_rng(1).integers(0, 3, image.shape))
    if name == "white frame":
        image[:4], image[-4:], image[:, :4], image[:, -4:] = 255, 255, 255, 255
    elif name == "thin frame":
        image[2], image[-3], image[:, 2], image[:, -3] = 160, 160, 160, 160
    elif name == "one bar":
        image[-6:] = 200
    elif name == "letters":
        for x in range(6, 40, 6):
            image[x : x + 3, 118:124] = 255
            image[x + 1, 119:123] = 0
    elif name == "ruler":
        image[4, 20:110] = 230
        image[3:7, 20:110:10] = 230
    elif name == "white margins":
        image = np.concatenate([np.full((70, SIDE, 1), 255), image, np.full((70, SIDE, 1), 255)])
    elif name == "white page":
        image[image < 7] = 255
        image[ellipse() & (image == 255)] = 4
    elif name == "black margins":
        image = np.concatenate([np.zeros((70, SIDE, 1)), np.maximum(image, 6), np.zeros((70, SIDE, 1))])
    return image.astype(np.float32)


@pytest.mark.parametrize(
    "name",
    [
        "plain",
        "grey background",
        "white frame",
        "thin frame",
        "one bar",
        "letters",
        "ruler",
        "white margins",
        "white page",
        "black margins",
    ],
)
def test_the_head_is_found_in_pictures_with(name):
    image, head = photo()
    image = decorate(name, image)
    if len(image) > SIDE:
        head = np.pad(head, ((70, 70), (0, 0), (0, 0)))
    found = brain_foreground(image)
    assert dice(found, head) > 0.98
    where, wanted = np.argwhere(found), np.argwhere(head)
    assert np.abs(where.min(0) - wanted.min(0)).max() <= 2
    assert np.abs(where.max(0) - wanted.max(0)).max() <= 2
    out = BrainZScore()(torch.from_numpy(image)[None]).numpy()[0]
    assert out[found].mean() == pytest.approx(0, abs=1e-4) and out[found].std() == pytest.approx(1, abs=1e-4)
    assert (out[~found] == 0).all()


def test_dark_ventricles_stay_dark_and_are_not_background():
    image, _ = photo()
    out = BrainZScore()(torch.from_numpy(image)[None])
    assert (out[0, 60:68, 58:72] < -1).all()


def test_picture_and_scan_of_one_head_come_out_alike():
    image, head = photo()
    scan = np.where(head, image * 7.5 + 100, 0)
    a = BrainZScore()(torch.from_numpy(image)[None])[0].numpy()
    b = BrainZScore()(torch.from_numpy(scan.astype(np.float32))[None])[0].numpy()
    assert np.abs(a - b)[ellipse(rx=0.31, ry=0.40)].max() < 0.05


@pytest.mark.parametrize("scale", [1e-3, 1.0, 4000.0])
def test_the_unit_of_intensity_does_not_matter(scale):
    image = torch.from_numpy(photo()[0])[None]
    torch.testing.assert_close(BrainZScore()(image * scale), BrainZScore()(image), atol=1e-3, rtol=0)


def test_channels_are_normalised_apart_and_a_missing_one_stays_zero():
    image, mask = skull_stripped(3)
    given = torch.from_numpy(np.stack([image, 10 * image + 5 * mask, np.zeros_like(image)]))
    out = BrainZScore()(given)
    torch.testing.assert_close(out[0], out[1], atol=1e-4, rtol=0)
    assert not out[2].any()


def test_a_binary_picture_is_scored_as_a_whole():
    image = torch.from_numpy(ellipse().astype(np.float32))[None]
    out = BrainZScore()(image)
    assert out.mean().abs() < 1e-5 and out.std(correction=0) == pytest.approx(1, abs=1e-4)


def test_two_dimensions_are_one_slice():
    image = torch.from_numpy(photo()[0])[None]
    torch.testing.assert_close(BrainZScore()(image[..., 0]), BrainZScore()(image)[..., 0])


def test_the_input_is_left_alone_and_the_affine_kept():
    image = MetaTensor(torch.from_numpy(photo()[0])[None], affine=torch.diag(torch.tensor([2.0, 2, 3, 1])))
    before = image.clone()
    d = BrainZScored()({"image": image, "label": 1})
    torch.testing.assert_close(image, before)
    assert isinstance(d["image"], MetaTensor) and d["label"] == 1
    torch.testing.assert_close(d["image"].affine, image.affine)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.zeros(4, 4), r"needs \(C, X, Y, Z\) or \(C, X, Y\), got shape \(4, 4\)"),
        (torch.full((1, 9, 9, 1), torch.nan), r"needs finite values; mend NaN"),
    ],
)
def test_unusable_input_is_refused(image, message):
    with pytest.raises(ValueError, match=message):
        BrainZScore()(image)


def test_the_crop_is_the_box_of_the_head():
    image, head = photo()
    cropped = CropForeground(select_fn=is_foreground, allow_smaller=True)(BrainZScore()(torch.from_numpy(image)[None]))
    wanted = np.argwhere(head)
    sides = wanted.max(0) - wanted.min(0) + 1
    assert np.abs(np.array(cropped.shape[1:]) - sides).max() <= 2
