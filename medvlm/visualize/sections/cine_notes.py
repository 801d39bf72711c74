"""How to read the report of a video-text network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medvlm.visualize.page import Markup, bullets, section
from medvlm.visualize.results import Panels, Rows, part

NOTES = (
    "Brackets hold 95% confidence intervals over patients: how far a value may move with other patients of the same "
    "kind. They say nothing about other hospitals, scanners or diseases.",
    "Hit@K asks whether a right item is among the first K, Recall@K which share of the right items is; papers call "
    "both recall. Ties count in expectation, so a network that gives every pair the same similarity scores "
    "exactly chance.",
    "Scores of retrieval depend on how many candidates there are: compare them only at the same number, or as "
    "multiples of chance.",
    "Zero-shot scores depend on the wordings; they were written down before, not chosen on these studies.",
    "Facts are read from text by rules that make errors of their own; the errors counted on real notes stand in the "
    "documentation. Both texts go through the same rules.",
    "The nearest-neighbour report is the written report of the training study whose video is most alike: what a "
    "captioner has to beat, together with the constant normal report.",
    "Research software: not a medical device, not for decisions about patients.",
)


def cine_reading(evaluation: Mapping[str, Any], rows: Rows, panels: Panels) -> Markup | None:
    """How to read the numbers, and what they do not say."""
    notes = list(NOTES)
    if not part(evaluation, "captioning", "facts"):
        notes = [note for note in notes if not note.startswith(("Facts", "The nearest"))]
    return section("reading", "How to read this, and its limits", bullets(notes))
