"""``python -m medvlm prepare``: from a data set on disk to a checked, split datalist."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from medvlm.data.cine_preparation import cine_sources, prepare_cines
from medvlm.data.conventions import convention as convention_named
from medvlm.data.datalists import SECTIONS, VERSION, merge_datalists, save_datalist
from medvlm.data.layouts import ScanOptions
from medvlm.data.patients import learn_from_masks, link_masks, link_pictures, link_volumes, name_patients
from medvlm.data.problems import DatasetError, Problem, render_problems, render_table
from medvlm.data.sources import Source, find_sources, only_one_class, scan_sources, words
from medvlm.data.splits import absent_strata, check_fractions, count_rows, fold_cases, split_cases

MERGE = "merge"
COUNT_COLUMNS = ("source", "class", "section", "cases", "patients", "masks", "videos", "reports")


def prepare(
    layout: str,
    root: str,
    out: str,
    source: str | None = None,
    convention: str | None = None,
    channels: str | None = None,
    fractions: Sequence[float] = (0.7, 0.1, 0.2),
    folds: int = 0,
    seed: int = 0,
    section: str | None = None,
    healthy_masks: bool = False,
    incomplete: str = "drop",
    near_duplicates: bool = True,
    verify: bool = False,
    skip_bad: bool = False,
    name: str | None = None,
    resplit: bool = False,
    unit: str = "study",
) -> list[str]:
    """Write the datalist of one or several data sets, and the table of what is in it.

    Args:
        layout: brats2015, brats2020, brats2021, brats2023, brats2024, msd, kaggle_yes_no, kaggle_four_class,
            brats_slices, csv; cine_manifest, xa_folder, arcade, cadica, cardiosyntax, coronary_dominance (videos);
            several with commas between them; mixed (sub-folders named after layouts); or merge (root names
            datalists, whose sections are kept).
        root: the data set's folder; as many as layouts, with commas between them.
        out: the datalist to write; its paths are relative to its folder.
        source: the data set's name in the cases, the layout's by default.
        convention: what the values of the masks mean, where the layout does not prove it (csv).
        channels: channel names, where the layout does not prove them (csv, pictures), e.g. FLAIR,T1.
        fractions: shares of training, validation and test.
        folds: 0, or the number of folds of cross-validation: out_fold0.json, out_fold1.json and so on are written.
        seed: another seed, another split.
        section: put all cases into this section (inference, test, ...) instead of splitting.
        healthy_masks: images of the no-tumour class without a mask count as having an empty one.
        incomplete: drop or keep cases that lack a modality.
        near_duplicates: whether pictures that show the same slice are found and kept on one side.
        verify: read every image too, as doctor does.
        skip_bad: leave cases with errors out instead of refusing.
        name: the datalist's name, the file's by default.
        resplit: videos: make a new split although the data set has one of its own.
        unit: videos: study, or video (every video becomes a case of its own).

    Returns:
        The files written.

    Raises:
        ValueError: the folder does not look like the layout, something is ambiguous, or (``DatasetError``) cases
            have errors and ``skip_bad`` is off; nothing is written then.
        OSError: ``out`` cannot be written; said before anything is read.
    """
    out = _writable(Path(out))
    if not section:
        check_fractions(fractions)
    if layout == MERGE:
        merged = merge_datalists(words(root), name)
        merged["counts"] = count_rows({s: merged[s] for s in SECTIONS})
        return _write([(out, merged)], [])
    sources = find_sources(layout, root, source)
    options = ScanOptions(convention=convention, channels=tuple(words(channels)) or None, incomplete=incomplete)
    if cine_sources(sources):
        found, problems = prepare_cines(
            sources, options, name or out.stem, fractions, folds, seed, section, resplit, unit, verify, skip_bad
        )
        return _write([(_suffixed(out, suffix), datalist) for suffix, datalist in found], problems)
    cases, groups, problems = collect_cases(
        sources,
        options,
        near_duplicates=near_duplicates and section != "inference",
        healthy_masks=healthy_masks,
        verify=verify,
        skip_bad=skip_bad,
    )
    base = {"name": name or out.stem, "layout": ",".join(s.layout for s in sources), "seed": seed}
    base |= {"version": VERSION, "conventions": _conventions_of(cases)}
    if not section:
        problems += only_one_class(cases, ", ".join(str(s.root) for s in sources))
    warnings = [f"{p.file}: {p.problem}" for p in problems if p.severity == "warning" and not p.case_id]
    written = []
    for suffix, sections in divide(cases, groups, fractions, folds, seed, section):
        path = _suffixed(out, suffix)
        problems += [
            Problem("note", str(path), "", f"{part} holds no case of {stratum} (source:class)", "add patients of it")
            for stratum, part in absent_strata(sections)
        ]
        datalist = base | {"counts": count_rows(sections)} | sections
        if warnings:
            datalist["warnings"] = warnings
        written.append((path, datalist))
    return _write(written, problems)


def collect_cases(
    sources: Sequence[Source],
    options: ScanOptions,
    near_duplicates: bool = True,
    healthy_masks: bool = False,
    verify: bool = False,
    skip_bad: bool = False,
) -> tuple[list[dict], list[str], list[Problem]]:
    """Scan, check and group the cases of several data sets.

    Returns:
        The cases (absolute paths), one group name a case (cases of one patient share it), and what was found.

    Raises:
        DatasetError: cases have errors and ``skip_bad`` is off, or no case is left.
    """
    scan = scan_sources(sources, options)
    cases, problems = scan.cases, scan.problems
    fingerprints, found = learn_from_masks(cases)
    problems += found
    links, found = link_pictures(cases) if near_duplicates else ([], [])
    problems += found
    mask_links, found = link_masks(cases, fingerprints)
    problems += found
    volume_links, found = link_volumes(cases)
    problems += found
    links += mask_links + volume_links
    if verify:
        from medvlm.data.case_checks import check_case

        for case in tqdm(cases, desc="images", unit="case"):
            problems += check_case(case)
        problems = list(dict.fromkeys(problems))
    groups = name_patients(cases, links)
    if healthy_masks:
        for case in cases:
            if case.get("tumour") == 0 and "label" not in case:
                case["empty_mask"] = True

    bad = {p.case_id for p in problems if p.severity == "error"}
    if bad and not skip_bad:
        count = sum(p.severity == "error" for p in problems)
        headline = f"{count} errors; nothing was written. Mend them, or leave the cases out with --skip_bad:"
        raise DatasetError(headline, problems)
    kept = [i for i, case in enumerate(cases) if case["case_id"] not in bad]
    if not kept:
        raise DatasetError("No case is left:", problems)
    return [cases[i] for i in kept], [groups[i] for i in kept], problems


def divide(
    cases: Sequence[dict],
    groups: Sequence[str],
    fractions: Sequence[float],
    folds: int,
    seed: int,
    section: str | None,
) -> list[tuple[str, dict[str, list[dict]]]]:
    """Put cases into sections; cases that know neither class nor mask go to ``inference``.

    Returns:
        Pairs of a suffix for the file's name (empty without folds) and the cases of every section.

    Raises:
        ValueError: the section is not known, or is given together with folds.
    """
    if section:
        if section not in SECTIONS:
            raise ValueError(f"section must be one of {', '.join(SECTIONS)}, got {section!r}.")
        if folds:
            raise ValueError("Give either --section or --folds: with a section nothing is split.")
        return [("", {s: sorted(cases, key=_case_id) if s == section else [] for s in SECTIONS})]
    usable = [(c, g) for c, g in zip(cases, groups, strict=True) if "tumour" in c]
    rest = sorted((c for c in cases if "tumour" not in c), key=_case_id)
    known, names = [c for c, _ in usable], [g for _, g in usable]
    if folds:
        parts = fold_cases(known, names, folds, fractions, seed)
        return [(f"_fold{k}", part | {"inference": rest}) for k, part in enumerate(parts)]
    return [("", split_cases(known, names, fractions, seed) | {"inference": rest})]


def _conventions_of(cases: Sequence[dict]) -> dict[str, dict]:
    names = sorted({case["convention"] for case in cases if "label" in case})
    return {name: convention_named(name).as_dict() for name in names}


def _case_id(case: dict) -> str:
    return case["case_id"]


def _writable(out: Path) -> Path:
    """Refuse a place that cannot be written before the images are read, which may take an hour."""
    if out.is_dir():
        raise IsADirectoryError(f"out must name the datalist's file, {out} is a folder; give {out / 'datalist.json'}.")
    folder = next(parent for parent in out.absolute().parents if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=folder):
            return out
    except OSError as error:
        raise type(error)(f"{out} cannot be written ({error.strerror}: {folder}); choose another --out.") from error


def _suffixed(out: Path, suffix: str) -> Path:
    return out.with_name(f"{out.stem}{suffix}.json") if suffix else out


def _write(written: list[tuple[Path, dict]], problems: list[Problem]) -> list[str]:
    report = [render_problems(problems)] if problems else []
    for path, datalist in written:
        save_datalist(datalist, path)
        report += ["", str(path), render_table(datalist["counts"], _columns(datalist["counts"]))]
    sys.stdout.write("\n".join(report) + "\n")
    return [str(path) for path, _ in written]


def _columns(rows: Sequence[dict]) -> list[str]:
    return [column for column in COUNT_COLUMNS if not rows or any(column in row for row in rows)]
