from __future__ import annotations

import json
import os
import sys

import numpy as np
import pytest

from medvlm.data import search_index
from medvlm.data.search_index import build_index, open_index, verify_index

MODEL, OTHER = "a" * 64, "b" * 64


def studies(n, seed=0, first=0, width=16):
    embeddings = np.random.default_rng(seed).normal(size=(n, width))
    records = [
        {"id": f"study_{first + i}", "text": f"Report {first + i}: sténose 70 %.", "patient_id": f"p{i}"}
        for i in range(n)
    ]
    return embeddings, records


@pytest.fixture
def index(tmp_path):
    return build_index(tmp_path / "index", *studies(50), MODEL)


def rows(found):
    return [[match.row for match in matches] for matches in found]


def test_a_study_finds_itself_with_its_report(index):
    embeddings, records = studies(50)
    (found,) = index.search(embeddings[7], k=3, engine="exact")
    assert (found[0].rank, found[0].row, found[0].record) == (1, 7, records[7])
    assert found[0].score == pytest.approx(1, abs=1e-6)
    assert [match.rank for match in found] == [1, 2, 3] and found[1].score > found[2].score


def test_searching_in_blocks_equals_a_full_sort(index):
    queries = studies(9, seed=5)[0]
    embeddings = studies(50)[0]
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (queries, embeddings)]
    expected = np.argsort(-(unit[0] @ unit[1].T), axis=1)[:, :6]
    assert rows(index.search(queries, k=6, engine="exact", block=7)) == expected.tolist()


def test_faiss_gives_the_same_results_in_the_same_order(index):
    pytest.importorskip("faiss", reason="faiss-cpu is not installed: python -m pip install 'medvlm-bundles[search]'")
    embeddings, records = studies(20, seed=3, first=50)
    embeddings[4:9] = studies(50)[0][10] * 2  # ties with an earlier study
    longer = index.append(embeddings, records)
    queries = np.concatenate([studies(9, seed=5)[0], studies(50)[0][10:11]])
    exact, faiss = (longer.search(queries, k=8, engine=engine) for engine in ("exact", "faiss"))
    assert rows(exact) == rows(faiss)
    assert rows(exact)[-1][:6] == [10, 54, 55, 56, 57, 58]
    for a, b in zip(exact, faiss, strict=True):
        assert [m.score for m in a] == pytest.approx([m.score for m in b], abs=1e-9)
        assert [m.record for m in a] == [m.record for m in b]


def test_auto_works_without_faiss(index, monkeypatch):
    monkeypatch.setattr(search_index, "_has_faiss", lambda: False)
    assert rows(index.search(studies(50)[0][3], k=1)) == [[3]]


def test_faiss_that_is_asked_for_and_absent_names_the_extra(index, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ImportError, match=r"medvlm-bundles\[search\]"):
        index.search(studies(50)[0][3], engine="faiss")


def test_appended_studies_are_found_and_the_old_view_stays(index, tmp_path):
    embeddings, records = studies(10, seed=9, first=50)
    longer = index.append(embeddings, records)
    assert (len(index), len(longer)) == (50, 60)
    assert longer.search(embeddings[2], k=1)[0][0].record["id"] == "study_52"
    assert [record["id"] for record in open_index(tmp_path / "index").records()] == [f"study_{i}" for i in range(60)]
    assert verify_index(tmp_path / "index") == []


def test_embeddings_are_memory_mapped(index):
    assert all(isinstance(part, np.memmap) for part in (*index._embeddings, *index._lines))


def test_another_models_index_is_refused(index, tmp_path):
    assert len(open_index(tmp_path / "index", MODEL)) == 50
    with pytest.raises(ValueError, match="made by another model"):
        open_index(tmp_path / "index", OTHER)


def test_a_write_that_fails_leaves_the_index_as_it_was(index, tmp_path, monkeypatch):
    folder = tmp_path / "index"
    before = (folder / "index.json").read_bytes()

    def full(source, target):
        if str(target).endswith("index.json"):
            raise OSError(28, "No space left on device")
        return real(source, target)

    real = os.replace
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        index.append(*studies(5, seed=2, first=50))
    monkeypatch.undo()
    assert (folder / "index.json").read_bytes() == before
    assert len(open_index(folder, MODEL)) == 50
    assert not list(folder.glob(".partial-*"))
    # What the failed attempt left is written over by the next one.
    assert len(index.append(*studies(5, seed=4, first=50))) == 55
    assert verify_index(folder) == []


def test_an_index_is_replaced_only_on_request(index, tmp_path):
    folder = tmp_path / "index"
    with pytest.raises(FileExistsError, match="replace=True"):
        build_index(folder, *studies(3), MODEL)
    assert len(build_index(folder, *studies(3), OTHER, replace=True)) == 3
    assert open_index(folder).model == OTHER
    assert len(list(folder.glob("part_*.npy"))) == 2  # embeddings and offsets of one part


def test_changed_files_are_noticed(index, tmp_path):
    folder = tmp_path / "index"
    lines = bytearray((folder / "part_0.jsonl").read_bytes())
    lines[30] ^= 1
    (folder / "part_0.jsonl").write_bytes(bytes(lines))
    assert verify_index(folder) == ["part_0"]
    (folder / "part_0.jsonl").write_bytes(bytes(lines[:-9]))
    with pytest.raises(ValueError, match="not what index.json says"):
        open_index(folder)
    (folder / "part_0.jsonl").unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks part_0\.jsonl"):
        open_index(folder)


def test_k_beyond_the_index_gives_all(index):
    assert len(index.search(studies(50)[0][0], k=999)[0]) == 50


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda e, r: (e[:-1], r), r"\(2, 16\) and 3 records"),
        (lambda e, r: (e * [[0], [1], [1]], r), "first row 0"),
        (lambda e, r: (e, [r[0], r[1], {"id": "x"}]), "record 2 needs an id"),
        (lambda e, r: (e, [r[0], r[1], r[0]]), "'study_50'"),
        (lambda e, r: (e, [r[0], r[1], r[2] | {"id": "study_3"}]), "'study_3'"),
        (lambda e, r: (e[:, :4], r), "16 numbers a study"),
    ],
)
def test_studies_that_do_not_fit_are_refused(index, change, match):
    with pytest.raises(ValueError, match=match):
        index.append(*change(*studies(3, first=50)))


def test_queries_that_do_not_fit_are_refused(index):
    with pytest.raises(ValueError, match="need 16 numbers"):
        index.search(np.ones(4))
    with pytest.raises(ValueError, match="engine is one of"):
        index.search(np.ones(16), engine="annoy")
    with pytest.raises(IndexError, match=r"0\.\.49"):
        index.record(50)


def test_what_is_no_index_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no search index"):
        open_index(tmp_path)
    (tmp_path / "index.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match="is no index"):
        open_index(tmp_path)
    (tmp_path / "index.json").write_text(json.dumps({"format": 99}), encoding="utf-8")
    with pytest.raises(ValueError, match="format 1"):
        open_index(tmp_path)
    with pytest.raises(ValueError, match="checksum of the model"):
        build_index(tmp_path / "new", *studies(2), "")


def test_more_near_ties_than_faiss_is_asked_for_are_searched_exactly(tmp_path):
    pytest.importorskip("faiss", reason="faiss-cpu is not installed: python -m pip install 'medvlm-bundles[search]'")
    embeddings, records = studies(300)
    embeddings = embeddings[:1] + np.random.default_rng(1).normal(scale=1e-9, size=embeddings.shape)
    near = build_index(tmp_path / "near", embeddings, records, MODEL)
    queries = studies(5, seed=2)[0]
    assert rows(near.search(queries, k=4, engine="faiss")) == rows(near.search(queries, k=4, engine="exact"))


@pytest.mark.parametrize("engine", ["exact", "auto"])
def test_a_query_of_zeros_is_refused(index, engine):
    with pytest.raises(ValueError, match="finite and not zero"):
        index.search(np.zeros((1, 16)), engine=engine)
