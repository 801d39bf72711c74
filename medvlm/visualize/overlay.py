"""The picture that inference leaves for a case: a verdict in words, the mask's outline and the class activation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medvlm.atomic import write_bytes_atomically
from medvlm.visualize.numbers import as_number, quantity, rate
from medvlm.visualize.panels import draw_case
from medvlm.visualize.style import to_png

NOTHING_FOUND_BELOW = 0.3


def verdict(
    probability: Any,
    volume_ml: Any = None,
    threshold: Any = None,
    found_from: float = NOTHING_FOUND_BELOW,
    *,
    outlined: bool | None = None,
) -> str:
    """Say in words what the two heads found.

    Args:
        probability: of a tumour, 0 to 1; None when the class head is off.
        volume_ml: predicted volume; None when the mask head is off, or when the image has no known voxel size.
        threshold: of the operating point.
        found_from: below this probability no tumour is reported.
        outlined: whether the mask head outlined anything; from ``volume_ml`` when None.

    Returns:
        A line or two; a mask or an operating point that contradicts the first line is told in the second.
    """
    p, volume, operating = as_number(probability), as_number(volume_ml), as_number(threshold)
    if outlined is None and volume is not None:
        outlined = volume > 0
    amount = f"{quantity(volume)} mL" if volume else "a region"
    drawn = {True: f"{amount} outlined", False: "nothing outlined", None: ""}[outlined]
    if p is None:
        return f"Tumour probability not available. {drawn[:1].upper()}{drawn[1:]}".strip()
    point = ""
    if operating is not None:
        side = "positive" if p >= operating else "negative"
        point = f"{side} at the operating point {rate(operating)}"
    if p < found_from:
        lines = [f"No tumour found (tumour probability {rate(p)}, below {rate(found_from)})"]
        against = [f"the mask head outlined {amount}"] if outlined else []
        against += [point] if operating is not None and p >= operating else []
        if against:
            lines.append("Look again: " + "; ".join(against))
        return "\n".join(lines)
    return " \N{MIDDLE DOT} ".join(t for t in (f"Tumour probability {rate(p)}", point, drawn) if t)


def save_overlay(
    path: str | Path,
    image: Any,
    mask: Any = None,
    cam: Any = None,
    probability: Any = None,
    *,
    uncertainty: Any = None,
    volume_ml: Any = None,
    threshold: Any = None,
    found_from: float = NOTHING_FOUND_BELOW,
    title: str = "",
    regions: Sequence[str] | None = None,
    spacing: Sequence[float] | None = None,
    words: str | None = None,
    dpi: int = 130,
) -> Path:
    """Write the overlay of one case as a PNG, whole or not at all.

    Below ``found_from`` the input is shown under "No tumour found"; from there on, or when the probability is unknown,
    the mask's outline, the class activation and the uncertainty stand beside it.

    Args:
        path: of the PNG; its folder is made.
        image: ``(X, Y)`` or ``(X, Y, Z)``, LPS oriented.
        mask: predicted ``(X, Y[, Z])`` or ``(R, X, Y, Z)``.
        cam: class activation ``(X, Y[, Z])``, not negative.
        probability: of a tumour, None when the class head is off.
        uncertainty: ``(X, Y[, Z])``.
        volume_ml: predicted volume in mL; from mask and spacing when None and both are known.
        threshold: of the operating point.
        found_from: below this probability no tumour is reported.
        title: the case's name.
        regions: names of the mask's regions.
        spacing: millimetres a voxel along x, y, z; None where it is not known, as for a PNG.
        words: what stands below; from the values (:func:`verdict`) when None.
        dpi: pixels an inch.

    Returns:
        The path.
    """
    if words is None:
        inside = None if mask is None else np.asarray(mask) > 0.5
        if inside is not None and inside.ndim == 4:
            inside = inside.any(axis=0)
        if volume_ml is None and inside is not None and spacing is not None and len(spacing) == 3:
            volume_ml = float(inside.sum()) * float(np.prod(spacing)) / 1000
        outlined = None if inside is None else bool(inside.any())
        words = verdict(probability, volume_ml, threshold, found_from, outlined=outlined)
    p = as_number(probability)
    hidden = p is not None and p < found_from
    shown = {} if hidden else {"pred": mask, "cam": cam, "uncertainty": uncertainty, "regions": regions}
    figure = draw_case(image, title=title, spacing=spacing, footer=words, **shown)
    return write_bytes_atomically(to_png(figure, dpi), path)
