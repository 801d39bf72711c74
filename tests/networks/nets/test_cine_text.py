"""Alignment, captions and masked modelling on one cine encoder: absent views, costs, shapes, gradients."""

from __future__ import annotations

import math

import pytest
import torch

from medvlm.networks.blocks.ema import EmaTeacher
from medvlm.networks.blocks.side_inputs import SideInputs
from medvlm.networks.blocks.view_set import chosen_views
from medvlm.networks.decoders.captioner import Captioner
from medvlm.networks.decoders.masked_modelling import MaskedVideoModelling
from medvlm.networks.decoders.masked_video import MaskedVideoDecoder, MaskedVideoHead
from medvlm.networks.encoders.cine_conv import CineConvEncoder
from medvlm.networks.encoders.mvit import MViT, stages
from medvlm.networks.encoders.study import StudyAggregator
from medvlm.networks.encoders.text import TextEncoder
from medvlm.networks.encoders.video_vit import VideoViT
from medvlm.networks.freezing import freeze_fraction
from medvlm.networks.heads.distillation import FeatureDistillation
from medvlm.networks.heads.projection import LossParameters, balanced_bias
from medvlm.networks.nets import CineTextNet
from medvlm.networks.parameter_groups import parameter_groups

VOCABULARY, SIDE = 40, 32
BERT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
COMPONENTS = {
    "video_encoder",
    "aggregator",
    "text_encoder",
    "video_projection",
    "text_projection",
    "captioner",
    "masked_video",
    "loss_parameters",
}


def conv_encoder():
    return CineConvEncoder(widths=(8, 8, 16, 16), embed_dim=16, maskable=True)


def mvit_encoder():
    blocks = stages((8, 16, 32), (1, 1, 1), (1, 1, 2), stride_kv=4)
    return MViT(blocks, frames=4, spatial_size=(SIDE, SIDE), maskable=True)


def vit_encoder():
    return VideoViT(dim=24, depth=2, heads=2, frames=4, spatial_size=(SIDE, SIDE))


ENCODERS = {"conv": conv_encoder, "mvit": mvit_encoder, "vit": vit_encoder}


def build(encoder: str = "conv", teacher: bool = False, parts: tuple = ("text", "captioner", "masked"), **settings):
    """A tiny network of the given parts; seeded."""
    torch.manual_seed(0)
    video_encoder = ENCODERS[encoder]()
    width = video_encoder.embed_dim
    grid = video_encoder.grid(4, SIDE, SIDE)
    values = width if teacher else math.prod(side // step for side, step in zip((4, SIDE, SIDE), grid, strict=True))
    kind = MaskedVideoDecoder if encoder == "vit" else MaskedVideoHead
    masked = MaskedVideoModelling(
        kind(width, values, dim=24, depth=1, heads=2), teacher=EmaTeacher(video_encoder) if teacher else None
    )
    captioner = Captioner(VOCABULARY, 16, 2, 2, 20, bos_id=1, eos_id=2, pad_id=0, max_length=16, dropout=0.0)
    given = {
        "text_encoder": TextEncoder(config=BERT, vocab_size=VOCABULARY) if "text" in parts else None,
        "captioner": captioner if "captioner" in parts else None,
        "masked_video": masked if "masked" in parts else None,
    }
    aggregator = StudyAggregator(20, heads=2, depth=1, in_dim=width)
    return CineTextNet(video_encoder, aggregator, embed_dim=12, **(given | settings)).eval()


def batch(views: int = 3, studies: int = 3):
    """Studies of which the first has all views, the second one, the third none."""
    generator = torch.Generator().manual_seed(1)
    mask = torch.zeros(studies, views, dtype=torch.bool)
    mask[0], mask[1, views - 1] = True, True
    ids = torch.randint(3, VOCABULARY, (studies, 7), generator=generator)
    ids[:, 0] = 1
    shown = torch.ones_like(ids)
    ids[1, 5:], shown[1, 5:] = 0, 0
    return {
        "video": torch.randn(studies, views, 1, 4, SIDE, SIDE, generator=generator),
        "view_mask": mask,
        "angles": torch.randn(studies, views, 6, generator=generator),
        "input_ids": ids,
        "attention_mask": shown,
    }


def patches_to_hide(network, given) -> torch.Tensor:
    places = math.prod(network.video_encoder.grid(4, SIDE, SIDE))
    hidden = torch.arange(places) < max(1, places // 2)
    return hidden.expand(*given["view_mask"].shape, -1)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_outputs_have_their_shapes(encoder):
    network, given = build(encoder), batch()
    result = network(**given)
    places = math.prod(network.video_encoder.grid(4, SIDE, SIDE))
    assert set(result) == {
        "video_embedding",
        "text_embedding",
        "log_scale",
        "bias",
        "caption_logits",
        "mvm_pred",
        "mvm_target",
        "mvm_mask",
    }
    assert result["video_embedding"].shape == result["text_embedding"].shape == (3, 12)
    assert result["caption_logits"].shape == (3, 6, VOCABULARY)
    assert result["mvm_mask"].shape == (3, 3, places) and result["mvm_mask"][~given["view_mask"]].sum() == 0
    assert len(result["mvm_pred"]) == len(result["mvm_target"]) == int(result["mvm_mask"].sum()) > 0
    assert not result["mvm_target"].requires_grad
    for name in ("video_embedding", "text_embedding"):
        torch.testing.assert_close(result[name].norm(dim=1), torch.ones(3))


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("garbage", [1e6, float("nan")])
def test_what_stands_in_absent_views_changes_nothing(encoder, garbage):
    network, given = build(encoder), batch()
    hidden = patches_to_hide(network, given)
    clean = network(**given, masked_tokens=hidden)
    spoilt = {**given, "video": given["video"].clone(), "angles": given["angles"].clone()}
    for name in ("video", "angles"):
        spoilt[name][~given["view_mask"]] = garbage
    again = network(**spoilt, masked_tokens=hidden)
    for name, value in clean.items():
        assert torch.equal(value, again[name]), name
    assert torch.equal(network.embed_views(*list(given.values())[:3]), network.embed_views(*list(spoilt.values())[:3]))
    first, second = (network.caption(x["video"], x["view_mask"], x["angles"], max_length=4) for x in (given, spoilt))
    assert torch.equal(first.ids, second.ids) and torch.equal(first.attention, second.attention)


def test_absent_views_are_not_encoded():
    network, given = build(), batch()
    seen = []
    network.video_encoder.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    network(**given, objectives=["contrastive", "captioning"])
    assert seen == [4]  # of nine; encoded once for both objectives


def test_dropping_absent_views_changes_nothing():
    network, given = build(), batch()
    alone = network.embed_study(given["video"][1:2, 2:], angles=given["angles"][1:2, 2:])
    torch.testing.assert_close(network.embed_study(*list(given.values())[:3])[1:2], alone)


def test_order_of_the_views_does_not_matter():
    network, given = build(), batch()
    order = [2, 0, 1]
    turned = {name: value[:, order] for name, value in given.items() if name in ("video", "view_mask", "angles")}
    torch.testing.assert_close(network.embed_study(**turned), network.embed_study(*list(given.values())[:3]))


def test_angles_matter():
    network, given = build(), batch()
    first = network(**given, objectives=["contrastive", "captioning"])
    second = network(**{**given, "angles": -given["angles"]}, objectives=["contrastive", "captioning"])
    assert (first["video_embedding"][:2] - second["video_embedding"][:2]).abs().max() > 1e-4
    assert (first["caption_logits"][:2] - second["caption_logits"][:2]).abs().max() > 1e-6


def test_a_study_without_views_has_the_learnt_vector():
    network, given = build(), batch()
    vectors = network.embed_study(given["video"], given["view_mask"], given["angles"])
    expected = network.video_projection(network.aggregator.empty)
    torch.testing.assert_close(vectors[2], expected)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_batch_without_any_view_has_a_finite_loss_and_gradients_of_every_part(encoder):
    network, given = build(encoder).train(), batch()
    given["view_mask"][:] = False
    result = network(**given)
    assert len(result["mvm_pred"]) == 0 and result["mvm_mask"].sum() == 0
    sum(value.sum() for value in result.values() if value.requires_grad).backward()
    without = {name for name, p in network.named_parameters() if p.requires_grad and p.grad is None}
    assert without == set()
    assert all(p.grad.eq(0).all() for p in network.video_encoder.parameters())
    assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_trainable_parameter_learns_and_has_one_group(encoder):
    network = build(encoder).train()
    result = network(**batch())
    sum(value.float().square().sum() for value in result.values() if value.requires_grad).backward()
    assert {name for name, p in network.named_parameters() if p.requires_grad and p.grad is None} == set()
    assert {name for name, _ in network.named_children()} == COMPONENTS
    groups = parameter_groups(network, dict.fromkeys(sorted(COMPONENTS), 1e-3), 0.1)
    grouped = [id(p) for group in groups for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in network.parameters() if p.requires_grad)
    decayed = {id(p) for group in groups if group["weight_decay"] for p in group["params"]}
    assert not decayed & {id(p) for p in network.loss_parameters.parameters()}


@pytest.mark.parametrize(
    ("objectives", "idle"),
    [
        (("contrastive",), {"captioner", "masked_video"}),
        (("captioning",), {"text_encoder", "text_projection", "video_projection", "masked_video"}),
        (("masked_video",), COMPONENTS - {"video_encoder", "masked_video"}),
    ],
)
@pytest.mark.parametrize("encoder", ["conv", "mvit"])
def test_an_objective_that_is_off_costs_nothing(objectives, idle, encoder):
    network = build(encoder, objectives=objectives)
    called = set()
    for name, child in network.named_children():
        child.register_forward_hook(lambda *_, name=name: called.add(name))
    result = network.train()(**batch())
    assert not called & idle
    sum(value.float().square().sum() for value in result.values() if value.requires_grad).backward()
    learnt = {name.split(".")[0] for name, p in network.named_parameters() if p.grad is not None}
    trainable = {name.split(".")[0] for name, p in network.named_parameters() if p.requires_grad}
    assert learnt == trainable and not learnt & idle
    assert ("loss_parameters" in learnt) == ("contrastive" in objectives)
    assert network.state_dict().keys() == build(encoder).state_dict().keys()
    if "masked_video" not in objectives:
        hiding = [p for name, p in network.video_encoder.named_parameters() if name in ("mask_token", "mask_value")]
        assert [p.requires_grad for p in hiding] == [False]


def test_without_texts_only_the_videos_are_computed():
    network, given = build(), batch()
    result = network(given["video"], given["view_mask"], given["angles"], objectives=["contrastive", "captioning"])
    assert set(result) == {"video_embedding", "log_scale", "bias"}


def test_one_view_a_study_is_alignment_of_videos():
    network, given = build(parts=("text",)), batch(views=1)
    given["view_mask"][:] = True
    result = network(given["video"], input_ids=given["input_ids"], attention_mask=given["attention_mask"])
    assert result["video_embedding"].shape == (3, 12)
    views = network.embed_views(given["video"])
    torch.testing.assert_close(views[:, 0], result["video_embedding"])


def test_captions_predict_the_next_token_and_see_no_later_one():
    network, given = build(), batch()
    logits = network(**given, objectives=["captioning"])["caption_logits"]
    changed = given["input_ids"].clone()
    changed[:, 4] = 5
    again = network(**{**given, "input_ids": changed}, objectives=["captioning"])["caption_logits"]
    assert torch.equal(logits[:, :4], again[:, :4])
    assert not torch.allclose(logits[0, 4], again[0, 4])


@pytest.mark.parametrize("encoder", ENCODERS)
def test_caption_says_where_it_looked(encoder):
    network, given = build(encoder), batch()
    generated = network.caption(given["video"], given["view_mask"], given["angles"], max_length=4)
    maps = generated.attention
    assert maps.shape == (3, generated.ids.shape[1], 3, *network.video_encoder.grid(4, SIDE, SIDE))
    shares = maps.flatten(3).sum(-1)  # (B, L, N)
    assert shares[~given["view_mask"][:, None].expand_as(shares)].eq(0).all()
    total = shares.sum(-1)[:2]
    written = torch.arange(maps.shape[1]) < generated.lengths[:2, None]
    if network.video_encoder.has_class_token:
        assert (total[written] < 1).all() and (total[written] > 0.5).all()
    else:
        torch.testing.assert_close(total[written], torch.ones(int(written.sum())))
    assert network.caption(given["video"], max_length=3, mode="beam", beams=2, attention=False).attention is None


@pytest.mark.parametrize("encoder", ENCODERS)
def test_hidden_patches_do_not_reach_the_prediction(encoder):
    network, given = build(encoder), batch(views=1)
    given["view_mask"][:] = True
    grid = network.video_encoder.grid(4, SIDE, SIDE)
    hidden = patches_to_hide(network, given)
    pixels = hidden.reshape(3, 1, 1, *grid)
    for axis, side in enumerate((4, SIDE, SIDE), start=3):
        pixels = pixels.repeat_interleave(side // grid[axis - 3], dim=axis)
    other = torch.where(pixels, torch.randn_like(given["video"]), given["video"])
    first, second = (network.predict_masked(video, masked_tokens=hidden) for video in (given["video"], other))
    torch.testing.assert_close(first["mvm_pred"], second["mvm_pred"])
    assert (first["mvm_target"] - second["mvm_target"]).abs().max() > 0.1
    assert torch.equal(first["mvm_mask"], hidden)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_teacher_gives_the_targets_and_gets_no_gradient(encoder):
    network = build(encoder, teacher=True).train()
    result = network(**batch(), objectives=["masked_video"])
    assert result["mvm_target"].shape[1] == network.video_encoder.embed_dim
    result["mvm_pred"].square().sum().backward()
    teacher = network.masked_video.teacher
    assert int(teacher.updates) == 1 and all(p.grad is None for p in teacher.parameters())
    names = {name for group in parameter_groups(network, dict.fromkeys(COMPONENTS, 1e-3)) for name in [group["name"]]}
    assert "masked_video" in {name.split("/")[0] for name in names}


def test_patches_are_hidden_on_a_few_views_only():
    network, given = build(masked_views=1), batch()
    mask = network(**given, objectives=["masked_video"])["mvm_mask"].any(dim=2)
    assert mask.tolist() == [[True, False, False], [False, False, True], [False, False, False]]
    network.train()
    torch.manual_seed(0)
    drawn = {tuple(chosen_views(given["view_mask"], 1, draw=True)[0].tolist()) for _ in range(40)}
    assert drawn == {(True, False, False), (False, True, False), (False, False, True)}


def test_patches_are_hidden_in_a_share_of_the_studies_only():
    network, given = build(masked_views=0.5).train(), batch()
    torch.manual_seed(0)
    masks = [network(**given, objectives=["masked_video"])["mvm_mask"].any(dim=2) for _ in range(20)]
    assert {int(mask.sum()) for mask in masks} == {1}  # of the two studies that have views
    assert {int(mask.any(dim=1).nonzero()) for mask in masks} == {0, 1}
    assert not any((mask & ~given["view_mask"]).any() for mask in masks)
    network.eval()
    seen = network(**given, objectives=["masked_video"])["mvm_mask"].any(dim=2)
    assert seen.sum(dim=1).tolist() == [1, 1, 0]


def test_temperature_and_bias_start_as_stated():
    parameters = LossParameters()
    assert parameters.log_scale.item() == pytest.approx(math.log(10)) and parameters.bias.item() == -10
    network = build(init_temperature=5.0, init_bias=balanced_bias(9))
    assert network.loss_parameters.bias.item() == pytest.approx(-math.log(8))
    result = network(**batch(), objectives=["contrastive"])
    assert result["log_scale"].exp().item() == pytest.approx(5) and result["log_scale"].requires_grad


def test_a_text_without_tokens_gives_zeros():
    network, given = build(), batch()
    given["attention_mask"][1] = 0
    vectors = network.embed_text(given["input_ids"], given["attention_mask"])
    assert vectors[1].eq(0).all() and vectors[[0, 2]].norm(dim=1).allclose(torch.ones(2))


def test_side_inputs_join_and_may_be_missing():
    network, given = build(side_inputs=SideInputs(20, vectors={"ecg": 5}, heads=2)), batch()
    torch.nn.init.ones_(network.side_inputs.gate)
    ecg = torch.randn(3, 5)
    with_all = network(**given, side={"ecg": ecg}, objectives=["contrastive", "captioning"])
    without = network(**given, side={}, objectives=["contrastive", "captioning"])
    nothing = {"side": {"ecg": ecg * torch.nan}, "side_known": {"ecg": torch.zeros(3)}}
    missing = network(**given, **nothing, objectives=["contrastive", "captioning"])
    for name in ("video_embedding", "caption_logits"):
        assert torch.equal(without[name], missing[name])
        assert not torch.allclose(with_all[name], without[name])


@pytest.mark.parametrize("call", ["forward", "embed_study", "embed_views", "caption"])
def test_a_network_with_side_inputs_wants_to_be_asked_for_them(call):
    network, given = build(side_inputs=SideInputs(20, vectors={"ecg": 5, "age": 1}, heads=2)), batch()
    given = given if call == "forward" else {key: given[key] for key in ("video", "view_mask", "angles")}
    with pytest.raises(ValueError, match=r"\['ecg', 'age'\], and is not given any; lay side_inputs.json"):
        getattr(network, call)(**given)
    with pytest.raises(ValueError, match=r"is not given \['age'\]"):
        getattr(network, call)(**given, side={"ecg": torch.randn(3, 5)})


def test_each_view_is_joined_with_the_side_inputs_of_its_study():
    network, given = build(side_inputs=SideInputs(20, vectors={"ecg": 5}, heads=2)), batch()
    torch.nn.init.ones_(network.side_inputs.gate)
    views = {key: given[key] for key in ("video", "view_mask", "angles")}
    ecg = torch.randn(3, 5)
    each = network.embed_views(**views, side={"ecg": ecg})
    alone = {name: value[:1, :1] for name, value in views.items()}
    torch.testing.assert_close(each[0, 0], network.embed_study(**alone, side={"ecg": ecg[:1]})[0])


def test_side_inputs_without_their_component_are_refused():
    with pytest.raises(ValueError, match=r"no side_inputs, got \['ecg'\]; build it with SideInputs"):
        build()(**batch(), side={"ecg": torch.randn(3, 5)})


@pytest.mark.parametrize("own", [True, False], ids=["ema", "given"])
def test_distillation_gives_student_and_teacher(own):
    network = build(parts=("text",)).train()
    encoder = network.video_encoder
    network = CineTextNet(
        encoder, network.aggregator, distillation=FeatureDistillation(20, 16, EmaTeacher(encoder) if own else None)
    ).train()
    given = batch()
    result = network(given["video"], given["view_mask"], given["angles"])
    assert result["distilled"].shape == (3, 16) and ("teacher" in result) == own
    if own:
        pooled = encoder.eval()(given["video"][0])["pooled"].mean(dim=0)
        torch.testing.assert_close(result["teacher"][0], pooled)
        assert result["teacher"][2].eq(0).all() and not result["teacher"].requires_grad


def test_a_fraction_of_the_encoders_layers_can_be_frozen():
    network = freeze_fraction(build("mvit"), {"video_encoder": 0.34}).train()
    assert not network.video_encoder.blocks[0].training and network.video_encoder.blocks[1].training
    assert not network.video_encoder.conv_proj.weight.requires_grad


def test_shared_parameters_lead_to_every_objective():
    for encoder in ENCODERS:
        network = build(encoder).train()
        result = network(**batch())
        for name in ("video_embedding", "caption_logits", "mvm_pred"):
            found = torch.autograd.grad(result[name].square().sum(), network.shared_parameters(), retain_graph=True)
            moved = sum(gradient.abs().sum() for gradient in found)
            assert moved > 0 or name == "video_embedding"  # its squares sum to a constant
        found = torch.autograd.grad(result["video_embedding"][:, 0].sum(), network.shared_parameters())
        assert sum(gradient.abs().sum() for gradient in found) > 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"objectives": ["contrast"]}, "no objective 'contrast'.*did you mean 'contrastive'"),
        ({"objectives": ["distillation"]}, "'distillation' needs a distillation, and the network was built without"),
        ({"masked_views": 0}, "masked_views must be a whole number"),
        ({"masked_views": 1.5}, "got 1.5"),
        ({"init_temperature": 0}, "must be positive, got 0"),
        ({"aggregator": StudyAggregator(20)}, "takes features of width 20, CineConvEncoder gives 16"),
        ({"aggregator": StudyAggregator(24, in_dim=16)}, "context_dim is 20, the aggregator gives width 24"),
    ],
)
def test_wrong_settings_are_refused(change, words):
    network = build()
    given = {name: getattr(network, name) for name in ("video_encoder", "aggregator", "text_encoder", "captioner")}
    with pytest.raises(ValueError, match=words):
        CineTextNet(**(given | change))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"video": torch.zeros(3, 1, 4, 32, 32)}, r"video must be \(B, N, C, T, H, W\), got \(3, 1, 4, 32, 32\)"),
        ({"view_mask": torch.ones(3, 2)}, r"view_mask \(3, 3\)"),
        ({"angles": torch.zeros(3, 3, 4)}, r"angles \(3, 3, 6\)"),
        ({"masked_tokens": torch.zeros(3, 8, dtype=torch.bool)}, r"masked_tokens must be \(3, 3\) and the patches"),
        ({"objectives": ["caption"]}, "did you mean 'captioning'"),
    ],
)
def test_inputs_that_do_not_fit_are_named(change, words):
    with pytest.raises(ValueError, match=words):
        build()(**(batch() | change))


def test_no_contrastive_batch_of_one():
    with pytest.raises(ValueError, match="at least 2 studies, got 1"):
        balanced_bias(1)
