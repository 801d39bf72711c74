"""A network can be built before a tokenizer exists, with the vocabulary that training would give."""

from __future__ import annotations

from medvlm.data.tokenizers import find_tokenizer, train_wordpiece, vocabulary_of


def test_without_a_tokenizer_the_ids_are_those_that_training_gives(tmp_path):
    assert find_tokenizer(tmp_path / "gone") is None
    expected = vocabulary_of(None, 300)
    folder = train_wordpiece(["the lad is normal."] * 3, tmp_path / "tokenizer", vocab_size=300)
    found = vocabulary_of(find_tokenizer(folder), 300)
    ids = ("bos_id", "eos_id", "pad_id", "banned_ids")
    assert [getattr(found, name) for name in ids] == [getattr(expected, name) for name in ids]
    assert found.size == len(find_tokenizer(folder)) < expected.size == 300
