"""Retrieval between studies and reports, classification by prompts, and runs beside each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from medvlm.visualize.forest import ablation_forest, forest
from medvlm.visualize.numbers import as_estimate, as_number, count, difference, p_value, quantity, rate, with_interval
from medvlm.visualize.page import Markup, bullets, drawing, heading, html, join, paragraph, section, table
from medvlm.visualize.results import Panels, Rows, listed, part
from medvlm.visualize.style import BLUE, FAINT, VERMILLION, house_style, new_figure

WAYS = {"video_to_text": "Video to report", "text_to_video": "Report to video"}


def metric_name(key: str) -> str:
    """A metric's name for readers: ``video_to_text_hit@1`` is "Hit@1, video to report"."""
    for way, words in WAYS.items():
        if key.startswith(way):
            return f"{metric_name(key.removeprefix(way).strip('_'))}, {words.lower()}"
    if key.startswith("roc_auc_"):
        return f"Zero-shot AUC, {key.removeprefix('roc_auc_').replace('_', ' ')}"
    if key.startswith("fact_f1_"):
        return f"Fact F1, {key.removeprefix('fact_f1_')}"
    names = {"mrr": "MRR", "map": "MAP", "median_rank": "Median rank", "hallucination": "Hallucinated findings"}
    return names.get(key, key.replace("hit@", "Hit@").replace("recall@", "Recall@").replace("ndcg@", "NDCG@"))


def _hits(found: Mapping[str, Any]) -> Figure | None:
    ways = [(way, part(found, way, "metrics")) for way in WAYS]
    keys = [key for key in (ways[0][1] or ways[1][1]) if key.startswith("hit@")]
    if not keys:
        return None
    with house_style():
        figure, panels = new_figure(6.4, 2.6, 2, sharey=True)
        for axes, (way, metrics), colour in zip(panels, ways, (BLUE, VERMILLION), strict=True):
            for place, key in enumerate(keys):
                estimate = as_estimate(metrics.get(key))
                if estimate.value is None:
                    continue
                axes.bar(place, estimate.value, width=0.6, color=colour, alpha=0.55)
                if estimate.has_interval:
                    axes.plot([place, place], [estimate.low, estimate.high], color=colour, linewidth=1.6)
                chance = as_number(part(metrics, key).get("chance"))
                if chance is not None:
                    axes.plot([place - 0.38, place + 0.38], [chance, chance], color=FAINT, linestyle=(0, (3, 2)))
            axes.set_xticks(range(len(keys)), [metric_name(key) for key in keys])
            axes.set(title=WAYS[way], ylim=(0, 1.03))
            axes.grid(True, axis="y")
        panels[0].set_ylabel("Share of queries")
    return figure


def retrieval(evaluation: Mapping[str, Any], rows: Rows, panels: Panels) -> Markup | None:
    """Scores of both directions beside chance."""
    found = part(evaluation, "retrieval")
    if found.get("note") or not found:
        words = found.get("note") or "it is not in the evaluation"
        return section("retrieval", "Retrieval", paragraph(f"Not evaluated: {words}.", "absent"))
    metrics = {way: part(found, way, "metrics") for way in WAYS}
    lines = []
    for key in metrics["video_to_text"] or metrics["text_to_video"]:
        write = quantity if key == "median_rank" else rate
        cells = [metric_name(key)]
        for way in WAYS:
            entry = part(metrics[way], key)
            cells += [with_interval(entry, write), write(entry.get("chance"))]
        lines.append(cells)
    ways = {way: part(found, way) for way in WAYS}
    described = [
        f"{WAYS[way]}: {count(own.get('n_queries'))} queries of {count(own.get('n_patients'))} patients among "
        f"{count(own.get('n_candidates'))} candidates; {count(own.get('n_skipped'))} queries without a right answer "
        "were skipped."
        for way, own in ways.items()
    ]
    words = (
        f"{count(found.get('n_studies'))} studies with {count(found.get('n_unique_texts'))} different reports. Equal "
        "reports count as one, so each of their studies is right for it."
    )
    header = ["", "Video to report", "chance", "Report to video", "chance"]
    caption = "The bar's line is the 95% interval over patients, the dashed line chance."
    return section(
        "retrieval",
        "Retrieval",
        paragraph(words),
        bullets(described),
        drawing(_hits(found), "hits", caption, "No direction has a query with a right answer."),
        table(header, lines, "Value with its 95% interval, and what chance would reach"),
    )


def zero_shot(evaluation: Mapping[str, Any], rows: Rows, panels: Panels) -> Markup | None:
    """Classification by the nearer prompt."""
    found = part(evaluation, "zero_shot")
    tasks = part(found, "tasks")
    title = "Zero-shot classification by prompts"
    if not tasks:
        words = found.get("note") or "it is not in the evaluation"
        return section("zero-shot", title, paragraph(f"Not evaluated: {words}.", "absent"))
    lines, areas, prompts = [], [], []
    for name, report in tasks.items():
        metrics = part(report, "metrics")
        known = f"{count(report.get('n_positive'))} of {count(report.get('n'))}" if report.get("n") else "0"
        cells = [name.replace("_", " "), known]
        if metrics:
            cells += [with_interval(metrics.get(key)) for key in ("roc_auc", "pr_auc", "sensitivity", "specificity")]
            areas.append((name.replace("_", " "), as_estimate(metrics.get("roc_auc"))))
        else:
            cells += [str(report.get("note") or ""), "", "", ""]
        lines.append(cells)
        sides = part(report, "prompts")
        prompts.append(
            Markup(
                f"<strong>{html(name.replace('_', ' '))}</strong> (target <code>{html(report.get('target'))}</code>): "
                f"{html(' | '.join(sides.get('positive') or []))} <em>against</em> "
                f"{html(' | '.join(sides.get('negative') or []))}"
            )
        )
    figure = forest(areas, "ROC-AUC", "ROC-AUC, 95% CI", reference=0.5, limits=(0, 1))
    words = (
        "A study is called positive when its video lies nearer to the positive wordings than to the negative ones; "
        "nothing was learnt for these tasks. The AUC does not depend on that threshold."
    )
    header = ["Task", "Positive", "ROC-AUC", "PR-AUC", "Sensitivity", "Specificity"]
    return section(
        "zero-shot",
        title,
        paragraph(words),
        drawing(figure, "zero-shot", "0.5 is chance.", "No task has both classes."),
        table(header, lines),
        heading("Prompts"),
        bullets(prompts),
    )


def runs(evaluation: Mapping[str, Any], rows: Rows, panels: Panels) -> Markup | None:
    """Runs beside each other: which objective adds what."""
    found = part(evaluation, "ablation")
    scored, problems = part(found, "runs"), part(found, "problems")
    title = "Runs compared: what each objective adds"
    if len(scored) < 2 and not problems:
        return section("runs", title, paragraph("No other run was given to compare with.", "absent"))
    keys = list(dict.fromkeys(key for metrics in scored.values() for key in metrics))
    lines = [[metric_name(key), *(_cell(part(metrics, key)) for metrics in scored.values())] for key in keys]
    differences = listed(found.get("differences"))
    named = [{**entry, "metric": metric_name(str(entry.get("metric")))} for entry in differences]
    words = (
        "Scores are over studies, on the same studies for all runs; differences are paired, resampling patients. An "
        "empty cell: the run was not trained for it. An interval of a difference that includes 0 decides nothing."
    )
    listed_differences = [
        [
            f"{entry['name']} \N{MINUS SIGN} {entry['against']}",
            entry["metric"],
            with_interval({"value": entry.get("difference"), "ci": entry.get("ci")}, difference),
            p_value(entry.get("p")),
            count(entry.get("n")),
        ]
        for entry in named
    ]
    notes = [f"{name} could not be compared: {why}" for name, why in problems.items()]
    header = ["Runs", "Metric", "Difference (95% CI)", "p", "Studies"]
    return section(
        "runs",
        title,
        paragraph(words),
        join([paragraph(note, "caution") for note in notes]) if notes else None,
        table(["", *scored], lines) if len(scored) > 1 else None,
        drawing(
            ablation_forest(named),
            "runs",
            "Blue: this run is better, vermillion: worse, grey: undecided.",
            "No difference could be computed.",
        ),
        table(header, listed_differences, words=(0, 1)) if listed_differences else None,
    )


def _cell(entry: Mapping[str, Any]) -> str:
    return with_interval(entry) if as_number(entry.get("value")) is not None else ""
