"""Studies: what was retrieved for them, where the captioner looked, and all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from medvlm.visualize.forest import shorten
from medvlm.visualize.numbers import as_number, count, plural, quantity, rate
from medvlm.visualize.page import Markup, anchor, heading, html, join, paragraph, picture, section, table
from medvlm.visualize.results import Panels, Rows, listed, part

MOST_ROWS = 5000
_TEXT = 'style="white-space:normal;min-width:24rem;max-width:46rem"'
_RIGHT = 'style="background:var(--panel);box-shadow:inset 4px 0 0 var(--green)"'


def _examples(evaluation: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [entry for entry in listed(evaluation.get("examples")) if isinstance(entry, Mapping)]


def _place(rank: Any) -> str:
    return quantity(rank) if as_number(rank) is not None else "not ranked"


def _top(entries: Sequence[Mapping[str, Any]]) -> Markup:
    lines = []
    for entry in entries:
        right = bool(entry.get("right"))
        mark = ' <strong style="color:var(--green)">\N{CHECK MARK} its own</strong>' if right else ""
        cells = (
            f'<th scope="row" class="number" style="min-width:3rem">{html(_place(entry.get("rank")))}</th>'
            f'<td class="number">{html(rate(entry.get("cosine")))}</td>'
            f"<td {_TEXT}>{html(entry.get('text'))}{mark}</td>"
        )
        lines.append(f"<tr {_RIGHT}>{cells}</tr>" if right else f"<tr>{cells}</tr>")
    head = '<thead><tr><th scope="col" class="number">Rank</th><th scope="col" class="number">Cosine</th>'
    head += '<th scope="col">Report</th></tr></thead>'
    return Markup(f'<div class="scroll"><table>{head}<tbody>{"".join(lines)}</tbody></table></div>')


def retrieved_reports(evaluation: Mapping[str, Any], rows: Rows, panels: Panels) -> Markup | None:
    """For some studies their frames and the reports that lie nearest to them."""
    shown = [entry for entry in _examples(evaluation) if entry.get("retrieved")]
    title = "What was retrieved"
    if not shown:
        return section("retrieved", title, paragraph("No study was retrieved for.", "absent"))
    parts = []
    for entry in shown:
        case = str(entry.get("case_id"))
        caption = Markup(
            f"<strong>{html(case)}</strong> \N{MIDDLE DOT} its own report is at rank {html(_place(entry.get('rank')))}"
        )
        view = panels.get(f"views {case}")
        if view:
            parts.append(picture(view, caption, anchor(f"case {case}"), f"Frames of the views of study {case}"))
        else:
            parts.append(paragraph(caption))
        parts.append(_top(listed(entry.get("retrieved"))))
        strip = panels.get(f"found {case}")
        if strip:
            caption = "The studies whose videos lie nearest to its report, the middle frame of the first view of each"
            parts.append(picture(strip, caption, anchor(f"found {case}"), f"Studies found by the report of {case}"))
    words = (
        f"{plural(len(shown), 'study').replace('studys', 'studies')}, evenly from the best rank to the worst. A row of "
        "pictures is a view, from its first frame to its last. Below, the reports of the section nearest to the "
        "video, then the studies nearest to its report; its own one is marked, and added with its rank where it is not "
        "among the first."
    )
    return section("retrieved", title, paragraph(words), join(parts))


def looked(evaluation: Mapping[str, Any], rows: Rows, panels: Panels) -> Markup | None:
    """For some studies the generated report, the written one, and where the captioner looked."""
    shown = [entry for entry in _examples(evaluation) if entry.get("generated") is not None]
    title = "What was written, and where the captioner looked"
    if not shown:
        return section("looked", title, paragraph("No report was generated.", "absent"))
    parts = []
    for entry in shown:
        case = str(entry.get("case_id"))
        parts.append(heading(case))
        parts.append(_pair("Generated", entry.get("generated") or "(empty)"))
        parts.append(_pair("Written", entry.get("report")))
        panel = panels.get(f"looked {case}")
        if panel:
            caption = "Sentences of the generated report and the frames that they drew on most"
            parts.append(picture(panel, caption, anchor(f"looked {case}"), f"Heat maps on frames of study {case}"))
    words = (
        "A row is one sentence of the generated report, those with findings first. Its frames are of the view with "
        "most of the captioner's cross-attention (mean over layers, heads and tokens), each with its share of the "
        "whole, after a frame as it is. A row has its own scale; a peak near 1 times the mean says that the captioner "
        "looked everywhere alike. Attention shows where the network looked, not why, nor whether it is right."
    )
    return section("looked", title, paragraph(words), join(parts))


def _pair(name: str, text: Any) -> Markup:
    return Markup(f'<p style="max-width:none"><strong>{html(name)}:</strong> {html(text)}</p>')


COLUMNS = (
    ("rank_video_to_text", "Rank of its report", quantity),
    ("rank_text_to_video", "Rank of the study", quantity),
    ("similarity", "Cosine", rate),
    ("facts_right_all", "Facts right", quantity),
    ("facts_extra_all", "Facts extra", quantity),
    ("facts_missed_all", "Facts missed", quantity),
    ("findings_made_up", "Findings made up", quantity),
)


def _named(case: str) -> Markup:
    """A study's name, the middle of a long one left out; it stands whole where the pointer rests."""
    return Markup(f'<span title="{html(case)}">{html(shorten(case, 26))}</span>')


def all_studies(evaluation: Mapping[str, Any], rows: Rows, panels: Panels) -> Markup | None:
    """Every study in a table that sorts by a click."""
    if not rows:
        return section("cases", "All studies", paragraph("No rows of studies were given.", "absent"))
    columns = [c for c in COLUMNS if any(as_number(row.get(c[0])) is not None for row in rows)]
    tasks = [name for name in part(evaluation, "zero_shot", "tasks") if any(f"zero_shot_{name}" in row for row in rows)]
    columns += [(f"zero_shot_{name}", f"P({name.replace('_', ' ')})", rate) for name in tasks]
    lines = []
    for row in rows[:MOST_ROWS]:
        views = f"{count(row.get('views_read'))}"
        if as_number(row.get("views_unreadable")):
            views += f" (+{count(row['views_unreadable'])} unreadable)"
        cells: list[Any] = [_named(str(row.get("case_id"))), row.get("patient_id") or "", row.get("source") or ""]
        cells.append((views, as_number(row.get("views_read"))))
        for key, _, write in columns:
            value = as_number(row.get(key))
            cells.append((write(value) if value is not None else "", value))
        lines.append(cells)
    words = "A click on a column's name sorts by it. An empty cell: not known or not defined. The texts are in the CSV."
    if len(rows) > MOST_ROWS:
        words += f" The first {count(MOST_ROWS)} of {count(len(rows))} studies are listed; all are in the CSV."
    made = table(
        ["Study", "Patient", "Source", "Views read", *(label for _, label, _ in columns)],
        lines,
        words=(0, 1, 2),
        sortable=True,
    )
    return section("cases", "All studies", paragraph(words), Markup(f'<div class="tall">{made}</div>'))
