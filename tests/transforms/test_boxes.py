"""Boxes follow the frames that the network sees: letterbox, choice of views and frames, rotation."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from monai.transforms import Compose

from transforms import Boxesd, LoadCined, PickCined, RandCineAffined, SampleFramesd

ROWS, COLUMNS, SIZE = 40, 80, 32
SQUARE = [50, 8, 66, 20]  # left, top, right, bottom in pixels of the file


def tokenizer(words, max_length, truncation, padding):
    """One number a letter."""
    rows = [[1, *[ord(c) for c in text][: max_length - 2], 2] for text in words]
    mask = [[1] * len(row) + [0] * (max_length - len(row)) for row in rows]
    return {"input_ids": [row + [0] * (max_length - len(row)) for row in rows], "attention_mask": mask}


@pytest.fixture
def study(tmp_path):
    """A study of three wide cines of 12 frames; the second shows a bright square in every frame."""
    paths = []
    for view in range(3):
        frames = np.random.RandomState(view).randint(0, 40, (12, ROWS, COLUMNS)).astype(np.uint8)
        if view == 1:
            frames[:, SQUARE[1] : SQUARE[3], SQUARE[0] : SQUARE[2]] = 250
        paths.append(str(tmp_path / f"{view}.npz"))
        np.savez(paths[-1], frames=frames, fps=10.0)
    box = {"view": 1, "frame": 6, "box": SQUARE, "name": "p70_90"}
    return {"video": paths, "case_id": "a", "boxes": [box]}


def boxes(**settings) -> Boxesd:
    return Boxesd(tokenizer=tokenizer, max_length=12, **{"count": 2, **settings})


def brightness(case: dict, index: int = 0) -> tuple[float, float]:
    """Mean of the middle frame inside the known box, and of the rest of its view."""
    time, *corners = case["box_values"][index].tolist()
    video = case["video"][int(case["box_views"][index]), 0]
    frame = video[min(int(time * len(video)), len(video) - 1)]
    x0, y0, x1, y1 = (round(value * side) for value, side in zip(corners, frame.shape[::-1] * 2, strict=True))
    inside = torch.zeros(frame.shape, dtype=torch.bool)
    inside[y0:y1, x0:x1] = True
    return float(frame[inside].mean()), float(frame[~inside].mean())


def test_pixels_of_the_file_become_fractions_of_the_letterboxed_frame(study):
    case = Compose([LoadCined(size=SIZE, fps=10, frames=4, max_views=3), boxes()])(study)
    left, top, right, bottom = SQUARE
    expected = [left / COLUMNS, 0.25 + top / ROWS / 2, right / COLUMNS, 0.25 + bottom / ROWS / 2]
    assert case["box_values"][0, 1:].tolist() == pytest.approx(expected)  # black above and below: half the height
    assert case["box_known"].tolist() == [1.0, 0.0] and case["box_views"].tolist() == [1, 0]
    inside, outside = brightness(case)
    assert inside > 200 and outside < 60
    assert "".join(map(chr, case["phrase_ids"][0][1:7])) == "p70 90" and case["phrase_mask"][1].sum() == 2


def test_the_time_is_that_of_the_frame_in_the_clip(study):
    study["boxes"] = [study["boxes"][0] | {"frame": frame} for frame in (4, 7, 11)]
    case = Compose([LoadCined(size=SIZE, fps=10, frames=4, max_views=3), boxes(count=3)])(study)
    shown = [frame for frame, _ in json.loads(case["view_ticks"])[1]]
    assert shown == [4, 5, 6, 7]
    assert case["box_values"][:, 0].tolist() == [0.125, 0.875, 0.0]
    assert case["box_known"].tolist() == [1.0, 1.0, 0.0]  # frame 11 is not shown


@pytest.mark.parametrize("seed", range(6))
def test_boxes_follow_drawn_views_and_frames_and_turned_pictures(study, seed):
    steps = [
        LoadCined(size=SIZE, fps=10, max_views=2, random_views=True),
        SampleFramesd(frames=10),
        boxes(random=True),
        RandCineAffined(prob=1.0, degrees=30.0),
    ]
    case = Compose(steps).set_random_state(seed)(study)
    seen = any(name.endswith("1.npz") for name in json.loads(case["view_files"]))
    if not seen:
        assert case["box_known"].sum() == 0
        return
    inside, outside = brightness(case)
    assert case["box_known"][0] == 1 and inside > 2 * outside and inside > 90


def test_a_box_that_leaves_the_picture_is_unknown(study):
    case = Compose([LoadCined(size=SIZE, fps=10, frames=4, max_views=3), boxes()])(study)
    far = RandCineAffined(prob=1.0, degrees=0.0, scale=0.0, shift=0.9)
    known = [float(far.set_random_state(seed)(case)["box_known"][0]) for seed in range(20)]
    assert 0.0 in known and 1.0 in known
    assert case["box_known"][0] == 1.0  # the case itself is as it was


def test_of_many_boxes_some_are_taken_evenly_or_at_random(study):
    one = study["boxes"][0]
    study["boxes"] = [one | {"box": [x, 0, x + 4, 4]} for x in range(0, 70, 10)]
    read = LoadCined(size=SIZE, fps=10, frames=4, max_views=3)(study)
    assert (boxes()(read)["box_values"][:, 1] * COLUMNS).round().tolist() == [10.0, 50.0]
    drawn = {tuple(boxes(random=True).set_random_state(s)(read)["box_values"][:, 1].tolist()) for s in range(5)}
    assert len(drawn) > 1


def test_cases_without_boxes_and_with_them_collate(study):
    from monai.data import list_data_collate

    chain = Compose([LoadCined(size=SIZE, frames=4, max_views=3), boxes(), PickCined()])
    batch = list_data_collate([chain(study), chain({**study, "boxes": None})])
    assert batch["box_values"].shape == (2, 2, 5) and batch["box_known"].tolist() == [[1.0, 0.0], [0.0, 0.0]]


def test_the_order_of_transforms_and_broken_boxes_are_refused(study):
    read = LoadCined(size=SIZE, frames=4, max_views=3)(study)
    with pytest.raises(KeyError, match="view_places.*before RandCineAffined"):
        boxes()(RandCineAffined()(read))
    with pytest.raises(ValueError, match="left, top, right and bottom"):
        boxes()({**read, "boxes": [{"view": 1, "box": [1, 2]}]})
    with pytest.raises(ValueError, match="count must be at least 1"):
        boxes(count=0)
    with pytest.raises(TypeError, match="tokenizer must be"):
        Boxesd()
