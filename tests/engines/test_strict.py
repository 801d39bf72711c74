"""A misspelt name in a bundle's config or overrides is refused, whoever runs it."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from monai.bundle import ConfigParser, ConfigWorkflow, create_workflow
from monai.bundle import run as monai_run

from medvlm.engines.strict import ConfigError, StrictWorkflow, check, refuse_lost_overrides

TRAIN = {
    "imports": ["$import medvlm.engines.strict as strict"],
    "bundle_root": ".",
    "device": "cpu",
    "dataset_dir": "data",
    "epochs": 2,
    "lr": 0.1,
    "amp": True,
    "weights": {"mask": 1.0, "tumour": 1.0},
    "network_def": {"_target_": "torch.nn.Linear", "in_features": 3, "out_features": 2},
    "optimizer": {"_target_": "torch.optim.Adam", "params": "$@network_def.parameters()", "lr": "@lr"},
    "loss": {"_target_": "monai.losses.DiceLoss", "_disabled_": "$len(@weights) == 0"},
    "train": {
        "transforms": [{"_target_": "monai.transforms.Identityd", "keys": "image"}],
        "trainer": {"_target_": "builtins.dict", "max_epochs": "@epochs", "optimizer": "@optimizer", "amp": "@amp"},
        "resume": True,
    },
    "initialize": ["$strict.check()", "$@weights.update(checked=True)"],
    "run": ["$@train::trainer['max_epochs']"],
}
EVALUATE = {"threshold": 0.5, "+initialize": ["$float(@threshold)"], "run": ["$@weights"]}


@pytest.fixture
def bundle(tmp_path):
    configs = tmp_path / "toy" / "configs"
    configs.mkdir(parents=True)
    (configs / "train.json").write_text(json.dumps(TRAIN), encoding="utf-8")
    (configs / "evaluate.json").write_text(json.dumps(EVALUATE), encoding="utf-8")
    (configs / "metadata.json").write_text(json.dumps({"version": "0.1.0"}), encoding="utf-8")
    return tmp_path / "toy"


def refused(bundle, overrides, files=("train.json",)):
    """Run the stock workflow and return the text of the refusal."""
    with pytest.raises(RuntimeError, match="Failed to evaluate") as caught:
        create_workflow(config_file=[str(bundle / "configs" / file) for file in files], **overrides)
    assert isinstance(caught.value.__cause__, ConfigError)
    return str(caught.value.__cause__)


@pytest.mark.parametrize("files", [("train.json",), ("train.json", "evaluate.json")])
def test_accepts_a_sound_config(bundle, files):
    workflow = create_workflow(config_file=[str(bundle / "configs" / file) for file in files])
    assert workflow.run()


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({"epochz": 3}, "unknown key 'epochz'; did you mean 'epochs'"),
        ({"network_def::in_featurs": 3}, "Linear has no argument 'in_featurs'; did you mean 'in_features'"),
        ({"network_def#in_featurs": 3}, "did you mean 'in_features'"),
        ({"optimizer::lrr": 1}, "optimizer: Adam has no argument 'lrr'; did you mean 'lr'"),
        ({"train::trainr": {}}, "unknown key 'train::trainr'; did you mean 'trainer'"),
        ({"weights::maks": 2}, "unknown key 'weights::maks'; did you mean 'mask'"),
        ({"network_def::_target_": "torch.nn.Linaer"}, "'torch.nn' has no 'Linaer'; did you mean 'Linear'"),
        ({"network_def::_target_": "torch.nm.Linear"}, "'torch' has no 'nm'; did you mean"),
        ({"network_def::_target_": "torhc.nn.Linear"}, "there is no module 'torhc'; is its package installed?"),
        ({"network_def::_target_": "BasicUNett"}, "MONAI has no 'BasicUNett'; did you mean"),
        ({"network_def": {"_target_": "torch.nn.Linear"}}, "network_def: Linear needs 'in_features', 'out_features'"),
        ({"network_def": {"_targt_": "torch.nn.Linear"}}, "network_def: unknown key '_targt_'; did you mean"),
        ({"network_def::_disable_": True}, "'_disable_'; did you mean '_disabled_'"),
        ({"train::transforms::0::kyes": "label"}, "train::transforms::0: Identityd has no argument 'kyes'"),
        ({"lr": "@learning_rate"}, "lr: '@learning_rate' is not defined"),
        ({"lr": "$2 * @epoch"}, "'@epoch' is not defined; did you mean 'epochs'"),
        ({"lr": "@weights::maks"}, "'@weights::maks' is not defined; did you mean 'weights::mask'"),
        ({"lr": "$pathlb.Path('x')"}, "lr: name 'pathlb' is not imported"),
        ({"lr": "$torch.cuda.is_availble()"}, "lr: 'torch.cuda' has no 'is_availble'; did you mean 'is_available'"),
        ({"amp": "false"}, "'amp' is a switch and must be True or False, got the text 'false'; write False"),
        ({"train#resume": "ON"}, "'train::resume' is a switch and must be True or False, got the text 'ON'"),
        ({"lr": "high"}, "'lr' must be a number, got the text 'high'; write digits, such as 0.1"),
        (
            {"train::trainer::max_epochs": "three"},
            "'train::trainer::max_epochs' must be a number, got the text 'three'",
        ),
        ({"weights::mask": "1,5"}, "'weights::mask' must be a number, got the text '1,5'"),
        ({"lr": "$1 +"}, "lr: '$1 +' is not a Python expression"),
        (
            {"lr": "$medvlm.spelling.close_names", "imports": ["$import medvlm.spelling", *TRAIN["imports"]]},
            "name 'medvlm' is not imported: '$import medvlm.spelling' needs '$import medvlm' beside it",
        ),
        (
            {"imports": ["$import medvlm.speling as s", *TRAIN["imports"]]},
            "imports: 'medvlm' has no 'speling'; did you mean",
        ),
    ],
    ids=lambda value: None if isinstance(value, str) else "_".join(value),
)
def test_refuses_a_misspelt_name_and_names_the_right_one(bundle, overrides, expected):
    assert expected in refused(bundle, overrides)


def test_an_override_of_none_that_monai_would_drop_is_refused(bundle):
    message = "'epochs' is given as None, which MONAI drops, so that 2 would stay; write '$None'"
    file = str(bundle / "configs" / "train.json")
    for start in (create_workflow, monai_run):
        with pytest.raises(RuntimeError, match="Failed to evaluate") as caught:
            start(config_file=file, epochs=None)
        assert message in str(caught.value.__cause__)
    monai_run(config_file=file, epochs="$None")


@pytest.mark.parametrize("value", [False, "$False", "@train::resume"], ids=str)
def test_accepts_what_stands_for_a_switch(bundle, value):
    assert create_workflow(config_file=str(bundle / "configs" / "train.json"), amp=value).run()


def test_accepts_names_that_an_expression_binds_itself(bundle):
    expression = "$[name.upper() for name in ['a', 'b'] if isinstance(name, str)]"
    workflow = create_workflow(config_file=str(bundle / "configs" / "train.json"), lr=expression)
    assert workflow.parser.get_parsed_content("lr") == ["A", "B"]


def test_lists_all_problems_at_once(bundle):
    text = refused(bundle, {"epochz": 3, "optimizer::lrr": 1})
    assert text.startswith("2 problems in the config:")
    assert "epochz" in text and "lrr" in text


def test_refuses_a_misspelt_key_of_an_overlay(bundle, tmp_path):
    overlay = bundle / "configs" / "mine.json"
    overlay.write_text(json.dumps({"epochz": 3}), encoding="utf-8")
    assert "nothing reads the key 'epochz'; did you mean 'epochs'" in refused(bundle, {}, ("train.json", "mine.json"))


def test_accepts_new_keys_that_something_refers_to(bundle, tmp_path):
    overlay = tmp_path / "mine.json"
    overlay.write_text(json.dumps({"base_rate": 0.5, "lr": "$@base_rate / 2", "_note": "free text"}), encoding="utf-8")
    workflow = create_workflow(config_file=[str(bundle / "configs" / "train.json"), str(overlay)])
    assert workflow.parser.get_parsed_content("lr") == 0.25


def test_accepts_a_macro_of_the_same_file_and_a_merged_list(bundle, tmp_path):
    overlay = tmp_path / "mine.json"
    overlay.write_text(json.dumps({"faster": 0.9, "lr": "%faster", "+run": ["$@lr"]}), encoding="utf-8")
    workflow = create_workflow(config_file=[str(bundle / "configs" / "train.json"), str(overlay)])
    assert workflow.run() == [2, 0.9]


def test_passes_over_disabled_nodes_and_partial_calls(bundle, tmp_path):
    overlay = tmp_path / "mine.json"
    parts = {
        "off": {"_target_": "no.such.Thing", "_disabled_": True, "wrong": 1},
        "later": {"_target_": "torch.nn.Linear", "_mode_": "callable", "in_features": 2},
    }
    overlay.write_text(json.dumps({"parts": parts, "+run": ["$@parts"]}), encoding="utf-8")
    assert create_workflow(config_file=[str(bundle / "configs" / "train.json"), str(overlay)]).run()


def test_a_disabled_argument_counts_as_missing(bundle):
    off = {"_target_": "builtins.int", "_disabled_": True}
    assert "Linear needs 'in_features'" in refused(bundle, {"network_def::in_features": off})


def test_warns_of_an_override_that_this_run_does_not_read(bundle, caplog):
    with caplog.at_level(logging.WARNING, logger="medvlm"):
        create_workflow(config_file=str(bundle / "configs" / "train.json"), threshold=0.4)
    assert "'threshold' has no effect in this run; it belongs to evaluate.json" in caplog.text


def test_does_not_warn_of_an_override_that_is_read(bundle, caplog):
    files = [str(bundle / "configs" / name) for name in ("train.json", "evaluate.json")]
    with caplog.at_level(logging.WARNING, logger="medvlm"):
        create_workflow(config_file=files, threshold=0.4, epochs=1)
    assert "no effect" not in caplog.text


def test_nothing_is_built_before_the_check(bundle):
    workflow = ConfigWorkflow(str(bundle / "configs" / "train.json"), epochz=3)
    with pytest.raises(RuntimeError, match="Failed to evaluate"):
        workflow.initialize()
    assert "optimizer" not in workflow.parser.ref_resolver.resolved_content


def test_checks_a_parser_without_a_workflow(bundle):
    parser = ConfigParser({**TRAIN, "epochz": 3, "bundle_root": str(bundle)})
    with pytest.raises(ConfigError, match="unknown key 'epochz'; did you mean 'epochs'"):
        check(parser)
    with pytest.raises(RuntimeError, match="Failed to evaluate"):
        parser.get_parsed_content("initialize::0")


def test_outside_a_config_says_how_to_use_it():
    with pytest.raises(RuntimeError, match="looks at the config that calls it"):
        check()


def test_strict_workflow_checks_configs_that_do_not_check_themselves(bundle):
    config = {**TRAIN, "initialize": []}
    (bundle / "configs" / "train.json").write_text(json.dumps(config), encoding="utf-8")
    workflow = StrictWorkflow(str(bundle / "configs" / "train.json"), epochz=3)
    with pytest.raises(ConfigError, match="unknown key 'epochz'; did you mean 'epochs'"):
        workflow.initialize()


def test_strict_workflow_names_an_override_inside_nothing(bundle):
    with pytest.raises(ConfigError, match="there is no 'trainr'; did you mean 'train'"):
        StrictWorkflow(str(bundle / "configs" / "train.json"), **{"trainr::max_epochs": 3})
    with pytest.raises(ConfigError, match="there is no 'train::trainr'; did you mean 'trainer'"):
        StrictWorkflow(str(bundle / "configs" / "train.json"), **{"train#trainr#max_epochs": 3})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("trainer::max_epochs", "there is no 'trainer'; did you mean 'train::trainer::max_epochs'?"),
        ("trainer#max_epochz", "there is no 'trainer'; did you mean 'train::trainer::max_epochz'?"),
        ("nothing_like_it::x", "unknown key 'nothing_like_it::x': there is no 'nothing_like_it'"),
        ("train::transforms::7::keys", "there is no 'train::transforms::7'"),
        ("lr::encoder", "'lr' is 0.1, which has no entries; override 'lr' as a whole"),
    ],
)
def test_an_override_inside_nothing_is_refused_with_the_place_that_is_meant(name, expected):
    with pytest.raises(ConfigError) as caught:
        refuse_lost_overrides(TRAIN, {name: 1})
    assert expected in str(caught.value)


def test_an_override_inside_what_is_there_or_given_is_not_lost():
    assert refuse_lost_overrides(TRAIN, {"train#trainer#max_epochs": 1, "train::transforms::0::keys": "label"}) is None
    assert refuse_lost_overrides(TRAIN, {"new": {"a": {}}, "new::a::b": 1, "_meta_::version": "2"}) is None


def test_strict_workflow_warns_once_and_serves_monais_run(bundle, caplog):
    config = str(bundle / "configs" / "train.json")
    name = "medvlm.engines.strict.StrictWorkflow"
    with caplog.at_level(logging.WARNING, logger="medvlm"):
        assert create_workflow(workflow_name=name, config_file=config, threshold=0.1).run() == [2]
    assert caplog.text.count("no effect") == 1
    with pytest.raises(ConfigError, match="unknown key 'epochz'; did you mean 'epochs'"):
        monai_run(workflow_name=name, config_file=config, epochz=3)


def test_stock_command_ends_with_the_short_message(bundle, tmp_path):
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(bundle / "configs" / "train.json")]
    environment = {key: value for key, value in os.environ.items() if key != "MEDVLM_DEBUG"}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    done = subprocess.run(
        [*command, "--epochz", "3"], capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=300
    )
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith(
        "error: 1 problem in the config:\n  unknown key 'epochz'; did you mean 'epochs'?"
    )
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "override",
    [
        {"weights_per_stage": {"joitn": 1.0}},
        {"weights_per_stage": {"segmentation": 2.0, "joitn": 1.0}},
        {"epochs_per_stage": {"segmentation": 1, "joitn": 1}},
    ],
)
def test_refuses_a_stage_that_does_not_exist(bundle, override):
    config = TRAIN | {
        "stage": "segmentation",
        "epochs_per_stage": {"segmentation": 1, "joint": 2},
        "weights_per_stage": {"joint": 0.5},
        "read": "$[@epochs_per_stage, @weights_per_stage]",
        "initialize": [*TRAIN["initialize"], "$@read"],
    }
    (bundle / "configs" / "train.json").write_text(json.dumps(config), encoding="utf-8")
    assert "unknown stage 'joitn'; did you mean 'joint'?" in refused(bundle, override)
    create_workflow(config_file=str(bundle / "configs" / "train.json"), weights_per_stage={"segmentation": 1.0})


def test_a_stage_of_one_s_own_is_no_slip(bundle):
    config = TRAIN | {
        "stage": "joint", "epochs_per_stage": {"joint": 2}, "weights_per_stage": {},
        "epochs": "$@epochs_per_stage[@stage]",
        "read": "$@weights_per_stage", "initialize": [*TRAIN["initialize"], "$@read"],
    }  # fmt: skip
    (bundle / "configs" / "train.json").write_text(json.dumps(config), encoding="utf-8")
    own = {"stage": "warm_up", "epochs_per_stage": {"warm_up": 3}, "weights_per_stage": {"warm_up": 1.0}}
    workflow = create_workflow(config_file=str(bundle / "configs" / "train.json"), **own)
    assert workflow.parser.get_parsed_content("epochs") == 3


def test_refuses_a_word_for_a_number_from_a_table(bundle):
    config = TRAIN | {"stage": "joint", "epochs_per_stage": {"joint": 2}, "epochs": "$@epochs_per_stage[@stage]"}
    (bundle / "configs" / "train.json").write_text(json.dumps(config), encoding="utf-8")
    assert "'epochs' must be a number, got the text 'three'; write digits, such as 3" in refused(
        bundle, {"epochs": "three"}
    )
    for value in (3, "$1 + 2", "@epochs_per_stage::joint"):
        assert create_workflow(config_file=str(bundle / "configs" / "train.json"), epochs=value).run()


def test_the_reason_stands_below_the_traceback_of_any_other_error(bundle, monkeypatch, capsys):
    shown = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, error, trace: shown.append(error))
    create_workflow(config_file=str(bundle / "configs" / "train.json"))
    reason = FileNotFoundError("there is no checkpoint at model.pt; train first.")
    wrapped = RuntimeError("Failed to evaluate '$@network.prepare()'")
    wrapped.__cause__ = reason
    sys.excepthook(RuntimeError, wrapped, None)
    assert shown == [wrapped] and capsys.readouterr().err == f"error: {reason}\n"
    sys.excepthook(ValueError, ValueError("plain"), None)
    assert len(shown) == 2 and not capsys.readouterr().err
