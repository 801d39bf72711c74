"""From the words on the command line to the cases of one or several data sets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medvlm.data.layouts import LAYOUTS, SHARED_PATIENTS, Scan, ScanOptions, scan_layout
from medvlm.data.problems import Problem

MIXED = "mixed"


@dataclass(frozen=True)
class Source:
    """One data set: its layout, its folder, and the name its cases carry."""

    layout: str
    root: Path
    name: str


def words(value: str | Sequence[str] | None) -> list[str]:
    """Split ``a,b`` at its commas; a sequence (as ``fire`` makes of ``a,b``) stays."""
    if value is None:
        return []
    parts = value.split(",") if isinstance(value, str) else list(value)
    return [str(p).strip() for p in parts if str(p).strip()]


def find_sources(layout: str | Sequence[str], root: str | Path | Sequence, source=None) -> list[Source]:
    """Pair layouts, folders and names.

    Args:
        layout: one layout, several with commas between them, or ``mixed``: every sub-folder of ``root`` whose name is
            a layout, or starts with one followed by ``-`` or ``_`` (``kaggle_yes_no``, ``brats2021_site2``).
        root: a folder, or as many as layouts with commas between them.
        source: names of the data sets, as many as layouts; ``None`` takes the layouts' (``mixed``: the folders').

    Raises:
        ValueError: the numbers of layouts, folders and names differ, two data sets share a name, or ``mixed`` finds
            no layout.
    """
    layouts, names = words(layout), words(source)
    whole = root if isinstance(root, str | Path) else ",".join(map(str, root))  # fire splits "a,b" into a tuple
    if layouts == [MIXED]:
        if names:
            raise ValueError("With the layout mixed the folders' names are the sources; leave --source out.")
        return _sub_folders(Path(whole).expanduser())
    roots = [str(whole)] if len(layouts) == 1 else words(root)
    if not layouts or len(roots) != len(layouts) or (names and len(names) != len(layouts)):
        raise ValueError(
            f"Give as many roots (and sources, if any) as layouts, with commas between them; got layouts {layouts}, "
            f"roots {roots}, sources {names}."
        )
    found = [Source(kind, Path(r), n) for kind, r, n in zip(layouts, roots, names or layouts, strict=True)]
    twice = [name for name, count in Counter(s.name for s in found).items() if count > 1]
    if twice:
        raise ValueError(f"Two data sets are called {twice}; give each its own name with --source a,b.")
    return found


def _sub_folders(root: Path) -> list[Source]:
    if not root.is_dir():
        raise FileNotFoundError(f"The root {root} of the layout mixed is no folder; give --root the folder of sources.")
    found = []
    for folder in sorted(p for p in root.iterdir() if p.is_dir()):
        fitting = [k for k in LAYOUTS if folder.name == k or folder.name.startswith((f"{k}-", f"{k}_"))]
        if fitting:
            found.append(Source(max(fitting, key=len), folder, folder.name))
    if not found:
        there = sorted(p.name for p in root.iterdir())[:8]
        raise ValueError(
            f"{root} holds no folder named after a layout ({', '.join(LAYOUTS)}); it holds {there}. Name the layouts "
            "and folders instead: `prepare brats2021,msd --root A,B`."
        )
    return found


def scan_sources(sources: Sequence[Source], options: ScanOptions) -> Scan:
    """Scan several data sets into one list of cases with unique names.

    ``convention`` and ``channels`` reach only layouts that do not prove them when there is more than one source.
    """
    merged = Scan()
    for source in sources:
        wanted = replace(options, source=source.name)
        if len(sources) > 1 and source.layout != "csv":
            wanted = replace(wanted, convention=None, channels=None)
        found = scan_layout(source.layout, source.root, wanted)
        merged.cases += found.cases
        merged.problems += found.problems
    _make_names_unique(merged.cases)
    shared = [s for s in sources if s.layout in SHARED_PATIENTS]
    if len(shared) > 1:
        merged.report(
            "warning",
            ", ".join(str(s.root) for s in shared),
            "",
            f"{', '.join(s.name for s in shared)} share patients under different names (BraTS 2023 holds 2021, which "
            "holds 2020; MSD comes from 2016/17): none of them can be an external test of another",
            "cases with the same mask are kept on one side of the split; report an external test on other data only",
        )
    return merged


def _make_names_unique(cases: list[dict]) -> None:
    """Put the source before a ``case_id`` that several sources use; number what still stands twice."""
    counts = Counter(case["case_id"] for case in cases)
    for case in cases:
        if counts[case["case_id"]] > 1 and not case["case_id"].startswith(f"{case['source']}_"):
            case["case_id"] = f"{case['source']}_{case['case_id']}"
    seen: Counter[str] = Counter()
    taken = {case["case_id"] for case in cases}
    for case in cases:
        name = case["case_id"]
        seen[name] += 1
        if seen[name] > 1:
            number = seen[name]
            while f"{name}-{number}" in taken:
                number += 1
            case["case_id"] = f"{name}-{number}"
            taken.add(case["case_id"])


def only_one_class(cases: Sequence[dict], root: str) -> list[Problem]:
    """Warn where the class can be told from the source: what a network then learns may be the scanner."""
    sources: dict[str, set[int]] = {}
    for case in cases:
        if case.get("tumour") in (0, 1):
            sources.setdefault(case["source"], set()).add(case["tumour"])
    rows = []
    words_of = {0: "no tumour", 1: "tumour"}
    for label in (0, 1):
        holders = sorted(name for name, classes in sources.items() if label in classes)
        if len(sources) > 1 and len(holders) == 1:
            text = f"the class {words_of[label]!r} lives in one source only ({holders[0]})"
        elif len(sources) == 1 and not holders:
            text = f"there is no case of the class {words_of[label]!r}"
        elif len(sources) > 1 and not holders:
            text = f"no source holds a case of the class {words_of[label]!r}"
        else:
            continue
        rows.append(
            Problem(
                "warning",
                root,
                "",
                f"{text}: a classifier may learn the source instead of the tumour",
                "add a source that holds both classes, or report scores within each source",
            )
        )
    return rows
