"""A stage is recorded only with the weights that it left."""

from __future__ import annotations

import hashlib
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


@pytest.fixture
def finished(tmp_path, monkeypatch):
    """``train(**overrides)`` runs stages that write what their file is called, and says which; and their folder."""
    _validation(tmp_path, 12)
    models, ran = tmp_path / "models", []
    models.mkdir()

    def run(root, configs, folder, overrides):
        left = {"stage_1_segmentation": "stage_1.pt", "stage_2_classification": "stage_2.pt"}
        left |= {"stage_3_joint": "stage_3.pt", "stage_4_refinement": "model.pt"}
        name = left[configs[1].stem]
        (models / name).write_text(f"weights of {name} {overrides.get('seed', 0)}", encoding="utf-8")
        ran.append(name)

    monkeypatch.setattr(curriculum, "_run", run)

    def train(**overrides):
        ran.clear()
        curriculum.train(str(BUNDLE), str(tmp_path), calibrate=False, ckpt_dir=str(models), **overrides)
        return list(ran)

    assert train() == ["stage_1.pt", "stage_2.pt", "stage_3.pt", "model.pt"] and train() == []
    return train, models


@pytest.mark.parametrize("given", [{}, {"seed": 5}], ids=["the same", "other settings"])
def test_weights_that_are_not_the_stage_s_own_are_neither_kept_nor_overwritten(finished, given):
    train, models = finished
    own = (models / "model.pt").read_bytes()
    (models / "model.pt").write_bytes((models / "stage_1.pt").read_bytes())
    with pytest.raises(FileExistsError, match=r"model\.pt is not the file that stage 'refinement' left.*move it away"):
        train(**given)
    assert (models / "model.pt").read_bytes() == (models / "stage_1.pt").read_bytes()
    assert (models / "stage_1.pt").read_text(encoding="utf-8") == "weights of stage_1.pt 0", "an earlier stage was run"
    (models / "model.pt").unlink()
    assert train() == ["model.pt"] and (models / "model.pt").read_bytes() == own
    (models / "model.pt").write_bytes(b"foreign")
    assert len(train(again=True)) == 4 and (models / "model.pt").read_bytes() == own


def test_an_interrupted_stage_and_a_record_without_a_hash_are_no_foreign_weights(finished):
    train, models = finished
    (models / "model.pt").write_bytes(b"the best so far")
    (models / "refinement_state.pt").write_bytes(b"")
    assert train() == ["model.pt"], "what a repeated run had left when it was interrupted is not its result"
    (models / "model.pt").write_bytes(b"the best so far")
    assert train(seed=5)[-1] == "model.pt"
    (models / "refinement_state.pt").unlink()
    record = json.loads((models / curriculum.RECORD).read_text(encoding="utf-8"))
    for entry in record.values():
        del entry["sha256"]
    (models / curriculum.RECORD).write_text(json.dumps(record), encoding="utf-8")
    (models / "model.pt").write_bytes(b"foreign")
    assert train(seed=5) == []


def test_weights_that_another_training_of_the_folder_left_are_trained_again(finished):
    train, models = finished
    record = json.loads((models / curriculum.RECORD).read_text(encoding="utf-8"))
    (models / "model.pt").write_bytes(b"of another overlay")
    digest = hashlib.sha256(b"of another overlay").hexdigest()
    record["another"] = {"weights": "model.pt", "sha256": digest, "fingerprint": "", "seconds": 1}
    (models / curriculum.RECORD).write_text(json.dumps(record), encoding="utf-8")
    assert train() == ["model.pt"], "neither refused nor taken for the stage's own"


def test_a_run_killed_before_its_record_is_run_again(finished, monkeypatch):
    train, models = finished

    def killed(root, configs, *rest):
        (models / "stage_1.pt").write_bytes(b"trained, then killed")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(curriculum, "_run", killed)
        with pytest.raises(KeyboardInterrupt):
            train(seed=7)
    assert len(train(seed=7)) == 4


def test_an_override_inside_nothing_is_refused_with_the_place_that_is_meant(tmp_path, log):
    _validation(tmp_path, 12)
    with pytest.raises(ValueError, match="there is no 'trainer'; did you mean 'train::trainer::max_epochs'"):
        curriculum.train(str(BUNDLE), str(tmp_path), **{"trainer::max_epochs": 1})
    with pytest.raises(ValueError, match="there is no 'validat'; did you mean 'validate'"):
        curriculum.evaluate(str(BUNDLE), str(tmp_path), **{"validat::cases": []})
    assert not log


def test_an_overlay_that_is_a_training_of_its_own_runs_without_the_stages(tmp_path, log):
    _validation(tmp_path, 12)
    curriculum.train(str(BUNDLE), str(tmp_path), overlays="train_3d")
    curriculum.train(str(BUNDLE), str(tmp_path), overlays="train_3d", stages="stage_3_joint", calibrate=False)
    assert log == ["train_3d", "calibrate", "stage_3_joint"]
