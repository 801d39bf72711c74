"""A stage is recorded only with the weights that it left."""

from __future__ import annotations

import pytest

from medvlm.bundle import curriculum


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
