from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ElementTree

import matplotlib
import numpy as np
import pytest
from PIL import Image

from medvlm.metrics.classification import classification_report
from medvlm.visualize import figures
from medvlm.visualize.agreement_figure import agreement_points
from medvlm.visualize.forest import shorten
from medvlm.visualize.style import BLUE, FAINT, VERMILLION, house_style, new_figure, to_inline_svg, to_png


def _texts(figure) -> str:
    return " ".join(re.findall(r"<text[^>]*>(.*?)</text>", to_inline_svg(figure, "x")))


def _all(evaluation, rows):
    overall = evaluation["classification"]["overall"]
    odd = evaluation["agreement"]["disagreeing"]
    metrics = {s: e.get("metrics") for s, e in evaluation["classification"]["per_source"].items()}
    return {
        "roc": figures.roc_curve(overall),
        "pr": figures.precision_recall_curve(overall),
        "reliability": figures.reliability_diagram(overall),
        "confusion": figures.confusion_matrix(overall),
        "dice": figures.score_by_source(rows, {"dice_WT": "Dice, WT"}),
        "volumes": figures.volume_scatter(rows, "WT"),
        "difference": figures.bland_altman(rows, "WT", evaluation["segmentation"]["overall"]["WT"]["volume_ml"]),
        "agreement": figures.agreement_scatter(rows, "WT", {"volume": 0.43}, 0.5, odd),
        "sources": figures.source_forest(metrics, {"sensitivity": "Sensitivity"}, "By source", "Value"),
        "ablation": figures.ablation_forest(evaluation["ablation"]),
    }


def test_every_figure_becomes_svg_that_parses_and_png_that_opens(evaluation, rows):
    for name, figure in _all(evaluation, rows).items():
        assert figure is not None, name
        ElementTree.fromstring(to_inline_svg(figure, name))
    picture = Image.open(io.BytesIO(to_png(figure, dpi=50)))
    assert picture.format == "PNG" and np.asarray(picture.convert("L")).std() > 1


def test_svg_ids_are_prefixed_and_colours_become_variables(evaluation):
    svg = to_inline_svg(figures.roc_curve(evaluation["classification"]["overall"]), "first")
    ids = set(re.findall(r'\bid="([^"]+)"', svg))
    used = set(re.findall(r"url\(#([^)]+)\)", svg)) | set(re.findall(r'xlink:href="#([^"]+)"', svg))
    assert ids and all(name.startswith("first-") for name in ids)
    assert used <= ids
    assert "var(--blue)" in svg and BLUE not in svg
    assert "<style" not in svg  # would restyle the whole page


def test_rendering_twice_gives_the_same_bytes(evaluation):
    overall = evaluation["classification"]["overall"]
    first, second = (to_inline_svg(figures.roc_curve(overall), "roc") for _ in range(2))
    assert first == second


def test_drawing_leaves_matplotlib_settings_alone(evaluation):
    before = dict(matplotlib.rcParams)
    figures.roc_curve(evaluation["classification"]["overall"])
    assert dict(matplotlib.rcParams) == before


def test_the_curve_states_its_area_with_interval(evaluation):
    overall = evaluation["classification"]["overall"]
    assert "AUC 0.91 (0.84\N{EN DASH}0.96)" in _texts(figures.roc_curve(overall))
    assert "PR-AUC 0.91 (0.84\N{EN DASH}0.96)" in _texts(figures.precision_recall_curve(overall))


def test_the_area_under_the_drawn_steps_is_the_average_precision():
    generator = np.random.default_rng(3)
    tumour = generator.integers(0, 2, 60)
    report = classification_report(tumour, 0.3 * tumour + 0.7 * generator.random(60), range(60), n_boot=10)
    axes = figures.precision_recall_curve(report).axes[0]
    steps = next(line for line in axes.lines if line.get_color() == BLUE)
    x, y = matplotlib.cbook.STEP_LOOKUP_MAP[steps.get_drawstyle()](*steps.get_data())  # with the corners
    assert (x[0], x[-1]) == (0, 1) and (np.diff(x) >= 0).all()
    assert np.trapezoid(y, x) == pytest.approx(report["metrics"]["pr_auc"]["value"], abs=1e-9)


def test_the_reliability_diagram_shows_counts_and_skips_empty_bins():
    bins = {"confidence": [0.1, None, 0.9], "frequency": [0.0, None, 1.0], "count": [17, 0, 23]}
    texts = _texts(figures.reliability_diagram({"curves": {"reliability": bins}}))
    assert "17" in texts and "23" in texts


def test_the_confusion_matrix_puts_counts_where_they_belong():
    figure = figures.confusion_matrix({"confusion": {"tn": 11, "fp": 10, "fn": 4, "tp": 136}})
    placed = {text.get_text(): text.get_position() for text in figure.axes[0].texts}
    assert placed["11"][0] == 0 and placed["11"][1] < 0.5  # true no tumour, called no tumour
    assert placed["10"][0] == 1 and placed["10"][1] < 0.5
    assert placed["4"][0] == 0 and placed["4"][1] > 0.5
    assert placed["136"][0] == 1 and placed["136"][1] > 0.5


def test_a_row_of_zeros_in_the_confusion_matrix_is_said_not_divided():
    assert "no such case" in _texts(figures.confusion_matrix({"confusion": {"tn": 0, "fp": 0, "fn": 4, "tp": 6}}))


def test_every_case_is_a_dot_and_unknown_ones_are_none(rows):
    figure = figures.score_by_source(rows, {"dice_WT": "Dice"})
    dots = sum(len(collection.get_offsets()) for collection in figure.axes[0].collections)
    assert dots == sum(row["dice_WT"] is not None for row in rows)


def test_disagreeing_cases_are_ringed(rows):
    names = [rows[3]["case_id"], rows[8]["case_id"]]
    figure = figures.agreement_scatter(rows, "WT", {"volume": 0.4}, 0.5, names)
    expected = [(rows[i]["pred_volume_ml_WT"], rows[i]["probability"]) for i in (3, 8)]
    np.testing.assert_allclose(_rings(figure.axes[0]), expected)
    assert "heads disagree (n = 2)" in _texts(figure)


def _rings(axes) -> np.ndarray:
    return np.concatenate([c.get_offsets() for c in axes.collections if len(c.get_facecolor()) == 0])


def _dots(axes) -> int:
    return sum(len(c.get_offsets()) for c in axes.collections if len(c.get_facecolor()))


def test_pictures_and_volumes_are_drawn_once_each_and_counted_together(rows):
    for number, row in enumerate(rows):
        row["pred_voxels_WT"] = 7 * number
        row["pred_volume_ml_WT"] = None if number % 2 else row["pred_volume_ml_WT"]
    rows[4]["tumour"] = None
    odd = [rows[index]["case_id"] for index in (2, 3, 4, 5, 7)] + ["no such row"]
    figure = figures.agreement_scatter(rows, "WT", {"volume": 0.9, "picture": 0.3}, 0.5, odd)
    volumes, pictures = figure.axes
    assert (_dots(volumes), _dots(pictures)) == (50, 50)
    assert (len(_rings(volumes)), len(_rings(pictures))) == (2, 3)
    np.testing.assert_allclose(_rings(pictures)[0], (21, rows[3]["probability"]))
    heights = [[line.get_ydata()[0] for line in axes.lines if line.get_xdata()[0] == 0] for axes in figure.axes]
    assert heights == [[0.9], [0.3]]
    for words in ("volumes (n = 50)", "pictures (n = 50)", "heads disagree (n = 5)", "class unknown (n = 1)"):
        assert words in _texts(figure), words


def test_masks_that_a_gate_emptied_are_drawn_as_the_head_gave_them(rows):
    rows[0] |= {"emptied_volume_ml_WT": 12.5, "pred_volume_ml_WT": 0.0}
    found = agreement_points(rows, "WT")
    assert list(found) == ["volume"]
    assert found["volume"][0].outlined == 12.5


@pytest.mark.parametrize(("low", "expected"), [(0.91, (0.794, 1.006)), (0.55, (0.485, 1.015)), (0.0, (-0.03, 1.03))])
def test_the_forest_of_sources_writes_values_and_spends_no_room_on_what_is_absent(low, expected):
    sources = {"a": {"f1": {"value": 0.95, "ci": [low, 1.0]}}, "b": {"f1": None, "mcc": 0.97}}
    figure = figures.source_forest(sources, {"f1": "F1", "mcc": "MCC"}, "t", "x")
    assert figure.axes[0].get_xlim() == pytest.approx(expected)
    texts = _texts(figure)
    assert f"0.95 ({low:.2f}\N{EN DASH}1.00)" in texts and "0.97" in texts and texts.count("not available") == 2


def test_limits_of_agreement_come_from_the_evaluation(rows):
    figure = figures.bland_altman(rows, "WT", {"bias": -1.43, "limits_of_agreement": [-12.1, 9.2]})
    heights = {round(float(line.get_ydata()[0]), 2) for line in figure.axes[0].lines}
    assert heights == {0.0, -1.43, -12.1, 9.2}
    without = figures.bland_altman(rows, "WT", None)
    assert len(without.axes[0].lines) == 1


def test_an_ablation_is_blue_when_better_even_where_less_is_better():
    entry = {"name": "joint", "against": "single", "p": 0.01, "n": 9}
    figure = figures.ablation_forest(
        [
            {**entry, "metric": "roc_auc", "difference": 0.1, "ci": [0.05, 0.15]},
            {**entry, "metric": "ece", "difference": 0.1, "ci": [0.05, 0.15]},
            {**entry, "metric": "f1", "difference": 0.1, "ci": [-0.05, 0.25]},
            {**entry, "metric": "hd95_mm_WT", "difference": 9.0, "ci": [5, 12]},
        ]
    )
    markers = [line.get_color() for line in figure.axes[0].lines if line.get_marker() == "s"]
    assert markers == [BLUE, VERMILLION, FAINT]


@pytest.mark.parametrize(
    "broken",
    [None, {}, {"curves": None}, {"curves": {"roc": {"fpr": [None], "tpr": []}}}, {"confusion": {"tp": 1}}],
)
def test_absent_parts_give_no_figure(broken):
    makers = (figures.roc_curve, figures.precision_recall_curve, figures.reliability_diagram, figures.confusion_matrix)
    assert [make(broken) for make in makers] == [None] * 4


def test_rows_without_values_give_no_figure():
    rows = [{"case_id": "a", "dice_WT": None, "probability": ""}]
    assert figures.score_by_source(rows, {"dice_WT": "Dice"}) is None
    assert figures.volume_scatter(rows, "WT") is None
    assert figures.bland_altman([], "WT") is None
    assert figures.agreement_scatter(rows, "WT") is None
    assert figures.ablation_forest([]) is None
    assert figures.ablation_forest([{"name": "a", "against": "b", "metric": "f1", "difference": None}]) is None
    assert figures.source_forest({}, {"f1": "F1"}, "t", "x") is None


def test_names_with_markup_are_drawn_as_they_are(rows):
    for row in rows:
        row["source"] = r"a$\frac$b <script>&"
    svg = to_inline_svg(figures.score_by_source(rows, {"dice_WT": "Dice"}), "x")
    assert "<script" not in svg and "&lt;script" in svg


def test_shortening_keeps_both_ends():
    assert shorten("abcdefghij", 5) == "ab\N{HORIZONTAL ELLIPSIS}ij"
    assert shorten("line\nbreak", 20) == "line break"


def test_new_figures_need_no_pyplot():
    with house_style():
        figure, axes = new_figure(2, 2, 3)
    assert len(axes) == 3 and figure.canvas.manager is None
