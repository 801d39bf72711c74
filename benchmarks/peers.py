"""Train stock MONAI networks with the bundle's own data, augmentations, loss and budget, and score them alike.

    python benchmarks/peers.py unet --dataset_dir demo/data --seconds 600 --out runs/unet
    python benchmarks/peers.py densenet --dataset_dir demo/data --seconds 600 --out runs/densenet

Only the network differs from the bundle's training: ``UNet`` (channels 16 to 256, two residual units a stage) for the
mask, ``DenseNet121`` for the class, one learning rate, no curriculum. The number of epochs is set so that training
takes ``--seconds`` on this machine (a trial of some steps is timed first). ``OUT/cases.csv`` is then comparable with
the bundle's by ``python -m medvlm compare``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

import fire
import monai.bundle
import torch
from monai.bundle import ConfigWorkflow
from monai.networks.nets import DenseNet121, UNet
from torch import Tensor, nn

from medvlm.bundle.locate import find_bundle


class MaskPeer(nn.Module):
    """A stock 2D ``UNet`` under the names that the bundle's configs use."""

    def __init__(self) -> None:
        super().__init__()
        self.net = UNet(2, 1, 1, channels=(16, 32, 64, 128, 256), strides=(2, 2, 2, 2), num_res_units=2)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """(B, 1, X, Y) to the mask's logits of the same shape."""
        return {"mask": self.net(image)}


class TumourPeer(nn.Module):
    """A stock 2D ``DenseNet121`` under the names that the bundle's configs use."""

    def __init__(self) -> None:
        super().__init__()
        self.net = DenseNet121(spatial_dims=2, in_channels=1, out_channels=2)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """(B, 1, X, Y) to two class logits."""
        return {"tumour": self.net(image)}


PEERS = {
    "unet": {"network_def": {"_target_": "peers.MaskPeer"}, "task_weights": {"mask": 1.0, "tumour": 0.0}},
    "densenet": {"network_def": {"_target_": "peers.TumourPeer"}, "task_weights": {"mask": 0.0, "tumour": 1.0}},
}
KEY_SCORES = {"unet": "dice", "densenet": "roc_auc"}


def main(
    peer: str,
    dataset_dir: str,
    seconds: float = 600,
    out: str = "runs/peer",
    overlays: str | Sequence[str] = "",
    bundle: str = "brats_mri_multitask",
    learning_rate: float = 1e-3,
    **overrides,
) -> None:
    """Train one peer for about ``seconds`` and evaluate it on the test section.

    Args:
        peer: ``unet`` or ``densenet``.
        dataset_dir: folder with ``datalist.json``.
        seconds: budget of training, validation included.
        out: folder of the weights, ``evaluation.json`` and ``cases.csv``.
        overlays: configs laid over ``train.json``, with commas between them.
        bundle: whose configs to use.
        learning_rate: of the whole network.
        overrides: further ids of the config.
    """
    root, folder = find_bundle(bundle), Path(out).resolve()
    configs = [str(root / "configs" / f"{name}.json") for name in ("train", *listed(overlays))]
    settings = {
        "dataset_dir": str(Path(dataset_dir).resolve()),
        "ckpt_dir": str(folder),
        "output_dir": str(folder),
        "log_dir": str(folder / "logs"),
        "stage": peer,
        "epochs_per_stage": {peer: 1},
        "weights_name": f"{peer}.pt",
        "initial_weights": "$None",
        "frozen": [],
        "skip_unknown_masks": False,
        "learning_rates": {"net": learning_rate},
        "key_score": KEY_SCORES[peer],
        "pictures": 0,
        **PEERS[peer],
        **overrides,
    }
    epochs = max(1, round(seconds / _epoch_seconds(configs, settings)))
    start = time.perf_counter()
    monai.bundle.run(config_file=configs, **{**settings, "epochs_per_stage": {peer: epochs}, "patience": epochs})
    took = time.perf_counter() - start
    monai.bundle.run(config_file=[*configs, str(root / "configs" / "evaluate.json")], **_evaluation(settings))
    parameters = sum(p.numel() for p in {"unet": MaskPeer, "densenet": TumourPeer}[peer]().parameters())
    print(json.dumps({"peer": peer, "parameters": parameters, "epochs": epochs, "training_seconds": round(took)}))


def listed(names: str | Sequence[str]) -> list[str]:
    """Names from ``a,b``, which the command line may have made a tuple of."""
    return [name for name in (names.split(",") if isinstance(names, str) else names) if name]


def _evaluation(settings: dict) -> dict:
    """The settings, without the parts of the report that need this library's own network."""
    handler = "validate::handlers::0"
    return {**settings, f"{handler}::cam": "$None", "validate::inferer::features": False}


def _epoch_seconds(configs: list[str], settings: dict, steps: int = 6) -> float:
    """Time some training steps and one validation, and scale them to an epoch and its share of a validation."""
    workflow = ConfigWorkflow(config_file=configs, **settings)
    workflow.initialize()
    trainer = workflow.parser.get_parsed_content("train::trainer")
    evaluator = workflow.parser.get_parsed_content("validate::evaluator")
    workflow.parser.get_parsed_content("early_stop").set_trainer(trainer)
    batches = iter(trainer.data_loader)
    trainer.network.train()
    for number in range(steps + 2):
        if number == 2:
            start = time.perf_counter()
        image, target, *_ = trainer.prepare_batch(next(batches), trainer.state.device)
        loss = trainer.loss_function(trainer.network(image), target)
        trainer.optimizer.zero_grad()
        loss.backward()
        trainer.optimizer.step()
    step = (time.perf_counter() - start) / steps
    start = time.perf_counter()
    with torch.inference_mode():
        evaluator.run()
    validation = (time.perf_counter() - start) / workflow.parser.get_parsed_content("val_interval")
    return step * len(trainer.data_loader) + validation


if __name__ == "__main__":
    fire.Fire(main)
