"""Weights load only where they fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from medvlm.networks.checkpoint import CheckpointError, load_weights
from medvlm.networks.nets import MaskNet, SegClsNet


def net(seed: int = 0, **settings) -> SegClsNet:
    torch.manual_seed(seed)
    return SegClsNet(**{"features": (8, 16), "norm": "BATCH"} | settings)


def same(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    a, b = first.state_dict(), second.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("wrapper", [None, "model", "network", "state_dict"])
def test_state_dict_loads_by_itself_or_wrapped(tmp_path: Path, wrapper):
    source, target = net(0), net(1)
    state = source.state_dict()
    torch.save(state if wrapper is None else {wrapper: state, "epoch": 3}, tmp_path / "model.pt")
    assert not same(source, target)
    assert load_weights(target, tmp_path / "model.pt") is target
    assert same(source, target)


def test_names_of_a_distributed_network_load(tmp_path: Path):
    source, target = net(0), net(1)
    torch.save(torch.nn.DataParallel(source).state_dict(), tmp_path / "model.pt")
    assert same(load_weights(target, tmp_path / "model.pt"), source)


def test_mask_net_and_full_network_share_their_weights(tmp_path: Path):
    settings = {"features": (8, 16), "heads": ("mask",)}
    torch.save(SegClsNet(features=(8, 16)).state_dict(), tmp_path / "full.pt")
    view = load_weights(MaskNet(**settings), tmp_path / "full.pt")
    torch.save(view.state_dict(), tmp_path / "view.pt")
    back = load_weights(SegClsNet(features=(8, 16), heads=("tumour",)), tmp_path / "view.pt")
    assert same(back, view)


def test_unfitting_checkpoint_is_refused_and_changes_nothing(tmp_path: Path):
    torch.save(net(features=(8, 16, 32), in_channels=4).state_dict(), tmp_path / "model.pt")
    target, untouched = net(1, attention=False), net(1, attention=False)
    with pytest.raises(CheckpointError) as error:
        load_weights(target, tmp_path / "model.pt")
    words = str(error.value)
    assert "unexpected: encoder.stages.2.conv1.conv.weight" in words
    assert "encoder.stages.0.conv1.conv.weight (8, 4, 3, 3) in the file, (8, 1, 3, 3) in the network" in words
    assert "components concerned: decoder, " in words and "encoder" in words
    assert "the same overlays and settings as the training" in words and "in_channels" not in words
    assert same(target, untouched)


def test_missing_keys_are_named_the_first_few(tmp_path: Path):
    state = net().state_dict()
    torch.save({key: value for key, value in state.items() if not key.startswith("decoder")}, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match=r"\d+ missing: decoder.ups.0.*, \.\.\."):
        load_weights(net(), tmp_path / "model.pt")


def test_components_load_alone_and_leave_the_rest(tmp_path: Path):
    source, target, before = net(0, regions=3), net(1), net(1)
    torch.save(source.state_dict(), tmp_path / "model.pt")
    load_weights(target, tmp_path / "model.pt", components=["encoder"])
    assert same(target.encoder, source.encoder)
    assert same(target.decoder, before.decoder) and same(target.mask_head, before.mask_head)


def test_component_must_be_whole(tmp_path: Path):
    state = net().state_dict()
    del state["encoder.stages.0.norm1.weight"]
    torch.save(state, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match="1 missing: encoder.stages.0.norm1.weight"):
        load_weights(net(), tmp_path / "model.pt", components=["encoder"])


def test_unknown_component_is_named(tmp_path: Path):
    torch.save(net().state_dict(), tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"no component \['backbone'\]; it has \['encoder'"):
        load_weights(net(), tmp_path / "model.pt", components=["backbone"])


def test_not_strict_loads_what_fits_and_says_what_does_not(tmp_path: Path, caplog):
    source, target, before = net(0, regions=3), net(1), net(1)
    torch.save(source.state_dict(), tmp_path / "model.pt")
    load_weights(target, tmp_path / "model.pt", strict=False)
    assert same(target.decoder, source.decoder) and same(target.mask_head, before.mask_head)
    assert "mask_head.logits.weight (8, 3, 2, 2) in the file" in caplog.text


def test_not_strict_still_refuses_what_fits_nowhere(tmp_path: Path):
    torch.save({"other.weight": torch.ones(2)}, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match="unexpected: other.weight"):
        load_weights(net(), tmp_path / "model.pt", strict=False)


def test_truncated_file_is_refused(tmp_path: Path):
    torch.save(net().state_dict(), tmp_path / "model.pt")
    whole = (tmp_path / "model.pt").read_bytes()
    for name, content in {"half": whole[: len(whole) // 2], "empty": b"", "text": b"not weights at all"}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CheckpointError, match=rf"{name} \({len(content)} bytes\) is not a readable file"):
            load_weights(net(), tmp_path / name)


class Payload:
    """Something that only arbitrary unpickling would build."""


def test_file_with_more_than_tensors_is_refused(tmp_path: Path):
    torch.save({"model": Payload()}, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match="hold more than tensors"):
        load_weights(net(), tmp_path / "model.pt")


@pytest.mark.parametrize("content", [{"epoch": 3}, {}, torch.ones(3)], ids=["no weights", "empty", "tensor"])
def test_file_without_a_state_dict_is_refused(tmp_path: Path, content):
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match="holds no state dict"):
        load_weights(net(), tmp_path / "model.pt")


def test_absent_file_says_so(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="no checkpoint at .*model.pt"):
        load_weights(net(), tmp_path / "model.pt")
