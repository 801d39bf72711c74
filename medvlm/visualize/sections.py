"""Sections of the report about scores: summary, segmentation, classification, calibration, confounding, ablation.

A section is a function ``section(evaluation, rows, panels) -> Markup | None``; None leaves it out. It says in words
what is absent, and computes no score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from medvlm.visualize import figures
from medvlm.visualize.numbers import (
    as_estimate,
    as_number,
    count,
    p_value,
    plural,
    quantity,
    rate,
    with_interval,
)
from medvlm.visualize.page import (
    Markup,
    bullets,
    cards,
    drawing,
    facts,
    gallery,
    heading,
    html,
    paragraph,
    section,
    table,
)
from medvlm.visualize.results import (
    PREVALENCES,
    RATES,
    SCORES,
    described,
    listed,
    part,
    region_names,
)

Rows = Sequence[Mapping[str, Any]]
Panels = Mapping[str, bytes]


def _known(value: Any, otherwise: str = "not stated") -> Any:
    return otherwise if value is None or value == "" else value


def _operating_point(evaluation: Mapping[str, Any]) -> str:
    point = part(evaluation, "operating_point")
    threshold = as_number(point.get("threshold"))
    if threshold is None:
        return "not stated"
    words = f"tumour probability \N{GREATER-THAN OR EQUAL TO} {rate(threshold)}"
    if point.get("chosen_on"):
        words += f", chosen on {point['chosen_on']}"
        words += f" (n = {count(point['n'])})" if as_number(point.get("n")) is not None else ""
    if as_number(point.get("target_sensitivity")) is not None:
        words += f" for a sensitivity of at least {rate(point['target_sensitivity'])}"
    if point.get("frozen") is not None:
        words += "; frozen in the bundle" if point["frozen"] else "; not frozen"
    return words


def _against_majority(overall: Mapping[str, Any]) -> str | None:
    accuracy = as_estimate(part(overall, "metrics").get("accuracy"))
    base = as_number(part(overall, "baseline_majority").get("accuracy"))
    if accuracy.value is None or base is None:
        return None
    prevalence = as_number(overall.get("prevalence"))
    answer = "the commoner class" if prevalence is None else "\N{LEFT DOUBLE QUOTATION MARK}" + (
        "tumour" if prevalence >= 0.5 else "no tumour") + "\N{RIGHT DOUBLE QUOTATION MARK}"  # fmt: skip
    words = f"Always answering {answer} would have an accuracy of {rate(base)}; the network has {with_interval(part(overall, 'metrics')['accuracy'])}"
    if accuracy.low is not None and accuracy.low <= base:
        return words + ": accuracy alone does not show that it is better."
    return words + "."


def _found(overall: Mapping[str, Any]) -> list[str]:
    counts = {key: as_number(value) for key, value in part(overall, "confusion").items()}
    said = []
    if None not in (counts.get("tp"), counts.get("fn")) and counts["tp"] + counts["fn"] > 0:
        total = counts["tp"] + counts["fn"]
        score = with_interval(part(overall, "metrics").get("sensitivity"))
        said.append(f"Of {plural(total, 'case')} with a tumour it found {count(counts['tp'])}: sensitivity {score}.")
    if None not in (counts.get("tn"), counts.get("fp")) and counts["tn"] + counts["fp"] > 0:
        total = counts["tn"] + counts["fp"]
        score = with_interval(part(overall, "metrics").get("specificity"))
        said.append(f"Of {plural(total, 'case')} without one it cleared {count(counts['tn'])}: specificity {score}.")
        if total < 30:
            said.append(f"With only {plural(total, 'case')} without a tumour, read the specificity by its interval.")
    return said


def summary(evaluation: Mapping[str, Any], rows: Rows, panels: Panels) -> Markup | None:
    """What was evaluated, on what, and the key numbers with their intervals."""
    overall = part(evaluation, "classification", "overall")
    regions = part(evaluation, "segmentation", "overall")
    shown = []
    for name in region_names(evaluation, ())[:1]:
        dice = part(regions, name, "dice")
        shown.append((f"Dice, {name}", with_interval(dice), f"mean of {plural(dice.get('n'), 'case')}, 95% CI"))
    for metric in ("sensitivity", "specificity", "roc_auc"):
        if metric in part(overall, "metrics"):
            shown.append(
                (
                    RATES[metric],
                    with_interval(part(overall, "metrics")[metric]),
                    f"{plural(overall.get('n'), 'case')}, 95% CI",
                )
            )
    said = [*_found(overall), _against_majority(overall)]
    point = part(evaluation, "operating_point")
    if point.get("chosen_on") and point.get("chosen_on") == evaluation.get("section"):
        said.append(
            "The threshold was chosen on the cases that are scored here: sensitivity and specificity are optimistic."
        )
    said = [sentence for sentence in said if sentence]
    bundle, checkpoint, n = part(evaluation, "bundle"), part(evaluation, "checkpoint"), part(evaluation, "n")
    prevalence = overall.get("prevalence")
    positive = f"{rate(prevalence)} ({count(overall.get('n_positive'))} of {count(overall.get('n'))})"
    pairs = [
        ("Bundle", f"{_known(bundle.get('name'))} {_known(bundle.get('version'), '(version not stated)')}"),
        ("Section", _known(evaluation.get("section"))),
        ("Cases", f"{count(n.get('cases'))} of {plural(n.get('patients'), 'patient')}" if n else "not stated"),
        ("Prevalence", positive if as_number(prevalence) is not None else "not available"),
        ("Operating point", _operating_point(evaluation)),
        ("Checkpoint", _known(checkpoint.get("file"))),
        ("SHA-256", Markup(f"<code>{html(checkpoint['sha256'])}</code>") if checkpoint.get("sha256") else "not stated"),
    ]
    return section(
        "summary", "Summary", cards(shown) if shown else paragraph("The evaluation holds no scores.", "absent"),
        bullets(said) if said else None, facts(pairs),
    )  # fmt: skip


def _score_line(name: Any, scores: Mapping[str, Any]) -> list[Any]:
    cells = [name, count(max((as_number(part(scores, s).get("n")) or 0 for s in scores), default=0))]
    for metric in SCORES:
        write = quantity if metric.endswith("_mm") else rate
        cells.append((with_interval(scores.get(metric), write), as_estimate(scores.get(metric)).value))
    volume = part(scores, "volume_ml")
    limits = [quantity(v) for v in listed(volume.get("limits_of_agreement"))]
    spread = f" ({' to '.join(limits)})" if len(limits) == 2 else ""
    cells.append(quantity(volume.get("bias")) + spread if volume else "not available")
    return cells


SCORE_HEADER = [*SCORES.values(), "Volume bias (limits of agreement), mL"]


def segmentation(evaluation: Mapping[str, Any], rows: Rows, panels: Panels) -> Markup | None:
    """Scores of masks with their intervals, overall and per source, and their figures."""
    scores = part(evaluation, "segmentation", "overall")
    title = "Segmentation"
    if not scores:
        words = "No mask was scored: the mask head is off, or no case of this section has a known mask."
        return section("segmentation", title, paragraph(words, "absent"))
    names = region_names(evaluation, ())
    by_source = part(evaluation, "segmentation", "per_source")
    lines, silent = [], []
    for source in sorted(by_source):
        regions = {name: s for name, s in part(by_source, source).items() if isinstance(s, Mapping)}
        if not regions:
            silent.append(f"{source}: {_known(part(by_source, source).get('note'), 'no mask is known')}")
        for name in (n for n in names if n in regions):
            source_cells = _score_line(source, regions[name])
            lines.append([source_cells[0], name, *source_cells[1:]])
    main = names[0]
    drawn = [
        drawing(figures.score_by_source(rows, f"dice_{name}", f"Dice, {name}"), f"dice {name}",
                f"Dice of {name}: a dot a case; box: quartiles and median, line: range.",
                f"No row holds a Dice of {name}.")
        for name in names
    ]  # fmt: skip
    volume = part(scores, main, "volume_ml")
    drawn += [
        drawing(figures.volume_scatter(rows, main), "volumes", f"Predicted against true {main} volume; the dashed line "
                "is equality.", f"No row holds a true and a predicted volume of {main}."),
        drawing(figures.bland_altman(rows, main, volume), "bland altman", f"Difference of {main} volumes: bias and 95% "
                "limits of agreement.", f"No limits of agreement of {main} can be drawn."),
    ]  # fmt: skip
    per_source = {s: part(by_source, s, main) for s in by_source}
    metrics = {"dice": f"Dice, {main}", "lw_dice": f"Lesion-wise Dice, {main}"}
    forest = figures.source_forest(per_source, metrics, "Masks by source", "Mean, 95% CI", part(scores, main))
    return section(
        "segmentation", title,
        paragraph("Means over cases, each scored on its own and never pooled; 95% confidence intervals resampled by "
                  "patient. Truth and prediction both empty: Dice 1, HD95 0; one of them empty: Dice 0, HD95 374 mm."),
        table(["Region", "n", *SCORE_HEADER], [_score_line(name, part(scores, name)) for name in names], "All sources"),
        table(["Source", "Region", "n", *SCORE_HEADER], lines, "By source", words=2) if lines
        else paragraph("No score by source is available.", "absent"),
        bullets(silent) if silent else None,
        drawing(forest, "masks by source", f"{main} by source, mean and 95% CI.", "No forest plot: no score by source."),
        gallery(drawn),
    )  # fmt: skip


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
                _known(method, ""),
            ]
        )
    return lines


def classification(evaluation: Mapping[str, Any], rows: Rows, panels: Panels) -> Markup | None:
    """Scores of the tumour verdict beside the majority's, overall and per source, with curves."""
    overall = part(evaluation, "classification", "overall")
    title = "Classification"
    if not part(overall, "metrics"):
        reason = _known(overall.get("note"), "the class head is off, or no case of this section has a known class")
        return section("classification", title, paragraph(f"No classification was scored: {reason}.", "absent"))
    metrics = part(overall, "metrics")
    by_source = part(evaluation, "classification", "per_source")
    columns = [
        n for n in ("sensitivity", "specificity", "balanced_accuracy", "mcc", "roc_auc", "pr_auc") if n in metrics
    ]
    lines = []
    for source in sorted(by_source):
        entry = part(by_source, source)
        scores = part(entry, "metrics")
        cells = (
            [with_interval(scores.get(n)) for n in columns]
            if scores
            else [_known(entry.get("note"), "not available"), *[""] * (len(columns) - 1)]
        )
        lines.append(
            [source, count(entry.get("n")), count(entry.get("n_positive")) if "n_positive" in entry else "", *cells]
        )
    prevalences = [
        [f"{p}%", with_interval(metrics.get(f"ppv_at_{p}")), with_interval(metrics.get(f"npv_at_{p}"))] for p in PREVALENCES
        if f"ppv_at_{p}" in metrics or f"npv_at_{p}" in metrics
    ]  # fmt: skip
    chosen = {name: RATES[name] for name in ("sensitivity", "specificity", "roc_auc")}
    scores = {s: part(by_source, s, "metrics") for s in by_source}
    return section(
        "classification", title,
        paragraph(f"{plural(overall.get('n'), 'case')} of {plural(overall.get('n_patients'), 'patient')}, "
                  f"{count(overall.get('n_positive'))} with a tumour. Verdicts at the operating point: "
                  f"{_operating_point(evaluation)}."),
        table(["Metric", "Value (95% CI)", "Majority answer", "Interval by"], _rate_lines(overall), "All sources"),
        table(["Prevalence", "PPV (95% CI)", "NPV (95% CI)"], prevalences,
              "Predictive values where tumours are rarer than here") if prevalences else None,
        gallery([
            drawing(figures.roc_curve(overall), "roc", "Sensitivity against 1 \N{MINUS SIGN} specificity at every threshold.",
                    "No ROC curve is available."),
            drawing(figures.precision_recall_curve(overall), "pr", "Precision against recall; the dashed line is the "
                    "prevalence.", "No precision-recall curve is available."),
            drawing(figures.confusion_matrix(overall), "confusion", "Verdicts at the operating point.",
                    "No confusion matrix is available."),
        ]),
        table(["Source", "n", "Tumours", *[RATES[n] for n in columns]], lines, "By source") if lines
        else paragraph("No score by source is available.", "absent"),
        drawing(figures.source_forest(scores, chosen, "Classification by source", "Value, 95% CI", metrics),
                "classes by source", "Each source on its own; a source of one class has no ROC-AUC.",
                "No forest plot: no score by source."),
    )  # fmt: skip


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
        "calibration", "Calibration", paragraph(words),
        drawing(figures.reliability_diagram(overall), "reliability", "A dot a bin of probabilities, on the diagonal when "
                "calibrated; below, how many cases a bin holds. A bin of few cases says little.",
                "No reliability diagram is available."),
    )  # fmt: skip


def confounding_reading(audit: Mapping[str, Any], pooled_auc: Any = None) -> list[str]:
    """Say in plain words what the confounding audit found.

    Args:
        audit: the evaluation's ``confounding``.
        pooled_auc: ROC-AUC over all sources, to be set beside those within each.
    """
    said = []
    probe = part(audit, "source_from_features")
    found, chance = (
        as_estimate({"value": probe.get("balanced_accuracy"), "ci": probe.get("ci")}),
        as_number(probe.get("chance")),
    )
    if found.value is not None and chance is not None:
        score = with_interval({"value": found.value, "ci": probe.get("ci")})
        words = f"A classifier told a case's source from the network's pooled features with a balanced accuracy of {score}; chance is {rate(chance)}."
        if found.low is None:
            said.append(words)
        elif found.low > chance:
            said.append(words + " The features carry the source, so the network could use it in place of the tumour.")
        else:
            said.append(words + " No better than chance could be shown in this sample.")
    sources = part(audit, "label_by_source")
    numbers = {s: [as_number(part(sources, s).get(k)) or 0 for k in ("0", "1")] for s in sources}
    single = {s: "tumour" if one else "no tumour" for s, (zero, one) in numbers.items() if (zero > 0) != (one > 0)}
    for source, name in sorted(single.items()):
        said.append(
            f"{source} holds only cases of class \N{LEFT DOUBLE QUOTATION MARK}{name}\N{RIGHT DOUBLE QUOTATION MARK}: knowing "
            "the source is knowing the answer there, and its cases raise a pooled score without showing anything about tumours."
        )
    if sources and not single and len(sources) > 1:
        said.append("Every source with known classes holds both.")
    if len(sources) == 1:
        said.append("There is one source only: nothing here shows how the network does on another.")
    within = {s: v for s, v in part(audit, "within_source_auc").items() if as_estimate(v).value is not None}
    if within:
        listing = "; ".join(f"{s} {with_interval(v)}" for s, v in sorted(within.items()))
        beside = (
            f", beside {with_interval(pooled_auc)} over all sources"
            if as_estimate(pooled_auc).value is not None
            else ""
        )
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
        "confounding", "Confounding",
        paragraph("When the classes come from different sources, a network can score well by telling the sources apart."),
        bullets(said) if said else paragraph("The audit holds nothing that can be read.", "absent"),
        table(["Source", "No tumour", "Tumour", "Unknown"], lines, "Cases by source and class") if lines
        else paragraph("No table of classes by source is available.", "absent"),
        paragraph(f"The evaluation adds: {note}") if note else None,
    )  # fmt: skip


def ablation(evaluation: Mapping[str, Any], rows: Rows, panels: Panels) -> Markup | None:
    """What training both heads together gained or cost."""
    entries = [e for e in listed(evaluation.get("ablation")) if isinstance(e, Mapping)]
    title = "Ablation"
    if not entries:
        words = "No ablation was run: this evaluation does not show what training the heads together gained or cost."
        return section("ablation", title, paragraph(words, "absent"))
    lines = []
    for entry in entries:
        difference = {"value": entry.get("difference"), "ci": entry.get("ci")}
        lines.append([_known(entry.get("name")), _known(entry.get("against")), described(str(entry.get("metric"))),
                      with_interval(difference, _difference), p_value(entry.get("p")), count(entry.get("n"))])  # fmt: skip
    return section(
        "ablation", title,
        paragraph("Differences on the same cases, by paired bootstrap. An interval that includes zero shows no difference, "
                  "and does not show that there is none."),
        table(["Variant", "Against", "Metric", "Difference (95% CI)", "p", "n"], lines, words=3),
        drawing(figures.ablation_forest(entries), "ablation", "Above zero the variant is better, for scores of which more "
                "is better; grey: the interval includes zero.", "No difference can be drawn."),
    )  # fmt: skip


def _difference(value: Any) -> str:
    number = as_number(value)
    if number is None:
        return "not available"
    return ("\N{MINUS SIGN}" if number < 0 else "+") + f"{abs(number):.3f}" if abs(number) >= 0.0005 else "0.000"
