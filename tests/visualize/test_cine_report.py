from __future__ import annotations

import copy
import io
import re

import numpy as np
import pytest
from PIL import Image

from medvlm.metrics.cine_rows import study_rows
from medvlm.metrics.cine_summary import Study, summarise_studies
from medvlm.metrics.zero_shot import embed_prompts
from medvlm.metrics.zero_shot_tasks import zero_shot_tasks
from medvlm.visualize.cine_report import write_cine_report
from medvlm.visualize.sections.cine_retrieval import metric_name

PLACES = ("mid LAD", "proximal RCA", "distal circumflex")
TASKS = zero_shot_tasks({"severe_stenosis": {"target": "stenosis", "positive": ["<bad>"], "negative": ["good"]}})


@pytest.fixture(scope="module")
def found() -> tuple[dict, list[dict]]:
    """An evaluation of 24 studies, one of them unreadable, and another run to compare with."""
    generator = np.random.default_rng(1)
    studies = []
    for n in range(24):
        report = f"Right dominant. The {PLACES[n % 3]} has a {50 + n}% stenosis."
        text = generator.normal(size=6)
        study = Study(f"c<{n}>", f"p{n}", f"s{n}", "x", report, 2, {}, {"stenosis": n % 2}, text + 0.5, text)
        study.generated = report if n % 4 else f"There is a {60 + n}% stenosis of the mid RCA."
        study.caption_score, study.nearest = -0.4, "The mid LAD has a 90% stenosis."
        studies.append(study)
    studies[7].views_read, studies[7].problems = 0, {"s7/a.dcm": "no <pixel> data"}
    prompts = embed_prompts(
        {name: task.prompts for name, task in TASKS.items()}, lambda texts: generator.normal(size=(len(texts), 6))
    )
    rows = study_rows(studies, TASKS, prompts)
    other = [row | {"hit@1_video_to_text": 0.0} if row["readable"] else row for row in rows]
    others = {"contrastive": other, "lost": "gone.csv"}
    evaluation = summarise_studies(studies, rows, TASKS, prompts, others, "multitask", n_boot=50)
    top = [{"rank": 1.0, "cosine": 0.9, "text": "A <text>", "case_id": "c<1>", "right": False}]
    top.append({"rank": 4.0, "cosine": 0.2, "text": studies[0].report, "case_id": "c<0>", "right": True})
    example = {"case_id": "c<0>", "report": studies[0].report, "generated": studies[0].generated, "rank": 4.0}
    evaluation["examples"] = [example | {"retrieved": top, "sentences": []}]
    evaluation |= {"bundle": {"name": "coronary", "version": "1"}, "section": "test", "name": "multitask"}
    return evaluation, rows


@pytest.fixture(scope="module")
def png() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray((np.indices((40, 90)).sum(0) % 256).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def page(tmp_path, evaluation, rows, panels=None) -> str:
    text = write_cine_report(evaluation, rows, tmp_path / "report.html", panels).read_text(encoding="utf-8")
    assert "could not be made" not in text
    return text


def test_the_report_holds_every_part_and_loads_nothing(tmp_path, found, png):
    text = page(tmp_path, *found, {"views c<0>": png, "looked c<0>": png})
    sections = re.findall(r'<section id="([^"]+)">', text)
    assert sections == [
        "summary", "retrieval", "zero-shot", "captions", "facts", "runs", "retrieved", "looked", "unreadable", "cases",
        "reading", "provenance",
    ]  # fmt: skip
    assert text.count("<img ") == 2 and len(re.findall(r'id="([^"]+)"', text)) == len(
        set(re.findall(r'id="([^"]+)"', text))
    )
    outside = re.sub(r'xmlns(:\w+)?="[^"]*"', "", text)
    assert not re.search(r"https?://|@import|url\((?!#)", outside)


def test_what_comes_from_files_is_escaped(tmp_path, found):
    text = page(tmp_path, *found)
    assert "&lt;bad&gt;" in text and "<bad>" not in text
    assert "no &lt;pixel&gt; data" in text and "A &lt;text&gt;" in text


def test_the_own_report_is_marked_once(tmp_path, found):
    assert page(tmp_path, *found).count("its own</strong>") == 1


def test_numbers_stand_beside_chance_and_baselines(tmp_path, found):
    evaluation, rows = found
    text = page(tmp_path, evaluation, rows)
    chance = evaluation["retrieval"]["video_to_text"]["metrics"]["hit@1"]["chance"]
    assert f"chance {chance:.2f}" in text
    for words in (
        "Constant normal report",
        "Nearest-neighbour report",
        "Hallucinated",
        "1 of 24 studies without any view",
    ):
        assert words in text, words


def test_runs_are_compared_and_one_that_is_lost_is_named(tmp_path, found):
    text = page(tmp_path, *found)
    assert "lost could not be compared" in text and "multitask \N{MINUS SIGN} contrastive" in text


def test_fewer_hallucinations_are_better(tmp_path, found):
    evaluation = copy.deepcopy(found[0])
    entry = {"name": "a", "against": "b", "metric": "hallucination", "ci": [-0.3, -0.1], "p": 0.01, "n": 9}
    evaluation["ablation"]["differences"] = [entry | {"difference": -0.2, "n_patients": 9}]
    text = page(tmp_path, evaluation, found[1])
    drawn = text[text.index('<section id="runs">') : text.index('<section id="retrieved">')]
    assert "less is better" in drawn and "stroke: var(--blue)" in drawn and "var(--vermillion)" not in drawn


@pytest.mark.parametrize("absent", ["retrieval", "zero_shot", "captioning", "ablation", "examples", "n"])
def test_a_part_that_is_absent_is_said_and_hides_none_of_the_others(tmp_path, found, absent):
    evaluation, rows = copy.deepcopy(found[0]), found[1]
    evaluation.pop(absent)
    assert page(tmp_path, evaluation, rows).count("<section ") == 12


def test_a_report_without_anything_can_be_made(tmp_path):
    text = page(tmp_path, {}, [])
    assert "holds no scores" in text and "No rows of studies" in text


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("video_to_text_hit@1", "Hit@1, video to report"),
        ("text_to_video_mrr", "MRR, report to video"),
        ("fact_f1_findings", "Fact F1, findings"),
        ("roc_auc_left_dominance", "Zero-shot AUC, left dominance"),
        ("ndcg@5", "NDCG@5"),
    ],
)
def test_metrics_have_names_for_readers(key, name):
    assert metric_name(key) == name


@pytest.mark.parametrize(("style", "said"), [("structured", True), ("as_written", False)])
def test_wording_in_set_phrases_is_warned_of(tmp_path, found, style, said):
    evaluation, rows = found
    text = page(tmp_path, evaluation | {"tokenizer": {"report_style": style}}, rows)
    assert ("reads and writes reports in set phrases" in text) is said


def test_weights_trained_with_other_settings_are_warned_of(tmp_path, found):
    evaluation, rows = found
    words = "model.pt was trained with other settings: frames 2 (here 16)"
    assert words in page(tmp_path, evaluation | {"caution": words}, rows)
    assert "other settings" not in page(tmp_path, evaluation | {"caution": ""}, rows)
