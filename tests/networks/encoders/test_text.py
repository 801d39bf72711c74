"""The text encoder: padding, pooling, freezing, and the tokenizer that its weights belong to."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    BertConfig,
    BertModel,
    PreTrainedTokenizerFast,
    SiglipConfig,
    SiglipModel,
    SiglipTextConfig,
    SiglipTextModel,
    SiglipVisionConfig,
)

from medvlm.data.tokenizers import fingerprint, load_tokenizer, train_wordpiece
from medvlm.networks.checkpoint import CheckpointError, load_weights
from medvlm.networks.encoders.text import TextEncoder

TINY = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 4, "intermediate_size": 32}
REPORTS = ["severe stenosis of the proximal LAD", "no stenosis, right dominance", "occluded RCA with collaterals"] * 3


def encoder(**settings) -> TextEncoder:
    torch.manual_seed(0)
    return TextEncoder(config=TINY, **{"vocab_size": 30, **settings}).eval()


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory) -> tuple[PreTrainedTokenizerFast, PreTrainedTokenizerFast]:
    folder = tmp_path_factory.mktemp("tokenizers")
    first = train_wordpiece(REPORTS, folder / "first", 120)
    other = train_wordpiece([*REPORTS, "calcified circumflex artery"] * 2, folder / "other", 120)
    return load_tokenizer(first), load_tokenizer(other)


@pytest.mark.parametrize("pooling", ["cls", "mean", "model"])
def test_shapes(pooling):
    network = encoder(pooling=pooling)
    out = network(torch.randint(0, 30, (3, 7)), torch.ones(3, 7))
    assert out["tokens"].shape == (3, 7, 16) and out["pooled"].shape == (3, network.embed_dim)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_padding_has_no_influence(pooling):
    network, ids = encoder(pooling=pooling), torch.randint(5, 30, (2, 6))
    alone = network(ids[:, :4])["pooled"]
    mask = torch.tensor([[1, 1, 1, 1, 0, 0]] * 2)
    assert torch.allclose(network(ids, mask)["pooled"], alone, atol=1e-6)


def test_first_token_is_found_behind_padding_on_the_left():
    network, ids = encoder(), torch.randint(5, 30, (2, 6))
    out = network(ids, torch.tensor([[0, 0, 1, 1, 1, 1]] * 2))
    assert torch.equal(out["pooled"], out["tokens"][:, 2])


def test_a_text_without_tokens_gives_zeros_and_spoils_nothing():
    network, ids = encoder(), torch.randint(5, 30, (2, 6))
    both = network(ids, torch.tensor([[0] * 6, [1] * 6]))["pooled"]
    assert torch.equal(both[0], torch.zeros(16))
    assert torch.allclose(both[1:], network(ids[1:])["pooled"], atol=1e-6)


def test_every_trainable_weight_gets_a_gradient():
    network = encoder(pooling="mean").train()
    network(torch.randint(0, 30, (3, 7)))["pooled"].square().sum().backward()
    assert not [name for name, p in network.named_parameters() if p.requires_grad and p.grad is None]


def test_gradient_checkpointing_changes_nothing():
    gradients = []
    for setting in (False, True):
        torch.manual_seed(0)
        config = {**TINY, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        network = TextEncoder(config=config, vocab_size=30, gradient_checkpointing=setting).train()
        network(torch.arange(7)[None])["pooled"].square().sum().backward()
        gradients.append([p.grad for p in network.parameters()])
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*gradients, strict=True))


class TestFreezing:
    @pytest.mark.parametrize(("fraction", "layers"), [(0.0, 0), (0.25, 1), (0.5, 2), (0.8, 3), (1.0, 4)])
    def test_counts_from_the_input(self, fraction, layers):
        network = encoder(freeze_fraction=fraction)
        assert network.frozen_layers == layers
        for index, layer in enumerate(network.model.encoder.layer):
            assert {p.requires_grad for p in layer.parameters()} == {index >= layers}
        assert {p.requires_grad for p in network.model.embeddings.parameters()} == {layers == 0}

    def test_whole_model_has_nothing_left_to_learn(self):
        assert not [p for p in encoder(freeze_fraction=1.0).parameters() if p.requires_grad]

    def test_frozen_layers_have_no_dropout_in_training(self):
        network = encoder(freeze_fraction=0.5).train()
        modes = [{m.training for m in layer.modules()} for layer in network.model.encoder.layer]
        assert modes == [{False}, {False}, {True}, {True}]
        assert {m.training for m in network.model.embeddings.modules()} == {False}


class TestPretrained:
    @pytest.fixture(scope="class")
    def folder(self, tmp_path_factory):
        torch.manual_seed(1)
        folder = tmp_path_factory.mktemp("bert")
        BertModel(BertConfig(vocab_size=25, **TINY)).save_pretrained(folder)
        return folder

    def test_weights_of_a_folder_are_loaded(self, folder):
        network = TextEncoder(folder).eval()
        assert (network.vocab_size, network.embed_dim, network.max_length) == (25, 16, 512)
        ids = torch.arange(6)[None]
        expected = BertModel.from_pretrained(folder).eval()(input_ids=ids).last_hidden_state
        assert torch.allclose(network(ids)["tokens"], expected, atol=1e-6)
        assert not [name for name, _ in network.named_parameters() if "pooler" in name]

    def test_settings_override_those_of_the_folder(self, folder):
        assert TextEncoder(folder, {"hidden_dropout_prob": 0.3}).model.config.hidden_dropout_prob == 0.3
        with pytest.raises(ValueError, match="did you mean 'hidden_dropout_prob'"):
            TextEncoder(folder, {"hiden_dropout_prob": 0.3})

    @pytest.mark.parametrize("whole", [True, False], ids=["with pictures", "text alone"])
    def test_siglip_reads_its_padding_and_pools_itself(self, tmp_path, whole):
        torch.manual_seed(2)
        words = {"vocab_size": 25, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
        text = SiglipTextConfig(projection_size=12, max_position_embeddings=9, **words, **TINY)
        both = SiglipConfig(text_config=text, vision_config=SiglipVisionConfig(image_size=32, **TINY))
        model = SiglipModel(both).eval() if whole else SiglipTextModel(text).eval()
        model.save_pretrained(tmp_path)
        network = TextEncoder(tmp_path, pooling="model").eval()
        ids = torch.arange(8)[None]
        out = network(ids, torch.tensor([[1, 1, 1, 1, 1, 0, 0, 0]]))
        tower = model.text_model if whole else model
        assert (network.embed_dim, network.max_length, network.layers) == (12, 9, 4)
        full = torch.nn.functional.pad(ids, (0, 1), value=0)  # to its length, as it was trained
        assert torch.allclose(out["pooled"], tower(input_ids=full).pooler_output, atol=1e-6)
        assert not [name for name, _ in network.named_parameters() if "vision" in name]

    @pytest.mark.parametrize("path", ["none/such-model", "no_folder_here"])
    def test_a_model_that_is_not_here_is_an_error_and_no_download(self, path, monkeypatch):
        import socket

        def refuse(*arguments, **named):
            raise AssertionError("tried to reach the network")

        monkeypatch.setattr(socket, "create_connection", refuse)
        monkeypatch.setattr(socket.socket, "connect", refuse)
        with pytest.raises(FileNotFoundError, match=f"no text model at '{path}' on this machine.*path empty"):
            TextEncoder(path)

    def test_an_empty_folder_is_no_model(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="nothing is downloaded"):
            TextEncoder(tmp_path)


class TestTokenizer:
    def test_fingerprint_is_the_one_of_the_data(self, tokenizers):
        network = encoder(vocab_size=200).bind_tokenizer(tokenizers[0])
        assert int(network.tokenizer_fingerprint) == fingerprint(tokenizers[0])

    def test_same_tokenizer_loads(self, tokenizers, tmp_path):
        trained = encoder(vocab_size=200).bind_tokenizer(tokenizers[0])
        torch.save(trained.state_dict(), tmp_path / "model.pt")
        bound = load_weights(encoder(vocab_size=200).bind_tokenizer(tokenizers[0]), tmp_path / "model.pt")
        unbound = load_weights(encoder(vocab_size=200), tmp_path / "model.pt")
        assert bound.tokenizer_fingerprint == unbound.tokenizer_fingerprint == trained.tokenizer_fingerprint

    def test_another_tokenizer_is_refused_whichever_comes_first(self, tokenizers, tmp_path):
        trained = encoder(vocab_size=200).bind_tokenizer(tokenizers[0])
        torch.save(trained.state_dict(), tmp_path / "model.pt")
        with pytest.raises(CheckpointError, match="trained with another tokenizer .* saved beside the checkpoint"):
            load_weights(encoder(vocab_size=200).bind_tokenizer(tokenizers[1]), tmp_path / "model.pt")
        loaded = load_weights(encoder(vocab_size=200), tmp_path / "model.pt")
        with pytest.raises(ValueError, match="bound to another tokenizer"):
            loaded.bind_tokenizer(tokenizers[1])
        assert int(loaded.bind_tokenizer(tokenizers[1], replace=True).tokenizer_fingerprint) == fingerprint(
            tokenizers[1]
        )

    def test_inside_a_network_it_is_refused_too(self, tokenizers):
        trained = torch.nn.ModuleDict({"text": encoder(vocab_size=200).bind_tokenizer(tokenizers[0])})
        other = torch.nn.ModuleDict({"text": encoder(vocab_size=200).bind_tokenizer(tokenizers[1])})
        with pytest.raises(CheckpointError, match="the checkpoint's text was trained"):
            other.load_state_dict(trained.state_dict())

    def test_weights_without_a_fingerprint_leave_the_binding(self, tokenizers):
        bound = encoder(vocab_size=200).bind_tokenizer(tokenizers[0])
        bound.load_state_dict(encoder(vocab_size=200).state_dict())
        assert int(bound.tokenizer_fingerprint) == fingerprint(tokenizers[0])

    def test_a_larger_vocabulary_is_refused(self, tokenizers):
        size = len(tokenizers[0])
        with pytest.raises(ValueError, match=f"largest identifier is {size - 1}.*set vocab_size to {size}"):
            encoder(vocab_size=size - 1).bind_tokenizer(tokenizers[0])


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: encoder(pooling="max"), "'max'"),
        (lambda: encoder(freeze_fraction=2), "0 to 1, got 2"),
        (lambda: TextEncoder(config={"hiden_size": 8}), "did you mean 'hidden_size'"),
        (lambda: TextEncoder(config={"hidden_size": 10, "num_attention_heads": 3}), "10 and 3"),
        (lambda: encoder()(torch.zeros(1, 513, dtype=torch.long)), "at most 512 tokens, got 513"),
        (lambda: encoder()(torch.full((1, 3), 30)), "token 30 is not of the text model's vocabulary of 30"),
    ],
)
def test_faults_are_named(call, match):
    with pytest.raises(ValueError, match=match):
        call()


def test_sizes_of_the_default_config_do_not_change_a_pretrained_model(tmp_path, caplog):
    BertModel(BertConfig(vocab_size=30, **TINY)).save_pretrained(tmp_path)
    with caplog.at_level("INFO"):
        network = TextEncoder(tmp_path, config={"hidden_size": 128, "num_hidden_layers": 2, "hidden_dropout_prob": 0.3})
    assert "keeps its own sizes; {'hidden_size': 128, 'num_hidden_layers': 2}" in caplog.text
    assert network.embed_dim == 16 and network.layers == 4
    assert network.model.config.hidden_dropout_prob == 0.3
    with pytest.raises(ValueError, match="did you mean 'hidden_dropout_prob'"):
        TextEncoder(tmp_path, config={"hiden_dropout_prob": 0.3})


def test_weights_that_do_not_fit_their_config_are_one_clear_sentence(tmp_path):
    BertModel(BertConfig(vocab_size=30, **TINY)).save_pretrained(tmp_path)
    config = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(config.replace('"intermediate_size": 32', '"intermediate_size": 48'))
    with pytest.raises(ValueError, match="do not fit its config.json .*copy the whole folder"):
        TextEncoder(tmp_path)


def test_a_token_that_was_added_for_the_captioner_is_not_read():
    torch.manual_seed(0)
    network = TextEncoder(config=TINY, vocab_size=30, added_bos=1, pooling="mean").eval()
    ids, mask = torch.randint(5, 30, (2, 6)), torch.tensor([[1] * 6, [1, 1, 1, 1, 0, 0]])
    begun = torch.cat([torch.ones(2, 1, dtype=torch.long), ids], dim=1)
    shown = torch.cat([torch.ones(2, 1, dtype=torch.long), mask], dim=1)
    assert torch.equal(network(begun, shown)["pooled"], network(ids, mask)["pooled"])


def test_a_siglip_text_means_the_same_however_far_it_is_padded(tmp_path):
    config = SiglipTextConfig(vocab_size=30, max_position_embeddings=12, projection_size=16, **TINY)
    torch.manual_seed(0)
    tower = SiglipTextModel(config).eval()
    tower.save_pretrained(tmp_path)
    network = TextEncoder(tmp_path, pooling="model", added_bos=2).eval()
    network.pad_id = 1
    ids = torch.randint(5, 30, (2, 4))
    full = torch.nn.functional.pad(ids, (0, 8), value=1)
    expected = tower(input_ids=full).pooler_output
    begun = torch.cat([torch.full((2, 1), 2), full[:, :7]], dim=1)
    for given in (ids, full, begun):
        out = network(given)
        torch.testing.assert_close(out["pooled"], expected)
    assert network(ids)["tokens"].shape == (2, 4, 16)
