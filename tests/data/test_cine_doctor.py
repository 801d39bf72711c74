"""What the doctor finds in studies of videos, and that one finding hides no other."""

from __future__ import annotations

import builtins
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from medvlm.data.cine_checks import check_study
from medvlm.data.cine_headers import read_cine_header
from medvlm.data.datalists import save_datalist
from medvlm.data.dicom_decoding import missing_decoder
from medvlm.data.dicom_facts import dicom_angles, dicom_rate
from medvlm.data.doctor import doctor, examine
from medvlm.data.duplicates import equal_files
from medvlm.data.prepare import prepare
from medvlm.data.reading import ReadError


@pytest.fixture
def case(cines):
    """A sound study of two videos."""
    return {
        "video": [str(f) for f in cines.study(1)],
        "report": "Mild disease of the mid LAD, no calcification.",
        "targets": {"stenosis": 0, "mid_lad_stenosis": 30, "dominance": None},
        "patient_id": "P1",
        "study_id": "1.2.1",
        "case_id": "c1",
        "source": "s",
    }


def _rows(case, severity):
    return [(p.file, p.problem) for p in check_study(case) if p.severity == severity]


def _only(case, severity="error", file=None) -> str:
    rows = _rows(case, severity)
    assert len(rows) == 1, rows
    assert rows[0][0] == str(file or case["video"][0])
    return rows[0][1]


def test_a_sound_study_has_no_finding(case):
    assert check_study(case) == []


# Headers


def test_a_dicom_header_gives_frames_rate_and_angles(cines):
    header = read_cine_header(cines.dicom("a.dcm", frames=5, size=(40, 48), bits=12, PatientID="X"))
    assert (header.kind, header.frames, header.height, header.width, header.samples) == ("dicom", 5, 40, 48, 1)
    assert header.rate_fps == pytest.approx(1000 / 66.6) and (header.primary_deg, header.secondary_deg) == (-30, 15)
    assert header.patient_id == "X" and header.modality == "XA" and not header.missing_decoder


@pytest.mark.parametrize(
    ("tags", "fps"),
    [
        ({"FrameTimeVector": [0, 50, 50, 100], "FrameTime": 10.0}, 15.0),
        ({"FrameTime": 40.0, "CineRate": 7}, 25.0),
        ({"FrameTime": None, "CineRate": 7, "RecommendedDisplayFrameRate": 9}, 7.0),
        ({"FrameTime": 0.0, "RecommendedDisplayFrameRate": 9}, 9.0),
        ({"FrameTime": None}, None),
    ],
    ids=["vector", "time", "cine", "display", "none"],
)
def test_the_rate_is_taken_in_the_order_of_the_standard(cines, tags, fps):
    found = read_cine_header(cines.dicom("a.dcm", **tags)).rate_fps
    assert found == (fps if fps is None else pytest.approx(fps))


def test_angles_are_found_in_enhanced_files():
    from pydicom.dataset import Dataset

    position, group, header = Dataset(), Dataset(), Dataset()
    position.PositionerPrimaryAngle, position.PositionerSecondaryAngle = 12.5, -7.0
    group.PositionerPositionSequence = [position]
    header.PerFrameFunctionalGroupsSequence = [group]
    assert dicom_angles(header) == (12.5, -7.0)
    assert dicom_angles(Dataset()) == (None, None) and dicom_rate(Dataset()) is None


def test_other_kinds_of_videos_are_measured(cines):
    folder = cines.frames("frames", count=3, size=(48, 40))
    assert (read_cine_header(folder).frames, read_cine_header(folder).height) == (3, 40)
    np.save(cines.root / "a.npy", np.zeros((6, 40, 50), np.uint8))
    np.savez(cines.root / "b.npz", frames=np.zeros((7, 40, 50, 3), np.uint8), primary_angle=20.0, secondary_angle=-5.0)
    array, archive = read_cine_header(cines.root / "a.npy"), read_cine_header(cines.root / "b.npz")
    assert (array.frames, array.width, array.samples) == (6, 50, 1)
    assert (archive.frames, archive.samples, archive.primary_deg, archive.secondary_deg) == (7, 3, 20.0, -5.0)
    np.savez(cines.root / "c.npz", video=np.zeros((2, 40, 50)), frame_time_ms=100.0)
    assert read_cine_header(cines.root / "c.npz").rate_fps == 10 and archive.rate_fps is None
    assert read_cine_header(folder / "f_00000.png").frames == 1


def test_a_video_file_is_measured(cines):
    av = pytest.importorskip("av", reason="PyAV is not installed")
    cines.root.mkdir()
    path = cines.root / "a.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for level in range(5):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 40 * level, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    header = read_cine_header(path)
    assert (header.frames, header.height, header.width, header.rate_fps) == (5, 48, 64, 10.0)
    assert [p for p in check_study({"video": [str(path)], "case_id": "x"})] == []


def test_a_video_without_pyav_names_the_extra(cines, monkeypatch):
    cines.root.mkdir()
    (cines.root / "a.mp4").write_bytes(b"\0" * 200)
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "av":
            raise ImportError("no av")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ReadError, match=r"need PyAV.*medvlm-bundles\[video\]"):
        read_cine_header(cines.root / "a.mp4")


def test_a_missing_decoder_names_the_extra(monkeypatch):
    import pydicom.pixels
    from pydicom.uid import MPEG4HP41, JPEGLosslessSV1, RLELossless

    class Absent:
        is_available = False

    assert missing_decoder(RLELossless) == ""
    assert "store the video as MP4" in missing_decoder(MPEG4HP41)
    monkeypatch.setattr(pydicom.pixels, "get_decoder", lambda syntax: Absent())
    assert "JPEG Lossless" in missing_decoder(JPEGLosslessSV1)
    assert "pip install 'medvlm-bundles[dicom]'" in missing_decoder(JPEGLosslessSV1)


# Files that cannot be used


def test_a_missing_decoder_is_an_error_of_the_study(case, cines, monkeypatch):
    import pydicom.pixels

    class Absent:
        is_available = False

    cines.dicom("s1/v0.dcm", compressed=True, StudyInstanceUID="1.2.1")
    case["video"] = case["video"][:1]
    monkeypatch.setattr(pydicom.pixels, "get_decoder", lambda syntax: Absent())
    rows = check_study(case)
    assert ["cannot be decoded here" in p.problem for p in rows] == [True]
    assert rows[0].severity == "error" and "medvlm-bundles[dicom]" in rows[0].remedy


@pytest.mark.parametrize(
    ("harm", "problem"),
    [
        (lambda p: p.unlink(), "there is no such file"),
        (lambda p: p.write_bytes(b""), "the file is empty"),
        (lambda p: p.write_text("<html>404</html>" * 20, encoding="utf-8"), "cannot be read"),
        (lambda p: p.write_bytes(b"version https://git-lfs.github.com/spec/v1\n"), "git-lfs pointer"),
        (lambda p: p.write_bytes(p.read_bytes()[:-2000]), "the pixel data end early: 2 of 4 frames are whole"),
        (lambda p: p.write_bytes(p.read_bytes()[:400]), "ends before its pixel data|cannot be read|no pixel data"),
    ],
    ids=["gone", "empty", "text", "lfs", "truncated", "header only"],
)
def test_a_damaged_file_is_named_and_the_other_still_checked(case, cines, harm, problem):
    import re

    harm(cines.root / "s1" / "v0.dcm")
    cines.dicom("s1/v1.dcm", StudyInstanceUID="1.2.1", PositionerPrimaryAngle=None)
    assert re.search(problem, _only(case))
    assert "the primary angle is unknown" in _only(case, "warning", case["video"][1])


def test_a_truncated_compressed_file_is_named(case, cines):
    path = cines.dicom("s1/v0.dcm", compressed=True, StudyInstanceUID="1.2.1")
    assert check_study(case) == []
    path.write_bytes(path.read_bytes()[:-3000])
    assert "compressed pixel data end early" in _only(case)


def test_fewer_fragments_than_frames_are_named(case, cines):
    import pydicom

    path = cines.dicom("s1/v0.dcm", compressed=True, StudyInstanceUID="1.2.1")
    dataset = pydicom.dcmread(path)
    dataset.NumberOfFrames = 9
    dataset.save_as(path)
    assert _only(case) == "it declares 9 frames and holds 4"


@pytest.mark.parametrize(
    ("tags", "problem"),
    [
        ({"NumberOfFrames": 0}, "it declares 0 frames"),
        ({"pixels": None}, "the file ends before its pixel data"),
        ({"pixels": None, "Rows": None, "Modality": "SR"}, "it holds no pixel data"),
        ({"size": (20, 24)}, "its frames are only 20 x 24"),
    ],
    ids=["no frames", "no pixels", "report", "tiny"],
)
def test_what_is_no_video_is_an_error(case, cines, tags, problem):
    cines.dicom("s1/v0.dcm", **({"StudyInstanceUID": "1.2.1"} | tags))
    assert problem in _only(case)


def test_damaged_streams_and_constant_frames_are_found_by_decoding(case, cines):
    path = cines.dicom("s1/v0.dcm", compressed=True, StudyInstanceUID="1.2.1")
    data = bytearray(path.read_bytes())
    for start in range(len(data) - 8000, len(data) - 500):
        if data[start : start + 4] != b"\xfe\xff\x00\xe0":
            continue
        data[start + 8 : start + 72] = b"\xff" * 64  # the RLE header of a frame
    path.write_bytes(bytes(data))
    assert "cannot be decoded" in _only(case)
    path = cines.dicom("s1/v0.dcm", StudyInstanceUID="1.2.1")
    path.write_bytes(path.read_bytes()[: -4 * 40 * 48] + bytes(4 * 40 * 48))
    assert "the frame in the middle is constant (every pixel is 0)" in _only(case)


def test_frames_of_unequal_size_are_an_error(cines):
    folder = cines.frames("frames")
    Image.new("L", (50, 40)).save(folder / "f_00009.png")
    (row,) = [p for p in check_study({"video": [str(folder)], "case_id": "x"}) if "unequal" in p.problem]
    assert row.severity == "error" and "48 x 40" in row.problem and "50 x 40" in row.problem


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda p: np.savez(p, other=np.zeros((3, 40, 40))), r"it holds \['other'\]"),
        (lambda p: np.savez(p, frames=np.zeros((40, 40))), r"its array is \(40, 40\)"),
        (lambda p: np.savez(p, frames=np.zeros((0, 40, 40))), "it holds 0 frames"),
        (lambda p: p.write_bytes(b"PK\3\4 broken" * 20), "cannot be read"),
    ],
    ids=["name", "shape", "no frames", "damaged"],
)
def test_arrays_that_are_no_videos_are_errors(cines, make, problem):
    cines.root.mkdir()
    make(cines.root / "a.npz")
    with pytest.raises(ReadError, match=problem):
        read_cine_header(cines.root / "a.npz")


def test_an_unknown_ending_is_refused(cines):
    cines.root.mkdir()
    (cines.root / "a.bin").write_bytes(b"\0" * 300)
    with pytest.raises(ReadError, match=r"'.bin' is not known, and it is no DICOM"):
        read_cine_header(cines.root / "a.bin")


def test_a_study_without_a_readable_video_says_so(case, cines):
    for view in range(2):
        (cines.root / "s1" / f"v{view}.dcm").write_bytes(b"")
    problems = [problem for _, problem in _rows(case, "error")]
    assert problems.count("the file is empty (0 bytes)") == 2
    assert problems[-1] == "no video of the study can be read"
    assert "the case names no video" in [p.problem for p in check_study({"case_id": "x", "video": []})]


# What a network can live with


@pytest.mark.parametrize(
    ("tags", "problem"),
    [
        ({"frames": 1}, "it holds one frame"),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}, "it is in colour"),
        ({"BurnedInAnnotation": "YES"}, "writing is burned into the picture"),
        ({"Modality": "US"}, "its modality is US"),
        ({"FrameTime": None}, "frames a second are unknown"),
        ({"FrameTime": 5000.0}, "0.2 frames a second"),
        ({"PositionerPrimaryAngle": None, "PositionerSecondaryAngle": None}, "the angles of the C-arm are unknown"),
        ({"PositionerSecondaryAngle": None}, "the secondary angle is unknown"),
        ({"PositionerSecondaryAngle": 120.0}, "the secondary angle is 120 degrees"),
        ({"StudyInstanceUID": "9.9"}, "its videos come from 2 studies"),
    ],
    ids=[
        "one frame",
        "colour",
        "burned in",
        "modality",
        "no rate",
        "rate",
        "no angles",
        "one angle",
        "angles",
        "other study",
    ],
)
def test_what_can_be_lived_with_is_a_warning(case, cines, tags, problem):
    cines.dicom("s1/v0.dcm", **({"StudyInstanceUID": "1.2.1"} | tags))
    assert problem in _only(case, "warning") and not _rows(case, "error")


def test_angles_that_the_datalist_gives_are_known(case, cines):
    cines.dicom("s1/v0.dcm", StudyInstanceUID="1.2.1", PositionerPrimaryAngle=None)
    case["view_angles"] = [[10.0, 15.0], None]
    assert check_study(case) == []
    case["view_angles"][0] = [None, 15.0]
    assert "the primary angle is unknown" in _only(case, "warning")
    case["view_angles"][0] = [10.0, -15.0]
    assert "the secondary angle is 15 degrees in the header and -15 in the datalist" in _only(case, "warning")


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ([10.0, 91.0], "the secondary angle is 91 degrees in the datalist"),
        ([float("nan"), None], "the primary angle is nan in the datalist"),
        ([None, "20"], "the secondary angle is '20' in the datalist"),
        ([10.0], "its entry of view_angles is [10.0]"),
        (10.0, "its entry of view_angles is 10.0"),
    ],
)
def test_angles_of_the_datalist_are_checked_as_well(case, entry, problem):
    case["view_angles"] = [None, entry]
    rows = [text for file, text in _rows(case, "error") if file == case["video"][1]]
    assert rows == [problem]


def test_the_same_video_twice_is_found(case, cines):
    shutil.copy(case["video"][0], case["video"][1])
    assert "the same bytes as" in _only(case, "warning", case["video"][1])
    case["video"] = [case["video"][0]] * 2
    assert "the video stands 2 times in the study" in _only(case)


def test_lists_that_do_not_fit_the_videos_are_errors(case):
    case["view_angles"] = [[1.0, 2.0]]
    case["boxes"] = [
        {"view": 0, "frame": 0, "box": [1, 2, 3, 4], "name": "x"},
        {"view": 5, "frame": 0, "box": [1, 2, 3, 4], "name": "x"},
        {"view": 0, "frame": 0, "box": [3, 2, 1, 4], "name": "x"},
    ]
    problems = [problem for _, problem in _rows(case, "error")]
    assert "view_angles has 1 entries for 2 videos" in problems
    assert sum("fits no video" in p for p in problems) == 2


# Texts and targets


@pytest.mark.parametrize(
    ("report", "severity", "problem"),
    [
        ("  ", "error", "the report is empty"),
        (["a"], "error", "the report is list, not text"),
        ("word " * 10_000, "warning", "the report has 10000 words"),
        ("Normal.", "warning", "the report is only 'Normal.'"),
        ("St\ufffdnose of the mid LAD", "warning", "were not decoded"),
    ],
    ids=["empty", "list", "long", "short", "undecoded"],
)
def test_reports_are_looked_at(case, report, severity, problem):
    case["report"] = report
    assert problem in _only(case, severity)


def test_an_absent_report_is_unknown_and_fine(case):
    del case["report"], case["targets"]
    assert check_study(case) == []


@pytest.mark.parametrize("value", ["70", True, float("nan"), [1]], ids=["text", "bool", "nan", "list"])
def test_targets_are_numbers(case, value):
    case["targets"]["mid_lad_stenosis"] = value
    assert "the target mid_lad_stenosis is" in _only(case)


def test_a_percentage_out_of_range_is_an_error(case):
    case["targets"]["mid_lad_stenosis"] = 170
    assert _only(case) == "the target mid_lad_stenosis is 170"


# Over many studies


def _sections(cines, sizes, **more):
    """``sizes``: section -> numbers of the studies."""
    return {
        section: [
            {
                "video": [str(f) for f in cines.study(number, views=1)],
                "report": f"Study {number}: mild disease.",
                "patient_id": f"P{number}",
                "study_id": f"1.2.{number}",
                "case_id": f"c{number}",
                **{key: value(number) for key, value in more.items()},
            }
            for number in numbers
        ]
        for section, numbers in sizes.items()
    }


def test_a_copied_video_in_two_sections_is_leakage(cines):
    sections = _sections(cines, {"training": [0, 1], "test": [2]})
    shutil.copy(sections["training"][0]["video"][0], sections["test"][0]["video"][0])
    rows = [p for p in examine(sections, "d.json") if p.severity == "error"]
    assert any("leakage: the same bytes as" in p.problem and p.case_id == "c2" for p in rows)


def test_a_saved_again_object_in_two_sections_is_leakage(cines):
    import pydicom

    sections = _sections(cines, {"training": [0], "test": [1]})
    dataset = pydicom.dcmread(sections["training"][0]["video"][0])
    dataset.PatientName = "Another"
    dataset.save_as(sections["test"][0]["video"][0])
    rows = [p for p in examine(sections, "d.json") if p.severity == "error"]
    assert ["leakage: the same SOPInstanceUID" in p.problem for p in rows] == [True]
    sections = {"training": sections["training"] + sections["test"]}
    assert [p.severity for p in examine(sections, "d.json") if "SOPInstanceUID" in p.problem] == ["warning"]


def test_a_patient_in_two_sections_is_leakage(cines):
    sections = _sections(cines, {"training": [0], "test": [1]}, patient_id=lambda n: "P")
    assert any("leakage: patient P stands in" in p.problem for p in examine(sections, "d.json"))


def test_repeated_reports_are_counted(cines):
    sections = _sections(
        cines,
        {"training": range(6), "test": [6]},
        report=lambda n: "Normal  coronaries." if n < 4 else f"LAD {n}0% mid.",
    )
    (row,) = [p for p in examine(sections, "d.json") if "share their report" in p.problem]
    assert row.severity == "warning" and "4 of 6 studies" in row.problem and "3 different texts" in row.problem
    assert "normal coronaries." in row.problem


def test_a_target_of_one_class_is_named(cines):
    sections = _sections(cines, {"training": [0, 1], "test": [2, 3]}, targets=lambda n: {"stenosis": int(n == 0)})
    (row,) = [p for p in examine(sections, "d.json") if "one value" in p.problem]
    assert row.severity == "warning" and row.problem.startswith("test: one value") and "stenosis (0)" in row.problem


def test_equal_files_are_found_by_content(tmp_path):
    for name, content in (("a", b"x" * 9), ("b", b"x" * 9), ("c", b"y" * 9), ("d", b"x" * 8), ("e", b""), ("f", b"")):
        (tmp_path / name).write_bytes(content)
    names = [str(tmp_path / n) for n in "abcdef"] + [str(tmp_path / "none")]
    assert equal_files(names) == [[names[0], names[1]]]


def test_equal_edges_are_not_equal_files(tmp_path):
    body = bytearray(b"\1" * (1 << 18))
    (tmp_path / "a").write_bytes(body)
    body[1 << 16] = 2
    (tmp_path / "b").write_bytes(body)
    assert equal_files([tmp_path / "a", tmp_path / "b"]) == []


# The command


def test_the_doctor_prints_tables_and_ends_with_its_status(cines, tmp_path, capsys):
    rows = cines.rows(6, splits=("train", "train", "val", "val", "test", "test"), stenosis=lambda n: n % 2)
    out = tmp_path / "d.json"
    prepare("cine_manifest", str(cines.manifest(rows)), str(out))
    capsys.readouterr()
    assert doctor(str(out), jobs=2) == 0
    text = capsys.readouterr().out
    assert "angles" in text and "0: 1, 1: 1" in text and "6 cases: 0 errors, 0 warnings" in text
    (cines.root / "s0" / "v0.dcm").write_bytes(b"")
    cines.dicom("s3/v1.dcm", StudyInstanceUID="1.2.3", PatientID="P3", FrameTime=None)
    (cines.root / "s5" / "v0.dcm").unlink()
    assert doctor(str(out), json=str(tmp_path / "rows.json")) == 1
    found = {(r["case_id"], r["problem"]) for r in json.loads((tmp_path / "rows.json").read_text(encoding="utf-8"))}
    assert found == {
        ("1.2.0", "the file is empty (0 bytes)"),
        ("1.2.3", "frames a second are unknown"),
        ("1.2.5", "there is no such file"),
    }
    assert doctor(str(out), sections="validation") == 0
    assert doctor(str(out), sections="validation", strict=True) == 1


def test_prepare_with_verify_refuses_what_the_doctor_would(cines, tmp_path):
    path = cines.manifest(cines.rows(2))
    shutil.copy(cines.dicom("x.dcm", NumberOfFrames=0), cines.root / "s1" / "v0.dcm")
    with pytest.raises(ValueError, match="it declares 0 frames"):
        prepare("cine_manifest", str(path), str(tmp_path / "d.json"), verify=True)


def test_a_datalist_without_studies_is_untouched_by_these_checks(tmp_path, capsys):
    save_datalist({"training": []}, tmp_path / "d.json")
    assert doctor(str(tmp_path / "d.json")) == 1
    assert "angles" not in capsys.readouterr().out
