"""Reports that no learning is needed for: what a captioner has to beat."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medvlm.metrics.retrieval import text_key, top_matches

NORMAL_REPORT = (
    "Right dominant circulation. The left main is free of disease. The LAD is free of disease. The circumflex is free "
    "of disease. The RCA is free of disease. Normal coronary arteries."
)
"""Everything normal, in the words of a report."""


def constant_reports(n: int, text: str = NORMAL_REPORT) -> list[str]:
    """The same report for every study."""
    if not text.strip():
        raise ValueError("a constant report needs words, got an empty text.")
    return [text] * n


def nearest_reports(
    studies: np.ndarray, training: np.ndarray, reports: Sequence[str | None]
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """The report of the training study whose video looks most alike.

    Args:
        studies: ``(N, D)`` embeddings of the studies to report.
        training: ``(M, D)`` embeddings of the training studies.
        reports: ``(M,)`` their reports; studies without one are passed over.

    Returns:
        The texts, ``(N,)`` rows of the training studies they come from, and ``(N,)`` cosines.

    Raises:
        ValueError: lengths differ, or no training study has a report.
    """
    if len(training) != len(reports):
        raise ValueError(f"one report a training study is needed, got {len(reports)} for {len(training)}.")
    known = np.array([index for index, text in enumerate(reports) if text_key(text)], dtype=np.int64)
    if not len(known):
        raise ValueError("the nearest report needs training reports, got none.")
    index, cosine = top_matches(studies, np.asarray(training)[known], k=1)
    rows = known[index[:, 0]]
    return [str(reports[row]) for row in rows], rows, cosine[:, 0]
