"""A study as a set of views: order-free, masked, angle-aware, defined when empty."""

from __future__ import annotations

import pytest
import torch

from medvlm.networks.encoders.study import MODES, StudyAggregator


def aggregator(**arguments) -> StudyAggregator:
    torch.manual_seed(0)
    return StudyAggregator(**{"dim": 16, "heads": 2, "depth": 2, **arguments}).eval()


def study(batch: int = 2, views: int = 4, length: int = 3, dim: int = 16) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    angle = torch.rand(batch, views, 2) * 6 - 3
    known = torch.ones_like(angle)
    angles = torch.stack((angle.sin(), angle.cos(), known), dim=-1).flatten(2)
    mask = torch.ones(batch, views, dtype=torch.bool)
    mask[0, 1] = False
    return {
        "pooled": torch.randn(batch, views, dim),
        "tokens": torch.randn(batch, views, length, dim),
        "view_mask": mask,
        "angles": angles,
    }


@pytest.mark.parametrize(
    ("mode", "shape", "mask_shape"),
    [("study", (2, 16), (2,)), ("views", (2, 4, 16), (2, 4)), ("tokens", (2, 12, 16), (2, 12))],
)
def test_shapes_of_the_three_modes(mode, shape, mask_shape):  # fmt: skip
    features, mask = aggregator(mode=mode)(**study())
    assert (tuple(features.shape), tuple(mask.shape), mask.dtype) == (shape, mask_shape, torch.bool)
    by_call, _ = aggregator()(**study(), mode=mode)
    torch.testing.assert_close(by_call, features)


@pytest.mark.parametrize("depth", [0, 2])
@pytest.mark.parametrize("mode", MODES)
def test_the_order_of_the_views_has_no_meaning(mode, depth):
    network, inputs, order = aggregator(mode=mode, depth=depth), study(), torch.tensor([2, 0, 3, 1])
    features, mask = network(**inputs)
    permuted, permuted_mask = network(**{name: value[:, order] for name, value in inputs.items()})
    if mode == "study":
        torch.testing.assert_close(permuted, features)
        assert torch.equal(permuted_mask, mask)
    else:
        parts = (features.unflatten(1, (4, -1)), mask.unflatten(1, (4, -1)))
        torch.testing.assert_close(permuted.unflatten(1, (4, -1)), parts[0][:, order])
        assert torch.equal(permuted_mask.unflatten(1, (4, -1)), parts[1][:, order])


@pytest.mark.parametrize("depth", [0, 2])
@pytest.mark.parametrize("mode", MODES)
def test_what_is_masked_has_no_influence(mode, depth):
    network, inputs = aggregator(mode=mode, depth=depth), study()
    features, mask = network(**inputs)
    for name in ("pooled", "tokens", "angles"):
        inputs[name] = inputs[name].masked_fill(
            ~inputs["view_mask"].reshape(2, 4, *[1] * (inputs[name].ndim - 2)), float("nan")
        )
    again, _ = network(**inputs)
    assert torch.equal(again, features)
    if mode != "study":
        assert torch.equal(features[0, ~mask[0]], torch.zeros_like(features[0, ~mask[0]]))


@pytest.mark.parametrize("mode", MODES)
def test_padding_with_absent_views_changes_nothing(mode):
    network, inputs = aggregator(mode=mode), study()
    features, mask = network(**inputs)
    padded = {name: torch.cat((value, torch.zeros_like(value[:, :2])), dim=1) for name, value in inputs.items()}
    more, more_mask = network(**padded)
    if mode == "study":
        torch.testing.assert_close(more, features)
    else:
        torch.testing.assert_close(more[:, : features.shape[1]], features)
        assert more_mask[:, features.shape[1] :].sum() == 0
        assert more_mask.sum() == mask.sum()


@pytest.mark.parametrize("depth", [0, 1])
@pytest.mark.parametrize("mode", MODES)
def test_a_study_without_any_view_is_the_learned_vector(mode, depth):
    network, inputs = aggregator(mode=mode, depth=depth), study()
    inputs["view_mask"][1] = False
    features, mask = network(**inputs)
    assert torch.isfinite(features).all()
    torch.testing.assert_close(features[1], network.empty.expand_as(features[1]))
    assert not mask[1].any()
    assert mask[0].any()
    features.square().sum().backward()
    assert network.empty.grad.abs().max() > 0
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


@pytest.mark.parametrize("mode", MODES)
def test_angles_tell_views_apart(mode):
    network, inputs = aggregator(mode=mode), study()
    features, _ = network(**inputs)
    inputs["angles"] = -inputs["angles"]
    turned, _ = network(**inputs)
    assert not torch.allclose(turned[1], features[1], atol=1e-4)


def test_an_unknown_angle_differs_from_zero_degrees():
    network, inputs = aggregator(), study()
    unknown, zero = torch.zeros(2, 4, 6), torch.tensor([0.0, 1.0, 1.0] * 2).expand(2, 4, 6)
    features = [network(**{**inputs, "angles": angles})[0] for angles in (unknown, zero)]
    assert not torch.allclose(*features, atol=1e-4)


def test_features_of_another_width_are_projected():
    inputs = study(dim=24)
    features, _ = aggregator(in_dim=24, mode="tokens")(**inputs)
    assert features.shape == (2, 12, 16)


def test_views_attend_to_each_other():
    network, inputs = aggregator(mode="views"), study()
    features, _ = network(**inputs)
    inputs["pooled"] = inputs["pooled"].clone()
    inputs["pooled"][1, 0] += torch.randn(16)
    changed, _ = network(**inputs)
    assert not torch.allclose(changed[1, 3], features[1, 3], atol=1e-4)
    torch.testing.assert_close(changed[0], features[0])


def test_wrong_settings_and_inputs_are_refused():
    with pytest.raises(ValueError, match="mode must be one of .* got 'video'"):
        StudyAggregator(16, mode="video")
    with pytest.raises(ValueError, match="heads=3 and a width of 16"):
        StudyAggregator(16, heads=3)
    inputs = study()
    with pytest.raises(ValueError, match=r'mode "tokens" needs tokens \(B, N, L, D\) of the same views, got None'):
        aggregator(mode="tokens")(**{**inputs, "tokens": None})
    with pytest.raises(ValueError, match=r"angles \(B, N, 6\); got .*\(2, 4, 2\)"):
        aggregator()(**{**inputs, "angles": torch.zeros(2, 4, 2)})


@pytest.mark.parametrize(("pooling", "expected"), [("mean", torch.mean), ("max", torch.amax)])
def test_views_without_layers_are_pooled_as_asked(pooling, expected):
    network, inputs = aggregator(depth=0, pooling=pooling), study()
    angle = network.angle_embedding(inputs["angles"])
    seen = (inputs["pooled"] + angle)[1]  # all views of the second study exist
    wanted = network.norm(expected(seen, dim=0) + network.study_token)
    torch.testing.assert_close(network(**inputs)[0][1], wanted)


@pytest.mark.parametrize("settings", [{"depth": 0, "pooling": "median"}, {"depth": 2, "pooling": "max"}])
def test_a_pooling_that_does_not_exist_or_has_no_effect_is_refused(settings):
    with pytest.raises(ValueError, match="pooling"):
        aggregator(**settings)
