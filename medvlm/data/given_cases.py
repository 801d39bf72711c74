"""Cases that are given boxes or a teacher's features: refuse a section without any; what a tokenizer has to know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from medvlm.data.datalists import load_datalist


def cases_with_boxes(datalist: str | Path, section: str = "training") -> list[dict]:
    """Load a section of a datalist that box tasks are to be learnt from; cases without boxes are kept.

    Raises:
        ValueError: if none of its cases has a box.
    """
    cases = load_datalist(datalist, section)
    if not any(case.get("boxes") for case in cases):
        raise ValueError(
            f"the objective 'boxes' needs boxes, and none of the {len(cases)} cases in {section} of {datalist} has "
            "any; prepare a data set that has them (arcade, cadica), add `boxes` to the cases (docs/training.md), or "
            "take 'boxes' out of objectives and loss_weights and set captioner::box_bins to 0."
        )
    return cases


def cases_with_teacher(datalist: str | Path, section: str = "training") -> list[dict]:
    """Load a section of a datalist whose cases name a teacher's features; cases without are kept.

    Raises:
        ValueError: if none of its cases has any.
    """
    cases = load_datalist(datalist, section)
    if not any(case.get("teacher") for case in cases):
        raise ValueError(
            f"distillation needs a teacher, and none of the {len(cases)} cases in {section} of {datalist} has features "
            "under `teacher`; add them (docs/training.md), or take an EMA teacher (ema_teacher.json)."
        )
    return cases


def texts_with_phrases(
    datalist: str | Path, section: str = "training", phrases: Mapping[str, str] | None = None
) -> list[str]:
    """Reports of a section and the phrases of its boxes, for a tokenizer that is to write both."""
    cases = load_datalist(datalist, section)
    reports = [case["report"] for case in cases if case.get("report")]
    return reports + sorted(_phrases(cases, phrases or {}))


def _phrases(cases: list[dict], phrases: Mapping[str, str]) -> Iterator[str]:
    for case in cases:
        for box in case.get("boxes") or ():
            name = str(box.get("name") or "lesion")
            yield phrases.get(name, name.replace("_", " "))
