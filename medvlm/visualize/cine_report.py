"""The HTML report of a video-text network: the sections of angiography studies in the house's page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medvlm.visualize.report import write_report
from medvlm.visualize.sections.cine_boxes import boxes
from medvlm.visualize.sections.cine_captions import captions, clinical_facts
from medvlm.visualize.sections.cine_notes import cine_reading
from medvlm.visualize.sections.cine_retrieval import retrieval, runs, zero_shot
from medvlm.visualize.sections.cine_studies import all_studies, looked, retrieved_reports
from medvlm.visualize.sections.cine_summary import cine_summary, unreadable
from medvlm.visualize.sections.notes import provenance

CINE_SECTIONS = (
    cine_summary,
    retrieval,
    zero_shot,
    captions,
    clinical_facts,
    boxes,
    runs,
    retrieved_reports,
    looked,
    unreadable,
    all_studies,
    cine_reading,
    provenance,
)


def write_cine_report(
    evaluation: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    out: str | Path,
    panels: Mapping[str, bytes] | None = None,
) -> Path:
    """Write the report of an evaluated video-text network.

    Args:
        evaluation: what ``evaluation.json`` holds.
        rows: of ``cases.csv``.
        out: the file, or a folder that gets ``report.html``.
        panels: ``"views CASE"``, ``"found CASE"`` and ``"looked CASE"`` to PNG, of the studies under ``examples``.

    Returns:
        The path of the file.
    """
    return write_report(evaluation, rows, out, panels, sections=CINE_SECTIONS)
