"""What a network has to know of a tokenizer's vocabulary, and how well the vocabulary fits texts."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

__all__ = ["SPECIAL_TOKENS", "Vocabulary", "vocabulary_of", "vocabulary_report"]

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
"""Ids 0 to 4; [CLS] begins and [SEP] ends a text."""


@dataclass(frozen=True)
class Vocabulary:
    """What a network has to know of its tokenizer to be built.

    Attributes:
        size: number of tokens.
        bos_id: begins a text.
        eos_id: ends it.
        pad_id: fills up.
        banned_ids: never written: the unknown token and the mask, where there are such.
        added_bos: ``bos_id`` where the tokenizer does not begin its texts with it (SigLIP's), so that ``Tokenised``
            must; otherwise ``None``.
    """

    size: int
    bos_id: int
    eos_id: int
    pad_id: int
    banned_ids: tuple[int, ...] = ()
    added_bos: int | None = None


def vocabulary_of(tokenizer: Any, size: int) -> Vocabulary:
    """The vocabulary of a tokenizer, or that which ``train_wordpiece`` would give.

    So a network can be built, looked at and exported where no tokenizer has been trained yet.

    Args:
        tokenizer: of ``transformers``, or ``None``.
        size: number of tokens where there is no tokenizer.

    Raises:
        ValueError: a captioner could not work with it: no token that fills up, or none that ends a text.
    """
    if tokenizer is None:
        pad, unknown, begin, end, mask = (SPECIAL_TOKENS.index(f"[{n}]") for n in ("PAD", "UNK", "CLS", "SEP", "MASK"))
        return Vocabulary(size, begin, end, pad, (unknown, mask))
    banned = tuple(i for i in (tokenizer.unk_token_id, tokenizer.mask_token_id) if i is not None)
    end = tokenizer.sep_token_id if tokenizer.sep_token_id is not None else tokenizer.eos_token_id
    written = list(tokenizer("stenosis")["input_ids"])
    name = getattr(tokenizer, "name_or_path", "") or type(tokenizer).__name__
    if tokenizer.pad_token_id is None or end is None or written[-1:] != [end]:
        raise ValueError(
            f"the tokenizer {name} must have a token that fills up and end each text with its [SEP] or EOS token, got "
            f"padding {tokenizer.pad_token_id}, end {end} and texts that end with {written[-1:]}; give one that does "
            "(BERT's, SigLIP's), or add them to its tokenizer.json."
        )
    named = [tokenizer.cls_token_id, tokenizer.bos_token_id]
    others = [tokenizer.unk_token_id, tokenizer.mask_token_id, tokenizer.pad_token_id]  # none is ever written
    begin = next((i for i in (*named, *others) if i not in (None, end)), None)
    if begin is None:
        raise ValueError(
            f"the tokenizer {name} has no token that could begin a text ([CLS], BOS, or else [UNK]); add a bos_token."
        )
    added = None if written[:1] == [begin] else begin
    return Vocabulary(len(tokenizer), begin, end, tokenizer.pad_token_id, banned, added)


def vocabulary_report(tokenizer: Any, reports: Iterable[str]) -> dict[str, float]:
    """Say how well a vocabulary fits texts.

    Returns:
        ``tokens_per_word``, ``unknown`` (share of unknown pieces) and ``longest`` (tokens of the longest text).
    """
    counts: Counter[str] = Counter()
    longest = 0
    for text in reports:
        ids = tokenizer(text, add_special_tokens=False, truncation=False)["input_ids"]
        counts["tokens"] += len(ids)
        counts["unknown"] += sum(i == tokenizer.unk_token_id for i in ids)
        counts["words"] += len(unicodedata.normalize("NFC", text).split())
        longest = max(longest, len(ids))
    return {
        "tokens_per_word": counts["tokens"] / max(1, counts["words"]),
        "unknown": counts["unknown"] / max(1, counts["tokens"]),
        "longest": float(longest),
    }
