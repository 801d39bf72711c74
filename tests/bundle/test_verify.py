"""A sound bundle passes; each defect that the model zoo refuses is found and named."""

from __future__ import annotations

import json

import pytest

from medvlm.bundle.publish import publish
from medvlm.bundle.verify import verify
from medvlm.handlers.case_files import sha256_of

FITS = "operating point fits the weights"


def failures(root, **kwargs):
    return {row.check: row.detail for row in verify(str(root), **kwargs).rows if row.verdict == "failed"}


def set_metadata(root, **changes):
    file = root / "configs" / "metadata.json"
    content = {**json.loads(file.read_text(encoding="utf-8")), **changes}
    file.write_text(json.dumps({key: value for key, value in content.items() if value is not None}), encoding="utf-8")


def test_a_sound_bundle_passes_from_any_folder(toy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    report = verify(str(toy))
    assert report.status == 0, str(report)
    assert "0 failed" in str(report)


def test_properties_are_built_when_there_is_data(toy, tmp_path):
    assert failures(toy, dataset_dir=str(tmp_path)) == {}


def test_missing_weights_fail_unless_allowed_and_the_export_is_tried_anyway(toy):
    (toy / "models" / "model.pt").unlink()
    assert "models/model.pt is missing" in failures(toy)["weights"]
    report = verify(str(toy), allow_without_weights=True)
    assert report.status == 0, str(report)


@pytest.mark.parametrize(
    ("changes", "check", "words"),
    [
        ({"version": "0.2.0"}, "version", "no entry in changelog"),
        ({"authors": ["a", "b"]}, "metadata", "is not of type 'string'"),
        ({"copyright": None}, "metadata", "'copyright' is a required property"),
        ({"optional_packages_version": {}}, "metadata", "should not be valid under"),
        ({"network_data_format": {"inputs": {"image": {"type": "text"}}, "outputs": {}}}, "metadata", "Failed"),
    ],
)
def test_finds_what_is_wrong_in_the_metadata(toy, changes, check, words):
    set_metadata(toy, **changes)
    assert words in failures(toy)[check]


def test_finds_a_network_that_differs_from_the_metadata(toy, change):
    change("inference", **{"network_def::regions": 3})
    assert "output channel number `3` doesn't match: `1`" in failures(toy)["network in and out"]


def test_finds_missing_and_misnamed_properties(toy, change):
    change("inference", evaluator={"_target_": "builtins.dict", "postprocessing": "@after"}, after=None)
    found = verify(str(toy)).rows
    assert any("'postprocessing' must have the id 'postprocessing'" in row.detail for row in found)
    config = json.loads((toy / "configs" / "train.json").read_text(encoding="utf-8"))
    del config["train"]["inferer"]
    (toy / "configs" / "train.json").write_text(json.dumps(config), encoding="utf-8")
    assert "required property 'train_inferer'" in failures(toy)["properties of train.json"]


def test_finds_handlers_that_monais_check_cannot_read(toy, change):
    change("train", **{"train::handlers": ["@logging"], "logging": {"_target_": "monai.handlers.StatsHandler"}})
    assert "train::handlers::0 is '@logging'" in failures(toy)["properties of train.json"]


def test_finds_files_that_are_missing_or_only_named(toy):
    (toy / "docs" / "data_license.txt").unlink()
    (toy / "docs" / "README.md").write_text("See `configs/evaluate.json` and `docs/figure.png`.\n", encoding="utf-8")
    found = [row.detail for row in verify(str(toy)).rows if row.verdict == "failed"]
    assert "docs/data_license.txt is missing" in found
    assert "docs/README.md names configs/evaluate.json, which does not exist" in found
    assert "docs/README.md names docs/figure.png, which does not exist" in found


def test_finds_a_personal_path(toy):
    (toy / "docs" / "README.md").write_text("Data in /home/someone/data.\n", encoding="utf-8")
    assert failures(toy)["paths"] == "docs/README.md:1 names /home/someone"


def verdict_on_points(root, **kwargs):
    return next(((r.verdict, r.detail) for r in verify(str(root), **kwargs).rows if r.check == FITS), None)


def set_points(root, content, name: str = "operating_point"):
    (root / "models" / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")


def test_a_threshold_chosen_for_other_weights_is_found(toy):
    assert verdict_on_points(toy) is None, "there is no threshold to judge"
    set_points(toy, {"threshold": 0.3, "checkpoint_sha256": sha256_of(toy / "models" / "model.pt")})
    assert verdict_on_points(toy) == ("ok", "operating_point.json was chosen for model.pt")
    set_points(toy, {"threshold": 0.3, "checkpoint_sha256": "ab" * 32})
    words = "operating_point.json was chosen for other weights (abababababab"
    assert failures(toy)[FITS].startswith(words) and "overlay calibrate" in failures(toy)[FITS]
    (toy / "models" / "model.pt").unlink()
    words = "the weights of operating_point.json are not here to compare it with"
    assert verdict_on_points(toy, allow_without_weights=True) == ("look", words)


def test_further_weights_have_a_threshold_of_their_own(toy):
    (toy / "models" / "model_3d.pt").write_bytes(b"volumes")
    fit = {"threshold": 0.3, "checkpoint_sha256": sha256_of(toy / "models" / "model_3d.pt")}
    set_points(toy, fit, "operating_point_3d")
    assert verdict_on_points(toy) == ("ok", "operating_point_3d.json was chosen for model_3d.pt")
    set_points(toy, fit)
    assert failures(toy)[FITS].startswith("operating_point.json was chosen for other weights")


def test_each_head_s_threshold_is_judged_by_the_weights_of_the_probe(toy):
    (toy / "models" / "probe.pt").write_bytes(b"probe")
    fit = {"threshold": 0.3, "checkpoint_sha256": sha256_of(toy / "models" / "probe.pt")}
    set_points(toy, {"stenosis": fit, "occlusion": {**fit, "checkpoint_sha256": "ab" * 32}}, "operating_points")
    assert failures(toy)[FITS].startswith("operating_points.json occlusion was chosen for other weights")


@pytest.mark.parametrize("content", [[1, 2], {"threshold": 2}, "x"])
def test_a_file_that_holds_no_threshold_is_found(toy, content):
    set_points(toy, content)
    assert "operating_point.json holds no operating point" in failures(toy)[FITS]


def test_publishing_dry_lists_what_would_be_uploaded(toy):
    (toy / "eval").mkdir()
    (toy / "eval" / "rows.csv").write_text("a\n", encoding="utf-8")
    text = publish(str(toy), "someone/toy", dry_run=True)
    assert "would upload to someone/toy (private): 7 files" in text
    assert "models/model.pt" in text and "eval/rows.csv" not in text


def test_publishing_refuses_what_does_not_verify(toy):
    set_metadata(toy, version="0.2.0")
    with pytest.raises(ValueError, match=r"toy is not published:(.|\n)*no entry in changelog"):
        publish(str(toy), "someone/toy", dry_run=True)


def test_publishing_refuses_a_repository_without_an_owner(toy):
    with pytest.raises(ValueError, match="repo must be 'user/name', got 'toy'"):
        publish(str(toy), "toy", dry_run=True)
