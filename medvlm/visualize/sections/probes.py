"""Sections of the report of a probe: what each head scores, beside what looking at nothing would score."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from medvlm.visualize import figures
from medvlm.visualize.numbers import count, p_value, plural, quantity, rate, setting, with_interval
from medvlm.visualize.page import (
    Markup,
    anchor,
    bullets,
    cards,
    drawing,
    gallery,
    join,
    paragraph,
    section,
    table,
)
from medvlm.visualize.results import Panels, Rows, part
from medvlm.visualize.sections.notes import provenance

MAIN = {"binary": "roc_auc", "multiclass": "balanced_accuracy", "regression": "mae"}
NAMES = {
    "roc_auc": "ROC-AUC", "pr_auc": "PR-AUC", "f1": "F1", "mae": "MAE", "rmse": "RMSE", "r2": "R²", "ece": "ECE",
    "sensitivity": "Sensitivity", "specificity": "Specificity", "balanced_accuracy": "Balanced accuracy",
    "accuracy": "Accuracy", "macro_auc": "Mean AUC, one against the rest", "macro_f1": "Mean F1",
    "macro_pr_auc": "Mean PR-AUC, one against the rest", "bias": "Bias", "ppv": "PPV", "npv": "NPV",
    "mcc": "MCC",
}  # fmt: skip
UNITS = ("mae", "rmse", "bias")


def _written(name: str, entry: Any) -> str:
    return with_interval(entry, quantity if name in UNITS else rate)


def summary(evaluation: Mapping[str, Any], rows: Rows, panels: Panels) -> Markup:
    """The main score of every head."""
    n = part(evaluation, "n")
    shown = []
    for head, report in part(evaluation, "heads").items():
        name = MAIN.get(report.get("kind"), "")
        entry = part(report, "metrics").get(name)
        if entry:
            shown.append((f"{head}: {NAMES[name]}", _written(name, entry), f"n = {count(report.get('n'))}"))
    words = f"Studies: {count(n.get('studies'))}, patients: {count(n.get('patients'))}"
    left = n.get("without_readable_view") or 0
    words += f"; {count(left)} without a readable view, scored nowhere." if left else "; each has a readable view."
    return section("summary", "Summary", paragraph(words), cards(shown) if shown else paragraph("No score.", "absent"))


def heads(evaluation: Mapping[str, Any], rows: Rows, panels: Panels) -> Markup:
    """Every head on its own: scores, baseline, curves."""
    parts = [_head(head, report) for head, report in part(evaluation, "heads").items()]
    return join(parts) if parts else section("heads", "Heads", paragraph("No head was scored.", "absent"))


def _head(head: str, report: Mapping[str, Any]) -> Markup:
    metrics = part(report, "metrics")
    title = f"{head} ({report.get('kind')})"
    name = anchor(f"head {head}")
    if not metrics:
        return section(name, title, paragraph(f"Not scored: {report.get('note', 'nothing is known')}.", "absent"))
    majority, constant = part(report, "baseline_majority"), part(report, "baseline_constant")
    lines = [
        [NAMES.get(metric, metric), _written(metric, entry), _baseline(metric, majority, constant)]
        for metric, entry in metrics.items()
        if not metric.startswith(("ppv_at", "npv_at"))
    ]
    words = f"{plural(report.get('n'), 'case')} of {plural(report.get('n_patients'), 'patient')}"
    drawn = None
    if report.get("kind") == "binary":
        point = part(report, "operating_point")
        frozen = f"chosen on {point.get('chosen_on')} and frozen" if point.get("frozen") else "not chosen on data"
        if point.get("frozen") and "settings" in point and not point["settings"]:
            frozen += " under settings that it does not say"
        frozen += f": {point['note']}" if point.get("note") else ""
        threshold = setting(point.get("threshold"))
        words += f", {count(report.get('n_positive'))} positive; verdicts at {threshold}, {frozen}"
        drawn = _curves(head, report)
    elif report.get("kind") == "multiclass":
        matrix = report.get("confusion") or []
        header = ["True class", *[f"called {k}" for k in range(len(matrix))]]
        confusion = table(header, [[str(k), *map(count, row)] for k, row in enumerate(matrix)], "Confusion")
        bins = ("reliability", figures.reliability_diagram(report), "A dot a bin of probabilities.")
        drawn = join([confusion, _drawings(head, [bins])])
    chosen = majority.get("chosen_on") or constant.get("chosen_on")
    words += f"; what looking at nothing answers is chosen on: {chosen}" if chosen else ""
    return section(
        name,
        title,
        paragraph(f"{words}."),
        table(["Metric", "Value (95% CI)", "Looking at nothing"], lines),
        drawn,
    )


def _curves(head: str, report: Mapping[str, Any]) -> Markup:
    drawn = (
        ("roc", figures.roc_curve(report), "Sensitivity against 1 \N{MINUS SIGN} specificity."),
        ("reliability", figures.reliability_diagram(report), "A dot a bin of probabilities."),
        ("confusion", figures.confusion_matrix(report, (f"no {head}", head)), "Verdicts at the operating point."),
    )
    return _drawings(head, drawn)


def _drawings(head: str, drawn: Iterable[tuple[str, Any, str]]) -> Markup:
    return gallery([drawing(figure, f"{name} {head}", words, "Nothing to draw.") for name, figure, words in drawn])


def _baseline(metric: str, majority: Mapping[str, Any], constant: Mapping[str, Any]) -> str:
    if metric in majority:
        return rate(majority[metric])
    if metric in constant:
        return quantity(constant[metric])
    return {"roc_auc": "0.50", "macro_auc": "0.50", "r2": "0.00"}.get(metric, "")


def compared(evaluation: Mapping[str, Any], rows: Rows, panels: Panels) -> Markup | None:
    """Differences of AUC to other runs, and how they were tested."""
    lines = []
    for name, found in part(evaluation, "against").items():
        for head, entry in found.items():
            low, high = entry.get("ci") or (None, None)
            interval = "" if low is None else f" ({low:+.3f} to {high:+.3f})"
            difference = f"{entry.get('difference', float('nan')):+.3f}{interval}"
            tested = (p_value(entry.get("p")), entry.get("method") or "")
            lines.append([name, head, count(entry.get("n")), difference, *tested])
    if not lines:
        return None
    words = "The AUC of this run minus the other's on the same studies; an interval that holds 0 shows no difference."
    header = ["Other run", "Head", "n", "Difference (95% CI)", "p", "Method"]
    return section("against", "Against other runs", paragraph(words), table(header, lines, words=(0, 1, 5)))


def unreadable(evaluation: Mapping[str, Any], rows: Rows, panels: Panels) -> Markup | None:
    """Studies none of whose views could be read, and why."""
    lost = [row for row in rows if not row.get("readable_views")]
    if not lost:
        return None
    lines = [f"{row['case_id']}: {row.get('view_problems') or 'it has no view'}" for row in lost]
    return section("unreadable", "Studies without a readable view", bullets(lines))


PROBE_SECTIONS = (summary, heads, compared, unreadable, provenance)
