"""Figures of a classification: ROC, precision and recall, reliability, confusion.

Every function takes what ``evaluation.json`` or the rows hold, computes no score, and returns a figure, or None when
what it needs is absent. ``medvlm.visualize.style`` renders a figure to PNG or inline SVG. The figures of masks,
the agreement of the heads and the forest plots live in ``mask_figures``, ``agreement_figure`` and ``forest``, and are
re-exported here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from medvlm.visualize.agreement_figure import agreement_scatter
from medvlm.visualize.forest import ablation_forest, forest, source_forest
from medvlm.visualize.mask_figures import bland_altman, score_by_source, volume_scatter
from medvlm.visualize.numbers import as_estimate, as_number, rate, with_interval
from medvlm.visualize.style import BLUE, FAINT, VERMILLION, house_style, new_figure

__all__ = [
    "ablation_forest", "agreement_scatter", "bland_altman", "confusion_matrix", "forest", "precision_recall_curve",
    "reliability_diagram", "roc_curve", "score_by_source", "source_forest", "volume_scatter",
]  # fmt: skip


def _curve(classification: Mapping[str, Any] | None, name: str, x: str, y: str) -> tuple[np.ndarray, np.ndarray] | None:
    curve = ((classification or {}).get("curves") or {}).get(name) or {}
    xs, ys = curve.get(x) or [], curve.get(y) or []
    pairs = [(as_number(a), as_number(b)) for a, b in zip(xs, ys, strict=False)]
    pairs = [(a, b) for a, b in pairs if a is not None and b is not None]
    return tuple(np.array(pairs).T) if len(pairs) > 1 else None


def _metric(classification: Mapping[str, Any] | None, name: str) -> Any:
    return ((classification or {}).get("metrics") or {}).get(name)


def _unit_square(axes) -> None:
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal", xticks=np.linspace(0, 1, 6))
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.grid(True)


def roc_curve(classification: Mapping[str, Any] | None) -> Figure | None:
    """Draw the ROC curve with its area, and the operating point that sensitivity and specificity describe."""
    curve = _curve(classification, "roc", "fpr", "tpr")
    if curve is None:
        return None
    with house_style():
        figure, (axes,) = new_figure(3.6, 3.6)
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.plot(*curve, color=BLUE)
        area = _metric(classification, "roc_auc")
        if as_estimate(area).value is not None:
            axes.text(0.98, 0.03, f"AUC {with_interval(area)}", ha="right", va="bottom")
        sensitivity = as_estimate(_metric(classification, "sensitivity"))
        specificity = as_estimate(_metric(classification, "specificity"))
        if sensitivity.value is not None and specificity.value is not None:
            x, y = 1 - specificity.value, sensitivity.value
            if specificity.has_interval:
                axes.plot([1 - specificity.high, 1 - specificity.low], [y, y], color=VERMILLION, linewidth=1)
            if sensitivity.has_interval:
                axes.plot([x, x], [sensitivity.low, sensitivity.high], color=VERMILLION, linewidth=1)
            axes.plot(x, y, "o", color=VERMILLION, markersize=6, label="operating point, 95% CI")
            axes.legend(loc="lower right", bbox_to_anchor=(1, 0.09), handlelength=1, borderaxespad=0.2)
        _unit_square(axes)
        axes.set(title="ROC", xlabel="1 \N{MINUS SIGN} specificity", ylabel="Sensitivity")
    return figure


def precision_recall_curve(classification: Mapping[str, Any] | None) -> Figure | None:
    """Draw precision against recall, with the prevalence as the line of a coin.

    Each step reaches back to the recall before it, so that the area under them is the average precision.
    """
    curve = _curve(classification, "pr", "recall", "precision")
    if curve is None:
        return None
    with house_style():
        figure, (axes,) = new_figure(3.6, 3.6)
        prevalence = as_number(classification.get("prevalence"))
        if prevalence is not None:
            axes.axhline(prevalence, color=FAINT, linewidth=0.9, linestyle=(0, (4, 3)))
            place = (
                {"va": "bottom", "y": prevalence + 0.01} if prevalence < 0.9 else {"va": "top", "y": prevalence - 0.01}
            )
            axes.text(0.01, s=f"prevalence {rate(prevalence)}", ha="left", fontsize=8, **place)
        recall, precision = curve
        axes.step(np.r_[0, recall], np.r_[precision[0], precision], where="pre", color=BLUE)
        area = _metric(classification, "pr_auc")
        if as_estimate(area).value is not None:
            axes.text(0.02, 0.03, f"PR-AUC {with_interval(area)}", ha="left", va="bottom")
        _unit_square(axes)
        axes.set(title="Precision and recall", xlabel="Recall (sensitivity)", ylabel="Precision (PPV)")
    return figure


def reliability_diagram(classification: Mapping[str, Any] | None) -> Figure | None:
    """Draw the observed frequency against the predicted probability, a dot a bin, its count written beside it."""
    bins = ((classification or {}).get("curves") or {}).get("reliability") or {}
    names = ("confidence", "frequency", "count")
    triples = [[as_number(v) for v in t] for t in zip(*(bins.get(n) or [] for n in names), strict=False)]
    triples = [t for t in triples if None not in t and t[2] > 0]
    if not triples:
        return None
    confidence, frequency, counts = np.array(triples).T
    with house_style():
        figure = new_figure(3.6, 3.9)[0]
        figure.clear()
        axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.plot(confidence, frequency, "o-", color=BLUE, linewidth=1, markersize=5)
        below.bar(confidence, counts, width=0.05, color=BLUE, alpha=0.45)
        for x, n in zip(confidence, counts, strict=True):
            below.annotate(f"{n:.0f}", (x, n), (0, 1), textcoords="offset points", ha="center", va="bottom", fontsize=7)
        error = _metric(classification, "ece")
        known = f": ECE {with_interval(error)}" if as_estimate(error).value is not None else ""
        axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), title=f"Reliability{known}", ylabel="Observed frequency")
        axes.grid(True)
        below.set(xlabel="Predicted probability", ylabel="Cases", ylim=(0, counts.max() * 1.35))
        below.locator_params(axis="y", nbins=2, integer=True)
    return figure


def confusion_matrix(
    classification: Mapping[str, Any] | None, names: Sequence[str] = ("no tumour", "tumour")
) -> Figure | None:
    """Draw the four counts, shaded by the share of their true class."""
    counts = (classification or {}).get("confusion") or {}
    numbers = {key: as_number(counts.get(key)) for key in ("tn", "fp", "fn", "tp")}
    if None in numbers.values():
        return None
    table = np.array([[numbers["tn"], numbers["fp"]], [numbers["fn"], numbers["tp"]]])
    totals = table.sum(axis=1, keepdims=True)
    shares = np.divide(table, totals, out=np.zeros_like(table), where=totals > 0)
    with house_style():
        figure, (axes,) = new_figure(3.6, 3.6)
        for row in range(2):
            for column in range(2):
                colour = BLUE if row == column else VERMILLION
                box = {"facecolor": colour, "edgecolor": FAINT, "linewidth": 0.6}
                axes.add_patch(_rectangle(column, row, alpha=0.05 + 0.4 * shares[row, column], **box))
                share = f"{100 * shares[row, column]:.0f}% of row" if totals[row, 0] else "no such case"
                axes.text(
                    column,
                    row - 0.06,
                    f"{table[row, column]:.0f}",
                    ha="center",
                    va="center",
                    fontsize=16,
                    weight="bold",
                )
                axes.text(column, row + 0.2, share, ha="center", va="center", fontsize=8)
        axes.set(
            xlim=(-0.5, 1.5),
            ylim=(1.5, -0.5),
            aspect="equal",
            title="Confusion matrix",
            xlabel="Predicted",
            ylabel="True",
        )
        axes.set_xticks([0, 1], names)
        axes.set_yticks([0, 1], names, rotation=90, va="center")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    return figure


def _rectangle(column: int, row: int, **kwargs):
    from matplotlib.patches import Rectangle

    return Rectangle((column - 0.48, row - 0.48), 0.96, 0.96, **kwargs)
