"""The coronary phantom goes through ``prepare`` and ``doctor`` as a user's data set would."""

from __future__ import annotations

import csv

import pytest

from medvlm.data.datalists import SECTIONS, load_datalist, read_datalist
from medvlm.data.doctor import doctor
from medvlm.data.phantoms.coronary_dataset import write_coronary_phantoms
from medvlm.data.prepare import prepare
from medvlm.data.tokenizers import ensure_tokenizer, vocabulary_report


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_coronary_phantoms(
        tmp_path_factory.mktemp("phantoms"), studies=10, size=48, frames=4, views=(1, 2), progress=False
    )


@pytest.fixture(scope="module")
def datalist(root):
    out = root.parent / "list.json"
    prepare("cine_manifest", str(root), str(out))
    return out


def test_every_study_of_the_manifest_is_a_case_of_its_section(root, datalist):
    with (root / "manifest.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    words = {"train": "training", "val": "validation", "test": "test"}
    stated = {row["StudyInstanceUID"]: words[row["Split"]] for row in rows}
    content = read_datalist(datalist)
    assert {c["study_id"]: s for s in SECTIONS for c in content[s]} == stated
    assert sum(len(c["video"]) for s in SECTIONS for c in content[s]) == len(rows)


def test_truth_and_reports_arrive(datalist):
    cases = load_datalist(datalist, ["training", "validation", "test"])
    assert all(c["report"] for c in cases)
    for case in cases:
        targets = case["targets"]
        known = [v for k, v in targets.items() if k.endswith("_stenosis") and k.split("_")[0] in ("proximal", "mid")]
        assert targets["stenosis"] == int(targets["max_stenosis"] > 70) and max(known) <= targets["max_stenosis"]
        assert targets["dominance"] in (0, 1, 2)


def test_the_phantom_passes_the_doctor(datalist):
    assert doctor(str(datalist)) == 0


def test_the_folder_gives_the_same_studies_without_their_truth(root, datalist, tmp_path):
    prepare("xa_folder", str(root / "dicom"), str(tmp_path / "d.json"))
    found = {c["study_id"]: len(c["video"]) for c in read_datalist(tmp_path / "d.json")["inference"]}
    content = read_datalist(datalist)
    assert found == {c["study_id"]: len(c["video"]) for s in SECTIONS for c in content[s]}


def test_a_tokenizer_of_its_reports_knows_the_words_of_the_test_section(datalist, tmp_path):
    tokenizer = ensure_tokenizer(tmp_path / "tokenizer", datalist, vocab_size=1000)
    fit = vocabulary_report(tokenizer, [c["report"] for c in load_datalist(datalist, "test")])
    assert fit["unknown"] < 0.01 and fit["tokens_per_word"] < 3
