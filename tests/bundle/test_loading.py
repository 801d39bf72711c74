"""``medvlm.load`` gives a bundle ready to run, from any folder."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

import medvlm


@pytest.fixture
def anywhere(tmp_path, monkeypatch):
    (tmp_path / "else").mkdir()
    monkeypatch.chdir(tmp_path / "else")


@pytest.fixture
def picture(tmp_path):
    file = tmp_path / "slice.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 48), dtype=np.uint8)).save(file)
    return file


def test_network_has_the_weights_and_is_in_evaluation_mode(toy, anywhere):
    bundle = medvlm.load(toy, device="cpu")
    state = torch.load(toy / "models" / "model.pt", weights_only=True)
    assert not bundle.network.training
    assert all(torch.equal(value, state[key]) for key, value in bundle.network.state_dict().items())


def test_loads_by_name(toy, anywhere, monkeypatch):
    monkeypatch.setenv("MEDVLM_BUNDLES", str(toy.parent))
    assert medvlm.load("toy").metadata["version"] == "0.1.0"


def test_runs_a_case_and_a_path_alike(toy, anywhere, picture):
    bundle = medvlm.load(toy, device="cpu")
    by_path, by_case = bundle(picture), bundle({"image": str(picture)})
    assert by_path["pred"].shape == (1, 48, 32)
    assert set(by_path["pred"].unique().tolist()) <= {0.0, 1.0}
    assert torch.equal(by_path["pred"], by_case["pred"])


def test_prediction_is_the_networks(toy, anywhere, picture):
    bundle = medvlm.load(toy, device="cpu")
    image = bundle.preprocessing({"image": str(picture)})["image"]
    expected = bundle.network(image.as_tensor()[None])[0] >= 0
    assert torch.equal(bundle.predict(picture)["pred"].as_tensor().bool(), expected)


def test_overrides_reach_the_config(toy, anywhere, picture):
    assert medvlm.load(toy, overrides={"threshold": 0.0})(picture)["pred"].min() == 1


def test_an_override_inside_nothing_is_refused_in_words(toy):
    with pytest.raises(ValueError, match="unknown key 'nope::x': there is no 'nope'"):
        medvlm.load(toy, overrides={"nope::x": 1})


def test_misspelt_override_is_refused(toy):
    with pytest.raises(ValueError, match="unknown key 'treshold'; did you mean 'threshold'"):
        medvlm.load(toy, overrides={"treshold": 0.0})


def test_missing_weights_name_the_remedy(toy):
    (toy / "models" / "model.pt").unlink()
    with pytest.raises(FileNotFoundError, match="python -m medvlm train toy .*weights=False"):
        medvlm.load(toy)
    assert medvlm.load(toy, weights=False).network is not None


def test_weights_that_do_not_fit_name_the_keys(toy):
    state = torch.load(toy / "models" / "model.pt", weights_only=True)
    key = next(iter(state))
    torch.save(
        {"renamed" if name == key else name: value for name, value in state.items()}, toy / "models" / "model.pt"
    )
    with pytest.raises(ValueError, match="does not fit MaskNet") as caught:
        medvlm.load(toy).network  # noqa: B018
    assert f"1 missing: {key}" in str(caught.value) and "1 unexpected: renamed" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint"])
def test_broken_weights_are_refused(toy, content):
    (toy / "models" / "model.pt").write_bytes(content)
    with pytest.raises(ValueError, match="is not a readable file of weights"):
        medvlm.load(toy).network  # noqa: B018


def test_operating_point_is_read_or_none(toy):
    assert medvlm.load(toy).operating_point is None
    (toy / "models" / "operating_point.json").write_text(json.dumps({"threshold": 0.4}), encoding="utf-8")
    assert medvlm.load(toy).operating_point == {"threshold": 0.4}


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        ({"checkpoint_sha256": "a" * 64}, "other weights"),
        ({"settings": {"threshold": 0.25}}, "threshold 0.25 (here 0.5)"),
    ],
    ids=["weights", "settings"],
)
def test_an_operating_point_of_other_weights_or_settings_is_none(toy, caplog, stored, words):
    config = json.loads((toy / "configs" / "inference.json").read_text(encoding="utf-8"))
    config["threshold_settings"] = {"threshold": "@threshold"}
    (toy / "configs" / "inference.json").write_text(json.dumps(config), encoding="utf-8")
    (toy / "models" / "operating_point.json").write_text(json.dumps({"threshold": 0.4, **stored}), encoding="utf-8")
    assert medvlm.load(toy).operating_point is None
    assert words in caplog.text and "overlay calibrate" in caplog.text


def test_several_cases_at_a_path_are_refused(toy, tmp_path, picture):
    for name in ("a", "b"):
        (tmp_path / "cases" / name).mkdir(parents=True)
        (tmp_path / "cases" / name / "slice.png").write_bytes(picture.read_bytes())
    with pytest.raises(ValueError, match="holds 2 cases.*\n?.*medvlm predict toy"):
        medvlm.load(toy)(tmp_path / "cases")


def test_a_bad_image_is_told_without_monai_s_wrapping(toy, tmp_path):
    (tmp_path / "empty.png").touch()
    with pytest.raises(OSError, match="empty.png"):
        medvlm.load(toy)(tmp_path / "empty.png")


def test_an_overlay_is_laid_over_the_inference(toy, anywhere, picture):
    (toy / "configs" / "lower.json").write_text(json.dumps({"threshold": 0.0}), encoding="utf-8")
    assert medvlm.load(toy, overlays=["lower"])(picture)["pred"].min() == 1
