"""The segmentation-and-classification network."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor
from monai.visualize import GradCAM

from medvlm.losses import MultiTaskLoss
from medvlm.networks.nets import HeadsTuple, MaskNet, SegClsNet

SMALL = {"features": (8, 16, 32)}


def seeded(kind=SegClsNet, seed: int = 0, **settings):
    torch.manual_seed(seed)
    return kind(**(SMALL | settings)).eval()


@pytest.mark.parametrize(
    ("settings", "shape"),
    [
        ({}, (2, 1, 32, 16)),
        ({"in_channels": 4, "regions": 3, "classes": 4}, (1, 4, 16, 16)),
        ({"spatial_dims": 3, "in_channels": 4, "regions": 3}, (1, 4, 16, 8, 24)),
        ({"spatial_dims": 3, "in_channels": 2, "stem_stride": 1, "attention": False}, (2, 2, 8, 4, 4)),
        ({"norm": ["INSTANCE", {"affine": True}], "encoder_block": "plain",
          "decoder_block": "residual"}, (1, 1, 8, 16)),
        ({"norm": "BATCH", "stem_stride": 4, "pooled_scales": 1, "pooling": ("max",)}, (1, 1, 32, 32)),
    ],
    ids=["2d", "4 channels", "3d", "3d full resolution", "norm from JSON", "batch norm"],
)
def test_heads_have_their_shapes(settings, shape):
    network = seeded(**settings)
    heads = network(torch.randn(shape))
    regions, classes = settings.get("regions", 1), settings.get("classes", 2)
    assert {key: tuple(value.shape) for key, value in heads.items()} == {
        "mask": (shape[0], regions, *shape[2:]), "tumour": (shape[0], classes)
    }
    assert network.pooled_features(torch.randn(shape)).shape == (shape[0], network.tumour_head.features)


@pytest.mark.parametrize(
    ("settings", "millions"),
    [({}, (1.8, 2.3)), ({"features": (64, 128, 256, 512, 1024)}, (30, 34))], ids=["default", "large"],
)
def test_number_of_parameters(settings, millions):
    with torch.device("meta"):
        count = sum(p.numel() for p in SegClsNet(**settings).parameters()) / 1e6
    assert millions[0] < count < millions[1]


@pytest.mark.parametrize(("on", "uncomputed"), [("mask", ["tumour_head"]), ("tumour", ["decoder", "mask_head"])])
def test_head_that_is_off_is_not_computed_and_does_not_learn(on, uncomputed):
    network = seeded(heads=(on,))
    called = []
    for name, child in network.named_children():
        child.register_forward_hook(lambda *_, name=name: called.append(name))
    heads = network(torch.randn(1, 1, 16, 16))
    assert list(heads) == [on]
    assert not set(called) & set(uncomputed)
    heads[on].sum().backward()
    trained = {name.split(".")[0] for name, p in network.named_parameters() if p.grad is not None}
    assert trained == {"encoder", "decoder", "mask_head", "tumour_head"} - set(uncomputed)
    assert all(p.requires_grad == (name.split(".")[0] in trained) for name, p in network.named_parameters())
    assert network.state_dict().keys() == seeded().state_dict().keys()


@pytest.mark.parametrize("known", [[1, 0, 0, 1], [0, 0, 0, 0], [1, 1, 1, 1]])
def test_masks_that_nobody_wants_are_not_decoded_and_loss_and_gradient_are_the_same(known):
    network, image = seeded(dropout=0.0), torch.randn(4, 1, 16, 16)
    target = {
        "mask": (torch.rand(4, 1, 16, 16) > 0.7).float(),
        "mask_known": torch.tensor(known, dtype=torch.float32),
        "tumour": torch.tensor([0, 1, 1, 0]),
        "tumour_known": torch.ones(4),
    }
    rows = []
    network.decoder.register_forward_hook(lambda module, inputs, out: rows.append(len(out)))

    def step(**named):
        network.zero_grad()
        loss = MultiTaskLoss()(network(image, **named), target)
        loss.backward()
        return loss, torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])

    (loss, gradient), (spared, other) = step(), step(masked=target["mask_known"] > 0)
    torch.testing.assert_close(spared, loss)
    torch.testing.assert_close(other[: len(gradient)], gradient, atol=1e-6, rtol=1e-4)
    assert rows == [4, max(1, sum(known))]


def test_segment_and_classify_equal_the_heads():
    network, image = seeded(), torch.randn(2, 1, 16, 16)
    heads = network(image)
    assert torch.equal(network.segment(image), heads["mask"])
    assert torch.equal(network.classify(image), heads["tumour"])


def test_initialisation_follows_the_seed():
    first, again, other = (seeded(seed=s).state_dict() for s in (0, 0, 1))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["encoder.stages.0.conv1.conv.weight"], other["encoder.stages.0.conv1.conv.weight"])


def test_meta_tensor_gives_plain_tensors():
    network, image = seeded(), torch.randn(1, 1, 16, 16)
    heads = network(MetaTensor(image))
    assert {type(value) for value in heads.values()} == {torch.Tensor}
    assert torch.equal(heads["mask"], network(image)["mask"])


def test_shared_parameters_lead_to_both_heads():
    network = seeded().train()
    heads = network(torch.randn(2, 1, 16, 16))
    for head in heads.values():
        gradients = torch.autograd.grad(head.square().sum(), network.shared_parameters(), retain_graph=True)
        assert all(g.abs().sum() > 0 for g in gradients)


def test_grad_cam_sees_the_class_through_the_encoder():
    class Classes(torch.nn.Module):
        def __init__(self, network):
            super().__init__()
            self.network = network

        def forward(self, image):
            return self.network.classify(image)

    network = seeded()
    cam = GradCAM(Classes(network), target_layers=f"network.{network.cam_layer}", postprocessing=torch.relu)
    maps = cam(torch.randn(2, 1, 32, 32), class_idx=1)
    assert maps.shape == (2, 1, 32, 32)
    assert maps.min() >= 0 and maps.flatten(1).std(dim=1).min() > 0


def test_unfitting_size_names_the_remedy():
    with pytest.raises(ValueError, match=r"divisible by 8, got \(20, 16\); choose a multiple of 8"):
        seeded()(torch.randn(1, 1, 20, 16))


@pytest.mark.parametrize("shape", [(1, 2, 16, 16), (1, 1, 16, 16, 16), (1, 16, 16)])
def test_unfitting_channels_or_axes_are_named(shape):
    with pytest.raises(ValueError, match=r"takes \(B, 1, 2 spatial sides\), got shape"):
        seeded()(torch.randn(shape))


@pytest.mark.parametrize("heads", [(), ("mask", "grade")])
def test_unknown_heads_are_refused(heads):
    with pytest.raises(ValueError, match=r"heads takes one or both of \('mask', 'tumour'\)"):
        SegClsNet(heads=heads)


@pytest.mark.parametrize(
    "settings",
    [{}, {"heads": ("mask",)}, {"attention": False, "stem_stride": 1}, {"spatial_dims": 3, "in_channels": 4}],
    ids=["both heads", "mask only", "no attention", "3d"],
)
@pytest.mark.parametrize("how", ["script", "trace"])
def test_mask_view_becomes_torchscript(settings, how, tmp_path):
    network = seeded(MaskNet, **settings)
    sides = [16] * network.encoder.spatial_dims
    image = torch.randn(1, network.encoder.in_channels, *sides)
    exported = torch.jit.script(network) if how == "script" else torch.jit.trace(network, image)
    exported.save(tmp_path / "net.ts")
    other = torch.randn(3, network.encoder.in_channels, *[side + 8 for side in sides])
    torch.testing.assert_close(torch.jit.load(tmp_path / "net.ts")(other), network(other))


def test_full_network_and_tuple_become_torchscript():
    network, image = seeded(), torch.randn(2, 1, 16, 16)
    heads = torch.jit.script(network)(image)
    mask, tumour = torch.jit.script(HeadsTuple(network))(image)
    assert torch.equal(mask, network(image)["mask"]) and torch.equal(tumour, network(image)["tumour"])
    assert torch.equal(heads["mask"], mask) and torch.equal(heads["tumour"], tumour)


def test_mask_view_shares_names_and_values_with_the_network():
    network, view, image = seeded(), seeded(MaskNet, seed=1), torch.randn(1, 1, 16, 16)
    view.load_state_dict(network.state_dict(), strict=True)
    network.load_state_dict(view.state_dict(), strict=True)
    assert torch.equal(view(image), network(image)["mask"])
    assert view.heads(image).keys() == {"mask", "tumour"}


def test_mask_view_without_a_mask_is_refused():
    with pytest.raises(ValueError, match="switches the mask head off"):
        MaskNet(heads=("tumour",))
