"""Which place of a sentence a finding belongs to."""

from __future__ import annotations

import re
from typing import NamedTuple

from medvlm.coronary import severity
from medvlm.metrics.angiography_findings import ADJECTIVES, Found
from medvlm.metrics.angiography_places import Mention, in_portions, portion_of

_LANDMARK = re.compile(
    r"\b(?:(?:giv(?:es?|ing)|gave)\s+(?:off|rise\s+to)|supply\w*|supplies|(?:bi|tri)furcat\w+\s+in\s?to|bifurcates"
    r"|divid\w+\s+into|consisting\s+of|continu\w+\s+as|becom\w+|(?:prior\s+to|before|after(?!\s+(?:this|that)\b)|beyond|past|pass"
    r"|distal\s+to|proximal\s+to|between|above|below|until|up\s+to|near|at\s+the\s+(?:level|take-?\s?off|bifurcation"
    r"|crux|branching|junction))|extension\s+of\s+the\s+lesion\s+in|continuation\s+of|runoff|territory\s+of)\b",
    re.IGNORECASE,
)
_LANDMARK_END = re.compile(
    r"[,:;]|\b(?:demonstrat\w+|ha[sd]|shows?|showed|with|is|was|there|and\s+it|which|that|resulting)\b|\d+\s*%",
    re.IGNORECASE,
)
_LINK = re.compile(
    r"(?:^|\s)(?:in|of|at|involving|within|along|throughout|affecting|to|on|for|through)\s+(?:the\s+|its\s+|a\s+|this\s+|all\s+"
    r"|both\s+|either\s+|any\s+)*(?:[\w-]+\s+){0,3}$",
    re.IGNORECASE,
)
_VERB = re.compile(
    r"\b(?:(?:is|are|was|were)(?!\s+(?:\w+ly\s+)?(?:seen|noted|present|identified|found|visible|evident|demonstrated))"
    r"|has|have|had|shows?|showed|and|with|but)(?:\s|$)|,",
    re.IGNORECASE,
)
_ENUMERATION = re.compile(
    r"^\s*(?:,|/|&|\band\b|\bn?or\b|\bas\s+well\s+as\b|,\s*and\b|,\s*n?or\b)\s*(?:the\s+|its\s+|in\s+the\s+|of\s+the\s+)*$",
    re.IGNORECASE,
)
_PROMOTED = re.compile(r"\s+(?:that|which|who)\s+(?:has|have|had|shows?|showed|demonstrat)")
_SHARED = re.compile(r"\s*(?:,|and|or)\s*(?:an?\s+)?")
_ALSO = re.compile(r"\s*(?:as well as|and also)\s+(?:in\s+)?(?:the\s+)?")
_RESPECTIVELY = re.compile(r"\brespectively\b", re.IGNORECASE)
_LABEL = re.compile(r"^\s*[:=-]?\s*$")
_NOUN_OF = re.compile(r"\s*(?:stenos[ie]s|lesions?|narrowing|disease|plaque)\s+(?:in|of)\s+(?:the\s+)?")


class Link(NamedTuple):
    """A finding with its places.

    Attributes:
        kind: ``stenosis`` or ``calcification``.
        value: a grade, or ``yes`` / ``no``.
        percent: lowest and highest diameter stenosis.
        places: segments, vessels or branches.
        everything: it is said of the coronary tree as a whole.
    """

    kind: str
    value: str
    percent: tuple[float, float] | None
    places: tuple[str, ...]
    everything: bool


def without_landmarks(text: str, mentions: list[Mention]) -> list[Mention]:
    """Leave out places that only say where another one is ("before the takeoff of the first diagonal")."""
    spans = []
    for match in _LANDMARK.finditer(text):
        end = _LANDMARK_END.search(text, match.end())
        spans.append((match.start(), end.start() if end else len(text)))

    def only_says_where(mention: Mention) -> bool:
        return any(start < mention.start < end for start, end in spans) and not _PROMOTED.match(text[mention.end :])

    return [mention for mention in mentions if not only_says_where(mention)]


def link(text: str, tokens: list[Found], mentions: list[Mention], context: tuple[str, ...]) -> list[Link]:
    """Give each finding its places.

    They are those after it that a preposition joins, else those before it, else the ones that the sentence before
    spoke of.

    Args:
        text: the sentence.
        tokens: its findings.
        mentions: its places, landmarks left out.
        context: places of the sentence before.
    """
    out = []
    in_order = _in_order(text, tokens, mentions, context)
    table = _is_table(text, tokens, mentions, context)
    for number, token in enumerate(tokens):
        if token in in_order and not in_order[token]:
            continue
        following = tokens[number + 1] if number + 1 < len(tokens) else None
        group = _group(text, token, following, mentions, table)
        places, everything = _resolve(group, token, mentions, context)
        if token in in_order:
            places, everything = in_order[token], False
        kind = "calcification" if token.kind == "calcium" else "stenosis"
        value = token.value
        if token.percent:
            value = "occluded" if token.percent[1] == 100 else severity(sum(token.percent) / 2)
        if not everything or value in ("none", "no"):  # "three-vessel disease" says nothing of a place
            out.append(Link(kind, value, token.percent, places, everything))
    return out


def _in_order(
    text: str, tokens: list[Found], mentions: list[Mention], context: tuple[str, ...]
) -> dict[Found, tuple[str, ...]]:
    """The place of each finding that "respectively" gives to as many places, one to one.

    Where the numbers differ ("mild and severe disease, respectively"), it is not known which is where: no place.
    """
    word = _RESPECTIVELY.search(text)
    if not word:
        return {}
    diseased = [token for token in tokens if token.kind not in ("normal", "calcium") and token.start < word.start()]
    named = [m for m in mentions if m.start < word.start() and not m.everything]
    places = [place for m in named for place in m.places]
    owner = places[:1] or list(context[:1])
    portions = [place for m in named if not m.places and owner for place in portion_of(owner[0], m.portions)]
    for found in (places, portions):
        if len(found) == len(diseased):
            return {token: (place,) for token, place in zip(diseased, found, strict=True)}
    return dict.fromkeys(diseased, ())


def _is_table(text: str, tokens: list[Found], mentions: list[Mention], context: tuple[str, ...]) -> bool:
    """Whether each finding stands directly behind its place ("LAD 80% RCA 50%"), the first maybe behind a heading."""
    if len(tokens) < 2:
        return False
    labels = []
    for token in tokens:
        before = [m.end for m in mentions if m.end <= token.start and m.places]
        label = _LABEL.match(text[before[-1] : token.start]) if before else None
        labels.append(label.group().strip() if label else None)
    if labels[0] is None and tokens[0].start == 0 and context:
        return all(labels[1:])  # "LAD: 80% RCA: 50%", where the heading "LAD" is cut off
    return None not in labels


def _group(text: str, token: Found, following: Found | None, mentions: list[Mention], table: bool) -> list[Mention]:
    """Places of one finding as they are named; in a ``table`` each finding follows its place."""
    stop = following.start if following else len(text)
    after = [m for m in mentions if m.start >= token.end]
    before = [m for m in mentions if m.end <= token.start + 1]
    group: list[Mention] = []
    if after and after[0].start <= stop and not (table and after[0].places):
        gap = text[token.end : after[0].start]
        verb = _VERB.search(gap if after[0].places else gap.replace("with ", ""))
        if (_LINK.search(gap) and not verb) or ADJECTIVES.match(gap) or not before:
            group = _enumerated(text, after, forward=True)
    if not group and before:
        group = _enumerated(text, before[::-1], forward=False)
    if not group and following and following.kind == token.kind and _SHARED.fullmatch(text[token.end : stop]):
        group = _enumerated(text, [m for m in mentions if m.start >= following.end], forward=True)
    if group and after and _ALSO.fullmatch(text[token.end : after[0].start]):
        group = [*group, after[0]]
    return _with_portion(text, token, group, mentions)


def _with_portion(text: str, token: Found, group: list[Mention], mentions: list[Mention]) -> list[Mention]:
    """Join a portion that stands at the finding to the vessel behind it ("90% ostial stenosis of the LAD")."""
    beside = [
        m for m in mentions if not m.places and m.start >= token.end and ADJECTIVES.match(text[token.end : m.start])
    ]
    if len(group) == 1 and group[0] in beside:
        behind = [m for m in mentions if m.start >= group[0].end and m.places]
        noun = behind and _NOUN_OF.fullmatch(text[group[0].end : behind[0].start])
        if noun:
            portions, group = group[0].portions, _enumerated(text, behind, forward=True)
            return [in_portions(m, portions) for m in group]
    before = [
        m for m in mentions if not m.places and m.end <= token.start and ADJECTIVES.match(text[m.end : token.start])
    ]
    if before and len(group) == 1 and group[0].places and group[0].start >= token.end:
        return [in_portions(group[0], before[-1].portions)]
    return group


def _enumerated(text: str, mentions: list[Mention], forward: bool) -> list[Mention]:
    """The nearest place and those that "and", "or" or a comma join to it."""
    group = mentions[:1]
    for mention in mentions[1:]:
        near, far = (group[-1], mention) if forward else (mention, group[-1])
        if not _ENUMERATION.match(text[near.end : far.start]):
            break
        group.append(mention)
    return group


def _resolve(
    group: list[Mention], token: Found, mentions: list[Mention], context: tuple[str, ...]
) -> tuple[tuple[str, ...], bool]:
    """Names of a group's places; a portion takes its vessel from what stands before it, then behind it."""
    if not group:
        return context, False
    vessels = [m for m in mentions if m.places and not m.everything]
    before = [m.places for m in vessels if m.start < token.start]
    behind = [m.places for m in vessels if m.start >= token.start]
    owner = before[-1:] or ([context] if context else behind[:1])
    places: list[str] = []
    for mention in group:
        places += mention.places
        if not mention.places and owner:
            places += portion_of(owner[0][0], mention.portions)
    return tuple(dict.fromkeys(places)), any(m.everything for m in group)
