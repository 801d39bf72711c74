"""Every bundle of this repository is free of what the linter finds."""

from __future__ import annotations

from pathlib import Path

import pytest
from monai.bundle import create_workflow

from medvlm.bundle.audit import audit
from medvlm.engines.strict import ConfigError

BUNDLES = sorted(path.parents[1] for path in Path(__file__).parents[2].glob("bundles/*/configs/metadata.json"))


@pytest.mark.parametrize("root", BUNDLES, ids=lambda path: path.name)
def test_audit_finds_nothing_wrong(root):
    report = audit(str(root))
    assert report.status == 0, str(report)


@pytest.mark.parametrize("root", BUNDLES, ids=lambda path: path.name)
@pytest.mark.parametrize("config", ["train", "inference"])
def test_a_misspelt_override_fails_before_any_data_is_read(root, config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RuntimeError, match="Failed to evaluate") as caught:
        create_workflow(config_file=str(root / "configs" / f"{config}.json"), dataset_dirr="x")
    assert isinstance(caught.value.__cause__, ConfigError)
    assert "unknown key 'dataset_dirr'; did you mean 'dataset_dir'" in str(caught.value.__cause__)
