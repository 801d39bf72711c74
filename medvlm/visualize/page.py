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
from medvlm.visualize.page_style import SCRIPT, STYLE
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


def _breakable(text: Any) -> Markup:
    """Escape a value with its interval, so that a narrow place breaks the line between the two and nowhere else."""
    parts = re.fullmatch(r"(\S+) (\([^()]{1,40}\))", html(text))
    return Markup(f'{parts[1]} <span class="together">{parts[2]}</span>') if parts else html(text)


def cards(items: Sequence[tuple[str, str, str]]) -> Markup:
    """Make a row of key numbers: name, value, what it rests on."""
    made = "".join(
        f'<div class="card"><div class="name">{html(name)}</div><div class="value">{_breakable(value)}</div>'
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
            made.append(f"<{tag}{scope}{kind}{sort}>{_breakable(text) if kind else html(text)}</{tag}>")
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
