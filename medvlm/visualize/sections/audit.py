"""Whether the source could give the answer away, and what training the heads together gained or cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medvlm.visualize import figures
from medvlm.visualize.numbers import as_estimate, as_number, count, difference, p_value, plural, rate, with_interval
from medvlm.visualize.page import Markup, bullets, drawing, paragraph, section, table
from medvlm.visualize.results import Panels, Rows, described, listed, part, stated

SIGNIFICANT = 0.05  # level of the permutation test


def _probe_reading(probe: Mapping[str, Any]) -> list[str]:
    score = {"value": probe.get("balanced_accuracy"), "ci": probe.get("ci")}
    chance = as_number(probe.get("chance"))
    if as_estimate(score).value is None or chance is None:
        return []
    words = (
        "From the network's pooled features, a linear classifier told a case's source with a balanced accuracy of "
        f"{with_interval(score)}; chance is {rate(chance)}."
    )
    return [f"{words} {_tested(part(probe, 'permutation'))}"]


def _tested(permutation: Mapping[str, Any]) -> str:
    """What follows from the permutation test, and from nothing else."""
    p, n = as_number(permutation.get("p")), as_number(permutation.get("n"))
    if p is None:
        return "Whether that is more than chance was not tested: sources were not dealt anew."
    made = f"p = {p_value(p)}" + (f", {plural(n, 'permutation')} of the sources" if n is not None else "")
    if p <= SIGNIFICANT:
        return f"The features carry the source ({made}), so the network could use it in place of the tumour."
    if n is not None and 1 / (1 + n) > SIGNIFICANT:
        return f"That is not told from chance ({made}); so few permutations cannot reach p = {SIGNIFICANT}."
    return f"That cannot be told from chance ({made})."


def _class_reading(sources: Mapping[str, Any]) -> list[str]:
    said, both = [], 0
    for source in sorted(sources):
        healthy, tumours = (as_number(part(sources, source).get(key)) or 0 for key in ("0", "1"))
        both += healthy > 0 and tumours > 0
        if (healthy > 0) != (tumours > 0):
            said.append(
                f"{source} holds only {'tumours' if tumours else 'cases without a tumour'}: there, to know the source "
                "is to know the answer, and its cases raise a pooled score without showing anything about tumours."
            )
    if both > 1 and not said:
        said.append("Every source whose classes are known holds both.")
    if len(sources) == 1:
        said.append("There is one source only: nothing here shows how the network does on another.")
    return said


def confounding_reading(audit: Mapping[str, Any], pooled_auc: Any = None) -> list[str]:
    """Say in plain words what the confounding audit found.

    Args:
        audit: the evaluation's ``confounding``.
        pooled_auc: ROC-AUC over all sources, to be set beside those within each.
    """
    said = _probe_reading(part(audit, "source_from_features"))
    known = part(audit, "label_from_source")
    if as_number(known.get("balanced_accuracy")) is not None:
        said.append(
            "Knowing the source alone, without an image, gives the class with a balanced accuracy of "
            f"{rate(known['balanced_accuracy'])} (accuracy {rate(known.get('accuracy'))}); 0.50 would tell nothing."
        )
    said += _class_reading(part(audit, "label_by_source"))
    within = {s: v for s, v in part(audit, "within_source_auc").items() if as_estimate(v).value is not None}
    if within:
        listing = "; ".join(f"{s} {with_interval(v)}" for s, v in sorted(within.items()))
        pooled = as_estimate(pooled_auc).value is not None
        beside = f", beside {with_interval(pooled_auc)} over all sources" if pooled else ""
        said.append(f"ROC-AUC within a source, where the source cannot help: {listing}{beside}.")
    return said


def confounding(evaluation: Mapping[str, Any], rows: Rows, panels: Panels) -> Markup | None:
    """Whether the data set could give the answer away."""
    audit = part(evaluation, "confounding")
    if not audit:
        return section("confounding", "Confounding", paragraph("No confounding audit was made.", "absent"))
    said = confounding_reading(audit, part(evaluation, "classification", "overall", "metrics").get("roc_auc"))
    sources = part(audit, "label_by_source")
    lines = [[s, *(count(part(sources, s).get(k) or 0) for k in ("0", "1", "unknown"))] for s in sorted(sources)]
    note = audit.get("note")
    return section(
        "confounding",
        "Confounding",
        paragraph(
            "When the classes come from different sources, a network can score well by telling the sources apart."
        ),
        bullets(said) if said else paragraph("The audit holds nothing that can be read.", "absent"),
        table(["Source", "No tumour", "Tumour", "Unknown"], lines, "Cases by source and class")
        if lines
        else paragraph("No table of classes by source is available.", "absent"),
        paragraph(f"The evaluation adds: {note}") if note else None,
    )


def ablation(evaluation: Mapping[str, Any], rows: Rows, panels: Panels) -> Markup | None:
    """What training both heads together gained or cost."""
    entries = [e for e in listed(evaluation.get("ablation")) if isinstance(e, Mapping)]
    title = "Ablation"
    if not entries:
        words = "No ablation was run: this evaluation does not show what training the heads together gained or cost."
        return section("ablation", title, paragraph(words, "absent"))
    lines = []
    for entry in entries:
        estimate = {"value": entry.get("difference"), "ci": entry.get("ci")}
        lines.append(
            [
                stated(entry.get("name")),
                stated(entry.get("against")),
                described(str(entry.get("metric"))),
                with_interval(estimate, difference),
                p_value(entry.get("p")),
                count(entry.get("n")),
            ]
        )
    return section(
        "ablation",
        title,
        paragraph(
            "Differences on the same cases, by paired bootstrap. An interval that includes zero shows no difference, "
            "and does not show that there is none."
        ),
        table(["Variant", "Against", "Metric", "Difference (95% CI)", "p", "n"], lines, words=(0, 1, 2)),
        drawing(
            figures.ablation_forest(entries),
            "ablation",
            "Blue: the variant is better; orange: worse; grey: the interval includes zero. Rates only.",
            "No difference can be drawn.",
        ),
    )
