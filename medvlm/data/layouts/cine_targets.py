"""Numbers that a table knows about a coronary study: segments, dominance, and what follows from them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from medvlm.coronary import DOMINANCE, SEGMENTS

PERCENT = "_stenosis"
BINARY = ("_calcif_binary", "_cto", "_thrombus", "_occlusion", "_calcification")
OBSTRUCTIVE_PERCENT = 50.0
SEVERE_PERCENT = 70.0
MEANINGS = {
    "stenosis": "a stenosis over 70% in any segment",
    "obstructive_stenosis": "a stenosis of 50% and more in any segment",
    "max_stenosis": "the largest stenosis of all segments in percent of the diameter",
    "occlusion": "a total occlusion (100%) in any segment",
    "calcification": "a calcification in any segment",
    "thrombus": "a thrombus in any segment",
    "dominance": "0 right, 1 left, 2 codominant",
    "right_coronary": "1 the right coronary artery is shown, 0 the left one",
}
"""What these targets mean in every layout; a data set that means something else has another name for it."""

BOUNDS = {
    "stenosis": lambda percent: percent > SEVERE_PERCENT,
    "obstructive_stenosis": lambda percent: percent >= OBSTRUCTIVE_PERCENT,
    "occlusion": lambda percent: percent == 100,
}
"""What the largest stenosis says of a target."""
UNKNOWN = {"", "nan", "na", "n/a", "none", "null", "unknown", "?", "-"}
_WORDS = {"yes": 1.0, "no": 0.0, "true": 1.0, "false": 0.0}
_DERIVED_BINARY = {"_calcif_binary": "calcification", "_cto": "occlusion", "_thrombus": "thrombus"}
_DOMINANCE = {word: float(i) for i, word in enumerate(DOMINANCE)} | {"co-dominant": 2.0, "balanced": 2.0}
_DOMINANCE |= {f"{w} {tail}": v for w, v in list(_DOMINANCE.items()) for tail in ("dominance", "dominant")}
_ANSWERS = ("stenosis", "obstructive_stenosis", "calcification", "occlusion", "thrombus", "calcif_binary", "cto")


def number(cell: str) -> float | None:
    """Read a cell: ``70``, ``70.5``, ``70,5``, ``70%``, ``yes``; ``None`` where it is unknown.

    Raises:
        ValueError: it is neither.
    """
    word = cell.strip().lower()
    if word in UNKNOWN:
        return None
    if word in _WORDS:
        return _WORDS[word]
    value = float(word.removesuffix("%").strip().replace(",", "."))
    if not math.isfinite(value):
        raise ValueError(f"{cell!r} is not finite")
    return value


def is_target_name(column: str) -> bool:
    """Whether a column's name says that it is a target, whatever its cells hold."""
    return column in ("dominance", *_ANSWERS) or column.endswith((PERCENT, *BINARY))


def target_value(column: str, cell: str) -> float | None:
    """Read and check the cell of a target column.

    Raises:
        ValueError: it is no number, a percentage outside 0..100, a flag that is not 0 or 1, or no known dominance.
    """
    word = cell.strip().lower().replace("_", " ")
    if is_target_name(column) and word in ("-1", "-1.0"):
        return None  # how many tables write unknown
    if column == "dominance" and word in _DOMINANCE:
        return _DOMINANCE[word]
    try:
        value = number(cell)
    except ValueError:
        raise ValueError(f"{column} is {cell!r}, which is no number; write a number, or nothing") from None
    if value is None:
        return None
    if column == "dominance" and value not in range(len(DOMINANCE)):
        raise ValueError(f"dominance is {cell!r}; write {', '.join(DOMINANCE)} or 0, 1, 2")
    if column in _ANSWERS or column.endswith(BINARY):
        if value not in (0, 1):
            raise ValueError(f"{column} is {cell!r}; write 0 or 1, or nothing")
    elif column.endswith(PERCENT) and not 0 <= value <= 100:
        raise ValueError(f"{column} is {cell!r}; write a percentage of 0 to 100, or nothing")
    return value


def derive_targets(targets: Mapping[str, float], columns: Iterable[str]) -> dict[str, float]:
    """Add what follows from the segments, where the table does not say it itself.

    ``max_stenosis``; ``stenosis`` (over 70%, severe); ``obstructive_stenosis`` (50% and more); ``calcification``,
    ``occlusion`` (100%, or a CTO flag) and ``thrombus`` (in any segment).

    A finding in one segment decides. Its absence is only claimed when every column of its kind is known: a segment
    that nobody looked at is not a healthy one.

    Args:
        targets: what the table says of a study; names that it already has are kept.
        columns: target columns of the table.

    Returns:
        A new dictionary.
    """
    columns = list(columns)
    result = dict(targets)
    percents = [c for c in columns if c.endswith(PERCENT) and c not in _ANSWERS and not c.endswith(f"max{PERCENT}")]
    known = [targets[c] for c in percents if c in targets]
    whole = bool(percents) and len(known) == len(percents)
    if whole or 100.0 in known:
        result.setdefault("max_stenosis", max(known))
    worst = result.get("max_stenosis", max(known, default=0.0))
    for name in ("stenosis", "obstructive_stenosis"):
        found = BOUNDS[name](worst)
        if found or "max_stenosis" in result:
            result.setdefault(name, float(found))
    if BOUNDS["occlusion"](worst):
        result.setdefault("occlusion", 1.0)
    for ending, name in _DERIVED_BINARY.items():
        flags = [c for c in columns if c.endswith(ending)]
        values = [targets[c] for c in flags if c in targets]
        if any(values) or (flags and len(values) == len(flags)):
            result.setdefault(name, float(any(values)))
    return result


def meanings_of(cases: Iterable[Mapping]) -> dict[str, dict[str, str]]:
    """What the targets of these cases mean, as a datalist records its conventions."""
    cases = list(cases)
    entries = [case.get("targets") or {} for case in cases]
    entries += [targets for case in cases for targets in case.get("view_targets") or ()]
    names = {name for targets in entries for name in targets}
    return {name: {"meaning": meaning} for name, meaning in MEANINGS.items() if name in names}


def segment_columns() -> list[str]:
    """The columns of the 18 segments that validation tables carry."""
    return [f"{s.name}{ending}" for s in SEGMENTS for ending in (PERCENT, *BINARY[:3])]


def whole_numbers(targets: Mapping[str, float]) -> dict[str, float | int]:
    """Write 1.0 as 1, so that datalists stay readable."""
    return {k: int(v) if float(v).is_integer() else v for k, v in targets.items()}
