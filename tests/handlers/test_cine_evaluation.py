from __future__ import annotations

import csv
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from torch import nn

from medvlm.data.tokenizers import load_tokenizer, train_wordpiece
from medvlm.handlers.caption_evidence import CaptionSentence
from medvlm.handlers.cine_evaluation import CineEvaluationWriter
from medvlm.handlers.cine_examples import angle_words, chosen_examples, found_studies, retrieved, telling_sentences
from medvlm.handlers.cine_gallery import Gallery, add_nearest, embed_gallery
from medvlm.metrics.cine_summary import Study

REPORTS = [
    "Right dominant. The mid LAD has an 80% stenosis. The RCA is normal.",
    "Right dominant. The mid RCA is occluded. The LAD is normal.",
    "Left dominant. The left main is normal. The proximal LAD is calcified.",
]
PROMPTS = {"stenosis": {"target": "stenosis", "positive": [REPORTS[0]], "negative": [REPORTS[2]]}}


class Reader(nn.Module):
    """A network that knows the study by the brightness of its video, and a report by its words."""

    def __init__(self, tokenizer) -> None:
        super().__init__()
        self.keys = {tuple(tokenizer(text)["input_ids"]): number for number, text in enumerate(REPORTS)}
        self.tokenizer, self.empty = tokenizer, len(REPORTS)
        self.loss_parameters = SimpleNamespace(log_scale=torch.tensor(2.0))

    def embed_study(self, video, view_mask=None, angles=None):
        return torch.eye(8)[video[:, 0, 0, 0, 0, 0].long()]

    def embed_text(self, ids, mask):
        rows = [tuple(row[keep.bool()].tolist()) for row, keep in zip(ids, mask, strict=True)]
        return torch.eye(8)[[self.keys.get(row, self.empty) for row in rows]]


def inferer(video, network, view_mask, angles, input_ids, attention_mask):
    numbers = [min(int(n), 2) for n in video[:, 0, 0, 0, 0, 0]]
    ids = network.tokenizer([REPORTS[n] for n in numbers], padding="max_length", max_length=40, return_tensors="pt")
    return {
        "video_embedding": network.embed_study(video),
        "text_embedding": network.embed_text(input_ids, attention_mask),
        "caption_ids": ids["input_ids"],
        "caption_scores": torch.full((len(video),), -0.5),
        "caption_attention": torch.rand(len(video), 40, video.shape[1], 2, 3, 3, dtype=torch.float16),
    }


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    return load_tokenizer(train_wordpiece(REPORTS * 3, folder / "t", 300))


def case(tokenizer, number: int, report: str | None, problems: tuple[str, str] = ("", ""), skipped: str = "{}") -> dict:
    tokens = tokenizer(report or "", padding="max_length", max_length=40, return_tensors="pt")
    read = [not problem for problem in problems]
    return {
        "video": torch.full((2, 1, 4, 6, 6), float(number)) + torch.linspace(0, 0.1, 6),
        "view_mask": torch.tensor(read),
        "angles": torch.tensor([[0.5, 0.866, 1.0, 0.0, 1.0, 1.0]] * 2),
        "input_ids": tokens["input_ids"][0],
        "attention_mask": tokens["attention_mask"][0],
        "case_id": f"c{number}", "patient_id": f"p{number}", "study_id": f"s{number}", "source": "x",
        "report": report or "",
        "view_files": json.dumps([f"/data/s{number}/a.dcm", f"/data/s{number}/b.dcm"]),
        "view_problems": json.dumps(list(problems)),
        "view_skipped": skipped,
    }  # fmt: skip


@pytest.fixture
def samples(tokenizer) -> list[dict]:
    skipped = json.dumps(
        {"/data/s1/c.dcm": "/data/s1/c.dcm: cut short", "/data/s1/d.dcm": "not among the 2 views that are read"}
    )
    return [
        case(tokenizer, 0, REPORTS[0]),
        case(tokenizer, 1, REPORTS[1], ("", "truncated"), skipped),
        case(tokenizer, 2, REPORTS[2]),
        case(tokenizer, 3, None),
        case(tokenizer, 4, REPORTS[0], ("no pixel data", "no pixel data")),
    ]


def collated(samples: list[dict]) -> dict:
    keys = samples[0]
    return {
        key: torch.stack([s[key] for s in samples])
        if isinstance(keys[key], torch.Tensor)
        else [s[key] for s in samples]
        for key in keys
    }


def prepare(batch, device=None, non_blocking=False):
    names = ("view_mask", "angles", "input_ids", "attention_mask")
    valid = {"study_valid": batch["view_mask"].any(1)}
    return batch["video"], valid, (), {name: batch[name] for name in names}


@pytest.fixture
def run(samples, tokenizer, tmp_path):
    """``run(**settings)``: the evaluation, in batches of two; ``infer`` replaces the inferer."""

    def evaluate(infer=inferer, gallery=True, order=(0, 1, 2, 3, 4), **settings) -> dict:
        network = Reader(tokenizer)
        cases = [{"case_id": s["case_id"], "targets": {"stenosis": int(n == 0)}} for n, s in enumerate(samples)]
        weights = tmp_path / "model.pt"
        weights.write_bytes(b"weights")
        trained = [
            case(tokenizer, 0, REPORTS[1]) | {"case_id": "t0", "patient_id": "q0"},
            case(tokenizer, 5, None) | {"case_id": "t1"},
        ]
        handler = CineEvaluationWriter(
            str(tmp_path / "out"), {"name": "b", "version": "1"}, str(weights), tokenizer, cases, prompts=PROMPTS,
            max_tokens=40, n_boot=20, progress=False, pictured=2, gallery=[collated(trained)] if gallery else None,
            **settings,
        )  # fmt: skip

        def step(engine, batch):
            video, _, _, inputs = prepare(batch)
            return {"pred": infer(video, network, **inputs)}

        engine = Engine(step)
        engine.network, engine.prepare_batch, engine.inferer = network, prepare, infer
        engine.non_blocking, engine.amp = False, False
        handler.attach(engine)
        engine.state.device = torch.device("cpu")
        ordered = [samples[i] for i in order]

        class Loader(list):
            dataset = samples

        return engine.run(Loader(collated(ordered[i : i + 2]) for i in range(0, len(ordered), 2))).evaluation

    return evaluate


def table(tmp_path) -> list[dict]:
    with open(tmp_path / "out" / "cases.csv", encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_everything_is_written_and_the_unreadable_study_is_scored_nowhere(run, tmp_path):
    evaluation = run()
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "evaluation.json", "cases.csv", "embeddings.npz", "report.html",
    }  # fmt: skip
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text(encoding="utf-8")) == evaluation
    assert evaluation["n"]["unreadable"] == 1 and evaluation["unreadable"][0]["case_id"] == "c4"
    assert evaluation["retrieval"]["video_to_text"]["metrics"]["hit@1"]["value"] == 1
    assert evaluation["zero_shot"]["tasks"]["stenosis"]["metrics"]["roc_auc"]["value"] == 1
    rows = table(tmp_path)
    assert [row["case_id"] for row in rows] == ["c0", "c1", "c2", "c3", "c4"]
    assert rows[4]["rank_video_to_text"] == "" and rows[4]["readable"] == "0"
    assert rows[0]["generated"] == REPORTS[0]
    with np.load(tmp_path / "out" / "embeddings.npz") as arrays:
        assert arrays["video"].shape == (5, 8) and arrays["readable"].tolist() == [True] * 4 + [False]
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "no pixel data" in page and "could not be made" not in page


def test_problems_of_views_are_kept_without_the_place_on_the_machine(run, tmp_path):
    run()
    rows = table(tmp_path)
    assert json.loads(rows[1]["view_problems"]) == {"s1/b.dcm": "truncated", "s1/c.dcm": "cut short"}
    assert rows[1]["views_read"] == "1" and rows[1]["views_unreadable"] == "2"
    assert "/data/" not in (tmp_path / "out" / "cases.csv").read_text(encoding="utf-8")


def test_a_folder_that_cannot_be_written_is_refused_before_the_first_study(run, tmp_path):
    (tmp_path / "out").write_text("a file in its place", encoding="utf-8")
    with pytest.raises(FileExistsError, match="out.*choose another --output_dir"):
        run(lambda *_, **__: pytest.fail("the evaluation has begun"))


def test_a_study_that_a_sampler_repeats_counts_once(run):
    once = run()
    again = run(order=(0, 1, 2, 3, 4, 0))
    assert again["n"] == once["n"] and again["retrieval"] == once["retrieval"]


def test_the_nearest_report_comes_from_the_gallery_and_only_where_there_is_one(run, tmp_path):
    evaluation = run()
    assert table(tmp_path)[0]["nearest_case"] == "t0" and table(tmp_path)[0]["nearest_report"] == REPORTS[1]
    assert "nearest-neighbour report" in evaluation["captioning"]["texts"]
    assert "nearest_note" in run(gallery=False)["captioning"]


def test_a_network_without_captions_or_without_alignment_is_evaluated_for_the_rest(run):
    def without(*names):
        def infer(video, network, **inputs):
            return {k: v for k, v in inferer(video, network, **inputs).items() if not k.startswith(names)}

        return infer

    aligned = run(infer=without("caption"))
    assert "note" in aligned["captioning"] and aligned["examples"][0]["retrieved"]
    writes = run(infer=without("video", "text"))
    assert "note" in writes["retrieval"] and writes["captioning"]["facts"]
    assert not {"retrieved", "found"} & set(writes["examples"][0]) and writes["examples"][0]["sentences"]


def test_a_run_to_compare_with_that_is_not_there_is_said(run, caplog):
    evaluation = run(against={"alone": "nowhere/cases.csv"})
    assert "nowhere" in evaluation["ablation"]["problems"]["alone"]
    assert "not compared with alone" in caplog.text


def test_a_run_is_compared_with_the_cases_of_another(run, tmp_path):
    run()
    (tmp_path / "out" / "cases.csv").rename(tmp_path / "first.csv")
    found = run(against={"first": str(tmp_path / "first.csv")}, name="second")["ablation"]
    assert list(found["runs"]) == ["second", "first"]
    assert found["differences"] and all(entry["difference"] == 0 for entry in found["differences"])


def test_a_misspelt_prompt_is_refused_before_anything_runs(tokenizer):
    with pytest.raises(ValueError, match="did you mean 'positive'"):
        CineEvaluationWriter("o", {}, "w", tokenizer, [], prompts={"t": {"target": "x", "positiv": [], "negative": []}})


def test_a_model_path_for_bertscore_that_does_not_exist_is_refused_before_anything_runs(tokenizer, tmp_path):
    with pytest.raises(FileNotFoundError, match="BERTScore needs a folder with a transformers model"):
        CineEvaluationWriter("o", {}, "w", tokenizer, [], bert_model=str(tmp_path / "none"))


def test_the_gallery_holds_what_can_be_read_and_has_a_report(samples, tokenizer):
    gallery = embed_gallery([collated(samples)], Reader(tokenizer), prepare, "cpu", progress=False)
    assert gallery.cases == ["c0", "c1", "c2"] and gallery.reports == REPORTS
    assert np.array_equal(gallery.embeddings, np.eye(8)[:3])
    assert embed_gallery([collated(samples[3:])], Reader(tokenizer), prepare, "cpu", progress=False) is None


def test_a_patient_s_own_study_in_the_gallery_is_passed_over(caplog):
    gallery = Gallery(np.eye(3), ["own", "other", "third"], ["t0", "t1", "t2"], ["p0", "p1", "p2"])
    studies = [Study(f"c{n}", f"p{n}", "", "", "x", n < 3, video=np.eye(3)[n % 3] + [0, 0.1, 0]) for n in range(4)]
    studies[2].patient_id = "somebody"
    add_nearest(studies, gallery)
    assert [study.nearest for study in studies] == ["other", "own", "third", None]
    assert "2 patients are in the gallery" in caplog.text and "split the datalist by patient" in caplog.text
    add_nearest(studies[:1], Gallery(np.eye(3)[:1], ["own"], ["t0"], ["p0"]))
    assert studies[0].nearest == "other"  # nothing is left to take


def test_sentences_with_findings_come_first_and_equal_ones_once():
    texts = ["Indication: chest pain.", "The RCA is normal.", "The mid LAD has a 90% stenosis.", "The RCA is normal."]
    told = telling_sentences([CaptionSentence(text, (n,)) for n, text in enumerate(texts)])
    assert [(sentence.text, sentence.tokens) for sentence in told] == [
        (texts[2], (2,)), (texts[1], (1,)), (texts[0], (0,)),
    ]  # fmt: skip


def test_examples_run_evenly_from_the_best_to_the_worst():
    rows = [{"readable": 1, "report_known": 1, "rank_video_to_text": rank} for rank in (5, 1, 9, 3, 7)]
    rows += [{"readable": 0, "report_known": 1}, {"readable": 1, "report_known": 0}]
    assert chosen_examples(rows, 3) == [1, 0, 2]
    assert chosen_examples(rows, 10) == [1, 3, 0, 4, 2]


def test_the_own_report_is_marked_and_added_where_it_is_not_among_the_first():
    vectors = [np.array([1.0, 0.1 * n]) for n in range(4)]
    studies = [
        Study(f"c{n}", f"p{n}", "", "", f"report {n}", 1, video=vectors[0], text=v) for n, v in enumerate(vectors)
    ]
    found = retrieved(studies, 3, {"rank_video_to_text": 4.0, "similarity": 0.9}, k=2)
    assert [(item["rank"], item["text"], item["right"]) for item in found] == [
        (1.0, "report 0", False), (2.0, "report 1", False), (4.0, "report 3", True),
    ]  # fmt: skip
    assert [item["right"] for item in retrieved(studies, 0, {}, k=2)] == [True, False]


def test_studies_found_by_a_report_are_marked_where_they_hold_it():
    vectors = [np.array([1.0, 0.1 * n]) for n in range(4)]
    studies = [
        Study(f"c{n}", f"p{n}", "", "", f"report {n % 3}", 1, video=v, text=vectors[0]) for n, v in enumerate(vectors)
    ]
    found = found_studies(studies, 0, {}, k=4)
    assert [item["case_id"] for item in found] == ["c0", "c1", "c2", "c3"]
    assert [item["right"] for item in found] == [True, False, False, True]  # the last has the same report
    found = found_studies(studies, 2, {"rank_text_to_video": 3.0, "similarity": 0.5}, k=1)
    assert [(item["rank"], item["case_id"], item["right"]) for item in found] == [(1.0, "c0", False), (3.0, "c2", True)]


@pytest.mark.parametrize(
    ("features", "words"),
    [
        ([np.sin(np.pi / 6), np.cos(np.pi / 6), 1, np.sin(np.pi / 9), np.cos(np.pi / 9), 1], "LAO 30 CRA 20"),
        ([-0.5, np.sqrt(0.75), 1, -np.sin(np.pi / 9), np.cos(np.pi / 9), 1], "RAO 30 CAU 20"),
        ([0, 0, 0, 0, 1, 1], "CRA 0"),
        ([0, 0, 0, 0, 0, 0], ""),
    ],
)
def test_angles_in_a_cardiologist_s_words(features, words):
    assert angle_words(features) == words
