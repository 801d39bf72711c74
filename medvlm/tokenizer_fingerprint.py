"""One number that tells tokenizers apart, for the data that make them and the networks that depend on them."""

from __future__ import annotations

import hashlib
import json
from typing import Any

__all__ = ["fingerprint"]

_PROBE = "The proximal LAD has a 70% stenosis; no calcification, TIMI-3 flow.\nCaf\u00e9."


def fingerprint(tokenizer: Any) -> int:
    """Hash what a tokenizer does: its vocabulary, its special tokens, and how it writes a test sentence.

    Args:
        tokenizer: any ``transformers`` tokenizer.

    Returns:
        A number in 1 .. 2**63 - 1, equal wherever the tokenizer is loaded; it fits an int64 buffer, where 0 can say
        that none was bound.
    """
    special = {k: str(v) for k, v in tokenizer.special_tokens_map.items() if not isinstance(v, list | tuple | dict)}
    facts = [
        sorted(tokenizer.get_vocab().items(), key=lambda item: (item[1], item[0])),
        sorted(special.items()),
        list(tokenizer(_PROBE)["input_ids"]),
    ]
    digest = hashlib.sha256(json.dumps(facts, ensure_ascii=True).encode()).digest()
    return int.from_bytes(digest[:8], "big") % (2**63 - 1) + 1
