from __future__ import annotations

import pytest
import torch

from medvlm.networks.nets import SegClsNet
from medvlm.networks.trained_heads import switch_off_untrained
from medvlm.trained_settings import keep_settings


@pytest.fixture
def network() -> SegClsNet:
    return SegClsNet(features=[8, 8]).eval()


@pytest.mark.parametrize(("trained", "left"), [(["mask"], "mask"), (["tumour"], "tumour")])
def test_what_was_never_trained_goes_off(network, tmp_path, caplog, trained, left):
    keep_settings(tmp_path / "stage_1.pt", {"trained_heads": trained})
    assert switch_off_untrained(network, tmp_path / "stage_1.pt") is network
    assert set(network(torch.rand(1, 1, 16, 16))) == {left}
    assert "stage_1.pt was never trained" in caplog.text and "switched off" in caplog.text


@pytest.mark.parametrize("stored", [None, {}, {"image_size": 96}, {"trained_heads": ["tumour", "mask"]}], ids=str)
def test_heads_stay_on_where_all_were_trained_or_nobody_knows(network, tmp_path, caplog, stored):
    if stored is not None:
        keep_settings(tmp_path / "model.pt", stored)
    switch_off_untrained(network, tmp_path / "model.pt")
    assert set(network(torch.rand(1, 1, 16, 16))) == {"mask", "tumour"} and not caplog.text


def test_a_network_without_named_heads_is_left_alone(tmp_path):
    keep_settings(tmp_path / "model.pt", {"trained_heads": ["mask"]})
    plain = torch.nn.Linear(2, 2)
    assert switch_off_untrained(plain, tmp_path / "model.pt") is plain


def test_a_network_of_the_other_head_alone_is_refused(tmp_path):
    keep_settings(tmp_path / "stage_1.pt", {"trained_heads": ["mask"]})
    with pytest.raises(ValueError, match=r"none of the heads that are on \(tumour\); give other weights"):
        switch_off_untrained(SegClsNet(features=[8, 8], heads=["tumour"]), tmp_path / "stage_1.pt")
