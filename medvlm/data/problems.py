"""Rows that say what is wrong with a dataset: which file, what, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

SEVERITIES = ("error", "warning", "note")


@dataclass(frozen=True)
class Problem:
    """One finding about one file of a dataset.

    Attributes:
        severity: ``error`` (the case cannot be used as it is), ``warning`` (it can, look at it) or ``note``.
        file: the file or folder it is about.
        case_id: the case, empty when the finding is about the whole data set.
        problem: what was found.
        remedy: what the reader can do.
    """

    severity: str
    file: str
    case_id: str
    problem: str
    remedy: str

    def as_dict(self) -> dict[str, str]:
        """The row as JSON writes it."""
        return asdict(self)


class DatasetError(ValueError):
    """A data set that cannot be used as it is; ``problems`` holds one row for each thing found.

    Args:
        headline: one sentence that says what was refused.
        problems: the rows; all of them are put into the message.
    """

    def __init__(self, headline: str, problems: Sequence[Problem]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join([headline, render_problems(self.problems)]))


def render_problems(problems: Iterable[Problem]) -> str:
    """Write findings as text, the worst first, one paragraph each so that long paths stay whole."""
    lines = []
    for row in sorted(problems, key=lambda r: (SEVERITIES.index(r.severity), r.case_id, r.file, r.problem)):
        case = f" [{row.case_id}]" if row.case_id else ""
        lines += [f"{row.severity.upper():7} {row.file}{case}", f"        {row.problem}; remedy: {row.remedy}"]
    return "\n".join(lines)


def render_table(rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> str:
    """Write rows as an aligned text table; numbers stand to the right."""
    cells = [[str(row.get(c, "")) for c in columns] for row in rows]
    widths = [max(len(c), *(len(line[i]) for line in cells)) if cells else len(c) for i, c in enumerate(columns)]
    numeric = [all(line[i].lstrip("-").isdigit() or not line[i] for line in cells) for i in range(len(columns))]

    def write(line: Sequence[str]) -> str:
        aligned = (t.rjust(w) if n else t.ljust(w) for t, w, n in zip(line, widths, numeric, strict=True))
        return "  ".join(aligned).rstrip()

    return "\n".join([write(columns), write(["-" * w for w in widths]), *(write(line) for line in cells)])
