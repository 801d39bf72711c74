"""Drawing slices, and what is known about them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from transforms import RandSlice, RandSliced


def case(tumour_slices: range = range(6, 10), depth: int = 16, voxels: int = 25, **extra) -> dict:
    """A volume whose slices 0, 1 and 14, 15 are empty, with a tumour of ``voxels`` in some slices."""
    image = torch.zeros(1, 20, 20, depth)
    if depth > 4:
        image[:, 4:16, 4:16, 2:-2] = torch.arange(2.0, depth - 2)  # each slice's value is its index
    else:
        image[:, 4:16, 4:16] = 1
    label = torch.zeros(1, 20, 20, depth, dtype=torch.uint8)
    for z in tumour_slices:
        flat = torch.zeros(100, dtype=torch.uint8)
        flat[:voxels] = 1
        label[0, 6:16, 6:16, z] = flat.reshape(10, 10)
    affine = torch.tensor([[-1.0, 0, 0, 5], [0, -1, 0, 6], [0, 0.5, 3, 7], [0, 0, 0, 1]], dtype=torch.float64)
    known = {"mask_known": 1.0, "tumour": 1, "tumour_known": 1.0}
    return {"image": MetaTensor(image, affine=affine), "label": MetaTensor(label, affine=affine), **known, **extra}


def draw(transform: RandSliced, given: dict, times: int = 300) -> list[dict]:
    transform.set_random_state(0)
    return [transform(given) for _ in range(times)]


@pytest.mark.parametrize("fraction", [0.0, 0.3, 1.0])
def test_slices_with_tumour_come_as_often_as_asked(fraction):
    found = draw(RandSliced(tumour_fraction=fraction), case())
    share = np.mean([d["tumour"] for d in found])
    assert abs(share - fraction) < 0.08
    for d in found:
        assert d["tumour"] == int(d["label"].any()) and d["tumour_known"] == 1.0


def test_every_slice_that_shows_enough_is_drawn_and_no_other():
    indices = {int(d["image"].max()) for d in draw(RandSliced(), case())}
    assert indices == set(range(2, 14))


def test_shape_affine_and_label_are_those_of_the_slice():
    given = case()
    d = RandSliced().set_random_state(3)(given)
    z = int(d["image"].max())
    assert d["image"].shape == (1, 20, 20) and d["label"].shape == (1, 20, 20)
    torch.testing.assert_close(d["label"].as_tensor(), given["label"][..., z].as_tensor())
    origin = given["image"].affine @ torch.tensor([0, 0, z, 1], dtype=torch.float64)
    torch.testing.assert_close(d["image"].affine[:, 3], origin)
    assert given["image"].shape == (1, 20, 20, 16)


def test_a_few_voxels_are_too_few_to_be_drawn_as_either():
    given = case(voxels=3)
    given["label"][0, 6:16, 6:16, 12] = 1
    indices = {int(d["image"].max()) for d in draw(RandSliced(min_voxels=10), given)}
    assert indices == set(range(2, 14)) - set(range(6, 10))


@pytest.mark.parametrize("fraction", [0.0, 1.0])
def test_a_volume_of_one_kind_gives_that_kind(fraction):
    assert not any(d["tumour"] for d in draw(RandSliced(tumour_fraction=fraction), case(range(0)), 20))
    assert all(d["tumour"] for d in draw(RandSliced(tumour_fraction=fraction), case(range(0, 16)), 20))


@pytest.mark.parametrize(
    ("known", "tumour", "tumour_known", "depth", "expected"),
    [
        (0.0, 1, 1.0, 16, (1, 0.0)),
        (0.0, 0, 1.0, 16, (0, 1.0)),
        (0.0, 0, 0.0, 16, (0, 0.0)),
        (0.0, 1, 1.0, 1, (1, 1.0)),
        (1.0, 1, 1.0, 1, (0, 1.0)),
        (1.0, 0, 0.0, 16, (0, 1.0)),
    ],
    ids=["tumour somewhere", "healthy volume", "unknown volume", "picture", "picture with empty mask", "healthy mask"],
)
def test_what_is_known_of_a_slice(known, tumour, tumour_known, depth, expected):
    given = case(range(0), depth=depth, mask_known=known, tumour=tumour, tumour_known=tumour_known)
    d = RandSliced().set_random_state(0)(given)
    assert (d["tumour"], d["tumour_known"]) == expected
    assert d["mask_known"] == known


def test_an_unknown_mask_does_not_steer_the_draw():
    given = case(mask_known=0.0)
    indices = [int(d["image"].max()) for d in draw(RandSliced(tumour_fraction=1.0), given)]
    assert set(indices) == set(range(2, 14))


def test_an_empty_volume_still_gives_a_slice():
    d = RandSliced()({"image": torch.zeros(1, 8, 8, 3), "label": torch.zeros(1, 8, 8, 3), "mask_known": 1.0})
    assert d["image"].shape == (1, 8, 8) and d["tumour"] == 0


def test_the_seed_repeats_the_draws():
    runs = [[int(d["image"].max()) for d in draw(RandSliced(), case(), 40)] for _ in range(2)]
    assert runs[0] == runs[1] and len(set(runs[0])) > 3


def test_the_array_form_draws_the_same_slice_of_both():
    given = case()
    image, label = RandSlice(1.0).set_random_state(0)(given["image"], given["label"])
    torch.testing.assert_close(label.as_tensor(), given["label"][..., int(image.max())].as_tensor())
    assert RandSlice()(given["image"])[1] is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"tumour_fraction": 1.5}, r"between 0 and 1, got 1.5"), ({"min_voxels": 0}, r"min_voxels .*got 0")],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        RandSliced(**settings)


def test_grids_must_agree():
    with pytest.raises(ValueError, match=r"tensors of one size, got \(1, 8, 8, 3\) and \(1, 8, 8, 4\)"):
        RandSlice()(torch.zeros(1, 8, 8, 3), torch.zeros(1, 8, 8, 4))
