"""Medical Segmentation Decathlon Task01: ``imagesTr/BRATS_001.nii.gz`` (4-D), ``labelsTr/``, ``dataset.json``.

Channel names and the meaning of the labels are read from ``dataset.json``; one that disagrees with the convention
is refused, because 1/2/3 mean something else in BraTS 2023.
"""

from __future__ import annotations

import json
from pathlib import Path

from medvlm.data.conventions import canonical_channel, convention
from medvlm.data.layouts.scan import Scan, ScanOptions, labelled, nothing_found


def scan(root: Path, options: ScanOptions) -> Scan:
    """List the cases that ``dataset.json`` names; its test images have no mask.

    Raises:
        ValueError: there is no ``dataset.json``, it is damaged, or its labels are not those of the convention.
    """
    description = _find_description(root)
    try:
        dataset = json.loads(description.read_text(encoding="utf-8-sig"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{description} is not JSON ({error}); restore it from the release.") from error
    channels = _channels(dataset, description)
    name = options.convention or "msd"
    _check_labels(dataset, name, description)

    result = Scan()
    listed = [e if isinstance(e, dict) else {"image": e} for key in ("training", "test") for e in dataset.get(key, [])]
    for image, label in ((e.get("image"), e.get("label")) for e in listed):
        if not image:
            result.report("error", description, "", f"an entry without an image: {label}", "mend dataset.json")
            continue
        file = description.parent / image
        case_id = file.name.removesuffix(".gz").removesuffix(".nii")
        case = {"image": str(file), "channels": channels}
        case |= {"patient_id": case_id, "study_id": case_id, "case_id": case_id, "source": options.source}
        if not file.exists():
            result.report(
                "error", file, case_id, "dataset.json names an image that is not there", "restore it or mend the list"
            )
            continue
        result.cases.append(labelled(case, description.parent / label, name) if label else case)
    if not result.cases and not result.problems:
        raise nothing_found(root, "msd", "entries in dataset.json's lists training and test")
    return result


def _find_description(root: Path) -> Path:
    inner = sorted(p for p in root.iterdir() if p.is_dir()) if root.is_dir() else []
    for candidate in (root, *inner):
        if (candidate / "dataset.json").is_file():
            return candidate / "dataset.json"
    raise nothing_found(root, "msd", "a dataset.json beside imagesTr/ and labelsTr/")


def _channels(dataset: dict, description: Path) -> list[str]:
    named = dataset.get("modality") or dataset.get("channel_names")
    if not isinstance(named, dict) or not named:
        raise ValueError(
            f'{description} names no channels; add "modality": {{"0": "FLAIR", "1": "T1w", ...}} '
            "in the order of the 4-D files."
        )
    return [canonical_channel(named[key]) for key in sorted(named, key=int)]


def _check_labels(dataset: dict, name: str, description: Path) -> None:
    labels = dataset.get("labels")
    if not isinstance(labels, dict) or not labels:
        raise ValueError(f'{description} does not say what its labels mean; add "labels": {{"1": "edema", ...}}.')
    if not all(str(key).isdigit() for key in labels):  # nnU-Net's form: meaning to value
        labels = {value: meaning for meaning, value in labels.items()}
    stated = {int(value): _tissue(str(meaning)) for value, meaning in labels.items() if int(value) != 0}
    expected = {value: _tissue(meaning) for value, meaning in convention(name).meanings.items()}
    if stated != expected:
        raise ValueError(
            f"{description} says that the labels are {dict(labels)}, but the convention {name} reads "
            f"{convention(name).meanings}; if dataset.json is right, name the convention it follows with --convention "
            "(brats2023: 1 necrosis, 2 oedema, 3 enhancing), else mend dataset.json."
        )


def _tissue(meaning: str) -> str:
    word = meaning.lower()
    if "edema" in word or "hyperintens" in word or "snfh" in word:
        return "oedema"
    if "non" in word or "necro" in word or word.startswith("ncr"):
        return "core without enhancement"
    if "enhanc" in word or word == "et":
        return "enhancing"
    return word
