"""Where the written report and the heads of a study contradict each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medvlm.metrics.angiography_facts import extract_facts

CLAIMS: Mapping[str, tuple[str, frozenset[str]]] = {
    "stenosis": ("a stenosis over 70%", frozenset({"severe", "occluded"})),
    "occlusion": ("an occlusion", frozenset({"occluded"})),
}
"""Binary heads whose question a report answers too: in words, and the grades that mean yes."""


def disagreements(report: str | None, heads: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Say where a report and the heads answer the same question differently.

    Args:
        report: as it was written; without one there is nothing to compare.
        heads: answers by name, see ``head_answers``; only binary ones of the names in ``CLAIMS`` are looked at.

    Returns:
        One sentence a contradiction.
    """
    if not report:
        return []
    grades = set(extract_facts(report).stenosis.values())
    found = []
    for name, (words, meant) in CLAIMS.items():
        answer = heads.get(name, {})
        said = bool(grades & meant)
        if answer.get("kind") == "binary" and said != (answer["verdict"] == "positive"):
            names = f"names {words}" if said else f"names no {words.split(' ', 1)[1]}"
            verdict = f"{answer['verdict']} ({answer['probability']:.2f})"
            found.append(f"The finding {name} is {verdict}, but the report {names}.")
    return found
