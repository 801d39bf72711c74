"""A plain video transformer: visible tokens only, any size, positions."""

from __future__ import annotations

import pytest
import torch

from medvlm.networks.encoders.video_vit import VideoViT, video_vit_small, video_vit_tiny


def small(**arguments) -> VideoViT:
    torch.manual_seed(0)
    settings = {"dim": 32, "depth": 2, "heads": 2, "frames": 4, "spatial_size": (32, 48), "tubelet": (2, 16, 16)}
    return VideoViT(**{**settings, **arguments}).eval()


def half(batch: int = 2, tokens: int = 12) -> torch.Tensor:
    """Half of the tokens visible, others in each row."""
    return torch.stack([torch.randperm(tokens, generator=torch.Generator().manual_seed(i)) < tokens // 2
                        for i in range(batch)])  # fmt: skip


@pytest.mark.parametrize("positions", ["sin-cos", "learned"])
@pytest.mark.parametrize("pooling", ["mean", "class"])
@pytest.mark.parametrize(
    ("sizes", "grid"), [((4, 32, 48), (2, 2, 3)), ((8, 64, 32), (4, 4, 2)), ((1, 20, 17), (1, 2, 2))], ids=str
)
def test_any_number_of_frames_and_any_size_goes_in(positions, pooling, sizes, grid):
    network = small(positions=positions, pooling=pooling)
    output = network(torch.randn(2, 1, *sizes))
    assert network.grid(*sizes) == grid
    assert network.has_class_token == (pooling == "class")
    assert output["tokens"].shape == (2, grid[0] * grid[1] * grid[2] + (pooling == "class"), network.embed_dim)
    expected = output["tokens"][:, 0] if pooling == "class" else output["tokens"].mean(1)
    torch.testing.assert_close(output["pooled"], expected)


def test_only_visible_tokens_are_computed():
    network, video, visible = small(), torch.randn(2, 1, 4, 32, 48), half()
    seen = []
    network.blocks[0].register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape[1]))
    tokens = network(video, visible)["tokens"]
    assert seen == [6]
    assert tokens.shape == (2, 6, 32)


def test_what_is_not_visible_has_no_influence():
    network, video = small(pooling="class"), torch.randn(2, 1, 4, 32, 48)
    visible = half()
    pixels = visible.reshape(2, 1, 2, 2, 3).repeat_interleave(2, 2).repeat_interleave(16, 3).repeat_interleave(16, 4)
    other = torch.where(pixels, video, 100 * torch.randn_like(video))
    torch.testing.assert_close(network(other, visible), network(video, visible), rtol=0, atol=0)
    assert not torch.allclose(network(other)["pooled"], network(video)["pooled"], atol=1e-3)


def test_visible_tokens_keep_their_order_and_positions():
    network, video = small(depth=0), torch.randn(2, 1, 4, 32, 48)
    visible = half()
    every = network(video)["tokens"]
    torch.testing.assert_close(network(video, visible)["tokens"][1], every[1][visible[1]])


def test_everything_visible_is_the_same_as_no_mask():
    network, video = small(), torch.randn(1, 1, 4, 32, 48)
    torch.testing.assert_close(network(video, torch.ones(1, 12, dtype=torch.bool)), network(video))


def test_tokens_come_in_the_order_t_h_w():
    network, video = small(depth=0), torch.zeros(1, 1, 4, 32, 48)
    before = network(video)["tokens"]
    video[:, :, 2:, 16:, :16] = torch.randn(2, 16, 16)  # t = 1, h = 1, w = 0
    changed = (network(video)["tokens"] - before).abs().amax(-1)[0] > 1e-6
    assert changed.nonzero().flatten().tolist() == [1 * 6 + 1 * 3 + 0]


@pytest.mark.parametrize("positions", ["sin-cos", "learned"])
def test_positions_differ_by_place_and_are_interpolated(positions):
    network = small(positions=positions)
    table = network.positions((2, 2, 3))
    assert torch.cdist(table, table).fill_diagonal_(1).min() > 1e-3
    finer = network.positions((4, 2, 3)).reshape(4, 6, -1)
    own = table.reshape(2, 6, -1)
    torch.testing.assert_close(finer[1], 0.75 * own[0] + 0.25 * own[1])  # linear in time


def test_the_sin_cos_table_is_no_weight():
    assert not [name for name in small().state_dict() if "positions" in name]
    assert "positions.spatial_pos" in small(positions="learned").state_dict()


def test_checkpointing_changes_no_gradient():
    video, results = torch.randn(2, 1, 4, 32, 48), []
    for checkpointing in (False, True):
        network = small(checkpointing=checkpointing).train()
        network(video, half())["pooled"].square().sum().backward()
        results.append([p.grad for p in network.parameters()])
    for plain, recomputed in zip(*results, strict=True):
        torch.testing.assert_close(plain, recomputed)


@pytest.mark.parametrize(("factory", "millions"), [(video_vit_tiny, 1.88), (video_vit_small, 21.5)])
def test_presets_have_their_size(factory, millions):
    count = sum(p.numel() for p in factory().parameters()) / 1e6
    assert count == pytest.approx(millions, rel=0.01)


def test_wrong_settings_and_inputs_are_refused():
    with pytest.raises(ValueError, match=r"positions must be one of \['learned', 'sin-cos'\], got 'rotary'"):
        small(positions="rotary")
    with pytest.raises(ValueError, match="pooling must be .* got 'max'"):
        small(pooling="max")
    video = torch.zeros(2, 1, 4, 32, 48)
    uneven = half()
    uneven[0] = True
    with pytest.raises(ValueError, match=r"same number of visible tokens, at least one, got \[12, 6\]"):
        small()(video, uneven)
    with pytest.raises(ValueError, match=r"got \[0, 0\]"):
        small()(video, torch.zeros(2, 12, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"for a grid among \[\(2, 2, 3\)\], got \(2, 5\)"):
        small()(video, torch.ones(2, 5, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"takes \(B, 3, T, H, W\), got \(2, 1, 4, 32, 48\)"):
        small(in_channels=3)(video)


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
    traced = torch.jit.trace(network, torch.randn(1, 1, 4, 32, 48))
    video = torch.randn(3, 1, 4, 32, 48)
    torch.testing.assert_close(traced(video), network(video))


def test_trains_under_autocast():
    network = small().train()
    with torch.autocast("cpu", torch.bfloat16):
        pooled = network(torch.randn(2, 1, 4, 32, 48))["pooled"]
    pooled.float().square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)
