"""The zip that MONAI downloads: its content, its name, the same bytes each time."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import monai.bundle
import pytest

from medvlm.bundle.pack import pack, packed_files
from medvlm.metrics.operating_point import save_operating_point


def test_holds_the_bundle_under_its_name_and_no_leftovers(toy, tmp_path):
    stages = ("models/stage_1.pt", "models/stage_2.pt", "models/stage_1.settings.json")
    for name in (
        "logs/events.1", "eval/evaluation.json", "models/joint_state.pt", "configs/__pycache__/x.pyc", *stages
    ):  # fmt: skip
        (toy / name).parent.mkdir(exist_ok=True)
        (toy / name).write_text("left over", encoding="utf-8")
    target = pack(str(toy), str(tmp_path / "out"))
    assert target.name == "toy_v0.1.0.zip"
    assert zipfile.ZipFile(target).namelist() == [
        "toy/LICENSE",
        "toy/configs/inference.json",
        "toy/configs/metadata.json",
        "toy/configs/train.json",
        "toy/docs/README.md",
        "toy/docs/data_license.txt",
        "toy/models/model.pt",
    ]
    assert list((tmp_path / "out").iterdir()) == [target]


def test_same_bundle_gives_the_same_bytes(toy, tmp_path):
    first = pack(str(toy), str(tmp_path / "first")).read_bytes()
    for file in toy.rglob("*"):
        os.utime(file, (0, 1_000_000_000))
    (toy / "LICENSE").chmod(0o600)
    assert pack(str(toy), str(tmp_path / "second")).read_bytes() == first


def test_unpacked_bundle_loads_with_monai(toy, tmp_path):
    zipfile.ZipFile(pack(str(toy), str(tmp_path))).extractall(tmp_path / "there")
    network = monai.bundle.load(
        "toy", bundle_dir=str(tmp_path / "there"), workflow_type="inference", device="cpu", source="github"
    )
    assert type(network).__name__ == "MaskNet"


def test_refuses_without_weights_unless_allowed(toy, tmp_path):
    (toy / "models" / "model.pt").unlink()
    with pytest.raises(FileNotFoundError, match="no models/model.pt.*--allow_without_weights"):
        pack(str(toy), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    assert pack(str(toy), str(tmp_path / "out"), allow_without_weights=True).is_file()


def test_refuses_a_version_that_the_changelog_lacks(toy, tmp_path):
    file = toy / "configs" / "metadata.json"
    file.write_text(json.dumps({**json.loads(file.read_text(encoding="utf-8")), "version": "0.2.0"}), encoding="utf-8")
    with pytest.raises(ValueError, match="version '0.2.0' of toy has no entry in changelog"):
        pack(str(toy), str(tmp_path))


def test_keeps_the_configs_of_stages(toy):
    (toy / "configs" / "stage_1_masks.json").write_text("{}", encoding="utf-8")
    assert Path("configs/stage_1_masks.json") in packed_files(toy)


def test_refuses_a_threshold_of_other_weights_unless_told_so(toy, tmp_path):
    save_operating_point({"threshold": 0.3, "checkpoint_sha256": "ab" * 32}, toy / "models" / "operating_point.json")
    with pytest.raises(ValueError, match=r"toy is not packed[\s\S]*was chosen for other weights \(ababab.*calibrate"):
        pack(str(toy), str(tmp_path / "out"))
    assert pack(str(toy), str(tmp_path / "out"), verify=False).is_file()


def test_refuses_what_does_not_verify_unless_told_so(toy, tmp_path):
    (toy / "docs" / "data_license.txt").unlink()
    with pytest.raises(ValueError, match=r"toy is not packed[\s\S]*docs/data_license.txt is missing"):
        pack(str(toy), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    assert pack(str(toy), str(tmp_path / "out"), verify=False).is_file()


@pytest.mark.parametrize(("path", "kept"), [("models/model.pt", False), ("models/other.pt", True)])
def test_large_files_lists_only_what_is_not_packed(toy, tmp_path, path, kept):
    (toy / "large_files.yml").write_text(
        f"large_files:\n  - path: {path}\n    url: https://example.org/model.pt\n", encoding="utf-8"
    )
    names = zipfile.ZipFile(pack(str(toy), str(tmp_path))).namelist()
    assert ("toy/large_files.yml" in names) is kept
