"""Attention with kept keys and values, and the cache of a decoder."""

from __future__ import annotations

import pytest
import torch

from medvlm.networks.blocks.cross_attention import CrossAttention, DecoderLayer
from medvlm.networks.blocks.key_value_cache import DecoderCache


@pytest.fixture
def attention() -> CrossAttention:
    torch.manual_seed(0)
    return CrossAttention(12, 3, 10)


def test_equals_attention_written_out(attention):
    x, context = torch.randn(2, 4, 12), torch.randn(2, 5, 10)
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]).bool()
    found = attention(x, *attention.keys_values(context), mask[:, None, None])
    keys, values = attention.key_value(context).split(12, dim=2)
    heads = []
    for query, key, value in zip(*(part.split(4, dim=2) for part in (attention.query(x), keys, values)), strict=True):
        scores = (query @ key.transpose(1, 2) / 2.0).masked_fill(~mask[:, None], float("-inf"))
        heads.append(scores.softmax(dim=2) @ value)
    assert torch.allclose(found, attention.output(torch.cat(heads, dim=2)), atol=1e-6)


def test_weights_are_those_that_forward_uses(attention):
    x, context = torch.randn(2, 4, 12), torch.randn(2, 5, 10)
    keys, values = attention.keys_values(context)
    weights = attention.weights(x, keys, torch.tensor([1, 1, 0, 1, 1]).bool())
    assert weights.shape == (2, 4, 5) and torch.allclose(weights.sum(dim=2), torch.ones(2, 4))
    assert weights[..., 2].abs().max() == 0
    same = torch.randn(2, 1, 1, 4).expand(-1, 3, 5, -1)  # equal values: the output tells nothing of the weights
    assert torch.allclose(attention(x, keys, same), attention.output(same[:, :, :1].reshape(2, 1, 12)), atol=1e-6)


def test_rows_of_a_group_share_their_keys(attention):
    x, context = torch.randn(6, 4, 12), torch.randn(2, 5, 10)  # three beams of two studies
    keys, values = attention.keys_values(context)
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]).bool()[:, None, None]
    repeated = [part.repeat_interleave(3, dim=0) for part in (keys, values, mask)]
    assert torch.allclose(attention(x, keys, values, mask), attention(x, *repeated), atol=1e-6)
    assert torch.allclose(attention.weights(x, keys, mask), attention.weights(x, repeated[0], repeated[2]), atol=1e-6)


def test_layer_with_a_cache_equals_the_layer_without():
    torch.manual_seed(0)
    layer = DecoderLayer(12, 3, 10).eval()
    x, context = torch.randn(2, 6, 12), torch.randn(2, 5, 10)
    memory = layer.cross_attention.keys_values(context)
    causal = torch.ones(6, 6).tril().bool()[None, None]
    whole, _ = layer(x, memory, None, causal)
    cache, parts = DecoderCache(1, 2, 8, x.device), []
    for start, end in ((0, 3), (3, 4), (4, 6)):
        positions, mask = cache.reserve(None, end - start)
        assert positions.tolist() == [list(range(start, end))] * 2
        parts.append(layer(x[:, start:end], memory, None, mask, cache)[0])
    assert torch.allclose(torch.cat(parts, dim=1), whole, atol=1e-6)


def test_cache_counts_positions_without_padding():
    cache = DecoderCache(1, 2, 8, torch.device("cpu"))
    positions, mask = cache.reserve(torch.tensor([[False, True, True], [True, True, False]]), 3)
    assert positions.tolist() == [[0, 0, 1], [0, 1, 1]]
    assert mask[0, 0].tolist() == [[True, False, False], [False, True, False], [False, True, True]]
    positions, mask = cache.reserve(None, 1)
    assert positions.tolist() == [[2], [2]]
    assert mask[:, 0, 0].tolist() == [[False, True, True, True], [True, True, False, True]]


def test_reordered_rows_take_their_past_along():
    cache = DecoderCache(1, 3, 4, torch.device("cpu"))
    cache.reserve(None, 2)
    cache.append(0, torch.arange(3.0).reshape(3, 1, 1, 1).expand(3, 1, 2, 1), torch.zeros(3, 1, 2, 1))
    cache.reorder(torch.tensor([2, 0, 0]))
    cache.reserve(None, 1)
    keys, _ = cache.append(0, torch.full((3, 1, 1, 1), 9.0), torch.zeros(3, 1, 1, 1))
    assert keys[:, 0, :, 0].tolist() == [[2, 2, 9], [0, 0, 9], [0, 0, 9]]


def test_a_full_cache_and_uneven_heads_are_named():
    cache = DecoderCache(1, 1, 2, torch.device("cpu"))
    with pytest.raises(ValueError, match="holds 2 tokens a sequence, got 3"):
        cache.reserve(None, 3)
    with pytest.raises(ValueError, match="dim=10 and heads=3"):
        CrossAttention(10, 3)
