"""The slice of a case that is kept for its picture, and what stands above it."""

from __future__ import annotations

import pytest
import torch

from medvlm.handlers import case_pictures
from medvlm.handlers.case_pictures import take_picture


def output(depth: int, marked: int) -> dict[str, torch.Tensor]:
    mask = torch.zeros(1, 12, 10, depth)
    mask[:, 3:6, 4:8, marked] = 1
    return {"image": torch.rand(2, 12, 10, depth) + 1, "label": mask, "pred_mask": mask}


@pytest.mark.parametrize(
    ("depth", "marked", "place"), [(24, 11, "axial slice 12 of 24"), (1, 0, "")], ids=["volume", "picture"]
)
def test_the_picture_of_a_volume_says_which_slice_it_is(depth, marked, place, monkeypatch):
    picture = take_picture({"mask_known": 1.0}, output(depth, marked))
    assert picture.place == place and picture.truth.sum() == 12
    drawn = {}
    monkeypatch.setattr(case_pictures, "case_panel", lambda *arrays, **given: drawn.update(given) or b"")
    picture.png("case 7")
    assert (drawn["title"], drawn["place"]) == ("case 7", place)
