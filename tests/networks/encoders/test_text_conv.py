"""The convolutional text encoder: masks, phrases, what training leaves out."""

from __future__ import annotations

import pytest
import torch

from medvlm.networks.encoders.text_conv import TextConvEncoder


def encoder(**settings) -> TextConvEncoder:
    torch.manual_seed(0)
    return TextConvEncoder(**{"vocab_size": 30, "embed_dim": 16, "token_dim": 8, **settings}).eval()


def test_shapes():
    out = encoder()(torch.randint(0, 30, (3, 7)), torch.ones(3, 7))
    assert out["tokens"].shape == (3, 7, 16) and out["pooled"].shape == (3, 16)


def test_padding_has_no_influence():
    network, ids = encoder(), torch.randint(5, 30, (2, 6))
    mask = torch.tensor([[1, 1, 1, 1, 0, 0]] * 2)
    torch.testing.assert_close(network(ids, mask)["pooled"], network(ids[:, :4])["pooled"])


def test_a_text_without_tokens_gives_zeros():
    out = encoder()(torch.randint(0, 30, (2, 5)), torch.tensor([[1] * 5, [0] * 5]))["pooled"]
    assert torch.equal(out[1], torch.zeros(16)) and out[0].abs().sum() > 0


def test_a_phrase_counts_wherever_it_stands():
    network, phrase = encoder(widths=(3,)), [7, 8, 9]
    texts = torch.tensor([[5] * 3 + phrase + [5] * 6, [5] * 6 + phrase + [5] * 3])
    pooled = network(texts)["pooled"]
    torch.testing.assert_close(pooled[0], pooled[1])


def test_training_leaves_words_out_and_evaluation_does_not():
    network, ids = encoder(token_dropout=0.5), torch.randint(5, 30, (2, 20))
    torch.testing.assert_close(network(ids)["pooled"], network(ids)["pooled"])
    network.train()
    assert not torch.equal(network(ids)["pooled"], network(ids)["pooled"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"widths": (2,)}, "odd numbers"),
        ({"widths": ()}, "odd numbers"),
        ({"token_dropout": 1.0}, "below 1"),
        ({"vocab_size": 0}, "at least 1"),
    ],
    ids=["even", "none", "all left out", "no vocabulary"],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        encoder(**settings)


def test_a_text_that_is_too_long_is_refused():
    with pytest.raises(ValueError, match="at most 4 tokens, got 5"):
        encoder(max_length=4)(torch.zeros(1, 5, dtype=torch.long))
