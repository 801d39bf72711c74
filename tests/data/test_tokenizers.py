"""Training, keeping, loading and recognising tokenizers."""

from __future__ import annotations

import json
import logging
import subprocess
import sys

import pytest

from medvlm.data.datalists import save_datalist
from medvlm.data.tokenizers import (
    check_tokenizer,
    ensure_tokenizer,
    fingerprint,
    load_tokenizer,
    train_wordpiece,
    vocabulary_report,
)

REPORTS = [
    f"The {place} LAD has a {percent}% stenosis. No calcification is seen, TIMI-{percent % 4} flow."
    for percent in range(10, 60)
    for place in ("proximal", "mid", "distal")
] + ["Right dominant circulation; β-blocker given. Café."] * 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return train_wordpiece(REPORTS, tmp_path_factory.mktemp("tokenizers") / "tokenizer", vocab_size=300)


def test_a_text_is_begun_ended_and_padded(folder):
    tokenizer = load_tokenizer(folder)
    coded = tokenizer(["mid LAD", "The mid LAD has a 30% stenosis."], padding=True, truncation=True, max_length=16)
    assert [ids[0] for ids in coded["input_ids"]] == [tokenizer.cls_token_id] * 2
    assert coded["input_ids"][0][3] == tokenizer.sep_token_id and coded["input_ids"][0][4] == tokenizer.pad_token_id
    assert coded["attention_mask"][0][:5] == [1, 1, 1, 1, 0]
    assert (tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.mask_token_id) == (0, 1, 4)


def test_words_come_back(folder):
    tokenizer = load_tokenizer(folder)
    ids = tokenizer("The MID LAD has no calcification.")["input_ids"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "the mid lad has no calcification."


def test_characters_of_the_reports_are_never_unknown(folder):
    fit = vocabulary_report(load_tokenizer(folder), REPORTS)
    assert fit["unknown"] == 0 and fit["tokens_per_word"] < 2
    assert vocabulary_report(load_tokenizer(folder), ["漢字"])["unknown"] > 0


def test_the_vocabulary_keeps_to_its_size(tmp_path):
    small = load_tokenizer(train_wordpiece(REPORTS, tmp_path / "small", vocab_size=120))
    large = load_tokenizer(train_wordpiece(REPORTS, tmp_path / "large", vocab_size=200))
    assert len(small) <= 120 < len(large) <= 200


def test_training_gives_the_same_bytes_in_other_processes_and_orders(folder, tmp_path):
    code = (
        "import sys, json, random; from medvlm.data.tokenizers import train_wordpiece\n"
        "reports = json.load(open(sys.argv[1])); random.shuffle(reports)\n"
        "train_wordpiece(reports, sys.argv[2], vocab_size=300)"
    )
    (tmp_path / "reports.json").write_text(json.dumps(REPORTS), encoding="utf-8")
    again = tmp_path / "again"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "reports.json"), str(again)], check=True)
    for name in ("tokenizer.json", "tokenizer_config.json", "training.json"):
        assert (again / name).read_bytes() == (folder / name).read_bytes(), name


def test_the_fingerprint_survives_saving_and_tells_vocabularies_apart(folder, tmp_path):
    tokenizer = load_tokenizer(folder)
    tokenizer.save_pretrained(tmp_path / "copy")
    assert fingerprint(load_tokenizer(tmp_path / "copy")) == fingerprint(tokenizer)
    other = load_tokenizer(train_wordpiece(REPORTS, tmp_path / "other", vocab_size=150))
    assert 0 < fingerprint(tokenizer) < 2**63 and fingerprint(other) != fingerprint(tokenizer)


def test_the_fingerprint_sees_normalisation(folder, tmp_path):
    state = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    state["normalizer"]["lowercase"] = False
    cased = tmp_path / "cased"
    cased.mkdir()
    (cased / "tokenizer.json").write_text(json.dumps(state), encoding="utf-8")
    (cased / "tokenizer_config.json").write_bytes((folder / "tokenizer_config.json").read_bytes())
    assert fingerprint(load_tokenizer(cased)) != fingerprint(load_tokenizer(folder))


def test_a_tokenizer_that_does_not_match_is_refused(folder, tmp_path):
    tokenizer = load_tokenizer(folder)
    other = load_tokenizer(train_wordpiece(REPORTS, tmp_path / "other", vocab_size=150))
    check_tokenizer(tokenizer, fingerprint(tokenizer))
    check_tokenizer(other, 0)
    with pytest.raises(ValueError, match=rf"fingerprint {fingerprint(tokenizer)}, got {fingerprint(other)}.*saved"):
        check_tokenizer(other, fingerprint(tokenizer))


def test_a_path_that_does_not_exist_is_refused_without_a_download(tmp_path, monkeypatch):
    import socket

    def refuse(*args, **kwargs):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    for path in (str(tmp_path / "none"), "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract"):
        with pytest.raises(FileNotFoundError, match="does not exist; nothing is downloaded"):
            load_tokenizer(path)


def test_a_folder_without_or_with_a_damaged_tokenizer_is_refused(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match="holds no tokenizer.*model.safetensors"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{", encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}', encoding="utf-8")
    with pytest.raises(ValueError, match="cannot be read.*train it again"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("reports", [[], ["", "  "]], ids=["none", "blank"])
def test_training_needs_text(tmp_path, reports):
    with pytest.raises(ValueError, match="at least one report with text"):
        train_wordpiece(reports, tmp_path / "t")
    assert not list(tmp_path.iterdir())


def test_a_folder_of_other_things_is_left_alone(tmp_path):
    (tmp_path / "model.pt").write_bytes(b"weights")
    with pytest.raises(FileExistsError, match=r"folder of its own.*model.pt"):
        ensure_tokenizer(tmp_path, REPORTS, vocab_size=300)
    assert [p.name for p in tmp_path.iterdir()] == ["model.pt"]


def test_training_again_replaces_the_tokenizer(tmp_path):
    train_wordpiece(REPORTS, tmp_path / "t", vocab_size=300)
    train_wordpiece(REPORTS, tmp_path / "t", vocab_size=150)
    assert len(load_tokenizer(tmp_path / "t")) <= 150 and [p.name for p in tmp_path.iterdir()] == ["t"]


def test_a_process_that_is_too_late_takes_what_is_there(tmp_path, monkeypatch):
    from medvlm.data import tokenizers

    def beaten(reports, folder, vocab_size, style):
        train_wordpiece(reports, tmp_path / "t", vocab_size)  # another process is faster
        raise OSError(39, "Directory not empty")

    monkeypatch.setattr(tokenizers, "train_wordpiece", beaten)
    assert len(ensure_tokenizer(tmp_path / "t", REPORTS, vocab_size=300)) > 5


def test_a_vocabulary_below_the_alphabet_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"vocab_size must hold .* at least \d+, got 20"):
        train_wordpiece(REPORTS, tmp_path / "t", vocab_size=20)


def test_a_report_of_ten_thousand_words_is_trained_on_and_cut(folder):
    long = " ".join(["the proximal LAD has a stenosis"] * 1700)
    ids = load_tokenizer(folder)(long, truncation=True, max_length=64)["input_ids"]
    assert len(long.split()) > 10_000 and len(ids) == 64


def test_ensuring_trains_once_on_the_training_section_only(tmp_path):
    cases = {
        "training": [{"video": ["a.dcm"], "report": text, "case_id": str(i)} for i, text in enumerate(REPORTS)],
        "test": [{"video": ["b.dcm"], "report": "zzzyx zzzyx zzzyx", "case_id": "t"}],
    }
    cases["training"].append({"video": ["c.dcm"], "case_id": "silent"})
    datalist = save_datalist(cases, tmp_path / "list.json")
    first = ensure_tokenizer(tmp_path / "models" / "tokenizer", datalist, vocab_size=300)
    assert "z" not in first.get_vocab()
    stamp = (tmp_path / "models" / "tokenizer" / "tokenizer.json").stat().st_mtime_ns
    second = ensure_tokenizer(tmp_path / "models" / "tokenizer", datalist, vocab_size=300)
    assert (tmp_path / "models" / "tokenizer" / "tokenizer.json").stat().st_mtime_ns == stamp
    assert fingerprint(first) == fingerprint(second)
    assert [p.name for p in (tmp_path / "models").iterdir()] == ["tokenizer"]


def test_a_kept_tokenizer_of_other_reports_is_used_with_a_warning(tmp_path, caplog):
    ensure_tokenizer(tmp_path / "t", REPORTS, vocab_size=300)
    with caplog.at_level(logging.WARNING):
        ensure_tokenizer(tmp_path / "t", [*REPORTS, "Another report."], vocab_size=300)
    assert "other reports" in caplog.text
    caplog.clear()
    ensure_tokenizer(tmp_path / "t", list(reversed(REPORTS)), vocab_size=300)
    assert not caplog.text
