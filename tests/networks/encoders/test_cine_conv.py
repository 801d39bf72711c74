"""The small convolutional cine encoder: contract, masks, and that thin vessels survive."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medvlm.networks.encoders.cine_conv import CineConvEncoder


def small(**arguments) -> CineConvEncoder:
    torch.manual_seed(0)
    return CineConvEncoder(**{"widths": (8, 8, 16, 16), "embed_dim": 24, **arguments}).eval()


@pytest.mark.parametrize(
    ("sizes", "grid"),
    [((8, 32, 48), (4, 2, 3)), ((16, 96, 96), (8, 6, 6)), ((5, 50, 70), (3, 4, 5)), ((1, 16, 16), (1, 1, 1))],
    ids=str,
)
def test_any_number_of_frames_and_any_size_goes_in(sizes, grid):
    network = small()
    output = network(torch.randn(2, 1, *sizes))
    assert network.grid(*sizes) == grid
    assert not network.has_class_token
    assert output["tokens"].shape == (2, grid[0] * grid[1] * grid[2], network.embed_dim)
    assert output["pooled"].shape == (2, 24)


def test_a_token_looks_at_the_middle_of_its_place():
    network, video = small(), torch.randn(1, 1, 8, 64, 96, requires_grad=True)
    tokens = network(video)["tokens"]
    middles = []
    for place in [(2, 1, 4), (1, 2, 1), (3, 1, 2)]:
        index = place[0] * 24 + place[1] * 6 + place[2]
        (gradient,) = torch.autograd.grad(tokens[0, index, 0], video, retain_graph=True)
        energy = gradient[0, 0].square()
        by_pair = energy.reshape(4, -1).sum(1)
        assert by_pair.argmax() == place[0]
        y, x = torch.meshgrid(torch.arange(64.0), torch.arange(96.0), indexing="ij")
        middle = torch.stack([(energy.sum(0) * axis).sum() / energy.sum() for axis in (y, x)])
        middles.append(middle - 16 * torch.tensor(place[1:]) - 7.5)
    assert torch.stack(middles).mean(0).abs().max() < 3.0


def test_time_is_mixed_after_learning_has_begun():
    network, video = small(), torch.randn(1, 1, 8, 32, 32)
    other = video.clone()
    other[:, :, 4:6] += 1.0
    first, second = network(video)["tokens"][0, :4], network(other)["tokens"][0, :4]
    torch.testing.assert_close(first, second)  # starts frame by frame
    for mix in network.time:
        torch.nn.init.normal_(mix.weight)
    assert not torch.allclose(network(video)["tokens"][0, 4:8], network(other)["tokens"][0, 4:8], atol=1e-4)


def test_hidden_pixels_have_no_influence():
    network, video = small(maskable=True), torch.randn(2, 1, 8, 32, 48)
    mask = torch.rand(2, 4 * 2 * 3, generator=torch.Generator().manual_seed(0)) > 0.5
    pixels = mask.reshape(2, 1, 4, 2, 3).repeat_interleave(2, 2).repeat_interleave(16, 3).repeat_interleave(16, 4)
    other = torch.where(pixels, 100 * torch.randn_like(video), video)
    torch.testing.assert_close(network(other, mask), network(video, mask), rtol=0, atol=0)
    assert not torch.equal(network(other)["pooled"], network(video)["pooled"])


def test_the_mask_value_learns():
    network = small(maskable=True)
    network(torch.randn(1, 1, 4, 32, 32), torch.rand(1, 8) > 0.5)["pooled"].square().sum().backward()
    assert network.mask_value.grad.abs().item() > 0


def test_every_parameter_gets_a_gradient():
    network = small().train()
    network(torch.randn(2, 1, 8, 32, 32))["pooled"].square().sum().backward()
    silent = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert silent == []


def test_one_sample_does_not_see_the_others():
    network, video = small(), torch.randn(3, 1, 4, 32, 32)
    alone = torch.cat([network(video[i : i + 1])["pooled"] for i in range(3)])
    torch.testing.assert_close(network(video)["pooled"], alone, rtol=1e-4, atol=1e-5)


def vessels(number: int, narrowed: torch.Tensor, seed: int, side: int = 48) -> torch.Tensor:
    """Dark vertical vessels of three pixels at any place; some are one pixel wide over six rows."""
    generator = torch.Generator().manual_seed(seed)
    video = 0.2 * torch.randn(number, 1, 2, side, side, generator=generator)
    columns = torch.randint(6, side - 6, (number,), generator=generator)
    rows = torch.randint(6, side - 12, (number,), generator=generator)
    for index, (column, row) in enumerate(zip(columns.tolist(), rows.tolist(), strict=True)):
        video[index, :, :, :, column - 1 : column + 2] -= 2.0
        if narrowed[index]:
            video[index, :, :, row : row + 6, [column - 1, column + 1]] += 2.0
    return video


def test_it_learns_to_see_a_narrowing_of_a_three_pixel_vessel():
    network = small().train()
    head = torch.nn.Linear(24, 1)
    parameters = [*network.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=3e-3)
    for step in range(100):
        target = torch.arange(16) % 2
        loss = torch.nn.functional.binary_cross_entropy_with_logits(
            head(network(vessels(16, target, seed=step))["pooled"])[:, 0], target.float()
        )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
    target = torch.arange(64) % 2
    with torch.no_grad():
        logits = head(network.eval()(vessels(64, target, seed=1000))["pooled"])[:, 0]
    assert ((logits > 0) == target.bool()).float().mean() > 0.85


def test_wrong_settings_and_inputs_are_refused():
    with pytest.raises(ValueError, match=r"divisible by 8, got \(8, 12, 16, 16\) and 24"):
        small(widths=(8, 12, 16, 16))
    with pytest.raises(ValueError, match="widths must be four numbers"):
        small(widths=(8, 16))
    with pytest.raises(ValueError, match=r"takes \(B, 1, T, H, W\), got \(1, 3, 4, 32, 32\)"):
        small()(torch.zeros(1, 3, 4, 32, 32))
    with pytest.raises(ValueError, match="maskable=True"):
        small()(torch.zeros(1, 1, 4, 32, 32), torch.zeros(1, 8, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"for a grid among \[\(2, 2, 2\)\], got \(1, 5\)"):
        small(maskable=True)(torch.zeros(1, 1, 4, 32, 32), torch.zeros(1, 5, dtype=torch.bool))


class Pooled(torch.nn.Module):
    """The one tensor that TorchScript and ONNX want."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, video: torch.Tensor) -> torch.Tensor:
        return self.network(video)["pooled"]


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_a_trace_gives_the_same_for_another_batch():
    network = Pooled(small()).eval()  # parameters that learn, as in a network that has just been built
    traced = torch.jit.trace(network, torch.randn(1, 1, 4, 32, 32))
    video = torch.randn(3, 1, 4, 32, 32)
    torch.testing.assert_close(traced(video), network(video))


def test_trains_under_autocast():
    network = small().train()
    with torch.autocast("cpu", torch.bfloat16):
        pooled = network(torch.randn(2, 1, 4, 32, 32))["pooled"]
    pooled.float().square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


def test_the_norm_is_one_argument():
    network = CineConvEncoder(norm="batch")
    kinds = {type(module) for module in network.modules()}
    assert nn.BatchNorm2d in kinds and nn.GroupNorm not in kinds
    with pytest.raises(ValueError, match="norm must be one of"):
        CineConvEncoder(norm="layer")
