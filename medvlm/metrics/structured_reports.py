"""A report in set phrases: what it claims, one short sentence a fact, in a fixed order.

Free reports say the same finding in many words, among sentences that say nothing of a vessel. Written in set phrases,
two reports differ only where they claim different things; some hundred of them are enough to learn from.
"""

from __future__ import annotations

import re

from medvlm.coronary import DOMINANCE, SEGMENTS
from medvlm.metrics.angiography_facts import Fact, extract_facts, fact_set
from medvlm.metrics.angiography_findings import GRADES
from medvlm.metrics.angiography_places import BRANCHES, TREE, VESSEL_OF

__all__ = ["structured_report", "write_facts"]

_VESSEL_WORDS = {"left_main": "left main", "LAD": "LAD", "LCX": "circumflex", "RCA": "RCA"}
_BRANCH_WORDS = {"diagonal": "diagonal branch", "marginal": "obtuse marginal branch"}
_WORDS = {segment.name: segment.phrase for segment in SEGMENTS} | _VESSEL_WORDS | _BRANCH_WORDS
_PLACES = sorted(
    (*TREE[1:], *(segment.name for segment in SEGMENTS), *BRANCHES), key=lambda place: TREE.index(VESSEL_OF[place])
)
"""Every place once: vessel by vessel, the vessel as a whole before its parts."""
_GRADE_WORDS = {"unspecified": "Stenosis", "occluded": "Occlusion"} | {
    grade: f"{grade.capitalize()} stenosis" for grade in GRADES[2:-1]
}
_DOMINANCE_WORDS = dict(
    zip(DOMINANCE, ("Right dominant system.", "Left dominant system.", "Codominant system."), strict=True)
)


def structured_report(report: str) -> str:
    """Write what a report claims in set phrases.

    Args:
        report: raw text.

    Returns:
        One sentence a fact (``fact_set``): the dominance, then vessel by vessel what is normal, narrowed or occluded
        and calcified. Grades stand for percentages; everything else is left out. It claims the same facts as the
        report does. A report that claims nothing is returned as it is, in one line.
    """
    facts = fact_set(extract_facts(report))
    return write_facts(facts) if facts else re.sub(r"\s+", " ", report).strip()


def write_facts(facts: set[Fact]) -> str:
    """Write facts in set phrases, in a fixed order; none gives an empty text."""
    out = [_DOMINANCE_WORDS[fact.value] for fact in facts if fact.kind == "dominance"]
    for place in _PLACES:
        out += _sentences(place, facts)
    if all(Fact("calcification", vessel, "no") in facts for vessel in TREE):
        out.append("No coronary calcification.")
    return " ".join(out)


def _sentences(place: str, facts: set[Fact]) -> list[str]:
    words, out = _WORDS[place], []
    if Fact("normal", place, "none") in facts:
        out.append(f"The {words} is normal.")
    out += [f"{_GRADE_WORDS[g]} of the {words}." for g in GRADES[1:] if Fact("stenosis", place, g) in facts]
    if Fact("calcification", place, "yes") in facts:
        out.append(f"Calcified {words}.")
    elif Fact("calcification", place, "no") in facts and not all(
        Fact("calcification", vessel, "no") in facts for vessel in TREE
    ):
        out.append(f"No calcification of the {words}.")
    return out
