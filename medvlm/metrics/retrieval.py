"""Retrieval both ways between studies and reports: identical texts are one item, ties count in expectation.

Hit@K asks whether any right item is among the first K, Recall@K which share of the right items is; papers call both
recall. A study whose report is unknown is no query, but stays a candidate; a query without a right item is skipped and
counted, never scored 0.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Hashable, Sequence

import numpy as np

from medvlm.metrics.intervals import Statistic, interval_entry, weighted_mean
from medvlm.metrics.tied_ranks import CosineSimilarity, Similarity, random_ranks, scores, tied_ranks

KS = (1, 5, 10)
_PLACES = (1 << 32) - 1
_PLACEHOLDER = re.compile(r"\[\*\*.*?\*\*\]|_{3,}|X{3,}")
_EDGES = re.compile(r"(?!(?<=\d)[.,](?=\d))[^\w%<>=+]+")


def text_key(text: str | None) -> str:
    """What makes two reports the same: their words and numbers in lower case, as ``transforms.text`` compares them.

    Punctuation, white space, Unicode forms and masked names do not count; an absent report has the empty key.
    """
    out = _PLACEHOLDER.sub(" ", unicodedata.normalize("NFKC", text or ""))
    out = "".join(character if character.isprintable() else " " for character in out).casefold()
    out = re.sub(r"(?<=\d)\s+(?=%)", "", out)
    return " ".join(_EDGES.sub(" ", out).split())


def unique_texts(texts: Sequence[str | None]) -> tuple[np.ndarray, np.ndarray]:
    """Collapse identical reports.

    Args:
        texts: ``(N,)`` reports; None or an empty text is unknown.

    Returns:
        ``first``: ``(U,)`` index of the first study with each text; ``group``: ``(N,)`` number of each study's text in
        0..U-1, -1 for an unknown one.
    """
    numbers: dict[str, int] = {}
    first, group = [], np.full(len(texts), -1, dtype=np.int64)
    for index, text in enumerate(texts):
        key = text_key(text)
        if key:
            if key not in numbers:
                numbers[key] = len(first)
                first.append(index)
            group[index] = numbers[key]
    return np.array(first, dtype=np.int64), group


def weighted_median(values: np.ndarray) -> Statistic:
    """Statistic: the median over cases; between two middle values their mean.

    Args:
        values: ``(N,)``, all finite.
    """
    order = np.argsort(values, kind="stable")
    ordered = np.asarray(values, dtype=np.float64)[order]

    def median(weights: np.ndarray) -> np.ndarray:
        below = np.cumsum(weights[:, order], axis=1)
        half = below[:, -1:] / 2
        low, high = (below < half).sum(axis=1), (below <= half).sum(axis=1)
        last = len(ordered) - 1
        return (ordered[np.minimum(low, last)] + ordered[np.minimum(high, last)]) / 2

    return median


def retrieval_scores(
    similarity: Similarity,
    relevant: Sequence[Sequence[int]],
    patients: Sequence[Hashable],
    ks: Sequence[int] = KS,
    n_boot: int = 1000,
    seed: int = 0,
    query_block: int = 512,
    candidate_block: int = 8192,
) -> dict:
    """Scores of one direction, with intervals over patients and what chance would reach.

    Args:
        similarity: of Q queries and N candidates (see :mod:`medvlm.metrics.tied_ranks`); never held whole.
        relevant: for each query the candidates that are right.
        patients: ``(Q,)`` unit of the bootstrap of each query.
        ks: cut-offs.
        n_boot: resamples of patients.
        seed: of the resamples.
        query_block: queries held at once.
        candidate_block: candidates held at once.

    Returns:
        ``n_queries`` scored, ``n_skipped`` (no right item), ``n_candidates``, ``n_patients`` and ``metrics``, which has
        ``hit@K``, ``recall@K``, ``ndcg@K``, ``mrr``, ``map``, ``median_rank``: each ``value``, ``ci``, ``chance``.
    """
    ranks = tied_ranks(similarity, relevant, query_block, candidate_block)
    if len(patients) != len(ranks.relevant):
        raise ValueError(f"one patient a query is needed, got {len(patients)} for {len(ranks.relevant)} queries.")
    kept = np.flatnonzero(ranks.relevant)
    units = [str(patients[index]) for index in kept]
    head = {
        "n_queries": len(kept),
        "n_skipped": len(ranks.relevant) - len(kept),
        "n_candidates": ranks.candidates,
        "n_patients": len(set(units)),
    }
    if not len(kept):
        return head | {"metrics": {}, "note": "no query has a right item"}
    found, chance = scores(ranks, ks), scores(random_ranks(ranks.relevant, ranks.candidates), ks)
    metrics = {}
    for name, values in found.items():
        make: Callable[[np.ndarray], Statistic] = weighted_median if name == "first_rank" else weighted_mean
        statistic, whole = make(values[kept]), np.ones((1, len(kept)))
        metrics["median_rank" if name == "first_rank" else name] = {
            "value": float(statistic(whole)[0]),
            **interval_entry(statistic, units, n_boot, seed),
            "chance": float(make(chance[name][kept])(whole)[0]),
        }
    return head | {"metrics": metrics}


def retrieval_report(
    video: np.ndarray,
    text: np.ndarray,
    texts: Sequence[str | None],
    patients: Sequence[Hashable],
    valid: Sequence[bool] | None = None,
    linked: Sequence[Sequence[int]] | None = None,
    **options: int | Sequence[int],
) -> dict:
    """Both directions of retrieval between studies and their reports.

    Args:
        video: ``(N, D)`` embedding of each study.
        text: ``(N, D)`` embedding of each study's report; of identical texts the first is taken.
        texts: ``(N,)`` the reports; None or empty: unknown.
        patients: ``(N,)`` patient of each study.
        valid: ``(N,)`` False for a study without a readable video: it is neither query nor candidate, but counted.
        linked: for each study further studies whose reports are right for it too (indices into N), beside its own.
        options: ``ks``, ``n_boot``, ``seed``, ``query_block``, ``candidate_block`` of :func:`retrieval_scores`.

    Returns:
        ``n_studies``, ``n_without_video``, ``n_without_report``, ``n_unique_texts``, ``video_to_text`` (candidates are
        the unique texts) and ``text_to_video`` (queries are the unique texts, all studies with a text are right; a
        text of one patient is resampled with that patient, a text of several is a unit of its own).

    Raises:
        ValueError: the lengths differ, or no study has both a video and a report.
    """
    lengths = {len(video), len(text), len(texts), len(patients), len(video if valid is None else valid)}
    if len(lengths) != 1:
        raise ValueError(f"one row a study is needed everywhere, got lengths {sorted(lengths)}.")
    readable = np.ones(len(video), dtype=bool) if valid is None else np.asarray(valid, dtype=bool)
    first, group = unique_texts([t if ok else None for t, ok in zip(texts, readable, strict=True)])
    if not len(first):
        raise ValueError("retrieval needs a study with a readable video and a report, got none.")
    rows = np.flatnonzero(readable)
    wanted = [set(group[[index, *(linked[index] if linked else ())]].tolist()) - {-1} for index in rows]
    if linked is not None:
        wanted = [w if group[index] >= 0 else set() for w, index in zip(wanted, rows, strict=True)]
    holders: list[list[int]] = [[] for _ in first]
    owners: list[set[str]] = [set() for _ in first]
    for place, index in enumerate(rows):
        for number in wanted[place]:
            holders[number].append(place)
        if group[index] >= 0:
            owners[group[index]].add(str(patients[index]))
    videos, unique = np.asarray(video)[rows], np.asarray(text)[first]
    units = [f"patient {min(names)}" if len(names) == 1 else f"text {n}" for n, names in enumerate(owners)]
    return {
        "n_studies": len(video),
        "n_without_video": int((~readable).sum()),
        "n_without_report": int(sum(not text_key(t) for t in texts)),
        "n_unique_texts": len(first),
        "video_to_text": retrieval_scores(
            CosineSimilarity(videos, unique), [sorted(w) for w in wanted], [patients[i] for i in rows], **options
        ),
        "text_to_video": retrieval_scores(CosineSimilarity(unique, videos), holders, units, **options),
    }


def top_matches(
    queries: np.ndarray, candidates: np.ndarray, k: int, query_block: int = 512, candidate_block: int = 8192
) -> tuple[np.ndarray, np.ndarray]:
    """The most similar candidates of each query, exactly, a block at a time.

    Args:
        queries: ``(Q, D)``.
        candidates: ``(N, D)``, also memory-mapped.
        k: how many; at most N are returned.
        query_block: queries held at once.
        candidate_block: candidates held at once.

    Returns:
        ``index`` and ``cosine``, both ``(Q, min(k, N))``, best first; of equal cosines the lower index first.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}.")
    similarity = CosineSimilarity(queries, candidates)
    n_queries, n_candidates = similarity.shape
    k = min(k, n_candidates)
    index, best = np.zeros((n_queries, k), dtype=np.int64), np.zeros((n_queries, k))
    for first in range(0, n_queries, query_block):
        rows = slice(first, min(first + query_block, n_queries))
        held = np.zeros((rows.stop - first, 0), dtype=np.int64)  # steps of the cosine above, place in the lower 32 bits
        for begin in range(0, n_candidates, candidate_block):
            end = min(begin + candidate_block, n_candidates)
            block = similarity.block(rows, slice(begin, end)).astype(np.int64)
            held = np.concatenate([held, (block << 32) + (_PLACES - np.arange(begin, end))], axis=1)
            if held.shape[1] > k:
                held = np.partition(held, held.shape[1] - k, axis=1)[:, -k:]
        held = np.sort(held, axis=1)[:, ::-1]
        index[rows], best[rows] = _PLACES - (held & _PLACES), held >> 32
    return index, similarity.cosines(best)
