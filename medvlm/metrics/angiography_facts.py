"""What an angiography report claims: stenoses by segment, occlusions, calcification, dominance, and what is normal.

Rules over the words of one sentence, with the vessel of the sentence before as context; nothing is learnt. The
conventions stand in ``docs/evaluation_reports.md``, with the errors counted on real notes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from medvlm.coronary import DOMINANCE
from medvlm.metrics.angiography_findings import ELSEWHERE, GRADES, find_findings
from medvlm.metrics.angiography_links import link, without_landmarks
from medvlm.metrics.angiography_places import TREE, TRUNK, VESSEL_OF, VESSELS, Mention, find_places
from medvlm.metrics.angiography_sentences import Sentence, coronary_sentences

_REST = re.compile(r"\b(?:rest|remainder|remaining|elsewhere|otherwise|other)\b", re.IGNORECASE)
_DOMINANT = re.compile(
    r"\b(?P<non>non-?\s?|not\s+(?:the\s+)?)?(?P<co>co-?\s?)?dominan(?:t|ce)\b|\bbalanced\b", re.IGNORECASE
)
_SIDE_BEFORE = re.compile(
    r"\b(right|left)\b[\s-]*(?:coronary\s+)?(?:artery\s+|circulation\s+|system\s+)?$", re.IGNORECASE
)
_SIDE_BEHIND = re.compile(r"\s*(?::|is|was|\()?\s*(right|left)\b(?!\s+(?:main|ant))", re.IGNORECASE)
_SIDES = {"RCA": "right", "LCX": "left"}


class Fact(NamedTuple):
    """One claim: what, where, and which."""

    kind: str
    place: str
    value: str


@dataclass(frozen=True)
class Statement:
    """A claim with its source.

    Attributes:
        kind: ``stenosis`` or ``calcification``.
        place: a segment, vessel or branch.
        value: a grade, or ``yes`` / ``no``.
        percent: lowest and highest diameter stenosis that was said, if any.
        closing: it stands in the impression.
        rest: it is about all vessels, or the rest of one ("otherwise", "the remainder"), and yields to what is said of
            a part.
        sentence: its words.
    """

    kind: str
    place: str
    value: str
    percent: tuple[float, float] | None
    closing: bool
    rest: bool
    sentence: str


@dataclass
class ReportFacts:
    """Everything found in a report.

    Attributes:
        stenosis: place -> worst grade, ``none`` where only the absence of disease is said.
        calcification: place -> whether it is calcified.
        dominance: one of ``DOMINANCE`` or None.
        statements: the claims one by one, in the order of the text.
    """

    stenosis: dict[str, str] = field(default_factory=dict)
    calcification: dict[str, bool] = field(default_factory=dict)
    dominance: str | None = None
    statements: list[Statement] = field(default_factory=list)


def extract_facts(report: str) -> ReportFacts:
    """Read the facts out of one report.

    Args:
        report: raw text; an empty one has no facts.
    """
    facts = ReportFacts()
    context: tuple[str, ...] = ()
    votes: list[tuple[str, int]] = []
    for sentence in coronary_sentences(report):
        if sentence.new_paragraph and sentence.heading:
            named = [m for m in find_places(sentence.heading) if m.places and not m.everything]
            context = named[0].places if named else ()
        mentions = find_places(sentence.text)
        votes += _dominance(sentence.text, mentions, context)
        found, subject = _read(sentence, mentions, context)
        facts.statements += found
        if subject:
            context = subject
        elif ELSEWHERE.search(sentence.text):
            context = ()
    for weight in (2, 1):
        sides = [side for side, w in votes if w == weight]
        if sides and facts.dominance is None:
            facts.dominance = max(dict.fromkeys(sides), key=sides.count)
    _settle(facts)
    return facts


def fact_set(facts: ReportFacts) -> set[Fact]:
    """Facts as a set that can be compared: the kinds ``stenosis``, ``normal``, ``calcification``, ``dominance``.

    A vessel's grade is left out where one of its segments has at least that grade, since it says nothing more.
    """
    out = set()
    for place, grade in facts.stenosis.items():
        out.add(Fact("normal", place, "none") if grade == "none" else Fact("stenosis", place, grade))
    for place, calcified in facts.calcification.items():
        out.add(Fact("calcification", place, "yes" if calcified else "no"))
    if facts.dominance:
        out.add(Fact("dominance", "coronary", facts.dominance))
    return implied(out)


def implied(facts: set[Fact]) -> set[Fact]:
    """Leave out what a vessel's segments say already.

    A vessel's grade or calcification goes where a segment of it has no less, and its "normal" where a segment of the
    trunk is diseased, since only the rest was meant then.
    """
    out = set()
    diseased = {VESSEL_OF[f.place] for f in facts if f.kind == "stenosis" and f.place in TRUNK}
    for fact in facts:
        if fact.kind == "normal" and fact.place in VESSELS and fact.place in diseased:
            continue
        others = [f for f in facts if f.kind == fact.kind and VESSEL_OF.get(f.place) == fact.place != f.place]
        worse = [f for f in others if fact.kind == "stenosis" and GRADES.index(f.value) >= GRADES.index(fact.value)]
        same = [f for f in others if fact.kind == "calcification" and f.value == fact.value == "yes"]
        if not worse and not same:
            out.add(fact)
    return out


def derived(facts: set[Fact]) -> set[Fact]:
    """What follows from a set: each ``occlusion``, and the worst grade of each ``vessel`` that is spoken of."""
    out = {Fact("occlusion", f.place, "yes") for f in facts if f.kind == "stenosis" and f.value == "occluded"}
    for vessel in TREE:
        grades = [f.value for f in facts if f.kind == "stenosis" and VESSEL_OF.get(f.place) == vessel]
        if grades:
            out.add(Fact("vessel", vessel, max(grades, key=GRADES.index)))
        elif Fact("normal", vessel, "none") in facts:
            out.add(Fact("vessel", vessel, "none"))
    return out


def _settle(facts: ReportFacts) -> None:
    """One grade a place: the worst that was said; words of the impression do not outbid a percentage."""
    measured = {s.place for s in facts.statements if s.percent and not s.closing}
    left = facts.dominance == DOMINANCE[1]
    for statement in sorted(facts.statements, key=lambda s: s.rest):
        place = statement.place
        if left and place in ("rca_pda", "rca_posterolateral"):
            place = place.replace("rca_", "lcx_")
        if statement.kind == "calcification":
            facts.calcification[place] = facts.calcification.get(place, False) or statement.value == "yes"
        elif statement.rest and any(VESSEL_OF[p] == place and g != "none" for p, g in facts.stenosis.items()):
            continue
        elif statement.percent or not (statement.closing and statement.place in measured):
            grades = [facts.stenosis.get(place, "none"), statement.value]
            facts.stenosis[place] = max(grades, key=GRADES.index)
    if any(facts.calcification.values()):
        facts.calcification = {place: yes for place, yes in facts.calcification.items() if yes or place not in TREE}


def _read(
    sentence: Sentence, mentions: list[Mention], context: tuple[str, ...]
) -> tuple[list[Statement], tuple[str, ...]]:
    """Statements of a sentence, and the places that the next one may speak of."""
    text = sentence.text
    mentions = without_landmarks(text, mentions)
    tokens = find_findings(text, mentions)
    named = [m for m in mentions if m.places and not m.everything]
    subject = named[0].places if named else ()
    if subject and context and VESSEL_OF[subject[0]] == VESSEL_OF[context[0]]:
        if tokens and tokens[0].start < named[0].start:
            subject = context  # "there is a stenosis in a branch": the vessel is still what is spoken of
    if not mentions and (not context or ELSEWHERE.search(text)):
        return [], subject
    excepted = _excepted(sentence)
    out = []
    for found in link(text, tokens, mentions, context):
        rest = found.value == "none" and (found.everything or bool(_REST.search(text)))
        for place in found.places:
            if found.value == "none" and place in excepted:
                continue
            out.append(Statement(found.kind, place, found.value, found.percent, sentence.closing, rest, text))
    return _percent_before_words(out), subject


def _excepted(sentence: Sentence) -> set[str]:
    """Places behind "except for", and their vessels where "all vessels" are what they are excepted from."""
    places = {place for m in find_places(sentence.excepted) if not m.everything for place in m.places}
    everything = any(m.everything for m in find_places(sentence.text))
    return places | {VESSEL_OF[place] for place in places} if everything else places


def _percent_before_words(statements: list[Statement]) -> list[Statement]:
    measured = {s.place for s in statements if s.percent}
    return [s for s in statements if s.kind != "stenosis" or s.percent or s.place not in measured or s.value == "none"]


def _dominance(text: str, mentions: list[Mention], context: tuple[str, ...]) -> list[tuple[str, int]]:
    """Sides that a sentence names as dominant; weight 1 where it only says that the other one is not."""
    out = []
    for match in _DOMINANT.finditer(text):
        if match["co"] or match.group().lower() == "balanced":
            out.append(("codominant", 2))
            continue
        said = _SIDE_BEFORE.search(text[: match.start()]) or _SIDE_BEHIND.match(text[match.end() :])
        if said:
            side = said[1].lower()
        else:
            near = sorted(mentions, key=lambda m: min(abs(m.start - match.end()), abs(match.start() - m.end)))
            vessels = [VESSEL_OF[m.places[0]] for m in near if m.places and not m.everything]
            vessels = vessels or [VESSEL_OF[place] for place in context[:1]]
            side = next((_SIDES[vessel] for vessel in vessels if vessel in _SIDES), None)
        if side:
            no = bool(match["non"])
            out.append(({"right": "left", "left": "right"}[side] if no else side, 1 if no else 2))
    return out
