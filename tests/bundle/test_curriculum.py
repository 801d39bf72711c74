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
