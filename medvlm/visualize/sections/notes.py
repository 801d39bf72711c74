"""How to read the report, and what made it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medvlm.visualize.page import Markup, bullets, facts, heading, html, paragraph, section
from medvlm.visualize.results import Panels, Rows, day, part


def reading(evaluation: Mapping[str, Any], rows: Rows, panels: Panels) -> Markup | None:
    """How to read the numbers, and what they do not say."""
    has_masks = bool(part(evaluation, "segmentation", "overall"))
    notes = [
        "Brackets hold 95% confidence intervals: how far a value may move with other patients of the same kind. They "
        "say nothing about other scanners, hospitals or diseases.",
        "Scores hold for the sources listed, at their prevalence. Predictive values at 1, 5 and 10% prevalence assume "
        "that sensitivity and specificity stay as they are.",
        "The majority answer is what always giving the commoner class would score; a metric near it shows nothing "
        "learnt.",
        "A case without a mask is one whose mask is unknown, not one without a tumour; mask scores leave it out.",
    ]
    if has_masks:
        notes.append(
            "HD95 is 374 mm, by the BraTS rule, wherever exactly one of truth and prediction is empty; a few such "
            "cases move the mean far, so read the median too."
        )
        notes.append(
            "Lesion-wise scores count a false lesion as a lesion with Dice 0; a plain Dice hardly sees small ones."
        )
    notes.append(
        "Pictures show one axial slice, the one with most truth and prediction, front on top and, where the file gives "
        "its orientation, the patient's left on the right. A class activation shows where the class head looked, not "
        "why."
    )
    notes.append("Research software: not a medical device, not for decisions about patients.")
    return section("reading", "How to read this, and its limits", bullets(notes))


def provenance(evaluation: Mapping[str, Any], rows: Rows, panels: Panels) -> Markup | None:
    """What made this report."""
    bundle, checkpoint = part(evaluation, "bundle"), part(evaluation, "checkpoint")
    name = " ".join(str(bundle[key]) for key in ("name", "version") if bundle.get(key))
    pairs = [
        ("Evaluated", day(evaluation.get("created"))),
        ("Bundle", name),
        ("Checkpoint", checkpoint.get("file")),
        ("SHA-256", checkpoint.get("sha256")),
        ("Section", evaluation.get("section")),
        ("Seed", evaluation.get("seed")),
        ("Bootstrap repeats", evaluation.get("n_boot")),
    ]
    made = [(label, value if value not in (None, "") else "not stated") for label, value in pairs]
    made += [(package, version) for package, version in sorted(part(evaluation, "versions").items())]
    command = evaluation.get("command")
    if isinstance(command, (list, tuple)):
        command = " ".join(map(str, command))
    shown = (
        Markup(f"<pre><code>{html(command)}</code></pre>")
        if command
        else paragraph("The command is not stated.", "absent")
    )
    return section("provenance", "Provenance", facts(made), heading("Command"), shown)
