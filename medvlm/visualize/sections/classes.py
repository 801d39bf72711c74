"""Scores of the tumour verdict, and whether a probability means what it says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medvlm.visualize import figures
from medvlm.visualize.numbers import as_estimate, count, plural, rate, with_interval
from medvlm.visualize.page import Markup, Spanning, drawing, gallery, paragraph, section, table
from medvlm.visualize.results import PREVALENCES, RATES, Panels, Rows, described, operating_point_words, part, stated

METHODS = {"wilson": "Wilson", "delong": "DeLong"}


def _rate_lines(overall: Mapping[str, Any]) -> list[list[Any]]:
    metrics, base = part(overall, "metrics"), part(overall, "baseline_majority")
    names = [n for n in RATES if n in metrics]
    names += [n for n in metrics if n not in RATES and not n.startswith(("ppv_at_", "npv_at_"))]
    lines = []
    for name in names:
        method = part(metrics, name).get("method")
        lines.append(
            [
                described(name),
                with_interval(metrics[name]),
                rate(base[name]) if name in base else "",
                METHODS.get(method, method) or "",
            ]
        )
    return lines


def classification(evaluation: Mapping[str, Any], rows: Rows, panels: Panels) -> Markup | None:
    """Scores of the tumour verdict beside the majority's, overall and per source, with curves."""
    overall = part(evaluation, "classification", "overall")
    title = "Classification"
    if not part(overall, "metrics"):
        reason = stated(overall.get("note"), "the class head is off, or no case of this section has a known class")
        return section("classification", title, paragraph(f"No classification was scored: {reason}.", "absent"))
    metrics = part(overall, "metrics")
    by_source = part(evaluation, "classification", "per_source")
    columns = [
        n for n in ("sensitivity", "specificity", "balanced_accuracy", "mcc", "roc_auc", "pr_auc") if n in metrics
    ]
    lines = []
    for source in sorted(by_source):
        entry = part(by_source, source)
        found = part(entry, "metrics") or part(entry, "rates")
        cells = [with_interval(found[n]) if n in found else "" for n in columns]
        if not found:
            cells = [Spanning(stated(entry.get("note"), "not available"), len(columns))]
        elif entry.get("note"):
            source = f"{source} ({entry['note']})"
        lines.append(
            [source, count(entry.get("n")), count(entry["n_positive"]) if "n_positive" in entry else "", *cells]
        )
    prevalences = [
        [f"{p}%", with_interval(metrics.get(f"ppv_at_{p}")), with_interval(metrics.get(f"npv_at_{p}"))]
        for p in PREVALENCES
        if f"ppv_at_{p}" in metrics or f"npv_at_{p}" in metrics
    ]
    chosen = {name: RATES[name] for name in ("sensitivity", "specificity", "roc_auc")}
    scores = {s: part(by_source, s, "metrics") or part(by_source, s, "rates") for s in by_source}
    return section(
        "classification",
        title,
        paragraph(
            f"{plural(overall.get('n'), 'case')} of {plural(overall.get('n_patients'), 'patient')}, "
            f"{count(overall.get('n_positive'))} with a tumour. Verdicts at the operating point: "
            f"{operating_point_words(evaluation)}."
        ),
        table(
            ["Metric", "Value (95% CI)", "Majority answer", "Interval by"],
            _rate_lines(overall),
            "All sources",
            words=(0, 3),
        ),
        table(
            ["Prevalence", "PPV (95% CI)", "NPV (95% CI)"],
            prevalences,
            "Predictive values where tumours are rarer than here",
        )
        if prevalences
        else None,
        gallery(
            [
                drawing(
                    figures.roc_curve(overall),
                    "roc",
                    "Sensitivity against 1 \N{MINUS SIGN} specificity at every threshold.",
                    "No ROC curve is available.",
                ),
                drawing(
                    figures.precision_recall_curve(overall),
                    "pr",
                    "Precision against recall; the dashed line is the prevalence.",
                    "No precision-recall curve is available.",
                ),
                drawing(
                    figures.confusion_matrix(overall),
                    "confusion",
                    "Verdicts at the operating point.",
                    "No confusion matrix is available.",
                ),
            ]
        ),
        table(["Source", "n", "Tumours", *[RATES[n] for n in columns]], lines, "By source")
        if lines
        else paragraph("No score by source is available.", "absent"),
        drawing(
            figures.source_forest(scores, chosen, "Classification by source", "Value, 95% CI", metrics),
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
