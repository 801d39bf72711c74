"""Where a report says something: segments, vessels and branches of the coronary tree, found in a sentence."""

from __future__ import annotations

import re
from dataclasses import dataclass

from medvlm.coronary import SEGMENTS

VESSELS = ("LAD", "LCX", "RCA")
BRANCHES = ("diagonal", "marginal")
"""Branches without a number, or beyond the second."""
TREE = ("left_main", *VESSELS)
VESSEL_OF = {s.name: "left_main" if s.vessel == "LM" else s.vessel for s in SEGMENTS} | {
    "diagonal": "LAD",
    "marginal": "LCX",
    **{vessel: vessel for vessel in TREE},
}
"""Every place -> one of ``TREE``."""

_PORTION_SEGMENT = {
    ("LAD", "proximal"): "proximal_lad", ("LAD", "mid"): "mid_lad", ("LAD", "distal"): "distal_lad",
    ("LCX", "proximal"): "proximal_lcx", ("LCX", "mid"): "distal_lcx", ("LCX", "distal"): "distal_lcx",
    ("RCA", "proximal"): "proximal_rca", ("RCA", "mid"): "mid_rca", ("RCA", "distal"): "distal_rca",
}  # fmt: skip
TRUNK = frozenset(_PORTION_SEGMENT.values())
"""Segments of a vessel itself, branches left out."""

_ONE = (
    r"proximal(?:ly)?|prox|osti(?:al|um)|osteal|origin|mid(?:dle)?(?=$|\W|portion|segment|vessel|third)|distal(?:ly)?"
    r"|dist|apical"
)
_JOIN = r"\s*(?:,|/|-|to|through|and|and\s+the|or)\s*"
_NOUN = r"(?:\s*-?\s*(?:portions?|segments?|thirds?|parts?|aspects?|half|vessel(?!s)))?"
_PORTION = rf"(?P<portion>\b(?:{_ONE})(?:{_NOUN}{_JOIN}(?:{_ONE}))*{_NOUN}(?!\s+to\s+the\b)\b)"
_SIZE = (
    r"(?:(?:very|large|small|tiny|big|high|moderate|moderate-to-large|sized?|caliber|native|entire|whole|early"
    r"|(?:non-?\s?)?dominant)\s+)*"
)
_ORDINALS = {
    "first": 1, "1st": 1, "second": 2, "2nd": 2, "third": 3, "3rd": 3, "fourth": 4, "4th": 4, "1": 1, "2": 2, "3": 3,
    "4": 4, "i": 1, "ii": 2, "iii": 3, "iv": 4,
}  # fmt: skip
_ORDINAL = r"first|second|third|fourth|1st|2nd|3rd|4th"
_NUMBER = r"[1-4]\b|i{1,3}\b|iv\b"
_VESSEL_WORDS = {
    "left_main": r"left\s+main(?:\s+(?:trunk|stem))?(?:\s+coronary)?(?:\s+artery)?|\blmca\b|\blms\b|\blm\b",
    "LAD": r"(?:left\s+)?anterior\s+descending(?:\s+coronary)?(?:\s+artery)?(?:\s+system)?"
    r"|left\s+descending(?:\s+coronary)?(?:\s+artery)?|\blad\b(?:\s+(?:system|artery|territory))?",
    "LCX": r"(?:left\s+)?circumflex(?:\s+coronary)?(?:\s+artery)?(?:\s+(?:system|vessel))?|\bl?cx\b|\bcirc\b",
    "RCA": r"right\s+coronary(?:\s+artery)?(?:\s+system)?|\brca\b|(?<=dominant )right\b(?!\s+(?:coronary|circ|sys))",
}
_NUMBERED = {
    "diagonal": rf"(?P<diagonal>(?:(?P<d1>(?:{_ORDINAL})(?:\s*(?:,|and|&)\s*(?:{_ORDINAL}))*)\s+{_SIZE})?"
    rf"(?:diagonals?|anterolateral)(?:\s+branch(?:es)?)?(?:\s*-?\s*(?P<d2>{_NUMBER}))?|\bd-?\s?(?P<d3>[1-4])\b)",
    "marginal": rf"(?P<marginal>(?:(?P<m1>(?:{_ORDINAL})(?:\s*(?:,|and|&)\s*(?:{_ORDINAL}))*)\s+{_SIZE})?"
    r"(?:obtuse[\s,]*)?(?<!acute )(?<!rv )marginals?(?:\s+(?:branch(?:es)?|vessels?))?"
    rf"(?:\s*-?\s*(?P<m2>{_NUMBER}))?|\bom-?\s?(?P<m3>[1-4])?\b)",
}
_SIMPLE = {
    "ramus": r"ramus(?:\s+intermedius)?(?:\s+branch)?|intermedi(?:ate|us)\s+branch|\bri\b(?!\w)",
    "lcx_pda": r"left\s+posterior\s+descending(?:\s+artery)?|left\s+pda|\blpda\b",
    "rca_pda": r"(?:right\s+)?posterior\s+descending(?:\s+(?:coronary\s+)?(?:artery|branch))?|(?:right\s+)?\bpda\b"
    r"|\brpda\b",
    "lcx_posterolateral": r"left\s+(?:poster(?:o|ior)[\s-]?lateral|pl)(?:\s+branch)?|\blpl\b",
    "rca_posterolateral": r"(?:right\s+)?poster(?:o|ior)[\s-]?lateral(?:\s+(?:branch(?:es)?|artery|segment))?"
    r"|posterior\s+(?:left\s+)?ventricular\s+branch|(?:right\s+)?\b(?:plv|plb?|plsa)\b(?:\s+branch)?|\brpl[vb]?\b",
}
_SHORT = {"p": "proximal", "m": "mid", "d": "distal"}
_GROUPS = {
    "left": r"left\s+coronary(?:\s+(?:arter(?:y|ies)|system|tree))|left\s+system",
    "all": r"coronary\s+(?:arter(?:y|ies)|tree|system|circulation|vessels|anatomy|angiogram)(?!\s+main)|coronaries"
    r"|\bcoronary(?=\s+(?:artery\s+)?(?:disease|stenos[ie]s|calcif|lesions?|obstruction|atheroscl))"
    r"|epicardial\s+(?:vessels|arteries)|(?:all|other|remaining|three|major)\s+(?:\w+\s+)?vessels"
    r"|\b(?:single|one|two|three|double|triple|multi)-?\s?vessel(?!s)",
}
_PLACE = re.compile(
    r"(?P<whole>"
    + "|".join(
        [
            r"\b(?P<short>[pmd])(?P<short_vessel>lad|rca|lcx)\b",
            *(f"(?P<{name}>{words})" for name, words in _SIMPLE.items()),
            *_NUMBERED.values(),
            *(f"(?P<{name}>{words})" for name, words in _VESSEL_WORDS.items()),
            r"(?P<groove>av\s+(?:groove|sulcus|trunk)(?:\s+(?:circumflex|branch))?(?:\s+branch)?)",
            *(f"(?P<{name}>{words})" for name, words in _GROUPS.items()),
        ]
    )
    + r")",
    re.IGNORECASE,
)
_PORTION_ALONE = re.compile(_PORTION, re.IGNORECASE)
_OF = re.compile(rf"^\s*(?:{_NOUN}\s*)?(?:of|in)\s+(?:the|this|a)?\s*{_SIZE}$", re.IGNORECASE)
_IN_ITS = re.compile(r"^\s*,?\s*(?:in|at|along)\s+its\s+$", re.IGNORECASE)
_BEFORE = re.compile(rf"^[\s-]*{_SIZE}$", re.IGNORECASE)


@dataclass(frozen=True)
class Mention:
    """A place in a sentence.

    Attributes:
        start: first character.
        end: character after the last.
        places: names of segments, vessels or branches; empty for a portion whose vessel is said elsewhere.
        portions: ``proximal``, ``mid``, ``distal``.
        everything: the coronary tree as a whole.
    """

    start: int
    end: int
    places: tuple[str, ...]
    portions: tuple[str, ...] = ()
    everything: bool = False


def find_places(sentence: str) -> list[Mention]:
    """Every place that a sentence names, in its order; a portion joins the vessel next to it."""
    vessels = [_mention(match) for match in _PLACE.finditer(sentence)]
    taken = [(mention.start, mention.end) for mention in vessels]
    out, used = list(vessels), set()
    for match in _PORTION_ALONE.finditer(sentence):
        start, end = match.span()
        if any(start < stop and begin < end for begin, stop in taken):
            continue
        portions = _portions(match["portion"])
        after = next((n for n, m in enumerate(out) if m.start >= end), None)
        if after is not None and after not in used and not out[after].everything:
            gap = sentence[end : out[after].start]
            if _BEFORE.match(gap) or _OF.match(gap):
                out[after] = in_portions(out[after], portions, start)
                used.add(after)
                continue
        owner = next((n for n, m in enumerate(out) if m.places and _IN_ITS.match(sentence[m.end : start])), None)
        if owner is not None and owner not in used and not out[owner].everything:
            out[owner] = in_portions(out[owner], portions)  # "the LAD in its mid segment"
            used.add(owner)
            continue
        out.append(Mention(start, end, (), portions))
        out.sort(key=lambda mention: mention.start)
        used = {n + (out[n].start > start) for n in used} if used else used
    return sorted(out, key=lambda mention: mention.start)


def portion_of(place: str, portions: tuple[str, ...]) -> tuple[str, ...]:
    """Segments of a place's vessel in these portions; a branch, and the left main, is itself."""
    vessel = VESSEL_OF[place]
    if place in VESSELS or (place, vessel) == ("distal_lcx", "LCX") or place in _PORTION_SEGMENT.values():
        named = [_PORTION_SEGMENT[vessel, portion] for portion in portions]
        return tuple(dict.fromkeys(named)) or (place,)
    return (place,)


def in_portions(mention: Mention, portions: tuple[str, ...], start: int | None = None) -> Mention:
    """The same mention, its vessels narrowed to portions; it may begin earlier, where these stand."""
    places = [found for place in mention.places for found in portion_of(place, portions)]
    start = mention.start if start is None else start
    return Mention(start, mention.end, tuple(dict.fromkeys(places)), portions)


def _portions(text: str) -> tuple[str, ...]:
    text = text.lower()
    found = []
    for word in re.findall(_ONE, text):
        kind = {"o": "proximal", "p": "proximal", "m": "mid"}.get(word[0], "distal")
        found.append(kind)
    if re.search(r"proximal\W*(?:to|through)\W*distal", text):
        found = ["proximal", "mid", "distal"]
    return tuple(dict.fromkeys(found))


def _mention(match: re.Match) -> Mention:
    start, end = match.span()
    found = match.groupdict()
    if found["short"]:
        return Mention(start, end, portion_of(found["short_vessel"].upper(), (_SHORT[found["short"].lower()],)))
    for kind, letter in (("diagonal", "d"), ("marginal", "m")):
        if found[kind]:
            words = " ".join(found[f"{letter}{n}"] or "" for n in (1, 2, 3)).lower()
            numbers = [_ORDINALS[word] for word in re.findall(r"\w+", words) if word in _ORDINALS]
            places = [f"{kind}_{n}" if n <= 2 else kind for n in numbers] or [kind]
            return Mention(start, end, tuple(dict.fromkeys(places)))
    if found["groove"]:
        return Mention(start, end, ("distal_lcx",))
    if found["all"]:
        return Mention(start, end, TREE, everything=True)
    if found["left"]:
        return Mention(start, end, ("left_main", "LAD", "LCX"))
    name = next(key for key in (*_SIMPLE, *_VESSEL_WORDS) if found[key])
    return Mention(start, end, (name,))
