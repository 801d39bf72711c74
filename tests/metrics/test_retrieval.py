from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

from medvlm.metrics.retrieval import retrieval_report, retrieval_scores, text_key, top_matches, unique_texts
from medvlm.metrics.tied_ranks import CosineSimilarity, MatrixSimilarity, random_ranks, scores, tied_ranks

UNTIED = (
    "one_to_one_small",
    "duplicated_texts",
    "multi_positive",
    "empty_ground_truth",
    "fewer_texts_than_k",
    "near_chance",
)
DIRECTIONS = ("video_to_text", "text_to_video")
KS = (1, 3, 5, 10, 50)


@pytest.fixture(scope="session")
def cases(golden):
    folder = golden("retrieval")
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))["cases"]
    with np.load(folder / "inputs.npz") as stored:
        return expected, {name: stored[name] for name in stored}


def direction_of(case, matrix, direction):
    if direction == "video_to_text":
        return matrix, case["gt_video_to_text"]
    return matrix.T, case["gt_text_to_video"]


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("name", UNTIED)
def test_scores_equal_the_golden_values(cases, name, direction):
    expected, inputs = cases
    case = expected[name]
    matrix, relevant = direction_of(case, inputs[f"{name}__sim"], direction)
    found = scores(tied_ranks(MatrixSimilarity(matrix), relevant), KS)
    has = np.array([len(items) > 0 for items in relevant])
    theirs, skipping = case[direction]["deepcoro"], case[direction]["torchmetrics_rank_scores_skip_empty"]
    for k in KS:
        # DeepCORO calls a hit a recall, and counts a query without a right item as 0.
        assert np.nan_to_num(found[f"hit@{k}"]).mean() == pytest.approx(theirs[f"Recall@{k}"], abs=1e-12)
        assert found[f"recall@{k}"][has].mean() == pytest.approx(skipping[f"Recall@{k}"], abs=1e-6)
        assert found[f"ndcg@{k}"][has].mean() == pytest.approx(skipping[f"NDCG@{k}"], abs=2e-6)
        assert np.nan_to_num(found[f"ndcg@{k}"]).mean() == pytest.approx(theirs[f"NDCG@{k}"], abs=1e-6)
    assert np.nan_to_num(found["mrr"]).mean() == pytest.approx(theirs["MRR"], abs=1e-12)
    assert found["map"][has].mean() == pytest.approx(skipping["MAP"], abs=1e-6)
    # Theirs: the lower middle, and a query without a right item ranks last.
    ranks = np.sort(np.where(has, found["first_rank"], matrix.shape[1]))
    assert int(ranks[(len(ranks) - 1) // 2]) == theirs["median_rank"]


@pytest.mark.parametrize("name", UNTIED)
def test_streaming_over_embeddings_equals_the_dense_matrix(cases, name):
    expected, inputs = cases
    relevant = expected[name]["gt_video_to_text"]
    dense = scores(tied_ranks(MatrixSimilarity(inputs[f"{name}__sim"]), relevant), KS)
    cosine = CosineSimilarity(inputs[f"{name}__video"], inputs[f"{name}__text"])
    for sizes in ((7, 5), (1, 1000), (1000, 3)):
        streamed = scores(tied_ranks(cosine, relevant, *sizes), KS)
        for key, values in dense.items():
            np.testing.assert_allclose(streamed[key], values, atol=1e-12, err_msg=key)


def brute_force(similarities, relevant, k):
    """Mean over every order of tied items of one query."""
    found = []
    for order in itertools.permutations(range(len(similarities))):
        ranking = sorted(range(len(similarities)), key=lambda i: (-similarities[i], order[i]))
        hits = np.array([item in relevant for item in ranking])
        places = np.flatnonzero(hits) + 1
        discount = 1 / np.log2(np.arange(2, len(hits) + 2))
        found.append(
            (
                hits[:k].any(),
                hits[:k].sum() / len(relevant),
                (hits * discount)[:k].sum() / discount[: min(k, len(relevant))].sum(),
                1 / places[0],
                np.mean(np.arange(1, len(places) + 1) / places),
                places[0],
            )
        )
    return np.mean(found, axis=0)


@pytest.mark.parametrize(
    ("similarities", "relevant"),
    [
        ([1, 1, 1, 1, 1], [2]),
        ([1, 1, 1, 1, 1], [0, 3, 4]),
        ([3, 2, 2, 2, 1, 1], [1, 3, 5]),
        ([3, 2, 2, 2, 1, 1], [0, 4, 5]),
        ([1, 2, 2, 2, 3], [1, 2, 3]),
    ],
)
@pytest.mark.parametrize("k", [1, 2, 4])
def test_ties_score_the_mean_over_all_orders(similarities, relevant, k):
    found = scores(tied_ranks(MatrixSimilarity(np.array([similarities], float)), [relevant]), [k])
    names = (f"hit@{k}", f"recall@{k}", f"ndcg@{k}", "mrr", "map", "first_rank")
    np.testing.assert_allclose([found[name][0] for name in names], brute_force(similarities, relevant, k), atol=1e-12)


def test_collapsed_embeddings_score_exactly_chance():
    collapsed = np.tile(np.random.default_rng(0).normal(size=(1, 16)), (60, 1))
    report = retrieval_report(
        collapsed, collapsed, [f"report {i % 25}" for i in range(60)], [f"p{i}" for i in range(60)], n_boot=20
    )
    for direction in DIRECTIONS:
        for name, entry in report[direction]["metrics"].items():
            assert entry["value"] == pytest.approx(entry["chance"], abs=1e-9), name
    assert report["video_to_text"]["metrics"]["hit@1"]["value"] == pytest.approx(1 / 25)


def test_chance_of_a_single_right_item():
    chance = scores(random_ranks(np.array([1, 0, 3]), 40), [1, 5])
    assert chance["hit@5"][0] == pytest.approx(5 / 40)
    assert chance["mrr"][0] == pytest.approx(sum(1 / r for r in range(1, 41)) / 40)
    assert chance["first_rank"][[0, 2]] == pytest.approx([20.5, 41 / 4])
    assert np.isnan(chance["hit@1"][1])


def test_perfect_embeddings_score_one_and_identical_reports_are_one_item():
    generator = np.random.default_rng(0)
    text = generator.normal(size=(6, 8))
    order = [0, 1, 2, 3, 0, 0]
    report = retrieval_report(
        text[order], text[order], [f"Report  {i}" if n % 2 else f"report {i}" for n, i in enumerate(order)], range(6)
    )
    assert (report["n_unique_texts"], report["video_to_text"]["n_candidates"]) == (4, 4)
    assert report["text_to_video"]["n_candidates"] == 6
    for direction in DIRECTIONS:
        metrics = report[direction]["metrics"]
        assert metrics["mrr"]["value"] == metrics["map"]["value"] == metrics["hit@1"]["value"] == 1
        assert metrics["median_rank"]["value"] == 1
    assert report["text_to_video"]["metrics"]["recall@1"]["value"] == pytest.approx((1 / 3 + 3) / 4)


def test_unknown_reports_and_unreadable_videos_are_counted_not_scored():
    generator = np.random.default_rng(1)
    video, text = generator.normal(size=(5, 4)), generator.normal(size=(5, 4))
    video[4] = 0  # no readable view
    report = retrieval_report(
        video, text, ["a", None, "b", "  ", "c"], list("vwxyz"), valid=[True, True, True, True, False], n_boot=10
    )
    assert (report["n_without_video"], report["n_without_report"], report["n_unique_texts"]) == (1, 2, 2)
    assert (report["video_to_text"]["n_queries"], report["video_to_text"]["n_skipped"]) == (2, 2)
    assert report["text_to_video"]["n_candidates"] == 4


def test_linked_studies_are_right_too():
    identity = np.eye(4)
    wrong_way = identity[[1, 0, 2, 3]]
    alone = retrieval_report(wrong_way, identity, list("abcd"), range(4), n_boot=10)
    both = retrieval_report(wrong_way, identity, list("abcd"), range(4), linked=[[1], [0], [], []], n_boot=10)
    assert alone["video_to_text"]["metrics"]["hit@1"]["value"] == 0.5
    assert both["video_to_text"]["metrics"]["hit@1"]["value"] == 1.0


def test_intervals_follow_patients():
    generator = np.random.default_rng(2)
    text = generator.normal(size=(80, 12))
    video = text + generator.normal(size=(80, 12))
    texts = [f"t{i}" for i in range(80)]
    own = retrieval_report(video, text, texts, range(80), n_boot=300)["video_to_text"]["metrics"]["hit@1"]
    few = retrieval_report(video, text, texts, [i // 40 for i in range(80)], n_boot=300)
    assert own["ci"][0] < own["value"] < own["ci"][1]
    assert few["video_to_text"]["n_patients"] == 2
    one = retrieval_report(video, text, texts, [0] * 80, n_boot=300)["video_to_text"]["metrics"]["hit@1"]
    assert one["ci"] is None and one["value"] == own["value"]


class Watched(CosineSimilarity):
    """Remembers the largest block that was asked for."""

    largest = 0

    def block(self, queries, candidates):
        found = super().block(queries, candidates)
        Watched.largest = max(Watched.largest, found.size)
        return found


def test_no_more_than_a_block_is_ever_held():
    generator = np.random.default_rng(3)
    n = 3000
    text = generator.normal(size=(n, 8)).astype(np.float32)
    watched = Watched(text + generator.normal(size=(n, 8)).astype(np.float32), text)
    relevant = [[i] for i in range(n)]
    found = retrieval_scores(watched, relevant, range(n), n_boot=2, query_block=64, candidate_block=256)
    assert Watched.largest == 64 * 256
    assert found["metrics"]["hit@10"]["value"] > 5 * found["metrics"]["hit@10"]["chance"]


def test_identical_embeddings_tie_wherever_they_stand():
    generator = np.random.default_rng(4)
    rows = generator.normal(size=(40, 96)).astype(np.float32)
    ranks = tied_ranks(CosineSimilarity(rows[:9], rows[np.arange(120) % 40]), [[i] for i in range(9)], 4, 17)
    assert ranks.above.tolist() == [0] * 9 and ranks.tied.tolist() == [3] * 9


def test_best_matches_equal_a_full_sort():
    generator = np.random.default_rng(5)
    queries, candidates = generator.normal(size=(11, 6)), generator.normal(size=(50, 6))
    candidates[30] = candidates[2]  # a tie: the lower index first
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (queries, candidates)]
    cosine = np.round(unit[0] @ unit[1].T, 9)
    expected = np.argsort(-cosine, axis=1, kind="stable")[:, :7]
    index, found = top_matches(queries, candidates, 7, query_block=4, candidate_block=9)
    np.testing.assert_array_equal(index, expected)
    np.testing.assert_allclose(found, np.take_along_axis(cosine, expected, 1), atol=1e-8)
    assert top_matches(queries, candidates, 99)[0].shape == (11, 50)


def test_reports_that_differ_in_case_and_spaces_are_the_same():
    assert text_key("  Normal\n LAD.") == text_key("normal lad") and text_key(None) == ""
    assert text_key("LAD: 70 % (mid), 0.5 mm") == "lad 70% mid 0.5 mm"
    first, group = unique_texts(["A b", "", "a  B", None, "c"])
    assert (first.tolist(), group.tolist()) == ([0, 4], [0, -1, 0, -1, 1])


def test_the_key_of_a_text_is_that_of_the_transforms():
    from transforms.text import normalise_text

    for text in (
        "  The LAD  has a 70 % stenosis , [**name**] ___ XXXX.",
        "Mid-LAD: 30-40%; \u201cpatent\u201d \ufb01ne",
        "1.5 mm, 1,000 mL. <50%..  a_b",
        "No disease.\n\nIMPRESSION:\tnormal (R > L)",
        "",
        None,
    ):
        assert text_key(text) == normalise_text(text)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: CosineSimilarity(np.ones((2, 3)), np.ones((2, 4))), "one width"),
        (lambda: CosineSimilarity(np.ones((2, 3)), np.array([[1, 1, 1], [0, 0, 0]])), "not zero, got 1 of 2"),
        (lambda: CosineSimilarity(np.full((2, 3), np.nan), np.ones((2, 3))), "first row 0"),
        (lambda: CosineSimilarity(np.ones(3), np.ones((2, 3))), r"\(rows, D\)"),
        (lambda: MatrixSimilarity(np.array([[np.nan]])), "finite"),
        (lambda: tied_ranks(MatrixSimilarity(np.eye(2)), [[0]]), "got 1 for 2"),
        (lambda: tied_ranks(MatrixSimilarity(np.eye(2)), [[0], [2]]), r"0\.\.1"),
        (lambda: scores(random_ranks(np.array([1]), 3), [0]), "at least 1"),
        (lambda: retrieval_report(np.eye(2), np.eye(2), ["a"], [0, 1]), r"lengths \[1, 2\]"),
        (lambda: retrieval_report(np.eye(2), np.eye(2), ["", None], [0, 1]), "got none"),
        (lambda: top_matches(np.eye(2), np.eye(2), 0), "k must be"),
        (lambda: retrieval_scores(MatrixSimilarity(np.eye(2)), [[0], [1]], [0]), "one patient a query"),
    ],
)
def test_inputs_that_cannot_be_ranked_are_refused(call, match):
    with pytest.raises(ValueError, match=match):
        call()
