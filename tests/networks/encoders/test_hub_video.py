"""Video models of transformers under the contract of our encoders, built from configurations."""

from __future__ import annotations

import pytest
import torch

from medvlm.networks.encoders.hub_video import HubVideoEncoder

COMMON = {"hidden_size": 24, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 32}
CONFIGS = {
    "videomae": {"image_size": 32, "patch_size": 16, "num_frames": 4, "tubelet_size": 2, **COMMON},
    "vjepa2": {
        "crop_size": 32, "frames_per_clip": 4, "tubelet_size": 2, "hidden_size": 24, "num_attention_heads": 2,
        "num_hidden_layers": 1, "mlp_ratio": 2.0, "pred_hidden_size": 24, "pred_num_attention_heads": 2,
        "pred_num_hidden_layers": 1,
    },
    "vivit": {"image_size": 32, "num_frames": 4, "tubelet_size": [2, 16, 16], **COMMON},
    "timesformer": {"image_size": 32, "patch_size": 16, "num_frames": 4, **COMMON},
}  # fmt: skip
GRIDS = {"videomae": (2, 2, 2), "vjepa2": (2, 2, 2), "vivit": (2, 2, 2), "timesformer": (4, 2, 2)}


def encoder(model_type: str, changes: dict | None = None, **arguments) -> HubVideoEncoder:
    torch.manual_seed(0)
    return HubVideoEncoder(config={"model_type": model_type, **CONFIGS[model_type], **(changes or {})}, **arguments)


@pytest.mark.parametrize("model_type", CONFIGS)
@pytest.mark.parametrize("sizes", [(4, 32, 32), (7, 40, 24)], ids=str)
def test_every_model_keeps_the_contract(model_type, sizes):
    network = encoder(model_type).eval()
    output = network(torch.randn(2, 1, *sizes))
    t, h, w = network.grid(*sizes)
    assert (t, h, w) == GRIDS[model_type]
    assert output["tokens"].shape == (2, t * h * w + network.has_class_token, 24)
    assert output["pooled"].shape == (2, network.embed_dim) == (2, 24)


@pytest.mark.parametrize("model_type", CONFIGS)
def test_tokens_come_in_the_order_t_h_w(model_type):
    network = encoder(model_type, {"num_hidden_layers": 0}).eval()  # a token is its patch
    video = torch.zeros(1, 1, 4, 32, 32)
    before = network(video)["tokens"]
    video[:, :, 2:, :16, 16:] = torch.randn(2, 16, 16)  # the later frames, h = 0, w = 1
    changed = (network(video)["tokens"] - before)[0, network.has_class_token :].abs().amax(-1) > 1e-6
    t, h, w = GRIDS[model_type]
    places = changed.reshape(t, h, w).nonzero().tolist()
    assert places == [[frame, 0, 1] for frame in range(t // 2, t)]


@pytest.mark.parametrize("model_type", CONFIGS)
def test_every_parameter_gets_a_gradient(model_type):
    network = encoder(model_type).train()
    output = network(torch.randn(2, 1, 4, 32, 32))
    (output["tokens"].square().sum() + output["pooled"].sum()).backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []


def test_visible_tokens_only_where_the_model_can():
    visible = torch.zeros(2, 8, dtype=torch.bool)
    visible[0, :2] = visible[1, 5:7] = True
    assert encoder("videomae")(torch.randn(2, 1, 4, 32, 32), visible)["tokens"].shape == (2, 2, 24)
    with pytest.raises(ValueError, match="vjepa2 computes every token"):
        encoder("vjepa2")(torch.randn(2, 1, 4, 32, 32), visible)


def test_a_grey_video_is_repeated_to_the_channels_of_the_model():
    video = torch.randn(1, 1, 4, 32, 32)
    grey, colour = encoder("videomae").eval(), encoder("videomae", in_channels=3).eval()
    torch.testing.assert_close(grey(video), colour(video.expand(-1, 3, -1, -1, -1)))


def test_frames_are_chosen_evenly():
    network = encoder("videomae")
    video = torch.arange(8.0).reshape(1, 1, 8, 1, 1).expand(1, 1, 8, 32, 32)
    assert network.fit(video)[0, :, 0, 0, 0].tolist() == [1, 3, 5, 7]
    assert network.fit(video[:, :, :2])[0, :, 0, 0, 0].tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("model_type", ["videomae", "vjepa2"])
def test_a_saved_model_is_loaded_from_its_folder(tmp_path, model_type):
    network, video = encoder(model_type).eval(), torch.randn(1, 1, 4, 32, 32)
    network.model.save_pretrained(tmp_path)
    loaded = HubVideoEncoder(path=tmp_path).eval()
    torch.testing.assert_close(loaded(video), network(video))


def test_checkpointing_changes_no_gradient():
    video, results = torch.randn(2, 1, 4, 32, 32), []
    for checkpointing in (False, True):
        network = encoder("videomae", checkpointing=checkpointing).train()
        network(video)["pooled"].square().sum().backward()
        results.append([p.grad for p in network.parameters()])
    for plain, recomputed in zip(*results, strict=True):
        torch.testing.assert_close(plain, recomputed)


def test_wrong_settings_and_inputs_are_refused(tmp_path):
    with pytest.raises(ValueError, match="give the path of a model, or a config with a model_type"):
        HubVideoEncoder()
    with pytest.raises(FileNotFoundError, match="there is no model at .*/absent"):
        HubVideoEncoder(path=tmp_path / "absent")
    with pytest.raises(ValueError, match="BertConfig has none of"):
        HubVideoEncoder(config={"model_type": "bert", "hidden_size": 24})
    with pytest.raises(ValueError, match="takes 1 or 3 channels here, got in_channels=2"):
        encoder("videomae", in_channels=2)
    with pytest.raises(ValueError, match="pooling must be .* got 'class' for videomae"):
        encoder("videomae", pooling="class")
    with pytest.raises(ValueError, match=r"takes \(B, 1, T, H, W\), got \(1, 3, 4, 32, 32\)"):
        encoder("videomae")(torch.zeros(1, 3, 4, 32, 32))
