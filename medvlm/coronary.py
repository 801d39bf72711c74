"""The words of coronary angiography that data, networks' targets and metrics share: segments, vessels, severities."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DOMINANCE", "SEGMENTS", "SEVERITIES", "Segment", "segment_named", "severity"]


@dataclass(frozen=True)
class Segment:
    """One of the 18 segments that an angiography table scores.

    Attributes:
        name: key of columns and targets, for instance ``proximal_lad`` in ``proximal_lad_stenosis``.
        vessel: ``LM``, ``LAD``, ``LCX`` or ``RCA``.
        phrase: how a report writes it, without an article.
        synonyms: other wordings, lower case, longest first.
    """

    name: str
    vessel: str
    phrase: str
    synonyms: tuple[str, ...]


SEGMENTS: tuple[Segment, ...] = (
    Segment("left_main", "LM", "left main", ("left main coronary artery", "left main stem", "lmca", "lms", "lm")),
    Segment(
        "proximal_lad", "LAD", "proximal LAD", ("proximal left anterior descending", "prox lad", "plad", "ostial lad")
    ),
    Segment("mid_lad", "LAD", "mid LAD", ("mid left anterior descending", "mid-lad", "mlad", "middle lad")),
    Segment("distal_lad", "LAD", "distal LAD", ("distal left anterior descending", "dist lad", "dlad", "apical lad")),
    Segment("diagonal_1", "LAD", "first diagonal", ("first diagonal branch", "diagonal 1", "1st diagonal", "d1")),
    Segment("diagonal_2", "LAD", "second diagonal", ("second diagonal branch", "diagonal 2", "2nd diagonal", "d2")),
    Segment("ramus", "LCX", "ramus intermedius", ("intermediate branch", "ramus branch", "ramus", "ri")),
    Segment(
        "proximal_lcx", "LCX", "proximal circumflex", ("proximal left circumflex", "proximal lcx", "prox lcx", "plcx")
    ),
    Segment(
        "distal_lcx", "LCX", "distal circumflex", ("distal left circumflex", "distal lcx", "mid circumflex", "mid lcx")
    ),
    Segment("marginal_1", "LCX", "first obtuse marginal", ("obtuse marginal 1", "first marginal", "om 1", "om1")),
    Segment("marginal_2", "LCX", "second obtuse marginal", ("obtuse marginal 2", "second marginal", "om 2", "om2")),
    Segment("lcx_pda", "LCX", "left posterior descending", ("left pda", "lpda")),
    Segment("lcx_posterolateral", "LCX", "left posterolateral", ("left pl branch", "lpl")),
    Segment(
        "proximal_rca", "RCA", "proximal RCA", ("proximal right coronary artery", "prox rca", "prca", "ostial rca")
    ),
    Segment("mid_rca", "RCA", "mid RCA", ("mid right coronary artery", "mid-rca", "mrca", "middle rca")),
    Segment("distal_rca", "RCA", "distal RCA", ("distal right coronary artery", "dist rca", "drca")),
    Segment("rca_pda", "RCA", "posterior descending", ("posterior descending artery", "right pda", "rpda", "pda")),
    Segment("rca_posterolateral", "RCA", "posterolateral branch", ("right posterolateral", "rpl", "posterolateral")),
)
"""In the order of the columns."""

SEVERITIES = ("none", "mild", "moderate", "severe", "occluded")
"""0%; 1 to 49%; 50 to 70%; over 70% (the convention of the validation tables); 100%."""

DOMINANCE = ("right", "left", "codominant")
"""Index = value of the target ``dominance``."""


def severity(percent: float) -> str:
    """Return the class of a diameter stenosis.

    Args:
        percent: 0 to 100.

    Raises:
        ValueError: outside 0..100, or NaN.
    """
    if not 0 <= percent <= 100:
        raise ValueError(
            f"a stenosis must lie in 0..100 percent, got {percent}; a fraction is multiplied by 100 first."
        )
    if percent == 0:
        return "none"
    if percent < 50:
        return "mild"
    if percent <= 70:
        return "moderate"
    return "severe" if percent < 100 else "occluded"


def segment_named(name: str) -> Segment:
    """Return the segment of a column's name.

    Raises:
        KeyError: no such segment.
    """
    for segment in SEGMENTS:
        if segment.name == name:
            return segment
    raise KeyError(f"segments are {', '.join(s.name for s in SEGMENTS)}; got {name!r}.")
