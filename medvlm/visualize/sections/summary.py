"""What was evaluated, and the numbers to read first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medvlm.visualize.numbers import as_estimate, as_number, count, plural, rate, with_interval
from medvlm.visualize.page import Markup, bullets, cards, facts, html, paragraph, section
from medvlm.visualize.results import (
    RATES,
    Panels,
    Rows,
    mask_gate_words,
    operating_point_words,
    part,
    region_names,
    stated,
)


def _against_majority(overall: Mapping[str, Any]) -> str | None:
    accuracy = as_estimate(part(overall, "metrics").get("accuracy"))
    base = as_number(part(overall, "baseline_majority").get("accuracy"))
    if accuracy.value is None or base is None:
        return None
    prevalence = as_number(overall.get("prevalence"))
    tumours = "\N{LEFT DOUBLE QUOTATION MARK}tumour\N{RIGHT DOUBLE QUOTATION MARK}"
    answer = (
        "the commoner class"
        if prevalence is None
        else tumours
        if prevalence >= 0.5
        else tumours.replace("t", "no t", 1)
    )
    score = with_interval(part(overall, "metrics")["accuracy"])
    words = f"Always answering {answer} would have an accuracy of {rate(base)}; the network has {score}"
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


def _dice_cards(name: str, scores: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """The Dice of all cases with a known mask, which empty ones lift, and that of the cases with a tumour."""
    dice, own, empty = part(scores, "dice"), part(scores, "dice_with_tumour"), part(scores, "empty_truth")
    basis = f"mean of {plural(dice.get('n'), 'case')} with a known mask"
    if as_number(empty.get("n")):
        basis += f"; {count(empty['n'])} hold no {name}: an empty answer counts 1 there, any other 0"
    cards = [(f"Dice, {name}, all cases", with_interval(dice), f"{basis}; 95% CI")]
    if own:
        basis = f"mean of {plural(own.get('n'), 'case')} whose true mask holds {name}; 95% CI"
        cards.append((f"Dice, {name}, cases with a tumour", with_interval(own), basis))
    return cards


def summary(evaluation: Mapping[str, Any], rows: Rows, panels: Panels) -> Markup | None:
    """What was evaluated, on what, and the key numbers with their intervals."""
    overall = part(evaluation, "classification", "overall")
    regions = part(evaluation, "segmentation", "overall")
    shown = []
    for name in region_names(evaluation, ())[:1]:
        shown += _dice_cards(name, part(regions, name))
    counts = {key: as_number(value) or 0 for key, value in part(overall, "confusion").items()}
    basis = {
        "sensitivity": f"{plural(counts.get('tp', 0) + counts.get('fn', 0), 'case')} with a tumour",
        "specificity": f"{plural(counts.get('tn', 0) + counts.get('fp', 0), 'case')} without one",
        "roc_auc": plural(overall.get("n"), "case"),
    }
    for metric, words in basis.items():
        if metric in part(overall, "metrics"):
            shown.append((RATES[metric], with_interval(part(overall, "metrics")[metric]), f"{words}, 95% CI"))
    said = [*_found(overall), _against_majority(overall)]
    point = part(evaluation, "operating_point")
    if point.get("chosen_on") and point.get("chosen_on") == evaluation.get("section"):
        said.append(
            "The threshold was chosen on the cases that are scored here: sensitivity and specificity are optimistic."
        )
    said.append(mask_gate_words(evaluation))
    said = [sentence for sentence in said if sentence]
    bundle, checkpoint, n = part(evaluation, "bundle"), part(evaluation, "checkpoint"), part(evaluation, "n")
    prevalence = overall.get("prevalence")
    positive = f"{rate(prevalence)} ({count(overall.get('n_positive'))} of {count(overall.get('n'))})"
    why = f": {overall['note']}" if not as_number(overall.get("n")) and overall.get("note") else ""
    pairs = [
        ("Bundle", f"{stated(bundle.get('name'))} {stated(bundle.get('version'), '(version not stated)')}"),
        ("Section", stated(evaluation.get("section"))),
        ("Cases", f"{count(n.get('cases'))} of {plural(n.get('patients'), 'patient')}" if n else "not stated"),
        ("Prevalence", positive if as_number(prevalence) is not None else f"not available{why}"),
        ("Operating point", f"none{why}" if why else operating_point_words(evaluation)),
        ("Checkpoint", stated(checkpoint.get("file"))),
        ("SHA-256", Markup(f"<code>{html(checkpoint['sha256'])}</code>") if checkpoint.get("sha256") else "not stated"),
    ]
    return section(
        "summary",
        "Summary",
        paragraph(evaluation["caution"], "caution") if evaluation.get("caution") else None,
        cards(shown) if shown else paragraph("The evaluation holds no scores.", "absent"),
        bullets(said) if said else None,
        facts(pairs),
    )
