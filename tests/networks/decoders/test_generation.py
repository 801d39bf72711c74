"""Writing: greedy, sampled, beams; against enumeration, with and without the cache."""

from __future__ import annotations

import itertools

import pytest
import torch

from medvlm.networks.decoders.captioner import Captioner, Generated
from medvlm.networks.decoders.generation import GenerationSettings, sample

PAD, UNK, BOS, EOS = 0, 1, 2, 3
MODES = {
    "greedy": {"mode": "greedy"},
    "sample": {"mode": "sample", "temperature": 1.5, "top_k": 5, "top_p": 0.9},
    "beam": {"mode": "beam", "beams": 3},
}


def captioner(words: int = 8, seed: int = 0) -> Captioner:
    torch.manual_seed(seed)
    network = Captioner(4 + words, 16, 2, 4, 10, bos_id=BOS, eos_id=EOS, pad_id=PAD, banned_ids=(UNK,), max_length=24)
    for parameter in network.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.4)
    return network


def study(batch: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    mask = torch.ones(batch, 5, dtype=torch.bool)
    mask[0, 2:] = False
    return torch.randn(batch, 5, 10, generator=torch.Generator().manual_seed(7)), mask


def written(network: Captioner, context: torch.Tensor, mask: torch.Tensor, **settings) -> Generated:
    settings.setdefault("generator", torch.Generator().manual_seed(1))
    return network.generate(context, mask, **{"max_length": 12, **settings})


def own_logprobs(network: Captioner, ids: torch.Tensor, context: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Log-probabilities ``(B, L, V)`` over the writable tokens at each place of ``ids``, by teacher forcing."""
    network.eval()
    begin = torch.full((len(ids), 1), BOS)
    logits = network(torch.cat([begin, ids[:, :-1]], dim=1), None, context, mask).detach()
    return logits.masked_fill(~network.writable, float("-inf")).log_softmax(dim=2)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("penalty", [1.0, 1.7])
def test_cache_changes_nothing(mode, penalty):
    network = captioner()
    kept, again = (
        written(network, *study(), use_cache=use, repetition_penalty=penalty, **MODES[mode]) for use in (True, False)
    )
    assert torch.equal(kept.ids, again.ids) and torch.equal(kept.lengths, again.lengths)
    for name in ("scores", "token_logprobs", "attention"):
        assert torch.allclose(getattr(kept, name), getattr(again, name), atol=1e-4), name


@pytest.mark.parametrize("mode", ["greedy", "beam"])
def test_a_study_is_described_alike_alone_and_in_company(mode):
    network, (context, mask) = captioner(seed=2), study()
    together = written(network, context, mask, **MODES[mode])
    assert len(set(together.lengths.tolist())) > 1  # or nothing would be shown
    for i in range(len(context)):
        tokens = int(mask[i].sum())
        alone = written(network, context[i : i + 1, :tokens], None, **MODES[mode])
        length = int(alone.lengths[0])
        assert length == int(together.lengths[i])
        assert torch.equal(alone.ids[0, :length], together.ids[i, :length])
        assert torch.allclose(alone.scores[0], together.scores[i], atol=1e-4)


@pytest.mark.parametrize("mode", MODES)
def test_each_text_stops_at_its_own_end(mode):
    out = written(captioner(seed=2), *study(), **MODES[mode])
    assert out.ids.shape[1] == out.lengths.max()
    for ids, length, logprobs in zip(out.ids, out.lengths, out.token_logprobs, strict=True):
        inside, after = ids[:length], ids[length:]
        assert (after == PAD).all() and (logprobs[length:] == 0).all() and (logprobs[:length] < 0).all()
        assert (inside[:-1] != EOS).all() and (length == 12 or inside[-1] == EOS)
        assert not set(inside.tolist()) & {PAD, UNK, BOS}


def test_greedy_takes_the_likeliest_token_every_time():
    network, (context, mask) = captioner(), study()
    out = written(network, context, mask)
    logprobs = own_logprobs(network, out.ids, context, mask)
    for i, length in enumerate(out.lengths.tolist()):
        assert torch.equal(logprobs[i, :length].argmax(dim=1), out.ids[i, :length])
        best = logprobs[i, :length].amax(dim=1)
        assert torch.allclose(out.token_logprobs[i, :length], best, atol=1e-5)
        assert torch.allclose(out.scores[i], best.mean(), atol=1e-5)


def test_attention_is_that_of_the_place_that_predicted_the_token():
    network, (context, mask) = captioner(seed=2), study()
    out = written(network, context, mask)
    begin = torch.full((len(context), 1), BOS)
    network.eval()
    maps = network.attention(torch.cat([begin, out.ids[:, :-1]], dim=1), None, context, mask)
    for i, length in enumerate(out.lengths.tolist()):
        assert torch.allclose(out.attention[i, :length], maps[i, :length], atol=1e-5)
        assert (out.attention[i, length:] == 0).all()
    assert written(network, context, mask, attention=False).attention is None


def enumerated(
    network: Captioner, context: torch.Tensor, words: int, most: int, power: float, least: int = 0
) -> tuple[list[int], float]:
    """The best of all texts of at most ``most`` tokens, by their full probability."""
    best: tuple[list[int], float] = ([], -float("inf"))
    for length in range(1, most + 1):
        ends = [[EOS]] if length > least else []
        ends += [[word] for word in range(4, 4 + words)] if length == most else []
        texts = [[*t, *e] for t in itertools.product(range(4, 4 + words), repeat=length - 1) for e in ends]
        if not texts:
            continue
        ids = torch.tensor(texts)
        logits = network.eval()(
            torch.cat([torch.full((len(ids), 1), BOS), ids[:, :-1]], dim=1), None, context.expand(len(ids), -1, -1)
        ).detach()
        logits = logits.masked_fill(~network.writable, float("-inf"))
        logits[:, :least, EOS] = float("-inf")
        scores = logits.log_softmax(dim=2).gather(2, ids[..., None]).sum(dim=(1, 2)) / length**power
        if float(scores.max()) > best[1]:
            best = (texts[int(scores.argmax())], float(scores.max()))
    return best


@pytest.mark.parametrize(("power", "least"), [(1.0, 0), (0.0, 0), (2.0, 0), (-0.5, 0), (0.0, 2)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_enough_beams_find_the_best_of_all_texts(power, least, seed):
    network, (context, _) = captioner(words=3, seed=seed), study(3)
    settings = {"mode": "beam", "beams": 27, "max_length": 4, "length_penalty": power, "min_length": least}
    out = written(network, context, None, **settings)
    for i in range(3):
        ids, score = enumerated(network, context[i : i + 1], 3, 4, power, least)
        assert out.ids[i, : out.lengths[i]].tolist() == ids
        assert float(out.scores[i]) == pytest.approx(score, abs=1e-5)


def plain_beam_search(network: Captioner, context: torch.Tensor, beams: int, most: int, power: float):
    """The same search written out for one study, without stopping early."""
    alive, best = [([], 0.0)], ([], -float("inf"))
    for step in range(1, most + 1):
        grown = []
        for ids, score in alive:
            begin = torch.tensor([[BOS, *ids]])
            logits = network.eval()(begin, None, context)[0, -1].detach()
            logprobs = logits.masked_fill(~network.writable, float("-inf")).log_softmax(dim=0)
            ended = (score + float(logprobs[EOS])) / step**power
            if ended > best[1]:
                best = ([*ids, EOS], ended)
            grown += [([*ids, w], score + float(logprobs[w])) for w in range(4, len(logprobs))]
        alive = sorted(grown, key=lambda item: -item[1])[:beams]
    ids, score = alive[0]
    return best if best[1] >= score / most**power else (ids, score / most**power)


@pytest.mark.parametrize("power", [0.0, 1.0])
@pytest.mark.parametrize("beams", [1, 2, 4])
def test_beams_are_those_of_the_search_written_out(beams, power):
    network, (context, _) = captioner(seed=3), study(3)
    settings = {"mode": "beam", "beams": beams, "max_length": 6, "length_penalty": power}
    out = written(network, context, None, **settings)
    for i in range(3):
        ids, score = plain_beam_search(network, context[i : i + 1], beams, 6, power)
        assert out.ids[i, : out.lengths[i]].tolist() == ids
        assert float(out.scores[i]) == pytest.approx(score, abs=1e-4)


def test_logprobs_of_a_beam_are_those_of_its_text():
    network, (context, mask) = captioner(), study()
    out = written(network, context, mask, mode="beam", beams=4)
    logprobs = own_logprobs(network, out.ids, context, mask)
    for i, length in enumerate(out.lengths.tolist()):
        expected = logprobs[i, :length].gather(1, out.ids[i, :length, None])[:, 0]
        assert torch.allclose(out.token_logprobs[i, :length], expected, atol=1e-5)
        assert torch.allclose(out.scores[i], expected.mean(), atol=1e-5)


class TestSampling:
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0, float("-inf")]])

    def frequencies(self, **settings) -> torch.Tensor:
        rows = self.logits.expand(20000, -1)
        tokens = sample(rows, GenerationSettings(mode="sample", **settings), torch.Generator().manual_seed(0))
        return torch.bincount(tokens, minlength=5) / len(rows)

    @pytest.mark.parametrize(
        ("settings", "kept", "temperature"),
        [
            ({}, 4, 1.0),
            ({"temperature": 2.0}, 4, 2.0),
            ({"top_k": 2}, 2, 1.0),
            ({"top_p": 0.7}, 2, 1.0),  # 0.64 alone is not enough
            ({"top_p": 0.1}, 1, 1.0),
            ({"temperature": 0.5, "top_p": 0.8}, 1, 0.5),  # 0.87 after the temperature
            ({"top_k": 3, "top_p": 0.95}, 3, 1.0),
            ({"top_k": 50}, 4, 1.0),
        ],
        ids=str,
    )
    def test_tokens_come_as_often_as_they_should(self, settings, kept, temperature):
        expected = torch.zeros(5)
        expected[:kept] = (self.logits[0, :kept] / temperature).softmax(dim=0)
        assert (self.frequencies(**settings) - expected).abs().max() < 0.012

    def test_a_generator_makes_it_repeatable_and_leaves_the_global_numbers_alone(self):
        network, before = captioner(), torch.get_rng_state()
        first, again = (written(network, *study(), mode="sample", temperature=3.0) for _ in range(2))
        other = written(network, *study(), mode="sample", temperature=3.0, generator=torch.Generator().manual_seed(2))
        assert torch.equal(first.ids, again.ids) and first.ids.tolist() != other.ids.tolist()
        assert torch.equal(before, torch.get_rng_state())

    def test_one_candidate_is_greedy(self):
        network = captioner()
        assert torch.equal(written(network, *study(), mode="sample", top_k=1).ids, written(network, *study()).ids)


class TestRepetitionPenalty:
    @pytest.mark.parametrize("mode", MODES)
    def test_texts_repeat_less(self, mode):
        def different(penalty: float) -> int:
            out = written(captioner(words=14, seed=2), *study(), **MODES[mode], repetition_penalty=penalty)
            return sum(len(set(row[:length].tolist())) for row, length in zip(out.ids, out.lengths, strict=True))

        assert different(3.0) > different(1.0) > different(0.5)

    def test_it_divides_logits_above_zero_and_multiplies_those_below(self):
        network, (context, mask) = captioner(), study()
        out = written(network, context, mask, repetition_penalty=1.3)
        begin = torch.full((len(context), 1), BOS)
        network.eval()
        logits = network(torch.cat([begin, out.ids[:, :-1]], dim=1), None, context, mask).detach()
        for i, length in enumerate(out.lengths.tolist()):
            for step in range(length):
                row = logits[i, step].masked_fill(~network.writable, float("-inf"))
                for token in set(out.ids[i, :step].tolist()):
                    row[token] = row[token] / 1.3 if row[token] > 0 else row[token] * 1.3
                assert int(row.argmax()) == int(out.ids[i, step])


class TestPrompt:
    def test_padding_on_either_side_changes_nothing(self):
        network, (context, mask) = captioner(), study(2)
        prompt = torch.tensor([[BOS, 5, 6], [BOS, 7, 8]])
        real = torch.ones_like(prompt)
        wide = torch.full((2, 2), 9)
        none = torch.zeros_like(wide)
        for mode in ("greedy", "beam"):
            first = written(network, context, mask, prompt=(prompt, real), **MODES[mode])
            for left in (True, False):
                ids = torch.cat([wide, prompt] if left else [prompt, wide], dim=1)
                shown = torch.cat([none, real] if left else [real, none], dim=1)
                for use_cache in (True, False):
                    out = written(network, context, mask, prompt=(ids, shown), use_cache=use_cache, **MODES[mode])
                    assert torch.equal(out.ids, first.ids)
                    assert torch.allclose(out.attention, first.attention, atol=1e-5)

    def test_a_text_goes_on_where_its_prompt_ends(self):
        network, (context, mask) = captioner(), study(2)
        whole = written(network, context, mask, min_length=6)
        prompt = torch.cat([torch.full((2, 1), BOS), whole.ids[:, :3]], dim=1)
        rest = written(network, context, mask, prompt=(prompt, torch.ones_like(prompt)), min_length=3, max_length=9)
        assert torch.equal(rest.ids, whole.ids[:, 3:])


def test_dropout_is_off_and_the_mode_of_the_network_is_kept():
    network = captioner().train()
    assert torch.equal(written(network, *study()).ids, written(network, *study()).ids)
    assert network.training and not network.eval().training


def test_nothing_keeps_a_gradient():
    out = written(captioner(), *study())
    assert not out.scores.requires_grad and not out.attention.requires_grad


def test_a_vocabulary_that_pads_with_its_end_token_works():
    torch.manual_seed(0)
    network = Captioner(9, 16, 1, 4, 10, bos_id=BOS, eos_id=EOS, pad_id=EOS)
    out = network.generate(*study(), max_length=5)
    assert (out.ids[:, 0] >= 0).all() and network.writable[EOS]


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"mode": "beams"}, "'beams'"),
        ({"max_length": 0}, "max_length must be at least 1"),
        ({"temperature": 0.0}, "greedy"),
        ({"top_k": -1}, "top_k"),
        ({"top_p": 0.0}, "top_p"),
        ({"beams": 0}, "beams"),
        ({"repetition_penalty": 0.0}, "1 = off"),
        ({"min_length": 30, "max_length": 20}, "0 to max_length"),
        ({"max_length": 25}, "24 positions"),
        ({"allowed": torch.zeros(12).bool()}, "at least one token"),
        ({"prompt": (torch.zeros(2, 3).long(), torch.ones(2, 3))}, r"mask \(6, P\)"),
    ],
    ids=str,
)
def test_faults_are_named(settings, match):
    with pytest.raises(ValueError, match=match):
        written(captioner(), *study(), **settings)
