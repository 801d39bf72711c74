"""Scores of generated report texts against written ones, in two conventions, with intervals over patients.

``vlm3d`` is the official evaluation of VLM3D: it glues the words at line breaks, splits at spaces only and keeps case,
so that it punishes spelling rather than content; it stands here to compare with published numbers. ``tokenised`` is
the sensible one: sacrebleu's tokens in lower case for BLEU, rouge-score for ROUGE-L, lower-cased words and numbers
for CIDEr-D.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Sequence

import numpy as np

from medvlm.metrics.intervals import Statistic, interval_entry, weighted_mean
from medvlm.metrics.ngrams import bleu, bleu_counts, cider, rouge_l

_WORD = re.compile(r"\d+(?:\.\d+)?%?|[^\W\d_]+(?:'[^\W\d_]+)?")
_TEXT_EXTRA = "python -m pip install 'medvlm-bundles[text]'"


def vlm3d_cleaned(text: str, generated: bool) -> str:
    """A text as the official script of VLM3D scores it.

    Args:
        text: raw.
        generated: quotes, underscores and ``<|eot_id|>`` are removed too, as the script does with candidates only.
    """
    text = text.replace("\n", "")
    if generated:
        text = text.replace("<|eot_id|>", "").replace('"', "").replace("_", "")
    return text.replace(" . ", ".").replace(" .", ".")


def words_of(text: str) -> list[str]:
    """Lower-cased words and numbers; ``70%`` is one word, ``70-80%`` two numbers, punctuation none."""
    return _WORD.findall(text.casefold())


def text_report(
    generated: Sequence[str | None],
    written: Sequence[str],
    patients: Sequence[Hashable],
    n_boot: int = 1000,
    seed: int = 0,
) -> dict:
    """BLEU, ROUGE-L and CIDEr-D of a set.

    Args:
        generated: ``(N,)`` texts; an empty or absent one is scored as empty, never dropped.
        written: ``(N,)`` references, none empty.
        patients: ``(N,)`` patient of each.
        n_boot: resamples of patients.
        seed: of the resamples.

    Returns:
        ``n``, ``n_patients``, ``n_empty`` (generated), ``n_distinct`` (different generated texts), ``mean_words`` of
        both, and the groups ``vlm3d`` (``bleu_1`` ... ``bleu_4``, ``bleu_mean``, ``rouge_l`` in 0..1, ``cider`` in
        0..10) and ``tokenised`` (``bleu_1`` ... ``bleu_4``, ``rouge_l``, ``cider``, and ``sacrebleu_signature``); a
        score has ``value`` and ``ci``. The document frequencies of CIDEr are those of the whole set in every resample.

    Raises:
        ValueError: lengths differ, there is nothing to score, or a reference is empty.
    """
    generated = ["" if text is None else text for text in generated]
    _check(generated, written, patients)
    units = [str(patient) for patient in patients]
    draw = {"n_boot": n_boot, "seed": seed}
    pairs = [(vlm3d_cleaned(g, True), vlm3d_cleaned(w, False)) for g, w in zip(generated, written, strict=True)]
    said, meant = ([pair[side].split() for pair in pairs] for side in (0, 1))
    official = _bleu_entries(bleu_counts(said, meant), bleu, units, draw)
    official["bleu_mean"] = _entry(_pooled(bleu_counts(said, meant), lambda c: bleu(c).mean(axis=-1)), units, draw)
    spaced = np.array([rouge_l(g.split(" "), w.split(" ")) for g, w in pairs])  # double spaces make empty words there
    official |= {
        "rouge_l": _entry(weighted_mean(spaced), units, draw),
        "cider": _entry(weighted_mean(cider(said, meant)), units, draw),
    }
    return {
        "n": len(written),
        "n_patients": len(set(units)),
        "n_empty": sum(not text.strip() for text in generated),
        "n_distinct": len({" ".join(words_of(text)) for text in generated}),
        "mean_words": {
            "generated": float(np.mean([len(words_of(t)) for t in generated])),
            "written": float(np.mean([len(words_of(t)) for t in written])),
        },
        "vlm3d": official,
        "tokenised": _tokenised(generated, written, units, draw),
    }


def _tokenised(generated: Sequence[str], written: Sequence[str], units: list[str], draw: dict) -> dict:
    try:
        from rouge_score.rouge_scorer import RougeScorer
        from sacrebleu.metrics import BLEU
    except ImportError as error:
        raise ImportError(f"scores of report texts need sacrebleu and rouge-score: {_TEXT_EXTRA}.") from error
    scorer = BLEU(lowercase=True, smooth_method="exp")
    alone = [scorer.corpus_score([g], [[w]]) for g, w in zip(generated, written, strict=True)]
    statistics = np.array([[s.sys_len, s.ref_len, *s.counts, *s.totals] for s in alone], dtype=np.float64)

    def pooled(counts: np.ndarray) -> np.ndarray:
        flat = counts.reshape(-1, counts.shape[-1])
        found = [[_sacrebleu(row, order) for order in range(1, 5)] for row in flat]
        return np.array(found).reshape(*counts.shape[:-1], 4)

    rouge = RougeScorer(["rougeL"])
    longest = [rouge.score(w, g)["rougeL"].fmeasure for g, w in zip(generated, written, strict=True)]
    consensus = cider([words_of(t) for t in generated], [words_of(t) for t in written])
    return _bleu_entries(statistics, pooled, units, draw) | {
        "rouge_l": _entry(weighted_mean(np.array(longest)), units, draw),
        "cider": _entry(weighted_mean(consensus), units, draw),
        "sacrebleu_signature": str(scorer.get_signature()),
    }


def _sacrebleu(statistics: np.ndarray, order: int) -> float:
    from sacrebleu.metrics import BLEU

    said, meant = int(statistics[0]), int(statistics[1])
    correct, total = [int(c) for c in statistics[2:6]], [int(c) for c in statistics[6:10]]
    score = BLEU.compute_bleu(correct[:order], total[:order], said, meant, smooth_method="exp", max_ngram_order=order)
    return score.score / 100


def _bleu_entries(counts: np.ndarray, score: Callable, units: list[str], draw: dict) -> dict[str, dict]:
    def of(order: int) -> Callable[[np.ndarray], np.ndarray]:
        return lambda pooled: score(pooled)[..., order - 1]

    return {f"bleu_{order}": _entry(_pooled(counts, of(order)), units, draw) for order in range(1, 5)}


def _pooled(counts: np.ndarray, score: Callable[[np.ndarray], np.ndarray]) -> Statistic:
    return lambda weights: score(weights @ counts)


def _entry(statistic: Statistic, units: list[str], draw: dict) -> dict:
    return {"value": float(statistic(np.ones((1, len(units))))[0]), **interval_entry(statistic, units, **draw)}


def _check(generated: Sequence[str], written: Sequence[str], patients: Sequence[Hashable]) -> None:
    if not len(generated) == len(written) == len(patients):
        raise ValueError(
            f"one generated text, one reference and one patient a study are needed, got {len(generated)}, "
            f"{len(written)} and {len(patients)}."
        )
    if not len(written):
        raise ValueError("there is no report to score; choose a section whose studies have reports.")
    empty = [index for index, text in enumerate(written) if not (text or "").strip()]
    if empty:
        raise ValueError(
            f"references must not be empty, got {len(empty)} that are, first at {empty[0]}; leave studies out whose "
            "report is unknown."
        )
