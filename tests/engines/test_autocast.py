"""Tests of training in bfloat16."""

import pytest
import torch
from monai.inferers import SimpleInferer

from medvlm.engines.autocast import AutocastInferer, cpu_has_bfloat16
from medvlm.networks.nets import SegClsNet


class Told(torch.nn.Module):
    """A convolution that remembers in which type it answered."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 2, 3)

    def forward(self, image):
        out = self.conv(image)
        self.dtype = out.dtype
        return out


def test_the_network_computes_in_bfloat16_and_the_loss_gets_float32():
    network, image = Told(), torch.rand(1, 1, 8, 8)
    out = AutocastInferer(SimpleInferer())(image, network)
    assert (network.dtype, out.dtype) == (torch.bfloat16, torch.float32)
    out.sum().backward()
    assert network.conv.weight.grad.dtype == torch.float32

    plain = AutocastInferer(SimpleInferer(), enabled=False)(image, network)
    assert network.dtype == torch.float32 and torch.equal(plain, network(image))
    assert not torch.equal(plain, out) and torch.allclose(plain, out, atol=0.02)


def test_named_heads_come_in_float32_near_those_in_float32():
    network = SegClsNet(spatial_dims=2, in_channels=1, features=[8, 16], heads=["mask", "tumour"]).eval()
    image = torch.rand(2, 1, 32, 32)
    heads, plain = AutocastInferer(SimpleInferer(), "cpu")(image, network), network(image)
    assert set(heads) == {"mask", "tumour"}
    for name, value in heads.items():
        assert value.dtype == torch.float32 and torch.allclose(value, plain[name], atol=0.05)


@pytest.mark.parametrize(("told", "has"), [({}, False), ({"avx2": True}, False), ({"avx512_bf16": True}, True)])
def test_bfloat16_is_for_processors_that_say_they_have_it(monkeypatch, told, has):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: told, raising=False)
    assert cpu_has_bfloat16() is has


def test_an_older_torch_that_cannot_tell_has_none(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert not cpu_has_bfloat16()
