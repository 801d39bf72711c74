"""Of a video-text network: what was evaluated, the numbers to read first, and what could not be read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from medvlm.visualize.numbers import as_estimate, as_number, count, plural, rate, with_interval
from medvlm.visualize.page import Markup, bullets, cards, facts, html, paragraph, section, table
from medvlm.visualize.results import Panels, Rows, listed, part, stated

MOST_LISTED = 50


def _chance(hit: Mapping[str, Any]) -> str:
    """Two digits that count: of many studies chance is a few thousandths."""
    number = as_number(hit.get("chance"))
    return rate(number) if number is None or number >= 0.1 else f"{number:.2g}"


def _cards(evaluation: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    shown = []
    ways = (("video_to_text", "Right report first"), ("text_to_video", "Right study first"))
    for way, name in ways:
        found = part(evaluation, "retrieval", way)
        hit = part(found, "metrics").get("hit@1")
        if as_estimate(hit).value is not None:
            basis = f"Hit@1 of {plural(found.get('n_queries'), 'query').replace('querys', 'queries')}"
            shown.append((name, with_interval(hit), f"{basis}, 95% CI; chance {_chance(hit)}"))
    for task, report in part(evaluation, "zero_shot", "tasks").items():
        area = part(report, "metrics").get("roc_auc")
        if area and len(shown) < 3:
            shown.append((f"Zero-shot AUC, {task}", with_interval(area), f"{plural(report.get('n'), 'study')}, 95% CI"))
    scores = part(evaluation, "captioning", "facts", "scores")
    f1 = part(scores, "network", "groups", "findings").get("f1")
    if as_estimate(f1).value is not None:
        shown.append(("F1 of findings", with_interval(f1), "of generated reports, 95% CI"))
    invented = part(scores, "network").get("hallucination")
    if as_estimate(invented).value is not None:
        basis = f"{count(invented.get('n_made_up'))} of {plural(invented.get('n'), 'finding')} written"
        shown.append(("Hallucinated findings", with_interval(invented), f"{basis}, 95% CI"))
    return [(name, value, basis.replace("studys", "studies")) for name, value, basis in shown]


def _said(evaluation: Mapping[str, Any]) -> list[str]:
    n, said = part(evaluation, "n"), []
    if n.get("unreadable"):
        said.append(
            f"{count(n['unreadable'])} of {count(n.get('studies'))} studies without any view that could be read: "
            "no part in any score, listed below."
        )
    if n.get("without_report"):
        have = "study has" if n["without_report"] == 1 else "studies have"
        said.append(f"{count(n['without_report'])} readable {have} no report: a candidate, but no query.")
    for way, name in (("video_to_text", "a study's own report"), ("text_to_video", "a report's study")):
        hit = part(evaluation, "retrieval", way, "metrics", "hit@1")
        low, chance = as_estimate(hit).low, hit.get("chance")
        if low is not None and chance is not None:
            better = "above" if low > chance else "not shown to be above"
            times = f" ({hit['value'] / chance:.1f} times chance)" if chance > 0 else ""
            said.append(f"Finding {name} at the first place is {better} chance{times}.")
    for baseline, found in part(evaluation, "captioning", "facts", "against").items():
        entry = part(found, "findings")
        low, high = as_estimate({"ci": entry.get("ci")})[1:]
        if low is None:
            continue
        verdict = "better than" if low > 0 else "worse than" if high < 0 else "not shown to differ from"
        said.append(f"In the F1 of findings the generated reports are {verdict} the {baseline}.")
    return said


def cine_summary(evaluation: Mapping[str, Any], rows: Rows, panels: Panels) -> Markup | None:
    """What was evaluated, on what, and the key numbers with their intervals."""
    shown, said = _cards(evaluation), _said(evaluation)
    bundle, checkpoint, n = part(evaluation, "bundle"), part(evaluation, "checkpoint"), part(evaluation, "n")
    pairs = [
        ("Bundle", f"{stated(bundle.get('name'))} {stated(bundle.get('version'), '(version not stated)')}"),
        ("Run", stated(evaluation.get("name"))),
        ("Section", stated(evaluation.get("section"))),
        ("Studies", f"{count(n.get('evaluated'))} evaluated of {count(n.get('studies'))}, "
         f"{plural(n.get('patients'), 'patient')}"),
        ("Views", f"{count(n.get('views_read'))} read, {count(n.get('views_unreadable'))} could not be read"),
        ("Unique reports", count(part(evaluation, "retrieval").get("n_unique_texts"))),
        ("Checkpoint", stated(checkpoint.get("file"))),
        ("SHA-256", Markup(f"<code>{html(checkpoint['sha256'])}</code>") if checkpoint.get("sha256") else "not stated"),
        ("Tokenizer", f"{count(part(evaluation, 'tokenizer').get('tokens'))} tokens, fingerprint "
         f"{stated(part(evaluation, 'tokenizer').get('fingerprint'))}"),
    ]  # fmt: skip
    return section(
        "summary",
        "Summary",
        paragraph(evaluation["caution"], "caution") if evaluation.get("caution") else None,
        cards(shown) if shown else paragraph("It holds no scores of retrieval, prompts or reports.", "absent"),
        bullets(said) if said else None,
        facts(pairs),
    )


def unreadable(evaluation: Mapping[str, Any], rows: Rows, panels: Panels) -> Markup | None:
    """Studies and views that could not be read, and why."""
    title = "What could not be read"
    lines = []
    for row in rows:
        problems = row.get("view_problems")
        problems = json.loads(problems) if isinstance(problems, str) and problems else problems or {}
        lines += [[row["case_id"], file or "no file", _wrapped(why)] for file, why in problems.items()]
    if not lines:
        return section("unreadable", title, paragraph("Every view of every study could be read."))
    studies = listed(evaluation.get("unreadable"))
    words = f"{plural(len(lines), 'view')} could not be read, and are left out by their mask."
    if studies:
        words = f"Studies without any readable view, left out of every score: {count(len(studies))}. In all, {words}"
    if len(lines) > MOST_LISTED:
        words += f" The first {MOST_LISTED} are listed; all are in the CSV."
    names = ", ".join(str(entry.get("case_id")) for entry in studies[:MOST_LISTED])
    return section(
        "unreadable",
        title,
        paragraph(words),
        paragraph(f"Left out: {names}.") if names else None,
        table(["Study", "View", "Why"], lines[:MOST_LISTED], words=(0, 1, 2)),
    )


def _wrapped(text: str) -> Markup:
    return Markup(f'<div style="white-space:normal;max-width:34rem">{html(text)}</div>')
