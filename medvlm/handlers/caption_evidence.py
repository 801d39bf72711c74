"""Generated reports as text, sentence by sentence, and where the captioner looked for each of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

_ENDS = {".", ";", "!", "?"}
_PIECE = re.compile("^(?:##|\N{LOWER ONE EIGHTH BLOCK}|Ġ)")
_BEFORE = re.compile(r"\s+(?=[.,;:!?%)\]])")
_BEHIND = re.compile(r"(?<=[(\[])\s+")
_DECIMAL = re.compile(r"(?<=[a-z] \d)\. (?=\d)", re.IGNORECASE)
_START = re.compile(r"(?:^|(?<=[.!?:] ))(?:\d+\. )?[a-z]")
_CAPITALS = re.compile(
    r"\b(?:lad|rca|lcx|lmca|lms|lm|pda|plv|lpda|rpda|lpl|rpl|cx|om|ri|lv|lvedp|lvef|timi|ffr|ifr|pci|cabg|cto|cad)\b"
    r"|\b(?:ecg|ivus|oct|lima|rima|svg|lao|rao|av)\b"
    r"|\bom(?=\s?-?\d)|\bd(?=[1-4]\b)"
)
_UNITS = {"ml": "mL", "mmhg": "mmHg"}
_UNIT = re.compile(r"(?<=\d )(?:ml|mmhg)\b")
_BETWEEN = re.compile(r"(?<=\w) ?([-/'\N{RIGHT SINGLE QUOTATION MARK}]) ?(?=\w)")


class CaptionSentence(NamedTuple):
    """A sentence of a generated report.

    Attributes:
        text: its words.
        tokens: places in the row of generated tokens that it is made of.
    """

    text: str
    tokens: tuple[int, ...]


def caption_text(tokenizer: Any, ids: Sequence[int]) -> str:
    """The words of generated tokens, set as people write them: ``70%``, ``right-dominant``, no blank before a stop.

    A tokenizer that knows no capitals gets them back at the beginning of sentences and in common abbreviations.

    Args:
        tokenizer: of transformers.
        ids: ``(L,)``; special tokens are left out.
    """
    text = " ".join(tokenizer.decode([int(i) for i in ids], skip_special_tokens=True).split())
    text = _DECIMAL.sub(".", _BETWEEN.sub(r"\1", _BEHIND.sub("", _BEFORE.sub("", text))))
    return text if text != text.lower() else _with_capitals(text)


def _with_capitals(text: str) -> str:
    text = _CAPITALS.sub(lambda match: match.group().upper(), text)
    text = _UNIT.sub(lambda match: _UNITS[match.group()], text)
    return _START.sub(lambda match: match.group()[:-1] + match.group()[-1].upper(), text)


def caption_sentences(tokenizer: Any, ids: Sequence[int]) -> list[CaptionSentence]:
    """Cut generated tokens into sentences.

    A stop between two numbers is a decimal point, and a number with a stop that begins a sentence numbers a list.

    Args:
        tokenizer: of transformers.
        ids: ``(L,)``; special tokens belong to no sentence.
    """
    ids, special = [int(i) for i in ids], set(tokenizer.all_special_ids)
    kept = [place for place, token in enumerate(ids) if token not in special]
    words = dict(zip(kept, tokenizer.convert_ids_to_tokens([ids[place] for place in kept]), strict=True))
    words = {place: _PIECE.sub("", word) for place, word in words.items()}
    sentences, own = [], []
    for number, place in enumerate(kept):
        own.append(place)
        behind = words[kept[number + 1]] if number + 1 < len(kept) else ""
        before = words[kept[number - 1]] if number else ""
        decimal = words[place] == "." and before[-1:].isdigit() and behind[:1].isdigit()
        numbering = len(own) == 2 and words[own[0]].isdigit()
        if (words[place] in _ENDS and not decimal and not numbering) or not behind:
            sentences.append(CaptionSentence(caption_text(tokenizer, [ids[i] for i in own]), tuple(own)))
            own = []
    return sentences


def sentence_map(attention: np.ndarray, tokens: Sequence[int]) -> np.ndarray:
    """Where the captioner looked while it wrote a sentence.

    Args:
        attention: ``(L, N, t, h, w)`` of each token, as ``CineTextNet.caption`` gives it.
        tokens: places of the sentence's tokens, at least one.

    Returns:
        ``(N, t, h, w)`` float32, the mean over the tokens.
    """
    if not len(tokens):
        raise ValueError("a sentence has at least one token, got none.")
    return np.asarray(attention, dtype=np.float32)[list(tokens)].mean(axis=0)
