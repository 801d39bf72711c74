"""A manifest CSV of angiography studies: one row a video.

Columns: ``FileName`` and ``StudyInstanceUID`` (both needed), ``Split`` (train, val, test, inference), ``Report``,
``PatientID``, ``PositionerPrimaryAngle`` and ``PositionerSecondaryAngle`` (degrees, for files without a header), and
targets: ``<segment>_stenosis`` (0 to 100), ``<segment>_calcif_binary``, ``<segment>_cto``, ``<segment>_thrombus``
(0/1), ``dominance`` (0 right, 1 left, 2 codominant), and any other column of numbers that is the same for all videos
of a study. Separators ``, ; | α`` and tab are detected. Paths are relative to the table's folder. What a study says
in one row holds for all its rows; rows that contradict each other are errors.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from medvlm.data.layouts.cine_targets import (
    BOUNDS,
    MEANINGS,
    PERCENT,
    derive_targets,
    is_target_name,
    number,
    target_value,
    whole_numbers,
)
from medvlm.data.layouts.scan import Scan, ScanOptions, nothing_found, safe_name
from medvlm.data.layouts.tables import Table, plain, read_table
from medvlm.data.view_angles import angle_problem
from medvlm.spelling import did_you_mean

_ALIASES = {
    "FileName": ("file", "path", "filepath", "video", "videopath", "dicom", "dicompath"),
    "StudyInstanceUID": ("study", "studyid", "studyuid"),
    "Split": ("section", "set", "subset"),
    "Report": ("text", "reporttext", "findings"),
    "PatientID": ("patient", "subject", "subjectid", "mrn"),
    "PositionerPrimaryAngle": ("primaryangle", "primaryangledeg"),
    "PositionerSecondaryAngle": ("secondaryangle", "secondaryangledeg"),
}
_REQUIRED = ("FileName", "StudyInstanceUID")
_SECTIONS = {
    "training": ("train", "training", "trn", "development"),
    "validation": ("val", "valid", "validation", "dev", "tune"),
    "test": ("test", "testing", "holdout"),
    "inference": ("inference", "infer", "predict", "prediction"),
}
_SECTION_OF = {word: section for section, words in _SECTIONS.items() for word in words}


def scan(root: Path, options: ScanOptions) -> Scan:
    """List the studies of a manifest.

    Args:
        root: the table, or a folder that holds one (``manifest.csv``, or the only CSV or TSV).
        options: ``source`` names the data set.

    Returns:
        One case a study; ``section`` is set where the table has a split.

    Raises:
        ValueError: there is no table or several, columns are missing, or it holds no row.
    """
    table = read_table(_find_table(root), _ALIASES, _REQUIRED)
    result = Scan()
    for line, what in table.damaged:
        result.report("error", table.path, "", f"line {line}: {what}", "mend the quotation marks or separators")
    if not table.rows:
        if table.damaged:
            return result
        raise nothing_found(table.path, "cine_manifest", "rows below the header")
    columns = _target_columns(table, result)
    _report_repeated_files(table, result)
    studies: dict[str, list[tuple[int, dict[str, str]]]] = {}
    for line, row in table.rows:
        name = table.cell(row, "StudyInstanceUID")
        if not name:
            result.report("error", table.path, "", f"line {line} names no study", "fill in StudyInstanceUID")
        else:
            studies.setdefault(name, []).append((line, row))
    for name, rows in studies.items():
        result.cases.append(_case_of(name, rows, table, columns, options, result))
    _report_gaps(table, result)
    _doubt_conventions(table, columns, result)
    return result


def _find_table(root: Path) -> Path:
    if root.is_file():
        return root
    tables = sorted(p for p in root.iterdir() if p.suffix.lower() in (".csv", ".tsv", ".txt") and p.is_file())
    if not tables:
        raise nothing_found(root, "cine_manifest", "a table manifest.csv")
    named = [p for p in tables if p.stem.lower() == "manifest"]
    if len(named or tables) != 1:
        raise ValueError(
            f"{root} holds {len(tables)} tables ({[t.name for t in tables][:5]}); give --root the manifest itself."
        )
    return (named or tables)[0]


def _target_columns(table: Table, result: Scan) -> list[str]:
    """Columns of numbers that say one thing a study; the others are named in a note."""
    taken = set(table.names.values())
    chosen, left_out = [], []
    for column in table.columns:
        if column in taken or not column:
            continue
        if is_target_name(column) or _is_constant_number(table, column):
            chosen.append(column)
        else:
            left_out.append(column)
    if left_out:
        what = f"columns that are no targets are left out: {', '.join(left_out)}"
        near = [w for c in left_out for w in [did_you_mean(plain(c), [plain(n) for n in _ALIASES])] if w]
        result.report("note", table.path, "", what, f"nothing to do{near[0] if near else ''}")
    _warn_of_fractions(table, chosen, result)
    return chosen


def _is_constant_number(table: Table, column: str) -> bool:
    values: dict[str, set[float]] = {}
    for _, row in table.rows:
        try:
            value = number(row[column])
        except ValueError:
            return False
        if value is not None:
            values.setdefault(table.cell(row, "StudyInstanceUID"), set()).add(value)
    return bool(values) and all(len(inside) == 1 for inside in values.values())


def _warn_of_fractions(table: Table, columns: list[str], result: Scan) -> None:
    values = []
    for column in (c for c in columns if c.endswith(PERCENT)):
        for _, row in table.rows:
            try:
                values.append(number(row[column]) or 0.0)
            except ValueError:
                continue
    if values and 0 < max(values) <= 1 and any(v % 1 for v in values):
        what = f"every stenosis is at most 1 (largest {max(values):g}): these look like fractions"
        result.report("warning", table.path, "", what, "multiply them by 100: a stenosis is a percentage of 0 to 100")


def _report_repeated_files(table: Table, result: Scan) -> None:
    counts = Counter(table.cell(row, "FileName") for _, row in table.rows)
    lines: dict[str, list[tuple[int, str]]] = {}
    for line, row in table.rows:
        file = table.cell(row, "FileName")
        if file and counts[file] > 1:
            lines.setdefault(file, []).append((line, table.cell(row, "StudyInstanceUID")))
    for file, places in lines.items():
        where = ", ".join(f"line {line} (study {study})" for line, study in places)
        result.report("error", table.path, "", f"the key {file} stands {len(places)} times: {where}", "keep one row")


def _case_of(
    name: str,
    rows: list[tuple[int, dict[str, str]]],
    table: Table,
    columns: list[str],
    options: ScanOptions,
    result: Scan,
) -> dict:
    case_id = safe_name(name)

    def wrong(what: str, remedy: str) -> None:
        result.report("error", table.path, case_id, what, remedy)

    case: dict = {"video": []}
    angles = []
    for line, row in rows:
        file = table.cell(row, "FileName")
        if not file:
            wrong(f"line {line} names no file", "fill in FileName, or remove the row")
            continue
        path = _resolve(table.path.parent, file)
        if str(path) in case["video"]:
            continue  # its own row says so
        if not path.exists():
            result.report("error", path, case_id, f"line {line}: there is no such file", "restore it or mend FileName")
        case["video"].append(str(path))
        angles.append(_angles(table, row, line, wrong))
    if any(pair is not None for pair in angles):
        case["view_angles"] = angles
    report = _one_value(rows, table, "Report", wrong)
    if report:
        case["report"] = report
    targets = _targets(rows, columns, wrong)
    if targets:
        case["targets"] = whole_numbers(derive_targets(targets, columns))
    patient = _one_value(rows, table, "PatientID", wrong)
    if patient:
        case["patient_id"] = patient
    word = _one_value(rows, table, "Split", wrong)
    if word:
        section = _SECTION_OF.get(word.strip().lower())
        if section is None:
            known = [words[0] for words in _SECTIONS.values()]
            near = did_you_mean(word.lower(), list(_SECTION_OF))
            wrong(f"line {rows[0][0]}: the split {word!r} is not known{near}", f"write one of {', '.join(known)}")
        else:
            case["section"] = section
    return case | {"study_id": name, "case_id": case_id, "source": options.source}


def _resolve(base: Path, file: str) -> Path:
    path = base / file
    if not path.exists() and "\\" in file:
        path = base / file.replace("\\", "/")
    return path


def _angles(table: Table, row: dict[str, str], line: int, wrong) -> list[float | None] | None:
    """Primary and secondary angle, each ``None`` where its cell is empty; ``None`` where both are."""
    pair: list[float | None] = []
    for name, column in (("primary", "PositionerPrimaryAngle"), ("secondary", "PositionerSecondaryAngle")):
        cell = table.cell(row, column)
        try:
            value = number(cell)
        except ValueError:
            wrong(f"line {line}: {column} is {cell!r}, which is no number", "write degrees, or nothing")
            value = None
        problem, remedy = angle_problem(name, value) if value is not None else ("", "")
        if problem:
            wrong(f"line {line}: {problem} ({column})", remedy)
            value = None
        pair.append(value)
    return pair if any(value is not None for value in pair) else None


def _one_value(rows: list[tuple[int, dict[str, str]]], table: Table, name: str, wrong) -> str:
    """The value that the rows of a study agree on; empty cells do not disagree."""
    found: dict[str, int] = {}
    for line, row in rows:
        cell = table.cell(row, name)
        if cell:
            found.setdefault(cell, line)
    if len(found) > 1:
        shown = ", ".join(f"{text[:60]!r} (line {line})" for text, line in list(found.items())[:3])
        wrong(f"{name} differs between the study's rows: {shown}", "give a study one value, or split the study")
    return next(iter(found), "")


def _targets(rows: list[tuple[int, dict[str, str]]], columns: list[str], wrong) -> dict[str, float]:
    targets: dict[str, float] = {}
    for line, row in rows:
        for column in columns:
            try:
                value = target_value(column, row[column])
            except ValueError as error:
                problem, _, remedy = str(error).partition("; ")
                wrong(f"line {line}: {problem}", remedy)
                continue
            if value is None:
                continue
            if targets.setdefault(column, value) != value:
                what = f"line {line}: {column} is {row[column]}, but {targets[column]:g} in another row of the study"
                wrong(what, "give a study one value")
    return targets


def _doubt_conventions(table: Table, columns: list[str], result: Scan) -> None:
    """A column that the table states itself may follow another convention than its name has here."""
    for name, meaning in MEANINGS.items():
        bound = BOUNDS.get(name)
        known = [case for case in result.cases if {name, "max_stenosis"} <= case.get("targets", {}).keys()]
        if name not in columns or bound is None or not known:
            continue
        apart = [c for c in known if bool(c["targets"][name]) != bound(c["targets"]["max_stenosis"])]
        if apart:
            first = apart[0]
            what = (
                f"{name} means {meaning}, and in {len(apart)} of {len(known)} studies whose largest stenosis is known "
                f"the column says otherwise (study {first['study_id']}: {name} {first['targets'][name]}, largest "
                f"{first['targets']['max_stenosis']:g}%)"
            )
            remedy = f"mend the cells, or give a column of another convention another name, such as {name}_own"
            result.report("warning", table.path, "", what, remedy)


def _report_gaps(table: Table, result: Scan) -> None:
    """What a study lacks is no error; how many lack it is said once."""
    absent = [n for n in ("Report", "Split", "PatientID") if n not in table.names]
    if absent:
        what = f"the table has no column {', '.join(absent)}"
        remedy = "nothing to do: a missing report is unknown, a missing split is made by patient"
        result.report("note", table.path, "", what, remedy)
    silent = sum("report" not in case for case in result.cases)
    if "Report" in table.names and silent:
        what = f"{silent} of {len(result.cases)} studies have an empty report; it counts as unknown"
        result.report("warning", table.path, "", what, "fill them in, or nothing")
    unsplit = [case for case in result.cases if "section" not in case]
    if unsplit and len(unsplit) < len(result.cases):
        bad = {p.case_id for p in result.problems if "split" in p.problem and p.severity == "error"}
        for case in unsplit:
            if case["case_id"] not in bad:
                what = "the study has no split, others have one"
                remedy = "fill in Split, or make a new split of all with --resplit"
                result.report("error", table.path, case["case_id"], what, remedy)
