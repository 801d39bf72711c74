"""Pieces of an HTML page that stands alone: escaped text, tables, figures, pictures, the style sheet, the script."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Collection, Sequence
from html import escape
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from PIL import Image, features

from medvlm.visualize.numbers import as_number, printable
from medvlm.visualize.style import to_inline_svg


class Markup(str):
    """Text that is HTML already; anything else is escaped where it enters a page."""


class Spanning(NamedTuple):
    """A cell of words across the last columns of a line."""

    text: str
    columns: int


def html(value: Any) -> Markup:
    """Escape text for use between tags and inside quoted attributes; ``Markup`` passes as it is."""
    return value if isinstance(value, Markup) else Markup(escape(printable(value), quote=True))


def join(parts: Sequence[Any]) -> Markup:
    """Put escaped parts behind each other; None is left out."""
    return Markup("\n".join(html(part) for part in parts if part is not None))


def anchor(text: Any) -> str:
    """Make an id from any text: its letters, and a short hash that keeps two of them apart."""
    digest = hashlib.sha256(str(text).encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{re.sub('[^a-z0-9]+', '-', str(text).lower()).strip('-')[:40]}-{digest}"


def section(name: str, title: str, *parts: Any) -> Markup:
    """Make a section that the page's contents list; ``name`` is its id."""
    return Markup(f'<section id="{html(name)}">\n<h2>{html(title)}</h2>\n{join(parts)}\n</section>')


def heading(text: Any) -> Markup:
    """Make a heading inside a section."""
    return Markup(f"<h3>{html(text)}</h3>")


def paragraph(text: Any, kind: str = "") -> Markup:
    """Make a paragraph; ``kind`` is empty, ``absent`` for what is not there, or ``caution``."""
    return Markup(f'<p class="{html(kind)}">{html(text)}</p>' if kind else f"<p>{html(text)}</p>")


def bullets(items: Sequence[Any]) -> Markup:
    """Make a list."""
    return Markup("<ul>" + "".join(f"<li>{html(item)}</li>" for item in items) + "</ul>")


def facts(pairs: Sequence[tuple[str, Any]]) -> Markup:
    """Make a list of names and values."""
    lines = "".join(f"<div><dt>{html(name)}</dt><dd>{html(value)}</dd></div>" for name, value in pairs)
    return Markup(f'<dl class="facts">{lines}</dl>')


def cards(items: Sequence[tuple[str, str, str]]) -> Markup:
    """Make a row of key numbers: name, value, what it rests on."""
    made = "".join(
        f'<div class="card"><div class="name">{html(name)}</div><div class="value">{html(value)}</div>'
        f'<div class="basis">{html(basis)}</div></div>'
        for name, value, basis in items
    )
    return Markup(f'<div class="cards">{made}</div>')


def table(
    header: Sequence[Any],
    lines: Sequence[Sequence[Any]],
    caption: str = "",
    *,
    words: Collection[int] = (0,),
    sortable: bool = False,
) -> Markup:
    """Make a table.

    Args:
        header: names of the columns.
        lines: cells; a pair ``(text, number)`` sorts by its number, ``Spanning`` ends a line.
        caption: what the table shows.
        words: columns that hold words; the others hold numbers, set to the right.
        sortable: whether a click on a column's name sorts by it.
    """
    cells = []
    for line in lines:
        made = []
        for column, cell in enumerate(line):
            if isinstance(cell, Spanning):
                made.append(f'<td colspan="{cell.columns}" class="absent">{html(cell.text)}</td>')
                continue
            text, key = cell if type(cell) is tuple else (cell, None)
            sort = f' data-sort="{as_number(key)}"' if as_number(key) is not None else ""
            tag, scope = ("th", ' scope="row"') if column == 0 else ("td", "")
            kind = "" if column in words else ' class="number"'
            made.append(f"<{tag}{scope}{kind}{sort}>{html(text)}</{tag}>")
        cells.append(f"<tr>{''.join(made)}</tr>")
    names = []
    for column, name in enumerate(header):
        label = f'<button type="button">{html(name)}</button>' if sortable else html(name)
        kind = "" if column in words else ' class="number"'
        names.append(f'<th scope="col"{kind}>{label}</th>')
    title = f"<caption>{html(caption)}</caption>" if caption else ""
    body = "\n".join(cells)
    kind = ' class="sortable"' if sortable else ""
    head = f"<thead><tr>{''.join(names)}</tr></thead>"
    return Markup(f'<div class="scroll"><table{kind}>{title}{head}<tbody>{body}</tbody></table></div>')


def drawing(figure: Figure | None, name: str, caption: Any, absent: str) -> Markup:
    """Place a matplotlib figure as inline SVG, or say in words why there is none.

    Args:
        figure: None where its data is absent.
        name: unique on the page.
        caption: what to see in it; also what a screen reader says.
        absent: the sentence that takes its place.
    """
    if figure is None:
        return paragraph(absent, "absent")
    svg = to_inline_svg(figure, anchor(name)).replace("<svg ", f'<svg aria-label="{html(caption)}" ', 1)
    return Markup(f"<figure>{svg}<figcaption>{html(caption)}</figcaption></figure>")


def gallery(figures: Sequence[Any]) -> Markup:
    """Place figures side by side where the page is wide enough."""
    return Markup(f'<div class="gallery">{join(figures)}</div>')


def data_address(picture: bytes, quality: int = 88) -> str:
    """Make the ``data:`` address of a PNG or JPEG, as WebP where that is smaller; its pixels keep their size.

    Raises:
        ValueError: when the bytes are no picture.
    """
    try:
        image = Image.open(io.BytesIO(picture))
        kind = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}[image.format]
        small = io.BytesIO()
        pixels = image.convert("RGB")
        if features.check("webp"):
            pixels.save(small, "WEBP", quality=quality, method=4)
    except (OSError, KeyError) as error:
        raise ValueError(f"a picture must be PNG, JPEG or WebP bytes, got {picture[:12]!r}... ({error}).") from error
    data, kind = (small.getvalue(), "image/webp") if 0 < small.tell() < len(picture) else (picture, kind)
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def picture(data: bytes, caption: Any, name: str, alt: str) -> Markup:
    """Place a picture; ``name`` is its id on the page."""
    try:
        shown = f'<img src="{data_address(data)}" alt="{html(alt)}" loading="lazy">'
    except ValueError as error:
        shown = paragraph(f"The picture cannot be read: {error}", "absent")
    return Markup(f'<figure class="case" id="{html(name)}"><figcaption>{html(caption)}</figcaption>{shown}</figure>')


def document(title: str, subtitle: str, sections: Sequence[Markup]) -> str:
    """Put sections under a title and a list of contents: one file that needs nothing else, and loads nothing."""
    body = join(sections)
    entries = re.findall(r'<section id="([^"]+)">\n<h2>(.*?)</h2>', body)
    contents = "".join(f'<li><a href="#{name}">{text}</a></li>' for name, text in entries)
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f'<header><h1>{html(title)}</h1><p class="subtitle">{html(subtitle)}</p></header>\n'
        f'<nav aria-label="Contents"><ol>{contents}</ol></nav>\n<main>\n{body}\n</main>\n'
        f"<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )


STYLE = """
:root { --paper: #ffffff; --panel: #f5f7f9; --ink: #1d2227; --faint: #8b949e; --quiet: #59636e; --rule: #d5dae0;
  --blue: #0072b2; --vermillion: #d55e00; --green: #009e73; --orange: #e69f00; --purple: #cc79a7; --sky: #56b4e9;
  --caution: #fff4e0; --sans: system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif; }
@media screen and (prefers-color-scheme: dark) { :root { --paper: #14181c; --panel: #1d2329; --ink: #e6e9ec;
  --faint: #7d8791; --quiet: #a5aeb8; --rule: #38414a; --blue: #4fa8dc; --vermillion: #f08a3c; --green: #35c493;
  --orange: #f2b632; --purple: #dd97be; --sky: #7cc8f2; --caution: #3a2f17; color-scheme: dark; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0 auto; padding: 2.5rem 1.25rem 4rem; max-width: 72rem; background: var(--paper); color: var(--ink);
  font: 16px/1.55 var(--sans); }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; margin: 0 0 0.8rem; padding-top: 1.4rem; border-top: 2px solid var(--ink); }
h3 { font-size: 1.02rem; margin: 1.8rem 0 0.5rem; }
p, ul { max-width: 46rem; margin: 0.6rem 0; }
li { margin: 0.25rem 0; }
a { color: var(--blue); }
.subtitle { color: var(--quiet); margin-top: 0.4rem; overflow-wrap: anywhere; }
nav ol { columns: 3 14rem; column-gap: 3.2rem; padding: 0.9rem 1rem 0.9rem 2.4rem; margin: 1.4rem 0 0;
  background: var(--panel); border-radius: 6px; font-size: 0.9rem; }
nav li { margin: 0; break-inside: avoid; }
section { margin-top: 2.6rem; }
code { font: 0.88em ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; overflow-wrap: anywhere; }
pre { background: var(--panel); padding: 0.7rem 0.9rem; border-radius: 6px; overflow-x: auto; }
.absent { color: var(--quiet); font-style: italic; }
.caution { background: var(--caution); border-left: 4px solid var(--orange); padding: 0.55rem 0.9rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(11.5rem, 1fr)); gap: 0.8rem; margin: 1rem 0; }
.card { background: var(--panel); border-radius: 6px; padding: 0.8rem 1rem; }
.card .name { font-size: 0.85rem; color: var(--quiet); }
.card .value { font-size: 1.35rem; font-weight: 650; font-variant-numeric: tabular-nums; }
.card .basis { font-size: 0.8rem; color: var(--quiet); }
.facts { margin: 1rem 0; font-size: 0.92rem; max-width: 54rem; }
.facts div { display: flex; gap: 0.8rem; border-bottom: 1px solid var(--rule); padding: 0.3rem 0; }
.facts dt { color: var(--quiet); flex: 0 0 8.5rem; }
.facts dd { margin: 0; overflow-wrap: anywhere; min-width: 0; }
.scroll { overflow-x: auto; margin: 0.9rem 0 1.4rem; }
table { border-collapse: collapse; font-size: 0.83rem; font-variant-numeric: tabular-nums; min-width: 50%;
  border-top: 1.5px solid var(--ink); border-bottom: 1.5px solid var(--ink); }
caption { text-align: left; color: var(--quiet); padding-bottom: 0.45rem; }
th, td { padding: 0.32rem 0.6rem; text-align: left; vertical-align: baseline; }
tbody td { white-space: nowrap; }
thead th { border-bottom: 1px solid var(--ink); font-weight: 600; vertical-align: bottom; }
tbody th { font-weight: 500; white-space: normal; overflow-wrap: anywhere; min-width: 6.5rem; max-width: 20rem; }
tbody tr + tr > * { border-top: 1px solid var(--rule); }
.number { text-align: right; }
table button { font: inherit; color: inherit; background: none; border: 0; padding: 0; cursor: pointer;
  text-align: inherit; }
table button::after { content: " \\2195"; color: var(--faint); }
th[aria-sort=ascending] button::after { content: " \\2191"; color: var(--blue); }
th[aria-sort=descending] button::after { content: " \\2193"; color: var(--blue); }
.sortable tbody th { min-width: 9rem; }
.sortable thead th { position: sticky; top: 0; background: var(--paper); }
.tall { max-height: 40rem; overflow: auto; border-bottom: 1px solid var(--rule); }
.tall .scroll { overflow: visible; margin: 0; }
figure { margin: 1rem 0; min-width: 0; }
figcaption { font-size: 0.85rem; color: var(--quiet); max-width: 46rem; overflow-wrap: anywhere; }
.gallery { display: flex; flex-wrap: wrap; gap: 0.4rem 1.4rem; align-items: flex-start; }
.gallery figure { flex: 0 1 auto; max-width: 100%; }
.gallery figcaption { max-width: 20rem; }
figure svg { display: block; max-width: 100%; height: auto; overflow: visible; }
figure svg * { stroke-linejoin: round; stroke-linecap: butt; }
figure.case { margin: 1.3rem 0; }
figure.case figcaption { color: var(--ink); margin-bottom: 0.3rem; max-width: none; }
figure.case img { max-width: 100%; height: auto; display: block; border-radius: 4px; background: #fff; }
@media (max-width: 40rem) { .facts div { flex-direction: column; gap: 0; } .facts dt { flex: none; }
  figure { overflow-x: auto; } figure svg { max-width: none; } }
@media print { body { max-width: none; padding: 0; font-size: 10.5pt; } nav { display: none; }
  h2, h3, caption { break-after: avoid; } figure, tr, .card, .cards { break-inside: avoid; }
  .gallery { flex-wrap: nowrap; } .gallery figure { flex: 0 1 auto; }
  .scroll, .tall { overflow: visible; max-height: none; } table button::after { content: ""; }
  .sortable { font-size: 7pt; } th, td { padding: 0.2rem 0.4rem; }
  * { -webkit-print-color-adjust: exact; print-color-adjust: exact; } }
"""

SCRIPT = """
for (const table of document.querySelectorAll("table.sortable")) {
  table.querySelectorAll("thead th").forEach((head, column) => head.addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") === "ascending";
    table.querySelectorAll("thead th").forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const body = table.tBodies[0];
    const key = row => row.cells[column].dataset.sort;
    const text = row => row.cells[column].textContent;
    const numeric = head.classList.contains("number");
    const lines = [...body.rows].sort((a, b) => {
      if (numeric && key(a) === undefined) return key(b) === undefined ? 0 : 1;
      if (numeric && key(b) === undefined) return -1;
      const order = numeric ? key(a) - key(b) : text(a).localeCompare(text(b), undefined, {numeric: true});
      return down ? -order : order;
    });
    body.append(...lines);
  }));
}
"""
