"""A plain CSV: one row a case.

Columns: ``image``, or one column a channel (``flair``, ``t1``, ``t1c``, ``t2`` in any usual spelling); optional
``label``, ``convention``, ``channels`` (``FLAIR;T1``), ``tumour`` (0/1, yes/no, empty for unknown), ``class_name``,
``patient_id``, ``study_id``, ``case_id``, ``source``. Paths are relative to the CSV's folder.
"""

from __future__ import annotations

import csv
from pathlib import Path

from medvlm.data.conventions import UNNAMED_CHANNEL, canonical_channel, convention
from medvlm.data.layouts.scan import Scan, ScanOptions, labelled, nothing_found, safe_name
from medvlm.data.reading import is_picture
from medvlm.spelling import did_you_mean

_COLUMNS = ("image", "label", "convention", "channels", "tumour", "class_name", "patient_id", "study_id", "case_id",
            "source")  # fmt: skip
_ALIASES = {"tumor": "tumour", "mask": "label", "patient": "patient_id", "id": "case_id"}
_TUMOUR = {"0": 0, "1": 1, "no": 0, "yes": 1, "false": 0, "true": 1, "": None, "0.0": 0, "1.0": 1}


def scan(root: Path, options: ScanOptions) -> Scan:
    """List the rows of a CSV.

    Raises:
        ValueError: there is no CSV or several, it has no image column, a label has no convention, or an image's
            channels are not named.
    """
    table = _find_table(root)
    with table.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream)
        rows = list(reader)
        header = [name or "" for name in reader.fieldnames or []]
    result = Scan()
    names, channel_columns = _understand_header(header, table, result)
    for number, row in enumerate(rows, start=2):
        try:
            cells = {names[k]: (v or "").strip() for k, v in row.items() if k in names}
            files = {channel: (row[column] or "").strip() for channel, column in channel_columns.items()}
            result.cases.append(_case_of(cells, files, table, number, options, result))
        except _RowError as error:
            result.report("error", table, "", f"row {number}: {error}", error.remedy)
    result.cases = [case for case in result.cases if case]
    if not rows:
        raise nothing_found(root, "csv", "rows below the header")
    return result


class _RowError(ValueError):
    """A row that cannot be understood, with its remedy."""

    def __init__(self, problem: str, remedy: str) -> None:
        self.remedy = remedy
        super().__init__(problem)


def _find_table(root: Path) -> Path:
    if root.is_file():
        return root
    tables = sorted(root.glob("*.csv"))
    if len(tables) != 1:
        raise ValueError(
            f"{root} holds {len(tables)} CSV files ({[t.name for t in tables][:5]}); give --root the CSV itself."
        )
    return tables[0]


def _understand_header(header: list[str], table: Path, result: Scan) -> tuple[dict[str, str], dict[str, str]]:
    names, channels = {}, {}
    for column in header:
        word = column.strip().lower()
        word = _ALIASES.get(word, word)
        if word in _COLUMNS:
            names[column] = word
            continue
        try:
            channels[canonical_channel(word)] = column
        except ValueError:
            result.report(
                "warning",
                table,
                "",
                f"the column {column!r} is not known and is left out{did_you_mean(word, _COLUMNS)}",
                f"rename it to one of {', '.join(_COLUMNS)}, or nothing",
            )
    if ("image" in names.values()) == bool(channels):
        raise ValueError(
            f"{table} needs either a column image or one column a channel (flair, t1, t1c, t2), it has {header}."
        )
    return names, channels


def _case_of(
    cells: dict, files: dict[str, str], table: Path, number: int, options: ScanOptions, result: Scan
) -> dict | None:
    base = table.parent
    if files:
        missing = [channel for channel, file in files.items() if not file]
        kept = options.incomplete == "keep" and len(missing) < len(files)
        if missing:
            what = f"row {number} lacks {', '.join(missing)}; the case is {'kept without' if kept else 'left out'}"
            result.report("warning", table, cells.get("case_id", ""), what, "fill it in, or use --incomplete keep")
            if not kept:
                return None
        image = [str(base / file) for file in files.values() if file]
        channels = [channel for channel, file in files.items() if file]
    else:
        if not cells["image"]:
            raise _RowError("there is no image", "fill it in or remove the row")
        image = str(base / cells["image"])
        channels = _channels_of(cells, options)
    case = {"image": image, "channels": channels}
    first = Path(image if isinstance(image, str) else image[0])
    stem = first.name.removesuffix(".gz").rsplit(".", 1)[0]
    case_id = safe_name(cells.get("case_id") or cells.get("study_id") or f"{options.source}_{stem}")
    source = cells.get("source") or options.source
    word = cells.get("tumour", "").lower()
    if word not in _TUMOUR:
        raise _RowError(f"tumour is {word!r}", "write 0, 1, yes, no, or nothing where it is unknown")
    if _TUMOUR[word] is not None:
        case["tumour"] = _TUMOUR[word]
    if cells.get("class_name"):
        case["class_name"] = cells["class_name"]
    if cells.get("patient_id"):
        case["patient_id"] = cells["patient_id"]
    elif not is_picture(first):
        result.report(
            "warning", table, case_id, f"row {number} names no patient; the case counts as one", "add patient_id"
        )
        case["patient_id"] = case_id
    case |= {"study_id": cells.get("study_id") or case_id, "case_id": case_id, "source": source}
    if cells.get("label"):
        labelled(case, base / cells["label"], _convention_of(cells, options))
    return case


def _channels_of(cells: dict, options: ScanOptions) -> list[str]:
    named = [c for c in cells.get("channels", "").replace(",", ";").split(";") if c.strip()] or options.channels
    if named:
        return [canonical_channel(c) for c in named]
    if is_picture(cells["image"]):
        return [UNNAMED_CHANNEL]
    raise _RowError(
        f"the channels of {cells['image']} are not named, and cannot be guessed",
        "add a column channels (FLAIR;T1;T1c;T2 in file order) or give --channels",
    )


def _convention_of(cells: dict, options: ScanOptions) -> str:
    name = cells.get("convention") or options.convention
    if not name:
        raise _RowError(
            f"the mask {cells['label']} has no label convention; 1/2/3 mean other tissues in BraTS 2023 than in MSD",
            "add a column convention or give --convention (docs/datasets.md lists them)",
        )
    try:
        return convention(name).name
    except ValueError as error:
        raise _RowError(str(error), "mend the column convention") from error
