"""Scores of the tumour verdict, and whether a probability means what it says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medvlm.visualize import figures
from medvlm.visualize.numbers import as_estimate, count, plural, rate, with_interval
from medvlm.visualize.page import Markup, Spanning, drawing, gallery, paragraph, section, table
from medvlm.visualize.results import PREVALENCES, RATES, Panels, Rows, described, operating_point_words, part, stated

METHODS = {"wilson": "Wilson", "delong": "DeLong"}
BY_SOURCE = ("sensitivity", "specificity", "balanced_accuracy", "mcc", "roc_auc", "pr_auc")


def _rate_lines(overall: Mapping[str, Any]) -> list[list[Any]]:
    metrics, base = part(overall, "metrics"), part(overall, "baseline_majority")
    names = [n for n in RATES if n in metrics]
    names += [n for n in metrics if n not in RATES and not n.startswith(("ppv_at_", "npv_at_"))]
    lines = []
    for name in names:
        entry = part(metrics, name)
        method = f"none: {entry['note']}" if entry.get("note") else entry.get("method")
        lines.append(
            [
                described(name),
                with_interval(metrics[name]),
                rate(base[name]) if name in base else "",
                METHODS.get(method, method) or "",
            ]
        )
    return lines


def _source_table(evaluation: Mapping[str, Any], metrics: Mapping[str, Any]) -> Markup:
    by_source = part(evaluation, "classification", "per_source")
    columns = [name for name in BY_SOURCE if name in metrics]
    lines = []
    for source in sorted(by_source):
        entry = part(by_source, source)
        found = part(entry, "metrics") or part(entry, "rates")
        cells = [with_interval(found[name]) if name in found else "" for name in columns]
        if not found:
            cells = [Spanning(stated(entry.get("note"), "not available"), len(columns))]
        elif entry.get("note"):
            source = f"{source} ({entry['note']})"
        positive = count(entry["n_positive"]) if "n_positive" in entry else ""
        lines.append([source, count(entry.get("n")), positive, *cells])
    if not lines:
        return paragraph("No score by source is available.", "absent")
    return table(["Source", "n", "Tumours", *[RATES[name] for name in columns]], lines, "By source")


def _curves(overall: Mapping[str, Any]) -> Markup:
    roc = "Sensitivity against 1 \N{MINUS SIGN} specificity at every threshold."
    recall = "Precision against recall; the dashed line is the prevalence."
    return gallery(
        [
            drawing(figures.roc_curve(overall), "roc", roc, "No ROC curve is available."),
            drawing(figures.precision_recall_curve(overall), "pr", recall, "No precision-recall curve is available."),
            drawing(
                figures.confusion_matrix(overall),
                "confusion",
                "Verdicts at the operating point.",
                "No confusion matrix is available.",
            ),
        ]
    )


def _prevalence_table(metrics: Mapping[str, Any]) -> Markup | None:
    lines = [
        [f"{p}%", with_interval(metrics.get(f"ppv_at_{p}")), with_interval(metrics.get(f"npv_at_{p}"))]
        for p in PREVALENCES
        if f"ppv_at_{p}" in metrics or f"npv_at_{p}" in metrics
    ]
    caption = "Predictive values at prevalences other than this section's"
    return table(["Prevalence", "PPV (95% CI)", "NPV (95% CI)"], lines, caption) if lines else None


def classification(evaluation: Mapping[str, Any], rows: Rows, panels: Panels) -> Markup | None:
    """Scores of the tumour verdict beside the majority's, overall and per source, with curves."""
    overall = part(evaluation, "classification", "overall")
    metrics = part(overall, "metrics")
    title = "Classification"
    if not metrics:
        reason = stated(overall.get("note"), "the class head is off, or no case of this section has a known class")
        return section("classification", title, paragraph(f"No classification was scored: {reason}.", "absent"))
    by_source = part(evaluation, "classification", "per_source")
    scores = {s: part(by_source, s, "metrics") or part(by_source, s, "rates") for s in by_source}
    drawn = {name: RATES[name] for name in ("sensitivity", "specificity", "roc_auc")}
    header = ["Metric", "Value (95% CI)", "Majority answer", "Interval by"]
    return section(
        "classification",
        title,
        paragraph(
            f"{plural(overall.get('n'), 'case')} of {plural(overall.get('n_patients'), 'patient')}, "
            f"{count(overall.get('n_positive'))} with a tumour. Verdicts at the operating point: "
            f"{operating_point_words(evaluation)}."
        ),
        table(header, _rate_lines(overall), "All sources", words=(0, 3)),
        _prevalence_table(metrics),
        _curves(overall),
        _source_table(evaluation, metrics),
        drawing(
            figures.source_forest(scores, drawn, "Classification by source", "Value, 95% CI", metrics),
            "classes by source",
            "Each source on its own; a source of one class has no ROC-AUC.",
            "No forest plot: no score by source.",
        ),
    )


def calibration(evaluation: Mapping[str, Any], rows: Rows, panels: Panels) -> Markup | None:
    """Whether a probability means what it says."""
    overall = part(evaluation, "classification", "overall")
    if not part(overall, "metrics"):
        return None
    error = part(overall, "metrics").get("ece")
    words = "The expected calibration error is not available."
    if as_estimate(error).value is not None:
        words = (
            f"The expected calibration error is {with_interval(error)}: on average, probability and observed frequency "
            "differ by so much."
        )
    return section(
        "calibration",
        "Calibration",
        paragraph(words),
        drawing(
            figures.reliability_diagram(overall),
            "reliability",
            "A dot a bin of probabilities, on the diagonal when "
            "calibrated; below, how many cases a bin holds. A bin of few cases says little.",
            "No reliability diagram is available.",
        ),
    )
