"""What is said of a volume of a whole head, where the network has learnt from extracted brains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NOT_EXTRACTED = (
    "Not brain-extracted, as it seems: the network has learnt from extracted brains, and outlines scalp and healthy "
    "brain in whole heads; extract the brain first"
)
EXTRACTED = (
    "A whole head: {ml:.0f} mL were taken for brain, by brightness and shape alone, and the network saw nothing else; "
    "look whether a part is missing, or extract the brain first"
)


def extraction_words(case: Mapping[str, Any]) -> str:
    """Caution about a volume by what ``transforms.ExtractBraind`` noted in its case.

    Args:
        case: ``whole_head`` and ``extracted_ml``; without them nobody looked.

    Returns:
        A sentence; empty where the brain was extracted before.
    """
    if case.get("extracted_ml"):
        return EXTRACTED.format(ml=case["extracted_ml"])
    return NOT_EXTRACTED if case.get("whole_head") else ""
