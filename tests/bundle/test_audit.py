"""The linter of bundles finds each kind of defect, and nothing in a sound bundle."""

from __future__ import annotations

import json

import pytest

from medvlm.bundle.audit import audit, config_files, runs_of


def found(root, verdict):
    return [f"{row.check}: {row.detail}" for row in audit(str(root)).rows if row.verdict == verdict]


def test_a_sound_bundle_has_nothing_to_say(toy):
    report = audit(str(toy))
    assert report.status == 0 and all(row.verdict == "ok" for row in report.rows), str(report)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"optimizer::lrr": 0.1}, "optimizer: Adam has no argument 'lrr'"),
        ({"loss": "$torch.nn.L2Loss()"}, "'torch.nn' has no 'L2Loss'"),
        ({"loss": "$(lambda x: x)"}, "train.json: loss holds a lambda"),
        ({"loss": "$[x for x in @features if x > 1]"}, "train.json: loss holds a comprehension with a condition"),
        ({"initialize": []}, "train.json: make '$strict.check()' the first entry"),
        ({"dataset_dir": "/home/someone/data"}, "names /home/someone"),
    ],
)
def test_finds_what_is_wrong(toy, change, changes, words):
    change("train", **changes)
    assert any(words in row for row in found(toy, "failed")), str(audit(str(toy)))
    assert audit(str(toy)).status == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"momentum": 0.9}, "nothing in the configs reads 'momentum' of train.json"),
        ({"epochs": "$" + "1 + " * 30 + "1"}, "train.json: epochs has 121 characters"),
        ({"loss::_target_": "DiceLoss"}, "targets 'DiceLoss'; write its full dotted name"),
    ],
)
def test_points_at_what_deserves_a_look(toy, change, changes, words):
    change("train", **changes)
    assert any(words in row for row in found(toy, "look")), str(audit(str(toy)))
    assert audit(str(toy)).status == 0


def test_an_overlay_is_judged_over_the_config_that_it_fits(toy):
    (toy / "configs" / "short.json").write_text(
        json.dumps({"train::trainer::max_epochs": "@epochs", "epochs": 3}), encoding="utf-8"
    )
    (toy / "configs" / "softer.json").write_text(
        json.dumps({"postprocessing::transforms::1::threshold": 0.1}), encoding="utf-8"
    )
    runs = runs_of(toy, config_files(toy))
    assert "train" in runs["short.json"][0] and "train" not in runs["softer.json"][0]
    assert audit(str(toy)).status == 0


def test_finds_a_broken_overlay_and_python_and_bad_json(toy):
    (toy / "configs" / "lost.json").write_text(json.dumps({"no::such": 1}), encoding="utf-8")
    (toy / "configs" / "part.py").write_text("x = 1\n", encoding="utf-8")
    assert any("lost.json fits neither" in row for row in found(toy, "failed"))
    assert any("part.py belongs in a library" in row for row in found(toy, "failed"))
    (toy / "configs" / "lost.json").write_text("{", encoding="utf-8")
    assert any("readable: lost.json" in row for row in found(toy, "failed"))
