"""The datalist: one JSON file that names every case of a data set, with paths relative to itself.

Sections ``training``, ``validation``, ``test`` and ``inference`` each hold a list of cases; a case has the keys
``image``, ``channels``, ``label``, ``convention``, ``regions``, ``empty_mask``, ``tumour``, ``class_name``,
``patient_id``, ``study_id``, ``case_id``, ``source`` (see ``docs/datasets.md``).
"""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from medvlm.atomic import write_text_atomically

logger = logging.getLogger(__name__)

SECTIONS = ("training", "validation", "test", "inference")
VERSION = 1
PATH_KEYS = ("image", "label", "video")
SIDE, TEACHER, SIDE_FILES = "side", "teacher", (".npy", ".csv")  # what of these is a file


def read_datalist(path: str | Path) -> dict:
    """Read a datalist as it is written, paths untouched.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not JSON, or holds none of the four sections.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"No datalist at {path}; write one with `python -m medvlm prepare LAYOUT --root DIR --out {path.name}`."
        )
    try:
        datalist = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"The datalist {path} is not JSON ({error}); write it anew with `prepare`.") from error
    if not isinstance(datalist, dict) or not any(isinstance(datalist.get(s), list) for s in SECTIONS):
        raise ValueError(f"{path} is no datalist: it needs at least one of the lists {', '.join(SECTIONS)}.")
    return datalist


def load_datalist(
    path: str | Path, section: str | Sequence[str] = "training", dataset_dir: str | Path | None = None
) -> list[dict]:
    """Read the cases of one section, or of several one after another, with absolute paths.

    Args:
        path: the datalist.
        section: ``training``, ``validation``, ``test``, ``inference``, or a list of them.
        dataset_dir: folder that the relative paths start from; ``None`` is the datalist's own folder.

    Returns:
        New dictionaries; ``image``, ``label`` and ``video`` are absolute.

    Raises:
        FileNotFoundError: there is no such datalist.
        ValueError: the datalist has no such section.
    """
    datalist = read_datalist(path)
    base = Path(path).absolute().parent if dataset_dir is None else Path(dataset_dir).absolute()
    cases = []
    for name in [section] if isinstance(section, str) else section:
        if not isinstance(datalist.get(name), list):
            there = {s: len(datalist[s]) for s in SECTIONS if isinstance(datalist.get(s), list)}
            raise ValueError(f"The datalist {path} has no section {name!r}; it has (with number of cases) {there}.")
        cases += [absolute_case(case, base) for case in datalist[name]]
    return cases


def absolute_case(case: dict, base: Path) -> dict:
    """Copy a case with its paths made absolute against ``base``."""
    return _with_paths(case, lambda file: os.path.normpath(base / file))


def relative_case(case: dict, base: Path) -> dict:
    """Copy a case with its paths made relative to ``base`` (see ``relative_path``)."""
    return _with_paths(case, lambda file: relative_path(file, base))


def relative_path(file: str | Path, base: Path) -> str:
    """Write a path relative to a folder, with ``../`` where needed, so that a data set can be moved as a whole.

    It stays absolute where the two have nothing in common but the root of the file system (or the drive): there
    a relative path would break as soon as either moves.
    """
    file, base = os.path.abspath(file), os.path.abspath(base)
    try:
        common = os.path.commonpath([file, base])
    except ValueError:  # two drives
        return Path(file).as_posix()
    if common == os.path.dirname(common):  # the root itself
        return Path(file).as_posix()
    return Path(os.path.relpath(file, base)).as_posix()


def _with_paths(case: dict, change) -> dict:
    changed = dict(case)
    for key in PATH_KEYS:
        value = case.get(key)
        if value is not None:
            changed[key] = [change(v) for v in value] if isinstance(value, list | tuple) else change(value)
    if _is_side_file(case.get(TEACHER)):
        changed[TEACHER] = change(case[TEACHER])
    if isinstance(case.get(SIDE), dict):
        changed[SIDE] = {name: change(v) if _is_side_file(v) else v for name, v in case[SIDE].items()}
    return changed


def _is_side_file(value: object) -> bool:
    return isinstance(value, str) and value.lower().endswith(SIDE_FILES)


def save_datalist(datalist: dict, path: str | Path) -> Path:
    """Write a datalist whose paths are absolute, made relative to where it is written; never half a file.

    Returns:
        The path written.

    Raises:
        OSError: the folder cannot be written; nothing is left behind.
    """
    path = Path(path)
    written = dict(datalist)
    for section in SECTIONS:
        if section in written:
            written[section] = [relative_case(case, path.absolute().parent) for case in written[section]]
    return write_text_atomically(json.dumps(written, indent=2, ensure_ascii=False) + "\n", path)


def merge_datalists(paths: Iterable[str | Path], name: str | None = None) -> dict:
    """Put several datalists into one; every case stays in its section, paths become absolute.

    Args:
        paths: the datalists.
        name: name of the result; ``None`` joins the names with ``+``.

    Returns:
        A datalist for ``save_datalist``.

    Raises:
        ValueError: a case stands twice, a patient stands in two sections (leakage), or two datalists read a
            convention differently.
    """
    paths = [Path(p) for p in paths]
    lists = [read_datalist(p) for p in paths]
    merged: dict = {
        "name": name or "+".join(str(d.get("name", p.stem)) for d, p in zip(lists, paths, strict=True)),
        "layout": ",".join(str(d.get("layout", "")) for d in lists),
        "seed": [d.get("seed") for d in lists],
        "version": VERSION,
        "conventions": {},
    }
    warnings = [w for d in lists for w in d.get("warnings", [])]
    for path, datalist in zip(paths, lists, strict=True):
        for key, value in datalist.get("conventions", {}).items():
            if merged["conventions"].setdefault(key, value) != value:
                raise ValueError(f"{path} reads the convention {key!r} differently from the others; prepare it anew.")
    for section in SECTIONS:
        merged[section] = [
            absolute_case(case, path.absolute().parent)
            for path, datalist in zip(paths, lists, strict=True)
            for case in datalist.get(section, [])
        ]
    _refuse_overlap(merged)
    if warnings:
        merged["warnings"] = warnings
    return merged


def _refuse_overlap(datalist: dict) -> None:
    seen: set[str] = set()
    home: dict[str, str] = {}
    for section in SECTIONS:
        for case in datalist[section]:
            case_id, patient = case.get("case_id"), case.get("patient_id")
            if case_id in seen:
                raise ValueError(f"The case {case_id!r} stands in two of the datalists; prepare the sources together.")
            seen.add(case_id)
            if patient is not None and home.setdefault(patient, section) != section:
                raise ValueError(
                    f"The patient {patient!r} would stand in {home[patient]} and in {section} (leakage); "
                    "prepare the sources together, so that one split is made for all of them."
                )


def cases_with_mask(cases: Sequence[dict]) -> list[dict]:
    """Keep the cases whose mask is known: those with a mask file, and images said to be empty (``empty_mask``).

    Raises:
        ValueError: where none is left.
    """
    kept = [case for case in cases if case.get("label") or case.get("empty_mask")]
    if not kept:
        raise ValueError(f"none of {len(cases)} cases has a known mask; segmentation needs some, or --healthy_masks.")
    return kept


def cases_with_channels(cases: Sequence[dict], channels: Sequence[str]) -> list[dict]:
    """Keep the cases that have at least one of some channels; the log counts the others by source, once.

    For a network that takes several named channels: a picture of unstated weighting (``MRI``) shows none of them.

    Args:
        cases: of a datalist; one that does not name its ``channels`` is kept.
        channels: such as ``["FLAIR", "T1"]``.

    Raises:
        ValueError: where none is left.
    """
    kept, others = [], []
    for case in cases:
        (kept if "channels" not in case or set(case["channels"]) & set(channels) else others).append(case)
    if cases and not kept:
        there = sorted({str(name) for case in cases for name in case["channels"]})
        raise ValueError(
            f"none of {len(cases)} cases has any of the channels {list(channels)}, theirs are {there}; use volumes of "
            "named modalities, or say in the datalist what the channels are (prepare --channels)."
        )
    counts = Counter(str(case.get("source", "unknown")) for case in others)
    if counts:
        told = ", ".join(f"{source} {count}" for source, count in sorted(counts.items()))
        some = f"{counts.total()} of {len(cases)} cases"
        _tell_once(f"{some} have none of the channels {list(channels)} and are left out: {told}")
    return kept


@cache
def _tell_once(message: str) -> None:
    logger.warning("%s", message)
