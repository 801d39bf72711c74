from __future__ import annotations

import pytest
import torch
from torch import nn

from medvlm.engines.cam import class_activation, scaled, volume_activation
from medvlm.engines.explained import ExplainedInferer
from medvlm.engines.inferers import SliceInferer
from medvlm.metrics.activation_energy import energy_inside
from medvlm.networks.nets import MaskNet, SegClsNet


class Bright(nn.Module):
    """Encoder of two maps; the tumour logit is the mean of the first channel of the first map."""

    tumour_on = True

    def encode(self, image):
        first = torch.cat([image, -image], 1)[..., ::2, ::2]
        return [first, first * 1.0]

    def tumour_head(self, maps):
        value = maps[1][:, 0].flatten(1).mean(1)
        return torch.stack([torch.zeros_like(value), value], 1)


def test_lights_what_raises_the_logit():
    image = torch.zeros(1, 1, 8, 8)
    image[0, 0, 0:4, 0:4] = 1
    activation = class_activation(Bright(), image, level=0)
    assert activation.shape == (1, 1, 8, 8)
    assert activation[0, 0, :3, :3].min() > 0 and activation[0, 0, 5:, 5:].max() == 0


def test_what_lowers_the_logit_stays_dark():
    assert class_activation(Bright(), -torch.ones(1, 1, 8, 8), level=0).max() == 0


@pytest.mark.parametrize(("dims", "net"), [(2, SegClsNet), (3, MaskNet)])
def test_works_on_the_real_network_under_no_grad_and_leaves_it_as_it_was(dims, net):
    torch.manual_seed(0)
    network = net(spatial_dims=dims, features=(8, 16, 32), norm=("GROUP", {"num_groups": 4})).eval()
    network.mask_head.requires_grad_(False)
    before = [p.requires_grad for p in network.parameters()]
    with torch.no_grad():
        activation = class_activation(network, torch.randn(2, 1, *[16] * dims), level=-2)
    assert activation.shape == (2, 1, *[16] * dims) and activation.min() >= 0 and activation.max() > 0
    assert [p.requires_grad for p in network.parameters()] == before
    assert all(p.grad is None for p in network.parameters())


def test_no_class_head_is_an_error_with_a_remedy():
    network = MaskNet(features=(8, 16), norm=("GROUP", {"num_groups": 4}), heads=("mask",))
    with pytest.raises(ValueError, match="set cam False"):
        class_activation(network, torch.zeros(1, 1, 16, 16))


def test_a_level_that_does_not_exist_says_how_many_there_are():
    with pytest.raises(ValueError, match="2 maps, -2 to 1 .*got -5"):
        class_activation(Bright(), torch.zeros(1, 1, 8, 8), level=-5)


def test_scaled_reaches_one_and_leaves_zeros():
    assert scaled(torch.tensor([0.0, 2.0])).tolist() == [0, 1] and scaled(torch.zeros(3)).tolist() == [0, 0, 0]


def test_a_volume_is_explained_only_in_slices_that_look_like_a_tumour():
    image = torch.ones(1, 1, 8, 8, 3)
    logits = torch.tensor([[0.0, 5.0], [9.0, -9.0], [0.0, 0.0]])
    activation = volume_activation(Bright(), image, logits, batch_size=1, level=0)
    per_slice = activation[0, 0].amax((0, 1))
    assert per_slice[0] == 1 and per_slice[1] == 0 and 0 < per_slice[2] < 1


def test_energy_fractions_by_hand_sum_to_one():
    activation = torch.tensor([4.0, 3.0, 2.0, 1.0])
    energy = energy_inside(activation, torch.tensor([1, 0, 0, 0]), torch.tensor([1, 1, 1, 0]))
    assert energy == pytest.approx({"mask": 0.4, "brain": 0.5, "background": 0.1})


def test_no_energy_has_no_place():
    assert energy_inside(torch.zeros(4), torch.ones(4), torch.ones(4)) is None


@pytest.mark.parametrize(("stem_stride", "level"), [(2, -4), (1, -3)])
def test_by_default_the_map_at_a_quarter_of_the_resolution_is_explained(stem_stride, level):
    torch.manual_seed(0)
    network = SegClsNet(features=(4, 4, 8, 8, 8), stem_stride=stem_stride, norm="BATCH").eval()
    image = torch.randn(1, 1, 64, 64)
    assert [m.shape[2] for m in network.encode(image)][level] == 16
    assert torch.equal(class_activation(network, image), class_activation(network, image, level=level))


def test_a_wrong_level_is_found_before_the_first_case():
    network = SegClsNet(2, 1, features=(8, 16, 16))
    ExplainedInferer(SliceInferer(), cam_level=-3).check(network)
    with pytest.raises(ValueError, match="cam_level must name one of the encoder's 3 maps, -3 to 2 .*got -40"):
        ExplainedInferer(SliceInferer(), cam_level=-40).check(network)
    ExplainedInferer(SliceInferer(), cam=False, cam_level=-40).check(network)
