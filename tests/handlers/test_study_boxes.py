"""Boxes of a prediction come back to the pixels that a datalist counts in."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch

from medvlm.engines.box_inferers import BoxLocator
from medvlm.handlers.study_boxes import pixels, study_boxes
from transforms import Boxesd

PLACE = [40, 80, 8, 24, 0, 32]  # 40 x 80 pixels of the file lie in rows 8 to 24 of a picture of 32 x 32


class Words:
    """A tokenizer of one word a phrase; its style would lose the phrase."""

    bos, eos = 1, 2

    def __init__(self) -> None:
        self.plain = self._read
        self.all_special_ids = [0, 1, 2]

    def __call__(self, texts, **settings):
        raise AssertionError("a phrase is no report")

    def _read(self, texts, max_length, **settings):
        ids = [[1, 10 + len(text), 2, *[0] * (max_length - 3)] for text in texts]
        return {"input_ids": ids, "attention_mask": [[1, 1, 1, *[0] * (max_length - 3)] for _ in texts]}

    def decode(self, ids, skip_special_tokens):
        return " ".join(f"w{i}" for i in ids if i > 2)


@pytest.mark.parametrize("corners", [[10, 12, 30, 28], [0, 0, 80, 40], [70, 1, 80, 2]])
def test_pixels_are_the_way_back_of_the_boxes_of_a_datalist(corners):
    case = {
        "video": torch.zeros(1, 1, 2, 32, 32), "view_mask": torch.tensor([True]), "case_id": "c",
        "view_ticks": json.dumps([[[0, 0.0], [4, 100.0]]]), "view_places": json.dumps([PLACE]), "view_numbers": "[0]",
        "boxes": [{"view": 0, "frame": 4, "box": corners, "name": "x"}],
    }  # fmt: skip
    fractions = Boxesd(tokenizer=Words())(case)["box_values"][0].tolist()
    box = pixels(fractions[1:], PLACE)
    assert [box["x"], box["y"], box["x"] + box["width"], box["y"] + box["height"]] == pytest.approx(corners, abs=0.11)


def test_a_box_is_cut_to_the_frame_and_one_beside_it_has_no_pixels():
    assert pixels([0.5, 0.0, 1.0, 0.5], PLACE) == {"x": 40.0, "y": 0.0, "width": 40.0, "height": 20.0}
    assert pixels([0.0, 0.0, 1.0, 0.2], PLACE) is None


def network(found: torch.Tensor) -> SimpleNamespace:
    """Answers with the boxes ``(N, 5)`` of the views that it is shown; says the number of the view."""

    def locate(ids, mask, context, real):
        assert mask.sum(dim=1).tolist() == [3] * len(ids)
        return found[context[:, 0, 0].long()], -5.0 * ids[:, 1].float()

    def describe(boxes, context, real, max_length):
        return SimpleNamespace(ids=(20 + context[:, :1, 0]).long())

    def context(features, side, side_known):
        batch, views = features.shape
        numbers = torch.arange(views).repeat_interleave(3).expand(batch, -1)[..., None].float()
        return numbers, torch.ones(batch, 3 * views)

    captioner = SimpleNamespace(locate=locate, describe=describe, max_length=64)
    return SimpleNamespace(encode=lambda video, mask, angles: mask.float(), context=context, captioner=captioner)


def test_every_phrase_is_looked_for_in_every_view_that_exists():
    found = torch.tensor([[0.1, 0.0, 0.25, 0.5, 0.75], [0.0] * 5, [0.9, 0.5, 0.5, 1.0, 1.0]])
    locator = BoxLocator(Words(), ["ab", "abcd", "ab"])
    mask = torch.tensor([[True, False, True]])
    out = locator(SimpleNamespace(module=network(found)), torch.zeros(1, 3, 1, 2, 32, 32), mask, torch.zeros(1, 3, 6))
    assert {name: tuple(value.shape) for name, value in out.items()} == {
        "box_values": (1, 3, 2, 5), "box_scores": (1, 3, 2), "box_text_ids": (1, 3, 2, 1),
    }  # fmt: skip
    ticks = [[0, 0.0], [4, 100.0]]
    views = [
        {"view": n + 1, "file": f"v{n}", "angles": "", "read": bool(mask[0, n]), "ticks": ticks, "place": PLACE}
        for n in range(3)
    ]
    rows = study_boxes({f"pred_{name}": value[0] for name, value in out.items()}, views, Words(), locator.phrases)
    assert [(one["view"], one["phrase"], one["score"], one["text"]) for one in rows] == [
        (1, "ab", -12.0, "W20"), (3, "ab", -12.0, "W22"), (1, "abcd", -14.0, "W20"), (3, "abcd", -14.0, "W22"),
    ]  # fmt: skip
    assert rows[0]["box"] == {"x": 0.0, "y": 0.0, "width": 40.0, "height": 40.0}
    assert (rows[0]["frame"], rows[0]["time_ms"], rows[1]["frame"]) == (0, 0.0, 4)


def test_a_study_without_a_view_has_no_boxes_and_wrong_settings_are_refused():
    nothing = torch.zeros(1, 3, dtype=torch.bool)
    locator = BoxLocator(Words(), ["ab"])
    assert locator(network(torch.zeros(3, 5)), torch.zeros(1, 3, 1, 2, 32, 32), nothing, torch.zeros(1, 3, 6)) == {}
    for given, words in (({"phrases": []}, "list of texts"), ({"phrases": ["a"], "max_length": 2}, "at least 3")):
        with pytest.raises(ValueError, match=words):
            BoxLocator(Words(), **given)
    with pytest.raises(ValueError, match="there is none; give its folder"):
        BoxLocator(None, ["a"])(None, None, nothing, None)
