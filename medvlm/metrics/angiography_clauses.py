"""The clauses of an angiography report's sentence: doubts, collaterals and treatment go, exceptions stand alone."""

from __future__ import annotations

import re

_RESUMED = re.compile(
    r"(?:,|\b(?:and|but|while|whereas)\b)\s*(?:and\s+|but\s+)*"
    r"(?:there\s+(?:is|are)|(?:is|was|has)\b|(?:the|a|an)\s+(?:[\w-]+\s+){1,4}?(?:is|are|was|were|has|have|shows?)\b)",
    re.IGNORECASE,
)
"""Where a sentence goes on with a claim of its own."""
_COLLATERAL = re.compile(
    r"(?:[,(]|\b(?:with|but|which|that|fill\w*|receiv\w+|reconstitut\w+|opacif\w+|suppl\w+|giv\w+|provid\w+)\b"
    r"|\band\s+(?:(?:is|are|was|there|the)\b|(?=\w*(?:fill|receiv|reconstitut|suppl|giv|provid|collateral))))"
    r"(?:(?!%|occlu|stenos|lesion|normal|disease|patent|[,(]).){0,120}\bcollateral",
    re.IGNORECASE,
)
_TREATED = re.compile(
    r"(?:,?\s*\b(?:which|that|and))?\s+(?:was|were|has\s+been|had\s+been)\s+(?:(?:then|also|\w+ly)\s+)*stented\b.*$",
    re.IGNORECASE,
)
_LONG_AGO = re.compile(r"\b(?:previous\w*|prior|ago|old|past|(?:19|20)\d\d)\b", re.IGNORECASE)
_DOUBT = re.compile(
    r"\b(?:rule\s+out|ruling\s+out|r/o|(?<!as )(?<!if )possibl[ey]|questionable"
    r"|(?<!no )(?:suspected|suspicio\w+|concern\s+for)|(?:evaluate|assess|evaluation|assessment|look)\s+for)",
    re.IGNORECASE,
)
_DOUBTED = re.compile(
    r"\b(?:can\s?not|can't|could\s+not|couldn't|not|is|are|was|were|been)\s+(?:be\s+)?(?:\w+ly\s+)?"
    r"(?:excluded?|ruled?\s+out)\b",
    re.IGNORECASE,
)
_BEGINNING = re.compile(
    r"\b(?:but|however|although|though|while|whereas)\b|(?:,|\band\b)\s*(?=(?:and\s+)?(?:the|a|an|there)\b)",
    re.IGNORECASE,
)
_FAMILY = re.compile(
    r"\b(?:fathers?|mothers?|brothers?|sisters?|siblings?|parents|uncles?|aunts?|cousins?|sons?|daughters?|grand\w+"
    r"|family\s+(?:history|members?))\b",
    re.IGNORECASE,
)
_EXCEPT = r"\b(?:except(?:ing)?(?:\s+for)?|(?:apart|aside)\s+from|other\s+than|with\s+the\s+exception\s+of)\b"
_EXCEPTION = re.compile(rf"(?<=\w),?\s+{_EXCEPT}\s+(?=\w)", re.IGNORECASE)
_EXCEPTION_FIRST = re.compile(
    rf"^\s*{_EXCEPT}\s*(?P<exception>.+?),\s*(?P<main>(?:the|all|both|there|no|normal)\b.+)$", re.IGNORECASE
)


def claimed(sentence: str) -> str:
    """The sentence without what is only asked or suspected, said of relatives, or of collaterals and their donors.

    A lesion that "was stented" keeps what stands before these words, unless that was long ago.
    """
    if _FAMILY.search(sentence):
        return ""
    while doubted := _DOUBTED.search(sentence):
        beginnings = list(_BEGINNING.finditer(sentence, 0, doubted.start()))
        start = beginnings[-1].start() if beginnings else 0
        sentence = _cut(sentence, start, doubted.end())
    for clause in (_DOUBT, _COLLATERAL):
        while match := clause.search(sentence):
            sentence = _cut(sentence, match.start(), match.end())
    return sentence if _LONG_AGO.search(sentence) else _TREATED.sub("", sentence)


def exception_apart(sentence: str) -> tuple[str, str]:
    """The claim and its exception: "all vessels are normal", "80% mid RCA"; the exception may be empty."""
    first = _EXCEPTION_FIRST.match(sentence)
    if first:
        return first["main"], first["exception"]
    match = _EXCEPTION.search(sentence)
    return (sentence[: match.start()], sentence[match.end() :]) if match else (sentence, "")


def _cut(sentence: str, start: int, end: int) -> str:
    """Leave out from ``start`` to where the sentence goes on behind ``end``."""
    resumed = _RESUMED.search(sentence, end)
    return (sentence[:start] + (sentence[resumed.start() :] if resumed else "")).strip(" ,(")
