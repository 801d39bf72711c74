from __future__ import annotations

import pytest
import torch
from torch import nn

from medvlm.engines.explained import ExplainedInferer
from medvlm.engines.inferers import SliceInferer, VolumeInferer
from medvlm.engines.mirrored import MirroredInferer
from medvlm.networks.nets import MaskNet


class LeftHalf(nn.Module):
    """Outlines the left half alone and takes its class from there."""

    def heads(self, image):
        mask = torch.full_like(image, -4.0)
        mask[:, :, :8] = 4.0
        level = image[:, 0, :8].mean((1, 2))
        return {"mask": mask, "tumour": torch.stack([torch.zeros_like(level), level], 1)}


def network(dims: int = 2) -> MaskNet:
    torch.manual_seed(0)
    return MaskNet(spatial_dims=dims, features=(8, 16, 32), norm=("GROUP", {"num_groups": 4}), dropout=0.3).eval()


def case(z: int = 3) -> torch.Tensor:
    return torch.randn(1, 1, 16, 16, z, generator=torch.Generator().manual_seed(0))


def test_logits_of_both_images_are_averaged_and_the_mask_is_put_back():
    image = torch.ones(1, 1, 16, 16, 1)
    image[:, :, 8:] = 3.0
    out = MirroredInferer(SliceInferer())(image, LeftHalf())
    assert torch.allclose(out["mask"], torch.zeros(1, 1, 16, 16, 1), atol=1e-6)  # 4 and -4 everywhere
    one, three = (torch.log_softmax(torch.tensor([0.0, level]), 0) for level in (1.0, 3.0))
    assert torch.allclose(out["tumour"][0], (one + three) / 2, atol=1e-6)


def test_a_case_and_its_mirror_image_get_the_same_answer():
    inferer, net = MirroredInferer(SliceInferer()), network()
    with torch.no_grad():
        one, other = inferer(case(), net), inferer(case().flip(2), net)
    assert torch.allclose(one["tumour"], other["tumour"], atol=1e-5)
    assert torch.allclose(one["mask"], other["mask"].flip(2), atol=1e-5)


def test_switched_off_it_passes_the_inner_answer_on():
    with torch.no_grad():
        plain = SliceInferer()(case(), network())
        out = MirroredInferer(SliceInferer(), enabled=False)(case(), network())
    assert set(out) == set(plain) and all(torch.equal(out[key], plain[key]) for key in plain)


def test_several_cases_and_one_head_alone():
    class Plain(nn.Module):
        def heads(self, image):
            return {"mask": image}

    images = torch.cat([case(), case() + 1])
    out = MirroredInferer(SliceInferer())(images, Plain())
    assert torch.allclose(out["mask"], images, atol=1e-6) and out["uncertainty_tta"].shape == images.shape
    assert "tumour" not in out and "tumour_spread_tta" not in out


@pytest.mark.parametrize(("dims", "inner"), [(2, SliceInferer()), (3, VolumeInferer(divisor=4, limit=(32, 32, 32)))])
def test_the_explained_inferer_takes_its_flip_spread_from_it(dims, inner):
    with torch.no_grad():
        plain = ExplainedInferer(inner, mc_samples=2)(case(8), network(dims))
        mirrored = ExplainedInferer(MirroredInferer(inner), mc_samples=2)(case(8), network(dims))
    assert plain["uncertainty_tta"].max() > 0
    for key in ("uncertainty_tta", "uncertainty_mc", "tumour_spread_tta", "tumour_spread_mc"):
        assert torch.allclose(plain[key], mirrored[key], atol=1e-5), key


def test_without_the_flip_map_none_is_left():
    explained = ExplainedInferer(MirroredInferer(SliceInferer()), cam=False, mc_samples=0, tta=False)
    assert set(explained(case(), network())) == {"mask", "tumour", "slice_tumour", "brain"}


def test_an_axis_that_is_not_in_space_is_refused():
    with pytest.raises(ValueError, match="2 or more, got 1"):
        MirroredInferer(SliceInferer(), axis=1)
