"""Masked video modelling: what the prediction may depend on, and what it must depend on."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from medvlm.networks.blocks.ema import EmaTeacher
from medvlm.networks.blocks.grid_positions import grid_positions
from medvlm.networks.blocks.patches import pixel_target
from medvlm.networks.blocks.video_masks import tube_mask
from medvlm.networks.decoders.masked_modelling import MaskedVideoModelling
from medvlm.networks.decoders.masked_video import MaskedVideoDecoder, MaskedVideoHead
from medvlm.networks.encoders.mvit import mvit_tiny


class PatchViT(nn.Module):
    """One layer over the visible patches: the contract of a plain video ViT."""

    has_class_token = True

    def __init__(self, dim: int = 24) -> None:
        super().__init__()
        self.embed = nn.Conv3d(1, dim, (2, 8, 8), (2, 8, 8))
        self.class_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.layer = nn.TransformerEncoderLayer(dim, 2, 48, 0.0, batch_first=True, norm_first=True)

    def grid(self, frames: int, height: int, width: int) -> tuple[int, int, int]:
        return frames // 2, height // 8, width // 8

    def forward(self, video: Tensor, visible: Tensor | None = None) -> dict[str, Tensor]:
        tokens = self.embed(video).flatten(2).transpose(1, 2)
        tokens = tokens + grid_positions(self.grid(*video.shape[2:]), tokens.shape[2])
        if visible is not None:
            tokens = tokens[visible].unflatten(0, (len(video), -1))
        tokens = self.layer(torch.cat([self.class_token.expand(len(video), -1, -1), tokens], dim=1))
        return {"tokens": tokens, "pooled": tokens[:, 0]}


def plain(**settings) -> tuple[PatchViT, MaskedVideoModelling]:
    torch.manual_seed(0)
    width = 24 if "teacher" in settings else 2 * 8 * 8
    encoder = PatchViT()
    return encoder, MaskedVideoModelling(MaskedVideoDecoder(24, width, 24, 2, 2), **settings)


def hierarchical(depth: int = 1) -> tuple[nn.Module, MaskedVideoModelling]:
    torch.manual_seed(0)
    encoder = mvit_tiny(spatial_size=(32, 32), frames=4, maskable=True)
    return encoder, MaskedVideoModelling(MaskedVideoHead(encoder.embed_dim, 2 * 16 * 16, 24, depth, 2))


BUILDERS = {"plain": plain, "hierarchical": hierarchical}


@pytest.fixture(params=list(BUILDERS))
def model(request):
    encoder, modelling = BUILDERS[request.param]()
    video = torch.randn(2, 1, 4, 32, 32, generator=torch.Generator().manual_seed(1))
    return encoder.eval(), modelling.eval(), video


def draw(encoder: nn.Module, ratio: float = 0.5) -> Tensor:
    return tube_mask(2, encoder.grid(4, 32, 32), ratio, torch.Generator().manual_seed(2))


def pixels_of(mask: Tensor, encoder: nn.Module) -> Tensor:
    grid = encoder.grid(4, 32, 32)
    cells = mask.reshape(2, 1, *grid).float()
    return nn.functional.interpolate(cells, size=(4, 32, 32), mode="nearest").bool()


def test_hidden_pixels_never_reach_the_prediction(model):
    encoder, modelling, video = model
    mask = draw(encoder)
    hidden = pixels_of(mask, encoder)
    first = modelling(encoder, video, mask)
    other = modelling(encoder, torch.where(hidden, torch.randn_like(video) * 9, video), mask)
    assert torch.equal(first["mvm_pred"], other["mvm_pred"])
    assert not torch.allclose(first["mvm_target"], other["mvm_target"])


def test_visible_pixels_do(model):
    encoder, modelling, video = model
    mask = draw(encoder)
    hidden = pixels_of(mask, encoder)
    first = modelling(encoder, video, mask)
    other = modelling(encoder, torch.where(hidden, video, torch.randn_like(video) * 9), mask)
    assert (first["mvm_pred"] - other["mvm_pred"]).abs().max() > 1e-3


def test_no_gradient_reaches_hidden_pixels(model):
    encoder, modelling, video = model
    mask = draw(encoder)
    video.requires_grad_(True)
    found = modelling(encoder, video, mask)
    (found["mvm_pred"] - found["mvm_target"]).square().mean().backward()
    hidden = pixels_of(mask, encoder)
    assert video.grad[hidden].abs().max() == 0 and video.grad[~hidden].abs().max() > 0


def test_predictions_differ_by_place_and_by_time(model):
    encoder, modelling, _ = model
    blank = torch.zeros(2, 1, 4, 32, 32)
    mask = draw(encoder)
    pred = modelling(encoder, blank, mask)["mvm_pred"].unflatten(0, (2, -1))[0]
    apart = torch.pdist(pred)
    assert apart.min() > 1e-3


def test_targets_are_the_hidden_patches_in_order(model):
    encoder, modelling, video = model
    mask = draw(encoder)
    grid = encoder.grid(4, 32, 32)
    found = modelling(encoder, video, mask)
    expected = pixel_target(video, tuple(s // g for s, g in zip((4, 32, 32), grid, strict=True)))[mask]
    assert torch.equal(found["mvm_target"], expected)
    assert found["mvm_pred"].shape == expected.shape and torch.equal(found["mvm_mask"], mask)


def test_mask_is_drawn_where_none_is_given(model):
    encoder, modelling, video = model
    first, again = (modelling(encoder, video, generator=torch.Generator().manual_seed(4)) for _ in range(2))
    assert torch.equal(first["mvm_mask"], again["mvm_mask"])
    places = first["mvm_mask"].shape[1] // 2  # of one of the two time steps
    assert first["mvm_mask"].sum(dim=1).tolist() == [int(0.75 * places) * 2] * 2


def test_every_weight_of_the_decoder_learns(model):
    encoder, modelling, video = model
    found = modelling.train()(encoder.train(), video)
    (found["mvm_pred"] - found["mvm_target"]).square().mean().backward()
    assert not [n for n, p in modelling.named_parameters() if p.grad is None or not p.grad.abs().sum()]


def test_decoder_is_right_whatever_the_order_of_hidden_and_visible():
    torch.manual_seed(0)
    decoder = MaskedVideoDecoder(8, 5, 12, 1, 2).eval()
    mask = torch.tensor([[True, False, True, False], [False, False, True, True]])
    tokens = torch.randn(2, 2, 8)
    together = decoder(tokens, mask, (1, 2, 2))
    alone = torch.cat([decoder(tokens[i : i + 1], mask[i : i + 1], (1, 2, 2)) for i in range(2)])
    assert torch.allclose(together, alone, atol=1e-6) and together.shape == (2, 2, 5)
    swapped = decoder(tokens[:, [1, 0]], mask, (1, 2, 2))
    assert (swapped - together).abs().max() > 1e-3  # a visible token belongs to its place


def test_it_learns_to_continue_a_pattern():
    encoder, modelling = plain(ratio=0.5)
    optimizer = torch.optim.AdamW([*encoder.parameters(), *modelling.parameters()], lr=2e-3)
    generator = torch.Generator().manual_seed(0)
    x = torch.arange(16) / 2.5
    losses = []
    for _ in range(250):
        phase = torch.rand(8, 1, 1, 1, 1, generator=generator) * 6.28
        video = torch.sin(x.reshape(1, 1, 1, 1, 16) + phase).expand(-1, -1, 4, 16, -1)
        found = modelling(encoder, video, generator=generator)
        loss = (found["mvm_pred"] - found["mvm_target"]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-10:]) / 10 < 0.2 * losses[0]


class TestTeacher:
    def test_features_of_the_whole_video_are_the_target(self):
        encoder = PatchViT()
        _, modelling = plain(teacher=EmaTeacher(encoder))
        video = torch.randn(2, 1, 4, 32, 32)
        found = modelling.eval()(encoder.eval(), video)
        features = encoder(video)["tokens"][:, 1:]
        expected = nn.functional.layer_norm(features, (24,))[found["mvm_mask"]]
        assert torch.allclose(found["mvm_target"], expected, atol=1e-5)
        assert not found["mvm_target"].requires_grad

    def test_it_follows_in_training_only_and_gets_no_gradient(self):
        encoder = PatchViT()
        _, modelling = plain(teacher=EmaTeacher(encoder))
        video = torch.randn(2, 1, 4, 32, 32)
        modelling.eval()(encoder, video)
        assert int(modelling.teacher.updates) == 0
        modelling.train()
        for _ in range(2):
            found = modelling(encoder, video)
            (found["mvm_pred"] - found["mvm_target"]).square().mean().backward()
        assert int(modelling.teacher.updates) == 1
        assert all(p.grad is None for p in modelling.teacher.parameters())


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: MaskedVideoDecoder(8, 5, 10, 1, 4), "divisible by heads"),
        (lambda: MaskedVideoModelling(MaskedVideoHead(8, 5), kind="cube"), "'cube'"),
        (lambda: MaskedVideoModelling(MaskedVideoHead(8, 5), ratio=1.0), "below 1"),
        (lambda: MaskedVideoDecoder(8, 5)(torch.zeros(1, 3, 8), torch.tensor([[True, True, False, False]]), (1, 2, 2)),
         "3 tokens, the mask leaves"),
        (lambda: MaskedVideoDecoder(8, 5)(torch.zeros(1, 3, 8), torch.ones(1, 5).bool(), (1, 2, 2)),
         r"must be \(1, 4\)"),
        (lambda: MaskedVideoHead(8, 5)(torch.zeros(1, 5, 8), torch.ones(1, 4).bool(), (1, 2, 2)), "class token"),
        (lambda: MaskedVideoModelling(MaskedVideoDecoder(24, 9))(PatchViT(), torch.zeros(1, 1, 4, 32, 32)),
         "predicts 9 values of a patch, a target has 128"),
        (lambda: MaskedVideoModelling(MaskedVideoDecoder(24, 9), ratio=0.1)(PatchViT(), torch.zeros(1, 1, 2, 16, 16)),
         "less than one patch"),
        (lambda: MaskedVideoModelling(MaskedVideoDecoder(24, 9))(PatchViT(), torch.zeros(1, 1, 4, 38, 32)),
         "divides the clip"),
    ],
)  # fmt: skip
def test_faults_are_named(call, match):
    with pytest.raises(ValueError, match=match):
        call()


def test_positions_of_all_places_differ():
    vectors = grid_positions((4, 7, 7), 16)
    assert vectors.shape == (196, 16) and torch.pdist(vectors).min() > 1e-3
    with pytest.raises(ValueError, match="at least 6"):
        grid_positions((1, 1, 1), 4)


class Encoder(torch.nn.Module):
    def __init__(self, hides):
        super().__init__()
        self.hides, self.model_type = hides, "somebody's"


@pytest.mark.parametrize(
    ("decoder", "hides", "words"),
    [
        (MaskedVideoDecoder, None, "somebody's cannot leave them out; build MViT"),
        (MaskedVideoDecoder, "mask", "needs the decoder MaskedVideoHead, got MaskedVideoDecoder"),
        (MaskedVideoHead, "visible", "needs the decoder MaskedVideoDecoder, got MaskedVideoHead"),
    ],
)
def test_an_encoder_that_does_not_fit_the_decoder_is_refused(decoder, hides, words):
    part = MaskedVideoModelling(decoder(16, 8, dim=16, heads=2))
    with pytest.raises(ValueError, match=words):
        part.check(Encoder(hides))
    part.check(Encoder("visible" if part.decoder.visible_only else "mask"))
