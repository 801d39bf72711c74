from __future__ import annotations

import base64
import copy
import csv
import hashlib
import io
import json
import logging
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from medvlm.metrics.summary import summarise
from medvlm.visualize import figures
from medvlm.visualize.page import anchor, data_address, html, paragraph, section
from medvlm.visualize.report import write_report
from medvlm.visualize.sections import SECTIONS, agreement, all_cases, provenance, worst

VOID = {"meta", "img", "br", "hr", "link", "input"}


class _Page(HTMLParser):
    """Checks that tags nest, and keeps ids, links, addresses and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.ids, self.links, self.sources, self.words = [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.ids += [found["id"]] if "id" in found else []
        self.links += [found["href"]] if "href" in found else []
        self.sources += [found["src"]] if "src" in found else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, (tag, self.open)
        self.open.pop()

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture
def png() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray((np.indices((40, 90)).sum(0) % 256).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def _written(tmp_path, *arguments, **named) -> _Page:
    path = write_report(*arguments, out=tmp_path / "report.html", **named)
    text = path.read_text(encoding="utf-8")
    assert "could not be made" not in text
    return _Page(text)


def test_the_whole_report_is_one_file_that_loads_nothing(tmp_path, evaluation, rows, png):
    panels = {case: png for case in [*evaluation["worst"], *evaluation["agreement"]["disagreeing"]]}
    page = _written(tmp_path, evaluation, rows, panels=panels)
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    assert page.sources and all(source.startswith("data:image/") for source in page.sources)
    assert page.links and all(link.startswith("#") and link[1:] in page.ids for link in page.links)
    assert len(page.ids) == len(set(page.ids))
    assert (tmp_path / "report.html").stat().st_size < 5e6
    outside = re.sub(r'xmlns(:\w+)?="[^"]*"', "", (tmp_path / "report.html").read_text(encoding="utf-8"))
    assert not re.search(r"https?://|@import|url\((?!#)", outside)


def test_the_policy_lets_only_the_report_s_own_script_run(tmp_path, evaluation, rows):
    write_report(evaluation, rows, tmp_path / "r.html", sections=[all_cases])
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert len(scripts) == 1 and f"script-src 'sha256-{digest}'" in text and "default-src 'none'" in text


def test_the_headline_says_what_was_evaluated(tmp_path, evaluation, rows):
    text = _written(tmp_path, evaluation, rows).text
    for words in (
        "brats_mri_multitask",
        "0.1.0",
        evaluation["checkpoint"]["sha256"],
        "section test",
        "100 of 50 patients",
        "0.60 (60 of 100)",
        "2025-11-20 16:00 UTC",
        "0.43 (n = 60); chosen on validation for a sensitivity of at least 0.95",
        "frozen in the bundle",
    ):
        assert words in text, words


def test_scores_have_intervals_and_the_majority_beside_them(tmp_path, evaluation, rows):
    text = _written(tmp_path, evaluation, rows).text
    assert "0.86 (0.82\N{EN DASH}0.90)" in text  # Dice
    assert "6.31 (4.20\N{EN DASH}9.93)" in text  # HD95
    assert re.search(r"Balanced accuracy 0\.91 \(0\.84\N{EN DASH}0\.96\) 0\.50", text)
    assert "one class only" in text


def test_a_score_without_interval_says_why_in_place_of_a_method(tmp_path, evaluation, rows):
    note = "every resample gives the same value"
    evaluation["classification"]["overall"]["metrics"]["mcc"] = {
        "value": 1.0, "ci": None, "method": "bootstrap by patient", "note": note
    }  # fmt: skip
    assert f"MCC 1.00 none: {note}" in _written(tmp_path, evaluation, rows).text


def test_a_network_no_better_than_the_majority_is_told_so(tmp_path, evaluation, rows):
    overall = evaluation["classification"]["overall"]
    overall["baseline_majority"]["accuracy"] = 0.87
    assert (
        "accuracy alone does not show that it is better"
        in _written(tmp_path, evaluation, rows, sections=SECTIONS[:1]).text
    )
    overall["baseline_majority"]["accuracy"] = 0.5
    assert "does not show" not in _written(tmp_path, evaluation, rows, sections=SECTIONS[:1]).text


def test_a_threshold_chosen_on_the_scored_cases_is_called_optimistic(tmp_path, evaluation, rows):
    assert "optimistic" not in _written(tmp_path, evaluation, rows, sections=SECTIONS[:1]).text
    evaluation["operating_point"]["chosen_on"] = "test"
    assert "optimistic" in _written(tmp_path, evaluation, rows, sections=SECTIONS[:1]).text


def test_every_case_has_a_line(tmp_path, evaluation, rows):
    page = _written(tmp_path, evaluation, rows, sections=[all_cases])
    assert all(row["case_id"] in page.text for row in rows)


def test_rows_from_the_csv_give_the_same_report(tmp_path, evaluation, rows):
    table = io.StringIO()
    writer = csv.DictWriter(table, rows[0].keys())
    writer.writeheader()
    writer.writerows(rows)
    read = list(csv.DictReader(io.StringIO(table.getvalue())))
    first = write_report(evaluation, rows, tmp_path / "a.html").read_bytes()
    second = write_report(json.loads(json.dumps(evaluation)), read, tmp_path / "b.html").read_bytes()
    assert first == second


def test_whatever_a_user_names_is_escaped(tmp_path, evaluation, rows, png):
    nasty = '"><script>alert(1)</script><img src=x onerror=alert(1)>&\x00\ud800 $x_'
    rows[13]["case_id"] = rows[13]["source"] = rows[13]["patient_id"] = nasty
    evaluation["worst"][0] = evaluation["agreement"]["disagreeing"][1] = nasty
    evaluation["bundle"] = {"name": nasty, "version": nasty}
    evaluation["checkpoint"] = {"file": nasty, "sha256": nasty}
    evaluation |= {"section": nasty, "created": nasty, "seed": nasty}
    evaluation["confounding"]["label_by_source"][nasty] = {"0": 0, "1": 3}
    evaluation["confounding"]["note"] = nasty
    evaluation["segmentation"]["per_source"][nasty] = evaluation["segmentation"]["per_source"]["msd"]
    evaluation["classification"]["per_source"][nasty] = {"n": 3, "note": nasty}
    evaluation["ablation"][0]["name"] = nasty
    evaluation["operating_point"]["chosen_on"] = nasty
    page = _written(
        tmp_path, evaluation, rows, panels={nasty: png}, command=nasty, versions={nasty: nasty}, title=nasty
    )
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert text.count("<script") == 1
    assert "<img src=x" not in text and "onerror=alert(1)>" not in text.replace("&gt;", "")
    assert "<script>alert(1)</script>" in page.text  # as text, after parsing


@pytest.mark.parametrize("empty", [{}, {"bundle": None, "segmentation": {"overall": {}}, "classification": None}])
def test_an_empty_evaluation_is_a_report_that_says_so(tmp_path, empty):
    text = _written(tmp_path, empty, []).text
    for words in (
        "holds no scores",
        "No mask was scored",
        "No classification was scored",
        "No confounding audit",
        "No ablation was run",
        "it takes both heads",
        "No list of worst cases",
        "No rows of cases",
        "The command is not stated",
    ):
        assert words in text, words


def _paths(tree, path=()):
    for key, value in tree.items() if isinstance(tree, dict) else ():
        yield (*path, key)
        yield from _paths(value, (*path, key))


def _without(tree: dict, path: tuple, remove: bool) -> dict:
    broken = copy.deepcopy(tree)
    place = broken
    for step in path[:-1]:
        place = place[step]
    if remove:
        del place[path[-1]]
    else:
        place[path[-1]] = None
    return broken


def test_no_missing_part_breaks_a_section(monkeypatch, evaluation):
    """Every key of the schema is removed, and set to None; figures have their own test, and are left out for time."""
    for name in figures.__all__:
        monkeypatch.setattr(figures, name, lambda *_: None)
    seen = set()
    for path in _paths(evaluation):
        generic = tuple("*" if step in ("brats2021", "kaggle_yes_no", "msd") else step for step in path)
        if generic in seen or "curves" in path[:-1]:
            continue
        seen.add(generic)
        for remove in (True, False):
            broken = _without(evaluation, path, remove)
            for make in SECTIONS:
                made = make(broken, (), {})
                assert made is None or made.startswith("<section"), (path, make.__name__)
    assert len(seen) > 60


@pytest.mark.parametrize("part", ["segmentation", "classification", "confounding", "agreement", "operating_point"])
def test_a_missing_part_leaves_the_rest_of_the_report(tmp_path, evaluation, rows, part):
    evaluation[part] = None
    assert "Provenance" in _written(tmp_path, evaluation, rows[:6]).text


@pytest.mark.parametrize(
    ("dropped", "words", "lacking"),
    [
        (("dice", "iou", "hd95", "lw_", "pred_volume"), "No mask was scored: the mask head is off.", "Dice, WT"),
        (("probability",), "No classification was scored: the class head is off.", "tumour probability"),
    ],
    ids=["classification only", "segmentation only"],
)
def test_the_report_of_one_head_says_that_the_other_is_off_and_shows_nothing_of_it(
    tmp_path, rows, dropped, words, lacking
):
    own = [{key: value for key, value in row.items() if not key.startswith(dropped)} for row in rows]
    evaluation = summarise(own, regions=["WT"], n_boot=20, n_permutations=5)
    text = _written(tmp_path, evaluation, own).text
    assert words in text and "Not evaluated: it takes both heads (one head only)." in text
    assert "0 cases with a known mask" not in text and "not available not available" not in text
    assert lacking not in text


def test_absent_numbers_are_never_written_as_none_or_nan(tmp_path, evaluation, rows):
    for row in rows:
        row |= {"probability": float("nan"), "tumour": None, "dice_WT": None, "source": None}
    evaluation["segmentation"]["overall"]["WT"]["dice"] = {"value": None, "ci": None, "n": 0}
    evaluation["classification"]["overall"]["metrics"]["roc_auc"] = {"value": float("nan"), "ci": [None, None]}
    text = _written(tmp_path, evaluation, rows).text
    assert not re.search(r"\b(None|nan|NaN)\b", text)
    assert "not available" in text


def test_a_section_that_fails_hides_no_other(tmp_path, evaluation, rows, caplog):
    def broken(evaluation, rows, panels):
        raise KeyError("x<y")

    with caplog.at_level(logging.ERROR):
        write_report(evaluation, rows, tmp_path / "r.html", sections=[broken, provenance])
    page = _Page((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "could not be made: KeyError: 'x<y'" in page.text and "Provenance" in page.text
    assert "broken" in caplog.text


def test_a_bundle_adds_its_own_section(tmp_path, evaluation, rows):
    def retrieval(evaluation, rows, panels):
        return section("retrieval", "Retrieval & search", paragraph(f"{len(rows)} cases"))

    def absent(evaluation, rows, panels):
        return None

    page = _written(tmp_path, evaluation, rows, sections=[*SECTIONS[:2], retrieval, absent])
    assert "#retrieval" in page.links and "100 cases" in page.text and "Provenance" not in page.text


def test_a_case_s_picture_is_embedded_once_and_linked_afterwards(tmp_path, evaluation, rows, png):
    page = _written(
        tmp_path, evaluation, rows, panels={"case_013": png}, sections=[agreement, worst]
    )  # it disagrees, and is among the worst
    assert len(page.sources) == 1
    assert f"#{anchor('case case_013')}" in page.links


def test_a_broken_picture_is_said(tmp_path, evaluation, rows):
    page = _written(tmp_path, evaluation, rows, panels={"case_013": b"not a picture"}, sections=[agreement, worst])
    assert page.sources == [] and "picture cannot be read" in page.text


def test_pictures_keep_their_size(png):
    kind, data = data_address(png).split(",")
    picture = Image.open(io.BytesIO(base64.b64decode(data)))
    assert picture.size == (90, 40) and kind.startswith("data:image/")


def test_without_webp_the_picture_is_embedded_as_it_is(monkeypatch, png):
    monkeypatch.setattr("medvlm.visualize.page.features.check", lambda name: False)
    assert data_address(png) == "data:image/png;base64," + base64.b64encode(png).decode()


def test_a_folder_gets_report_html_and_writing_twice_changes_nothing(tmp_path, evaluation, rows):
    first = write_report(evaluation, rows, tmp_path / "new folder", sections=SECTIONS[:2])
    assert first == tmp_path / "new folder" / "report.html"
    before = first.read_bytes()
    assert write_report(evaluation, rows, tmp_path / "new folder", sections=SECTIONS[:2]).read_bytes() == before


def test_an_evaluation_that_is_no_mapping_is_refused(tmp_path):
    with pytest.raises(TypeError, match="load evaluation.json first"):
        write_report("evaluation.json", [], tmp_path / "r.html")


def test_escaping_and_ids():
    assert html("<&\"'>") == "&lt;&amp;&quot;&#x27;&gt;"
    assert html(html("<")) == "&lt;"
    assert anchor("a b") != anchor("a_b") and re.fullmatch(r"[a-z0-9-]+", anchor("Ünï <cödé>"))
