"""Synthetic heads around extracted brains."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor

from transforms import RandHead, RandHeadd

CONFIGS = Path(__file__).parents[2] / "bundles" / "brats_mri_multitask" / "configs"


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


def bright(shape: tuple[int, ...] = (64, 64)) -> dict:
    """A sample whose tumour outshines whatever a head may hold."""
    d = sample(shape)
    d["image"] = torch.where(d["label"] > 0, 40.0, d["image"])
    return d


@pytest.mark.parametrize("shape", [(64, 64), (48, 80), (40, 40, 24)])
def test_the_bright_pixels_of_the_drawn_head_are_its_mask(shape):
    apply = RandHeadd(prob=1.0, shading=0.0).set_random_state(2)
    for _ in range(6):
        d = apply(bright(shape))
        found = d["image"] > 0.5 * d["image"].max()
        wrong = (found != (d["label"] > 0)).sum() / (d["label"] > 0).sum()
        assert wrong < 0.35, float(wrong)  # borders alone: the mask is sampled to the nearest, the image is not
        middles = [torch.nonzero(part[0]).float().mean(0) for part in (found, d["label"] > 0)]
        assert torch.allclose(*middles, atol=0.6)


def test_the_brain_comes_to_lie_where_the_shift_says():
    apply = RandHead()
    apply.share, apply.shift = 0.5, (0.3, -0.2)
    label = torch.zeros(1, 80, 40)
    label[0, 36:44, 16:24] = 1
    middle = torch.nonzero(apply.shrunk(label, smooth=False)[0]).float().mean(0)
    assert middle.tolist() == pytest.approx([39.5 + 0.3 * 40, 19.5 - 0.2 * 20], abs=0.6)


def test_there_is_a_head_of_several_tissues_outside_the_brain():
    apply = RandHead(shading=0.0).set_random_state(0)
    brighter = 0
    for _ in range(8):
        apply.randomize()
        image = apply.shrunk(brain((96, 96)), smooth=True)
        out = apply.around(image)
        outside = (out != 0) & (image == 0)
        assert outside.sum() > 0.15 * (image != 0).sum()
        levels = torch.histc(out[outside], bins=12)
        assert (levels > 0.02 * outside.sum()).sum() >= 3
        brighter += float(out[outside].quantile(0.9)) > float(out[image != 0].median())
    assert 2 <= brighter <= 7  # scalp, or fluid, is brighter than the brain in some weightings


def test_a_face_has_eyes_and_air_in_front_of_the_brain():
    """Anterior is where the second axis begins."""
    inside = (brain((96, 96)) != 0).numpy()[0]
    apply = RandHead().set_random_state(0)
    faces = [apply._face(inside, ~inside) for _ in range(12)]
    eyes = [extras["eye"] for _, _, extras in faces if "eye" in extras]
    assert 2 <= len(eyes) <= 10
    assert all(np.argwhere(eye)[:, 1].mean() < 48 and np.argwhere(eye).size for eye in eyes)
    assert any(extras["hollow"].any() for _, _, extras in faces)


def test_in_a_volume_the_face_lies_below_the_middle_of_the_brain():
    inside = (brain((40, 40, 30)) != 0).numpy()[0]
    apply = RandHead().set_random_state(0)
    for _ in range(8):
        face, rim, extras = apply._face(inside, ~inside)
        assert face[..., :14].any() and not face[..., 16:].any()
        assert not any(part[..., 16:].any() for part in (rim, *extras.values()))


def test_layers_look_thicker_in_small_slices_through_the_top():
    assert RandHead._obliquity(brain((128, 128))[0].numpy() != 0) == 1.0
    small = np.zeros((128, 128), bool)
    small[60:76, 60:76] = True
    assert RandHead._obliquity(small) == 3.5
    assert RandHead._obliquity(small[..., None]) == 1.0


def test_the_coil_shades_the_brain_too():
    plain, shaded = (RandHeadd(prob=1.0, shading=shading).set_random_state(4)(sample()) for shading in (0.0, 0.9))
    assert torch.equal(plain["label"], shaded["label"])
    assert not torch.allclose(plain["image"], shaded["image"], atol=0.1)


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
    ("hospital_a", ("Hospital",), True),
    ("BraTS2021", ("brats", "msd"), True),
    ("", ("brats", "msd"), False),
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


def test_an_empty_slice_is_left():
    given = {"image": torch.zeros(1, 32, 32), "label": torch.zeros(1, 32, 32), "source": "msd"}
    assert not RandHeadd(prob=1.0)(given)["image"].any()


def test_affine_and_meta_stay_and_the_caller_s_tensors_are_left():
    affine = torch.diag(torch.tensor([2.0, 3.0, 4.0, 1.0]))
    given = sample()
    given["image"] = MetaTensor(given["image"], affine=affine, meta={"filename_or_obj": "a.nii.gz"})
    before = given["image"].clone()
    out = RandHeadd(prob=1.0)(given)["image"]
    assert torch.equal(given["image"], before)
    assert isinstance(out, MetaTensor) and torch.equal(out.affine, affine.to(out.affine))
    assert out.meta["filename_or_obj"] == "a.nii.gz"


def test_masks_under_another_key_are_named_or_refused():
    given = {"image": brain(), "seg": sample()["label"].to(torch.uint8), "source": "msd"}
    d = RandHeadd(["image", "seg"], prob=1.0, label_keys="seg")(given)
    assert d["seg"].dtype == torch.uint8 and set(d["seg"].unique().tolist()) == {0, 1}
    with pytest.raises(ValueError, match="label_keys must be among the keys"):
        RandHeadd(["image", "seg"], label_keys="label")


@pytest.mark.parametrize(
    "overlays", [["train"], ["train", "train_3d"], ["train", "domain_robustness"], ["train", "fine_tune"]]
)
def test_the_bundle_s_configs_hold_it_once(overlays):
    parser = ConfigParser()
    parser.read_config([str(CONFIGS / f"{name}.json") for name in overlays])
    found = [t for t in parser["train"]["random_transforms"] if t["_target_"] == "transforms.RandHeadd"]
    assert [(t["prob"], t["sources"]) for t in found] == [("@whole_heads", "@extracted_sources")]
    assert (parser["whole_heads"] > 0) is (overlays[-1] == "domain_robustness")


@pytest.mark.parametrize("setting", [
    {"prob": 1.5}, {"brain_share": (0.0, 0.5)}, {"brain_share": (0.9, 0.5)}, {"shading": -1}, {"shading": float("nan")},
    {"brain_share": (0.5, 0.6, 0.7)}, {"sources": "brats"}, {"sources": []},
])  # fmt: skip
def test_bad_settings_are_refused(setting):
    with pytest.raises(ValueError, match="must"):
        RandHeadd(**setting)
