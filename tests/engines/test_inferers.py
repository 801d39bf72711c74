from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor
from torch import nn

from medvlm.engines.inferers import SliceInferer, VolumeInferer, named_heads, pool_slices


class Brightness(nn.Module):
    """Mask logit = the first channel; tumour logit = the image's largest value. Counts what it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []

    def heads(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        self.shapes.append(tuple(image.shape))
        return {"mask": image[:, :1], "tumour": self.classify(image)}

    def classify(self, image: torch.Tensor) -> torch.Tensor:
        most = image.flatten(1).amax(1)
        return torch.stack([torch.zeros_like(most), most], dim=1)

    def pooled_features(self, image: torch.Tensor) -> torch.Tensor:
        return image.flatten(2).amax(2)


def volume(*peaks: float) -> torch.Tensor:
    """One slice a peak: a 4x4 patch of 1 with one voxel at the peak; None = an empty slice."""
    image = torch.zeros(1, 1, 8, 8, len(peaks))
    for z, peak in enumerate(peaks):
        if peak:
            image[0, 0, 2:6, 2:6, z] = 1.0
            image[0, 0, 3, 3, z] = peak
    return image


def test_slices_go_in_batches_and_empty_ones_are_left_out():
    network = Brightness()
    out = SliceInferer(batch_size=2)(volume(0, 2, 3, 0, 4), network)
    assert network.shapes == [(2, 1, 8, 8), (1, 1, 8, 8)]
    assert out["mask"].shape == (1, 1, 8, 8, 5) and out["slice_tumour"].shape == (1, 5, 2)
    assert out["mask"][0, 0, 3, 3].tolist() == [-20, 2, 3, -20, 4]
    assert out["slice_tumour"][0, 0].tolist() == [20, -20]


def test_there_is_no_tumour_in_the_background():
    class Everywhere(Brightness):
        def heads(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"mask": torch.ones_like(image[:, :1])}

    image = volume(2, 3)
    image = torch.cat([image, torch.zeros_like(image)], dim=1)  # a missing second channel
    for inferer in (SliceInferer(), VolumeInferer(divisor=2, limit=(8, 8, 8))):
        mask = inferer(image, Everywhere())["mask"]
        assert torch.equal(mask == 1, image[:, :1] != 0) and torch.equal(mask == -20, image[:, :1] == 0)


def test_top_mean_is_the_mean_of_the_highest_probabilities():
    out = SliceInferer(top_k=2)(volume(2, 5, 1, 4), Brightness())
    expected = torch.sigmoid(torch.tensor([5.0, 4.0])).mean()
    assert torch.softmax(out["tumour"], 1)[0, 1].item() == pytest.approx(expected.item(), abs=1e-6)


@pytest.mark.parametrize(("pooling", "expected"), [("max", [5.0]), ("mean", [2.0, 5.0, 1.0, 4.0])])
def test_other_poolings(pooling, expected):
    out = SliceInferer(pooling=pooling)(volume(2, 5, 1, 4), Brightness())
    wanted = torch.sigmoid(torch.tensor(expected)).mean().item()
    assert torch.softmax(out["tumour"], 1)[0, 1].item() == pytest.approx(wanted, abs=1e-6)


def test_pooling_of_several_classes_sums_to_one():
    pooled, chosen = pool_slices(torch.randn(7, 4, generator=torch.Generator().manual_seed(0)), "top_mean", 3)
    assert pooled.exp().sum().item() == pytest.approx(1.0, abs=1e-6) and len(chosen) == 3


def test_a_picture_keeps_its_own_probability():
    image = volume(3)
    whole, flat = SliceInferer()(image, Brightness()), SliceInferer()(image[..., 0], Brightness())
    assert torch.softmax(whole["tumour"], 1)[0, 1].item() == pytest.approx(torch.sigmoid(torch.tensor(3.0)).item())
    assert torch.equal(whole["mask"][..., 0], flat["mask"])


def test_the_tips_of_the_head_take_no_part_in_the_class():
    image = volume(2, 2)
    tip = torch.zeros(1, 1, 8, 8, 1)
    tip[0, 0, 3, 3, 0] = 9.0  # 1 voxel of 16
    out = SliceInferer(pooling="max")(torch.cat([image, tip], -1), Brightness())
    assert torch.softmax(out["tumour"], 1)[0, 1].item() == pytest.approx(torch.sigmoid(torch.tensor(2.0)).item())
    assert out["mask"][0, 0, 3, 3, 2].item() == 9.0


def test_features_are_those_of_the_slices_that_made_the_class():
    out = SliceInferer(top_k=2, features=True)(volume(2, 5, 1, 4), Brightness())
    assert out["features"].tolist() == [[4.5]]


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_any_axis_gives_the_mask_on_the_same_grid(axis):
    image = torch.rand(1, 1, 8, 9, 10) + 0.1
    assert torch.equal(SliceInferer(axis=axis)(image, Brightness())["mask"], image)


def test_plain_tensors_come_out_of_meta_tensors():
    out = SliceInferer()(MetaTensor(volume(2, 3)), Brightness())
    assert all(type(value) is torch.Tensor for value in out.values())


def test_a_case_of_zeros_is_refused():
    with pytest.raises(ValueError, match="only zeros"):
        SliceInferer()(torch.zeros(1, 1, 4, 4, 3), Brightness())


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [({"pooling": "median"}, "top_mean"), ({"top_k": 0}, "at least 1"), ({"axis": 5}, "axis"),
     ({"min_foreground": 1.0}, "min_foreground")],
)
def test_slice_settings_are_checked(kwargs, words):
    with pytest.raises(ValueError, match=words):
        SliceInferer(**kwargs)


def test_a_network_that_returns_a_tensor_has_a_mask():
    assert list(named_heads(nn.Identity(), torch.zeros(1, 1, 2, 2))) == ["mask"]


def test_volume_is_padded_computed_once_and_cropped_back():
    network = Brightness()
    image = torch.rand(1, 2, 17, 30, 5)
    out = VolumeInferer(divisor=16, limit=(32, 32, 32), features=True)(image, network)
    assert network.shapes == [(1, 2, 32, 32, 16)]
    assert torch.equal(out["mask"], image[:, :1]) and out["tumour"].shape == (1, 2) and out["features"].shape == (1, 2)


def test_above_the_limit_the_mask_is_windowed_and_the_class_is_that_of_the_whole():
    network = Brightness()
    image = torch.rand(1, 1, 40, 32, 32)
    out = VolumeInferer(limit=(32, 32, 32), overlap=0.5)(image, network)
    assert len(network.shapes) > 1 and all(shape[2:] == (32, 32, 32) for shape in network.shapes)
    torch.testing.assert_close(out["mask"], image)
    torch.testing.assert_close(out["tumour"], network.classify(image))


@pytest.mark.parametrize(("kwargs", "words"), [({"limit": (100, 96, 96)}, "multiples"), ({"overlap": 1.0}, "overlap")])
def test_volume_settings_are_checked(kwargs, words):
    with pytest.raises(ValueError, match=words):
        VolumeInferer(**kwargs)
