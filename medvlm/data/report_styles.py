"""How a network reads reports: word for word, or in set phrases of what they claim.

The style is kept in the tokenizer's folder and belongs to its fingerprint, so that training, evaluation, prompts and
searches cannot read in different ones.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medvlm.metrics.structured_reports import structured_report

__all__ = ["STYLES", "StructuredTokenizer", "check_style", "dressed", "keep_style", "style_of"]

STYLES = ("as_written", "structured")
"""``structured``: ``medvlm.metrics.structured_reports``."""

STYLE_FILE = "report_style.json"


class StructuredTokenizer:
    """A tokenizer that rewrites a text in set phrases before it turns it into tokens.

    It answers everything else as the plain one does.

    Args:
        plain: a tokenizer of ``transformers``.

    Attributes:
        plain: the same, for texts that are no reports.
        style: one of ``STYLES``.
    """

    style = "structured"

    def __init__(self, plain: Any) -> None:
        self.plain = plain

    @staticmethod
    def read(report: str) -> str:
        """The text that the network is given of a report; its own is given back unchanged."""
        return structured_report(report)

    def __call__(self, text: str | Sequence[str], *args: Any, **kwargs: Any) -> Any:
        """Tokens of a text or of several, as the plain tokenizer gives them."""
        words = self.read(text) if isinstance(text, str) else [self.read(one) for one in text]
        return self.plain(words, *args, **kwargs)

    def __len__(self) -> int:
        """Number of tokens."""
        return len(self.plain)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "plain":  # while it is unpickled or copied there is no plain one yet
            raise AttributeError(name)
        return getattr(self.plain, name)

    def save_pretrained(self, folder: str | Path, *args: Any, **kwargs: Any) -> Any:
        """Save the plain tokenizer with the style beside it."""
        out = self.plain.save_pretrained(str(folder), *args, **kwargs)
        keep_style(Path(folder), "structured")
        return out


def check_style(style: str) -> None:
    """Refuse a style that does not exist.

    Raises:
        ValueError: it is none of ``STYLES``.
    """
    if style not in STYLES:
        raise ValueError(f"the style of the reports must be one of {', '.join(STYLES)}, got {style!r}.")


def keep_style(folder: Path, style: str) -> None:
    """Write the style into a tokenizer's folder; ``as_written`` needs no file."""
    if style != "as_written":
        (folder / STYLE_FILE).write_text(json.dumps({"style": style}) + "\n", encoding="utf-8")


def style_of(folder: Path) -> str:
    """The style that a tokenizer's folder says.

    Raises:
        ValueError: its file says none that is known.
    """
    path = folder / STYLE_FILE
    if not path.is_file():
        return "as_written"
    try:
        style = json.loads(path.read_text(encoding="utf-8"))["style"]
        check_style(style)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} must say one of the styles {', '.join(STYLES)}; copy the tokenizer's folder again."
        ) from error
    return style


def dressed(tokenizer: Any, style: str) -> Any:
    """The tokenizer, reading reports in a style."""
    return StructuredTokenizer(tokenizer) if style == "structured" else tokenizer
