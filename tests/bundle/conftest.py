"""A complete toy bundle, small enough to build in a test."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
METADATA = ROOT / "bundles" / "brats_mri_multitask" / "configs" / "metadata.json"
HANDLER = {"_target_": "monai.handlers.StatsHandler", "name": "toy"}
TRAIN = {
    "imports": ["$import medvlm.engines.strict as strict"],
    "bundle_root": ".",
    "dataset_dir": "data",
    "device": "cpu",
    "epochs": 1,
    "features": [4, 8],
    "network_def": {
        "_target_": "medvlm.networks.nets.MaskNet",
        "features": "@features",
        "norm": ["GROUP", {"num_groups": 2}],
    },
    "loss": {"_target_": "monai.losses.DiceLoss", "sigmoid": True},
    "optimizer": {"_target_": "torch.optim.Adam", "params": "$@network_def.parameters()"},
    "train": {
        "dataset": {"_target_": "monai.data.Dataset", "data": "$[@dataset_dir]"},
        "dataloader": {"_target_": "monai.data.DataLoader", "dataset": "@train::dataset"},
        "inferer": {"_target_": "monai.inferers.SimpleInferer"},
        "handlers": [HANDLER],
        "trainer": {
            "_target_": "monai.engines.SupervisedTrainer",
            "device": "@device",
            "max_epochs": "@epochs",
            "train_data_loader": "@train::dataloader",
            "network": "@network_def",
            "optimizer": "@optimizer",
            "loss_function": "@loss",
            "inferer": "@train::inferer",
            "train_handlers": "@train::handlers",
        },
    },
    "initialize": ["$strict.check()"],
    "run": ["$@train::trainer.run()"],
}
INFERENCE = {
    **{key: TRAIN[key] for key in ("imports", "bundle_root", "dataset_dir", "device", "features", "network_def")},
    "network": "$@network_def.to(@device)",
    "checkpoint": "$@bundle_root + '/models/model.pt'",
    "threshold": 0.5,
    "preprocessing": {
        "_target_": "monai.transforms.Compose",
        "transforms": [
            {"_target_": "monai.transforms.LoadImaged", "keys": "image", "ensure_channel_first": True},
            {"_target_": "monai.transforms.ScaleIntensityd", "keys": "image"},
        ],
    },
    "dataset": {"_target_": "monai.data.Dataset", "data": "$[@dataset_dir]", "transform": "@preprocessing"},
    "dataloader": {"_target_": "monai.data.DataLoader", "dataset": "@dataset"},
    "inferer": {"_target_": "monai.inferers.SimpleInferer"},
    "postprocessing": {
        "_target_": "monai.transforms.Compose",
        "transforms": [
            {"_target_": "monai.transforms.Activationsd", "keys": "pred", "sigmoid": True},
            {"_target_": "monai.transforms.AsDiscreted", "keys": "pred", "threshold": "@threshold"},
        ],
    },
    "evaluator": {
        "_target_": "monai.engines.SupervisedEvaluator",
        "device": "@device",
        "val_data_loader": "@dataloader",
        "network": "@network",
        "inferer": "@inferer",
        "postprocessing": "@postprocessing",
    },
    "initialize": ["$strict.check()"],
    "run": ["$@evaluator.run()"],
}


def write_config(root: Path, name: str, content: dict) -> None:
    (root / "configs" / f"{name}.json").write_text(json.dumps(content, indent=4), encoding="utf-8")


@pytest.fixture
def toy(tmp_path):
    """A bundle ``toy`` in ``tmp_path/bundles`` that passes every check."""
    root = tmp_path / "bundles" / "toy"
    (root / "configs").mkdir(parents=True)
    (root / "docs").mkdir()
    (root / "models").mkdir()
    write_config(root, "train", TRAIN)
    write_config(root, "inference", INFERENCE)
    shutil.copy(METADATA, root / "configs" / "metadata.json")
    (root / "LICENSE").write_text("Apache License\n", encoding="utf-8")
    (root / "docs" / "README.md").write_text("Run `configs/inference.json` with `models/model.pt`.\n", encoding="utf-8")
    (root / "docs" / "data_license.txt").write_text("phantoms\n", encoding="utf-8")
    torch.manual_seed(0)
    torch.save(toy_network().state_dict(), root / "models" / "model.pt")
    return root


def toy_network():
    from medvlm.networks.nets import MaskNet

    return MaskNet(features=TRAIN["features"], norm=("GROUP", {"num_groups": 2}))


@pytest.fixture
def change(toy):
    """Change one id of a config of the toy bundle."""
    from monai.bundle import ConfigParser

    def apply(name: str, **changes) -> Path:
        file = toy / "configs" / f"{name}.json"
        parser = ConfigParser(json.loads(file.read_text(encoding="utf-8")))
        for key, value in changes.items():
            parser.set(value, key)
        file.write_text(json.dumps({k: v for k, v in parser.get().items() if k != "_meta_"}), encoding="utf-8")
        return toy

    return apply
