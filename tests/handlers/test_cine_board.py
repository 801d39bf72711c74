"""TensorBoard of a video-text network: what is written at a validation, when, and that failures cost nothing."""

from __future__ import annotations

import json
import logging
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from monai.data import DataLoader
from monai.engines import SupervisedEvaluator
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from medvlm.data.tokenizers import load_tokenizer, train_wordpiece
from medvlm.engines.cine_batch import PrepareCineBatch
from medvlm.handlers import cine_board, cine_projector
from medvlm.handlers.board import EventFile
from medvlm.handlers.cine_board import ReportBoard, RetrievalBoard, report_table, retrieval_charts, shown_places
from medvlm.handlers.cine_projector import COLUMNS, ProjectorBoard

REPORTS = [
    "Right dominant. The mid LAD has an 80% stenosis.",
    "Right dominant. The mid RCA is occluded. The LAD is normal.",
    "Left dominant. The left main is normal.",
    "Codominant. The proximal LAD is calcified.",
]
LENGTH = 40
NOWHERE = 9


class Writer(nn.Module):
    """Embeds a study by the brightness of its video, a report by its first study; writes the report of study 0."""

    def __init__(self, tokenizer, confused=(), objectives=("contrastive", "captioning")) -> None:
        super().__init__()
        self.tokenizer, self.confused, self.objectives = tokenizer, dict(confused), objectives
        self.captioner = SimpleNamespace(max_length=LENGTH)
        self.texts = {tuple(tokenizer(text)["input_ids"]): number for number, text in enumerate(REPORTS)}
        self.modes: list[bool] = []

    def forward(self, video, view_mask, angles, input_ids=None, attention_mask=None, objectives=()):
        if "contrastive" not in objectives:
            return {}
        seen = [self.confused.get(n, n) for n in video.amax((1, 2, 3, 4, 5)).floor().long().tolist()]
        rows = [tuple(row[keep.bool()].tolist()) for row, keep in zip(input_ids, attention_mask, strict=True)]
        read = [self.texts.get(row, NOWHERE) for row in rows]
        return {"video_embedding": torch.eye(10)[seen], "text_embedding": torch.eye(10)[read]}

    def caption(self, video, view_mask, angles, side, side_known, max_length):
        self.modes.append(self.training)
        ids = self.tokenizer([REPORTS[0]] * len(video), padding="max_length", max_length=LENGTH, return_tensors="pt")
        heat = torch.rand(len(video), LENGTH, video.shape[1], 2, 3, 3, generator=torch.Generator().manual_seed(0))
        return SimpleNamespace(ids=ids["input_ids"], scores=torch.full((len(video),), -0.5), attention=heat.half())


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return load_tokenizer(train_wordpiece(REPORTS * 3, tmp_path_factory.mktemp("tokenizer") / "t", 300))


def study(tokenizer, number: int, report: str | None, readable: bool = True) -> dict:
    tokens = tokenizer(report or "", padding="max_length", max_length=LENGTH, return_tensors="pt")
    ramp = torch.linspace(0, 0.5, 12).expand(12, 12)
    return {
        "video": number + ramp.expand(2, 1, 4, 12, 12) * readable,
        "view_mask": torch.tensor([readable, False]),
        "angles": torch.tensor([[0.5, 0.866, 1.0, 0.0, 1.0, 1.0]] * 2),
        "input_ids": tokens["input_ids"][0],
        "attention_mask": tokens["attention_mask"][0],
        "report_known": float(report is not None),
        "report_key": number,
        "study_key": number,
        "case_id": f"case\t{number}",
        "patient_id": f"p{number}",
        "report": report or "",
        "view_files": json.dumps(["s/a.dcm", ""]),
    }


@pytest.fixture
def studies(tokenizer) -> list[dict]:
    return [study(tokenizer, number, report) for number, report in enumerate(REPORTS)]


@pytest.fixture
def run(studies, tokenizer, tmp_path):
    """``run(handler, epochs)``: validations in batches of two at some of the trainer's epochs."""

    def validate(*handlers, epochs=(1,), data=None, objectives=("contrastive", "captioning"), **network):
        evaluator = SupervisedEvaluator(
            device=torch.device("cpu"),
            val_data_loader=DataLoader(studies if data is None else data, batch_size=2, num_workers=0),
            network=Writer(tokenizer, objectives=objectives, **network),
            prepare_batch=PrepareCineBatch(objectives),
            val_handlers=list(handlers),
            decollate=False,
        )
        for epoch in epochs:
            evaluator.run(epoch)
        return evaluator

    return validate


@pytest.fixture
def events(tmp_path):
    file = EventFile(str(tmp_path / "logs"))
    yield file
    file.close()


def read(events: EventFile) -> EventAccumulator:
    events.close()
    accumulator = EventAccumulator(events.log_dir, size_guidance={"images": 0, "tensors": 0, "scalars": 0})
    accumulator.Reload()
    return accumulator


def values(events: EventFile) -> dict[str, list[tuple[int, float]]]:
    accumulator = read(events)
    return {t: [(e.step, e.value) for e in accumulator.Scalars(t)] for t in accumulator.Tags()["scalars"]}


def texts(accumulator: EventAccumulator, number: int) -> list[tuple[int, str]]:
    found = accumulator.Tensors(f"reports/{number:02d}/text_summary")
    return [(e.step, e.tensor_proto.string_val[0].decode()) for e in found]


# Retrieval


def test_retrieval_stands_beside_chance_at_the_trainers_epoch(run, events):
    run(RetrievalBoard(events), epochs=(5, 10), confused={0: 1, 1: 0})
    found = values(events)
    for way in ("video_to_text", "text_to_video"):
        # Two of four find their own; the own of the other two ties with two more, behind the wrong one.
        assert found[f"retrieval/{way}/hit@1"] == [(5, 0.5), (10, 0.5)]
        assert found[f"retrieval/{way}/hit@1_by_chance"] == [(5, 0.25), (10, 0.25)]
        assert found[f"retrieval/{way}/hit@5"][0][1] == 1
        assert found[f"retrieval/{way}/mrr"][0][1] == pytest.approx((2 + 2 * (1 / 2 + 1 / 3 + 1 / 4) / 3) / 4)
        assert found[f"retrieval/{way}/median_rank"][0][1] == pytest.approx(2.0)
        assert found[f"retrieval/{way}/median_rank_by_chance"][0][1] == pytest.approx(2.5)


def test_each_score_has_a_chart_with_its_chance(run, events):
    run(RetrievalBoard(events))
    tags = list(values(events))
    for kind, patterns in retrieval_charts()["retrieval"].values():
        assert kind == "Multiline"
        assert [sum(bool(re.search(pattern, tag)) for tag in tags) for pattern in patterns] == [1] * 4
    assert "custom_scalars__config__" in read(events).Tags()["tensors"]


def test_unreadable_studies_and_unknown_reports_are_no_queries(run, events, studies, tokenizer):
    others = [study(tokenizer, 5, REPORTS[0], readable=False), study(tokenizer, 6, None)]
    run(RetrievalBoard(events), data=studies + others)
    found = values(events)
    assert found["retrieval/video_to_text/hit@1"] == [(1, 1.0)]
    assert found["retrieval/video_to_text/hit@1_by_chance"] == [(1, 0.25)]  # four texts
    assert found["retrieval/text_to_video/hit@1_by_chance"][0][1] == pytest.approx(0.2)  # five videos


def test_a_study_that_a_sampler_repeats_counts_once(run, events, studies):
    run(RetrievalBoard(events), data=[*studies, studies[0], studies[0]])
    assert values(events)["retrieval/text_to_video/hit@1_by_chance"][0][1] == pytest.approx(0.25)


@pytest.mark.parametrize("objectives", [("captioning",), ("masked_video",)])
def test_a_network_without_embeddings_has_neither_scores_nor_projector(run, events, tmp_path, objectives):
    run(RetrievalBoard(events), ProjectorBoard(events), objectives=objectives)
    assert not (tmp_path / "logs").exists()


def test_scores_that_cannot_be_computed_do_not_stop_the_run(run, events, monkeypatch, caplog):
    def fail(*args, **kwargs):
        raise ValueError("rows that are not finite")

    monkeypatch.setattr(cine_board, "retrieval_report", fail)
    evaluator = run(RetrievalBoard(events), epochs=(1, 2))
    assert evaluator.state.epoch == 2
    assert caplog.text.count("the retrieval scores could not be made") == 2 and "not finite" in caplog.text


# Reports and pictures


def test_reports_stand_beside_their_references_with_facts_counted(run, events, tokenizer):
    run(ReportBoard(events, tokenizer, count=2), epochs=(3,))
    first, second = (texts(read(events), number)[0] for number in (0, 1))
    assert first[0] == 3
    assert "case 0: 2 facts right, 0 wrong or made up, 0 missed; score -0.50" in first[1]
    row = first[1].splitlines()[-1]
    assert row.lower().count("the mid lad has an 80% stenosis.") == 2
    assert REPORTS[2] in second[1] and " 0 wrong" not in second[1]


def test_the_pictures_show_the_same_studies_at_every_writing(run, events, tokenizer):
    run(ReportBoard(events, tokenizer, count=3, every=2), epochs=(1, 2, 3))
    found = read(events)
    assert found.Tags()["images"] == ["looked/00", "looked/01", "looked/02"]
    for number in range(3):
        first, last = found.Images(f"looked/{number:02d}")
        assert (first.step, last.step) == (1, 3) and first.encoded_image_string == last.encoded_image_string
        assert first.height > 50 and first.width > 200
        assert [step for step, _ in texts(found, number)] == [1, 3]


def test_the_network_and_the_random_numbers_are_left_as_they_were(run, events, tokenizer):
    torch.manual_seed(4)
    before = torch.get_rng_state()
    evaluator = run(ReportBoard(events, tokenizer), RetrievalBoard(events), ProjectorBoard(events))
    assert evaluator.network.modes == [False]
    plain = run()  # the loader draws a seed an epoch
    after = torch.get_rng_state()
    torch.set_rng_state(before)
    run()
    run()
    assert torch.equal(after, torch.get_rng_state()) and plain.state.epoch == 1


def test_only_studies_with_a_view_and_a_report_are_shown(studies, tokenizer):
    blank = [study(tokenizer, 5, REPORTS[0], readable=False), study(tokenizer, 6, None)]
    assert shown_places([*blank, *studies[:2], *blank, *studies[2:]], 2) == [2, 6]
    assert shown_places(studies, 9) == [0, 1, 2, 3]
    assert shown_places(blank, 2) == []


@pytest.mark.parametrize("settings", [{"objectives": ("contrastive",)}, {"count": 0}])
def test_without_captions_nothing_is_written(run, events, tokenizer, tmp_path, settings):
    handler = ReportBoard(events, tokenizer, count=settings.pop("count", 4))
    run(handler, **settings)
    assert not (tmp_path / "logs").exists()


def test_a_picture_that_fails_leaves_the_text(run, events, tokenizer, monkeypatch, caplog):
    def fail(*args, **kwargs):
        raise RuntimeError("no room for the figure")

    monkeypatch.setattr(cine_board, "looked_at", fail)
    evaluator = run(ReportBoard(events, tokenizer, count=2))
    assert evaluator.state.epoch == 1
    assert caplog.text.count("where the captioner looked in case") == 2 and "no room" in caplog.text
    found = read(events)
    assert not found.Tags()["images"] and texts(found, 1)


def test_a_captioner_that_fails_is_logged_with_its_reason(run, events, tokenizer, caplog):
    with caplog.at_level(logging.WARNING):
        run(ReportBoard(events, tokenizer, generate={"beems": 3}))
    assert "the examples of written reports could not be made" in caplog.text and "beems" in caplog.text


def test_markdown_in_a_report_stays_text():
    table = report_table("a|b", "x | y\n# head <b>", "", 0.0)
    assert table.splitlines()[-1] == "| x \\| y \\# head \\<b\\> |  |"
    assert "a\\|b" in table
    assert len(report_table("c", "word " * 10_000, "", 0.0)) < 2500


@pytest.mark.parametrize("settings", [{"count": -1}, {"every": 0}])
def test_numbers_out_of_range_are_refused(events, tokenizer, settings):
    with pytest.raises(ValueError, match="count must be at least 0"):
        ReportBoard(events, tokenizer, **settings)


# Projector


def projected(tmp_path):
    (folder,) = (tmp_path / "logs" / "projector").glob("0*/studies")
    rows = [line.split("\t") for line in (folder / "metadata.tsv").read_text(encoding="utf-8").splitlines()]
    points = np.loadtxt(folder / "tensors.tsv", delimiter="\t")
    return folder.parent.name, rows, points, Image.open(folder / "sprite.png")


def test_the_projector_has_videos_and_reports_with_thumbnails(run, events, tmp_path, studies, tokenizer):
    others = [study(tokenizer, 5, REPORTS[0], readable=False), study(tokenizer, 6, None)]
    run(ProjectorBoard(events, thumbnail=16), data=studies + others, epochs=(4,))
    epoch, rows, points, sprite = projected(tmp_path)
    assert epoch == "00004" and rows[0] == list(COLUMNS)
    assert all(len(row) == len(COLUMNS) for row in rows)
    assert [row[0] for row in rows[1:]] == ["video", "report"] * 4 + ["video"]
    assert rows[1][1:4] == ["case 0", "severe", "right"] and rows[1][4] == REPORTS[0]
    assert rows[3][2] == "occluded" and rows[9][2:] == ["unknown", "unknown", "unknown"]
    np.testing.assert_array_equal(points[:8], np.eye(10)[[0, 0, 1, 1, 2, 2, 3, 3]])
    assert sprite.size == (48, 48)  # three by three
    video, report = (np.asarray(sprite)[:16, 16 * n : 16 * (n + 1)] for n in (0, 1))
    assert (video[..., 0] == video[..., 2]).all() and video.max() > 200 and video.min() < 50
    assert report[..., 0].mean() > 1.5 * report[..., 2].mean()  # amber


def test_a_later_projector_replaces_the_earlier_one(run, events, tmp_path):
    run(ProjectorBoard(events, every=2), epochs=(1, 2, 3, 4))
    assert projected(tmp_path)[0] == "00003"
    folder = tmp_path / "logs" / "projector"
    config = (folder / "projector_config.pbtxt").read_text(encoding="utf-8")
    assert config.count("embeddings {") == 1 and "00003/studies/sprite.png" in config
    assert len(list(folder.iterdir())) == 3  # one embedding, its config, one event file


def test_the_projector_is_bounded(run, events, tmp_path):
    run(ProjectorBoard(events, limit=3))
    assert len(projected(tmp_path)[2]) == 6
    with pytest.raises(ValueError, match="at most 8192; lower limit"):
        ProjectorBoard(events, limit=20_000)
    with pytest.raises(ValueError, match="thumbnail 8 to 128"):
        ProjectorBoard(events, thumbnail=4)


def test_a_projector_that_fails_does_not_stop_the_run(run, events, monkeypatch, caplog):
    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(cine_projector, "write_projector", fail)
    assert run(ProjectorBoard(events)).state.epoch == 1
    assert "the embedding projector could not be made" in caplog.text and "disk full" in caplog.text


def test_other_processes_write_nothing(run, events, tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(cine_board, "is_main_process", lambda: False)
    monkeypatch.setattr(cine_projector, "is_main_process", lambda: False)
    run(RetrievalBoard(events), ReportBoard(events, tokenizer), ProjectorBoard(events))
    assert not (tmp_path / "logs").exists()
