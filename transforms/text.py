"""Reports: cleaned, compared and turned into tokens with a tokenizer that is given."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Hashable, Mapping, Sequence

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

HEADING = re.compile(r"(?:^|(?<=[\n.,;]))[ \t]*([A-Z][A-Z /&()'-]{2,48}?)[ \t]*:", re.MULTILINE)
PLACEHOLDER = re.compile(r"\[\*\*.*?\*\*\]|_{3,}|X{3,}")
EDGES = re.compile(r"(?!(?<=\d)[.,](?=\d))[^\w%<>=+]+")  # a decimal point stays


def clean_report(text: object) -> str:
    """Bring a report into one line of plain words.

    Unicode is composed, masks of names are taken out, white space and repeated punctuation are joined.

    Args:
        text: the report; ``None`` and NaN are an absent one.

    Returns:
        The text, ``""`` where there is none.
    """
    if text is None or (isinstance(text, float) and text != text):
        return ""
    out = unicodedata.normalize("NFKC", str(text))
    out = PLACEHOLDER.sub(" ", out)
    out = "".join(c if c.isprintable() else " " for c in out)
    out = re.sub(r"\s+", " ", out)
    out = re.sub(r"\s+([.,;:])", r"\1", out)
    return re.sub(r"([.,;:])\1+", r"\1", out).strip()


def report_sections(text: object) -> dict[str, str]:
    """Split a report at its headings, which are in capitals and end with a colon.

    Args:
        text: the report.

    Returns:
        Section by heading in lower case, in their order; what comes before the first heading under ``""``. The parts
        of a heading that stands several times are joined.
    """
    text = "" if text is None else unicodedata.normalize("NFKC", str(text))
    marks = list(HEADING.finditer(text))
    bounds = [0, *[m.start() for m in marks], len(text)]
    out: dict[str, str] = {}
    names = ["", *[" ".join(m.group(1).lower().split()) for m in marks]]
    starts = [0, *[m.end() for m in marks]]
    for name, start, end in zip(names, starts, bounds[1:], strict=True):
        body = clean_report(text[start:end].strip(" ,;\n\t"))
        if body:
            out[name] = f"{out[name]} {body}" if name in out else body
    return out


def normalise_text(text: object) -> str:
    """Bring a text into the form in which two reports are compared: lower case, words and numbers, single spaces."""
    out = clean_report(text).casefold()
    out = re.sub(r"(?<=\d)\s+(?=%)", "", out)
    return EDGES.sub(" ", out).strip()


def stable_key(text: str) -> int:
    """Hash a text into 0..2**63-1, the same in every process and on every machine."""
    return int.from_bytes(hashlib.sha256(text.encode("utf-8")).digest()[:8], "big") >> 1


def study_words(case: Mapping[Hashable, object]) -> str:
    """What tells the study of a case from others: its source, patient and study, else the case, else its files.

    Raises:
        ValueError: where a case has none of them.
    """
    source, patient, study, number = (
        str(case.get(name) or "") for name in ("source", "patient_id", "study_id", "case_id")
    )
    if patient or study:
        return "\n".join((source, patient, study))
    files = case.get("view_files") or case.get("video")
    words = number or (str(files) if isinstance(files, (str, list, tuple)) else "")
    if not words:
        raise ValueError(
            "a case must say which study it is, by study_id, patient_id or case_id; prepare the datalist again."
        )
    return "\n".join((source, words))


def plain_tokenizer(tokenizer: Callable) -> Callable:
    """The tokenizer within one that reads reports in a style (``plain``), for texts that are to be read as they are."""
    return getattr(tokenizer, "plain", tokenizer)


class Tokenised(MapTransform):
    """Turn the report of a case into token numbers, and say which report and which study it is.

    Args:
        keys: the report's key; a case may lack it.
        tokenizer: called as those of ``transformers`` are, with a token for padding. One with a method ``read`` says
            what it is given of a report; equal such texts are then equal reports.
        max_length: L; a longer report is cut, with its last special token kept.
        sections: headings (lower case) of which the text is taken, where the report has any of them; ``None``: all.
        begin: a token to put before each text, where the tokenizer does not begin its texts and a captioner needs it.
    """

    def __init__(
        self,
        keys: KeysCollection = "report",
        tokenizer: Callable | None = None,
        max_length: int = 128,
        sections: Sequence[str] | None = None,
        begin: int | None = None,
    ) -> None:
        super().__init__(keys)
        if not callable(tokenizer):
            raise TypeError(f"tokenizer must be one of transformers' tokenizers, got {tokenizer!r}; load it first.")
        if getattr(tokenizer, "pad_token_id", 0) is None:
            raise ValueError("the tokenizer must have a token for padding, it has none; set tokenizer.pad_token.")
        if max_length < 3:
            raise ValueError(f"max_length must be at least 3 (begin, one token, end), got {max_length}.")
        self.tokenizer, self.max_length, self.sections, self.begin = tokenizer, max_length, sections, begin

    def __call__(self, data: Mapping[Hashable, object]) -> dict[Hashable, object]:
        """Tokenise one case.

        Returns:
            The case with ``report`` cleaned, ``input_ids`` and ``attention_mask`` ``(L,)`` int64, ``report_known``
            0.0 or 1.0, ``report_key`` (equal for equal texts, distinct for unknown ones) and ``study_key``. An
            unknown report has the tokens of an empty text.
        """
        d = dict(data)
        key = self.keys[0]
        text = self._text(d.get(key))
        normal = normalise_text(text)
        first = [] if self.begin is None else [self.begin]
        length = self.max_length - len(first)
        read = getattr(self.tokenizer, "read", None)
        words = text if read is None else read(str(d[key]) if text and self.sections is None else text)
        encoded = plain_tokenizer(self.tokenizer)(words, max_length=length, truncation=True, padding="max_length")
        d[key] = text
        d["input_ids"] = torch.as_tensor([*first, *encoded["input_ids"]], dtype=torch.int64)
        d["attention_mask"] = torch.as_tensor([1] * len(first) + list(encoded["attention_mask"]), dtype=torch.int64)
        d["report_known"] = float(bool(normal))
        study = study_words(d)
        d["study_key"] = stable_key(f"study\n{study}")
        unknown = f"unknown\n{study}\n{d.get('case_id') or ''}"
        d["report_key"] = stable_key(normalise_text(words) if normal else unknown)
        return d

    def _text(self, report: object) -> str:
        if self.sections is not None:
            found = report_sections(report)
            wanted = [found[name] for name in self.sections if name in found]
            if wanted:
                return " ".join(wanted)
        return clean_report(report)
