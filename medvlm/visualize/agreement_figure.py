"""The agreement of the two heads: tumour probability against what the mask outlines."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medvlm.visualize.numbers import as_number, count, quantity
from medvlm.visualize.style import BLUE, INK, ORANGE, PURPLE, VERMILLION, house_style, new_figure

CLASSES = ((1, "tumour", VERMILLION, "o"), (0, "no tumour", BLUE, "s"), (None, "class unknown", PURPLE, "^"))
RING = {"s": 70, "facecolor": "none", "edgecolor": INK, "linewidth": 0.9}
UNITS = {"volume": "mL", "picture": "pixels"}  # a picture's pixels have no size


class Point(NamedTuple):
    """A case of the figure: what its mask outlines (mL in a volume, pixels in a picture), probability and class."""

    case_id: str
    outlined: float
    probability: float
    tumour: float | None


def _outlined(row: Mapping[str, Any], region: str, unit: str) -> float | None:
    """What the mask head outlined, also where a mask gate emptied it: the heads are compared before the gate."""
    found = (as_number(row.get(f"{name}_{unit}_{region}")) for name in ("emptied", "pred"))
    return next((value for value in found if value is not None), None)


def agreement_points(rows: Sequence[Mapping[str, Any]], region: str) -> dict[str, list[Point]]:
    """Find the cases that both heads speak on, by kind: ``volume`` where one is known, else ``picture``."""
    found: dict[str, list[Point]] = {}
    for row in rows:
        volume, probability = _outlined(row, region, "volume_ml"), as_number(row.get("probability"))
        kind, outlined = ("volume", volume) if volume is not None else ("picture", _outlined(row, region, "voxels"))
        if outlined is not None and probability is not None:
            point = Point(str(row.get("case_id")), outlined, probability, as_number(row.get("tumour")))
            found.setdefault(kind, []).append(point)
    return {kind: found[kind] for kind in UNITS if kind in found}


def agreement_scatter(
    rows: Sequence[Mapping[str, Any]],
    region: str,
    thresholds: Mapping[str, Any] | None = None,
    volume_threshold_ml: Any = None,
    disagreeing: Collection[str] = (),
) -> Figure | None:
    """Draw tumour probability against what the mask outlines; cases whose heads disagree are ringed.

    Volumes and pictures have a panel each, so that every case that both heads speak on is drawn once; those whose mask
    is empty are spread left of 0.

    Args:
        rows: one dictionary a case with ``case_id``, ``probability``, ``tumour`` and ``pred_volume_ml_<region>``, or
            ``pred_voxels_<region>`` where it is a picture.
        region: the region that is compared with the probability.
        thresholds: probability from which a case is called a tumour, by kind (``volume``, ``picture``); drawn as
            horizontal lines.
        volume_threshold_ml: volume above which a mask says tumour, a vertical line; any pixel does in a picture.
        disagreeing: case ids to ring.
    """
    by_kind, odd = agreement_points(rows, region), set(disagreeing)
    if not by_kind:
        return None
    limits = {"volume": as_number(volume_threshold_ml), "picture": 0.5}
    with house_style():
        figure, panels = new_figure(0.8 + 3.9 * len(by_kind), 4.2, len(by_kind), sharey=True)
        for axes, (kind, points) in zip(panels, by_kind.items(), strict=True):
            _panel(axes, points, odd)
            for draw, at in ((axes.axhline, as_number((thresholds or {}).get(kind))), (axes.axvline, limits[kind])):
                if at is not None:
                    draw(at, color=ORANGE, linewidth=1, linestyle=(0, (4, 3)))
            axes.set_title(f"{kind}s (n = {count(len(points))})", weight="normal", loc="center", fontsize=9)
            axes.set(xlabel=f"Predicted {region} ({UNITS[kind]}, log scale)", ylim=(-0.03, 1.03))
        panels[0].set_ylabel("Tumour probability")
        figure.suptitle("Agreement of the two heads", x=0.01, ha="left", fontsize=10, weight="bold")
        _legend(figure, [point for points in by_kind.values() for point in points], odd, len(by_kind))
    return figure


def _style(colour: str, marker: str) -> dict[str, Any]:
    return {"s": 24, "color": colour, "marker": marker, "alpha": 0.65, "linewidth": 0}


def _panel(axes: Axes, points: Sequence[Point], odd: Collection[str]) -> None:
    positive = [p.outlined for p in points if p.outlined > 0]
    linear = max(min([1.0, *positive]), 0.01)  # the scale is linear up to here
    spread = np.random.default_rng(0)  # left of 0, where place carries no meaning, so that empty masks hide none
    placed = [(p, p.outlined if p.outlined > 0 else -linear * spread.uniform(0, 0.8)) for p in points]
    for value, _, colour, marker in CLASSES:
        chosen = [(x, p.probability) for p, x in placed if p.tumour == value]
        if chosen:
            many = len(chosen) > 3000
            axes.scatter(*zip(*chosen, strict=True), clip_on=False, rasterized=many, **_style(colour, marker))
    ringed = [(x, p.probability) for p, x in placed if p.case_id in odd]
    if ringed:
        axes.scatter(*zip(*ringed, strict=True), clip_on=False, **RING)
    axes.set_xscale("symlog", linthresh=linear, linscale=0.7)
    axes.set_xlim(-0.95 * linear, max([*positive, 1.0]) * 1.4)
    axes.xaxis.set_major_formatter(lambda value, _: quantity(value) if value >= 0 else "")
    axes.grid(True)


def _legend(figure: Figure, points: Sequence[Point], odd: Collection[str], columns: int) -> None:
    """One legend for all panels, below them, with the numbers of all."""
    handles = []
    for value, name, colour, marker in CLASSES:
        n = sum(point.tumour == value for point in points)
        if n:
            handles.append(figure.axes[0].scatter([], [], label=f"{name} (n = {count(n)})", **_style(colour, marker)))
    ringed = sum(point.case_id in odd for point in points)
    if ringed:
        handles.append(figure.axes[0].scatter([], [], label=f"heads disagree (n = {count(ringed)})", **RING))
    figure.legend(handles=handles, loc="outside lower left", ncols=2 * columns)
