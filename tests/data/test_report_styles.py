"""Reports read in set phrases: the style stays with the tokenizer's folder and its fingerprint."""

from __future__ import annotations

import pickle

import pytest

import transforms
from medvlm.data.report_styles import STYLE_FILE
from medvlm.data.tokenizers import (
    check_tokenizer,
    ensure_tokenizer,
    fingerprint,
    load_tokenizer,
    train_wordpiece,
)

REPORTS = [
    f"The {place} LAD has a {percent}% stenosis. Right-dominant system. {percent} mL of contrast were used."
    for percent in range(10, 60)
    for place in ("proximal", "mid", "distal")
]
WRITTEN = "Right-dominant system. The mid LAD has a 30% stenosis. 120 mL of contrast were used."
OTHER = "Mild narrowing of the mid LAD.\nThe RCA is dominant."
READ = "right dominant system. mild stenosis of the mid lad."


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return train_wordpiece(REPORTS, tmp_path_factory.mktemp("styles") / "tokenizer", 400, style="structured")


@pytest.fixture(scope="module")
def tokenizer(folder):
    return load_tokenizer(folder)


def test_a_text_or_several_are_rewritten_before_they_are_tokens(tokenizer):
    both = tokenizer([WRITTEN, OTHER], padding=True)
    assert both["input_ids"][0] == both["input_ids"][1] == tokenizer(OTHER)["input_ids"]
    assert tokenizer.decode(both["input_ids"][0], skip_special_tokens=True) == READ


def test_what_claims_nothing_is_read_as_it_is(tokenizer):
    ids = tokenizer("There is a 30% stenosis. 50 mL of contrast.")["input_ids"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "there is a 30 % stenosis. 50 ml of contrast."
    assert tokenizer.unk_token_id not in ids


def test_the_style_stays_with_the_folder_and_its_fingerprint(tokenizer, folder, tmp_path):
    tokenizer.save_pretrained(tmp_path / "copy")
    again = load_tokenizer(tmp_path / "copy")
    assert fingerprint(again) == fingerprint(tokenizer) == fingerprint(pickle.loads(pickle.dumps(tokenizer)))
    (tmp_path / "copy" / STYLE_FILE).unlink()
    plain = load_tokenizer(tmp_path / "copy")
    with pytest.raises(ValueError, match="was trained with the tokenizer of fingerprint"):
        check_tokenizer(plain, fingerprint(tokenizer))


def test_a_folder_of_another_style_is_refused(folder, tmp_path):
    with pytest.raises(ValueError, match="reads reports 'structured', and 'as_written' is asked for"):
        ensure_tokenizer(folder, REPORTS, 400, style="as_written")
    with pytest.raises(ValueError, match="reads reports 'structured', and 'as_written' is asked for"):
        load_tokenizer(folder, "as_written")
    assert load_tokenizer(folder, "structured").style == ensure_tokenizer(folder, REPORTS, 400).style == "structured"
    assert ensure_tokenizer(folder, REPORTS, 400, style="structured")(OTHER) is not None
    with pytest.raises(ValueError, match="one of as_written, structured, got 'structred'"):
        ensure_tokenizer(tmp_path / "none", REPORTS, 400, style="structred")
    assert not (tmp_path / "none").exists()


def test_a_damaged_style_file_is_refused(folder, tmp_path):
    load_tokenizer(folder).save_pretrained(tmp_path / "bad")
    (tmp_path / "bad" / STYLE_FILE).write_text("{}", encoding="utf-8")
    with pytest.raises(ValueError, match="must say one of the styles"):
        load_tokenizer(tmp_path / "bad")


def test_the_tokenizer_of_a_text_model_can_read_in_set_phrases(tmp_path):
    model = train_wordpiece(REPORTS, tmp_path / "model", 400)
    ours = ensure_tokenizer(tmp_path / "ours", [], model=model, style="structured")
    assert (
        ours.plain(READ)["input_ids"]
        == ours(OTHER)["input_ids"]
        == load_tokenizer(tmp_path / "ours")(OTHER)["input_ids"]
    )


def test_cases_of_equal_facts_are_one_report_and_keep_their_words(tokenizer):
    tokenised = transforms.Tokenised("report", tokenizer, 32)
    first, second, third = (
        tokenised({"report": text, "case_id": str(number)})
        for number, text in enumerate((WRITTEN, OTHER, "Severe stenosis of the mid LAD."))
    )
    assert first["report_key"] == second["report_key"] != third["report_key"]
    assert first["study_key"] != second["study_key"]
    assert first["input_ids"].tolist() == second["input_ids"].tolist()
    assert first["report"] == WRITTEN


def test_headings_and_paragraphs_are_seen_before_the_text_is_joined(tokenizer):
    report = "LAD:\nMid: mild narrowing.\nRCA:\nDominant, normal."
    case = transforms.Tokenised("report", tokenizer, 32)({"report": report, "case_id": "1"})
    assert case["input_ids"].tolist() == tokenizer(report, max_length=32, padding="max_length")["input_ids"]


def test_an_absent_report_is_unknown(tokenizer):
    case = transforms.Tokenised("report", tokenizer, 16)({"report": None, "case_id": "1"})
    assert case["report_known"] == 0.0 and case["report"] == ""


def test_a_note_beside_the_videos_is_read_as_it_is(tokenizer):
    side = transforms.SideInputsd(tokenizer=tokenizer, texts={"note": 16})
    out = side({"side": {"note": OTHER}})
    words = tokenizer.plain(transforms.text.clean_report(OTHER), max_length=16, truncation=True, padding="max_length")
    assert out["note"].tolist() == words["input_ids"]
