"""How a number is read from a result and written for a reader."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

MISSING = "not available"


class Estimate(NamedTuple):
    """A value with its confidence interval; any of the three may be None."""

    value: float | None
    low: float | None = None
    high: float | None = None

    @property
    def has_interval(self) -> bool:
        """Whether both ends of the interval are known."""
        return self.low is not None and self.high is not None


def as_number(value: Any) -> float | None:
    """Read a finite number; None, empty text, NaN, infinity and anything else unreadable become None."""
    if value is None or isinstance(value, (Mapping, list, tuple)):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def as_estimate(entry: Any) -> Estimate:
    """Read ``{"value", "ci": [low, high]}`` or a plain number."""
    if not isinstance(entry, Mapping):
        return Estimate(as_number(entry))
    interval = entry.get("ci")
    low, high = interval if isinstance(interval, (list, tuple)) and len(interval) == 2 else (None, None)
    return Estimate(as_number(entry.get("value")), as_number(low), as_number(high))


def _signed(text: str) -> str:
    if text.startswith("-"):
        return "\N{MINUS SIGN}" + text[1:] if text.strip("-0.") else text[1:]
    return text


def rate(value: Any) -> str:
    """Write a number between -1 and 1 with two decimals, and never round a near miss up to 1 or down to 0."""
    number = as_number(value)
    if number is None:
        return MISSING
    for decimals in (2, 3):
        text = f"{number:.{decimals}f}"
        if abs(number) in (0.0, 1.0) or abs(float(text)) not in (0.0, 1.0):
            return _signed(text)
    if abs(number) > 0.5:
        return _signed(text) if abs(number) > 1 else ("<\N{MINUS SIGN}0.999" if number < 0 else ">0.999")
    return ("\N{MINUS SIGN}" if number < 0 else "") + "<0.001"


def quantity(value: Any, digits: int = 3) -> str:
    """Write a physical quantity or a count with so many significant digits, without an exponent."""
    number = as_number(value)
    if number is None:
        return MISSING
    if number == 0:
        return "0"
    if number == int(number) and abs(number) < 1e6:
        return _signed(f"{number:.0f}")
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(number))))
    return _signed(f"{number:.{min(decimals, 4)}f}")


def with_interval(entry: Any, write: Callable[[Any], str] = rate) -> str:
    """Write ``0.87 (0.83–0.91)``; an interval that reaches below zero is written with "to"."""
    estimate = as_estimate(entry)
    if estimate.value is None:
        return MISSING
    if not estimate.has_interval:
        return write(estimate.value)
    dash = " to " if estimate.low < 0 or estimate.high < 0 else "\N{EN DASH}"
    low, high = write(estimate.low), write(estimate.high)
    if write is rate:  # bounds with the value's decimals: 0.94 (0.86-1.00), not 0.94 (0.86-0.998)
        decimals = 3 if 0.995 <= abs(estimate.value) < 1 or 0 < abs(estimate.value) < 0.005 else 2
        low, high = (_signed(f"{bound:.{decimals}f}") for bound in (estimate.low, estimate.high))
    return f"{write(estimate.value)} ({low}{dash}{high})"


def p_value(value: Any) -> str:
    """Write a p-value: ``0.034``, ``<0.001``."""
    number = as_number(value)
    if number is None:
        return MISSING
    return "<0.001" if number < 0.001 else f"{number:.3f}" if number < 0.1 else f"{number:.2f}"


def count(value: Any) -> str:
    """Write a whole number with thin spaces between thousands."""
    number = as_number(value)
    return MISSING if number is None else f"{number:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def plural(number: Any, noun: str) -> str:
    """Write ``1 case``, ``12 cases``."""
    return f"{count(number)} {noun}{'' if as_number(number) == 1 else 's'}"


def setting(value: Any) -> str:
    """Write a number that somebody chose, as they chose it: ``0.5``, not ``0.500``."""
    number = as_number(value)
    return MISSING if number is None else _signed(f"{number:.3g}")


def difference(value: Any) -> str:
    """Write a difference of rates with its sign and three decimals."""
    number = as_number(value)
    if number is None:
        return MISSING
    sign = "\N{MINUS SIGN}" if number < 0 else "+"
    return f"{sign}{abs(number):.3f}" if abs(number) >= 0.0005 else "0.000"


def printable(value: Any) -> str:
    """Text without control characters and lone surrogates, which neither a page nor a figure can hold."""
    text = "".join(
        c if c in "\n\t" or unicodedata.category(c) != "Cc" else "\N{REPLACEMENT CHARACTER}" for c in str(value)
    )
    return text.encode("utf-8", "replace").decode("utf-8")
