"""Augmenting without MONAI's record of it."""

from __future__ import annotations

import pytest
import torch
from monai.data import CacheDataset, MetaTensor, get_track_meta
from monai.transforms import Compose, Lambdad, RandAffined, RandFlipd, RandScaleIntensityd

from transforms import Untracked


def random_transforms() -> list:
    return [
        RandFlipd("image", prob=0.5, spatial_axis=0),
        RandAffined("image", prob=1.0, rotate_range=0.3, scale_range=0.1, padding_mode="zeros"),
        RandScaleIntensityd("image", factors=0.2, prob=0.5),
    ]


def case(seed: int = 0) -> dict:
    image = torch.rand(1, 16, 16, generator=torch.Generator().manual_seed(seed))
    affine = torch.diag(torch.tensor([2.0, 2.0, 3.0, 1.0], dtype=torch.float64))
    return {"image": MetaTensor(image, affine=affine, meta={"filename_or_obj": "a.nii.gz"}), "case_id": "a"}


def test_the_values_are_those_of_compose():
    plain, tracked = Untracked(random_transforms()), Compose(random_transforms())
    plain.set_random_state(3)
    tracked.set_random_state(3)
    for seed in range(8):
        bare, kept = plain(case(seed)), tracked(case(seed))
        assert type(bare["image"]) is torch.Tensor and isinstance(kept["image"], MetaTensor)
        torch.testing.assert_close(bare["image"], kept["image"].as_tensor())
        assert bare["case_id"] == "a"


def test_one_seed_gives_one_draw():
    draws = []
    for seed in (1, 1, 2):
        transform = Untracked(random_transforms())
        transform.set_random_state(seed)
        draws.append(transform(case())["image"])
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])


def test_tracking_is_on_again_after_an_error():
    def fail(image):
        raise ValueError("broken")

    with pytest.raises(RuntimeError, match="applying transform"):
        Untracked([Lambdad("image", fail)])(case())
    assert get_track_meta()


def test_a_cache_ends_before_it_and_stays_as_it_was():
    first = Lambdad("image", lambda image: image + 1)
    data = CacheDataset([case(0), case(1)], [first, Untracked(random_transforms())], copy_cache=False, progress=False)
    before = [item["image"].clone() for item in data._cache]
    assert all(isinstance(item["image"], MetaTensor) for item in data._cache)
    for _ in range(5):
        assert type(data[0]["image"]) is torch.Tensor
    assert not torch.equal(data[0]["image"], data[0]["image"])
    for item, image in zip(data._cache, before, strict=True):
        assert torch.equal(item["image"], image) and item["image"].affine[2, 2] == 3
