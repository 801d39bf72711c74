"""The board of boxes: a perfect and a blind captioner."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from medvlm.handlers.board import EventFile
from medvlm.handlers.box_board import BoxBoard

TRUE = torch.tensor([[0.5, 0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 0.5, 1.0, 1.0]])


class Network(torch.nn.Module):
    """Finds each box at the place that its phrase's number says, in the view that it is given."""

    objectives = ("boxes",)

    def __init__(self, right: bool) -> None:
        super().__init__()
        self.right, self.captioner = right, SimpleNamespace(locate=self.locate)

    def encode(self, video, view_mask, angles):
        return {"view_mask": view_mask}

    def context(self, features, side, side_known):
        batch, views = features["view_mask"].shape
        return torch.arange(views).repeat_interleave(2).expand(batch, -1)[..., None], torch.ones(batch, views * 2)

    def locate(self, ids, mask, context, real):
        assert (context[:, :, 0] == ids[:, 1:2] % 2).all()  # the tokens of the box's own view
        return (TRUE[ids[:, 1]] if self.right else TRUE[:1].expand(len(ids), -1)), None


def run(network, tmp_path, limit=8) -> dict[str, float]:
    boxes = {
        "box_values": TRUE[None].repeat(2, 1, 1), "box_known": torch.tensor([[True, True], [True, False]]),
        "box_views": torch.tensor([[0, 1], [0, 1]]), "phrase_ids": torch.tensor([[[9, 0], [9, 1]]]).repeat(2, 1, 1),
        "phrase_mask": torch.ones(2, 2, 2),
    }  # fmt: skip
    inputs = {"view_mask": torch.ones(2, 2, dtype=torch.bool), "angles": torch.zeros(2, 2, 6), "boxes": boxes}
    engine = SimpleNamespace(
        network=network, non_blocking=False, amp=False, state=SimpleNamespace(batch={}, device="cpu", epoch=3),
        prepare_batch=lambda batch, device, blocking: (torch.zeros(2, 2, 1, 1, 4, 4), {}, (), inputs),
    )  # fmt: skip
    events = EventFile(str(tmp_path))
    board = BoxBoard(events, limit)
    board.take(engine)
    board.write(engine)
    events.close()
    found = EventAccumulator(str(tmp_path))
    found.Reload()
    return {tag: found.Scalars(tag)[0].value for tag in found.Tags()["scalars"]}


def test_a_captioner_that_finds_every_box_scores_one(tmp_path):
    scores = run(Network(right=True), tmp_path)
    assert scores["boxes/iou"] == scores["boxes/found"] == 1.0 and scores["boxes/count"] == 3
    assert 0 < scores["boxes/iou_of_mean_box"] < 1


def test_a_captioner_that_always_says_the_same_finds_those_that_lie_there(tmp_path):
    scores = run(Network(right=False), tmp_path)
    assert scores["boxes/iou"] == scores["boxes/found"] == pytest.approx(2 / 3)


def test_a_network_without_boxes_writes_nothing(tmp_path):
    network = Network(right=True)
    network.objectives = ("captioning",)
    assert run(network, tmp_path) == {}
    with pytest.raises(ValueError, match="limit must be at least 0"):
        BoxBoard(EventFile(str(tmp_path)), -1)
