"""Sections of the report, in their order.

A section is a function ``section(evaluation, rows, panels) -> Markup | None``; None leaves it out. It says in words
what is absent, and computes no score. A bundle adds its own to ``SECTIONS``, built with ``medvlm.visualize.page``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from medvlm.visualize.page import Markup
from medvlm.visualize.sections.audit import ablation, confounding, confounding_reading
from medvlm.visualize.sections.cases import agreement, all_cases, worst
from medvlm.visualize.sections.classes import calibration, classification
from medvlm.visualize.sections.masks import segmentation
from medvlm.visualize.sections.notes import provenance, reading
from medvlm.visualize.sections.summary import summary

__all__ = ["SECTIONS", "Section", "confounding_reading"]

Section = Callable[[Mapping[str, Any], Sequence[Mapping[str, Any]], Mapping[str, bytes]], Markup | None]

SECTIONS: tuple[Section, ...] = (
    summary,
    segmentation,
    classification,
    calibration,
    confounding,
    ablation,
    agreement,
    worst,
    all_cases,
    reading,
    provenance,
)
