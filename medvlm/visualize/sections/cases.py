"""Cases: the heads' agreement, the worst, and all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from medvlm.visualize import figures
from medvlm.visualize.agreement_figure import Point, agreement_points
from medvlm.visualize.numbers import as_estimate, as_number, count, plural, quantity, rate, setting
from medvlm.visualize.page import (
    Markup,
    anchor,
    bullets,
    drawing,
    heading,
    html,
    join,
    paragraph,
    picture,
    section,
    table,
)
from medvlm.visualize.results import (
    KINDS,
    Panels,
    Rows,
    listed,
    part,
    region_names,
    rows_by_case,
    threshold_of,
    true_class,
)

MOST_PICTURES = 12


MOST_ROWS = 5000


def _case_ids(entries: Any) -> list[str]:
    names = [e.get("case_id") if isinstance(e, Mapping) else e for e in listed(entries)]
    return [str(name) for name in dict.fromkeys(names) if name is not None]


def _caption(case: str, row: Mapping[str, Any] | None, regions: Sequence[str]) -> Markup:
    words = [Markup(f"<strong>{html(case)}</strong>")]
    if row is None:
        return Markup(f"{words[0]} \N{MIDDLE DOT} not among the rows")
    words += [html(row.get("source") or "source not stated"), html(f"truth: {true_class(row)}")]
    if as_number(row.get("probability")) is not None:
        words.append(html(f"tumour probability {rate(row['probability'])}"))
    for name in regions:
        if as_number(row.get(f"dice_{name}")) is not None:
            words.append(html(f"Dice {name} {rate(row[f'dice_{name}'])}"))
    true, predicted = (as_number(row.get(f"{k}_volume_ml_{regions[0]}")) if regions else None for k in ("true", "pred"))
    if predicted is not None:
        beside = f"true {quantity(true)} mL" if true is not None else "truth unknown"
        words.append(html(f"{regions[0]} volume {quantity(predicted)} mL ({beside})"))
    return Markup(" \N{MIDDLE DOT} ".join(words))


def _pictured(cases: Sequence[str], panels: Panels) -> list[str]:
    return [case for case in cases if case in panels][:MOST_PICTURES]


def _pictures(
    cases: Sequence[str], evaluation: Mapping[str, Any], rows: Rows, panels: Panels, shown: Sequence[str] = ()
) -> Markup:
    """Show cases; one that an earlier section shows is linked, one without a picture is described."""
    known, regions = rows_by_case(rows), region_names(evaluation, rows)
    drawn = set(_pictured([c for c in cases if c not in shown], panels))
    parts, described = [], []
    for case in cases:
        caption = _caption(case, known.get(case), regions)
        if case in drawn:
            parts.append(picture(panels[case], caption, anchor(f"case {case}"), f"Images of case {case}"))
        elif case in shown:
            link = Markup(f'{caption} \N{MIDDLE DOT} <a href="#{anchor(f"case {case}")}">pictured above</a>')
            described.append(link)
        else:
            described.append(caption)
    if described:
        parts.append(paragraph("Further cases:" if parts else "Without a picture here:"))
        parts.append(bullets(described))
    return join(parts)


def _counted(drawn: Mapping[str, Sequence[Point]], odd: Sequence[str]) -> str:
    """Say what the figure counts, and which of the listed cases it lacks."""
    kinds = " and ".join(plural(len(points), kind) for kind, points in drawn.items())
    there = {point.case_id for points in drawn.values() for point in points}
    words = f"A dot a case: {kinds}; left of 0, spread, those with an empty mask. Dashed: the thresholds of both heads."
    words += " Upper left and lower right: they disagree" + (", ringed." if there & set(odd) else ".")
    lacking = [case for case in odd if case not in there]
    if lacking:
        words += f" Not drawn, for want of a row with both answers: {count(len(lacking))} of the cases that disagree."
    return words


def agreement(evaluation: Mapping[str, Any], rows: Rows, panels: Panels) -> Markup | None:
    """Whether the tumour probability and the mask tell the same story."""
    found = part(evaluation, "agreement")
    title = "Agreement of the two heads"
    if not found or (found.get("note") and "both" not in found):
        why = f" ({found['note']})" if found else ""
        return section("agreement", title, paragraph(f"Not evaluated: it takes both heads{why}.", "absent"))
    regions = region_names(evaluation, rows)
    main = regions[0] if regions else "WT"
    limit = found.get("threshold_ml")
    odd = _case_ids(found.get("disagreeing"))
    drawn = agreement_points(rows, main)
    spearman = as_estimate(found.get("spearman")).value
    names = (
        ("both", "tumour by both"),
        ("neither", "tumour by neither"),
        ("mask_only", "by the mask only"),
        ("class_only", "by the class only"),
    )
    words = (
        f"The mask head sees a tumour from {setting(limit)} mL on (in a picture, which has no volume, as soon as it "
        "outlines anything), the class head from the operating point on."
        if as_number(limit) is not None
        else "The volume from which the mask head is taken to see a tumour is not stated."
    )
    if spearman is not None:
        words += f" The rank correlation (Spearman) of probability and {main} volume is {rate(spearman)}"
        words += " (volumes only)." if "picture" in drawn else "."
    thresholds = {kind: threshold_of(evaluation, kind) for kind in KINDS}
    figure = figures.agreement_scatter(rows, main, thresholds, limit, odd)
    listing = (
        heading(f"Cases whose heads disagree ({count(len(odd))})")
        if odd
        else paragraph("No case is listed as disagreeing.")
    )
    return section(
        "agreement",
        title,
        paragraph(words),
        table(["Verdict", "Cases"], [[name, count(found.get(key))] for key, name in names]),
        drawing(
            figure,
            "agreement",
            _counted(drawn, odd),
            "No row holds both a probability and a predicted mask.",
        ),
        listing,
        _pictures(odd, evaluation, rows, panels) if odd else None,
    )


def worst(evaluation: Mapping[str, Any], rows: Rows, panels: Panels) -> Markup | None:
    """The cases with the lowest scores, as pictures."""
    cases = _case_ids(evaluation.get("worst"))
    if not cases:
        return section("worst", "Worst cases", paragraph("No list of worst cases is available.", "absent"))
    shown = _pictured(_case_ids(part(evaluation, "agreement").get("disagreeing")), panels)
    names = {1: "The worst case", 10: "The ten worst cases"}
    title = names.get(len(cases), f"The {count(len(cases))} worst cases")
    words = None if panels else paragraph("No pictures were made for this report.", "absent")
    return section("worst", title, words, _pictures(cases, evaluation, rows, panels, shown))


def all_cases(evaluation: Mapping[str, Any], rows: Rows, panels: Panels) -> Markup | None:
    """Every case in a table that sorts by a click."""
    if not rows:
        return section("cases", "All cases", paragraph("No rows of cases were given.", "absent"))
    regions = region_names(evaluation, rows)
    scores = [
        (f"{key}_{name}", f"{label} {name}", write)
        for name in regions
        for key, label, write in (("dice", "Dice", rate), ("hd95_mm", "HD95 (mm)", quantity))
    ]
    for name in regions[:1]:
        scores += [
            (f"true_volume_ml_{name}", f"True {name} (mL)", quantity),
            (f"pred_volume_ml_{name}", f"Predicted {name} (mL)", quantity),
        ]
    scores = [s for s in scores if any(as_number(row.get(s[0])) is not None for row in rows)]
    lines = []
    for row in rows[:MOST_ROWS]:
        probability = as_number(row.get("probability"))
        cells = [row.get("case_id") or "unnamed", row.get("patient_id") or "", row.get("source") or "", true_class(row)]
        cells.append((rate(probability) if probability is not None else "", probability))
        for key, _, write in scores:
            value = as_number(row.get(key))
            cells.append((write(value) if value is not None else "", value))
        lines.append(cells)
    words = "A click on a column's name sorts by it. An empty cell: not known or not defined for this case."
    if len(rows) > MOST_ROWS:
        words += f" The first {count(MOST_ROWS)} of {plural(len(rows), 'case')} are listed; all are in the CSV."
    header = ["Case", "Patient", "Source", "Truth", "Tumour probability", *(label for _, label, _ in scores)]
    made = table(header, lines, words=(0, 1, 2, 3), sortable=True)
    return section("cases", "All cases", paragraph(words), Markup(f'<div class="tall">{made}</div>'))
