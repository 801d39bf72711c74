"""What an angiography report claims: stenoses by segment, occlusions, calcification, dominance, and what is normal.

Rules over the words of one sentence, with the vessel of the sentence before as context; nothing is learnt. The
conventions stand in ``docs/evaluation_reports.md``, with the errors counted on real notes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from medvlm.coronary import DOMINANCE, SEVERITIES, severity
from medvlm.metrics.angiography_places import TREE, TRUNK, VESSEL_OF, VESSELS, Mention, find_places, portion_of
from medvlm.metrics.angiography_sentences import Sentence, coronary_sentences

KINDS = ("stenosis", "occlusion", "normal", "calcification", "dominance", "vessel")
GRADES = ("none", "unspecified", *SEVERITIES[1:])
"""From nothing to the worst; ``unspecified`` is disease without a grade."""


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


class _Found(NamedTuple):
    start: int
    end: int
    kind: str  # grade, percent, noun, normal, calcium
    value: str
    percent: tuple[float, float] | None = None


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
_LANDMARK = re.compile(
    r"\b(?:(?:giv(?:es?|ing)|gave)\s+(?:off|rise\s+to)|supply\w*|supplies|(?:bi|tri)furcat\w+\s+in\s?to|bifurcates"
    r"|divid\w+\s+into|consisting\s+of|continu\w+\s+as|becom\w+|(?:prior\s+to|before|after|beyond|past|pass"
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
_VERB = re.compile(r"\b(?:is|are|was|were|has|have|had|shows?|showed|and|with|but|,)(?:\s|$)|,", re.IGNORECASE)
_ADJECTIVE = re.compile(
    r"^[\s-]*(?:(?:focal|large|small|long|discrete|diffuse|smooth|eccentric|complex)\s+)*$", re.IGNORECASE
)
_ENUMERATION = re.compile(
    r"^\s*(?:,|/|&|\band\b|\bor\b|\bas\s+well\s+as\b|,\s*and\b|,\s*or\b)\s*(?:the\s+|its\s+|in\s+the\s+|of\s+the\s+)*$",
    re.IGNORECASE,
)
_ELSEWHERE = re.compile(
    r"\b(?:aort(?:a|ic)|mitral|tricuspid|femoral|ventric\w+|lv\w*|ejection|ef|gradient|pressures?|wall\s+motion"
    r"|hypokin\w+|regurgitation|insufficiency|septal|bridging|iliac|renal|heart\s+disease|graft\w*)\b",
    re.IGNORECASE,
)
_REST = re.compile(r"\b(?:rest|remainder|remaining|elsewhere|otherwise|other)\b", re.IGNORECASE)
_DOMINANT = re.compile(
    r"\b(?P<non>non-?\s?|not\s+(?:the\s+)?)?(?P<co>co-?\s?)?dominan(?:t|ce)\b|\bbalanced\b", re.IGNORECASE
)
_WORD_GRADE = {"severe": "severe", "moderate": "moderate", "mild": "mild", "irregular": "mild", "subtotal": "severe"}


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
        elif _ELSEWHERE.search(sentence.text):
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
    mentions = _without_landmarks(text, mentions)
    tokens = _tokens(text, mentions)
    named = [m for m in mentions if m.places and not m.everything]
    subject = named[0].places if named else ()
    if (
        subject
        and context
        and tokens
        and tokens[0].start < named[0].start
        and VESSEL_OF[subject[0]] == VESSEL_OF[context[0]]
    ):
        subject = context  # "there is a stenosis in a branch": the vessel is still what is spoken of
    if not mentions and (not context or _ELSEWHERE.search(text)):
        return [], subject
    out = []
    for kind, value, percent, places, everything in _linked(text, tokens, mentions, context):
        for place in places:
            rest = value == "none" and (everything or bool(_REST.search(text)))
            out.append(Statement(kind, place, value, percent, sentence.closing, rest, text))
    return _percent_before_words(out), subject


def _percent_before_words(statements: list[Statement]) -> list[Statement]:
    measured = {s.place for s in statements if s.percent}
    return [s for s in statements if s.kind != "stenosis" or s.percent or s.place not in measured or s.value == "none"]


def _without_landmarks(text: str, mentions: list[Mention]) -> list[Mention]:
    """Leave out places that only say where another one is ("before the takeoff of the first diagonal")."""
    out, spans = list(mentions), []
    for match in _LANDMARK.finditer(text):
        end = _LANDMARK_END.search(text, match.end())
        spans.append((match.start(), end.start() if end else len(text)))
    for mention in mentions:
        for start, end in spans:
            if start <= mention.start < end and mention.start > start:
                tail = re.match(
                    r"\s+(?:that|which|who)\s+(?:has|have|had|shows?|showed|demonstrat)", text[mention.end :]
                )
                if not tail and mention in out:
                    out.remove(mention)
    return out


def _negated(text: str, start: int) -> bool:
    """Whether a negation reaches this place of the sentence."""
    last = None
    for match in _NEGATION.finditer(text, 0, start):
        last = match
    if last is None:
        return False
    between = text[last.end() : start]
    return not _BREAK.search(between) and len(between.split()) <= 9


def _tokens(text: str, mentions: list[Mention]) -> list[_Found]:
    """Findings of a sentence in their order; words that speak of one finding are one."""
    raw = []
    for match in _TOKENS.finditer(text):
        kind = next(key for key, value in match.groupdict().items() if value and key not in ("bound", "low", "high"))
        if any(m.start <= match.start() < m.end for m in mentions):
            continue
        raw.append(_graded(kind, match, text))
    return _merged(text, [token for token in raw if token], mentions)


def _graded(kind: str, match: re.Match, text: str) -> _Found | None:
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
        return _Found(start, end, "normal", "none") if no else _Found(start, end, "percent", "", (low, high))
    if kind == "calcium":
        return _Found(start, end, "calcium", "no" if no or match["calcium"].lower().startswith("non") else "yes")
    if kind == "free":
        if "calcif" in match["free"].lower():
            return _Found(start, end, "calcium", "no")
        return _Found(start, end, "normal", "none")
    if kind == "normal":
        other = _ELSEWHERE.search(text[end : end + 24])
        return None if no or other else _Found(start, end, "normal", "none")
    if no:
        kept = kind in ("noun", "irregular", "occluded")
        return _Found(start, end, "normal" if kept else "ignored", "none")
    if kind == "occluded":
        return _Found(start, end, "grade", "occluded")
    if kind == "noun":
        return _Found(start, end, "noun", "unspecified")
    value = _WORD_GRADE[kind]
    return _Found(start, end, "irregular" if kind in ("irregular", "subtotal") else "grade", value)


def _merged(text: str, tokens: list[_Found], mentions: list[Mention]) -> list[_Found]:
    """Join grade, percentage and noun of one finding; a grade alone ("moderate") is none, but for an occlusion."""
    out: list[_Found] = []
    strength = {"percent": 4, "grade": 3, "irregular": 3, "normal": 3, "ignored": 3, "noun": 1}
    for token in tokens:
        last = out[-1] if out else None
        if last is None or "calcium" in (token.kind, last.kind):
            out.append(token)
            continue
        gap = text[last.end : token.start]
        place = any(last.end <= m.start < token.start for m in mentions)
        limit = 2 if place else 5
        near = len(gap.split()) - sum(
            len(text[m.start : m.end].split()) for m in mentions if last.end <= m.start < token.start
        )
        joins = near <= limit and not re.search(
            r"\band\b(?!\s+(?:sub|total))|[,;](?!\s*(?:estimated|approximately|about|\())|\bwith\b", gap
        )
        noun = token.kind == "noun" or last.kind == "noun"
        if place and not (token.kind == "noun" and last.kind in ("percent", "grade", "ignored")):
            joins = False
        if place and not _ADJECTIVE.match(text[last.end : next(m.start for m in mentions if m.start >= last.end)]):
            joins = False
        if (
            joins
            and (noun or {last.kind, token.kind} & {"percent", "grade", "ignored"})
            and "normal" not in (token.kind,)
        ):
            best = max(last, token, key=lambda t: (strength[t.kind], GRADES.index(t.value) if t.value in GRADES else 0))
            if last.kind in ("normal", "ignored"):
                best = last
            end = last.end if place else token.end
            words = "noun" if (noun or "irregular" in (last.kind, token.kind)) and best.kind == "grade" else best.kind
            out[-1] = best._replace(start=last.start, end=end, kind=words)
        else:
            out.append(token)
    return [t for t in out if t.kind not in ("ignored",) and not (t.kind == "grade" and t.value != "occluded")]


def _linked(
    text: str, tokens: list[_Found], mentions: list[Mention], context: tuple[str, ...]
) -> list[tuple[str, str, tuple[float, float] | None, tuple[str, ...], bool]]:
    """Give each finding its places: those after it that a preposition joins, else those before it, else the context."""
    out = []
    for number, token in enumerate(tokens):
        stop = tokens[number + 1].start if number + 1 < len(tokens) else len(text)
        after = [m for m in mentions if m.start >= token.end]
        before = [m for m in mentions if m.end <= token.start + 1]
        group: list[Mention] = []
        if after and after[0].start <= stop:
            gap = text[token.end : after[0].start]
            linked = _LINK.search(gap) and not _VERB.search(gap)
            if linked or _ADJECTIVE.match(gap) or not before:
                group = _enumerated(text, after, forward=True)
        if not group and before:
            group = _enumerated(text, before[::-1], forward=False)
        shares = number + 1 < len(tokens) and re.fullmatch(r"\s*(?:,|and|or)\s*(?:an?\s+)?", text[token.end : stop])
        if shares and not before and not group and tokens[number + 1].kind == token.kind:
            group = _after(text, tokens[number + 1], mentions)
        if (
            group
            and after
            and re.fullmatch(r"\s*(?:as well as|and also)\s+(?:in\s+)?(?:the\s+)?", text[token.end : after[0].start])
        ):
            group = [*group, after[0]]
        places, everything = _resolve(group, [m for m in mentions if m.start < token.start], context)
        kind = "calcification" if token.kind == "calcium" else "stenosis"
        value = token.value
        if token.percent:
            value = severity(sum(token.percent) / 2)
            value = "occluded" if token.percent[1] == 100 else value
        if everything and kind == "stenosis" and value != "none":
            continue  # "three-vessel disease" says nothing of a place
        if everything and kind == "calcification" and value == "yes":
            continue
        out.append((kind, value, token.percent, places, everything))
    return out


def _after(text: str, token: _Found, mentions: list[Mention]) -> list[Mention]:
    """The places behind a finding, if there are any."""
    after = [m for m in mentions if m.start >= token.end]
    return _enumerated(text, after, forward=True) if after else []


def _enumerated(text: str, mentions: list[Mention], forward: bool) -> list[Mention]:
    """The nearest place and those that "and", "or" or a comma join to it."""
    group = [mentions[0]]
    for mention in mentions[1:]:
        near, far = (group[-1], mention) if forward else (mention, group[-1])
        if not _ENUMERATION.match(text[near.end : far.start]):
            break
        group.append(mention)
    return group


def _resolve(group: list[Mention], earlier: list[Mention], context: tuple[str, ...]) -> tuple[tuple[str, ...], bool]:
    """Names of a group's places; a portion takes its vessel from the sentence, else from the context."""
    if not group:
        return context, False
    places: list[str] = []
    for mention in group:
        if mention.places:
            places += mention.places
            continue
        named = [m.places for m in earlier if m.places and not m.everything] or [context]
        places += [found for place in named[-1][:1] for found in portion_of(place, mention.portions)]
    return tuple(dict.fromkeys(places)), any(m.everything for m in group)


def _dominance(text: str, mentions: list[Mention], context: tuple[str, ...]) -> list[tuple[str, int]]:
    """Sides that a sentence names as dominant; weight 1 where it only says that the other one is not."""
    out = []
    for match in _DOMINANT.finditer(text):
        if match["co"] or match.group().lower() == "balanced":
            out.append(("codominant", 2))
            continue
        around = re.search(
            r"\b(right|left)\b[\s-]*(?:coronary\s+)?(?:artery\s+|circulation\s+|system\s+)?$",
            text[: match.start()],
            re.I,
        )
        behind = re.match(r"\s*(?::|is|was|\()?\s*(right|left)\b(?!\s+(?:main|ant))", text[match.end() :], re.I)
        side = (around or behind)[1].lower() if around or behind else None
        if side is None:
            sides = {"RCA": "right", "LCX": "left"}
            near = sorted(mentions, key=lambda m: min(abs(m.start - match.end()), abs(match.start() - m.end)))
            named = [VESSEL_OF[m.places[0]] for m in near if m.places and not m.everything] or [
                VESSEL_OF[place] for place in context[:1]
            ]
            side = next((sides[vessel] for vessel in named if vessel in sides), None)
        if side:
            no = bool(match["non"])
            out.append(({"right": "left", "left": "right"}[side] if no else side, 1 if no else 2))
    return out
