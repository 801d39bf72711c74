"""Which cases belong to one patient: what masks and pictures say beyond the names.

Collections of pictures name no patients, and releases of BraTS give one patient several names. Cases are tied together
by equal names, by near-duplicate pictures, by volumes of equal bytes, and by masks with equal volumes of every region.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from medvlm.data.conventions import foreign_values
from medvlm.data.duplicates import MAX_DISTANCE, equal_files, groups_from_links, near_duplicates, picture_hashes
from medvlm.data.problems import Problem
from medvlm.data.reading import ReadError, is_picture, label_values, mask_of, read_image

SMALLEST_MASK = 500  # voxels; below it equal volumes prove nothing


def learn_from_masks(cases: Sequence[dict], progress: bool = True) -> tuple[dict[int, tuple[int, ...]], list[Problem]]:
    """Read every mask: set ``tumour`` from it and check its values against the convention.

    Args:
        cases: cases with absolute paths; ``tumour`` is set in place where there is a mask.
        progress: whether to show a bar.

    Returns:
        Index of a case to the voxels of each region (only masks of several regions and some size), and one row for
        each mask that cannot be used.
    """
    fingerprints: dict[int, tuple[int, ...]] = {}
    problems = []
    labelled = [i for i, case in enumerate(cases) if "label" in case]
    for index in tqdm(labelled, desc="masks", unit="case", disable=not progress or not labelled):
        case = cases[index]
        try:
            mask = mask_of(read_image(case["label"]), case["label"])
            values = label_values(mask, case["label"])
            foreign, remedy = foreign_values(values, case["convention"])
            if foreign:
                what = f"values {foreign} are foreign to the convention {case['convention']} ({_listing(values)})"
                raise ReadError(case["label"], what, remedy)
        except ReadError as error:
            problems.append(Problem("error", error.path, case["case_id"], error.problem, error.remedy))
            continue
        tumour = int(bool(values.any()))
        stated = case.get("tumour", tumour)
        if stated != tumour:
            what = f"the mask {'holds' if tumour else 'lacks'} a tumour, but the case is of class {stated}"
            problems.append(Problem("error", case["label"], case["case_id"], what, "correct the mask or the class"))
            continue
        case["tumour"] = tumour
        volumes = tuple(int(np.isin(mask, wanted).sum()) for _, wanted in sorted(case["regions"].items()))
        if len(volumes) > 1 and max(volumes) >= SMALLEST_MASK:
            fingerprints[index] = volumes
    return fingerprints, problems


def _listing(values: np.ndarray) -> str:
    shown = ", ".join(str(v) for v in values[:8])
    return f"found {shown}{', ...' if len(values) > 8 else ''}"


def link_masks(cases: Sequence[dict], fingerprints: dict[int, tuple[int, ...]]) -> tuple[list, list[Problem]]:
    """Tie cases of different names whose masks have the same volume in every region.

    Returns:
        Pairs of indices, and one row a pair.
    """
    same: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for index, volumes in fingerprints.items():
        same[volumes].append(index)
    links, problems = [], []
    for inside in same.values():
        for other in inside[1:]:
            first = cases[inside[0]]
            if cases[other]["patient_id"] == first["patient_id"]:
                continue
            links.append((inside[0], other))
            what = f"its mask has the same volumes as the one of {first['case_id']} ({first['source']})"
            remedy = "they are taken as one patient; nothing to do if they are"
            problems.append(Problem("warning", cases[other]["label"], cases[other]["case_id"], what, remedy))
    return links, problems


def link_volumes(cases: Sequence[dict]) -> tuple[list[tuple[int, int]], list[Problem]]:
    """Tie cases that hold the same image file, or image files of equal bytes (pictures: :func:`link_pictures`).

    Args:
        cases: cases with absolute paths; a folder (DICOM) resembles nothing.

    Returns:
        Pairs of indices, and one row for each pair whose names do not make it one patient.
    """
    users: dict[str, dict[int, str]] = defaultdict(dict)  # file: the cases that hold it, and how they name it
    for index, case in enumerate(cases):
        for file in [case["image"]] if isinstance(case["image"], str) else case["image"]:
            if not is_picture(file):
                users[os.path.realpath(file)].setdefault(index, str(file))
    links: dict[tuple[int, int], None] = {}
    problems = []
    grouped = equal_files(users)
    alone = {file for file, own in users.items() if len(own) > 1} - {file for files in grouped for file in files}
    for files in [*grouped, *([file] for file in sorted(alone))]:
        holders = {index: name for file in files for index, name in users[file].items()}
        first, *others = sorted(holders)
        for other in others:
            one, case = cases[first], cases[other]
            if (first, other) in links:
                continue
            links[first, other] = None
            if "patient_id" in one and case.get("patient_id") == one["patient_id"]:
                continue
            what = f"the same bytes as {holders[first]} of {one['case_id']}, which is named as another patient"
            remedy = "they are kept in one section; nothing to do if they are one patient, else restore the right file"
            problems.append(Problem("warning", holders[other], case["case_id"], what, remedy))
    return list(links), problems


def link_pictures(
    cases: Sequence[dict], max_distance: int = MAX_DISTANCE, progress: bool = True
) -> tuple[list[tuple[int, int]], list[Problem]]:
    """Tie pictures that are near duplicates, and report those whose classes disagree.

    Args:
        cases: cases with absolute paths; only those that are one picture are looked at.
        max_distance: bits that may differ, of 256.
        progress: whether to show a bar.

    Returns:
        Pairs of indices, and rows: unreadable pictures (errors), a picture in both classes (an error where the two are
        the same to the hash, else a warning).
    """
    chosen = [i for i, case in enumerate(cases) if isinstance(case["image"], str) and is_picture(case["image"])]
    hashes, problems = [], []
    for index in tqdm(chosen, desc="duplicates", unit="image", disable=not progress or not chosen):
        try:
            hashes.append(picture_hashes(cases[index]["image"]))
        except ReadError as error:
            hashes.append(None)
            problems.append(Problem("error", error.path, cases[index]["case_id"], error.problem, error.remedy))
    links = []
    for i, j, distance in near_duplicates(hashes, max_distance):
        a, b = cases[chosen[i]], cases[chosen[j]]
        links.append((chosen[i], chosen[j]))
        classes = {a.get("tumour"), b.get("tumour")}
        if classes == {0, 1} and a.get("patient_id", a["case_id"]) != b.get("patient_id"):
            severity = "error" if distance == 0 else "warning"
            what = (
                f"label conflict: class {b['tumour']}, but it shows the same as {a['image']} ({a['case_id']}) of class "
                f"{a['tumour']} ({distance} of 256 bits differ)"
            )
            remedy = "look at both and correct the class of one, or leave both out"
            problems.append(Problem(severity, b["image"], b["case_id"], what, remedy))
            if severity == "error":
                problems.append(Problem(severity, a["image"], a["case_id"], "label conflict, see its twin", remedy))
    return links, problems


def name_patients(cases: Sequence[dict], links: Sequence[tuple[int, int]]) -> list[str]:
    """Give cases without ``patient_id`` one, and say which cases must stay together.

    Args:
        cases: ``patient_id`` is set in place where it is missing: the smallest ``case_id`` of the linked cases.
        links: pairs of indices that show the same patient.

    Returns:
        One group name a case: equal for cases that share a patient, directly or through others.
    """
    by_name: dict[str, int] = {}
    ties = list(links)
    for index, case in enumerate(cases):
        if "patient_id" in case:
            ties.append((by_name.setdefault(case["patient_id"], index), index))
    components = groups_from_links(len(cases), ties)
    smallest: dict[int, str] = {}
    for component, case in zip(components, cases, strict=True):
        smallest[component] = min(smallest.get(component, case["case_id"]), case["case_id"])
    groups = [smallest[component] for component in components]
    for case, group in zip(cases, groups, strict=True):
        case.setdefault("patient_id", group)
    return groups
