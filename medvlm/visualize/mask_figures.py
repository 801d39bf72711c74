"""Figures of masks: scores per case and source, volumes against truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from medvlm.visualize.forest import shorten
from medvlm.visualize.numbers import as_number, quantity
from medvlm.visualize.style import BLUE, FAINT, INK, MARKERS, SEQUENCE, VERMILLION, house_style, new_figure


def _by_source(rows: Sequence[Mapping[str, Any]], *keys: str) -> dict[str, list[tuple[float, ...]]]:
    found: dict[str, list[tuple[float, ...]]] = {}
    for row in rows:
        values = tuple(as_number(row.get(key)) for key in keys)
        if None not in values:
            found.setdefault(str(row.get("source") or "unnamed source"), []).append(values)
    return dict(sorted(found.items()))


def score_by_source(rows: Sequence[Mapping[str, Any]], scores: Mapping[str, str]) -> Figure | None:
    """Draw a dot a case over a box a source, so that neither a small n nor two modes can hide; a panel a score.

    Args:
        rows: one dictionary a case; those without a score are left out of its panel.
        scores: columns between 0 and 1, such as ``dice_WT``, and the names that readers see.
    """
    groups = {key: _by_source(rows, key) for key in scores}
    shown = [key for key in scores if groups[key]]
    sources = sorted({source for key in shown for source in groups[key]})
    if not shown:
        return None
    spread = np.random.default_rng(0)  # across a strip, where place carries no meaning
    with house_style():
        figure, panels = new_figure(2.0 + 2.9 * len(shown), 0.95 + 0.55 * len(sources), len(shown), sharey=True)
        for axes, key in zip(panels, shown, strict=True):
            for index, source in enumerate(sources):
                values = np.array(groups[key].get(source, []), dtype=float).ravel()
                if not values.size:
                    axes.text(0.5, index, "no score", ha="center", va="center", fontsize=7, color=FAINT)
                    continue
                _box(axes, index, values)
                heights = index + spread.uniform(-0.16, 0.16, len(values))
                style = {"s": 15, "alpha": 0.65, "linewidth": 0, "clip_on": False, "zorder": 3}
                style |= {"color": SEQUENCE[index % len(SEQUENCE)], "marker": MARKERS[index % len(MARKERS)]}
                axes.scatter(values, heights, rasterized=len(values) > 3000, **style)
            axes.set(ylim=(len(sources) - 0.5, -0.5), xlim=(-0.02, 1.02))
            axes.set_title(scores[key], weight="normal", loc="center", fontsize=9)
            axes.tick_params(axis="y", length=0)
            axes.spines["left"].set_visible(False)
            axes.grid(True, axis="x")
        counts = [len(groups[shown[0]].get(source, ())) for source in sources]
        names = [f"{shorten(name, 22)} (n = {n})" for name, n in zip(sources, counts, strict=True)]
        panels[0].set_yticks(range(len(sources)), names)
    return figure


def _box(axes, height: float, values: np.ndarray) -> None:
    low, first, median, third, high = np.percentile(values, [0, 25, 50, 75, 100])
    axes.plot([low, high], [height, height], color=FAINT, linewidth=0.9, zorder=1)
    axes.barh(height, third - first, 0.5, left=first, facecolor=FAINT, edgecolor=FAINT, alpha=0.25, zorder=1)
    axes.plot([median, median], [height - 0.25, height + 0.25], color=INK, linewidth=1.8, zorder=4)


def volume_scatter(rows: Sequence[Mapping[str, Any]], region: str) -> Figure | None:
    """Draw predicted against true volume of every case whose mask is known, in mL."""
    groups = _by_source(rows, f"true_volume_ml_{region}", f"pred_volume_ml_{region}")
    if not groups:
        return None
    top = max(1e-3, max(v for values in groups.values() for pair in values for v in pair)) * 1.06
    with house_style():
        figure, (axes,) = new_figure(3.8, 3.8)
        axes.plot([0, top], [0, top], color=FAINT, linewidth=0.9, linestyle=(0, (4, 3)))
        _scatter_sources(axes, groups, lambda true, predicted: (true, predicted))
        axes.set(xlim=(-0.02 * top, top), ylim=(-0.02 * top, top), aspect="equal", title=f"{region} volume")
        axes.set(xlabel="True volume (mL)", ylabel="Predicted volume (mL)")
        axes.grid(True)
        _legend(axes, groups)
    return figure


def bland_altman(
    rows: Sequence[Mapping[str, Any]], region: str, volume: Mapping[str, Any] | None = None
) -> Figure | None:
    """Draw the difference of volumes against their mean, with the bias and limits of agreement that were evaluated.

    Args:
        rows: one dictionary a case.
        region: the region whose volumes are drawn.
        volume: ``{"bias", "limits_of_agreement": [low, high]}`` from the evaluation, in mL; its lines are left out
            where absent.

    Reference:
        Bland JM, Altman DG. Statistical methods for assessing agreement between two methods of clinical measurement.
        Lancet 1986;327:307-310.
    """
    groups = _by_source(rows, f"true_volume_ml_{region}", f"pred_volume_ml_{region}")
    if not groups:
        return None
    limits = (volume or {}).get("limits_of_agreement") or (None, None)
    lines = [
        ("bias", (volume or {}).get("bias"), "-"),
        ("lower limit", limits[0], "--"),
        ("upper limit", limits[1], "--"),
    ]
    lines = [(name, as_number(value), dash) for name, value, dash in lines if as_number(value) is not None]
    with house_style():
        figure, (axes,) = new_figure(4.6, 3.8)
        axes.axhline(0, color=FAINT, linewidth=0.9)
        _scatter_sources(axes, groups, lambda true, predicted: ((true + predicted) / 2, predicted - true))
        for name, value, dash in lines:
            axes.axhline(value, color=VERMILLION, linestyle=dash, linewidth=1.1)
            where = {"xy": (1, value), "xycoords": ("axes fraction", "data"), "xytext": (4, 0), "va": "center"}
            axes.annotate(f"{name}\n{quantity(value)}", textcoords="offset points", fontsize=7.5, **where)
        axes.set(
            title=f"{region} volume: difference (Bland\N{EN DASH}Altman)", xlabel="Mean of true and predicted (mL)"
        )
        axes.set(ylabel="Predicted \N{MINUS SIGN} true (mL)")
        axes.margins(y=0.18)
        axes.grid(True)
    return figure


def _scatter_sources(axes, groups: Mapping[str, list[tuple[float, ...]]], place) -> None:
    for index, (_, values) in enumerate(groups.items()):
        x, y = place(*np.array(values).T)
        style = {"s": 20, "alpha": 0.65, "linewidth": 0, "zorder": 3, "marker": MARKERS[index % len(MARKERS)]}
        colour = SEQUENCE[index % len(SEQUENCE)] if len(groups) > 1 else BLUE
        axes.scatter(x, y, color=colour, rasterized=len(x) > 3000, **style)


def _legend(axes, groups: Mapping[str, list]) -> None:
    if len(groups) > 1:
        handles = axes.collections
        axes.legend(handles, [shorten(name, 18) for name in groups], loc="upper left", handletextpad=0.2)
