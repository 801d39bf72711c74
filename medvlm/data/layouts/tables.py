"""Tables as users have them: separators, quotes, encodings and damaged rows."""

from __future__ import annotations

import codecs
import csv
import io
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medvlm.spelling import did_you_mean

SEPARATORS = (",", ";", "\t", "α", "|")
_LONGEST_CELL = 1 << 27  # characters; reports may be long, and csv refuses cells above 131072
_LIMIT = threading.Lock()  # the limit of the csv module is one for the whole process


@dataclass
class Table:
    """The rows of a table whose columns were recognised.

    Attributes:
        path: the file.
        separator: the one found.
        columns: as the file spells them, in its order.
        names: canonical name of a recognised column to its spelling in the file.
        rows: number of the line and its cells by the file's spelling, stripped; damaged lines are not among them.
        damaged: number of a line and what is wrong with it.
    """

    path: Path
    separator: str
    columns: list[str]
    names: dict[str, str]
    rows: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    damaged: list[tuple[int, str]] = field(default_factory=list)

    def cell(self, row: Mapping[str, str], name: str) -> str:
        """The cell under a canonical name, empty where the table has no such column."""
        return row.get(self.names.get(name, ""), "")


def plain(column: str) -> str:
    """A column's name without case, spaces, underscores and hyphens."""
    return "".join(c for c in column.casefold() if c.isalnum())


def read_table(path: Path, aliases: Mapping[str, Sequence[str]], required: Sequence[str]) -> Table:
    """Read a table, finding its separator and naming what is missing.

    Args:
        path: the file; UTF-8, or UTF-16 with its mark.
        aliases: canonical name to the other spellings that are taken for it (compared by ``plain``).
        required: canonical names without which the table is of no use.

    Raises:
        ValueError: the text cannot be decoded, the file is empty, columns are missing or stand twice, or a quotation
            is never closed.
    """
    text = _decode(path)
    if not text.strip():
        raise ValueError(f"The table {path} is empty; give a table with the columns {', '.join(required)}.")
    spellings = {plain(word): name for name, words in aliases.items() for word in (name, *words)}
    separator, columns = _find_separator(text, spellings)
    table = Table(path, separator, columns, {})
    twice = [name for name, count in Counter(columns).items() if count > 1]
    for column in columns:
        name = spellings.get(plain(column))
        if name is not None and name in table.names and column not in twice:
            twice.append(f"{table.names[name]} and {column}")
        if name is not None:
            table.names.setdefault(name, column)
    if twice:
        raise ValueError(f"{path} has the column {', '.join(map(repr, twice))} twice; remove or rename one.")
    missing = [name for name in required if name not in table.names]
    if missing:
        near = "".join(did_you_mean(name, columns) for name in missing)
        shown = {"\t": "a tab"}.get(separator, repr(separator))
        raise ValueError(
            f"{path} lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}; it has (separated by "
            f"{shown}) {columns[:12]}{near}; separators may be , ; | α or a tab."
        )
    _read_rows(table, text)
    return table


def _decode(path: Path) -> str:
    data = path.read_bytes()
    utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return data.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 (byte {error.start}: {error.reason}); save it as CSV UTF-8.") from error


def _find_separator(text: str, spellings: Mapping[str, str]) -> tuple[str, list[str]]:
    """The separator under which the header shows most known columns, then most columns."""
    best: tuple[tuple[int, int], str, list[str]] | None = None
    for separator in SEPARATORS:
        header = next((row for row in csv.reader(_lines(text), delimiter=separator) if any(row)), [])
        columns = [c.strip() for c in header]
        score = (len({spellings[plain(c)] for c in columns if plain(c) in spellings}), len(columns))
        if best is None or score > best[0]:
            best = (score, separator, columns)
    return best[1], best[2]


def _read_rows(table: Table, text: str) -> None:
    with _LIMIT:
        before = csv.field_size_limit(_LONGEST_CELL)
        try:
            reader = csv.reader(_lines(text), delimiter=table.separator, strict=True)
            seen_header = False
            start = 1
            for cells in reader:
                line, start = start, reader.line_num + 1
                if not any(c.strip() for c in cells):
                    continue
                if not seen_header:
                    seen_header = True
                elif len(cells) != len(table.columns):
                    what = f"it has {len(cells)} cells, the header {len(table.columns)}"
                    table.damaged.append((line, what))
                else:
                    table.rows.append((line, {k: v.strip() for k, v in zip(table.columns, cells, strict=True)}))
        except csv.Error as error:
            raise ValueError(
                f"{table.path}, from line {start}: {error}; a quotation mark is not closed or stands inside a cell: "
                'write "" for a mark inside a quoted cell.'
            ) from error
        finally:
            csv.field_size_limit(before)


def _lines(text: str) -> io.StringIO:
    """Lines with their ends, so that line breaks inside quoted reports stay; only line feeds part them."""
    return io.StringIO(text.replace("\r\n", "\n").replace("\r", "\n"), newline="")
