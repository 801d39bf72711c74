"""What a report's sentence says of a vessel: percentages, grades, occlusions, calcification, and their absence."""

from __future__ import annotations

import re
from typing import NamedTuple

from medvlm.coronary import SEVERITIES
from medvlm.metrics.angiography_places import Mention

GRADES = ("none", "unspecified", *SEVERITIES[1:])
"""From nothing to the worst; ``unspecified`` is disease without a grade."""

_NUMBER = r"\d{1,3}(?:\.\d+)?"
_PERCENT = (
    rf"(?P<bound>(?:less|greater|more)\s+than\s+|up\s+to\s+|over\s+|under\s+|at\s+least\s+|[<>]\s*=?\s*)?"
    rf"(?:(?P<low>{_NUMBER})\s*%?\s*(?:-|to)\s*)?(?P<high>{_NUMBER})\s*(?:%|percent\b|per\s+cent\b)"
)
_TOKENS = re.compile(
    "|".join(
        [
            rf"(?P<percent>{_PERCENT})",
            r"(?P<subtotal>\bsub-?\s?total(?:ed|ly)?(?:\s+(?:occlu\w+|closed))?|\bnear(?:ly)?[- ]occlu\w+|string sign)",
            r"(?P<occluded>\b(?:chronic(?:ally)?\s+)?(?:total(?:ly)?\s+)?occlu(?:ded|sions?)\b|\bcto\b|\bclosed\b)",
            r"(?P<severe>\b(?:severe(?:ly)?|high[- ]grade|critical(?:ly)?|tight)\b)",
            r"(?P<moderate>\b(?:mild\W+to\W+)?(?:moderate(?:ly)?|intermediate(?!\s+branch)|borderline)(?!\W+to\W+\w+)\b"
            r"(?!\W+(?:caliber|sized?|vessel)))",
            r"(?P<mild>\b(?:mild(?:ly)?|minor|minimal(?:ly)?|non-?\s?obstructive|insignificant|trivial)\b"
            r"(?!\W+to\W+(?:moderate|severe)))",
            r"(?P<free>\bfree\s+of\s+(?:any\s+|all\s+)?(?:significant\s+|obstructive\s+|angiographic(?:ally)?\s+)*"
            r"(?:disease|stenos[ie]s|atheroma\w*|plaque|narrowing|calcification|lesions?|obstruction)?)",
            r"(?P<normal>\b(?:angiographically\s+)?(?:normal(?!\s+(?:complement|caliber|left\s+ven|wall|ejection|size))"
            r"|unremarkable|patent|ok(?:ay)?\b|clean|clear|disease-free)\b|\blook(?:s|ed)\s+good\b)",
            r"(?P<irregular>\b(?:luminal|lumen|wall)\s+irregularit\w+|\birregularit\w+)",
            r"(?P<calcium>\b(?:non-?)?calci(?:fied|fications?|fic|um)\b)",
            r"(?P<noun>\b(?:stenos[ie]s|stenotic|stenosed|narrow(?:ing|ings|ed)|lesions?|diseased?|plaqu\w+|obstructi(?:on|ve)"
            r"|luminal\s+loss|cad|atheroma\w*|atherosclero\w+|restenosis|re-stenosis|ostium(?=$))\b)",
        ]
    ),
    re.IGNORECASE,
)
_NEGATION = re.compile(r"\b(?:no|not|without|absence\s+of|negative\s+for|nor|neither|never|denies)\b", re.IGNORECASE)
_BREAK = re.compile(
    r"\b(?:but|however|although|though|other\s+than|except|apart\s+from|aside\s+from|with(?!out)|which|that)\b|[,:]"
    r"(?!\s*(?:or|nor)\b)|\band\s+(?=(?:the|has|had|is|was|shows?|a|an|mild|moderate|severe|there)\b)",
    re.IGNORECASE,
)
ADJECTIVES = re.compile(
    r"^[\s-]*(?:(?:focal|large|small|long|discrete|diffuse|smooth|eccentric|complex)\s+)*$", re.IGNORECASE
)
"""All that may stand between a finding and a place that is its adjective."""
_WORD_GRADE = {"severe": "severe", "moderate": "moderate", "mild": "mild", "irregular": "mild", "subtotal": "severe"}
ELSEWHERE = re.compile(
    r"\b(?:aort(?:a|ic)|mitral|tricuspid|femoral|ventric\w+|lv\w*|ejection|ef|gradient|pressures?|wall\s+motion"
    r"|hypokin\w+|regurgitation|insufficiency|septal|bridging|iliac|renal|heart\s+disease|graft\w*)\b",
    re.IGNORECASE,
)
"""What is no coronary artery."""
_STRENGTH = {"percent": 4, "grade": 3, "irregular": 3, "normal": 3, "absent": 3, "ignored": 3, "noun": 1}
"""Which of the words of one finding decides its grade."""
_APART = re.compile(
    r"\band\b(?!\s+(?:sub|total))|[,;](?!\s*(?:estimated|approximately|about|smooth|eccentric|focal|\())|\bwith\b"
)


class Found(NamedTuple):
    """A finding in a sentence.

    Attributes:
        start: first character.
        end: character after the last.
        kind: ``percent``, ``noun``, ``irregular``, ``normal``, ``calcium``, or ``grade`` for an occlusion.
        value: one of ``GRADES``, empty for a percentage; ``yes`` or ``no`` for calcium.
        percent: lowest and highest diameter stenosis.
    """

    start: int
    end: int
    kind: str
    value: str
    percent: tuple[float, float] | None = None


def find_findings(text: str, mentions: list[Mention]) -> list[Found]:
    """Findings of a sentence in their order; words that speak of one finding are one."""
    raw = []
    for match in _TOKENS.finditer(text):
        kind = next(key for key, value in match.groupdict().items() if value and key not in ("bound", "low", "high"))
        if any(m.start <= match.start() < m.end for m in mentions):
            continue
        raw.append(_graded(kind, match, text))
    return _merged(text, [token for token in raw if token], mentions)


def _negated(text: str, start: int) -> bool:
    """Whether a negation reaches this place of the sentence."""
    last = None
    for match in _NEGATION.finditer(text, 0, start):
        last = match
    if last is None:
        return False
    between = text[last.end() : start]
    return not _BREAK.search(between) and len(between.split()) <= 9


def _graded(kind: str, match: re.Match, text: str) -> Found | None:
    start, end = match.span()
    no = _negated(text, start)
    if kind == "percent":
        high = float(match["high"])
        low = float(match["low"] or high)
        bound = (match["bound"] or "").strip().lower()
        if bound[:4] in ("less", "unde") or bound[:1] == "<":
            low = 0.0
        elif bound and not bound.startswith("up"):
            high = 99.0 if high < 100 else 100.0
        if not 0 <= low <= high <= 100:
            return None
        return Found(start, end, "normal", "none") if no else Found(start, end, "percent", "", (low, high))
    if kind == "calcium":
        return Found(start, end, "calcium", "no" if no or match["calcium"].lower().startswith("non") else "yes")
    if kind == "free":
        if "calcif" in match["free"].lower():
            return Found(start, end, "calcium", "no")
        return Found(start, end, "normal", "none")
    if kind == "normal":
        other = ELSEWHERE.search(text[end : end + 24])
        return None if no or other else Found(start, end, "normal", "none")
    if no:
        kept = kind in ("noun", "irregular", "occluded")
        return Found(start, end, "absent" if kept else "ignored", "none")
    if kind == "occluded":
        return Found(start, end, "grade", "occluded")
    if kind == "noun":
        return Found(start, end, "noun", "unspecified")
    value = _WORD_GRADE[kind]
    return Found(start, end, "irregular" if kind in ("irregular", "subtotal") else "grade", value)


def _merged(text: str, tokens: list[Found], mentions: list[Mention]) -> list[Found]:
    """Join the words of one finding; a grade without a noun ("moderate") is none, but for an occlusion."""
    out: list[Found] = []
    for token in tokens:
        last = out[-1] if out else None
        if last is None or not _belong(text, last, token, mentions):
            out.append(token)
            continue
        best = max(last, token, key=lambda t: (_STRENGTH[t.kind], GRADES.index(t.value) if t.value else 0))
        if last.kind in ("normal", "absent", "ignored"):
            best = last
        named = {last.kind, token.kind} & {"noun", "irregular"}
        kind = "noun" if named and best.kind == "grade" else best.kind
        between = any(last.end <= m.start < token.start for m in mentions)
        out[-1] = best._replace(start=last.start, end=last.end if between else token.end, kind=kind)
    out = [t._replace(kind="normal") if t.kind == "absent" else t for t in out]
    return [t for t in out if t.kind != "ignored" and not (t.kind == "grade" and t.value != "occluded")]


def _belong(text: str, last: Found, token: Found, mentions: list[Mention]) -> bool:
    """Whether two words speak of one finding: near each other, with at most the place between grade and noun."""
    kinds = {last.kind, token.kind}
    if "calcium" in kinds or token.kind == "normal" or not kinds & {"noun", "percent", "grade", "ignored"}:
        return False
    gap = text[last.end : token.start]
    between = [m for m in mentions if last.end <= m.start < token.start]
    others = len(gap.split()) - sum(len(text[m.start : m.end].split()) for m in between)
    if others > (2 if between else 5) or _APART.search(gap):
        return False
    if not between:
        return True
    beside = ADJECTIVES.match(text[last.end : between[0].start])  # "90% circumflex lesion"
    return token.kind == "noun" and last.kind in ("percent", "grade", "ignored") and bool(beside)
