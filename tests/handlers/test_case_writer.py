from __future__ import annotations

import csv
import errno
import gzip
import hashlib
import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.data import MetaTensor
from PIL import Image

from medvlm.engines.tolerant import Failure
from medvlm.handlers import case_writer
from medvlm.handlers.case_files import save_nifti, sha256_of, whole_folder
from medvlm.handlers.case_writer import CaseWriter
from medvlm.handlers.verdict import Verdictd, judge, read_operating_point

AFFINE = np.array([[0, -1.0, 0, 50], [2.0, 0, 0, -30], [0, 0, 2.5, -20], [0, 0, 0, 1]])
SHAPE = (10, 12, 4)


def meta(values: torch.Tensor) -> MetaTensor:
    return MetaTensor(values, affine=torch.as_tensor(AFFINE))


def item(probability: float = 0.8, name: str = "c1", regions: int = 1) -> dict:
    mask = torch.zeros(regions, *SHAPE)
    mask[:, 2:6, 3:8, 1:3] = 0.9  # 40 voxels
    logit = float(np.log(probability / (1 - probability)))
    cam = torch.zeros(1, *SHAPE)
    cam[0, 2, 3, 1], cam[0, 0, 0, 0] = 1.0, 0.25
    brain = torch.zeros(1, *SHAPE)
    brain[0, 1:9, 1:11] = 1
    return {
        "case_id": name,
        "native": meta(torch.rand(1, *SHAPE)),
        "pred_mask": meta(mask),
        "pred": meta((mask[:1] > 0.5).to(torch.uint8)),
        "pred_tumour": torch.tensor([0.0, logit]),
        "pred_brain": meta(brain),
        "pred_cam": meta(cam),
        "pred_uncertainty_mc": meta(torch.full((1, *SHAPE), 0.1)),
        "pred_tumour_spread_mc": torch.tensor(0.02),
    }


@pytest.fixture
def writer(tmp_path):
    (tmp_path / "in").mkdir()
    image = nibabel.Nifti1Image(np.random.default_rng(0).integers(0, 99, SHAPE).astype(np.int16), AFFINE)
    image.set_sform(AFFINE, 1)
    image.set_qform(AFFINE, 1)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, tmp_path / "in" / "c1.nii.gz")
    (tmp_path / "model.pt").write_bytes(b"weights")
    cases = [{"case_id": "c1", "image": str(tmp_path / "in" / "c1.nii.gz"), "channels": ["FLAIR"]}]

    def make(**kwargs) -> CaseWriter:
        settings = {
            "output_dir": tmp_path / "out", "cases": cases, "regions": ["WT"],
            "bundle": {"name": "b", "version": "1"}, "checkpoint": tmp_path / "model.pt",
            "operating_point": tmp_path / "operating_point.json", "settings": {"backend": "torch"},
        }  # fmt: skip
        return CaseWriter(**{**settings, **kwargs})

    return make


def test_maps_lie_on_the_inputs_grid_as_uint8(writer, tmp_path):
    folder = writer().write(item())
    source = nibabel.load(tmp_path / "in" / "c1.nii.gz")
    for name, most in (("labels", 1.0), ("probabilities", 0.9), ("cam", 1.0), ("uncertainty_mc", 0.1)):
        image = nibabel.load(folder / f"{name}.nii.gz")
        assert image.shape == source.shape and np.array_equal(image.affine, source.affine)
        assert image.header["sform_code"] == image.header["qform_code"] == 1
        assert image.header.get_xyzt_units() == source.header.get_xyzt_units()
        assert image.get_data_dtype() == np.uint8
        assert image.get_fdata().max() == pytest.approx(most, abs=0.6 / 255)
    assert nibabel.load(folder / "labels.nii.gz").get_fdata().sum() == 40


def test_a_small_spread_keeps_its_steps(writer):
    spread = torch.linspace(0, 0.01, int(np.prod(SHAPE))).reshape(1, *SHAPE)
    folder = writer().write(item() | {"pred_uncertainty_mc": meta(spread)})
    image = nibabel.load(folder / "uncertainty_mc.nii.gz")
    np.testing.assert_allclose(image.get_fdata(), spread[0].numpy(), atol=0.01 / 255)
    folder = writer(output_dir=folder.parent / "none").write(item() | {"pred_uncertainty_mc": meta(spread * 0)})
    assert not nibabel.load(folder / "uncertainty_mc.nii.gz").get_fdata().any()


def test_manifest_says_what_was_found_with_what(writer, tmp_path):
    folder = writer().write(item())
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["tumour_probability"] == pytest.approx(0.8) and manifest["verdict"] == "positive"
    assert manifest["volumes_ml"] == {"WT": pytest.approx(40 * 5 / 1000)} and manifest["voxels"] == {"WT": 40}
    assert manifest["cam_energy"] == pytest.approx({"mask": 0.8, "brain": 0.0, "background": 0.2})
    assert manifest["tumour_spread"] == {"mc_dropout": pytest.approx(0.02)}
    assert manifest["checkpoint"]["sha256"] == hashlib.sha256(b"weights").hexdigest()
    assert manifest["inputs"] == [
        {"file": str(tmp_path / "in" / "c1.nii.gz"), "sha256": sha256_of(tmp_path / "in" / "c1.nii.gz")}
    ]
    assert manifest["versions"]["torch"] == torch.__version__
    assert sorted([*manifest["files"], "manifest.json"]) == sorted(file.name for file in folder.iterdir())
    assert manifest["grid"]["spacing_mm"] == [2.0, 1.0, 2.5]


def test_same_input_same_bytes(writer, tmp_path):
    first = {file.name: file.read_bytes() for file in writer().write(item()).iterdir()}
    second = {file.name: file.read_bytes() for file in writer().write(item()).iterdir()}
    assert first.keys() == second.keys()
    assert all(first[name] == second[name] for name in first if name.endswith(".nii.gz"))


def test_the_picture_may_be_left_out(writer):
    assert not (writer(overlay=False).write(item()) / "overlay.png").exists()


def test_several_regions_are_one_4d_file(writer):
    folder = writer(regions=["TC", "WT"]).write(item(regions=2))
    assert nibabel.load(folder / "probabilities.nii.gz").shape == (*SHAPE, 2)


def test_a_picture_gets_a_png_and_no_millilitres(writer, tmp_path, monkeypatch):
    told, real = {}, case_writer.save_overlay
    monkeypatch.setattr(case_writer, "save_overlay", lambda *args, **kw: told.update(kw) or real(*args, **kw))
    Image.fromarray(np.zeros((12, 10), np.uint8)).save(tmp_path / "in" / "p.png")
    cases = [{"case_id": "c1", "image": str(tmp_path / "in" / "p.png"), "channels": ["MRI"]}]
    flat = {key: value[..., 1:2] if isinstance(value, MetaTensor) else value for key, value in item().items()}
    flat["pred"][0, 2:6, 3:8, 0] = 1
    folder = writer(cases=cases).write(flat)
    png = np.asarray(Image.open(folder / "labels.png"))
    assert png.shape == (12, 10) and set(np.unique(png)) == {0, 255} and png[3:8, 2:6].min() == 255
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["volumes_ml"] is None and "a region outlined" in manifest["summary"]
    assert told["words"] == manifest["summary"] and "mL" not in told["words"]


def test_a_picture_without_a_finding_tells_of_a_mask_that_contradicts_it(writer, tmp_path):
    Image.fromarray(np.zeros((12, 10), np.uint8)).save(tmp_path / "in" / "p.png")
    cases = [{"case_id": "c1", "image": str(tmp_path / "in" / "p.png"), "channels": ["MRI"]}]
    folder = writer(cases=cases).write(item(0.1))
    summary = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["summary"]
    assert summary.startswith("No tumour found") and "the mask head outlined a region" in summary


def test_the_picture_shows_the_larger_of_the_two_uncertainties(writer, monkeypatch):
    drawn = {}
    monkeypatch.setattr(case_writer, "save_overlay", lambda *a, **kw: drawn.update(kw))
    mirrored = torch.zeros(1, *SHAPE)
    mirrored[0, 3] = 0.3
    writer().write(item() | {"pred_uncertainty_tta": meta(mirrored)})
    assert sorted(np.unique(drawn["uncertainty"]).round(4)) == pytest.approx([0.1, 0.3])


def test_the_outline_in_the_picture_follows_the_threshold_of_the_mask(writer, monkeypatch):
    drawn = {}
    monkeypatch.setattr(case_writer, "save_overlay", lambda path, image, mask, *a, **k: drawn.update(mask=mask))
    case = item()
    case["pred_mask"] = case["pred_mask"] * 0.4
    writer(mask_threshold=0.2).write(case)
    assert drawn["mask"].sum() == (case["pred_mask"] > 0.2).sum() > 0


def test_a_finished_case_is_kept_until_input_weights_or_settings_change(writer, tmp_path):
    first = writer()
    assert not first.done(first.cases["c1"])
    first.write(item())
    assert writer().done(first.cases["c1"])
    assert not writer(resume=False).done(first.cases["c1"])
    assert not writer(settings={"backend": "openvino"}).done(first.cases["c1"])
    assert not writer(mask_threshold=0.4).done(first.cases["c1"])
    (tmp_path / "operating_point.json").write_text('{"threshold": 0.4}', encoding="utf-8")
    assert not writer().done(first.cases["c1"])
    (tmp_path / "operating_point.json").unlink()
    (tmp_path / "model.pt").write_bytes(b"other")
    assert not writer().done(first.cases["c1"])
    (tmp_path / "model.pt").write_bytes(b"weights")
    (tmp_path / "out" / "c1" / "cam.nii.gz").unlink()
    assert not writer().done(first.cases["c1"])


def test_a_full_disk_leaves_nothing_and_says_what_to_do(writer, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(case_writer, "save_overlay", full)
    with pytest.raises(OSError, match="c1.*No space left on device.*free the disk and run the same command again"):
        writer().write(item())
    assert list((tmp_path / "out").iterdir()) == []


def test_a_case_that_fails_midway_keeps_its_older_folder(writer, tmp_path, monkeypatch):
    old = writer().write(item())
    before = (old / "manifest.json").read_bytes()
    monkeypatch.setattr(case_writer, "save_overlay", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        writer().write(item(0.4))
    assert (old / "manifest.json").read_bytes() == before
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == ["c1"]


def test_a_whole_folder_replaces_the_older_one(tmp_path):
    for text in ("one", "two"):
        with whole_folder(tmp_path / "case") as folder:
            (folder / text).write_text(text, encoding="utf-8")
    assert [file.name for file in (tmp_path / "case").iterdir()] == ["two"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["case"]


def test_a_run_sweeps_what_a_killed_one_left_in_its_output(writer, tmp_path):
    for name in (".partial-a", ".older-b"):
        (tmp_path / "out" / name).mkdir(parents=True)
    (tmp_path / "out" / ".partial-c.csv").write_text("half", encoding="utf-8")
    with whole_folder(tmp_path / "out" / "living") as living:
        engine = Engine(lambda *_: [item()])
        writer().attach(engine)
        engine.run([[{"case_id": "c1"}]])
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted([living.name, "c1"])


def test_summary_and_failures_are_listed(writer, tmp_path):
    first = writer()
    first._cases.append({"case_id": "c2", "image": "c2.nii.gz"})
    first.write(item())
    rows = first.finish([Failure("c2", "ValueError", "c2.nii.gz: truncated; copy it again.", ("c2.nii.gz",))])
    with open(tmp_path / "out" / "summary.csv", encoding="utf-8", newline="") as stream:
        table = list(csv.DictReader(stream))
    assert [row["status"] for row in rows] == [row["status"] for row in table] == ["done", "failed"]
    assert float(table[0]["volume_ml_WT"]) == pytest.approx(0.2) and "truncated" in table[1]["error"]
    assert json.loads((tmp_path / "out" / "failed.json").read_text(encoding="utf-8"))[0]["case_id"] == "c2"


def test_a_later_run_keeps_the_cases_of_an_earlier_one_in_the_summary(writer, tmp_path):
    first = writer()
    first.write(item())
    first.finish([])
    second = writer()
    second._cases[:] = [{"case_id": "c2", "image": second._cases[0]["image"]}]
    second.write(item(name="c2"))
    assert [row["case_id"] for row in second.finish([])] == ["c2"]
    with open(tmp_path / "out" / "summary.csv", encoding="utf-8", newline="") as stream:
        told = {row["case_id"]: row["status"] for row in csv.DictReader(stream)}
    assert told == {"c2": "done", "c1": "earlier"}


def test_below_the_limit_the_summary_says_that_none_was_found(writer):
    folder = writer().write(item(0.2))
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["summary"].startswith("No tumour found") and not manifest["shown"]
    assert json.loads((writer().write(item(0.31)) / "manifest.json").read_text(encoding="utf-8"))["shown"]


def test_the_operating_point_decides_the_verdict(tmp_path):
    file = tmp_path / "operating_point.json"
    assert read_operating_point(file)["calibrated"] is False
    file.write_text(
        json.dumps({"threshold": 0.4, "target_sensitivity": 0.95, "checkpoint_sha256": "abc"}), encoding="utf-8"
    )
    point = read_operating_point(file, "abc")
    assert point["threshold"] == 0.4 and point["calibrated"] and point["target_sensitivity"] == 0.95
    assert judge(0.45, 1.0, point)["verdict"] == "positive" and judge(0.39, 1.0, point)["verdict"] == "negative"
    assert judge(None, 1.0, point)["verdict"] == "unknown"
    point["kinds"] = {"picture": {"threshold": 0.2}}
    assert judge(0.3, None, point, kind="picture")["verdict"] == "positive"
    assert judge(0.3, None, point, kind="volume")["verdict"] == "negative"
    other = read_operating_point(file, "xyz")
    assert not other["calibrated"] and "other weights" in other["from"]
    assert "not calibrated" in judge(0.6, 1.0, other)["summary"]
    file.write_text('{"threshold": 1.5}', encoding="utf-8")
    with pytest.raises(ValueError, match="1.5; calibrate the bundle again"):
        read_operating_point(file)


def test_a_threshold_chosen_under_other_settings_does_not_count(writer, tmp_path, caplog):
    file = tmp_path / "operating_point.json"
    file.write_text(json.dumps({"threshold": 0.9, "settings": {"mirror": True}}), encoding="utf-8")
    same = json.loads((writer(threshold_settings={"mirror": True}).write(item()) / "manifest.json").read_text("utf-8"))
    assert same["calibrated"] and same["verdict"] == "negative" and same["operating_point"]["settings"]["mirror"]
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    other = writer(threshold_settings={"mirror": False})
    assert not other.done(other.cases["c1"]), "the verdict is another one"
    manifest = json.loads((other.write(item()) / "manifest.json").read_text(encoding="utf-8"))
    assert (manifest["threshold"], manifest["calibrated"], manifest["verdict"]) == (0.5, False, "positive")
    assert "not calibrated" in manifest["summary"] and "mirror true (here false)" in manifest["operating_point"]["from"]
    told = Verdictd(operating_point=file, settings={"mirror": False})({"pred_tumour": torch.tensor([0.0, 2.0])})
    assert not told["result"]["calibrated"]
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "mirror true (here false)" in warning
    assert "choose it again under these (overlay calibrate)" in warning


def test_a_threshold_of_before_settings_were_stored_counts_and_says_so(writer, tmp_path):
    (tmp_path / "operating_point.json").write_text('{"threshold": 0.4}', encoding="utf-8")
    folder = writer(threshold_settings={"mirror": True}).write(item())
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["calibrated"] and manifest["operating_point"]["settings"] == "unknown"


def test_verdict_is_set_for_servers_without_class_head_too(tmp_path):
    result = Verdictd(operating_point=tmp_path / "none.json")({"pred_tumour": torch.tensor([0.0, 2.0]), "x": 1})
    assert result["x"] == 1 and result["result"]["tumour_probability"] == pytest.approx(0.8808, abs=1e-4)
    assert Verdictd(operating_point=tmp_path / "none.json")({})["result"]["tumour_probability"] is None


def test_nifti_is_compressed_at_level_one_and_tagged_with_its_scale(tmp_path):
    save_nifti(tmp_path / "p.nii.gz", np.arange(256, dtype=np.uint8).reshape(16, 16, 1), np.eye(4), slope=1 / 255)
    raw = (tmp_path / "p.nii.gz").read_bytes()
    assert raw[8] == 4  # gzip's flag of the fastest level
    assert raw[4:8] == b"\0\0\0\0"  # no time: the same bytes each time
    header = nibabel.Nifti1Header(gzip.decompress(raw)[:348])
    assert float(header["scl_slope"]) == pytest.approx(1 / 255)
    assert np.allclose(nibabel.load(tmp_path / "p.nii.gz").get_fdata().ravel(), np.linspace(0, 1, 256), atol=1e-6)


def test_hash_of_a_folder_follows_its_files(tmp_path):
    folder = Path(tmp_path / "d")
    folder.mkdir()
    (folder / "a").write_bytes(b"1")
    first = sha256_of(folder)
    (folder / "a").write_bytes(b"2")
    assert sha256_of(folder) != first


def test_the_summary_names_channels_that_a_case_does_not_have(writer):
    make = {"settings": {"channels": ["FLAIR", "T1c", "T2"]}}
    folder = writer(**make).write(item() | {"channels_present": torch.tensor([1.0, 0.0, 0.0])})
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["summary"].endswith("Without T1c, T2, which the case does not have")
    whole = writer(output_dir=folder.parent / "whole", **make).write(item() | {"channels_present": torch.ones(3)})
    assert "Without" not in json.loads((whole / "manifest.json").read_text(encoding="utf-8"))["summary"]


def test_a_whole_head_is_cautioned_about_where_brains_are_expected(writer, tmp_path):
    def manifest(name, note, **settings):
        folder = writer(output_dir=tmp_path / name, **settings).write(item() | note)
        return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))

    whole = {"whole_head": True, "extracted_ml": 0.0}
    cautioned, plain = manifest("a", whole, brain_extracted=True), manifest("b", whole)
    assert cautioned["caution"].startswith("Not brain-extracted") and cautioned["caution"] in cautioned["summary"]
    assert plain["caution"] == "" and "extracted" not in plain["summary"] and plain["whole_head"] is True
    found = manifest("c", {"whole_head": True, "extracted_ml": 1432.1}, brain_extracted=True)
    assert "1432 mL were taken for brain" in found["summary"] and found["extracted_ml"] == 1432.1
    before = manifest("d", {"whole_head": False, "extracted_ml": 0.0}, brain_extracted=True)
    assert before["caution"] == "" and "whole_head" not in manifest("e", {}, brain_extracted=True)


@pytest.mark.parametrize("value", [2, -0.1, "high", True])
def test_a_bound_that_is_no_probability_is_refused_before_any_case(value):
    with pytest.raises(ValueError, match=r"none_below is a probability and must lie in \[0, 1\], got"):
        Verdictd(none_below=value)


def test_what_the_reading_of_a_case_cautions_about_is_told(writer, tmp_path):
    make = writer(brain_extracted=True)
    make.cases["c1"]["caution"] = "No Modality"
    folder = make.write(item() | {"whole_head": True, "extracted_ml": 0.0})
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    first, second = manifest["caution"].split("\n")
    assert first == "No Modality" and second.startswith("Not brain-extracted")
    assert manifest["caution"] in manifest["summary"]


def test_unequal_pixels_are_cautioned_about_where_the_network_takes_them_for_square(writer, tmp_path):
    def caution(name, **settings):
        folder = writer(output_dir=tmp_path / name, **settings).write(item())
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        assert manifest["caution"] in manifest["summary"]
        return manifest["caution"]

    assert caution("a", square_pixels=True).startswith("Voxels of 1 mm left to right and 2 mm front to back")
    assert caution("b") == ""
