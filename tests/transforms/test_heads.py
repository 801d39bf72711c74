"""Synthetic heads around extracted brains."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from transforms import RandHead, RandHeadd


def brain(shape: tuple[int, ...] = (64, 64), channels: int = 1, seed: int = 0) -> torch.Tensor:
    """A z-scored disc or ball, background exactly 0."""
    axes = torch.meshgrid(*(torch.linspace(-1, 1, side) for side in shape), indexing="ij")
    inside = sum(axis**2 for axis in axes) < 0.8
    image = torch.randn(channels, *shape, generator=torch.Generator().manual_seed(seed))
    return torch.where(inside, image, 0)


def sample(shape: tuple[int, ...] = (64, 64), source: str = "brats2021") -> dict:
    image = brain(shape)
    label = torch.zeros(1, *shape)
    label[(0, *(slice(side // 2 - 6, side // 2 + 7) for side in shape))] = 1
    return {"image": image, "label": label, "source": source, "tumour": 1}


@pytest.mark.parametrize("shape", [(64, 64), (48, 64), (40, 40, 24)])
def test_the_head_surrounds_the_brain_and_is_z_scored(shape):
    given = sample(shape)
    d = RandHeadd(prob=1.0).set_random_state(0)(given)
    assert d["image"].shape == given["image"].shape and d["image"].dtype == torch.float32
    head = d["image"] != 0
    assert not head.all()
    assert head[:, d["label"][0] > 0].all()
    values = d["image"][head]
    assert abs(float(values.mean())) < 0.02 and abs(float(values.std()) - 1) < 0.02
    assert torch.isfinite(d["image"]).all()


def test_the_mask_shrinks_with_the_brain_and_stays_binary():
    head = RandHeadd(prob=1.0, brain_share=(0.5, 0.5)).set_random_state(0)
    given = sample()
    given["image"] = torch.where(given["label"] > 0, 5.0, given["image"])  # the tumour can be seen
    d = head(given)
    assert set(d["label"].unique().tolist()) == {0.0, 1.0}
    assert float(d["label"].sum() / given["label"].sum()) == pytest.approx(0.25, abs=0.04)
    assert len(torch.where((d["label"][0] > 0).any(1))[0]) in (6, 7)  # rows, of 13


def test_image_and_mask_move_together():
    """Where the mask lies, the image shows what lay under it before."""
    apply = RandHead(brain_share=(0.7, 0.7)).set_random_state(3)
    apply.randomize()
    given = sample()
    marked = torch.where(given["label"] > 0, 5.0, -torch.ones(()) * (given["image"] != 0))
    image, label = apply.shrunk(marked, smooth=True), apply.shrunk(given["label"], smooth=False)
    assert ((image > 2) == (label > 0)).float().mean() > 0.995
    assert (image[label > 0] > 1).all()


def test_a_brain_that_nothing_is_drawn_around_keeps_its_order_of_brightness():
    """Shading apart, a tumour brighter than the brain stays brighter."""
    d = sample()
    d["image"] = torch.where(d["label"] > 0, 6.0, d["image"])
    out = RandHeadd(prob=1.0, shading=0.0).set_random_state(1)(d)
    inside = out["image"][out["label"] > 0]
    assert float(inside.median()) > float(out["image"][(out["image"] != 0) & (out["label"] == 0)].median())


def test_channels_differ_and_an_absent_one_stays_absent():
    image = torch.cat([brain(seed=1), torch.zeros(1, 64, 64), brain(seed=2)])
    out = RandHeadd("image", prob=1.0, label_keys=()).set_random_state(0)({"image": image, "source": "msd"})["image"]
    assert not out[1].any()
    assert ((out[0] != 0) == (out[2] != 0)).all()
    outside = out[0] != 0
    assert not torch.allclose(out[0][outside], out[2][outside])


@pytest.mark.parametrize(("source", "sources", "changed"), [
    ("brats_slices", ("brats", "msd"), True),
    ("kaggle_yes_no", ("brats", "msd"), False),
    ("kaggle_yes_no", None, True),
    ("hospital_a", ("hospital",), True),
])  # fmt: skip
def test_only_sources_of_extracted_brains_get_one(source, sources, changed):
    given = sample(source=source)
    d = RandHeadd(prob=1.0, sources=sources).set_random_state(0)(given)
    assert (d["image"] is not given["image"]) is changed
    assert (d["label"] is not given["label"]) is changed


def test_the_same_seed_gives_the_same_head_and_the_share_is_the_one_asked_for():
    given = sample()
    twice = [RandHeadd(prob=1.0).set_random_state(5)(given)["image"] for _ in range(2)]
    assert torch.equal(*twice)
    often = RandHeadd(prob=0.3).set_random_state(0)
    small = sample((16, 16))
    share = np.mean([often(small)["image"] is not small["image"] for _ in range(400)])
    assert abs(share - 0.3) < 0.07


def test_meta_tensors_stay_and_an_empty_slice_is_left():
    given = {"image": MetaTensor(torch.zeros(1, 32, 32)), "label": MetaTensor(torch.zeros(1, 32, 32)), "source": "msd"}
    d = RandHeadd(prob=1.0)(given)
    assert isinstance(d["image"], MetaTensor) and not d["image"].any()


@pytest.mark.parametrize("setting", [
    {"prob": 1.5}, {"brain_share": (0.0, 0.5)}, {"brain_share": (0.9, 0.5)}, {"shading": -1}, {"sources": "brats"},
])  # fmt: skip
def test_bad_settings_are_refused(setting):
    with pytest.raises(ValueError, match="must"):
        RandHeadd(**setting)
