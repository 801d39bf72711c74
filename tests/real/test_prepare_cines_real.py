"""``prepare`` and ``doctor`` on real angiography and on the phantom."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from medvlm.data.cine_headers import read_cine_header
from medvlm.data.datalists import SECTIONS, load_datalist, read_datalist
from medvlm.data.doctor import doctor
from medvlm.data.prepare import prepare
from medvlm.data.tokenizers import ensure_tokenizer, vocabulary_report

REAL = Path(os.environ.get("MEDVLM_REAL_DATA", Path(__file__).parents[3] / "shared" / "data"))
pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason=f"no real data at {REAL}; set MEDVLM_REAL_DATA")
RUN = REAL / "xa" / "fo-dicom_HasFragmentSequence_XA96.dcm"


def _all(path):
    datalist = read_datalist(path)
    return [case for s in SECTIONS for case in datalist[s]]


def test_the_real_run_is_read_by_its_header():
    header = read_cine_header(RUN)
    assert (header.frames, header.height, header.width, header.modality) == (96, 512, 512, "XA")
    assert header.rate_fps == pytest.approx(1000 / 33) and (header.primary_deg, header.secondary_deg) == (-32, 2)


def test_the_real_run_passes_the_doctor(tmp_path):
    prepare("xa_folder", str(RUN), str(tmp_path / "d.json"))
    (case,) = load_datalist(tmp_path / "d.json", "inference")
    assert case["video"] == [str(RUN.absolute())] and case["patient_id"] == "556342B"
    assert doctor(str(tmp_path / "d.json"), strict=True) == 0


def test_the_real_run_cut_short_is_refused(tmp_path):
    data = RUN.read_bytes()
    (tmp_path / "cut.dcm").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match="compressed pixel data end early"):
        prepare("xa_folder", str(tmp_path), str(tmp_path / "d.json"))


def test_real_arcade_frames_have_their_stenoses(tmp_path):
    prepare("arcade", str(REAL / "xa" / "arcade_val"), str(tmp_path / "d.json"))
    cases = read_datalist(tmp_path / "d.json")["validation"]
    assert len(cases) == 12 and sum(len(c["boxes"]) for c in cases) == 22
    assert all(c["targets"] == {"stenosis_marked": 1, "stenoses_marked": len(c["boxes"])} for c in cases)
    assert all(0 <= v <= 512 for c in cases for b in c["boxes"] for v in b["box"])
    assert doctor(str(tmp_path / "d.json")) == 0


def test_a_manifest_of_the_real_run_keeps_its_report(tmp_path):
    (tmp_path / "xa").mkdir()
    shutil.copy(RUN, tmp_path / "xa" / "a.dcm")
    text = "FileNameαStudyInstanceUIDαSplitαReport\nxa/a.dcmα1.2.3αinferenceαThe RCA is dominant; no stenosis, 0%.\n"
    (tmp_path / "m.csv").write_text(text, encoding="utf-8")
    prepare("cine_manifest", str(tmp_path / "m.csv"), str(tmp_path / "d.json"))
    (case,) = _all(tmp_path / "d.json")
    assert case["report"] == "The RCA is dominant; no stenosis, 0%." and case["patient_id"] == "556342B"


def test_a_tokenizer_of_real_notes_knows_their_characters(tmp_path):
    files = sorted((REAL / "report_text" / "mtsamples").rglob("*.json"))
    texts = [json.loads(file.read_text(encoding="utf-8"))["text"] for file in files]
    assert len(texts) == 35
    fit = vocabulary_report(ensure_tokenizer(tmp_path / "tokenizer", texts, vocab_size=4000), texts)
    assert fit["unknown"] == 0 and fit["tokens_per_word"] < 2
