"""The sentences of an angiography report that describe coronary arteries, without technique, history and treatment."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from medvlm.metrics.angiography_clauses import claimed, exception_apart

_LIST = re.compile(r"(?:^|(?<=[\n.,;:]))\s*(?:\d{1,2}|[IVX]{1,4}|[A-Ha-h])[.)]\s*,?\s*(?=[A-Z])")
_HEADING = re.compile(
    r"(?:^|(?<=[\n.,;:]))[ \t]*(?:(?P<colon>[A-Z][A-Z0-9/&()' -]{1,70}?)[ \t]*:"
    r"|(?P<comma>FINDINGS|CONCLUSIONS?|DIAGNOS[EI]S|IMPRESSION|PLAN|MEDICATIONS|SUMMARY(?: OF RESULTS)?"
    r"|RESULTS(?: OF PROCEDURE)?|HEMODYNAMICS|CORONARY (?:ARTERIOGRAPHY|ANGIOGRAPHY)|RIGHT CORONARY ARTERY)"
    r"(?=\s*,|\s*\n))"
)
_SKIPPED = (
    r"indication|history|procedure|technique|plan|recommend|consent|narrative|description|approach|access|an[a]?esthesia"
    r"|complication|medication|contrast|fluoro|blood loss|aortogram|aortic|graft|mammary|reason for|exam|catheters?"
    r"|anticoag|stent|closure|angioplasty|discussion|sedation|preoperative"
)
_SKIPPED_HEADING = re.compile(_SKIPPED, re.IGNORECASE)
_KEPT_HEADING = re.compile(r"finding|results?\b|summary|impression|conclusion|coronar|anatomy", re.IGNORECASE)
_CLOSING = re.compile(r"impression|conclusion|summary|diagnos", re.IGNORECASE)
_SKIPPED_START = re.compile(rf"^\s*(?:{_SKIPPED})\w*(?:\s\w+){{0,3}}\s*:", re.IGNORECASE)
_CLOSING_START = re.compile(r"^\s*(?:impression|conclusions?|summary|diagnos[ei]s)\s*:\s*", re.IGNORECASE)
_END = re.compile(r"(?<!\d)\.(?!\d)|(?<=\d)\.(?=\s|,|$)|[;\n]")
_TREATMENT = re.compile(
    r"\b(?:wires?|guidewires?|balloon\w*|inflat\w+|deploy\w+|cannulat\w+|sheath\w*|atmospheres?|engaged?|advanced|stented"
    r"|stenting|pci|intervention\w*|re-?dilat\w+|dilated|pre-?dilat\w*|post-?dilat\w*|angioplasty|residual|guide|injections?"
    r"|graft\w*|svg|lima|rima|mammary|bypass|catheter\w*|excised|arth?rectomy|perclose|angio-?seal|salvage|dissection)\b",
    re.IGNORECASE,
)
_TAIL = re.compile(
    r",?\s*(?:that we treated|which was treated|treated with|that was treated|amenable|that supplies|consistent with"
    r"|with TIMI|TIMI|in an attempt|this resulted|that did not change).*$",
    re.IGNORECASE,
)
_BARE_NUMBER = re.compile(
    r"\b(\d{1,3})(?=(?:\s*,\s*\d{1,3}){0,5}\s*,?\s*and\s+\d{1,3}\s*%[^.%]{0,80}\brespectively)", re.IGNORECASE
)
"""A percentage of a list whose sign stands behind the last: "30, 50 and 90% respectively"."""
_COLLATERAL = re.compile(r"\bcollateral", re.IGNORECASE)


@dataclass(frozen=True)
class Sentence:
    """A sentence and where it stands.

    Attributes:
        text: without what follows about treatment.
        heading: words in front of a colon that lead its paragraph, or "".
        closing: in an impression or a conclusion, which sums up what stood before.
        new_paragraph: the first after a heading.
        excepted: words of the sentence behind "except for", which follow as a sentence of their own.
    """

    text: str
    heading: str
    closing: bool
    new_paragraph: bool
    excepted: str = ""


def coronary_sentences(report: str) -> list[Sentence]:
    """Sentences that may hold findings.

    Sections on indication, technique, treatment and plan are left out where headings in capitals (or, within prose, a
    word with a colon) mark them; so are sentences on wires, balloons, stents being placed, and grafts, and clauses on
    collaterals, doubts and relatives.

    Args:
        report: raw text.
    """
    text = (
        unicodedata.normalize("NFKC", report).replace("\u2019", "'").translate({0x2013: "-", 0x2014: "-", 0x2212: "-"})
    )
    text = re.sub(r"_{2,}", " ", text)
    text = _BARE_NUMBER.sub(r"\1%", text)
    text = _LIST.sub("\n", text)
    marks = list(_HEADING.finditer(text))
    bounds = [m.start() for m in marks] + [len(text)]
    parts = [("", text[: bounds[0]])]
    parts += [
        ((m["colon"] or m["comma"]).strip(), text[m.end() : end]) for m, end in zip(marks, bounds[1:], strict=True)
    ]
    out: list[Sentence] = []
    closing = False
    for heading, body in parts:
        if heading and _SKIPPED_HEADING.search(heading) and not _KEPT_HEADING.search(heading):
            continue
        if re.search(r"graft|mammary|angioplasty|aort|procedures?\b(?!.*result)|preoperative", heading, re.IGNORECASE):
            if not re.search(r"results", heading, re.IGNORECASE):
                continue
        closing = bool(_CLOSING.search(heading)) if heading else closing
        first = True
        for raw in _END.split(body):
            sentence = raw.strip(" ,:\t")
            if not sentence or _SKIPPED_START.match(sentence):
                continue
            end_part = _CLOSING_START.match(sentence)
            text_only = _TAIL.sub("", claimed(sentence[end_part.end() :] if end_part else sentence))
            if not text_only or _TREATMENT.search(text_only) or _COLLATERAL.search(text_only):
                continue
            main, excepted = exception_apart(text_only)
            out.append(Sentence(main, heading, closing or bool(end_part), first, excepted))
            if excepted:
                out.append(Sentence(excepted, heading, closing or bool(end_part), False))
            first = False
    return out
