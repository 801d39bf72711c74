"""A network can be built before a tokenizer exists, with the vocabulary that training would give."""

from __future__ import annotations

import pytest

from medvlm.data.tokenizers import find_tokenizer, train_wordpiece, vocabulary_of


def test_without_a_tokenizer_the_ids_are_those_that_training_gives(tmp_path):
    assert find_tokenizer(tmp_path / "gone") is None
    expected = vocabulary_of(None, 300)
    folder = train_wordpiece(["the lad is normal."] * 3, tmp_path / "tokenizer", vocab_size=300)
    found = vocabulary_of(find_tokenizer(folder), 300)
    ids = ("bos_id", "eos_id", "pad_id", "banned_ids")
    assert [getattr(found, name) for name in ids] == [getattr(expected, name) for name in ids]
    assert found.size == len(find_tokenizer(folder)) < expected.size == 300


class Given:
    """A tokenizer of transformers with the special tokens that are given."""

    cls_token_id = bos_token_id = sep_token_id = eos_token_id = pad_token_id = unk_token_id = mask_token_id = None
    name_or_path = "somebody/model"

    def __init__(self, written, **tokens):
        self.written = written
        vars(self).update(tokens)

    def __call__(self, text):
        return {"input_ids": self.written}

    def __len__(self):
        return 40


@pytest.mark.parametrize(
    ("written", "tokens", "expected"),
    [
        (
            [2, 9, 3],
            {"cls_token_id": 2, "sep_token_id": 3, "mask_token_id": 4, "unk_token_id": 1},
            (2, 3, (1, 4), None),
        ),
        ([2, 9, 3], {"bos_token_id": 2, "eos_token_id": 3}, (2, 3, (), None)),
        ([9, 3], {"bos_token_id": 2, "eos_token_id": 3}, (2, 3, (), 2)),
        ([9, 3], {"eos_token_id": 3, "unk_token_id": 1}, (1, 3, (1,), 1)),
    ],
    ids=["BERT", "begins and ends", "a begin that is not written", "SigLIP"],
)
def test_where_texts_begin_and_end(written, tokens, expected):
    found = vocabulary_of(Given(written, pad_token_id=0, **tokens), 0)
    assert (found.bos_id, found.eos_id, found.banned_ids, found.added_bos) == expected and found.size == 40


@pytest.mark.parametrize(
    ("written", "tokens", "words"),
    [
        ([2, 9, 3], {"bos_token_id": 2, "eos_token_id": 3}, "padding None"),
        ([9], {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}, "texts that end with .9."),
        ([9], {"pad_token_id": 0}, "end None"),
        ([9, 3], {"eos_token_id": 3, "pad_token_id": 3}, "no token that could begin a text"),
    ],
)
def test_a_tokenizer_that_no_captioner_can_use_is_refused(written, tokens, words):
    with pytest.raises(ValueError, match=words):
        vocabulary_of(Given(written, **tokens), 0)
