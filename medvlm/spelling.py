"""Name what the user probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["close_names", "did_you_mean"]


def close_names(name: str, names: Iterable[str], count: int = 3, cutoff: float = 0.6) -> list[str]:
    """Return the names nearest in spelling, nearest first.

    Args:
        name: the name received.
        names: the names that exist.
        count: the most names returned.
        cutoff: similarity in 0..1 below which a name is left out (``difflib``'s ratio; case is ignored).
    """
    spellings: dict[str, list[str]] = {}
    for known in sorted({str(known) for known in names}):
        spellings.setdefault(known.lower(), []).append(known)
    close = difflib.get_close_matches(str(name).lower(), spellings, n=count, cutoff=cutoff)
    return [known for spelling in close for known in spellings[spelling]][:count]


def did_you_mean(name: str, names: Iterable[str], cutoff: float = 0.6) -> str:
    """Return ``"; did you mean 'epochs'?"``, or an empty string when nothing is near."""
    close = [repr(known) for known in close_names(name, names, cutoff=cutoff)]
    return f"; did you mean {' or '.join(close)}?" if close else ""
