"""The coronary bundle's evaluate.json on phantoms: what it writes, and what it refuses."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from medvlm.bundle.curriculum import evaluate, train
from medvlm.data.datalists import load_datalist
from medvlm.handlers.case_files import sha256_of

GREEDY = {"mode": "greedy", "max_length": 40}


@pytest.fixture(scope="module")
def run(trained_coronary, cines, tiny_cines, tmp_path_factory):
    """``run(**overrides)``: ``python -m medvlm evaluate`` into a folder of its own."""

    def run(overlays=(), **overrides) -> Path:
        out = tmp_path_factory.mktemp("evaluated")
        small = {"bootstrap_repeats": 20, "pictured": 2, "generate": GREEDY, "output_dir": str(out)}
        sizes = {k: v for k, v in tiny_cines.items() if k in ("frames", "image_size", "max_views", "max_tokens")}
        if "train_probe" in overlays:
            small = {name: small[name] for name in ("bootstrap_repeats", "output_dir")}
        given = {**sizes, "batch_size": 4, "progress": False, **small, **overrides}
        evaluate(str(trained_coronary), str(cines), overlays=overlays, **given)
        return out

    return run


@pytest.fixture(scope="module")
def evaluated(run) -> Path:
    return run()


@pytest.fixture(scope="module")
def evaluation(evaluated) -> dict:
    return json.loads((evaluated / "evaluation.json").read_text(encoding="utf-8"))


def rows_of(folder: Path) -> list[dict]:
    with open(folder / "cases.csv", encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def said(refused: pytest.ExceptionInfo) -> str:
    cause, words = refused.value, ""
    while cause is not None:
        words, cause = f"{words} {cause}", cause.__cause__
    return words


def broken(cines: Path, folder: Path) -> Path:
    """A datalist whose first test study has no readable view, and whose second lacks one."""
    path = cines / f"{folder.name}.json"
    content = json.loads((cines / "datalist.json").read_text(encoding="utf-8"))
    content["test"][0]["video"] = ["coronary/manifest.csv", "coronary/gone.dcm"]
    content["test"][1]["video"] = [*content["test"][1]["video"][:1], "coronary/gone.dcm"]
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def unlabelled(cines: Path, name: str) -> Path:
    """A datalist whose section ``inference`` holds the test studies with neither reports nor targets."""
    path = cines / f"{name}.json"
    content = json.loads((cines / "datalist.json").read_text(encoding="utf-8"))
    known = ("report", "targets")
    content["inference"] = [{k: v for k, v in case.items() if k not in known} for case in content["test"]]
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_every_study_of_the_section_has_one_row_and_every_part_its_scores(evaluated, evaluation, cines):
    cases = load_datalist(cines / "datalist.json", "test")
    assert [row["case_id"] for row in rows_of(evaluated)] == [case["case_id"] for case in cases]
    assert evaluation["n"]["studies"] == evaluation["n"]["evaluated"] == len(cases)
    assert evaluation["retrieval"]["video_to_text"]["n_queries"] == len(cases)
    assert set(evaluation["zero_shot"]["tasks"]) == {"stenosis", "occlusion", "calcification", "left_dominance"}
    assert evaluation["zero_shot"]["tasks"]["stenosis"]["n"] == len(cases)
    baselines = {"network", "constant normal report", "nearest-neighbour report"}
    assert set(evaluation["captioning"]["facts"]["scores"]) == set(evaluation["captioning"]["texts"]) == baselines
    trained = {case["case_id"] for case in load_datalist(cines / "datalist.json", "training")}
    assert {row["nearest_case"] for row in rows_of(evaluated)} <= trained


def test_the_evaluation_names_the_weights_the_bundle_and_the_command(evaluation, trained_coronary):
    assert evaluation["checkpoint"] == {"file": "model.pt", "sha256": sha256_of(trained_coronary / "models/model.pt")}
    assert evaluation["bundle"]["version"] and evaluation["command"] and evaluation["tokenizer"]["fingerprint"]


def test_pictures_show_what_was_retrieved(evaluated):
    page = (evaluated / "report.html").read_text(encoding="utf-8")
    assert "could not be made" not in page and page.count("<img ") >= 2


def test_nothing_depends_on_the_batch_and_a_run_compared_with_itself_differs_by_nothing(evaluated, run):
    again = run(batch_size=1, ablation_against={"other": str(evaluated / "cases.csv")})
    with np.load(evaluated / "embeddings.npz") as first, np.load(again / "embeddings.npz") as second:
        assert first["case_id"].tolist() == second["case_id"].tolist()
        for side in ("video", "text"):
            np.testing.assert_allclose(first[side], second[side], atol=1e-5)
    found = json.loads((again / "evaluation.json").read_text(encoding="utf-8"))["ablation"]
    assert found["differences"] and all(abs(entry["difference"]) < 1e-6 for entry in found["differences"])


def test_studies_that_cannot_be_read_are_listed_with_reasons_and_scored_nowhere(run, cines, tmp_path):
    folder = run(datalist=str(broken(cines, tmp_path)))
    evaluation, rows = json.loads((folder / "evaluation.json").read_text(encoding="utf-8")), rows_of(folder)
    assert evaluation["n"]["unreadable"] == 1 and evaluation["n"]["evaluated"] == len(rows) - 1
    assert set(evaluation["unreadable"][0]["problems"]) == {"coronary/manifest.csv", "coronary/gone.dcm"}
    assert rows[0]["readable"] == "0" and rows[0]["rank_video_to_text"] == "" and rows[0]["facts_right_all"] == ""
    assert rows[1]["readable"] == "1" and "coronary/gone.dcm" in rows[1]["view_problems"]
    assert evaluation["retrieval"]["n_without_video"] == 1


def test_the_section_inference_without_reports_has_rows_and_notes_instead_of_scores(run, cines, tmp_path):
    folder = run(section="inference", datalist=str(unlabelled(cines, tmp_path.name)))
    found, rows = json.loads((folder / "evaluation.json").read_text(encoding="utf-8")), rows_of(folder)
    assert found["section"] == "inference" and found["n"]["without_report"] == found["n"]["evaluated"] == len(rows)
    assert "no study has both" in found["retrieval"]["note"] and "no study has both" in found["captioning"]["note"]
    assert all(task["n"] == 0 and task["note"] for task in found["zero_shot"]["tasks"].values())
    assert "could not be made" not in (folder / "report.html").read_text(encoding="utf-8")


def test_probes_are_evaluated_on_test_at_the_thresholds_of_validation(run, trained_coronary, cines):
    folder = run("train_probe")
    found, rows = json.loads((folder / "evaluation.json").read_text(encoding="utf-8")), rows_of(folder)
    cases = load_datalist(cines / "datalist.json", "test")
    assert [row["case_id"] for row in rows] == [case["case_id"] for case in cases]
    assert found["section"] == "test" and found["checkpoint"]["file"] == "probe.pt"
    points = json.loads((trained_coronary / "models" / "operating_points.json").read_text(encoding="utf-8"))
    for head, point in points.items():
        assert found["heads"][head]["operating_point"]["threshold"] == point["threshold"]
    assert found["heads"]["max_stenosis"]["baseline_constant"]["chosen_on"] == "training section"
    assert found["heads"]["dominance"]["baseline_majority"]["chosen_on"] == "training section"
    assert {"macro_f1", "ece"} <= set(found["heads"]["dominance"]["metrics"])


def test_probes_answer_the_section_inference_where_no_target_is_known(run, cines, tmp_path):
    folder = run("train_probe", section="inference", datalist=str(unlabelled(cines, tmp_path.name)))
    found, rows = json.loads((folder / "evaluation.json").read_text(encoding="utf-8")), rows_of(folder)
    assert found["section"] == "inference" and all(head["n"] == 0 and head["note"] for head in found["heads"].values())
    assert all(row["true_stenosis"] == "" and 0 < float(row["pred_stenosis"]) < 1 for row in rows)


def test_an_overlay_is_evaluated_for_its_objective_on_another_section_without_a_gallery(evaluated, run):
    against = {"other": str(evaluated / "cases.csv")}
    folder = run("contrastive", section="validation", ablation_against=against)
    found = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    assert found["section"] == "validation" and found["name"] == "contrastive"
    assert "note" in found["captioning"] and "note" not in found["retrieval"]
    assert "same studies" in found["ablation"]["problems"]["other"]
    beam = {"mode": "beam", "beams": 2, "max_length": 20}
    folder = run("captioning", gallery_section=[], generate=beam)
    found = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    assert found["generate"] == beam
    assert "note" in found["retrieval"] and found["captioning"]["facts"] and "nearest_note" in found["captioning"]


def test_masked_video_alone_has_nothing_to_evaluate(run, trained_coronary, cines, tiny_cines, tmp_path):
    train(str(trained_coronary), str(cines), overlays="masked_video", ckpt_dir=str(tmp_path), **tiny_cines)
    with pytest.raises(RuntimeError) as refused:
        run(overlays="masked_video", weights=str(tmp_path / "masked_video.pt"))
    assert "give something to evaluate" in said(refused)


def test_weights_that_do_not_fit_are_refused(run, trained_coronary, tmp_path):
    with pytest.raises(RuntimeError) as refused:
        run(embed_dim=64)
    assert "does not fit CineTextNet" in said(refused)
    with pytest.raises(RuntimeError) as refused:
        run(weights=str(tmp_path / "none.pt"))
    assert "no checkpoint at" in said(refused)


def test_another_tokenizer_is_refused_and_none_is_trained(run, trained_coronary, tmp_path):
    other = tmp_path / "tokenizer"
    shutil.copytree(trained_coronary / "models" / "tokenizer", other)
    content = json.loads((other / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = content["model"]["vocab"]
    a, b = list(vocabulary)[-2:]
    vocabulary[a], vocabulary[b] = vocabulary[b], vocabulary[a]
    (other / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(RuntimeError) as refused:
        run(tokenizer_dir=str(other))
    assert "another tokenizer" in said(refused)
    with pytest.raises(RuntimeError) as refused:
        run(tokenizer_dir=str(tmp_path / "nowhere"))
    assert "does not exist" in said(refused) and not (tmp_path / "nowhere").exists()


def test_the_network_is_the_one_that_was_trained(evaluated, trained_coronary):
    stored = torch.load(trained_coronary / "models" / "model.pt", weights_only=True)
    width = next(value for name, value in stored.items() if name.startswith("video_projection.") and value.ndim == 2)
    with np.load(evaluated / "embeddings.npz") as arrays:
        assert arrays["video"].shape[1] == width.shape[0]
        np.testing.assert_allclose(np.linalg.norm(arrays["video"], axis=1), 1, atol=1e-5)
