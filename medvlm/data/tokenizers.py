"""The tokenizer of the reports: trained on the training section, kept in a folder, recognised by its fingerprint.

A folder holds what ``transformers`` reads offline (``tokenizer.json``, ``tokenizer_config.json``), and
``training.json`` says what it was trained on. Equal reports and an equal vocabulary size give equal bytes, whatever
the order of the reports, the machine's hash seed or the number of threads.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medvlm.data.datalists import load_datalist
from medvlm.data.report_styles import STYLE_FILE, check_style, dressed, keep_style, style_of
from medvlm.data.vocabularies import SPECIAL_TOKENS, Vocabulary, vocabulary_of, vocabulary_report
from medvlm.metrics.structured_reports import structured_report
from medvlm.tokenizer_fingerprint import fingerprint

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = [
    "Vocabulary",
    "check_tokenizer",
    "ensure_tokenizer",
    "find_tokenizer",
    "fingerprint",
    "load_tokenizer",
    "train_wordpiece",
    "vocabulary_of",
    "vocabulary_report",
]

FIT_SAMPLE = 1000
"""Reports that the log's words on the fit of a vocabulary are counted on."""

_PREFIX = "##"
_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json", "spiece.model", "tokenizer.model")
_ORIGIN = "training.json"
_OURS = (*_FILES, _ORIGIN, STYLE_FILE, "special_tokens_map.json", "added_tokens.json")
_CONFIG = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}

logger = logging.getLogger(__name__)


def train_wordpiece(
    reports: Iterable[str],
    folder: str | Path,
    vocab_size: int = 4000,
    min_frequency: int = 2,
    style: str = "as_written",
) -> Path:
    """Train a lower-casing WordPiece tokenizer and save it; an existing folder is replaced as a whole.

    Args:
        reports: the texts; empty ones are left out, the order does not matter.
        folder: where it is written.
        vocab_size: most entries that it may have, special tokens and characters included.
        min_frequency: how often a piece must occur to become an entry.
        style: one of ``report_styles.STYLES``; with ``structured`` it learns the words of both, since other texts than
            reports are read as they are.

    Returns:
        The folder.

    Raises:
        ValueError: no text is left, ``vocab_size`` does not hold the special tokens and the characters, or there is no
            such style.
        FileExistsError: the folder holds other things than a tokenizer.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    check_style(style)
    written = sorted(text for text in reports if text and text.strip())
    texts = sorted([*written, *map(structured_report, written)]) if style == "structured" else written
    if not texts:
        raise ValueError("a tokenizer needs at least one report with text, got none; give the training reports.")
    split = pre_tokenizers.BertPreTokenizer()
    normalizer = normalizers.BertNormalizer(lowercase=True)
    alphabet = sorted({c for text in texts for c in normalizer.normalize_str(text) if not c.isspace()})
    # The trainer numbers "##x" in the order of a randomly seeded hash map; given as special tokens they stand still.
    first = [*SPECIAL_TOKENS, *(_PREFIX + c for c in alphabet)]
    if vocab_size < len(first) + len(alphabet):
        raise ValueError(
            f"vocab_size must hold {len(SPECIAL_TOKENS)} special tokens and {len(alphabet)} characters twice, so at "
            f"least {len(first) + len(alphabet)}, got {vocab_size}; raise it."
        )
    draft = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    draft.normalizer, draft.pre_tokenizer = normalizer, split
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=first,
        initial_alphabet=alphabet,
        show_progress=False,
        continuing_subword_prefix=_PREFIX,
    )
    draft.train_from_iterator(texts, trainer)
    vocabulary = draft.get_vocab()

    final = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    final.normalizer, final.pre_tokenizer = normalizer, split
    final.decoder = decoders.WordPiece(prefix=_PREFIX)
    final.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(t, vocabulary[t]) for t in ("[CLS]", "[SEP]")],
    )
    final.add_special_tokens(list(SPECIAL_TOKENS))
    return _save(final, Path(folder), _origin(written, vocab_size, min_frequency), style)


def _save(tokenizer: Tokenizer, folder: Path, origin: dict, style: str) -> Path:
    """Write a folder whole or not at all, also when several processes do it at once.

    Raises:
        FileExistsError: the folder holds other things than a tokenizer.
    """
    foreign = sorted(p.name for p in folder.iterdir() if p.name not in _OURS) if folder.is_dir() else []
    if foreign:
        raise FileExistsError(
            f"a tokenizer needs a folder of its own, {folder} also holds {foreign[:6]}; give another folder."
        )
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        partial.mkdir()
        tokenizer.save(str(partial / "tokenizer.json"))
        (partial / "tokenizer_config.json").write_text(json.dumps(_CONFIG, indent=2) + "\n", encoding="utf-8")
        (partial / _ORIGIN).write_text(json.dumps(origin, indent=2) + "\n", encoding="utf-8")
        keep_style(partial, style)
        if folder.is_dir():
            shutil.rmtree(folder)
        os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _origin(texts: Sequence[str], vocab_size: int, min_frequency: int) -> dict:
    digest = hashlib.sha256("\0".join(sorted(texts)).encode()).hexdigest()
    return {"reports": len(texts), "sha256": digest, "vocab_size": vocab_size, "min_frequency": min_frequency}


def ensure_tokenizer(
    folder: str | Path,
    reports_or_datalist: str | Path | Iterable[str],
    vocab_size: int = 4000,
    section: str | Sequence[str] = "training",
    model: str | Path | None = None,
    style: str | None = None,
) -> Any:
    """Load the tokenizer of a folder; train it there first when the folder holds none.

    With a pretrained text model it is that model's tokenizer, of which the folder keeps a copy: the weights read
    nothing else.

    Args:
        folder: the tokenizer's folder, for instance ``models/tokenizer`` of a bundle.
        reports_or_datalist: the texts, or a datalist whose ``section`` holds them.
        vocab_size: as in ``train_wordpiece``.
        section: section or sections of the datalist; only the training section, so that nothing leaks.
        model: folder of a pretrained text model with its tokenizer; ``None``: the tokenizer is trained.
        style: how reports are read, one of ``report_styles.STYLES``; ``None``: as the tokenizer of the folder does, of
            a new one ``as_written``.

    Returns:
        A ``transformers`` tokenizer.

    Raises:
        ValueError: there is no text to train on, the folder holds another tokenizer than the model's, or one of another
            style.
        FileNotFoundError: there is no such datalist.
    """
    folder = Path(folder)
    there = style_of(folder) if _holds_tokenizer(folder) else None
    _same_style(folder, there, style)
    style = style or there or "as_written"
    if model is not None:
        return _copied(model, folder, style)
    texts = _texts_of(reports_or_datalist, section)
    if not _holds_tokenizer(folder):
        try:
            if folder.is_dir() and any(folder.iterdir()):
                train_wordpiece(texts, folder, vocab_size, style=style)  # refuses what is no tokenizer's
            else:
                _place(folder, lambda partial: train_wordpiece(texts, partial, vocab_size, style=style))
            fit = vocabulary_report(load_tokenizer(folder), texts[:FIT_SAMPLE])
            logger.info(
                "trained a tokenizer on %d reports: %s; %.2f tokens a word, the longest of %d reports has %d",
                len(texts), folder, fit["tokens_per_word"], min(len(texts), FIT_SAMPLE), fit["longest"],
            )  # fmt: skip
        except OSError:
            if not _holds_tokenizer(folder):  # else another process was faster; its bytes are the same
                raise
    elif texts and (folder / _ORIGIN).is_file():
        origin = json.loads((folder / _ORIGIN).read_text(encoding="utf-8"))
        if origin != _origin(texts, origin.get("vocab_size", vocab_size), origin.get("min_frequency", 2)):
            logger.warning(
                "the tokenizer in %s was trained on %s other reports and is used as it is; remove the folder to train "
                "it anew (checkpoints of the old one will then be refused).",
                folder,
                origin.get("reports"),
            )
    return load_tokenizer(folder)


def _copied(model: str | Path, folder: Path, style: str) -> Any:
    """The tokenizer of a text model, from the copy in ``folder``, which is made where there is none."""
    own = dressed(load_tokenizer(model), style)
    if not _holds_tokenizer(folder):
        _place(folder, lambda partial: own.save_pretrained(str(partial)))
    found = load_tokenizer(folder)
    if fingerprint(found) != fingerprint(own):
        raise ValueError(
            f"the tokenizer in {folder} is not that of the text model in {model}, whose weights read nothing else; "
            "name another folder with --tokenizer_dir (or another --ckpt_dir), or remove this one."
        )
    return found


def _place(folder: Path, write: Callable[[Path], Any]) -> None:
    """Let a tokenizer be written and put it at ``folder``; the first of several processes wins, none is disturbed."""
    partial = folder.parent / f".{folder.name}.{os.getpid()}.new"
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        write(partial)
        if not _holds_tokenizer(folder):
            os.replace(partial, folder)
    except OSError:
        if not _holds_tokenizer(folder):  # else another process was faster; its bytes are the same
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _texts_of(source: str | Path | Iterable[str], section: str | Sequence[str]) -> list[str]:
    if isinstance(source, str | Path):
        reports = [case.get("report") for case in load_datalist(source, section)]
    else:
        reports = list(source)
    return [text for text in reports if text and text.strip()]


def _holds_tokenizer(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _FILES)


def _same_style(folder: Path, there: str | None, style: str | None) -> None:
    """Refuse a style that does not exist, or that the tokenizer of the folder does not have."""
    if style is not None:
        check_style(style)
        if there not in (None, style):
            raise ValueError(
                f"the tokenizer in {folder} reads reports {there!r}, and {style!r} is asked for; name another folder "
                "with --tokenizer_dir (or another --ckpt_dir), remove this one, or give its style."
            )


def load_tokenizer(path: str | Path, style: str | None = None) -> Any:
    """Load a tokenizer from a folder on this machine; nothing is ever downloaded.

    Args:
        path: a folder written by ``train_wordpiece``, or any tokenizer folder of ``transformers``.
        style: how it must read reports, one of ``report_styles.STYLES``; ``None``: as it does.

    Raises:
        FileNotFoundError: there is no such folder, or it holds no tokenizer.
        ValueError: the folder's files cannot be read as a tokenizer, or it reads reports in another style.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"a tokenizer is a folder on this machine, got {str(path)!r}, which does not exist; nothing is downloaded: "
            "copy the model's folder here (tokenizer.json, tokenizer_config.json) and give its path, or leave the path "
            "out to train one on the reports."
        )
    if not _holds_tokenizer(folder):
        there = sorted(p.name for p in folder.iterdir())[:8]
        raise FileNotFoundError(
            f"the folder {folder} holds no tokenizer (one of {', '.join(_FILES)}), it holds {there}; give the "
            "tokenizer's own folder."
        )
    try:
        tokenizer = _loader(folder).from_pretrained(str(folder), local_files_only=True)
    except Exception as error:  # transformers raises whatever the damaged file makes it raise
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(f"the tokenizer in {folder} cannot be read ({first_line}); copy or train it again.") from error
    if "attention_mask" not in tokenizer.model_input_names:  # SigLIP's: its padding could not be told from its end
        tokenizer.model_input_names = [*tokenizer.model_input_names, "attention_mask"]
    own = style_of(folder)
    _same_style(folder, own, style)
    return dressed(tokenizer, own)


def find_tokenizer(path: str | Path) -> Any:
    """Load the tokenizer of a folder as ``load_tokenizer`` does; ``None`` where there is none yet."""
    return load_tokenizer(path) if _holds_tokenizer(Path(path)) else None


def _loader(folder: Path) -> Any:
    """The plain class where the folder is content with it: asking for the right one costs the import of torch."""
    config = folder / "tokenizer_config.json"
    if (folder / "tokenizer.json").is_file() and config.is_file():
        name = json.loads(config.read_text(encoding="utf-8")).get("tokenizer_class")
        if name in ("PreTrainedTokenizerFast", "TokenizersBackend"):
            from transformers import PreTrainedTokenizerFast

            return PreTrainedTokenizerFast
    from transformers import AutoTokenizer

    return AutoTokenizer


def check_tokenizer(tokenizer: Any, expected: int, where: str = "the checkpoint") -> None:
    """Refuse a tokenizer that is not the one a model was trained with.

    Args:
        tokenizer: the one at hand.
        expected: fingerprint that was kept; 0 is unknown and passes.
        where: what keeps it, for the message.

    Raises:
        ValueError: the fingerprints differ: every word would stand for another.
    """
    found = fingerprint(tokenizer)
    if expected and found != expected:
        name = getattr(tokenizer, "name_or_path", "") or type(tokenizer).__name__
        raise ValueError(
            f"{where} was trained with the tokenizer of fingerprint {expected}, got {found} ({name}, "
            f"{len(tokenizer)} entries); give the tokenizer folder that was saved beside it."
        )
