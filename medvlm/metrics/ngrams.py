"""BLEU, ROUGE-L and CIDEr-D of texts that are already split into words.

The numbers equal those of pycocoevalcap 1.2 (the evaluator of COCO captions and of VLM3D) to 1e-9, its small constants
included; METEOR is left out, since it needs a Java program and its data.

Reference:
    K. Papineni et al., "BLEU", ACL 2002. C.-Y. Lin, "ROUGE", 2004. R. Vedantam et al., "CIDEr", CVPR 2015.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

ORDERS = 4
Words = Sequence[str]


def ngram_counts(words: Words, orders: int = ORDERS) -> Counter:
    """Counts of the word groups of 1 to ``orders`` words."""
    return Counter(tuple(words[i : i + n]) for n in range(1, orders + 1) for i in range(len(words) - n + 1))


def bleu_counts(candidates: Sequence[Words], references: Sequence[Words]) -> np.ndarray:
    """What BLEU pools over a set.

    Args:
        candidates: ``(N,)`` texts in words.
        references: ``(N,)`` one reference a text.

    Returns:
        ``(N, 10)``: words of the candidate, words of the reference, and for orders 1 to 4 the matched (clipped by the
        reference) and the possible groups.
    """
    rows = []
    for candidate, reference in zip(candidates, references, strict=True):
        there, matched = ngram_counts(reference), [0] * ORDERS
        for gram, count in ngram_counts(candidate).items():
            matched[len(gram) - 1] += min(count, there[gram])
        possible = [max(0, len(candidate) - n) for n in range(ORDERS)]
        rows.append([len(candidate), len(reference), *matched, *possible])
    return np.array(rows, dtype=np.float64).reshape(-1, 2 + 2 * ORDERS)


def bleu(counts: np.ndarray) -> np.ndarray:
    """BLEU-1 to BLEU-4 of pooled counts.

    Args:
        counts: ``(..., 10)`` sums of :func:`bleu_counts`, of one text or of a set.

    Returns:
        ``(..., 4)`` in 0..1.
    """
    counts = np.asarray(counts, dtype=np.float64)
    tiny, small = 1e-15, 1e-9  # the constants of pycocoevalcap
    said, meant = counts[..., 0], counts[..., 1]
    matched, possible = counts[..., 2 : 2 + ORDERS], counts[..., 2 + ORDERS :]
    product = np.cumprod((matched + tiny) / (possible + small), axis=-1)
    means = product ** (1 / np.arange(1, ORDERS + 1))
    ratio = (said + tiny) / (meant + small)
    penalty = np.where(ratio < 1, np.exp(1 - 1 / np.minimum(ratio, 1)), 1.0)
    return means * penalty[..., None]


def rouge_l(candidate: Words, reference: Words, beta: float = 1.2) -> float:
    """F score of the longest common subsequence; ``beta`` weighs recall (1.2 in COCO, 1 in rouge-score)."""
    length = longest_common(candidate, reference)
    if not length:
        return 0.0
    precision, recall = length / len(candidate), length / len(reference)
    return (1 + beta**2) * precision * recall / (recall + beta**2 * precision)


def longest_common(left: Words, right: Words) -> int:
    """Length of the longest common subsequence, in words."""
    numbers: dict[str, int] = {}
    a, b = ([numbers.setdefault(word, len(numbers)) for word in words] for words in (left, right))
    b, best = np.array(b, dtype=np.int64), np.zeros(len(right) + 1, dtype=np.int64)
    for word in a:
        row = best.copy()
        row[1:] = np.maximum(best[1:], best[:-1] + (b == word))
        best = np.maximum.accumulate(row)
    return int(best[-1])


def cider(candidates: Sequence[Words], references: Sequence[Words], sigma: float = 6.0) -> np.ndarray:
    """CIDEr-D of each text, with the document frequencies of these references.

    Args:
        candidates: ``(N,)`` texts in words.
        references: ``(N,)`` one reference a text; the weight of a word group is log(N / references that hold it), so
            that a set of one scores 0.
        sigma: width of the penalty for a difference in length.

    Returns:
        ``(N,)`` in 0..10.
    """
    counted = [ngram_counts(words) for words in references]
    frequency = Counter(gram for counts in counted for gram in counts)
    log_n = np.log(float(max(len(references), 1)))

    def weigh(counts: Counter) -> tuple[list[dict], np.ndarray, int]:
        vectors: list[dict] = [{} for _ in range(ORDERS)]
        for gram, count in counts.items():
            vectors[len(gram) - 1][gram] = count * (log_n - np.log(max(1.0, frequency[gram])))
        norms = np.sqrt([sum(v * v for v in vector.values()) for vector in vectors])
        return vectors, norms, sum(count for gram, count in counts.items() if len(gram) == 2)

    found = []
    for words, counts in zip(candidates, counted, strict=True):
        (hyp, hyp_norm, hyp_length), (ref, ref_norm, ref_length) = weigh(ngram_counts(words)), weigh(counts)
        value = np.zeros(ORDERS)
        for n in range(ORDERS):
            value[n] = sum(
                min(weight, ref[n].get(gram, 0.0)) * ref[n].get(gram, 0.0) for gram, weight in hyp[n].items()
            )
            if hyp_norm[n] and ref_norm[n]:
                value[n] /= hyp_norm[n] * ref_norm[n]
        found.append(10 * float(np.mean(value)) * np.exp(-((hyp_length - ref_length) ** 2) / (2 * sigma**2)))
    return np.array(found)
