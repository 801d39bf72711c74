"""The coronary bundle predicts whatever a user has, searches, and passes the commands that MONAI runs on a bundle."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import monai.bundle
import numpy as np
import onnxruntime
import pytest
import torch
from monai.bundle import ConfigWorkflow
from PIL import Image

import medvlm
from medvlm.__main__ import main
from medvlm.bundle.prediction import predict
from medvlm.bundle.search import search
from medvlm.data.datalists import load_datalist, save_datalist
from medvlm.data.tokenizers import train_wordpiece
from medvlm.handlers.case_files import sha256_of
from medvlm.handlers.study_heads import METHOD
from medvlm.networks.nets.cine_views import VideoEmbeddingNet

NAME = "coronary_angiography_clip"
PARTS = ("video_encoder", "aggregator", "text_encoder", "captioner", "masked_video")
WORDS = {"mode": "sample", "max_length": 30}  # after one epoch the likeliest text is a row of stops
PROMISED = {"report.txt", "evidence.json", "retrieved.json", "heads.json", "report.html"}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    yield
    assert not list((tmp_path / "elsewhere").iterdir()), "inference left something in the working directory"


@pytest.fixture(scope="module")
def sizes(tiny_cines) -> dict:
    """The sizes that the weights were trained with, and few draws."""
    kept = ("frames", "image_size", "max_views", "max_tokens", "vocab_size", "progress")
    return {**{key: tiny_cines[key] for key in kept}, "resamples": 3, "generate": WORDS}


@pytest.fixture(scope="module")
def studies(cines) -> list[dict]:
    return load_datalist(cines / "datalist.json", "test")


@pytest.fixture
def folder(studies, tmp_path) -> Path:
    """A folder with one study of two views."""
    target = tmp_path / "Herr Müller"
    target.mkdir()
    chosen = next(case for case in studies if len(case["video"]) == 2)
    for file in chosen["video"]:
        shutil.copy(file, target)
    return target


@pytest.fixture(scope="module")
def index(trained_coronary, cines, sizes, tmp_path_factory) -> Path:
    """An index of the training section, beside the bundle."""
    folder = tmp_path_factory.mktemp("index") / "of training"
    overrides = {key: value for key, value in sizes.items() if key != "generate"}
    report = search(str(trained_coronary), build=True, dataset_dir=str(cines), index=str(folder), **overrides)
    assert report.status == 0 and report.studies == len(load_datalist(cines / "datalist.json", "training"))
    return folder


def read(folder: Path, name: str) -> dict:
    return json.loads((folder / name).read_text(encoding="utf-8"))


def test_a_study_gets_everything_that_is_promised(trained_coronary, folder, index, sizes, tmp_path):
    report = predict(str(trained_coronary), str(folder), str(tmp_path / "out"), index_dir=str(index), **sizes)
    assert report.status == 0, str(report)
    ((name, manifest),) = report.done.items()
    out = tmp_path / "out" / name
    pictures = {file for file in manifest["files"] if file.startswith("evidence_")}
    assert set(manifest["files"]) - pictures - {"evidence.json"} == PROMISED - {"evidence.json"}
    assert {file.name for file in out.iterdir()} == {*manifest["files"], "manifest.json"}
    assert manifest["checkpoint"]["sha256"] == sha256_of(trained_coronary / "models" / "model.pt")
    assert manifest["probe"]["sha256"] == sha256_of(trained_coronary / "models" / "probe.pt")
    assert manifest["tokenizer"]["fingerprint"] > 0 and manifest["index"]["studies"] > 5
    assert [entry["sha256"] for entry in manifest["inputs"]] == [sha256_of(f) for f in sorted(folder.iterdir())]

    evidence = read(out, "evidence.json")
    assert (out / "report.txt").read_text(encoding="utf-8").strip() == manifest["report"] != ""
    assert evidence["sentences"], "no sentence was written"
    for one in evidence["sentences"]:
        assert one["sentence"] in manifest["report"]
        assert Path(one["file"]).parent == folder and 0 <= one["frame"] < 8
        assert (one["box"] is None) is (one["peak"] < 1.5)
        box = one["box"] or {"x": 0, "y": 0, "width": 48, "height": 48}
        assert 0 <= box["x"] <= box["x"] + box["width"] <= 48 and 0 <= box["y"] <= box["y"] + box["height"] <= 48
        assert 0.4 < one["weight"] <= 1 and sum(one["views"].values()) == pytest.approx(1, abs=1e-3)
        assert min(Image.open(out / one["picture"]).size) > 200
    read_views = [view for view in evidence["views"] if view["read"]]
    assert len(read_views) == 2
    assert sum(view["caption_attention"] for view in read_views) == pytest.approx(1, abs=1e-3)
    assert sum(view["probe_attention"] for view in read_views) == pytest.approx(1, abs=1e-3)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "not for diagnosis" in page and "data:image/" in page and "http://" not in page


def test_heads_have_intervals_thresholds_and_verdicts(trained_coronary, folder, index, sizes, tmp_path):
    predict(str(trained_coronary), str(folder), str(tmp_path / "out"), index_dir=str(index), **sizes)
    heads = read(tmp_path / "out" / "Herr_Müller", "heads.json")
    points = json.loads((trained_coronary / "models" / "operating_points.json").read_text(encoding="utf-8"))
    assert heads["interval"]["resamples"] == 3 and heads["interval"]["method"] == METHOD
    assert set(heads["heads"]) == {"stenosis", "occlusion", "calcification", "max_stenosis", "dominance"}
    for name, answer in heads["heads"].items():
        if answer["kind"] == "binary":
            assert answer["interval"][0] <= answer["probability"] <= answer["interval"][1]
            assert answer["calibrated"] is (name in points)
            assert answer["threshold"] == points.get(name, {"threshold": 0.5})["threshold"]
            assert answer["verdict"] == ("positive" if answer["probability"] >= answer["threshold"] else "negative")
    assert heads["heads"]["dominance"]["class"] in ("right", "left", "codominant")
    assert heads["heads"]["max_stenosis"]["unit"] == "percent"


def test_similar_reports_come_ranked_from_the_index(trained_coronary, folder, index, cines, sizes, tmp_path):
    predict(str(trained_coronary), str(folder), str(tmp_path / "out"), index_dir=str(index), top_k=4, **sizes)
    matches = read(tmp_path / "out" / "Herr_Müller", "retrieved.json")["matches"]
    assert [one["rank"] for one in matches] == [1, 2, 3, 4]
    assert [one["score"] for one in matches] == sorted((one["score"] for one in matches), reverse=True)
    reports = {case["case_id"]: case["report"] for case in load_datalist(cines / "datalist.json", "training")}
    assert all(one["text"] == reports[one["id"]].strip() and one["source"] == "cine_manifest" for one in matches)


def test_a_study_does_not_retrieve_itself(trained_coronary, cines, index, sizes, tmp_path):
    case = load_datalist(cines / "datalist.json", "training")[0]
    save_datalist({"name": "one", "test": [case]}, tmp_path / "one.json")
    predict(
        str(trained_coronary),
        str(tmp_path / "one.json"),
        str(tmp_path / "out"),
        index_dir=str(index),
        top_k=50,
        **sizes,
    )
    matches = read(tmp_path / "out" / case["case_id"], "retrieved.json")["matches"]
    assert case["case_id"] not in {one["id"] for one in matches} and len(matches) == matches[-1]["rank"] > 5


def test_without_index_and_probe_the_prediction_says_so(trained_coronary, folder, sizes, tmp_path):
    gone = {"index_dir": str(tmp_path / "no index"), "probe_checkpoint": str(tmp_path / "no.pt")}
    report = predict(str(trained_coronary), str(folder), str(tmp_path / "out"), **gone, **sizes)
    out = tmp_path / "out" / "Herr_Müller"
    assert report.status == 0
    assert (
        "there is no search index" in read(out, "retrieved.json")["note"]
        and "--build" in read(out, "retrieved.json")["note"]
    )
    heads = read(out, "heads.json")
    assert heads["heads"] == {} and "no.pt is not there" in heads["note"]
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "there is no search index" in page and "no.pt is not there" in page


def test_a_datalist_builds_the_index_once_and_bad_studies_do_not_stop_the_others(
    trained_coronary, cines, studies, sizes, tmp_path
):
    good, bad, half = (dict(case) for case in studies[:3])
    for name in ("cut.dcm", "empty.dcm"):
        (tmp_path / name).write_bytes(Path(bad["video"][0]).read_bytes()[:700] if name == "cut.dcm" else b"")
    bad["video"] = [str(tmp_path / "cut.dcm"), str(tmp_path / "empty.dcm")]
    half["video"] = [half["video"][0], str(tmp_path / "gone.dcm")]
    training = load_datalist(cines / "datalist.json", "training")[:4]
    save_datalist({"name": "few", "training": training, "test": [good, bad, half]}, tmp_path / "few.json")
    command = ["predict", str(trained_coronary), "--input", str(tmp_path / "few.json"), "--output"]
    command += [str(tmp_path / "out"), "--index_dir", str(tmp_path / "index")]
    command += [part for key, value in sizes.items() for part in (f"--{key}", str(value))]
    assert main(command) == 1

    (failure,) = read(tmp_path / "out", "failed.json")
    assert failure["case_id"] == bad["case_id"] and failure["files"] == bad["video"]
    assert "none of the study's 2 views can be read" in failure["message"]
    assert "cut.dcm" in failure["message"] and "empty.dcm: the file is empty" in failure["message"]
    (told,) = [view for view in read(tmp_path / "out" / half["case_id"], "manifest.json")["views"] if not view["read"]]
    assert told["file"].endswith("gone.dcm") and "there is no such file" in told["problem"]
    page = (tmp_path / "out" / half["case_id"] / "report.html").read_text(encoding="utf-8")
    assert "Not read" in page and "gone.dcm: there is no such file" in page
    with (tmp_path / "out" / "summary.csv").open(newline="", encoding="utf-8") as stream:
        rows = {row["case_id"]: row for row in csv.DictReader(stream)}
    assert rows[good["case_id"]]["status"] == "done" and float(rows[good["case_id"]]["stenosis"]) <= 1
    assert rows[half["case_id"]]["views_read"] == "1" and rows[bad["case_id"]]["status"] == "failed"
    index = read(tmp_path / "index", "index.json")
    assert index["parts"][0]["studies"] == 4

    stamp = (tmp_path / "out" / good["case_id"] / "manifest.json").stat().st_mtime_ns
    shutil.copy(studies[0]["video"][0], tmp_path / "cut.dcm")
    assert main(command) == 0
    assert (tmp_path / "out" / good["case_id"] / "manifest.json").stat().st_mtime_ns == stamp
    assert (tmp_path / "out" / bad["case_id"] / "report.txt").is_file()
    assert read(tmp_path / "index", "index.json") == index


def test_other_settings_are_not_taken_for_done(trained_coronary, folder, sizes, tmp_path):
    def again(**changes) -> list[str]:
        given = {**sizes, "index_dir": str(tmp_path / "none"), "generate": {"max_length": 4}, **changes}
        return predict(str(trained_coronary), str(folder), str(tmp_path / "out"), **given).kept

    assert again() == [] and again() == ["Herr_Müller"] and again(resamples=2) == []


def test_one_video_and_a_manifest_are_read(trained_coronary, cines, folder, sizes, tmp_path):
    short = {**sizes, "generate": {"max_length": 4}, "index_dir": str(tmp_path / "none")}
    file = sorted(folder.iterdir())[0]
    assert list(predict(str(trained_coronary), str(file), str(tmp_path / "one"), **short).done) == [file.stem]
    report = predict(
        str(trained_coronary), str(cines / "coronary" / "manifest.csv"), str(tmp_path / "two"), section="validation",
        **short,
    )  # fmt: skip
    expected = {case["case_id"] for case in load_datalist(cines / "datalist.json", "validation")}
    assert set(report.done) == expected


def test_the_heads_alone_need_nothing_but_the_probe(trained_coronary, folder, sizes, tmp_path):
    bundle = tmp_path / NAME
    shutil.copytree(trained_coronary / "configs", bundle / "configs")
    (bundle / "models").mkdir()
    shutil.copy(trained_coronary / "models" / "probe.pt", bundle / "models")
    report = predict(str(bundle), str(folder), str(tmp_path / "out"), overlays="inference_probe", **sizes)
    (manifest,) = report.done.values()
    assert manifest["heads"]["stenosis"]["interval"] and manifest["report"] is None and not manifest["retrieved"]
    assert manifest["checkpoint"] == manifest["probe"] == {
        "file": "probe.pt", "sha256": sha256_of(bundle / "models" / "probe.pt"),
    }  # fmt: skip
    assert manifest["tokenizer"] is manifest["index"] is None
    full = predict(str(trained_coronary), str(folder), str(tmp_path / "full"), top_k=0, **sizes)
    assert next(iter(full.done.values()))["heads"].keys() == manifest["heads"].keys()
    (bundle / "models" / "probe.pt").unlink()
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*probe\.pt"):
        predict(str(bundle), str(folder), str(tmp_path / "out"), overlays="inference_probe", **sizes)


def test_words_and_studies_are_searched_alike_by_both_engines(trained_coronary, index, folder, sizes, capsys):
    overrides = {key: value for key, value in sizes.items() if key != "generate"}

    def found(**question) -> list[dict]:
        return search(str(trained_coronary), index=str(index), k=5, **question, **overrides).matches

    for question in ({"text": "severe stenosis of the proximal LAD"}, {"study": str(folder)}):
        exact, fast = (found(engine=engine, **question) for engine in ("exact", "faiss"))
        assert [one["rank"] for one in exact] == [1, 2, 3, 4, 5] and exact == fast
        assert all(a["score"] >= b["score"] for a, b in zip(exact, exact[1:], strict=False))
    assert found(text="normal coronary arteries") != found(text="70% stenosis of the mid RCA, calcified")


def test_an_index_grows_and_leaves_out_what_it_holds(trained_coronary, cines, index, sizes, tmp_path):
    shutil.copytree(index, tmp_path / "index")
    overrides = {key: value for key, value in sizes.items() if key != "generate"}
    counts = {s: len(load_datalist(cines / "datalist.json", s)) for s in ("training", "test", "validation")}

    def grown(section: str) -> int:
        lists = {"append": str(cines / "datalist.json"), "section": section}
        return search(str(trained_coronary), index=str(tmp_path / "index"), **lists, **overrides).studies

    assert grown("test") == counts["training"] + counts["test"]
    assert grown("test") == counts["training"] + counts["test"]


def test_a_study_without_report_is_found_by_words_and_checksums_are_compared(
    trained_coronary, index, folder, sizes, tmp_path, capsys
):
    shutil.copytree(index, tmp_path / "index")
    overrides = {key: value for key, value in sizes.items() if key != "generate"}
    question = {"index": str(tmp_path / "index"), **overrides}
    report = search(str(trained_coronary), append=str(folder), verify=True, **question)
    assert report.status == 0 and "1 studies added, 1 of them without a report" in str(report)
    assert "every file is as it was written" in str(report)
    found = search(str(trained_coronary), text="stenosis", k=100, **question).matches
    (own,) = [one for one in found if one["id"] == "Herr_Müller"]
    assert own["text"] is None and len(found) == report.studies
    lines = (tmp_path / "index" / "part_0.jsonl").read_bytes()
    (tmp_path / "index" / "part_0.jsonl").write_bytes(lines.replace(b"stenosis", b"stenoses"))
    command = ["search", str(trained_coronary), "--verify", "--index", str(tmp_path / "index")]
    command += [part for key, value in overrides.items() for part in (f"--{key}", str(value))]
    assert main(command) == 1
    assert "part_0: FAILED: not the files that were written" in capsys.readouterr().out


def test_an_index_that_cannot_be_built_does_not_stop_a_prediction(trained_coronary, cines, sizes, tmp_path):
    training, test = (load_datalist(cines / "datalist.json", name)[:2] for name in ("training", "test"))
    save_datalist({"name": "few", "training": training, "test": test}, tmp_path / "few.json")
    (tmp_path / "file").write_text("a file where a folder should be")
    short = {**sizes, "generate": {"max_length": 4}, "index_dir": str(tmp_path / "file" / "index")}
    report = predict(str(trained_coronary), str(tmp_path / "few.json"), str(tmp_path / "out"), **short)
    assert report.status == 0 and len(report.done) == 2
    retrieved = read(tmp_path / "out" / test[0]["case_id"], "retrieved.json")
    assert retrieved["matches"] == [] and "no search index could be built" in retrieved["note"]
    assert "cannot write" in retrieved["note"]


def test_an_index_of_other_weights_is_not_used(trained_coronary, index, folder, sizes, tmp_path):
    bundle = Path(shutil.copytree(trained_coronary, tmp_path / NAME))
    state = torch.load(bundle / "models" / "model.pt", weights_only=True)
    state["loss_parameters.bias"] += 1
    torch.save(state, bundle / "models" / "model.pt")
    overrides = {**sizes, "generate": {"max_length": 4}}
    predict(str(bundle), str(folder), str(tmp_path / "out"), index_dir=str(index), **overrides)
    retrieved = read(tmp_path / "out" / "Herr_Müller", "retrieved.json")
    assert retrieved["matches"] == [] and "was made by another model" in retrieved["note"]
    with pytest.raises(FileNotFoundError, match="was made by another model"):
        search(str(bundle), text="stenosis", index=str(index), **overrides)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "--text"),
        ({"text": "a", "study": "b"}, "not both"),
        ({"build": True}, "--dataset_dir"),
    ],
    ids=["nothing", "both", "no list"],
)
def test_a_search_that_asks_nothing_clear_is_refused(trained_coronary, arguments, message):
    with pytest.raises(ValueError, match=message):
        search(str(trained_coronary), **arguments)


def test_weights_of_another_tokenizer_are_refused(trained_coronary, folder, sizes, tmp_path):
    words = [f"word{number} lad rca stenosis" for number in range(600)]
    train_wordpiece(words, tmp_path / "tokenizer", vocab_size=sizes["vocab_size"], min_frequency=1)
    with pytest.raises(ValueError, match="was trained with the tokenizer of fingerprint"):
        predict(
            str(trained_coronary),
            str(folder),
            str(tmp_path / "out"),
            tokenizer_dir=str(tmp_path / "tokenizer"),
            **sizes,
        )
    with pytest.raises(FileNotFoundError, match="was trained with a tokenizer, and there is none"):
        predict(
            str(trained_coronary), str(folder), str(tmp_path / "out"), tokenizer_dir=str(tmp_path / "gone"), **sizes
        )


def test_one_line_loads_the_bundle_and_runs_a_study(trained_coronary, folder, index, sizes):
    overrides = {**sizes, "index_dir": str(index)}
    bundle = medvlm.load(trained_coronary, device="cpu", overrides=overrides)
    result = bundle(folder)["result"]
    assert result["report"] and len(result["retrieved"]["matches"]) == 5 and "stenosis" in result["heads"]["heads"]
    assert isinstance(bundle.network, VideoEmbeddingNet)
    (case,) = bundle.cases(folder)
    assert bundle(case)["result"]["heads"] == result["heads"]


def test_the_network_is_that_of_the_training(trained_coronary):
    configs = {
        name: json.loads((trained_coronary / "configs" / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("train", "inference", "train_probe")
    }
    train, inference, probe = configs.values()
    of_the_vocabulary = ("vocab_size", "bos_id", "eos_id", "pad_id", "banned_ids")
    for part in PARTS:
        own, theirs = ({k: v for k, v in c[part].items() if k not in of_the_vocabulary} for c in (inference, train))
        assert own == theirs, part
    for key in ("embed_dim", "video_dim", "patch_values", "frames", "fps", "image_size", "max_tokens", "vocab_size"):
        assert inference[key] == train[key], key
    given = {key: value for key, value in inference["network_def"].items() if key != "_target_"}
    assert given == {**{part: f"@{part}" for part in PARTS}, "embed_dim": "@embed_dim"}
    assert {key: train["network_def"][key] for key in given} == given
    for key in ("heads", "pooling", "pooling_level"):
        assert inference[key] == probe[key], key
    probe_def = {**inference["probe_def"], "video_encoder": "@video_encoder", "aggregator": "@aggregator"}
    assert probe_def == probe["network_def"]
    train_transforms = train["validate"]["preprocessing"]["transforms"]
    assert {"_target_": "transforms.NormaliseCined", "keys": "video"} in train_transforms
    assert inference["normalise"] == {"_target_": "transforms.NormaliseCined", "keys": "video"}


def commands(bundle: Path) -> dict[str, str]:
    return {
        "net_id": "network_def",
        "meta_file": str(bundle / "configs" / "metadata.json"),
        "config_file": str(bundle / "configs" / "inference.json"),
    }


@pytest.fixture
def bare(coronary, tmp_path) -> Path:
    """The bundle's configs without weights and without a tokenizer."""
    return Path(shutil.copytree(coronary / "configs", tmp_path / NAME / "configs")).parent


def test_before_training_the_network_can_be_built_and_checked(bare):
    monai.bundle.verify_net_in_out(**commands(bare), device="cpu")
    workflow = ConfigWorkflow(str(bare / "configs" / "inference.json"), workflow_type="infer", logging_file=False)
    workflow.initialize()
    assert isinstance(workflow.network_def, VideoEmbeddingNet) and Path(workflow.bundle_root) == bare


def test_properties_are_complete(trained_coronary, folder, sizes):
    workflow = ConfigWorkflow(
        str(trained_coronary / "configs" / "inference.json"), workflow_type="infer", logging_file=False,
        dataset_dir=str(folder), **sizes,
    )  # fmt: skip
    workflow.initialize()
    assert workflow.check_properties() == []


def test_the_stock_run_of_monai_predicts(trained_coronary, folder, sizes, tmp_path):
    monai.bundle.run(
        config_file=str(trained_coronary / "configs" / "inference.json"), dataset_dir=str(folder),
        output_dir=str(tmp_path / "out"), **sizes,
    )  # fmt: skip
    assert (tmp_path / "out" / "Herr_Müller" / "report.html").is_file()


@pytest.fixture
def default_size(bare) -> Path:
    """The bundle with random weights of its default size."""
    workflow = ConfigWorkflow(str(bare / "configs" / "inference.json"), workflow_type="infer", logging_file=False)
    workflow.initialize()
    (bare / "models").mkdir()
    torch.save(workflow.network_def.state_dict(), bare / "models" / "model.pt")
    return bare


def test_torchscript_onnx_and_load_give_one_embedding(default_size, tmp_path):
    video = torch.randn(1, 1, 16, 112, 112, generator=torch.Generator().manual_seed(0))
    loaded = monai.bundle.load(
        NAME, bundle_dir=str(default_size.parent), workflow_type="inference", source="github", device="cpu"
    ).eval()
    with torch.no_grad():
        expected = loaded(video)
    assert expected.shape == (1, 128) and float(expected.norm()) == pytest.approx(1, abs=1e-5)
    given = {**commands(default_size), "ckpt_file": str(default_size / "models" / "model.pt")}
    shape = [1, 1, 16, 112, 112]
    monai.bundle.ckpt_export(
        filepath=str(tmp_path / "model.ts"), use_trace=True, input_shape=shape, bundle_root=str(default_size), **given
    )
    with torch.no_grad():
        torch.testing.assert_close(torch.jit.load(str(tmp_path / "model.ts"))(video), expected, atol=1e-5, rtol=1e-4)
    monai.bundle.onnx_export(filepath=str(tmp_path / "model.onnx"), input_shape=shape, **given)
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    (embedding,) = session.run(None, {session.get_inputs()[0].name: video.numpy()})
    np.testing.assert_allclose(embedding, expected.numpy(), atol=1e-4)


def test_stock_load_refuses_weights_of_another_tokenizer(trained_coronary, sizes, tmp_path):
    bundle = tmp_path / NAME
    shutil.copytree(trained_coronary / "configs", bundle / "configs")
    shutil.copytree(trained_coronary / "models", bundle / "models")
    tokenizer = json.loads((bundle / "models" / "tokenizer" / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    first, second = [word for word, place in vocabulary.items() if place in (len(vocabulary) - 1, len(vocabulary) - 2)]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    (bundle / "models" / "tokenizer" / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    config = bundle / "configs" / "inference.json"
    content = json.loads(config.read_text(encoding="utf-8"))
    config.write_text(json.dumps({**content, "max_tokens": sizes["max_tokens"]}), encoding="utf-8")
    with pytest.raises(ValueError, match="was trained with another tokenizer"):
        monai.bundle.load(NAME, bundle_dir=str(tmp_path), workflow_type="inference", source="github", device="cpu")
