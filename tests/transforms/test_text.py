"""Reports: what is cleaned, which are equal, and what their tokens are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from transforms import Tokenised, clean_report, normalise_text, report_sections
from transforms.text import stable_key

NOTE = (
    "PROCEDURE PERFORMED:,1. Coronary angiogram.,INDICATIONS:, Chest pain.  Dr. [**Name**] ___ referred.\n"
    "FINDINGS:,  The  left main is normal .. \nPLAN / ADVICE:,Stent.,FINDINGS:,LAD 70 %."
)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    words = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "severe", "stenosis", "of", "the", "lad", "."]
    core = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", unk_token="[UNK]"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, ""),
        (float("nan"), ""),
        ("  \n\t ", ""),
        ("Left  main\r\nis normal .", "Left main is normal."),
        ("Seen by [**Dr 12**] ____ today..", "Seen by today."),
        ("50\u00a0% ste\u0301nose\x00", "50 % sténose"),
    ],
)
def test_cleaning(text, expected):
    assert clean_report(text) == expected


def test_sections_are_found_and_joined():
    sections = report_sections(NOTE)
    assert list(sections) == ["procedure performed", "indications", "findings", "plan / advice"]
    assert sections["indications"] == "Chest pain. Dr. referred."
    assert sections["findings"] == "The left main is normal. LAD 70 %."
    assert report_sections("No headings here: none.") == {"": "No headings here: none."}
    assert report_sections(None) == {}


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ("Severe stenosis of the LAD.", "severe  stenosis, of the LAD", True),
        ("LAD 50%", "LAD 50 %", True),
        ("LAD 50%", "LAD 70%", False),
        ("LAD 2.5 mm", "LAD 25 mm", False),
        ("LAD <50%", "LAD >50%", False),
        ("No stenosis", "Stenosis", False),
        ("Sténose", "STÉNOSE", True),
    ],
)
def test_texts_are_equal_in_words_and_numbers(one, other, equal):
    assert (normalise_text(one) == normalise_text(other)) is equal


def test_keys_are_the_same_in_another_process():
    root = Path(__file__).resolve().parents[2]
    source = (root / "transforms" / "text.py").read_text(encoding="utf-8")
    code = source[source.index("def stable_key") : source.index("def study_words")]
    program = f"import hashlib\n{code}\nprint(stable_key('LAD 70%'))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(run.stdout) == stable_key("LAD 70%")
    assert 0 <= stable_key("") < 2**63


def test_a_report_becomes_tokens(tokenizer):
    d = Tokenised(tokenizer=tokenizer, max_length=8)({"report": " Severe  stenosis of the lad . ", "study_id": "1"})
    assert d["report"] == "Severe stenosis of the lad."
    assert d["input_ids"].tolist() == [1, 3, 5, 6, 7, 8, 9, 2] and d["input_ids"].dtype == torch.int64
    assert d["attention_mask"].tolist() == [1] * 8 and d["report_known"] == 1.0
    short = Tokenised(tokenizer=tokenizer, max_length=8)({"report": "severe", "study_id": "1"})
    assert short["input_ids"].tolist() == [1, 4, 2, 0, 0, 0, 0, 0]
    assert short["attention_mask"].tolist() == [1, 1, 1, 0, 0, 0, 0, 0]


def test_a_report_of_10000_words_is_cut_and_still_ends(tokenizer):
    d = Tokenised(tokenizer=tokenizer, max_length=16)({"report": "severe stenosis " * 5000, "study_id": "1"})
    assert d["input_ids"].shape == (16,) and d["input_ids"][-1] == 2 and d["attention_mask"].all()


@pytest.mark.parametrize("report", [None, "", " .. ", float("nan")])
def test_an_unknown_report_is_said_to_be_unknown(tokenizer, report):
    tokenise = Tokenised(tokenizer=tokenizer, max_length=8)
    one, two = (tokenise({"report": report, "study_id": name}) for name in "12")
    assert one["report_known"] == 0.0 and one["attention_mask"].sum() >= 2
    assert one["report_key"] != two["report_key"]
    assert "report" in tokenise({"study_id": "1"})


def test_keys_tell_reports_and_studies_apart(tokenizer):
    tokenise = Tokenised(tokenizer=tokenizer, max_length=8)
    a, b, c = (
        tokenise({"report": text, "patient_id": "p", "study_id": study, "source": "s"})
        for text, study in (("LAD 50%", "1"), ("lad 50 %.", "2"), ("LAD 70%", "1"))
    )
    assert a["report_key"] == b["report_key"] != c["report_key"]
    assert a["study_key"] == c["study_key"] != b["study_key"]
    other = tokenise({"report": "x", "patient_id": "q", "study_id": "1", "source": "s"})
    assert other["study_key"] != a["study_key"]
    by_file = [tokenise({"video": [name]})["study_key"] for name in ("a.dcm", "a.dcm", "b.dcm")]
    assert by_file[0] == by_file[1] != by_file[2]
    with pytest.raises(ValueError, match="a case must say which study it is, by study_id, patient_id or case_id"):
        tokenise({"report": "x", "video": torch.zeros(1)})


def test_sections_are_chosen_where_a_report_has_them(tokenizer):
    tokenise = Tokenised(tokenizer=tokenizer, sections=["findings", "impression"])
    assert tokenise({"report": NOTE, "study_id": "1"})["report"] == "The left main is normal. LAD 70 %."
    assert tokenise({"report": "Severe stenosis", "study_id": "1"})["report"] == "Severe stenosis"


def test_tokenizers_are_checked(tokenizer):
    with pytest.raises(TypeError, match="tokenizer must be one of transformers' tokenizers, got None; load it first"):
        Tokenised()
    with pytest.raises(ValueError, match="max_length must be at least 3"):
        Tokenised(tokenizer=tokenizer, max_length=2)
    bare = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0}, unk_token="a")))
    assert bare.pad_token_id is None
    with pytest.raises(ValueError, match="must have a token for padding, it has none; set tokenizer.pad_token"):
        Tokenised(tokenizer=bare)


def test_a_token_is_put_before_texts_of_a_tokenizer_that_begins_none():
    def tokenizer(text, max_length, truncation, padding):
        ids = [*[len(word) + 5 for word in text.split()][: max_length - 1], 0]
        rest = [0] * (max_length - len(ids))  # SigLIP's: the end also fills up
        return {"input_ids": ids + rest, "attention_mask": [1] * len(ids) + rest}

    case = Tokenised(tokenizer=tokenizer, max_length=6, begin=1)({"report": "no stenosis", "case_id": "a"})
    assert case["input_ids"].tolist() == [1, 7, 13, 0, 0, 0]
    assert case["attention_mask"].tolist() == [1, 1, 1, 1, 0, 0]
