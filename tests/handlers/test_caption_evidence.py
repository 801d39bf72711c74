from __future__ import annotations

import numpy as np
import pytest

from medvlm.data.tokenizers import load_tokenizer, train_wordpiece
from medvlm.handlers.caption_evidence import caption_sentences, caption_text, sentence_map

TEXT = "Right-dominant system. A 70% stenosis (70-80%) of the mid LAD. FFR 0.75 in it. 1. The RCA is normal."


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    return load_tokenizer(train_wordpiece([TEXT] * 3, folder / "t", 300))


def test_the_words_come_back_as_people_write_them(tokenizer):
    assert caption_text(tokenizer, tokenizer(TEXT)["input_ids"]) == TEXT


def test_only_a_text_without_any_capital_gets_them(tmp_path):
    words = "om1 and d2 are normal: timi-3 flow, 95 ml, the circumflex (cx) is calcified."
    plain = load_tokenizer(train_wordpiece([words] * 3, tmp_path / "t", 300))
    written = "OM1 and D2 are normal: TIMI-3 flow, 95 mL, the circumflex (CX) is calcified."
    assert caption_text(plain, plain(words)["input_ids"]) == written

    class Cased:
        def decode(self, ids, skip_special_tokens):
            return "Right om1 . the rca"

    assert caption_text(Cased(), [1]) == "Right om1. the rca"


def test_special_tokens_write_nothing(tokenizer):
    assert caption_text(tokenizer, [tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.pad_token_id]) == ""
    assert caption_sentences(tokenizer, [tokenizer.pad_token_id] * 3) == []


def test_sentences_end_at_stops_but_not_in_numbers(tokenizer):
    ids = tokenizer(TEXT, padding="max_length", max_length=80)["input_ids"]
    sentences = caption_sentences(tokenizer, ids)
    assert [s.text for s in sentences] == [
        "Right-dominant system.",
        "A 70% stenosis (70-80%) of the mid LAD.",
        "FFR 0.75 in it.",
        "1. The RCA is normal.",
    ]
    places = [place for sentence in sentences for place in sentence.tokens]
    assert places == [i for i, token in enumerate(ids) if token not in tokenizer.all_special_ids]


def test_a_report_that_was_cut_ends_its_sentence_there(tokenizer):
    ids = tokenizer("The RCA is normal. The mid LAD", add_special_tokens=False)["input_ids"]
    assert [s.text for s in caption_sentences(tokenizer, ids)] == ["The RCA is normal.", "The mid LAD"]


def test_the_map_is_the_mean_over_the_tokens_of_the_sentence():
    attention = np.arange(3 * 2 * 2 * 1 * 1, dtype=np.float16).reshape(3, 2, 2, 1, 1)
    assert np.array_equal(sentence_map(attention, [0, 2]), (attention[0] + attention[2]) / 2)
    with pytest.raises(ValueError, match="at least one token"):
        sentence_map(attention, [])
