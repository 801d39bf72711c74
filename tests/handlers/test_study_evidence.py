"""Sentences of a report find the view, the frame and the box that their attention lies on."""

from __future__ import annotations

import numpy as np
import pytest

from medvlm.data.tokenizers import load_tokenizer, train_wordpiece
from medvlm.handlers.study_evidence import attention_box, clip_frame, on_file, place_of, sentence_evidence

REPORT = "severe stenosis of the proximal lad. the rca is normal."
PLACE = [40, 80, 16, 48, 0, 64]  # a frame of 40 x 80 lies in rows 16 to 48 of a picture of 64 x 64
TICKS = [[frame, frame * 66.0] for frame in (10, 12, 14, 16)]


def view(file: str, read: bool = True) -> dict:
    return {"file": file, "read": read, "angles": "LAO 30", "ticks": TICKS if read else [], "place": PLACE}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = train_wordpiece([REPORT] * 3, tmp_path_factory.mktemp("t") / "tokenizer", vocab_size=200)
    return load_tokenizer(folder)


@pytest.fixture
def heat() -> np.ndarray:
    """(N, t, h, w): most of it in view 2, step 1, row 2 and column 1 of 4 x 4 cells."""
    heat = np.full((3, 2, 4, 4), 0.01, np.float32)
    heat[2] = 0
    heat[1, 1, 2, 1] = 0.7
    return heat


def test_view_frame_and_box_are_those_of_the_peak(heat):
    found = place_of(heat, [view("a"), view("b"), view("c", read=False)])
    assert (found["view"], found["file"], found["frame"], found["time_ms"]) == (2, "b", 16, 1056.0)
    # cell (2, 1) is rows 32..48 and columns 16..32 of the picture: rows 20..40 and columns 20..40 of the file
    assert found["box"] == {"x": 20, "y": 20, "width": 20, "height": 20}
    total = heat.sum()
    assert found["weight"] == pytest.approx(heat[1].sum() / total, abs=1e-4)
    assert found["frame_weight"] == pytest.approx(heat[1, 1].sum() / total, abs=1e-4)
    assert found["even"] == 0.5 and set(found["views"]) == {"1", "2"}


def test_an_even_map_names_no_place(heat):
    heat[1, 1] = heat[1, 1].mean() * np.linspace(0.8, 1.2, 16).reshape(4, 4)
    found = place_of(heat, [view("a"), view("b"), view("c", read=False)])
    assert found["view"] == 2 and found["box"] is None and found["peak"] == 1.2


def test_the_box_takes_the_neighbours_of_half_the_peak_and_no_distant_cell():
    heat = np.zeros((4, 4))
    heat[1, 1], heat[1, 2], heat[2, 1], heat[3, 3] = 1.0, 0.6, 0.4, 0.9
    assert attention_box(heat, [40, 40, 0, 40, 0, 40]) == {"x": 10, "y": 10, "width": 20, "height": 10}


def test_the_box_ends_at_the_frame():
    heat = np.zeros((4, 4))
    heat[0, 0] = 1.0  # lies in the black above the frame of PLACE
    box = attention_box(heat, PLACE)
    assert box["y"] == 0 and box["height"] == 0 and box["width"] == 20


def test_cells_and_pixels_agree_at_the_edges():
    rows, columns = on_file(PLACE, (0, 4), (0, 4), (4, 4))
    assert rows == [-20.0, 60.0] and columns == [0.0, 80.0]


@pytest.mark.parametrize(
    ("step", "steps", "frames", "expected"), [(0, 2, 4, 1), (1, 2, 4, 3), (0, 1, 1, 0), (7, 8, 16, 15)]
)
def test_a_step_stands_for_the_middle_of_its_frames(step, steps, frames, expected):
    assert clip_frame(step, steps, frames) == expected


def test_nothing_looked_at_gives_no_place():
    assert place_of(np.zeros((2, 1, 2, 2)), [view("a"), view("b")]) == {}


def test_each_sentence_has_its_own_evidence(tokenizer):
    ids = tokenizer(REPORT)["input_ids"]
    stop = next(place for place, token in enumerate(tokenizer.convert_ids_to_tokens(ids)) if token == ".")
    attention = np.full((len(ids), 2, 2, 4, 4), 1e-3, np.float32)
    attention[: stop + 1, 0, 0, 2, 2] = 1.0
    attention[stop + 1 :, 1, 1, 1, 1] = 1.0
    first, second = sentence_evidence(tokenizer, ids, attention, [view("a"), view("b")])
    assert first["sentence"] == "Severe stenosis of the proximal LAD." and second["sentence"] == "The RCA is normal."
    assert (first["view"], first["frame"]) == (1, 12) and (second["view"], second["frame"]) == (2, 16)
    assert first["heat"].shape == (2, 2, 4, 4)


def test_what_holds_no_word_is_no_sentence(tokenizer):
    ids = tokenizer(". . the rca is normal. .", add_special_tokens=False)["input_ids"]
    attention = np.ones((len(ids), 1, 2, 4, 4), np.float32)
    found = sentence_evidence(tokenizer, ids, attention, [view("a")])
    assert [one["sentence"] for one in found] == ["The RCA is normal."]
