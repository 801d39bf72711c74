"""The prediction command on the real angiogram: whatever the weights, frames, times, boxes and reasons are right.

The weights are random and small, so nothing here says how good an answer is.
"""

from __future__ import annotations

import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from monai.bundle import ConfigParser
from PIL import Image

from medvlm.bundle.prediction import predict
from medvlm.bundle.search import search
from medvlm.data.datalists import save_datalist
from medvlm.data.tokenizers import train_wordpiece

DATA = Path(os.environ.get("MEDVLM_REAL_DATA", Path(__file__).parents[3] / "shared" / "data"))
pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason=f"the real data is not at {DATA}; set MEDVLM_REAL_DATA to where it is"
)
SOURCE = Path(__file__).parents[2] / "bundles" / "coronary_angiography_clip"
XA = DATA / "xa" / "fo-dicom_HasFragmentSequence_XA96.dcm"
FRAMES = DATA / "xa" / "arcade_val" / "images"
REPORT = "The proximal RCA has a 40% stenosis. The posterior descending artery is free of disease. TIMI-3 flow."
SMALL = {
    "frames": 8,
    "image_size": 64,
    "resamples": 4,
    "progress": False,
    "generate": {"mode": "sample", "max_length": 40},
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    """The bundle with random weights and a small tokenizer."""
    root = tmp_path_factory.mktemp("bundles") / SOURCE.name
    shutil.copytree(SOURCE / "configs", root / "configs")
    train_wordpiece([REPORT] * 3, root / "models" / "tokenizer", vocab_size=200)
    torch.manual_seed(0)
    parser = ConfigParser()
    parser.read_config(str(root / "configs" / "inference.json"))
    parser["bundle_root"] = str(root)
    network = parser.get_parsed_content("network_def").bind_tokenizer(parser.get_parsed_content("tokenizer"))
    torch.save(network.state_dict(), root / "models" / "model.pt")
    torch.save(parser.get_parsed_content("probe_def").state_dict(), root / "models" / "probe.pt")
    return root


@pytest.fixture
def study(tmp_path) -> Path:
    """A study of the real angiogram, a copy of it that was cut off, and a file that is none."""
    folder = tmp_path / "study"
    folder.mkdir()
    shutil.copy(XA, folder / "rca.dcm")
    (folder / "cut.dcm").write_bytes(XA.read_bytes()[:400_000])
    (folder / "noise.dcm").write_bytes(b"\0" * 4000)
    return folder


@pytest.fixture
def predicted(bundle, study, tmp_path) -> tuple[Path, dict]:
    report = predict(str(bundle), str(study), str(tmp_path / "out"), **SMALL)
    assert report.status == 0, str(report)
    return tmp_path / "out" / "study", report.done["study"]


def test_the_readable_view_is_used_and_the_others_say_why_not(predicted):
    _, manifest = predicted
    views = {Path(view["file"]).name: view for view in manifest["views"]}
    assert views["rca.dcm"]["read"] and views["rca.dcm"]["angles"] == "RAO 32 CRA 2"
    assert "truncated: 96 frames declared" in views["cut.dcm"]["problem"]
    assert not views["noise.dcm"]["read"] and views["noise.dcm"]["problem"]
    # 7.5 frames a second of 33 ms frames: every fourth, and 8 of them in the middle of 96
    assert (views["rca.dcm"]["first_frame"], views["rca.dcm"]["frames_seen"]) == (28, 8)


def test_the_evidence_shows_frames_of_the_file(predicted):
    folder, _ = predicted
    evidence = json.loads((folder / "evidence.json").read_text(encoding="utf-8"))
    pixels = pydicom.dcmread(XA).pixel_array
    assert evidence["sentences"]
    for one in evidence["sentences"]:
        assert Path(one["file"]).name == "rca.dcm" and one["weight"] == one["even"] == 1.0
        assert one["time_ms"] == pytest.approx(33.0 * one["frame"])
        picture = np.asarray(Image.open(io.BytesIO((folder / one["picture"]).read_bytes())).convert("L"), float)
        tile = picture[:, 7:337]  # the plain frame on the left
        top = next(row for row in range(len(tile)) if tile[row].mean() < 200)  # below the words on white
        shown = np.asarray(Image.fromarray(tile[top : top + 330].astype(np.uint8)).resize((128, 128)), float)
        frame = np.asarray(Image.fromarray(pixels[one["frame"]]).resize((128, 128)), float)
        assert np.corrcoef(shown.ravel(), frame.ravel())[0, 1] > 0.97


def test_findings_have_intervals_from_other_draws(predicted):
    folder, _ = predicted
    heads = json.loads((folder / "heads.json").read_text(encoding="utf-8"))
    for answer in heads["heads"].values():
        if answer["kind"] == "binary":
            low, high = answer["interval"]
            assert low <= answer["probability"] <= high and high - low < 0.5


def test_a_study_of_damaged_files_alone_fails_with_every_reason(bundle, study, tmp_path):
    (study / "rca.dcm").unlink()
    report = predict(str(bundle), str(study), str(tmp_path / "out"), **SMALL)
    (failure,) = report.failures
    assert report.status == 1 and "none of the study's 2 views can be read" in failure.message
    assert "cut.dcm" in failure.message and "noise.dcm" in failure.message


def test_the_real_study_finds_itself_by_its_videos(bundle, tmp_path):
    cases = [
        {"video": [str(XA)], "report": REPORT, "case_id": "rca", "source": "fo-dicom"},
        {"video": [str(FRAMES)], "report": "Frames of many patients.", "case_id": "frames", "source": "ARCADE"},
    ]
    save_datalist({"name": "real", "training": cases}, tmp_path / "list.json")
    small = {key: value for key, value in SMALL.items() if key != "generate"}
    report = search(
        str(bundle), study=str(XA), build=True, datalist=str(tmp_path / "list.json"), index=str(tmp_path / "index"),
        k=2, **small,
    )  # fmt: skip
    assert report.studies == 2 and report.matches[0]["id"] == "rca" and report.matches[0]["score"] > 0.9999
    words = search(str(bundle), text="stenosis of the RCA", index=str(tmp_path / "index"), k=2, **small)
    assert {one["source"] for one in words.matches} == {"fo-dicom", "ARCADE"}
