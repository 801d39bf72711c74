"""The angles of the C-arm that a data set states for a view: each of the two known or unknown by itself."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

LIMITS_DEG = {"primary": 180.0, "secondary": 90.0}
"""LAO + and RAO - turn all around; cranial + and caudal - end at the poles (DICOM PS3.3, C.8.7.5)."""


def is_angle(value: Any) -> bool:
    """Whether this is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def angle_problem(name: str, value: float) -> tuple[str, str]:
    """What is wrong with an angle, and what to do.

    Args:
        name: ``primary`` or ``secondary``.
        value: degrees.

    Returns:
        Problem and remedy; empty texts where nothing is wrong.
    """
    limit = LIMITS_DEG[name]
    if abs(value) <= limit:
        return "", ""
    return f"the {name} angle is {value:g} degrees", f"mend it: -{limit:g} to {limit:g}, or nothing where unknown"


def stated_angles(case: Mapping[str, Any], view: int) -> tuple[float | None, float | None]:
    """The primary and the secondary angle that a datalist states for a view; ``None`` where it states none."""
    entries = case.get("view_angles") or []
    entry = entries[view] if view < len(entries) else None
    if not isinstance(entry, list | tuple) or len(entry) != 2:
        return None, None
    primary, secondary = (float(value) if is_angle(value) else None for value in entry)
    return primary, secondary
