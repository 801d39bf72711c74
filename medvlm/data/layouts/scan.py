"""What every layout gives back, and what may be asked of it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from medvlm.data.conventions import convention
from medvlm.data.problems import Problem


@dataclass(frozen=True)
class ScanOptions:
    """What the user adds to what a layout proves.

    Attributes:
        source: name of the data set in the cases; ``None`` is the layout's name.
        convention: label convention, for layouts that do not prove one.
        channels: channel names, for layouts that do not prove them.
        incomplete: ``drop`` leaves cases that lack a modality out, ``keep`` lists them with what they have; both
            say so.
    """

    source: str | None = None
    convention: str | None = None
    channels: tuple[str, ...] | None = None
    incomplete: str = "drop"

    def __post_init__(self) -> None:
        if self.incomplete not in ("drop", "keep"):
            raise ValueError(f"incomplete must be 'drop' or 'keep', got {self.incomplete!r}.")
        if self.convention is not None:
            convention(self.convention)

    def with_source(self, source: str) -> ScanOptions:
        """The same options under a source's name."""
        return replace(self, source=source)

    def proven_convention(self, proven: str, layout: str) -> str:
        """The layout's convention; a differing ``convention`` is refused.

        Raises:
            ValueError: the user declared another one.
        """
        if self.convention not in (None, proven):
            raise ValueError(
                f"The layout {layout} has the label convention {proven}, got --convention {self.convention}; leave "
                "the option out, or use the layout csv for files whose labels were changed."
            )
        return proven


@dataclass
class Scan:
    """The cases that a layout found (absolute paths) and what it has to say about the others."""

    cases: list[dict] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def report(self, severity: str, file: str | Path, case_id: str, problem: str, remedy: str) -> None:
        """Add one finding."""
        self.problems.append(Problem(severity, str(file), case_id, problem, remedy))


def labelled(case: dict, label: str | Path, convention_name: str) -> dict:
    """Add a mask to a case, with the convention its values are read by."""
    case["label"] = str(label)
    case["convention"] = convention_name
    case["regions"] = convention(convention_name).regions_as_lists()
    return case


def safe_name(text: str) -> str:
    """A name that can be a file's: letters, digits, ``_``, ``.`` and ``-``."""
    return re.sub(r"[^\w.-]+", "_", text).strip("._") or "case"


def folders_under(root: Path) -> Iterator[tuple[Path, list[str]]]:
    """Walk folders in a fixed order, hidden ones left out: folder and the names of its files."""
    for folder, inner, files in os.walk(root):
        inner[:] = sorted(d for d in inner if not d.startswith((".", "__MACOSX")))
        yield Path(folder), sorted(f for f in files if not f.startswith("."))


def nothing_found(root: Path, layout: str, expected: str) -> ValueError:
    """The error of a folder that does not look like the layout: what was expected, what there is."""
    there = sorted(p.name + ("/" if p.is_dir() else "") for p in root.iterdir())[:6] if root.is_dir() else [root.name]
    return ValueError(
        f"{root} holds no case of the layout {layout}: expected {expected}; it holds {there}. "
        "Check --root and the layout's name (docs/datasets.md shows each)."
    )
