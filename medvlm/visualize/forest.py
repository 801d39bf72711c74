"""Forest plots: an estimate and its confidence interval a line."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medvlm.visualize.numbers import Estimate, as_estimate, difference, printable, rate, with_interval
from medvlm.visualize.results import described
from medvlm.visualize.style import BLUE, FAINT, MARKERS, SEQUENCE, VERMILLION, house_style, new_figure

LABEL_WIDTH = 60  # characters
LESS_IS_BETTER = ("ece", "hd95", "lw_hd95", "lw_fp", "lw_fn", "Hallucinated findings")


def shorten(text: Any, width: int) -> str:
    """Cut the middle out of a long label; its start and end tell cases apart."""
    text = " ".join(printable(text).split())
    if len(text) <= width:
        return text
    tail = (width - 1) // 2
    return f"{text[: width - 1 - tail]}\N{HORIZONTAL ELLIPSIS}{text[-tail:]}"


def forest(
    lines: Sequence[tuple[str, Estimate]],
    title: str,
    x_label: str,
    reference: float | None = None,
    write: Callable[[Any], str] = rate,
    limits: tuple[float, float] | None = None,
    colours: Sequence[str] | None = None,
) -> Figure | None:
    """Draw a labelled estimate a line, from top to bottom.

    Args:
        lines: label and estimate; None is drawn when there is none or a value is absent.
        title: title of the figure.
        x_label: what is estimated, with its unit.
        reference: value of a vertical line, such as 0 for a difference.
        write: how the value is written at the right-hand side.
        limits: range of the axis; from the data when absent.
        colours: one a line; blue when absent.
    """
    if not lines or any(estimate.value is None for _, estimate in lines):
        return None
    with house_style():
        figure, (axes,) = new_figure(8.4, 0.85 + 0.3 * len(lines))
        for index, (_, estimate) in enumerate(lines):
            colour = colours[index] if colours else BLUE
            if estimate.has_interval:
                axes.plot([estimate.low, estimate.high], [index, index], color=colour, linewidth=1.6)
            axes.plot(estimate.value, index, "s", color=colour, markersize=5.5)
        if reference is not None:
            axes.axvline(reference, color=FAINT, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.set_yticks(range(len(lines)), [shorten(label, LABEL_WIDTH) for label, _ in lines])
        axes.set(ylim=(len(lines) - 0.4, -0.6), title=title, xlabel=x_label)
        if limits:
            axes.set_xlim(*limits)
        _values_at_right(axes, [estimate for _, estimate in lines], write)
        axes.grid(True, axis="x")
    return figure


def source_forest(
    by_source: Mapping[str, Mapping[str, Any]],
    metrics: Mapping[str, str],
    title: str,
    x_label: str,
    overall: Mapping[str, Any] | None = None,
) -> Figure | None:
    """Draw several metrics of every source side by side, a panel a metric, each value written at its right.

    Args:
        by_source: source to ``{metric: {"value", "ci"}}``.
        metrics: metric, a rate, to the name that readers see.
        title: title of the figure.
        x_label: label of every axis.
        overall: the same metrics over all sources, drawn on top.
    """
    entries = ([("all sources", overall)] if overall else []) + [
        (str(s), m or {}) for s, m in sorted(by_source.items())
    ]
    shown = [m for m in metrics if any(as_estimate(values.get(m)).value is not None for _, values in entries)]
    if not shown or not by_source:
        return None
    found = [[as_estimate(values.get(metric)) for _, values in entries] for metric in shown]
    limits = _rate_limits([value for column in found for estimate in column for value in estimate])
    with house_style():
        size = (1.9 + 2.7 * len(shown), 1.15 + 0.3 * len(entries))
        figure, panels = new_figure(*size, len(shown), sharey=True, sharex=True)
        for position, (axes, metric, column) in enumerate(zip(panels, shown, found, strict=True)):
            style = {"color": SEQUENCE[position % len(SEQUENCE)]}
            for index, estimate in enumerate(column):
                if estimate.has_interval:
                    axes.plot([estimate.low, estimate.high], [index, index], linewidth=1.6, **style)
                if estimate.value is not None:
                    axes.plot(estimate.value, index, MARKERS[position % len(MARKERS)], markersize=5.5, **style)
            axes.set(xlim=limits, ylim=(len(entries) - 0.4, -0.6), xlabel=x_label)
            axes.set_title(metrics[metric], weight="normal", loc="center", fontsize=9)
            _values_at_right(axes, column)
            axes.grid(True, axis="x")
        panels[0].set_yticks(range(len(entries)), [shorten(name, 26) for name, _ in entries])
        figure.suptitle(title, x=0.01, ha="left", fontsize=10, weight="bold")
    return figure


def _rate_limits(values: Sequence[float | None]) -> tuple[float, float]:
    """An axis from the tenth below the lowest rate to 1, so that high rates fill it; a fifth wide at least."""
    known = [value for value in values if value is not None]
    low = min(0.8, math.floor(10 * min(known, default=0) + 1e-9) / 10)
    reach = max(1.0, *known) if known else 1.0
    return low - 0.03 * (reach - low), reach + 0.03 * (reach - low)


def _values_at_right(axes: Axes, estimates: Sequence[Estimate], write: Callable[[Any], str] = rate) -> None:
    right = axes.secondary_yaxis("right")
    right.set_yticks(
        range(len(estimates)), [with_interval({"value": e.value, "ci": e[1:]}, write) for e in estimates]
    )
    for side in (axes, right):
        side.tick_params(axis="y", length=0)
    right.tick_params(axis="y", pad=8)
    right.spines["right"].set_visible(False)
    axes.spines["left"].set_visible(False)


def ablation_forest(ablation: Sequence[Mapping[str, Any]]) -> Figure | None:
    """Draw the paired differences of rates between variants: blue is better, vermillion worse, grey undecided.

    Differences in millimetres are left out: they share no axis with rates.
    """
    lines, colours = [], []
    for entry in ablation or ():
        metric, estimate = str(entry.get("metric")), as_estimate({**entry, "value": entry.get("difference")})
        if estimate.value is None or "_mm" in metric:
            continue
        names = [shorten(entry.get(key), 20) for key in ("name", "against")]
        less = metric.startswith(LESS_IS_BETTER)
        label = f"{described(metric)}{' (less is better)' if less else ''}: {names[0]} \N{MINUS SIGN} {names[1]}"
        lines.append((label, estimate))
        decided = estimate.has_interval and (estimate.low > 0 or estimate.high < 0)
        colours.append(FAINT if not decided else BLUE if (estimate.value > 0) != less else VERMILLION)
    reach = 1.15 * max((abs(v) for _, e in lines for v in e if v is not None), default=0)
    return forest(
        lines,
        "Differences between variants",
        "Difference, paired bootstrap 95% CI",
        reference=0.0,
        write=difference,
        limits=(-reach, reach) if reach > 0 else None,
        colours=colours,
    )
