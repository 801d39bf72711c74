"""Fitting into a plane, and the way back to the native grid."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, CropForegroundd, Invertd, Orientationd, Resize, Spacingd

from transforms import FitInPlane, FitInPlaned, SpacingSafed, is_foreground

LABELS = (("L", "R"), ("P", "A"), ("I", "S"))


def oblique() -> np.ndarray:
    a, b = np.deg2rad([12, -9])
    turn_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    turn_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn_x @ turn_z @ np.diag([-0.8, 0.8, 3.0])
    affine[:3, 3] = [90, -70, 12]
    return affine


AFFINES = {
    "RAS": np.eye(4),
    "LPS": np.diag([-1.0, -1, 1, 1]),
    "PIR": np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]]),
    "oblique": oblique(),
}


def head(shape: tuple[int, int, int]) -> torch.Tensor:
    """A blob off the centre on a background of 0, ``(1, X, Y, Z)``."""
    grid = torch.meshgrid(*[torch.linspace(-1, 1, n) if n > 1 else torch.zeros(1) for n in shape], indexing="ij")
    blob = 1 - (((grid[0] - 0.1) / 0.7) ** 2 + ((grid[1] + 0.15) / 0.6) ** 2 + (grid[2] / 0.8) ** 2)
    return torch.where(blob > 0, blob + 0.5, 0)[None]


@pytest.mark.parametrize(
    ("shape", "small"), [((2, 90, 60, 7), (32, 21, 7)), ((1, 90, 41), (32, 15)), ((1, 9, 40, 1), (7, 32, 1))]
)
def test_shrinking_is_smoothed_as_monai_smooths_it(shape, small):
    image = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    linear = "bilinear" if len(small) == 2 else "trilinear"
    monai_resized = Resize(small, mode=linear, align_corners=False, anti_aliasing=True)(image).as_tensor()
    start = [(32 - side) // 2 for side in small[:2]]
    fitted = FitInPlane(32)(image)[:, start[0] : start[0] + small[0], start[1] : start[1] + small[1]]
    torch.testing.assert_close(fitted.as_tensor(), monai_resized, rtol=0, atol=1e-6)


def there(size: int) -> Compose:
    return Compose(
        [
            Orientationd("image", axcodes="LPS", labels=LABELS),
            CropForegroundd("image", source_key="image", select_fn=is_foreground, allow_smaller=True),
            FitInPlaned("image", size=size),
        ]
    )


@pytest.mark.parametrize("shape", [(97, 120, 1), (97, 120, 21), (60, 64, 9)], ids=str)
@pytest.mark.parametrize("affine", AFFINES)
@pytest.mark.parametrize("size", [64, 128])
def test_a_prediction_comes_back_onto_the_native_grid(shape, affine, size):
    if affine == "PIR":
        shape = (shape[1], shape[2] + 40, shape[0])
    image = MetaTensor(head(shape), affine=torch.from_numpy(AFFINES[affine]))
    pipeline = there(size)
    d = pipeline({"image": image})
    assert d["image"].shape[1:3] == (size, size)
    d["pred"] = MetaTensor((d["image"].as_tensor() > 0.75).float())  # Invertd passes plain tensors by, with a warning
    back = Invertd("pred", pipeline, orig_keys="image", nearest_interp=False, to_tensor=True)(d)["pred"]
    assert back.shape == image.shape
    torch.testing.assert_close(back.affine, image.affine)
    truth, found = image > 0.75, back > 0.5
    assert 2 * (truth & found).sum() / (truth.sum() + found.sum()) > 0.97


@pytest.mark.parametrize("affine", AFFINES)
@pytest.mark.parametrize("depth", [1, 7])
def test_the_way_back_is_exact_where_nothing_is_resampled(affine, depth):
    content = torch.rand(1, 22, 64, depth, generator=torch.Generator().manual_seed(0)) + 0.1
    image = torch.zeros(1, 30, 80, depth)
    image[:, 4:26, 10:74] = content
    if affine == "PIR":  # array axes are posterior, inferior, right: the head's 64 voxels run along posterior
        image = image.permute(0, 2, 3, 1)
    start = MetaTensor(image, affine=torch.from_numpy(AFFINES[affine]))
    pipeline = there(64)
    d = pipeline({"image": start})
    assert d["image"].shape == (1, 64, 64, depth)
    assert d["image"].sum() == pytest.approx(float(content.sum()), rel=1e-5)
    back = pipeline.inverse(d)["image"]
    torch.testing.assert_close(back.as_tensor(), start.as_tensor())
    torch.testing.assert_close(back.affine, start.affine)


@pytest.mark.parametrize(
    ("shape", "size", "content"),
    [
        ((1, 100, 50, 3), 64, (slice(0, 64), slice(16, 48))),
        ((2, 20, 40, 1), 64, (slice(16, 48), slice(0, 64))),
        ((3, 500, 4), 100, (slice(0, 100), slice(49, 50))),
    ],
    ids=["shrinks", "grows", "two dimensions"],
)
def test_the_longer_side_fits_and_the_padding_is_even(shape, size, content):
    out = FitInPlane(size)(MetaTensor(torch.ones(shape)))
    assert out.shape == (shape[0], size, size, *shape[3:])
    inside = torch.zeros(out.shape, dtype=torch.bool)
    inside[(slice(None), *content)] = True
    np.testing.assert_array_equal(out.numpy() > 0, inside.numpy())


def test_slices_do_not_mix():
    volume = torch.zeros(1, 200, 200, 5)
    volume[..., 2] = 1
    out = FitInPlane(64)(MetaTensor(volume))
    inner = out[:, 4:-4, 4:-4, 2].as_tensor()  # the rim is smoothed into the background
    torch.testing.assert_close(inner, torch.ones(1, 56, 56), atol=1e-3, rtol=0)
    assert not out[..., [0, 1, 3, 4]].any()


def test_nearest_keeps_label_values_and_lies_on_the_image():
    truth = (head((121, 121, 1)) > 0.75).float()
    fit = FitInPlaned(["image", "label"], size=64, mode=["bilinear", "nearest"])
    d = fit({"image": MetaTensor(truth), "label": MetaTensor(3 * truth)})
    assert d["label"].unique().tolist() == [0, 3]
    a, b = d["image"] > 0.5, d["label"] > 0
    assert 2 * (a & b).sum() / (a.sum() + b.sum()) > 0.985


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 0}, r"size must be a positive whole number, got 0; 128"),
        ({"size": "big"}, r"size must be a positive whole number, got 'big'; 128"),
        ({"mode": "cubic"}, r"mode must be one of .*got 'cubic'"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        FitInPlane(**settings)


def case() -> dict:
    image = MetaTensor(torch.rand(1, 10, 10, 5), affine=torch.diag(torch.tensor([1.0, 1, 2, 1])))
    image.meta["filename_or_obj"] = "a.nii.gz"
    return {"image": image, "image_path": "a.nii.gz", "image_id": 7, "image_meta_dict": {}}


def test_spacing_leaves_other_keys_alone_where_monai_fails():
    with pytest.raises(AttributeError):
        Spacingd("image", pixdim=(2, 2, 2))(case())
    d = SpacingSafed("image", pixdim=(2, 2, 2))(case())
    assert list(d) == ["image", "image_path", "image_id", "image_meta_dict"]
    assert (d["image_path"], d["image_id"]) == ("a.nii.gz", 7)
    plain = Spacingd("image", pixdim=(2, 2, 2))({"image": case()["image"]})
    assert d["image"].shape == plain["image"].shape == (1, 6, 6, 5)


def test_spacing_can_be_undone():
    spacing = SpacingSafed("image", pixdim=(2, 2, 2))
    assert spacing.inverse(spacing(case()))["image"].shape == (1, 10, 10, 5)
