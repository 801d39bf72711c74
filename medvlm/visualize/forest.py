"""Forest plots: an estimate and its confidence interval a line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

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
        right = axes.secondary_yaxis("right")
        right.set_yticks(range(len(lines)), [with_interval({"value": e.value, "ci": e[1:]}, write) for _, e in lines])
        for side in (axes, right):
            side.tick_params(axis="y", length=0)
        right.spines["right"].set_visible(False)
        axes.spines["left"].set_visible(False)
        axes.grid(True, axis="x")
    return figure


def source_forest(
    by_source: Mapping[str, Mapping[str, Any]],
    metrics: Mapping[str, str],
    title: str,
    x_label: str,
    overall: Mapping[str, Any] | None = None,
) -> Figure | None:
    """Draw several metrics of every source side by side, one panel of the figure a metric.

    Args:
        by_source: source to ``{metric: {"value", "ci"}}``.
        metrics: metric to the name that readers see.
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
    with house_style():
        figure, panels = new_figure(
            2.4 + 2.2 * len(shown), 1.15 + 0.3 * len(entries), len(shown), sharey=True, sharex=True
        )
        for position, (axes, metric) in enumerate(zip(panels, shown, strict=True)):
            for index, (_, values) in enumerate(entries):
                estimate = as_estimate(values.get(metric))
                style = {"color": SEQUENCE[position % len(SEQUENCE)]}
                if estimate.value is None:
                    axes.text(0.5, index, "not available", ha="center", va="center", fontsize=7, color=FAINT)
                    continue
                if estimate.has_interval:
                    axes.plot([estimate.low, estimate.high], [index, index], linewidth=1.6, **style)
                axes.plot(estimate.value, index, MARKERS[position % len(MARKERS)], markersize=5.5, **style)
            axes.set(xlim=(-0.03, 1.03), ylim=(len(entries) - 0.4, -0.6), xlabel=x_label)
            axes.set_title(metrics[metric], weight="normal", loc="center", fontsize=9)
            axes.tick_params(axis="y", length=0)
            axes.spines["left"].set_visible(False)
            axes.grid(True, axis="x")
        panels[0].set_yticks(range(len(entries)), [shorten(name, 26) for name, _ in entries])
        figure.suptitle(title, x=0.01, ha="left", fontsize=10, weight="bold")
    return figure


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
