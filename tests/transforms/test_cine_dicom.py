"""XA DICOM: pixels of every kind equal to what was written, and what the header says of time and angles."""

from __future__ import annotations

import io
import struct
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import (
    MPEG4HP41,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    RLELossless,
)

from transforms import open_cine
from transforms.cine import fit_frames
from transforms.cine_dicom import DicomCine
from transforms.cine_dicom_frames import encapsulated_frames


def deep(frames: np.ndarray, bits: int) -> np.ndarray:
    """The frames with all the bits, uint16."""
    return (frames.astype(np.uint32) * (2**bits - 1) // 255).astype(np.uint16)


def shown(path: Path, **options) -> np.ndarray:
    return open_cine(path, **options).read().numpy()


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
def test_uncompressed_frames_are_what_was_written(xa, cine_frames, syntax):
    assert np.allclose(shown(xa(cine_frames, syntax=syntax)), cine_frames / 255.0)
    frames = deep(cine_frames, 12)
    assert np.allclose(shown(xa(frames, syntax=syntax, BitsStored=12)), frames / 4095.0)


@pytest.mark.parametrize("bits", [9, 10, 12, 14, 16])
def test_every_depth_spans_the_display(xa, cine_frames, bits):
    frames = deep(cine_frames, bits)
    assert np.allclose(shown(xa(frames, BitsStored=bits)), frames / (2.0**bits - 1))


@pytest.mark.parametrize("bits", [12, 16])
def test_signed_values_keep_their_order(xa, cine_frames, bits):
    frames = deep(cine_frames, bits)
    signed = (frames.astype(np.int32) - 2 ** (bits - 1)).astype(np.int16)
    assert np.allclose(shown(xa(signed, BitsStored=bits)), frames / (2.0**bits - 1))


def test_bits_above_those_stored_are_no_pixels(xa, cine_frames):
    frames = deep(cine_frames, 10)
    dirty = frames | 0x8000 | 0x4000
    assert np.allclose(shown(xa(dirty, BitsStored=10)), frames / 1023.0)
    assert np.allclose(shown(xa(frames << 2, BitsStored=10, HighBit=11)), frames / 1023.0)


def test_monochrome1_is_inverted_after_the_window(xa, cine_frames):
    path = xa(cine_frames, PhotometricInterpretation="MONOCHROME1")
    assert np.allclose(shown(path), 1 - cine_frames / 255.0)
    path = xa(cine_frames, PhotometricInterpretation="MONOCHROME1", WindowCenter="100", WindowWidth="100")
    assert np.allclose(shown(path), 1 - np.clip((cine_frames - 99.5) / 99 + 0.5, 0, 1), atol=1e-6)


def test_rescale_comes_before_the_window(xa, cine_frames):
    path = xa(
        cine_frames, RescaleSlope="2", RescaleIntercept="-100", WindowCenter=["200", "9"], WindowWidth=["200", "9"]
    )
    hounsfield = 2.0 * cine_frames - 100
    assert np.allclose(shown(path), np.clip((hounsfield - 199.5) / 199 + 0.5, 0, 1), atol=1e-6)
    assert np.allclose(shown(path, window=False), cine_frames / 255.0)


def lut(values: np.ndarray) -> Dataset:
    item = Dataset()
    item.LUTDescriptor, item.LUTData = [len(values), 0, 16], values.astype("<u2").tobytes()
    item.ModalityLUTType = "US"
    return item


def test_luts_are_applied_one_after_the_other(xa, cine_frames):
    first, second = np.arange(255, -1, -1), np.arange(256) ** 2
    path = xa(cine_frames, ModalityLUTSequence=[lut(first)], VOILUTSequence=[lut(second)])
    assert np.allclose(shown(path), (255.0 - cine_frames) ** 2 / 65535, atol=1e-6)


@pytest.mark.parametrize("relation", ["LOG", "DISP"])
def test_a_lut_back_to_intensity_is_not_shown(xa, cine_frames, relation):
    path = xa(cine_frames, ModalityLUTSequence=[lut(np.arange(256) ** 2)], PixelIntensityRelationship=relation)
    assert np.allclose(shown(path), cine_frames / 255.0)


@pytest.mark.parametrize("width", ["0", "-5"])
def test_a_broken_window_is_passed_over_and_noted(xa, cine_frames, width):
    cine = open_cine(xa(cine_frames, WindowCenter="100", WindowWidth=width))
    assert np.allclose(cine.read(), cine_frames / 255.0)
    assert "the window is not usable" in cine.info.notes[0]


def test_jpeg_baseline_is_close(xa, cine_frames, codecs):
    path = xa([codecs["jpeg"](f) for f in cine_frames], syntax=JPEGBaseline8Bit, shape=(40, 48))
    assert np.abs(shown(path) * 255 - cine_frames).max() < 12


def test_jpeg_reduced_by_its_decoder_looks_like_one_reduced_afterwards(xa, cine_frames, codecs):
    cine = open_cine(xa([codecs["jpeg"](f) for f in cine_frames], syntax=JPEGBaseline8Bit, shape=(40, 48)))
    assert next(cine.decode([3], (20, 24))).shape == (20, 24)
    assert (cine.read(size=(10, 12)) - fit_frames(cine.read(), (10, 12))).abs().max() < 0.04


@pytest.mark.parametrize(("codec", "syntax"), [("jpeg2000", JPEG2000Lossless), ("rle", RLELossless)])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_lossless_codecs_give_the_very_values(xa, cine_frames, codecs, codec, syntax, bits):
    frames = cine_frames[:3] if bits == 8 else deep(cine_frames[:3], bits)
    path = xa(
        [codecs[codec](f) for f in frames],
        syntax=syntax,
        shape=(40, 48),
        BitsAllocated=8 if bits == 8 else 16,
        BitsStored=16 if bits == 12 and codec == "jpeg2000" else bits,  # Pillow writes 16-bit streams
    )
    scale = 65535.0 if bits == 12 and codec == "jpeg2000" else 2.0**bits - 1
    assert np.allclose(shown(path), frames / scale)


@pytest.mark.parametrize("bits", [8, 12])
def test_jpeg_lossless_gives_the_very_values(xa, cine_frames, codecs, bits):
    pytest.importorskip("libjpeg", reason="lossless JPEG needs pylibjpeg-libjpeg")
    frames = cine_frames[:3] if bits == 8 else deep(cine_frames[:3], bits)
    path = xa(
        [codecs["jpeg_lossless"](f, bits) for f in frames],
        syntax=JPEGLosslessSV1,
        shape=(40, 48),
        BitsAllocated=8 if bits == 8 else 16,
        BitsStored=bits,
    )
    assert np.allclose(shown(path), frames / (2.0**bits - 1))


@pytest.mark.parametrize("offsets", [True, False])
def test_frames_in_several_fragments_are_put_together(xa, cine_frames, codecs, offsets):
    encoded = [codecs["jpeg"](f) for f in cine_frames]
    options = {"syntax": JPEGBaseline8Bit, "shape": (40, 48)}
    whole = shown(xa(encoded, **options))
    assert np.array_equal(shown(xa(encoded, name="cut.dcm", offsets=offsets, fragments=3, **options)), whole)


@pytest.mark.parametrize("offsets", [True, False])
def test_a_truncated_file_of_fragments_keeps_whole_frames_only(xa, cine_frames, codecs, offsets):
    encoded = [codecs["jpeg"](f) for f in cine_frames]
    options = {"syntax": JPEGBaseline8Bit, "shape": (40, 48), "fragments": 3, "offsets": offsets}
    whole = open_cine(xa(encoded, **options)).read()
    path = xa(encoded, name="cut.dcm", **options)
    cine = open_cine(cut(path, path.stat().st_size - 2 * len(encoded[0])), truncated="keep")
    assert 9 <= cine.info.frames <= 10
    assert np.array_equal(cine.read(), whole[: cine.info.frames])


@pytest.mark.parametrize("where", ["basic", "extended"])
def test_an_offset_table_tells_frames_apart(where):
    """Three frames of one, two and one fragments that no marker tells apart."""
    parts = [b"aaaa", b"bb", b"cccccc", b"dd"]
    items = [struct.pack("<HHL", 0xFFFE, 0xE000, len(part)) + part for part in parts]
    starts = [0, len(items[0]), sum(map(len, items[:3]))]
    table = struct.pack("<3L", *starts) if where == "basic" else b""
    head = struct.pack("<HHL", 0xFFFE, 0xE000, len(table)) + table
    stream = io.BytesIO(b"before" + head + b"".join(items) + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0))
    stream.seek(6)
    found = encapsulated_frames(stream, 3, starts if where == "extended" else None)
    assert [found.read(stream, index) for index in range(3)] == [b"aaaa", b"bbcccccc", b"dd"]
    assert found.complete


def test_a_video_inside_a_dicom_file_is_read(xa, cine_frames, tmp_path):
    av = pytest.importorskip("av", reason="videos need PyAV")
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=15)
        stream.height, stream.width, stream.pix_fmt, stream.bit_rate = 40, 48, "yuv420p", 8_000_000
        for frame in cine_frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="gray").reformat(format="yuv420p")))
        container.mux(stream.encode())
    content = (tmp_path / "a.mp4").read_bytes()
    content += b"\0" * (len(content) % 2)
    tags = {"NumberOfFrames": 12, "FrameTime": "40", "PhotometricInterpretation": "YBR_PARTIAL_420"}
    cine = open_cine(xa([content], syntax=MPEG4HP41, shape=(40, 48), SamplesPerPixel=3, **tags))
    assert cine.info.frames == 12 and cine.info.times_ms[1] == 40.0 and cine.info.view_angles == (-30.0, 20.0)
    assert np.abs(cine.read([9, 2]).numpy() * 255 - cine_frames[[9, 2]]).mean() < 4
    with pytest.raises(ValueError, match="12 whole ones found"):
        open_cine(xa([content], syntax=MPEG4HP41, shape=(40, 48), SamplesPerPixel=3, **{**tags, "NumberOfFrames": 90}))


def test_only_the_frames_that_are_wanted_are_read(xa, cine_frames, monkeypatch):
    cine = open_cine(xa(cine_frames))
    sizes = []
    read = cine.frame_map.read
    monkeypatch.setattr(cine.frame_map, "read", lambda stream, index: sizes.append(index) or read(stream, index))
    frames = cine.read([7, 2, 7])
    assert sizes == [2, 7]
    assert np.allclose(frames, cine_frames[[7, 2, 7]] / 255.0)


def test_frames_that_are_not_there_are_refused(xa, cine_frames):
    with pytest.raises(IndexError, match=r"cine\.dcm: frames must lie in 0\.\.11, got 3\.\.12"):
        open_cine(xa(cine_frames)).read([3, 12])


def test_colour_becomes_luminance_and_is_noted(xa, cine_frames):
    colours = np.stack([cine_frames, cine_frames // 2, 255 - cine_frames], axis=-1)
    cine = open_cine(xa(colours))
    assert np.allclose(cine.read(), colours @ np.array([0.299, 0.587, 0.114]) / 255, atol=1e-5)
    assert "colour (RGB) is read as luminance" in cine.info.notes


def test_the_luminance_of_ybr_is_its_first_sample(xa, cine_frames):
    grey = cine_frames.clip(40, 210)
    colours = np.stack([grey, np.full_like(grey, 120), np.full_like(grey, 135)], axis=-1)
    assert np.allclose(shown(xa(colours, PhotometricInterpretation="YBR_FULL")), grey / 255.0, atol=0.01)


def test_a_palette_is_looked_up(xa, cine_frames):
    ramp = (np.arange(256) * 257).astype("<u2")
    tags = {f"{c}PaletteColorLookupTableDescriptor": [256, 0, 16] for c in ("Red", "Green", "Blue")}
    tags |= {f"{c}PaletteColorLookupTableData": ramp[::-1].tobytes() for c in ("Red", "Green", "Blue")}
    path = xa(cine_frames, PhotometricInterpretation="PALETTE COLOR", **tags)
    assert np.allclose(shown(path), 1 - cine_frames / 255.0, atol=1e-4)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("LINEAR", lambda v: np.clip((v - 99.5) / 49 + 0.5, 0, 1)),
        ("LINEAR_EXACT", lambda v: np.clip((v - 100) / 50 + 0.5, 0, 1)),
        ("SIGMOID", lambda v: 1 / (1 + np.exp(-4 * (v - 100) / 50))),
    ],
)
def test_window_functions(xa, cine_frames, function, expected):
    path = xa(cine_frames, WindowCenter="100", WindowWidth="50", VOILUTFunction=function)
    assert np.allclose(shown(path), expected(cine_frames.astype(float)), atol=1e-6)


@pytest.mark.parametrize(
    "name",
    ["JPEG2000.dcm", "JPGExtended.dcm", "MR_small_RLE.dcm", "MR_small_jpeg_ls_lossless.dcm", "image_dfl.dcm"]
    + ["MR_small_bigendian.dcm", "SC_rgb_jpeg_dcmtk.dcm", "SC_ybr_full_422_uncompressed.dcm", "SC_rgb_rle_2frame.dcm"],
)
def test_files_of_other_makers_show_what_pydicom_decodes(name):
    path = get_testdata_file(name, download=False)
    if path is None:
        pytest.skip(f"this pydicom comes without {name}")
    data = pydicom.dcmread(path)
    pixels = data.pixel_array.astype(np.float64)
    frames = pixels[None] if int(data.get("NumberOfFrames") or 1) == 1 else pixels
    if data.SamplesPerPixel == 3:
        if pydicom.__version__.startswith("2.") and data.PhotometricInterpretation.startswith("YBR"):
            frames = frames[..., 0]
        else:
            frames = frames @ np.array([0.299, 0.587, 0.114])
    mine = open_cine(path, window=False).read().numpy()
    assert mine.shape == frames.shape
    assert np.corrcoef(mine.ravel(), frames.ravel())[0, 1] > 0.9999


def enhanced(cine_frames: np.ndarray, per_frame: bool) -> dict:
    """Functional groups with an angle, a window and reference times."""
    shared, items = Dataset(), []
    for index in range(len(cine_frames)):
        item, position, voi, content = Dataset(), Dataset(), Dataset(), Dataset()
        position.PositionerPrimaryAngle, position.PositionerSecondaryAngle = 40.0 + index * per_frame, -10.0
        voi.WindowCenter, voi.WindowWidth = str(100 + 10 * index * per_frame), "100"
        content.FrameReferenceDateTime = f"20240102030405.{index * 80:03d}"
        item.FrameContentSequence = [content]
        holder = item if per_frame else shared
        holder.PositionerPositionSequence, holder.FrameVOILUTSequence = [position], [voi]
        items.append(item)
    absent = {"PositionerPrimaryAngle": None, "PositionerSecondaryAngle": None, "FrameTime": None}
    return {"SharedFunctionalGroupsSequence": [shared], "PerFrameFunctionalGroupsSequence": items, **absent}


@pytest.mark.parametrize("per_frame", [False, True])
def test_enhanced_files_nest_angles_windows_and_times(xa, cine_frames, per_frame):
    cine = open_cine(xa(cine_frames, **enhanced(cine_frames, per_frame)))
    assert cine.info.timing == "FrameReferenceDateTime"
    assert np.allclose(cine.info.times_ms, np.arange(12) * 80.0)
    assert cine.info.view_angles == pytest.approx((45.5 if per_frame else 40.0, -10.0))
    centres = 100 + 10 * np.arange(12).reshape(-1, 1, 1) * per_frame
    expected = np.clip((cine_frames - (centres - 0.5)) / 99 + 0.5, 0, 1)
    assert np.allclose(cine.read(), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("tags", "timing", "step"),
    [
        ({"FrameTimeVector": [0.0] + [40.0] * 11, "CineRate": "10"}, "FrameTimeVector", 40.0),
        ({"FrameTimeVector": [0.0] + [40.0] * 5, "FrameTime": "50"}, "FrameTime", 50.0),
        ({"FrameTime": "50", "CineRate": "10"}, "FrameTime", 50.0),
        ({"FrameTime": None, "CineRate": "10", "RecommendedDisplayFrameRate": "30"}, "CineRate", 100.0),
        ({"FrameTime": "0", "RecommendedDisplayFrameRate": "25"}, "RecommendedDisplayFrameRate", 40.0),
        ({"FrameTime": "0.033", "CineRate": "25"}, "CineRate", 40.0),
        ({"FrameTime": None}, "assumed", 1000 / 15),
        ({"FrameTime": ""}, "assumed", 1000 / 15),
    ],
    ids=["vector", "short vector", "frame time", "cine rate", "display rate", "seconds", "absent", "empty"],
)
def test_frame_times_come_from_the_first_tag_that_is_usable(xa, cine_frames, tags, timing, step):
    info = open_cine(xa(cine_frames, **tags)).info
    assert info.timing == timing
    assert np.allclose(info.times_ms, step * np.arange(12))
    assert ("15 frames a second assumed" in " ".join(info.notes)) == (timing == "assumed")


def test_irregular_times_are_summed(xa, cine_frames):
    steps = [0.0, *np.linspace(30, 80, 11)]
    assert np.allclose(open_cine(xa(cine_frames, FrameTimeVector=steps)).info.times_ms, np.cumsum(steps), atol=1e-3)


@pytest.mark.parametrize(
    ("tags", "first", "last"),
    [
        ({}, (-30, 20), (-30, 20)),
        ({"PositionerPrimaryAngleIncrement": "2"}, (-30, 20), (-30, 20)),
        ({"PositionerMotion": "DYNAMIC", "PositionerPrimaryAngleIncrement": "2"}, (-30, 20), (-8, 20)),
        (
            {"PositionerMotion": "DYNAMIC", "PositionerSecondaryAngleIncrement": [str(-i) for i in range(12)]},
            (-30, 20),
            (-30, 9),
        ),
        ({"PositionerPrimaryAngle": ""}, (np.nan, 20), (np.nan, 20)),
        ({"PositionerPrimaryAngle": None, "PositionerSecondaryAngle": None}, (np.nan, np.nan), (np.nan, np.nan)),
        ({"PositionerSecondaryAngle": "120"}, (-30, np.nan), (-30, np.nan)),
    ],
    ids=["static", "static with increment", "constant", "vector", "empty", "absent", "impossible"],
)
def test_angles_follow_the_positioner(xa, cine_frames, tags, first, last):
    angles = open_cine(xa(cine_frames, **tags)).info.angles
    assert np.allclose(angles[0], first, equal_nan=True)
    assert np.allclose(angles[-1], last, equal_nan=True)


def test_a_rotation_over_the_back_is_averaged_on_the_circle(xa, cine_frames):
    tags = {"PositionerMotion": "DYNAMIC", "PositionerPrimaryAngle": "174.5", "PositionerPrimaryAngleIncrement": "1"}
    info = open_cine(xa(cine_frames, **tags)).info
    assert info.angles[-1, 0] == pytest.approx(-174.5)
    assert abs(info.view_angles[0]) == pytest.approx(180.0)


def cut(path: Path, size: int) -> Path:
    path.write_bytes(path.read_bytes()[:size])
    return path


def test_a_truncated_file_is_refused_or_read_as_far_as_it_goes(xa, cine_frames, codecs):
    encoded = [codecs["jpeg"](f) for f in cine_frames]
    compressed = xa(encoded, name="jpeg.dcm", syntax=JPEGBaseline8Bit, shape=(40, 48))
    for path, rest in ((xa(cine_frames), 40 * 48 + 100), (compressed, len(encoded[-1]) + 40)):
        cut(path, path.stat().st_size - rest)
        with pytest.raises(ValueError, match="is truncated: 12 frames declared, 10 whole ones found; copy or export"):
            open_cine(path)
        cine = open_cine(path, truncated="keep")
        assert cine.info.frames == 10 and "truncated: 10 of 12 frames" in cine.info.notes
        assert np.abs(cine.read().numpy() * 255 - cine_frames[:10]).max() < 12


def test_a_file_cut_in_its_header_is_refused(xa, cine_frames):
    path = xa(cine_frames)
    for size in (100, 140, 300, 500):
        with pytest.raises(ValueError, match=r"cine\.dcm: .*(no DICOM file|truncated|absent)"):
            open_cine(cut(xa(cine_frames), size))
    with pytest.raises(ValueError, match="must hold a whole frame, it holds none.*truncated or empty"):
        open_cine(cut(xa(cine_frames), path.stat().st_size - cine_frames.size + 50))


def test_a_file_without_pixels_is_refused(xa, cine_frames, tmp_path):
    data = pydicom.dcmread(xa(cine_frames))
    del data.PixelData
    data.save_as(tmp_path / "empty.dcm")
    with pytest.raises(ValueError, match=r"empty\.dcm: the file must hold pixel data, it holds none \(XA\); give the"):
        open_cine(tmp_path / "empty.dcm")


def test_text_with_the_name_of_a_dicom_file_is_refused(tmp_path):
    (tmp_path / "a.dcm").write_text("not an angiogram" * 40)
    with pytest.raises(ValueError, match=r"a\.dcm: this is no DICOM file; give the original file"):
        open_cine(tmp_path / "a.dcm")


def test_a_file_without_preamble_is_read(xa, cine_frames, tmp_path):
    path, plain = xa(cine_frames, syntax=ImplicitVRLittleEndian), tmp_path / "old.dcm"
    meta = pydicom.dcmread(path).file_meta.FileMetaInformationGroupLength
    plain.write_bytes(path.read_bytes()[128 + 4 + 12 + meta :])
    assert plain.read_bytes()[:2] == b"\x08\x00"
    assert np.allclose(shown(plain), cine_frames / 255.0)


def test_zero_frames_declared_are_counted(xa, cine_frames):
    info = open_cine(xa(cine_frames, NumberOfFrames=0)).info
    assert info.frames == 12 and info.notes == ["0 frames declared, 12 found"]
    with pytest.raises(ValueError, match="the file must hold pixel data, it holds none"):
        open_cine(xa(cine_frames[:0], NumberOfFrames=0))


def test_frames_beyond_those_declared_are_told(xa, cine_frames):
    info = open_cine(xa(cine_frames, NumberOfFrames=3)).info
    assert info.frames == 3 and info.notes == ["3 frames declared, 12 found; only the declared ones are read"]


def test_one_frame_is_a_cine(xa, cine_frames):
    cine = open_cine(xa(cine_frames[:1], NumberOfFrames=None))
    assert cine.info.frames == 1 and cine.info.timing == "one frame" and cine.info.notes == ["one frame only"]
    assert np.allclose(cine.read(), cine_frames[:1] / 255.0)


@pytest.mark.parametrize(("flag", "burned"), [("YES", True), ("NO", False), (None, None)])
def test_burned_in_annotation_is_recorded_or_refused(xa, cine_frames, flag, burned):
    path = xa(cine_frames, **({"BurnedInAnnotation": flag} if flag else {}))
    info = open_cine(path).info
    assert info.burned_in is burned
    assert ("annotation is burned into the pixels" in info.notes) == (flag == "YES")
    if flag == "YES":
        with pytest.raises(ValueError, match="BurnedInAnnotation must not be YES here; use a file without annotation"):
            open_cine(path, refuse_burned_in=True)
    else:
        assert open_cine(path, refuse_burned_in=True).info.frames == 12


def test_a_codec_without_decoder_names_the_package(xa, cine_frames, codecs, monkeypatch):
    path = xa([codecs["jpeg_lossless"](cine_frames[0], 8)], syntax=JPEGLosslessSV1, shape=(40, 48))
    monkeypatch.setitem(sys.modules, "libjpeg", None)
    monkeypatch.setitem(sys.modules, "gdcm", None)
    with pytest.raises(ImportError, match=r"JPEG Lossless.*`pip install pylibjpeg pylibjpeg-libjpeg`.*\[dicom\]"):
        open_cine(path)


def test_frames_of_unequal_size_are_refused(xa, cine_frames, codecs):
    encoded = [codecs["jpeg"](cine_frames[0]), codecs["jpeg"](cine_frames[1][:30])]
    cine = open_cine(xa(encoded, syntax=JPEGBaseline8Bit, shape=(40, 48)))
    assert cine.read([0]).shape == (1, 40, 48)
    with pytest.raises(ValueError, match=r"the size of the header, \(40, 48\), frame 1 has \(30, 48\); export"):
        cine.read()


def test_a_damaged_frame_is_named(xa, cine_frames, codecs):
    encoded = [codecs["jpeg"](f) for f in cine_frames[:3]]
    encoded[1] = b"\xff\xd8" + b"\0" * 200
    cine = open_cine(xa(encoded, syntax=JPEGBaseline8Bit, shape=(40, 48)))
    with pytest.raises(ValueError, match=r"cine\.dcm: frame 1 cannot be decoded: .*; copy or export the file again"):
        cine.read()


def test_depths_that_are_no_angiogram_are_refused(xa, cine_frames):
    with pytest.raises(ValueError, match="pixels must have 8 to 16 bits, got 32 stored in 32; export"):
        open_cine(xa(cine_frames.astype(np.uint32)))


def test_policies_are_checked(xa, cine_frames):
    with pytest.raises(ValueError, match=r"truncated must be one of \('refuse', 'keep'\), got 'ignore'"):
        DicomCine(xa(cine_frames), truncated="ignore")
