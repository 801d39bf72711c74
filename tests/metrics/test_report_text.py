from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from medvlm.metrics.ngrams import bleu, bleu_counts, cider, longest_common, rouge_l
from medvlm.metrics.report_text import text_report, vlm3d_cleaned, words_of


@pytest.fixture(scope="session")
def stored(golden):
    folder = golden("report_text")
    return [json.loads((folder / name).read_text(encoding="utf-8")) for name in ("pairs.json", "expected.json")]


def report_of(pairs, **options):
    return text_report(
        [p["candidate"] for p in pairs], [p["reference"] for p in pairs], [p["id"] for p in pairs], **options
    )


def values(report, group):
    return {name: entry["value"] for name, entry in report[group].items() if isinstance(entry, dict)}


def expected_values(corpus):
    return {name.lower(): value for name, value in corpus.items() if name != "METEOR"}


def test_texts_are_cleaned_as_the_official_script_does(stored):
    for pair in stored[0]:
        assert vlm3d_cleaned(pair["reference"], generated=False) == pair["reference_cleaned"], pair["id"]
        assert vlm3d_cleaned(pair["candidate"], generated=True) == pair["candidate_cleaned"], pair["id"]


def test_corpus_scores_equal_the_official_script(stored):
    found = values(report_of(stored[0], n_boot=2), "vlm3d")
    assert found == pytest.approx(expected_values(stored[1]["vlm3d_corpus"]), abs=1e-9)


def test_scores_of_each_pair_equal_the_official_script(stored):
    cleaned = [(p["candidate_cleaned"], p["reference_cleaned"]) for p in stored[0]]
    said, meant = ([pair[side].split() for pair in cleaned] for side in (0, 1))
    single = bleu(bleu_counts(said, meant))
    consensus = cider(said, meant)
    for index, pair in enumerate(stored[0]):
        theirs = pair["vlm3d"]
        assert single[index] == pytest.approx([theirs[f"BLEU_{n}"] for n in (1, 2, 3, 4)], abs=1e-9), pair["id"]
        spaced = [text.split(" ") for text in cleaned[index]]
        assert rouge_l(*spaced) == pytest.approx(theirs["ROUGE_L"], abs=1e-9), pair["id"]
        assert consensus[index] == pytest.approx(theirs["CIDEr"], abs=1e-9), pair["id"]


def test_edge_runs_equal_the_official_script(stored):
    by_id = {pair["id"]: pair for pair in stored[0]}
    checked = 0
    for name, run in stored[1]["edge_runs"].items():
        if "pair_ids" not in run or name.startswith("missing") or "corpus" not in run:
            continue
        pairs = [dict(by_id[i]) for i in run["pair_ids"]]
        if name in ("all_identical", "all_constant", "all_empty"):
            continue  # their texts are made from the pairs; the next test does it
        assert values(report_of(pairs, n_boot=1), "vlm3d") == pytest.approx(expected_values(run["corpus"]), abs=1e-9)
        checked += 1
    assert checked >= 3


@pytest.mark.parametrize(
    ("name", "make"), [("all_identical", lambda pair: pair["reference"]), ("all_empty", lambda pair: "")]
)
def test_constant_answers_equal_the_official_script(stored, name, make):
    run = stored[1]["edge_runs"][name]
    by_id = {pair["id"]: pair for pair in stored[0]}
    pairs = [by_id[i] | {"candidate": make(by_id[i])} for i in run["pair_ids"]]
    assert values(report_of(pairs, n_boot=1), "vlm3d") == pytest.approx(expected_values(run["corpus"]), abs=1e-9)


def test_tokenised_scores_equal_sacrebleu_and_rouge_score(stored):
    report = report_of(stored[0], n_boot=2)["tokenised"]
    theirs = stored[1]["sacrebleu_raw_13a_lowercase"]
    assert report["bleu_4"]["value"] == pytest.approx(theirs["score"] / 100, abs=1e-9)
    assert report["bleu_1"]["value"] == pytest.approx(theirs["precisions"][0] * theirs["bp"] / 100, abs=1e-9)
    assert report["rouge_l"]["value"] == pytest.approx(stored[1]["rouge_score_mean"]["rouge_score_raw_F"], abs=1e-9)
    assert "case:lc" in report["sacrebleu_signature"] and "tok:13a" in report["sacrebleu_signature"]


def test_case_and_spacing_cost_nothing_in_the_tokenised_scores():
    report = text_report(["NO  LESION IN THE LAD , 70% RCA ."], ["No lesion in the LAD, 70% RCA."], ["p"], n_boot=1)
    assert report["tokenised"]["rouge_l"]["value"] == 1.0
    assert report["vlm3d"]["bleu_4"]["value"] < 1e-3


def test_bleu_by_hand():
    # matched 2 of 3 words, 1 of 2 pairs; the candidate is shorter: exp(1 - 4/3).
    found = bleu(bleu_counts([["a", "b", "x"]], [["a", "b", "c", "d"]]).sum(axis=0))
    assert found[0] == pytest.approx(2 / 3 * np.exp(1 - 4 / 3), abs=1e-6)
    assert found[1] == pytest.approx(np.sqrt(2 / 3 * 1 / 2) * np.exp(1 - 4 / 3), abs=1e-6)


def test_longest_common_subsequence_by_hand():
    assert longest_common("a b c d e".split(), "b x d e a".split()) == 3
    assert longest_common([], ["a"]) == longest_common(["a"], []) == 0


def test_words_keep_percentages_and_drop_punctuation():
    assert words_of("LAD: 70-80% stenosis, patient's 0.5 mm; x_y") == [
        "lad", "70", "80%", "stenosis", "patient's", "0.5", "mm", "x", "y",
    ]  # fmt: skip


def test_empty_answers_are_scored_and_counted_and_intervals_hold_the_value():
    written = [f"stenosis of {n} percent in the vessel number {n % 7}" for n in range(30)]
    said = [None if n % 10 == 0 else text.replace("vessel", "artery" if n % 3 else "vessel") for n, text in
            enumerate(written)]  # fmt: skip
    report = text_report(said, written, [n // 2 for n in range(30)], n_boot=200)
    assert (report["n"], report["n_patients"], report["n_empty"]) == (30, 15, 3)
    for group in ("vlm3d", "tokenised"):
        for name, entry in report[group].items():
            if isinstance(entry, dict):
                assert entry["ci"][0] <= entry["value"] <= entry["ci"][1], (group, name)


def test_missing_packages_name_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics", None)
    with pytest.raises(ImportError, match=r"medvlm-bundles\[text\]"):
        text_report(["a"], ["a"], ["p"], n_boot=1)


@pytest.mark.parametrize(
    ("generated", "written", "match"),
    [(["a"], ["a", "b"], "got 1, 2 and 1"), ([], [], "no report"), (["a"], [" "], "first at 0")],
)
def test_texts_that_cannot_be_scored_are_refused(generated, written, match):
    with pytest.raises(ValueError, match=match):
        text_report(generated, written, generated)
