"""Probes on a cine encoder: masks, what they take from a checkpoint, freezing."""

from __future__ import annotations

import pytest
import torch

from medvlm.losses.probes import ProbeLoss
from medvlm.networks.checkpoint import CheckpointError, load_initial
from medvlm.networks.encoders.cine_conv import CineConvEncoder
from medvlm.networks.encoders.study import StudyAggregator
from medvlm.networks.freezing import freeze, freeze_fraction
from medvlm.networks.heads.mil import POOLING_MODES
from medvlm.networks.nets import CineProbeNet, CineTextNet
from medvlm.networks.parameter_groups import parameter_groups

HEADS = {
    "stenosis": {"kind": "binary", "lr": 1e-3},
    "dominance": {"kind": "multiclass", "classes": 3},
    "max_stenosis": {"kind": "regression", "start": 40, "spread": 30},
}
SHARED = ["video_encoder", "aggregator"]


def parts(width: int = 16):
    encoder = CineConvEncoder(widths=(8, 8, 16, 16), embed_dim=width)
    return {"video_encoder": encoder, "aggregator": StudyAggregator(24, heads=2, in_dim=width)}


def build(mode: str = "attention", level: str = "views", aggregated: bool = True, seed: int = 0) -> CineProbeNet:
    torch.manual_seed(seed)
    given = parts()
    aggregator = given["aggregator"] if aggregated else None
    pooling = {"mode": mode, "hidden": 8, "heads": 2}
    return CineProbeNet(given["video_encoder"], HEADS, aggregator, pooling, level).eval()


def batch():
    """Studies of which the first has all views, the second one, the third none."""
    generator = torch.Generator().manual_seed(1)
    mask = torch.tensor([[True, True, True], [False, True, False], [False, False, False]])
    return (
        torch.randn(3, 3, 1, 2, 16, 16, generator=generator),
        mask,
        torch.randn(3, 3, 6, generator=generator),
    )


@pytest.mark.parametrize("mode", POOLING_MODES)
@pytest.mark.parametrize("level", ["views", "tokens"])
@pytest.mark.parametrize("aggregated", [True, False], ids=["aggregator", "no aggregator"])
def test_heads_have_their_shapes_and_absent_views_no_influence(mode, level, aggregated):
    network, (video, mask, angles) = build(mode, level, aggregated), batch()
    result = network(video, mask, angles)
    assert {name: tuple(value.shape) for name, value in result.items()} == {
        "stenosis": (3, 1), "dominance": (3, 3), "max_stenosis": (3, 1), "attention": (3, 3)
    }  # fmt: skip
    video, angles = video.clone(), angles.clone()
    video[~mask], angles[~mask] = torch.nan, torch.nan
    again = network(video, mask, angles)
    assert all(torch.equal(value, again[name]) for name, value in result.items())
    assert result["attention"][~mask].eq(0).all() and all(value.isfinite().all() for value in result.values())


def test_absent_views_are_not_encoded():
    network, given, seen = build(), batch(), []
    network.video_encoder.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    network(*given)
    assert seen == [4]


def test_takes_encoder_and_aggregator_from_a_checkpoint(tmp_path):
    torch.manual_seed(3)
    trained = CineTextNet(**parts(), embed_dim=8)
    torch.save({"model": trained.state_dict()}, tmp_path / "model.pt")
    probe = build()
    heads = {name: value.clone() for name, value in probe.heads.state_dict().items()}
    assert load_initial(probe, tmp_path / "model.pt", SHARED) is probe
    for name, value in trained.state_dict().items():
        if name.split(".")[0] in SHARED:
            assert torch.equal(value, probe.state_dict()[name]), name
    assert all(torch.equal(value, probe.heads.state_dict()[name]) for name, value in heads.items())


def test_checkpoint_of_another_encoder_is_refused_with_its_keys(tmp_path):
    torch.save(CineTextNet(**parts(width=32), embed_dim=8).state_dict(), tmp_path / "model.pt")
    probe = build()
    before = {name: value.clone() for name, value in probe.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"of another shape: video_encoder\.embed\.weight \(32, 16\) in the file"):
        load_initial(probe, tmp_path / "model.pt", SHARED)
    assert all(torch.equal(value, probe.state_dict()[name]) for name, value in before.items())


def test_checkpoint_without_the_component_is_refused(tmp_path):
    torch.save({"encoder.weight": torch.zeros(1)}, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match="missing: video_encoder"):
        load_initial(build(), tmp_path / "model.pt", SHARED)


def test_no_path_leaves_the_network_as_it_is():
    probe = build()
    assert load_initial(probe, None, SHARED) is probe


def test_frozen_encoder_trains_the_heads_alone():
    network = freeze(build(), SHARED).train()
    result = network(*batch())
    sum(value.square().sum() for name, value in result.items() if name != "attention").backward()
    learnt = {name.split(".")[0] for name, p in network.named_parameters() if p.grad is not None}
    assert learnt == {"pooling", "heads"}
    lrs = {"pooling": 1e-3, "heads": 5e-4} | network.heads.settings("lr")
    groups = {group["name"]: group["lr"] for group in parameter_groups(network, lrs)}
    assert groups["heads.heads.stenosis"] == 1e-3 and groups["heads"] == 5e-4


def test_fine_tuning_in_part_learns_the_last_layers():
    network = freeze_fraction(build(), {"video_encoder": 0.5}).train()
    result = network(*batch())
    sum(value.square().sum() for name, value in result.items() if name != "attention").backward()
    stages = [p.grad is not None for p in (stage.conv1.weight for stage in network.video_encoder.stages)]
    assert stages == [False, False, True, True] and network.video_encoder.stem[0].weight.grad is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"level": "frames"}, "level must be one of .'views', 'tokens'.*got 'frames'"),
        ({"aggregator": StudyAggregator(24)}, "takes features of width 24, CineConvEncoder gives 16"),
        ({"heads": {}}, "at least one head"),
        ({"pooling": {"mode": "median"}}, "mode must be one of"),
    ],
)
def test_wrong_settings_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        CineProbeNet(**(parts() | {"heads": HEADS} | change))


@pytest.mark.parametrize("decay", [0.05, dict.fromkeys(["video_encoder", "aggregator", "pooling", "heads"], 0.05)])
def test_a_head_learns_and_decays_at_its_own_rate(decay):
    heads = {"stenosis": {"kind": "binary", "lr": 0.1}, "occlusion": {"kind": "binary", "weight_decay": 0.5}}
    network = CineProbeNet(parts()["video_encoder"], heads)
    rates = {"video_encoder": 1e-4, "aggregator": 1e-4, "pooling": 1e-3, "heads": 1e-3, "loss": 1e-3}
    decays = network.weight_decays({**decay} if isinstance(decay, dict) else decay, rates)
    groups = parameter_groups(network, network.learning_rates(rates), decays, torch.nn.Linear(1, 1))
    of = {id(p): group for group in groups for p in group["params"]}
    stenosis, occlusion = (of[id(network.heads.heads[name].linear.weight)] for name in heads)
    assert (stenosis["lr"], stenosis["weight_decay"]) == (0.1, 0.05)
    assert (occlusion["lr"], occlusion["weight_decay"]) == (1e-3, 0.5)
    assert of[id(next(network.video_encoder.parameters()))]["lr"] == 1e-4


@pytest.mark.parametrize("frozen", [[], ["aggregator"], SHARED], ids=["nothing frozen", "encoder learns", "pooling"])
def test_shared_parameters_learn_and_lead_to_every_head(frozen):
    network, given = freeze(build(), frozen), batch()
    result = network(*given)
    for name in HEADS:
        found = torch.autograd.grad(result[name].square().sum(), network.shared_parameters(), retain_graph=True)
        assert any(gradient.abs().sum() > 0 for gradient in found), name


def test_gradnorm_is_refused_where_nothing_shared_learns():
    loss = ProbeLoss(HEADS, weighting="gradnorm")
    with pytest.raises(ValueError, match="nothing shared learns: frozen are .*'aggregator'"):
        loss.bind(freeze(build("mean"), SHARED))
