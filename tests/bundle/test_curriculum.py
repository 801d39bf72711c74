"""A stage is recorded only with the weights that it left."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from medvlm.bundle import curriculum
from medvlm.metrics.operating_point import TooFewPositives

BUNDLE = Path(__file__).resolve().parents[2] / "bundles" / "brats_mri_multitask"


def test_a_stage_that_leaves_no_weights_is_an_error_and_is_not_recorded(tmp_path, monkeypatch):
    (tmp_path / "datalist.json").write_text("{}", encoding="utf-8")
    monkeypatch.setattr(curriculum, "_run", lambda *arguments: None)
    models = tmp_path / "models"
    with pytest.raises(RuntimeError, match="stage 'multitask' ended without the weights .*model.pt"):
        curriculum.train("coronary_angiography_clip", str(tmp_path), ckpt_dir=str(models))
    assert not (models / curriculum.RECORD).exists()


def test_a_data_set_is_named_by_its_folder_or_its_datalist(tmp_path, monkeypatch):
    root = tmp_path / "bundle"
    (root / "configs").mkdir(parents=True)
    for name in ("train", "evaluate", "metadata"):
        (root / "configs" / f"{name}.json").write_text("{}", encoding="utf-8")
    seen = []
    monkeypatch.setattr(curriculum, "_run", lambda root, configs, folder, overrides: seen.append((folder, overrides)))
    curriculum.evaluate(str(root), datalist=str(tmp_path / "data" / "mine.json"))
    assert seen == [(str(tmp_path / "data"), {"datalist": str(tmp_path / "data" / "mine.json")})]
    with pytest.raises(ValueError, match="must be named, by --dataset_dir"):
        curriculum.evaluate(str(root))


def _validation(folder: Path, tumours: int, healthy: int = 3) -> None:
    """A datalist whose validation section has as many cases with a tumour."""
    cases = [{"case_id": str(n), "image": f"{n}.png", "tumour": int(n < tumours)} for n in range(tumours + healthy)]
    folder.joinpath("datalist.json").write_text(json.dumps({"training": [], "validation": cases}), encoding="utf-8")


@pytest.fixture
def log(monkeypatch) -> list[str]:
    """What is run, in order; nothing is."""
    done = []
    monkeypatch.setattr(curriculum, "_run_stage", lambda root, configs, *rest: done.append(configs[1].stem))
    monkeypatch.setattr(curriculum, "freeze_operating_point", lambda *rest, **given: done.append("calibrate"))
    return done


@pytest.mark.parametrize(
    ("tumours", "given", "enough"), [(9, {}, False), (10, {}, True), (2, {"min_positives": 2}, True)]
)
def test_too_few_tumours_for_a_threshold_are_said_before_the_first_stage_and_do_not_fail(
    tmp_path, log, caplog, monkeypatch, tumours, given, enough
):
    _validation(tmp_path, tumours)
    with caplog.at_level(logging.WARNING, logger="medvlm"):
        monkeypatch.setattr(
            curriculum, "_run_stage", lambda root, configs, *rest: log.append(len(caplog.messages)) or Path("w.pt")
        )
        assert len(curriculum.train(str(BUNDLE), str(tmp_path), **given)) == 4
    assert log == ([0, 0, 0, 0, "calibrate"] if enough else [1, 1, 1, 1])
    if not enough:
        first, last = caplog.messages
        assert "9 cases with a tumour in 'validation' are too few to set a sensitivity on (10 needed)" in first
        assert "prepare --fractions" in first
        assert "the weights are kept" in last and "not calibrated" in last and "--overlays calibrate" in last


def test_a_calibration_that_lacks_positives_leaves_the_weights_and_any_other_error_is_one(
    tmp_path, log, caplog, monkeypatch
):
    _validation(tmp_path, 12)

    def fail(error):
        def freeze(*rest, **given):
            wrapped = RuntimeError("Failed to evaluate '$@validate::evaluator.run()'")
            raise wrapped from error

        monkeypatch.setattr(curriculum, "freeze_operating_point", freeze)

    fail(TooFewPositives("3 cases with a tumour are too few; enlarge it."))
    assert len(curriculum.train(str(BUNDLE), str(tmp_path))) == 4
    assert "3 cases with a tumour are too few. The verdict of predict is not calibrated" in caplog.text
    fail(ValueError("a mask is missing"))
    with pytest.raises(RuntimeError, match="Failed to evaluate"):
        curriculum.train(str(BUNDLE), str(tmp_path))
