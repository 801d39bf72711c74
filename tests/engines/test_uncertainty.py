from __future__ import annotations

import pytest
import torch
from torch import nn

from medvlm.engines.explained import ExplainedInferer
from medvlm.engines.inferers import SliceInferer, VolumeInferer
from medvlm.engines.uncertainty import RunningSpread, active_dropout, flip_tta, mc_dropout
from medvlm.networks.nets import MaskNet


def network(dims: int = 2, dropout: float = 0.3) -> MaskNet:
    torch.manual_seed(0)
    return MaskNet(spatial_dims=dims, features=(8, 16, 32), norm=("GROUP", {"num_groups": 4}), dropout=dropout).eval()


def case(z: int = 3) -> torch.Tensor:
    return torch.randn(1, 1, 16, 16, z, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("layer", [nn.Dropout, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout])
def test_every_kind_of_dropout_is_switched_on_and_back(layer):
    net = nn.Sequential(nn.BatchNorm2d(1), layer(0.5)).eval()
    with active_dropout(net) as count:
        assert count == 1 and net[1].training and not net[0].training
    assert not net[1].training


def test_a_network_without_dropout_is_refused_with_the_remedy():
    with pytest.raises(ValueError, match="set mc_samples to 0"):
        mc_dropout(network(dropout=0.0), case(), SliceInferer(), 2)


def test_dropout_on_no_path_to_a_head_is_refused():
    net = network(dropout=0.0)
    net.add_module("idle", nn.Dropout(0.5))
    with pytest.raises(ValueError, match="changed nothing"):
        mc_dropout(net, case(), SliceInferer(), 3)


def test_mc_dropout_varies_is_repeatable_and_leaves_the_random_state():
    net, state = network(), torch.random.get_rng_state()
    first = mc_dropout(net, case(), SliceInferer(), 4, seed=1)
    assert torch.equal(torch.random.get_rng_state(), state) and not net.training
    again = mc_dropout(net, case(), SliceInferer(), 4, seed=1)
    other = mc_dropout(net, case(), SliceInferer(), 4, seed=2)
    assert first["map"].shape == (1, 1, 16, 16, 3) and first["map"].max() > 0 and first["tumour"] > 0
    assert torch.equal(first["map"], again["map"]) and not torch.equal(first["map"], other["map"])


def test_running_spread_equals_the_stacked_deviation():
    samples = torch.randn(7, 5)
    spread = RunningSpread()
    for sample in samples:
        spread.update(sample)
    torch.testing.assert_close(spread.deviation(), samples.std(0, correction=0))


class Sided(nn.Module):
    """Mask and class of the left half only: not symmetric."""

    def heads(self, image):
        mask = torch.full_like(image, -4.0)
        mask[:, :, :8] = 4.0
        level = image[:, 0, :8].mean((1, 2))
        return {"mask": mask, "tumour": torch.stack([torch.zeros_like(level), level], 1)}


def test_flip_is_left_right_and_put_back():
    image = torch.ones(1, 1, 16, 16, 2)
    image[:, :, 8:] = 3.0
    spread = flip_tta(Sided(), image, SliceInferer())
    p = torch.sigmoid(torch.tensor([4.0, -4.0, 1.0, 3.0]))
    assert torch.allclose(spread["map"], ((p[0] - p[1]) / 2).expand(1, 1, 16, 16, 2))
    assert spread["tumour"].item() == pytest.approx(float(p[3] - p[2]) / 2, abs=1e-6)


def test_a_symmetric_prediction_has_no_spread():
    class Plain(nn.Module):
        def heads(self, image):
            return {"mask": image}

    out = flip_tta(Plain(), case(), SliceInferer())
    assert out["map"].max() < 1e-6 and "tumour" not in out


@pytest.mark.parametrize(("dims", "inferer"), [(2, SliceInferer()), (3, VolumeInferer(divisor=4, limit=(32, 32, 32)))])
def test_explained_inferer_adds_its_maps_on_the_same_grid(dims, inferer):
    image = case(8)
    image[..., 0] = 0
    out = ExplainedInferer(inferer, mc_samples=2)(image, network(dims))
    for key in ("brain", "cam", "uncertainty_mc", "uncertainty_tta"):
        assert out[key].shape == (1, 1, 16, 16, 8)
        assert 0 <= out[key].min() and out[key].max() <= 1
    assert out["brain"][..., 0].max() == 0 and out["brain"][..., 1].min() == 1
    assert set(out) >= {"mask", "tumour", "tumour_spread_mc", "tumour_spread_tta"}
    assert all(type(value) is torch.Tensor and not value.requires_grad for value in out.values())


def test_what_is_switched_off_is_not_computed():
    out = ExplainedInferer(SliceInferer(), cam=False, mc_samples=0, tta=False)(case(), network(dropout=0.0))
    assert set(out) == {"mask", "tumour", "slice_tumour", "brain"}


@pytest.mark.parametrize("samples", [-1, 1])
def test_a_number_of_samples_that_says_nothing_is_refused(samples):
    with pytest.raises(ValueError, match="at least 2"):
        ExplainedInferer(SliceInferer(), mc_samples=samples)


def test_several_cases_at_once_are_refused():
    with pytest.raises(ValueError, match="batch size to 1"):
        ExplainedInferer(SliceInferer())(torch.ones(2, 1, 16, 16, 1), network())
