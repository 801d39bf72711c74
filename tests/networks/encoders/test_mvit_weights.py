"""Published MViT weights in networks with other channels, sizes and heads."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from medvlm.networks.checkpoint import CheckpointError
from medvlm.networks.encoders.mvit import MViT, stages
from medvlm.networks.encoders.mvit_weights import load_mvit_weights


def small(seed: int, **arguments) -> MViT:
    torch.manual_seed(seed)
    blocks = stages((16, 32), (1, 1), (1, 2), stride_kv=2)
    return MViT(blocks, **{"frames": 4, "spatial_size": (32, 32), "in_channels": 3, **arguments}).eval()


@pytest.fixture
def published(tmp_path):
    network = small(1, num_classes=5)
    torch.save(network.state_dict(), tmp_path / "published.pt")
    save_file(network.state_dict(), tmp_path / "published.safetensors")
    return network, tmp_path


@pytest.mark.parametrize("name", ["published.pt", "published.safetensors"])
def test_weights_load_into_an_encoder_without_classifier(published, name):
    network, folder = published
    video = torch.randn(1, 3, 4, 32, 32)
    ours = load_mvit_weights(small(2), folder / name)
    torch.testing.assert_close(ours(video), network(video))


def test_a_classifier_is_loaded_where_there_is_one(published):
    network, folder = published
    video = torch.randn(1, 3, 4, 32, 32)
    ours = load_mvit_weights(small(2, num_classes=5), folder / "published.pt")
    torch.testing.assert_close(ours.classify(video), network.classify(video))
    with pytest.raises(CheckpointError, match=r"head.1.weight \(5, 32\) in the file, \(7, 32\) in the network"):
        load_mvit_weights(small(2, num_classes=7), folder / "published.pt")


def test_a_grey_video_gives_what_it_gave_repeated_to_three_channels(published):
    network, folder = published
    grey = torch.randn(1, 1, 4, 32, 32)
    ours = load_mvit_weights(small(2, in_channels=1), folder / "published.pt", channels="sum")
    torch.testing.assert_close(ours(grey), network(grey.expand(-1, 3, -1, -1, -1)), rtol=1e-4, atol=1e-5)


def test_other_channels_are_refused_unless_asked_for(published):
    _, folder = published
    ours = small(2, in_channels=1)
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    with pytest.raises(CheckpointError, match='3 input channels and the network has 1; give channels="sum"'):
        load_mvit_weights(ours, folder / "published.pt")
    assert all(torch.equal(value, before[name]) for name, value in ours.state_dict().items())
    with pytest.raises(ValueError, match="channels must be None"):
        load_mvit_weights(ours, folder / "published.pt", channels="first")


def test_a_mask_token_is_kept(published):
    _, folder = published
    ours = small(2, maskable=True)
    ours.mask_token.data.fill_(3.0)
    load_mvit_weights(ours, folder / "published.pt")
    assert ours.mask_token.unique().tolist() == [3.0]


@pytest.mark.parametrize("relative", [True, False], ids=["relative", "absolute"])
def test_positions_are_resized_when_asked_for(tmp_path, relative):
    network = small(1, relative_positions=relative)
    torch.save(network.state_dict(), tmp_path / "model.pt")
    other = {"frames": 8, "spatial_size": (48, 64), "relative_positions": relative}
    with pytest.raises(CheckpointError, match="of another shape.*resize_positions=True"):
        load_mvit_weights(small(2, **other), tmp_path / "model.pt")
    ours = load_mvit_weights(small(2, **other), tmp_path / "model.pt", resize_positions=True)
    video = torch.randn(1, 3, 8, 48, 64)
    if relative:  # tables of a square of the longer side: near, not equal
        assert ours(video)["pooled"].shape == (1, 32)
        assert ours.blocks[0].attn.rel_pos_h.shape[0] == 31
    else:
        torch.testing.assert_close(ours(video), network(video), rtol=1e-4, atol=1e-5)


def test_no_path_leaves_the_network_alone():
    network = small(2)
    assert load_mvit_weights(network, None) is network


def test_files_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        load_mvit_weights(small(2), tmp_path / "absent.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"not weights")
    with pytest.raises(CheckpointError, match=r"11 bytes\) is not a readable file of weights"):
        load_mvit_weights(small(2), tmp_path / "broken.safetensors")
    torch.save({"other": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="missing.*1 unexpected: other"):
        load_mvit_weights(small(2), tmp_path / "other.pt")
