"""What can be wrong with what is added to studies by hand: further inputs, similar studies, a teacher's features."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from medvlm.data.datalists import SIDE, SIDE_FILES, TEACHER
from medvlm.data.problems import Problem
from medvlm.spelling import did_you_mean

SIMILAR = "similar"
USUAL_SIMILAR = 16  # similar_cases of soft_positives.json
MOST_HINTS = 20  # looking for a name that is meant takes long among many
NO_NUMBERS = "a number, or null where it is unknown"


class Given(NamedTuple):
    """One thing that a case was given.

    Attributes:
        what: how rows call it, ``the further input 'ecg'`` or ``the teacher's features``.
        value: as the datalist has it.
        file: where the numbers lie; empty where they stand in the datalist.
    """

    what: str
    value: object
    file: str


class NotNumbers(ValueError):
    """A vector that cannot be read; ``args`` are the problem and the remedy."""


def given_of(case: Mapping) -> Iterator[tuple[str, Given]]:
    """What a case was given, by names such as ``side ecg`` and ``teacher``; what is absent is left out."""
    side = case.get(SIDE)
    for name, value in side.items() if isinstance(side, Mapping) else ():
        if not _absent(value):
            yield f"{SIDE} {name}", Given(f"the further input {name!r}", value, value if _is_file(value) else "")
    if not _absent(case.get(TEACHER)):
        value = case[TEACHER]
        yield TEACHER, Given("the teacher's features", value, value if isinstance(value, str) else "")


def check_given(case: Mapping) -> list[Problem]:
    """Look at ``side``, ``similar`` and ``teacher`` of one study.

    Args:
        case: a case with absolute paths.

    Returns:
        One row for each finding: an error where training would refuse it or learn from what is no number; a warning
        where it would be taken for unknown.
    """
    rows: list[Problem] = []

    def add(severity: str, file: str, problem: str, remedy: str) -> None:
        rows.append(Problem(severity, file, str(case.get("case_id", "")), problem, remedy))

    if case.get(SIDE) and not isinstance(case[SIDE], Mapping):
        what = f"{SIDE} is {_short(case[SIDE])}, not further inputs by name"
        add("error", "", what, 'write {"ecg": "ecg/0001.npy", "note": "..."}')
    for name, given in given_of(case):
        if name == TEACHER:
            found = _vector_problems(given, finite=True)
        elif isinstance(given.value, Mapping):
            found = _table_problems(given)
        elif isinstance(given.value, str) and not given.file:
            found = _text_problems(given)
        else:
            found = _vector_problems(given)
        for severity, problem, remedy in found:
            add(severity, given.file, problem, remedy)
    for severity, problem, remedy in _similar_problems(case):
        add(severity, "", problem, remedy)
    return rows


def _absent(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _is_file(value: object) -> bool:
    return isinstance(value, str) and value.lower().endswith(SIDE_FILES)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def numbers_of(given: Given) -> np.ndarray:
    """The numbers of a vector as they are shaped, NaN where one is null.

    Raises:
        NotNumbers: the file cannot be read, or holds something else.
    """
    if isinstance(given.value, str):
        return _from_file(Path(given.value))
    try:
        return np.asarray(given.value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        remedy = f"write a list, each of it {NO_NUMBERS}"
        raise NotNumbers(f"{given.what} holds {_short(given.value)}", remedy) from error


def _from_file(file: Path) -> np.ndarray:
    if not _is_file(file.name):
        raise NotNumbers(f"{_short(file.name)} is no file of numbers", "give numbers, or a .npy or .csv file of them")
    if not file.is_file():
        raise NotNumbers("there is no such file", "restore it, or write null where the numbers are missing")
    if not file.stat().st_size:
        raise NotNumbers("the file is empty (0 bytes)", "copy or download it again")
    try:
        if file.suffix.lower() == ".npy":
            return np.asarray(np.load(file, allow_pickle=False), dtype=np.float64)
        return np.genfromtxt(file, delimiter=",", dtype=np.float64)
    except (OSError, ValueError, EOFError, TypeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:100]
        remedy = "save the vector again, as .npy or .csv"
        raise NotNumbers(f"it cannot be read as numbers ({reason})", remedy) from error


def _vector_problems(given: Given, finite: bool = False) -> Iterator[tuple[str, str, str]]:
    """Rows about a vector; ``finite``: every number must be known."""
    try:
        numbers = numbers_of(given)
    except NotNumbers as error:
        yield "error", *error.args
        return
    lost = int(np.count_nonzero(~np.isfinite(numbers)))
    if not numbers.size:
        yield "error", f"{given.what} holds no number", "write null where it is missing"
    elif finite and lost:
        what = f"{lost} of {numbers.size} numbers of {given.what} are null, NaN or infinite"
        yield "error", what, "let the teacher see the study again, or write null for all of it"
    elif lost == numbers.size:
        what = f"none of the {numbers.size} numbers of {given.what} is known"
        yield "warning", what, "look at it (a .csv must hold numbers with commas between); it counts as missing"
    elif lost:
        what = f"{lost} of {numbers.size} numbers of {given.what} are null, NaN or infinite"
        yield "warning", what, "look at it: they count as unknown"
    if sum(side > 1 for side in numbers.shape) > 1:
        what = f"{given.what} has the shape {numbers.shape}, it is read row after row as one vector"
        yield "warning", what, "save one vector a study (a mean, one row)"


def _table_problems(given: Given) -> Iterator[tuple[str, str, str]]:
    for column, value in given.value.items():
        if _absent(value):
            continue
        try:
            number = float(value)
        except (TypeError, ValueError):
            what = f"the column {column!r} of {given.what} is {_short(value)}"
            yield "error", what, f"write {NO_NUMBERS}; categories as numbers"
            continue
        if not math.isfinite(number):
            what = f"the column {column!r} of {given.what} is {value!r}"
            yield "warning", what, "write null: it counts as unknown"


def _text_problems(given: Given) -> Iterator[tuple[str, str, str]]:
    text = str(given.value).strip()
    if " " not in text and Path(text).suffix[1:].isalnum():
        remedy = "put the text into the datalist; vectors may be .npy or .csv files"
        yield "warning", f"{given.what} is {_short(text)}: a file's name is read as text", remedy
    if "\ufffd" in text or "\0" in text:
        yield "warning", f"{given.what} holds characters that were not decoded", "save the texts as UTF-8"


def _similar_problems(case: Mapping) -> Iterator[tuple[str, str, str]]:
    given = case.get(SIMILAR)
    if not given:
        return
    if not isinstance(given, Mapping):
        yield "error", f"{SIMILAR} is {_short(given)}, not weights by case_id", 'write {"CASE_ID": 0.5}'
        return
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            remedy = "write a number of 0 to 1; 1 is a report that fits as well as its own"
            yield "error", f"the weight of the similar case {name!r} is {value!r}", remedy
        if str(name) == str(case.get("case_id")):
            yield "warning", "the case is similar to itself", "leave it out: its own report counts 1 anyway"
    if len(given) > USUAL_SIMILAR:
        what = f"{len(given)} similar cases are given, soft_positives reads {USUAL_SIMILAR} and refuses more"
        yield "warning", what, f"keep the best, or train with --similar_cases {len(given)}"


def check_given_sets(sections: Mapping[str, list[dict]], elsewhere: Collection[str] = ()) -> list[Problem]:
    """What shows only over many studies: unknown similar cases, odd names, kinds and lengths, files used twice.

    Args:
        sections: section to its studies, with absolute paths.
        elsewhere: case_ids of sections that are not looked at.
    """
    studies = {s: [c for c in inside if "video" in c] for s, inside in sections.items()}
    return _unknown_similar(studies, elsewhere) + _odd_shapes(studies) + _shared_files(studies)


def _unknown_similar(sections: Mapping[str, list[dict]], elsewhere: Collection[str]) -> list[Problem]:
    homes = {str(case.get("case_id", "")): section for section, inside in sections.items() for case in inside}
    rows, others = [], set(elsewhere)
    named = [
        (name, section, str(case.get("case_id", "")))
        for section, inside in sections.items()
        for case in inside
        for name in map(str, case[SIMILAR] if isinstance(case.get(SIMILAR), Mapping) else ())
    ]
    for name, section, case_id in named:
        if name not in homes and name not in others:
            hint = did_you_mean(name, homes, cutoff=0.8) if len(rows) < MOST_HINTS else ""
            what = f"the similar case {name!r} is not in the datalist{hint}"
            rows.append(Problem("error", "", case_id, what, "write the case_id of another case, or leave it out"))
        elif homes.get(name, "") != section:
            what = f"the similar case {name!r} stands in {homes.get(name, 'another section')}, this one in {section}"
            remedy = "leave it out: no batch holds both, so that the weight has no effect"
            rows.append(Problem("warning", "", case_id, what, remedy))
    return rows


def _kind(given: Given) -> tuple[str, int]:
    """``("vector", 12)``, ``("table", 0)`` or ``("text", 0)``; lengths of tables and texts may differ."""
    if isinstance(given.value, Mapping):
        return "table", 0
    if isinstance(given.value, str) and not given.file:
        return "text", 0
    return "vector", int(numbers_of(given).size)


def _odd_shapes(sections: Mapping[str, list[dict]]) -> list[Problem]:
    """Names, kinds and lengths that differ from those of the other studies."""
    uses: dict[str, list[tuple[dict, Given, tuple[str, int]]]] = defaultdict(list)
    columns: dict[str, dict[str, list[dict]]] = defaultdict(lambda: defaultdict(list))
    for case in (case for inside in sections.values() for case in inside):
        for name, given in given_of(case):
            try:
                uses[name].append((case, given, _kind(given)))
            except NotNumbers:  # the study's own row says so
                continue
            for column in given.value if isinstance(given.value, Mapping) else ():
                columns[name][str(column)].append(case)
    rows = []
    for inside in uses.values():
        counts = Counter(kind for _, _, kind in inside)
        usual, count = counts.most_common(1)[0]
        for case, given, kind in inside:
            if kind != usual:
                what = f"{given.what} is {_said(kind)}, in {count} other cases it is {_said(usual)}"
                remedy = "give every case the same, or null where it is missing"
                rows.append(Problem("error", given.file, str(case.get("case_id", "")), what, remedy))
    holders = {name: [case for case, *_ in inside] for name, inside in uses.items() if name != TEACHER}
    rows += _slips({name.removeprefix(f"{SIDE} "): cases for name, cases in holders.items()}, "further input")
    for name, found in columns.items():
        rows += _slips(found, f"column of {name.removeprefix(f'{SIDE} ')!r}")
    return rows


def _said(kind: tuple[str, int]) -> str:
    return f"a vector of {kind[1]} numbers" if kind[0] == "vector" else f"a {kind[0]}"


def _slips(holders: Mapping[str, list[dict]], what: str) -> list[Problem]:
    """Names of few cases that are spelt nearly as one of many: training refuses a name that it does not know."""
    rows = []
    for name, cases in holders.items():
        common = [other for other, many in holders.items() if len(many) > 2 * len(cases)]
        hint = did_you_mean(name, common, cutoff=0.8)
        for case in cases if hint else ():
            found = f"a {what} is called {name!r}, in {len(cases)} case{'s' * (len(cases) > 1)}{hint}"
            rows.append(Problem("warning", "", str(case.get("case_id", "")), found, "spell it as the other cases do"))
    return rows


def _shared_files(sections: Mapping[str, list[dict]]) -> list[Problem]:
    users: dict[str, list[tuple[str, dict]]] = defaultdict(list)
    for section, inside in sections.items():
        for case in inside:
            for _, given in given_of(case):
                if given.file:
                    users[given.file].append((section, case))
    rows = []
    for file, uses in users.items():
        first_section, first = uses[0]
        for _, case in uses[1:]:
            what = f"it also belongs to {first.get('case_id')} in {first_section}"
            rows.append(Problem("warning", file, str(case.get("case_id", "")), what, "give each study its own file"))
    return rows
