"""Probe heads: shapes, settings, start values, groups of parameters."""

from __future__ import annotations

import pytest
import torch

from medvlm.networks.heads.probes import ProbeHeads
from medvlm.networks.heads.projection import ProjectionHead
from medvlm.networks.parameter_groups import parameter_groups

HEADS = {
    "stenosis": {"kind": "binary", "loss": "focal", "lr": 1e-3, "weight": 2.0, "start": 0.2},
    "dominance": {"kind": "multiclass", "classes": 3, "dropout": 0.3, "hidden": 8},
    "max_stenosis": {"kind": "regression", "loss": "huber", "start": 40.0, "spread": 30.0, "lr": 2e-3},
}


def test_each_head_has_its_shape_and_its_gradient():
    torch.manual_seed(0)
    probes = ProbeHeads(16, HEADS)
    found = probes(torch.randn(5, 16))
    assert {name: tuple(value.shape) for name, value in found.items()} == {
        "stenosis": (5, 1),
        "dominance": (5, 3),
        "max_stenosis": (5, 1),
    }
    found["dominance"].sum().backward()
    learnt = {name.split(".")[1] for name, p in probes.named_parameters() if p.grad is not None}
    assert learnt == {"dominance"}


def test_heads_start_at_the_prevalence_and_the_mean():
    found = ProbeHeads(16, HEADS)(torch.zeros(1, 16))
    assert found["stenosis"].sigmoid().item() == pytest.approx(0.2)
    assert found["max_stenosis"].item() == pytest.approx(40)


def test_regression_reaches_the_unit_of_its_target():
    probes = ProbeHeads(4, {"percent": {"kind": "regression", "start": 40, "spread": 30}})
    head = probes.heads["percent"]
    torch.nn.init.constant_(head.linear.weight, 0.5)
    assert probes(torch.ones(1, 4))["percent"].item() == pytest.approx(40 + 30 * 2)


def test_specs_are_complete():
    specs = ProbeHeads(16, HEADS).specs
    assert specs["stenosis"]["loss"] == "focal" and specs["dominance"]["loss"] == "ce"
    assert [spec["weight"] for spec in specs.values()] == [2.0, 1.0, 1.0]
    assert [spec["classes"] for spec in specs.values()] == [1, 3, 1]


def test_each_head_gets_its_own_learning_rate():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.heads = ProbeHeads(16, HEADS)

    network = Net()
    lrs = network.heads.settings("lr", default=5e-4)
    assert lrs == {"heads.heads.stenosis": 1e-3, "heads.heads.dominance": 5e-4, "heads.heads.max_stenosis": 2e-3}
    assert set(network.heads.settings("lr")) == {"heads.heads.stenosis", "heads.heads.max_stenosis"}
    groups = {group["name"]: group["lr"] for group in parameter_groups(network, lrs)}
    assert groups == lrs


def test_dropout_is_off_in_evaluation():
    probes, x = ProbeHeads(16, {"a": {"kind": "binary", "dropout": 0.5}}), torch.randn(1, 16)
    assert not torch.equal(probes(x)["a"], probes(x)["a"])
    probes.eval()
    assert torch.equal(probes(x)["a"], probes(x)["a"])


@pytest.mark.parametrize(
    ("heads", "words"),
    [
        ({}, "at least one head"),
        ({"attention": {"kind": "binary"}}, "is not 'attention'"),
        ({"a.b": {"kind": "binary"}}, "no dot"),
        ({"a": {"kind": "ordinal"}}, "needs a kind of .*'binary'.*got 'ordinal'"),
        ({"a": {"kind": "binary", "dropuot": 0.1}}, "unknown settings .*did you mean 'dropout'"),
        ({"a": {"kind": "binary", "loss": "mse"}}, r"takes a loss of \('bce', 'focal'\), got 'mse'"),
        ({"a": {"kind": "multiclass"}}, "needs classes of at least 2, got None"),
        ({"a": {"kind": "binary", "classes": 4}}, "has one output, got classes=4"),
        ({"a": {"kind": "binary", "weight": -1}}, "weight >= 0"),
        ({"a": {"kind": "binary", "start": 1.0}}, "prevalence between 0 and 1, got 1.0"),
        ({"a": {"kind": "multiclass", "classes": 3, "start": 0.5}}, "start belongs to binary and regression"),
        ({"a": {"kind": "binary", "spread": 2}}, "spread belongs to regression"),
    ],
)
def test_wrong_settings_are_refused(heads, words):
    with pytest.raises(ValueError, match=words):
        ProbeHeads(16, heads)


def test_unknown_setting_of_the_groups_is_refused():
    with pytest.raises(ValueError, match="has no setting 'lrr'.*did you mean 'lr'"):
        ProbeHeads(16, HEADS).settings("lrr")


@pytest.mark.parametrize("hidden", [None, 32])
def test_projection_has_unit_length(hidden):
    torch.manual_seed(0)
    vectors = ProjectionHead(16, 8, hidden)(torch.randn(3, 5, 16) * 50)
    assert vectors.shape == (3, 5, 8)
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(3, 5))


def test_projection_normalises_in_single_precision_under_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        vectors = ProjectionHead(16, 8)(torch.randn(4, 16))
    assert vectors.dtype == torch.float32
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(4), atol=1e-6, rtol=0)


def test_width_of_zero_is_refused():
    with pytest.raises(ValueError, match="widths must be at least 1, got in_dim=16, embed_dim=0"):
        ProjectionHead(16, 0)
