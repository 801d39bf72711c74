from __future__ import annotations

import csv
import hashlib
import json
import subprocess
import sys

import numpy as np
import pydicom
import pytest

from medvlm.coronary import SEGMENTS
from medvlm.data.phantoms.coronary_anatomy import RIGHT
from medvlm.data.phantoms.coronary_dataset import write_coronary_phantoms
from medvlm.data.phantoms.coronary_files import Oddities, RunHeader, Writing, dicom_bytes
from medvlm.data.phantoms.coronary_projection import CArm
from medvlm.data.phantoms.coronary_scene import Room
from medvlm.data.phantoms.coronary_studies import draw_studies

SMALL = {"studies": 16, "size": 48, "frames": (5, 7), "fps": (7.5, 15.0), "views": (1, 3), "progress": False}
ODD = {"eight_bit_fraction": 0.4, "monochrome1_fraction": 0.4, "rle_fraction": 0.4, "missing_angles_fraction": 0.3}
ODD |= {"repeat_fraction": 0.3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_coronary_phantoms(tmp_path_factory.mktemp("coronary"), **SMALL, **ODD)


@pytest.fixture(scope="module")
def rows(folder):
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def runs(folder, rows):
    return [pydicom.dcmread(folder / row["FileName"]) for row in rows]


@pytest.fixture(scope="module")
def truth(folder):
    marker = json.loads((folder.parent / "phantoms.json").read_text(encoding="utf-8"))
    return {case["study"]: case for case in marker["sources"]["coronary"]["cases"]}


def digest(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_equal_arguments_give_equal_bytes_whatever_the_workers(tmp_path, folder):
    again = write_coronary_phantoms(tmp_path, **SMALL, **ODD, workers=3)
    assert digest(again) == digest(folder)


def test_another_seed_gives_other_frames(tmp_path, folder):
    other = write_coronary_phantoms(tmp_path, **{**SMALL, "studies": 4}, **ODD, seed=1)
    first, second = digest(other), digest(folder)
    assert not set(first.values()) & set(second.values())


def test_a_second_call_changes_nothing_and_other_arguments_are_refused(tmp_path):
    few = {**SMALL, "studies": 4}
    folder = write_coronary_phantoms(tmp_path, **few)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert write_coronary_phantoms(tmp_path, **few) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    with pytest.raises(FileExistsError, match="difficulty: .*'noise': 1.0.* there, .*'noise': 2.0.* asked"):
        write_coronary_phantoms(tmp_path, **few, noise=2.0)


def test_every_file_stands_in_the_manifest(folder, rows):
    assert {row["FileName"] for row in rows} == {path.relative_to(folder).as_posix() for path in folder.rglob("*.dcm")}


def test_files_are_multi_frame_angiograms(rows, runs):
    for row, run in zip(rows, runs, strict=True):
        assert run.SOPClassUID == pydicom.uid.XRayAngiographicImageStorage and run.Modality == "XA"
        assert (run.StudyInstanceUID, run.PatientID) == (row["StudyInstanceUID"], row["PatientID"])
        frames = run.pixel_array
        assert frames.shape == (run.NumberOfFrames, 48, 48) and 5 <= len(frames) <= 7
        assert frames.max() < 2**run.BitsStored and frames.max() > 2 ** (run.BitsStored - 2)
        assert frames.std() > 2 ** (run.BitsStored - 8)


def test_files_are_written_in_many_ways(runs):
    assert {run.BitsStored for run in runs} == {8, 10, 12}
    assert {run.PhotometricInterpretation for run in runs} == {"MONOCHROME1", "MONOCHROME2"}
    assert {run.file_meta.TransferSyntaxUID.name for run in runs} == {"RLE Lossless", "Explicit VR Little Endian"}
    assert {"PositionerPrimaryAngle" in run for run in runs} == {True, False}
    assert {"WindowWidth" in run for run in runs} == {True, False}
    assert {"SeriesTime" in run for run in runs} == {True, False}
    assert {tag for run in runs for tag in ("FrameTime", "FrameTimeVector", "CineRate") if tag in run} == {
        "FrameTime", "FrameTimeVector", "CineRate"
    }  # fmt: skip


def test_rates_are_those_asked_for(runs):
    times = {round(float(run.FrameTime), 2) for run in runs if "FrameTime" in run}
    assert times == {133.33, 66.67}


def test_inverted_and_compressed_files_hold_the_same_picture():
    frames = np.random.default_rng(0).integers(0, 4096, (3, 48, 48)).astype(np.uint16)
    header = RunHeader("P", "1.2.3", 1, 66.7, (30.0, -20.0), CArm(30, -20, 48, 100), 40000)
    plain, odd = (
        pydicom.dcmread(pydicom.filebase.DicomBytesIO(dicom_bytes(frames, header, how)))
        for how in (Writing(), Writing(inverted=True, rle=True))
    )
    assert np.array_equal(plain.pixel_array, frames)
    assert np.array_equal(4095 - odd.pixel_array, frames)
    assert (float(plain.PositionerPrimaryAngle), float(plain.PositionerSecondaryAngle)) == (30.0, -20.0)
    spacing = 100 / 48 * 1050 / 765
    assert float(plain.ImagerPixelSpacing[0]) == pytest.approx(spacing, rel=1e-4)


def test_the_manifest_holds_the_truth(rows, truth):
    for row in rows:
        case = truth[row["FileName"].split("/")[1]]
        lesions = {one["segment"]: one for one in case["lesions"]}
        for segment in SEGMENTS:
            value = row[f"{segment.name}_stenosis"]
            if value == "":
                assert segment.name not in lesions and row[f"{segment.name}_cto"] == ""
                continue
            assert int(value) == lesions.get(segment.name, {"percent": 0})["percent"]
            chronic = int(value) == 100 and lesions[segment.name]["chronic"]
            assert int(row[f"{segment.name}_cto"]) == chronic
            assert int(row[f"{segment.name}_calcif_binary"]) == (segment.name in case["calcified"])
        worst = max((one["percent"] for one in case["lesions"]), default=0)
        assert int(row["max_stenosis"]) == worst
        assert int(row["stenosis"]) == (worst > 70) and int(row["occlusion"]) == (worst == 100)


def test_segments_of_an_artery_that_is_not_injected_are_unknown(rows, truth):
    single = [row for row in rows if truth[row["FileName"].split("/")[1]]["sides"] == ["left"]]
    assert single
    assert all(row["mid_rca_stenosis"] == "" and row["rca_max_stenosis"] == "" for row in single)


def test_rows_of_a_study_agree_and_splits_keep_patients_together(rows):
    by_study, by_patient = {}, {}
    for row in rows:
        by_study.setdefault(row["StudyInstanceUID"], set()).add((row["Report"], row["Split"], row["max_stenosis"]))
        by_patient.setdefault(row["PatientID"], set()).add(row["Split"])
    assert all(len(kinds) == 1 for kinds in (*by_study.values(), *by_patient.values()))
    assert len(by_study) == 16 > len(by_patient)
    assert {row["Split"] for row in rows} == {"train", "val", "test"}


def test_classes_are_even_in_every_split():
    studies = draw_studies(200, 0.5, 0.1, (1, 6), (0.6, 0.2, 0.2), seed=4)
    for name, share in (("train", 0.6), ("val", 0.2), ("test", 0.2)):
        own = [study.positive for study in studies if study.split == name]
        assert len(own) / 200 == pytest.approx(share, abs=0.04)
        assert np.mean(own) == pytest.approx(0.5, abs=0.1)


def auc(score, positive):
    """Chance that a positive has the higher score; ties count half."""
    yes, no = score[positive], score[~positive]
    return float((yes[:, None] > no).mean() + 0.5 * (yes[:, None] == no).mean())


def test_what_is_not_disease_does_not_tell_the_class():
    """Number of views, sides, angles, frames, laboratory, bits and codec of 1,500 planned studies."""
    studies = draw_studies(1500, 0.5, 0.0, (1, 6), (0.6, 0.2, 0.2), seed=5)
    positive = np.array([study.positive for study in studies])
    table = {}
    for study in studies:
        views, room = study.views((12, 20), (7.5, 15)), Room.draw(study.room_rng)
        writing = Oddities().draw(study.writing_rng)
        facts = {
            "views": len(views),
            "right runs": sum(view.side == RIGHT for view in views),
            "primary": np.mean([view.primary_deg for view in views]),
            "secondary": np.mean([view.secondary_deg for view in views]),
            "frames": np.mean([view.frames for view in views]),
            "rate": np.mean([view.frame_time_ms for view in views]),
            "noise": room.noise, "scatter": room.scatter, "gamma": room.gamma, "edge": room.edge == "circle",
            "vignetting": room.vignetting, "texture": room.texture, "bits": writing.bits,
            "inverted": writing.inverted, "rle": writing.rle, "window": writing.window,
        }  # fmt: skip
        for name, value in facts.items():
            table.setdefault(name, []).append(float(value))
    for name, values in table.items():
        assert abs(auc(np.array(values), positive) - 0.5) < 0.06, name


def test_file_size_does_not_tell_the_class(tmp_path):
    """Compressed files, where a lesion could make itself felt."""
    some = {"studies": 80, "size": 48, "frames": 4, "views": 2, "repeat_fraction": 0.0, "progress": False}
    folder = write_coronary_phantoms(tmp_path, **some, rle_fraction=1.0, eight_bit_fraction=0.0, seed=2)
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as file:
        positive = {row["FileName"].split("/")[1]: row["stenosis"] == "1" for row in csv.DictReader(file)}
    sizes = [sum(path.stat().st_size for path in (folder / "dicom" / name).iterdir()) for name in positive]
    assert len(set(sizes)) > 40
    assert abs(auc(np.array(sizes, float), np.array(list(positive.values()))) - 0.5) < 0.17


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"studies": 3}, "studies must be at least 4, got 3"),
        ({"size": 20}, "size must lie in 48..1024 pixels, got 20"),
        ({"views": (2, 7)}, "views must be a number or two rising ones from 1 to 6"),
        ({"frames": 0}, "frames must be a number or two rising ones"),
        ({"fps": 0}, "fps must be positive"),
        ({"stenosis_fraction": 1.2}, "stenosis_fraction must lie between 0 and 1, got 1.2"),
        ({"noise": -1}, "noise must not be negative, got -1.0"),
        ({"difficulty": "simple"}, "difficulty must be one of easy, typical, hard, got 'simple'"),
        ({"branch_fraction": -0.1}, "branch_fraction must lie between 0 and 1, got -0.1"),
        ({"severe_from": 70}, "severe_from must lie in 71..99 percent, got 70"),
        ({"projections": 0}, "projections must lie in 1..6, got 0"),
        ({"calibre": 0}, "calibre must be positive, got 0.0"),
        ({"format": "avi"}, "format must be one of dicom, npz, mp4, got 'avi'"),
        ({"fractions": (1, 2)}, "fractions must be three shares"),
    ],
)
def test_arguments_out_of_range_are_refused(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        write_coronary_phantoms(tmp_path, **arguments)
    assert not any(tmp_path.iterdir())


def test_easy_sets_show_alike_persons_in_one_projection_with_clear_lesions(tmp_path):
    some = {"studies": 24, "size": 48, "frames": 3, "views": 2, "progress": False, "missing_angles_fraction": 0.0}
    folder = write_coronary_phantoms(tmp_path, difficulty="easy", faint_fraction=0.0, **some)
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert all(int(row["max_stenosis"]) < 50 or int(row["max_stenosis"]) >= 90 for row in rows)
    angles = [float(pydicom.dcmread(folder / row["FileName"]).PositionerPrimaryAngle) for row in rows]
    assert len(angles) == 48 and min(np.std(angles[0::2]), np.std(angles[1::2])) < 6
    recipe = json.loads((tmp_path / "phantoms.json").read_text(encoding="utf-8"))["sources"]["coronary"]["recipe"]
    assert recipe["difficulty"]["projections"] == 1 and recipe["difficulty"]["severe_from"] == 90


def test_npz_holds_frames_rate_and_angles(tmp_path):
    few = {**SMALL, "studies": 4, "missing_angles_fraction": 0.0}
    folder = write_coronary_phantoms(tmp_path, **few, format="npz")
    files = sorted(folder.rglob("*.npz"))
    assert files
    for file in files:
        with np.load(file) as run:
            assert run["frames"].ndim == 3
            assert run["frames"].max() > 0.25 * np.iinfo(run["frames"].dtype).max
            assert run["frame_time_ms"] in (pytest.approx(1000 / 7.5), pytest.approx(1000 / 15))
            assert -60 < run["primary_angle"] < 60 and -60 < run["secondary_angle"] < 60


def test_mp4_can_be_decoded(tmp_path):
    av = pytest.importorskip("av")
    folder = write_coronary_phantoms(tmp_path, **{**SMALL, "studies": 4, "frames": 6, "fps": 7.5}, format="mp4")
    file = next(iter(sorted(folder.rglob("*.mp4"))))
    with av.open(str(file)) as container:
        stream = container.streams.video[0]
        assert float(stream.average_rate) == pytest.approx(7.5)
        frames = [frame.to_ndarray(format="gray") for frame in container.decode(stream)]
    assert len(frames) == 6 and frames[0].shape == (48, 48)
    assert max(frame.std() for frame in frames) > 5


def test_the_command_writes_a_set(tmp_path):
    words = [sys.executable, "-m", "medvlm", "phantom_coronary", str(tmp_path), "--studies", "4", "--views", "1,2",
             "--size", "48", "--frames", "5", "--noprogress"]  # fmt: skip
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "coronary" / "manifest.csv").is_file()
