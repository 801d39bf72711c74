"""Ranks of relevant items, counted block by block, and retrieval scores of them that are fair to ties.

A score of a ranking with ties is the mean over all orders of the tied items, in closed form, so that the order of the
input decides nothing: a network that gives every pair the same similarity scores exactly chance.

Reference:
    F. McSherry and M. Najork, "Computing information retrieval performance measures efficiently in the presence of
    tied scores", ECIR 2008.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.special import digamma, gammaln

_GRID = 2.0**30
"""Cosines are rounded to this many steps: equal embeddings tie whatever the order of a matrix product's sums."""
_PAIRS = 512
"""Relevant items that are compared with a block at once."""


class Similarity(Protocol):
    """Similarities of Q queries and N candidates that need never exist as one matrix."""

    shape: tuple[int, int]

    def block(self, queries: slice, candidates: slice) -> np.ndarray:
        """Similarities ``(q, n)`` of a range of queries and of candidates."""

    def pairs(self, queries: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        """Similarities ``(P,)`` of query ``queries[p]`` and candidate ``candidates[p]``."""


class CosineSimilarity:
    """Cosines of embeddings, made in float64 a block at a time.

    Args:
        queries: ``(Q, D)``, any length of rows but zero, finite.
        candidates: ``(N, D)``.

    Raises:
        ValueError: the sides do not fit, or a row is zero or not finite.
    """

    def __init__(self, queries: np.ndarray, candidates: np.ndarray) -> None:
        self._queries, self._candidates = np.asarray(queries), np.asarray(candidates)
        self._lengths = _lengths(self._queries, "queries"), _lengths(self._candidates, "candidates")
        if self._queries.shape[1] != self._candidates.shape[1]:
            raise ValueError(
                f"queries and candidates need embeddings of one width, got {self._queries.shape[1]} and "
                f"{self._candidates.shape[1]}; project both into the shared space first."
            )
        self.shape = (len(self._queries), len(self._candidates))

    def block(self, queries: slice, candidates: slice) -> np.ndarray:
        """Cosines ``(q, n)``, rounded to steps of 2**-30."""
        left = self._queries[queries] / self._lengths[0][queries, None]
        right = self._candidates[candidates] / self._lengths[1][candidates, None]
        return np.rint(left @ right.T * _GRID)

    def pairs(self, queries: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        """Cosines ``(P,)`` in the same steps."""
        left = self._queries[queries] / self._lengths[0][queries, None]
        right = self._candidates[candidates] / self._lengths[1][candidates, None]
        return np.rint(np.einsum("pd,pd->p", left, right) * _GRID)

    @staticmethod
    def cosines(steps: np.ndarray) -> np.ndarray:
        """Steps as cosines in -1..1."""
        return steps / _GRID


class MatrixSimilarity:
    """Similarities that already exist as a matrix ``(Q, N)``; higher is more similar."""

    def __init__(self, matrix: np.ndarray) -> None:
        self._matrix = np.asarray(matrix)
        if self._matrix.ndim != 2 or not np.isfinite(self._matrix).all():
            raise ValueError(
                f"similarities must be a finite (Q, N) matrix, got shape {self._matrix.shape}; look for NaN embeddings."
            )
        self.shape = self._matrix.shape

    def block(self, queries: slice, candidates: slice) -> np.ndarray:
        """The block itself."""
        return self._matrix[queries, candidates]

    def pairs(self, queries: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        """The entries themselves."""
        return self._matrix[queries, candidates]


@dataclass(frozen=True)
class TiedRanks:
    """Where the relevant items of each query lie; one entry a (query, relevant item) pair, in the order of queries.

    Attributes:
        query: ``(P,)`` query of the pair.
        above: ``(P,)`` candidates strictly more similar.
        tied: ``(P,)`` candidates equally similar, itself included.
        relevant_above: ``(P,)`` relevant ones strictly more similar.
        relevant_tied: ``(P,)`` relevant ones equally similar, itself included.
        relevant: ``(Q,)`` number of relevant items; 0 for a query without any.
        candidates: N.
    """

    query: np.ndarray
    above: np.ndarray
    tied: np.ndarray
    relevant_above: np.ndarray
    relevant_tied: np.ndarray
    relevant: np.ndarray
    candidates: int


def tied_ranks(
    similarity: Similarity, relevant: Sequence[Sequence[int]], query_block: int = 512, candidate_block: int = 8192
) -> TiedRanks:
    """Count what lies above and beside each relevant item, holding one block of similarities at a time.

    Args:
        similarity: of Q queries and N candidates.
        relevant: for each query the candidates that are right, any number, without order; repetitions count once.
        query_block: queries of one block.
        candidate_block: candidates of one block; memory is ``query_block * candidate_block`` similarities, and the
            comparisons of 512 relevant items with them.

    Raises:
        ValueError: ``relevant`` is not one list a query, or names a candidate that does not exist.
    """
    n_queries, n_candidates = similarity.shape
    if len(relevant) != n_queries:
        raise ValueError(f"each query needs its list of relevant items, got {len(relevant)} for {n_queries} queries.")
    sets = [np.unique(np.asarray(list(items), dtype=np.int64)) for items in relevant]
    counts = np.array([len(items) for items in sets], dtype=np.int64)
    query = np.repeat(np.arange(n_queries), counts)
    item = np.concatenate(sets) if len(query) else np.zeros(0, dtype=np.int64)
    if len(item) and (item.min() < 0 or item.max() >= n_candidates):
        raise ValueError(f"relevant items are 0..{n_candidates - 1}, got {item.min()}..{item.max()}.")
    own = np.concatenate(
        [similarity.pairs(query[i : i + _PAIRS], item[i : i + _PAIRS]) for i in range(0, len(query), _PAIRS)]
        or [np.zeros(0)]
    )
    above, tied = np.zeros(len(query), dtype=np.int64), np.zeros(len(query), dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(counts)])
    for first in range(0, n_queries, query_block):
        last = min(first + query_block, n_queries)
        if starts[first] == starts[last]:
            continue  # nothing is relevant to any of them
        for begin in range(0, n_candidates, candidate_block):
            end = min(begin + candidate_block, n_candidates)
            block = similarity.block(slice(first, last), slice(begin, end))
            for low in range(starts[first], starts[last], _PAIRS):
                pairs = slice(low, min(low + _PAIRS, starts[last]))
                rows = block[query[pairs] - first]
                inside = np.flatnonzero((item[pairs] >= begin) & (item[pairs] < end))
                rows[inside, item[pairs][inside] - begin] = own[pairs][inside]  # an item ties with itself, always
                above[pairs] += (rows > own[pairs, None]).sum(axis=1)
                tied[pairs] += (rows == own[pairs, None]).sum(axis=1)
    relevant_above, relevant_tied = _among_relevant(query, own)
    return TiedRanks(query, above, tied, relevant_above, relevant_tied, counts, n_candidates)


def random_ranks(relevant: np.ndarray, candidates: int) -> TiedRanks:
    """Ranks of a retrieval that knows nothing: all candidates tie.

    Args:
        relevant: ``(Q,)`` number of relevant items of each query.
        candidates: N.
    """
    relevant = np.asarray(relevant, dtype=np.int64)
    query = np.flatnonzero(relevant)  # one pair stands for all of a query's: they are alike
    nothing, whole = np.zeros_like(query), np.full_like(query, candidates)
    return TiedRanks(query, nothing, whole, nothing, relevant[query], relevant, candidates)


def scores(ranks: TiedRanks, ks: Sequence[int]) -> dict[str, np.ndarray]:
    """Scores of each query, in expectation over the orders of tied items.

    Args:
        ranks: of the relevant items.
        ks: cut-offs, each at least 1; one beyond the number of candidates takes them all.

    Returns:
        ``hit@K`` (is any relevant item among the first K), ``recall@K`` (which share of them is), ``ndcg@K`` (binary
        gain, discount 1/log2(rank + 1), ideal with min(relevant, K) hits), ``mrr`` (1 / rank of the first), ``map``
        (mean of the precision at each relevant item) and ``first_rank``; each ``(Q,)``, ``nan`` without relevant items.
    """
    if not len(ks) or min(ks) < 1:
        raise ValueError(f"cut-offs must be at least 1, got {list(ks)}; 1, 5, 10 are usual.")
    n_queries, best = len(ranks.relevant), np.flatnonzero(ranks.relevant_above == 0)
    there, first = np.unique(ranks.query[best], return_index=True)
    above, tied, hits = (x[best][first] for x in (ranks.above, ranks.tied, ranks.relevant_tied))
    discount = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, ranks.candidates + 2)))])
    share = 1 / np.bincount(ranks.query, minlength=n_queries)[ranks.query]  # of each pair in its query's mean

    def per_pair(values: np.ndarray) -> np.ndarray:
        return np.bincount(ranks.query, share * values, minlength=n_queries)

    out = {}
    for k in ks:
        out[f"hit@{k}"] = _spread(1 - _none_within(tied, hits, k - above), there, n_queries)
    for k in ks:
        out[f"recall@{k}"] = per_pair(np.clip(k - ranks.above, 0, ranks.tied) / ranks.tied)
    for k in ks:
        low, high = np.minimum(ranks.above, k), np.minimum(ranks.above + ranks.tied, k)
        gain = per_pair((discount[high] - discount[low]) / ranks.tied) * ranks.relevant
        ideal = discount[np.minimum(np.minimum(ranks.relevant, k), ranks.candidates)]
        out[f"ndcg@{k}"] = gain / np.where(ideal > 0, ideal, 1)
    out["mrr"] = _spread(_reciprocal(above, tied, hits), there, n_queries)
    out["map"] = per_pair(_precision(ranks))
    out["first_rank"] = _spread(above + (tied + 1) / (hits + 1), there, n_queries)
    return {name: np.where(ranks.relevant > 0, values, np.nan) for name, values in out.items()}


def _lengths(rows: np.ndarray, name: str) -> np.ndarray:
    if rows.ndim != 2:
        raise ValueError(f"{name} must be (rows, D), got shape {rows.shape}.")
    length = np.sqrt(np.einsum("nd,nd->n", rows, rows, dtype=np.float64))
    wrong = ~np.isfinite(length) | (length == 0)
    if wrong.any():
        raise ValueError(
            f"{name} must be finite and not zero, got {int(wrong.sum())} of {len(rows)} rows that are not, first row "
            f"{int(np.flatnonzero(wrong)[0])}; leave studies without a readable video out by their mask."
        )
    return length


def _among_relevant(query: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each pair the pairs of its query with higher, and with equal similarity (itself included)."""
    above, tied = np.zeros(len(query), dtype=np.int64), np.zeros(len(query), dtype=np.int64)
    if not len(query):
        return above, tied
    order = np.lexsort((-own, query))
    place = np.arange(len(order))
    new_query = np.r_[True, np.diff(query[order]) != 0]
    new_run = new_query | np.r_[True, np.diff(own[order]) != 0]
    query_start = np.maximum.accumulate(np.where(new_query, place, 0))
    run_start = np.maximum.accumulate(np.where(new_run, place, 0))
    above[order] = run_start - query_start
    sizes = np.unique(run_start, return_counts=True)[1]
    tied[order] = np.repeat(sizes, sizes)
    return above, tied


def _spread(values: np.ndarray, there: np.ndarray, n_queries: int) -> np.ndarray:
    out = np.full(n_queries, np.nan)
    out[there] = values
    return out


def _none_within(n: np.ndarray, hits: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Probability that the first ``drawn`` of ``n`` items in random order hold none of ``hits``: hypergeometric."""
    drawn = np.clip(drawn, 0, n)
    room = np.maximum(n - hits - drawn, 0)
    log = gammaln(n - hits + 1) - gammaln(room + 1) - gammaln(n + 1) + gammaln(n - drawn + 1)
    several = np.where(drawn > n - hits, 0.0, np.exp(log))
    return np.where(hits == 1, 1 - drawn / n, several)


def _harmonic(above: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Sum of 1/rank over the ranks above + 1 ... above + n."""
    return np.where(n == 1, 1 / (above + 1), digamma(above + n + 1.0) - digamma(above + 1.0))


def _reciprocal(above: np.ndarray, n: np.ndarray, hits: np.ndarray) -> np.ndarray:
    """Mean of 1/rank of the first of ``hits`` items, in random order among ``n`` that come after ``above`` others."""
    out = _harmonic(above, n) / n
    several = np.flatnonzero((hits > 1) & (n > 1))
    kinds, index = np.unique(np.stack([above, n, hits])[:, several], axis=1, return_inverse=True)
    found = []
    for a, size, m in kinds.T:
        place = np.arange(1, size - m + 2)
        log = gammaln(size - place + 1) - gammaln(size - place - m + 2) - gammaln(m)
        log -= gammaln(size + 1) - gammaln(m + 1) - gammaln(size - m + 1)
        found.append(float((np.exp(log) / (a + place)).sum()))
    out[several] = np.array(found)[index.reshape(-1)] if found else []
    return out


def _precision(ranks: TiedRanks) -> np.ndarray:
    """Mean precision at each relevant item: its place among its ties is uniform, the others' follow from it."""
    sums = _harmonic(ranks.above, ranks.tied)
    others = (ranks.relevant_tied - 1) / np.maximum(ranks.tied - 1, 1)
    return ((ranks.relevant_above + 1) * sums + others * (ranks.tied - (ranks.above + 1) * sums)) / ranks.tied
