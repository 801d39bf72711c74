"""A table of checks, and the exit status that they mean."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Report", "Row"]


@dataclass(frozen=True)
class Row:
    """One check.

    Attributes:
        check: what was looked at.
        verdict: ``"ok"``, ``"failed"`` or ``"look"`` (worth a look, but no failure).
        detail: the finding and its remedy.
    """

    check: str
    verdict: str
    detail: str = ""


@dataclass
class Report:
    """Checks of one bundle, printed as a table.

    Attributes:
        title: what was checked.
        rows: the checks, in order.
    """

    title: str
    rows: list[Row] = field(default_factory=list)

    @property
    def status(self) -> int:
        """The exit status: 1 when a check failed."""
        return int(any(row.verdict == "failed" for row in self.rows))

    def add(self, check: str, problems: list[str], ok: str = "", verdict: str = "failed") -> None:
        """Add one row a problem, or one ``ok`` row when there is none."""
        self.rows += [Row(check, verdict, problem) for problem in problems] or [Row(check, "ok", ok)]

    def __str__(self) -> str:
        width = max((len(row.check) for row in self.rows), default=0)
        lines = [self.title]
        for row in self.rows:
            detail = row.detail.replace("\n", f"\n{' ' * (width + 12)}")
            lines.append(f"  {row.verdict:<6}  {row.check:<{width}}  {detail}".rstrip())
        failed = sum(row.verdict == "failed" for row in self.rows)
        look = sum(row.verdict == "look" for row in self.rows)
        lines.append(f"{failed} failed, {look} to look at, {len(self.rows) - failed - look} ok")
        return "\n".join(lines)
