"""The captioner as a network: what each prediction may see, padding, parallel prediction, boxes."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from medvlm.networks.blocks.key_value_cache import DecoderCache
from medvlm.networks.decoders.captioner import Captioner

PAD, UNK, BOS, EOS = 0, 1, 2, 3
WORDS = 12


def captioner(**settings) -> Captioner:
    """A network whose predictions depend strongly on what it sees."""
    torch.manual_seed(settings.pop("seed", 0))
    ids = {"bos_id": BOS, "eos_id": EOS, "pad_id": PAD, "banned_ids": (UNK,)}
    network = Captioner(WORDS, 16, 2, 4, 10, **{**ids, "max_length": 32, **settings})
    for parameter in network.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.4)
    return network.eval()


def study(batch: int = 3, tokens: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    mask = torch.ones(batch, tokens, dtype=torch.bool)
    mask[0, 3:] = False
    return torch.randn(batch, tokens, 10, generator=generator), mask


def report(batch: int = 3, length: int = 6) -> torch.Tensor:
    ids = torch.randint(4, WORDS, (batch, length), generator=torch.Generator().manual_seed(3))
    ids[:, 0] = BOS
    return ids


def test_default_size():
    parameters = sum(p.numel() for p in Captioner(4000, bos_id=BOS, eos_id=EOS, pad_id=PAD).parameters())
    assert 20e6 < parameters < 30e6


def test_a_prediction_sees_no_later_token():
    network, ids = captioner(), report()
    first = network(ids, None, *study())
    changed = ids.clone()
    changed[:, 4:] = 5
    other = network(changed, None, *study())
    assert first.shape == (3, 6, WORDS)
    assert torch.equal(first[:, :4], other[:, :4]) and not torch.allclose(first[:, 4:], other[:, 4:])


@pytest.mark.parametrize("pads", [[6, 7], [0, 1], [2, 5]], ids=["right", "left", "inside"])
def test_padding_of_a_report_has_no_influence(pads):
    network, ids = captioner(), report()
    places = [place for place in range(8) if place not in pads]
    padded, mask = torch.randint(4, WORDS, (3, 8)), torch.zeros(3, 8)
    padded[:, places], mask[:, places] = ids, 1
    found = network(padded, mask, *study())
    assert found.isfinite().all()
    assert torch.allclose(found[:, places], network(ids, None, *study()), atol=1e-5)


def test_absent_views_have_no_influence_even_as_nan():
    network, ids = captioner(), report()
    context, mask = study()
    first = network(ids, None, context, mask)
    context[0, 3:] = torch.nan
    assert torch.equal(network(ids, None, context, mask), first)
    assert torch.allclose(network(ids[:1], None, context[:1, :3]), first[:1], atol=1e-5)


def test_the_videos_count():
    network, ids = captioner(), report()
    context, mask = study()
    first = network(ids, None, context, mask)
    assert not torch.allclose(first, network(ids, None, context.flip(0), mask))


def test_a_study_without_views_is_defined():
    network, ids = captioner(), report()
    context, mask = study()
    mask[1] = False
    found = network(ids, None, context, mask)
    context[1] = 5.0
    assert found.isfinite().all() and torch.equal(found, network(ids, None, context, mask))
    assert torch.equal(network.attention(ids, None, context, mask)[1], torch.zeros(6, 5))


def test_kept_keys_give_the_same_logits():
    network, ids = captioner(), report(length=9)
    context, mask = study()
    whole = network(ids, None, context, mask)
    memory, cache = network.remember(context, mask), DecoderCache(2, 3, 9, context.device)
    found = [network.step(ids[:, :3], None, memory, cache)]
    found += [network.step(ids[:, i : i + 1], None, memory, cache) for i in range(3, 9)]
    assert torch.allclose(torch.stack(found, dim=1), whole[:, 2:], atol=1e-5)


def test_every_weight_learns():
    network = captioner(parallel_fraction=0.5, box_bins=8).train()
    network(report(), None, *study()).square().sum().backward()
    assert not [name for name, p in network.named_parameters() if p.grad is None]


def test_attention_sums_to_one_over_what_exists():
    maps = captioner().attention(report(), None, *study())
    assert maps.shape == (3, 6, 5)
    assert torch.allclose(maps.sum(dim=2), torch.ones(3, 6)) and maps[0, :, 3:].abs().max() == 0


class TestParallel:
    def test_no_token_is_seen_and_positions_are(self):
        network = captioner(parallel_fraction=0.75)
        found = network(report(), None, *study(), parallel=True)
        assert torch.equal(found, network(report().flip(1), None, *study(), parallel=True))
        assert torch.pdist(found[0]).min() > 1e-3  # each place predicts something else

    def test_samples_are_chosen_one_by_one(self):
        network, chosen = captioner(parallel_fraction=0.75), torch.tensor([True, False, True])
        found = network(report(), None, *study(), parallel=chosen)
        both = [network(report(), None, *study(), parallel=value) for value in (False, True)]
        assert torch.allclose(found, torch.where(chosen[:, None, None], both[1], both[0]), atol=1e-6)

    def test_it_is_not_causal(self):
        network, mask = captioner(parallel_fraction=0.75), torch.ones(3, 6)
        first = network(report(), mask, *study(), parallel=True)
        mask[:, 5] = 0
        assert not torch.allclose(network(report(), mask, *study(), parallel=True)[:, 0], first[:, 0])

    def test_padding_has_no_influence(self):
        network, ids = captioner(parallel_fraction=0.75), report()
        padded, mask = F.pad(ids, (0, 3)), F.pad(torch.ones(3, 6), (0, 3))
        found = network(padded, mask, *study(), parallel=True)[:, :6]
        assert torch.allclose(found, network(ids, None, *study(), parallel=True), atol=1e-5)

    def test_share_of_the_samples(self):
        network = captioner(parallel_fraction=0.75)
        assert abs(network.draw_parallel(4000, torch.Generator().manual_seed(0)).float().mean() - 0.75) < 0.03

    def test_it_is_drawn_in_training_only(self):
        network = captioner(parallel_fraction=1.0, dropout=0.0)
        evaluated = network(report(), None, *study())
        assert torch.equal(evaluated, network(report(), None, *study(), parallel=False))
        trained = network.train()(report(), None, *study())
        assert torch.allclose(trained, network.eval()(report(), None, *study(), parallel=True), atol=1e-6)

    def test_a_captioner_without_refuses(self):
        with pytest.raises(ValueError, match="parallel_fraction above 0"):
            captioner()(report(), None, *study(), parallel=True)


class TestBoxes:
    def test_a_box_survives_its_tokens_to_half_a_bin(self):
        boxes = captioner(box_bins=100).boxes
        given = torch.tensor([[0.5, 0.1, 0.2, 0.3, 0.4], [0.0, 0.0, 0.0, 1.0, 1.0]])
        assert (boxes.decode(boxes.encode(given)) - given).abs().max() <= 0.005 + 1e-6

    def test_corners_come_in_order(self):
        boxes = captioner(box_bins=10, box_coordinates=4).boxes
        assert boxes.decode(boxes.first + torch.tensor([[8, 1, 2, 5]])).tolist() == [
            pytest.approx([0.25, 0.15, 0.85, 0.55])
        ]

    def test_only_what_is_asked_for_is_a_target(self):
        boxes = captioner(box_bins=10, box_coordinates=4).boxes
        ids = torch.tensor([[BOS, 7, EOS, PAD], [BOS, 8, 9, EOS]])
        mask, place = (ids != PAD).long(), torch.tensor([[0.0, 0.1, 0.2, 0.3]] * 2)
        coordinates = [WORDS + 2, WORDS + 3, WORDS + 4, WORDS + 5]
        refer = boxes.referring(ids, mask, place)
        assert refer.input_ids[1].tolist() == [BOS, 8, 9, EOS, boxes.refer_id, *coordinates, EOS]
        assert refer.attention_mask[0].tolist() == [1, 1, 1, 0, 1, 1, 1, 1, 1, 1]
        assert refer.target_mask.tolist() == [[0] * 5 + [1] * 5] * 2
        ground = boxes.grounded(ids, mask, place, known=torch.tensor([1, 0]))
        assert ground.input_ids[0].tolist() == [BOS, boxes.ground_id, *coordinates, 7, EOS, PAD]
        assert ground.target_mask.tolist() == [[0] * 6 + [1, 1, 0], [0] * 9]

    def test_both_tasks_are_learnt(self):
        """Four words, four boxes; the study says nothing."""
        torch.manual_seed(0)
        network = Captioner(WORDS, 32, 1, 2, 10, bos_id=BOS, eos_id=EOS, pad_id=PAD, box_bins=8, dropout=0.0)
        words = torch.tensor([[4, 5], [6, 7], [8, 9], [10, 11]])
        ids = torch.cat([torch.full((4, 1), BOS), words, torch.full((4, 1), EOS)], dim=1)
        places = torch.tensor(
            [[0.1, 0.1, 0.1, 0.6, 0.6], [0.9, 0.2, 0.4, 0.6, 0.9], [0.4, 0.1, 0.7, 0.2, 0.9], [0.6, 0.3, 0.1, 0.9, 0.3]]
        )
        context, mask = torch.zeros(4, 2, 10), torch.ones_like(ids)
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
        for _ in range(40):
            optimizer.zero_grad()
            for task in (network.boxes.referring, network.boxes.grounded):
                batch = task(ids, mask, places)
                logits = network(batch.input_ids[:, :-1], batch.attention_mask[:, :-1], context)
                targets = batch.input_ids[:, 1:].masked_fill(batch.target_mask[:, 1:] == 0, -100)
                F.cross_entropy(logits.transpose(1, 2), targets).backward()
            optimizer.step()
        found, scores = network.locate(ids, mask, context)
        assert (found - places).abs().max() <= 1 / 16 + 1e-6 and (scores > -1).all()
        assert torch.equal(network.locate(ids, mask, context, beams=3)[0], found)
        assert network.describe(places, context, max_length=5).ids.tolist() == ids[:, 1:].tolist()

    def test_a_box_consists_of_coordinates_and_a_report_of_words(self):
        network = captioner(box_bins=4)
        boxes, scores = network.locate(report(), torch.ones(3, 6), *study())
        assert boxes.shape == (3, 5) and scores.shape == (3,) and (0 < boxes).all() and (boxes < 1).all()
        written = network.generate(*study(), max_length=20, mode="sample", temperature=5.0)
        assert written.ids.max() < WORDS

    @pytest.mark.parametrize(
        ("call", "match"),
        [
            (lambda: captioner(box_bins=1), "at least 2, got 1"),
            (lambda: captioner(box_bins=8, box_coordinates=6), "got 6"),
            (lambda: captioner(box_bins=8).boxes.encode(torch.zeros(2, 4)), r"\(B, 5\)"),
            (lambda: captioner().locate(report(), torch.ones(3, 6), *study()), "box_bins"),
            (lambda: captioner().describe(torch.zeros(3, 5), *study()), "box_bins"),
        ],
    )
    def test_faults_are_named(self, call, match):
        with pytest.raises(ValueError, match=match):
            call()


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: captioner(eos_id=BOS), "the first two different"),
        (lambda: captioner(pad_id=WORDS), f"below vocab_size={WORDS}"),
        (lambda: captioner(parallel_fraction=1.5), "0 to 1, got 1.5"),
        (lambda: captioner(max_length=1), "at least 2, got 2 and 1"),
        (lambda: captioner()(report(length=33), None, *study()), "32 positions, got 33"),
        (lambda: captioner()(report(), torch.ones(3, 5), *study()), "shape of input_ids"),
        (lambda: captioner()(torch.full((3, 2), WORDS), None, *study()), f"token {WORDS} is not of"),
    ],
)
def test_faults_are_named(call, match):
    with pytest.raises(ValueError, match=match):
        call()
