"""The box tasks of LocCa in the whole network: which view is looked at, what is learnt, what is refused."""

from __future__ import annotations

import pytest
import torch

from medvlm.losses import CineTextLoss
from medvlm.networks.decoders.box_tasks import box_tasks
from medvlm.networks.decoders.captioner import Captioner
from medvlm.networks.encoders.cine_conv import CineConvEncoder
from medvlm.networks.encoders.study import StudyAggregator
from medvlm.networks.nets import CineTextNet

BINS, VOCABULARY = 8, 12
STUDIES, VIEWS, BOXES, WORDS = 2, 3, 2, 4


def captioner(**settings) -> Captioner:
    torch.manual_seed(0)
    given = {"max_length": 16, "dropout": 0.0, "box_bins": BINS, **settings}
    return Captioner(VOCABULARY, 16, 1, 2, 20, bos_id=1, eos_id=2, pad_id=0, **given)


def boxes(known=((1, 1), (1, 0))) -> dict[str, torch.Tensor]:
    ids = torch.tensor([1, 5, 2, 0]).expand(STUDIES, BOXES, WORDS).clone()
    ids[0, 1, 1] = 7
    values = torch.tensor([0.5, 0.1, 0.2, 0.6, 0.9]).expand(STUDIES, BOXES, 5).clone()
    return {
        "box_values": values,
        "box_known": torch.tensor(known, dtype=torch.float32),
        "box_views": torch.tensor([[0, 2], [1, 0]]),
        "phrase_ids": ids,
        "phrase_mask": (ids > 0).long(),
    }


def look(given: dict, context: torch.Tensor, view_mask: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
    view_mask = torch.ones(STUDIES, VIEWS, dtype=torch.bool) if view_mask is None else view_mask
    real = view_mask.repeat_interleave(5, dim=1)
    return box_tasks(captioner().eval(), context, real, view_mask, given)


CONTEXT = torch.randn(STUDIES, VIEWS * 5, 20, generator=torch.Generator().manual_seed(3))


def test_sequences_are_the_known_boxes_twice_and_only_answers_are_targets():
    found = look(boxes(), CONTEXT)
    assert found["box_logits"].shape[:2] == (6, WORDS + 6) and found["box_ids"].shape == (6, WORDS + 7)
    refer, ground = found["box_target_mask"][:3], found["box_target_mask"][3:]
    assert refer.sum(1).tolist() == [6, 6, 6]  # five coordinates and the end
    assert ground.sum(1).tolist() == [2, 2, 2]  # the word and the end: not the prompt, not the padding
    first = VOCABULARY + 2
    assert found["box_ids"][0, 5:10].tolist() == [first + int(v * BINS) for v in (0.5, 0.1, 0.2, 0.6, 0.9)]


def test_a_box_is_looked_for_in_its_own_view_alone():
    changed = CONTEXT.clone()
    changed[0, 5:10] = 0.0  # view 1 of the first study, in which no box lies
    same, other = look(boxes(), CONTEXT)["box_logits"], look(boxes(), changed)["box_logits"]
    torch.testing.assert_close(same, other)
    changed[0, :5] = torch.linspace(-1, 1, 20)
    assert (look(boxes(), changed)["box_logits"] - same).abs().amax((1, 2))[[0, 3]].min() > 1e-4


def test_boxes_of_absent_views_and_unknown_boxes_cost_nothing():
    mask = torch.ones(STUDIES, VIEWS, dtype=torch.bool)
    mask[0, 2] = False
    assert len(look(boxes(), CONTEXT, mask)["box_logits"]) == 4
    context = CONTEXT.clone().requires_grad_()
    nothing = look(boxes(known=((0, 0), (0, 0))), context)
    loss = CineTextLoss({"boxes": 1.0})
    total = loss(nothing, {})
    total.backward()
    assert total.item() == 0 and loss.terms["known_boxes"] == 0
    assert context.grad is not None and context.grad.abs().sum() == 0


def test_the_term_is_the_cross_entropy_of_the_answers():
    found = look(boxes(), CONTEXT)
    loss = CineTextLoss({"boxes": 1.0})
    answers = found["box_target_mask"][:, 1:].bool()
    expected = torch.nn.functional.cross_entropy(found["box_logits"][answers], found["box_ids"][:, 1:][answers])
    torch.testing.assert_close(loss(found, {}), expected)
    assert loss.terms["known_boxes"] == 3 * 8


def network(objectives=None, **settings) -> CineTextNet:
    parts = {"captioner": captioner(**settings)}
    torch.manual_seed(0)
    encoder = CineConvEncoder(widths=(8, 16, 16, 16), embed_dim=16)
    aggregator = StudyAggregator(20, heads=2, depth=0, in_dim=16)
    return CineTextNet(encoder, aggregator, embed_dim=8, objectives=objectives, **parts)


def toy() -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Two words for two squares, at one of two places in the one view of a study."""
    torch.manual_seed(1)
    video = 0.1 * torch.randn(4, 1, 1, 2, 32, 32)
    values, ids = torch.zeros(4, 1, 5), torch.zeros(4, 1, WORDS, dtype=torch.long)
    for study in range(4):
        bright, right = study % 2, study // 2
        x = 20 if right else 4
        video[study, :, :, :, 8:20, x : x + 8] += 4.0 if bright else -4.0
        values[study, 0] = torch.tensor([0.25, x / 32, 0.25, (x + 8) / 32, 0.625])
        ids[study, 0] = torch.tensor([1, 5 + bright, 2, 0])
    views = torch.zeros(4, 1, dtype=torch.long)
    return video, {
        "box_values": values, "box_known": torch.ones(4, 1), "box_views": views, "phrase_ids": ids,
        "phrase_mask": (ids > 0).long(),
    }  # fmt: skip


def test_the_loss_falls_and_boxes_are_found_and_named():
    net, loss = network(["boxes"]), CineTextLoss({"boxes": 1.0})
    video, given = toy()
    optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], 3e-3)
    values = []
    for _ in range(200):
        total = loss(net(video, boxes=given), {})
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        values.append(total.item())
    assert values[-1] < 0.2 * values[0]
    net.eval()
    with torch.no_grad():
        context, real = net.context(net.encode(video))
    found, _ = net.captioner.locate(given["phrase_ids"][:, 0], given["phrase_mask"][:, 0], context, real)
    assert (found - given["box_values"][:, 0]).abs().max() < 1.5 / BINS
    words = net.captioner.describe(given["box_values"][:, 0], context, real, max_length=3).ids
    assert words[:, 0].tolist() == given["phrase_ids"][:, 0, 1].tolist()


def test_box_tokens_that_nothing_would_train_are_refused():
    with pytest.raises(ValueError, match="box_bins=8, but no box would reach the loss.*captioning_boxes"):
        network(["captioning"])
    assert network().objectives == ("captioning", "boxes")
    assert network(box_bins=0).objectives == ("captioning",)


def test_the_objective_without_box_tokens_is_refused():
    with pytest.raises(ValueError, match="needs a captioner with box tokens"):
        network(["boxes"], box_bins=0)


def test_boxes_that_lack_a_part_or_are_too_long_are_refused():
    with pytest.raises(ValueError, match="need .*phrase_mask.*Boxesd gives them"):
        look({key: value for key, value in boxes().items() if key != "phrase_mask"}, CONTEXT)
    net = network(["boxes"], max_length=8)
    with pytest.raises(ValueError, match="lower max_length of Boxesd"):
        net(toy()[0], boxes=toy()[1])
