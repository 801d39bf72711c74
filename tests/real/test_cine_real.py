"""The real angiogram, the ARCADE and the Angios frames, and real angiography notes through the readers."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from PIL import Image

from transforms import (
    LoadCined,
    NormaliseCined,
    PickCined,
    RandCineAffined,
    RandCineIntensityd,
    SampleFramesd,
    normalise_text,
    open_cine,
    report_sections,
)

ROOT = Path(os.environ.get("MEDVLM_REAL_DATA", Path(__file__).parents[3] / "shared" / "data"))
pytestmark = pytest.mark.skipif(
    not ROOT.is_dir(), reason=f"the real data is not at {ROOT}; set MEDVLM_REAL_DATA to where it is"
)
XA = ROOT / "xa" / "fo-dicom_HasFragmentSequence_XA96.dcm"
ARCADE = ROOT / "xa" / "arcade_val" / "images"
ANGIOS = ROOT / "xa" / "angios40" / "training"


def test_the_header_of_the_real_cine():
    info = open_cine(XA).info
    assert (info.frames, info.height, info.width) == (96, 512, 512)
    assert info.timing == "FrameTime" and np.allclose(info.times_ms, 33.0 * np.arange(96))
    assert info.view_angles == (-32.0, 2.0)
    assert info.notes == [] and info.burned_in is None


def test_every_frame_is_what_pydicom_decodes():
    pixels = pydicom.dcmread(XA).pixel_array
    mine = open_cine(XA).read().numpy() * 255
    assert mine.shape == pixels.shape
    assert np.abs(mine - pixels).max() <= 1.01  # decoders of JPEG round differently
    assert np.abs(mine - pixels).mean() < 0.1


def test_the_vessel_fills_with_contrast():
    """The middle of the right coronary darkens between the first second and the end."""
    cine = open_cine(XA).read([0, 5, 70, 80])[:, 250:270, 100:140]
    assert cine[:2].amin((1, 2)).mean() - cine[2:].amin((1, 2)).mean() > 0.08


def test_reduced_decoding_is_like_full_decoding():
    small = open_cine(XA).read([10, 60], (112, 112))
    full = torch.nn.functional.interpolate(open_cine(XA).read([10, 60])[:, None], (112, 112), mode="area")[:, 0]
    assert (small - full).abs().mean() < 0.004
    assert (small - full).abs().quantile(0.999) < 0.1


def test_a_truncated_copy_is_refused_or_kept_as_far_as_it_goes(tmp_path):
    copy = tmp_path / "cut.dcm"
    copy.write_bytes(XA.read_bytes()[:1_000_000])
    with pytest.raises(ValueError, match=r"is truncated: 96 frames declared, \d+ whole ones found"):
        open_cine(copy)
    cine = open_cine(copy, truncated="keep")
    assert 40 < cine.info.frames < 96
    assert torch.equal(cine.read(), open_cine(XA).read(range(cine.info.frames)))


def test_the_real_study_goes_through_the_training_transforms():
    case = {"video": [str(XA), str(XA.parent / "gone.dcm"), str(ANGIOS / "1.png")], "case_id": "real"}
    d = LoadCined(size=112, fps=7.5, max_views=4)(case)
    assert [v.shape[1] for v in d["video"]] == [23, 0, 1, 0]
    for step in (SampleFramesd(frames=16), NormaliseCined(), RandCineAffined(), RandCineIntensityd(), PickCined()):
        d = step(d)
    assert d["video"].shape == (4, 1, 16, 112, 112) and torch.isfinite(d["video"]).all()
    assert d["view_mask"].tolist() == [True, False, True, False]
    assert json.loads(d["view_notes"])[2] == "one frame only"


@pytest.mark.parametrize("folder", [ARCADE, ANGIOS], ids=["ARCADE", "Angios"])
def test_every_picture_is_read_unchanged(folder):
    files = sorted(f for f in folder.glob("*.png") if not f.stem.endswith("_gt"))
    assert len(files) in (12, 40)
    for file in files:
        with Image.open(file) as picture:
            expected = np.asarray(picture.convert("L"), dtype=np.float32) / 255
        assert np.allclose(open_cine(file).read()[0], expected, atol=1 / 255)


def test_pictures_of_a_folder_are_one_cine():
    cine = open_cine(ARCADE, fps=15)
    assert cine.info.frames == 12 and cine.read(size=(64, 64)).shape == (12, 64, 64)
    assert [file.stem for file in cine.files][:3] == ["1", "10", "100"]


def test_real_notes_have_sections_and_distinct_texts():
    notes = [json.loads(f.read_text())["text"] for f in sorted((ROOT / "report_text/mtsamples/angio").glob("*.json"))]
    assert len(notes) >= 15
    sections = [report_sections(note) for note in notes]
    assert sum(len(s) >= 3 for s in sections) >= 0.8 * len(notes)
    assert len({normalise_text(note) for note in notes}) == len(notes)
