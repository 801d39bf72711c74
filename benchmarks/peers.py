"""Train stock MONAI networks with the bundle's own data, augmentations and budget, and score them alike.

    python benchmarks/peers.py unet --dataset_dir demo/data --seconds 600 --out runs/unet
    python benchmarks/peers.py densenet --dataset_dir demo/data --seconds 600 --out runs/densenet

The network differs from the bundle's training: ``UNet`` (channels 16 to 256, two residual units a stage) for the mask,
``DenseNet121`` for the class, one learning rate, no curriculum. ``UNet`` has MONAI's ``DiceCELoss``: with the bundle's
loss, made for the bundle's network, it learns an almost constant map and outlines nothing. The number of epochs is set
so that training takes ``--seconds`` of processor time of this process (a trial of some steps is timed first): what else
the machine does costs no epochs. Reading the images is not counted. ``OUT/cases.csv`` is then comparable with the
bundle's by ``python -m medvlm compare``; ``benchmarks/equal_budget.py`` trains the bundle's networks by the same clock.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from itertools import chain, repeat
from pathlib import Path

import fire
import monai.bundle
import torch
from monai.bundle import ConfigWorkflow
from monai.losses import DiceLoss
from monai.networks.nets import DenseNet121, UNet
from torch import Tensor, nn
from torch.nn import functional

from medvlm.bundle.locate import find_bundle
from medvlm.data.datalists import SECTIONS, load_datalist, read_datalist


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


class DiceCEPerSample(nn.Module):
    """MONAI's ``DiceCELoss(sigmoid=True)``, one value a sample, so that samples of unknown mask can be left out."""

    def __init__(self) -> None:
        super().__init__()
        self.dice = DiceLoss(sigmoid=True, reduction="none")

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Logits and masks (B, R, X, Y) to losses (B,)."""
        entropy = functional.binary_cross_entropy_with_logits(pred, target.to(pred.dtype), reduction="none")
        return self.dice(pred, target).flatten(1).mean(1) + entropy.flatten(1).mean(1)


PEERS = {
    "unet": {
        "network_def": {"_target_": "peers.MaskPeer"},
        "task_weights": {"mask": 1.0, "tumour": 0.0},
        "loss::mask_loss": {"_target_": "peers.DiceCEPerSample"},
    },
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
    """Train one peer for about ``seconds`` of processor time and evaluate it on the test section.

    Args:
        peer: ``unet`` or ``densenet``.
        dataset_dir: folder with ``datalist.json``.
        seconds: budget of training in processor time, validation included, reading the images not.
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
    epochs = max(1, round(seconds / epoch_seconds(configs, settings)))
    took = train_clocked(configs, {**settings, "epochs_per_stage": {peer: epochs}, "patience": epochs})
    monai.bundle.run(config_file=[*configs, str(root / "configs" / "evaluate.json")], **_evaluation(settings))
    parameters = sum(p.numel() for p in {"unet": MaskPeer, "densenet": TumourPeer}[peer]().parameters())
    print(json.dumps({"peer": peer, "parameters": parameters, "epochs": epochs, "training_cpu_seconds": round(took)}))


def listed(names: str | Sequence[str]) -> list[str]:
    """Names from ``a,b``, which the command line may have made a tuple of."""
    return [name for name in (names.split(",") if isinstance(names, str) else names) if name]


def _evaluation(settings: dict) -> dict:
    """The settings, without the parts of the report that need this library's own network."""
    handler = "validate::handlers::0"
    return {**settings, f"{handler}::cam": "$None", "validate::inferer::features": False}


def train_clocked(configs: list[str], settings: dict) -> float:
    """Train, and return the processor seconds that it took once the images were read."""
    workflow = ConfigWorkflow(config_file=configs, **settings)
    workflow.initialize()
    workflow.parser.get_parsed_content("train::trainer")  # reads the images
    start = time.process_time()
    workflow.run()
    took = time.process_time() - start
    workflow.finalize()
    return took


def epoch_seconds(configs: list[str], settings: dict, steps: int = 60) -> float:
    """Time some training steps and one validation on part of the cases, and scale them to an epoch and its share.

    Returns:
        Processor seconds of an epoch and the part of a validation that falls to it.
    """
    parser = ConfigWorkflow(config_file=configs, **settings).parser
    file, share = _fewer_cases(Path(parser.get_parsed_content("datalist")), parser.get_parsed_content("ckpt_dir"))
    workflow = ConfigWorkflow(config_file=configs, **{**settings, "datalist": str(file), "initial_weights": "$None"})
    workflow.initialize()
    trainer = workflow.parser.get_parsed_content("train::trainer")
    evaluator = workflow.parser.get_parsed_content("validate::evaluator")
    workflow.parser.get_parsed_content("early_stop").set_trainer(trainer)
    batches = chain.from_iterable(repeat(trainer.data_loader))
    trainer.network.train()
    for number in range(steps + 2):
        if number == 2:
            start = time.process_time()
        image, target, *rest = trainer.prepare_batch(next(batches), trainer.state.device)
        args, kwargs = rest or ((), {})  # which masks are unknown, and not decoded
        loss = trainer.loss_function(trainer.inferer(image, trainer.network, *args, **kwargs), target)
        trainer.optimizer.zero_grad()
        loss.backward()
        trainer.optimizer.step()
    step = (time.process_time() - start) / steps
    start = time.process_time()
    with torch.inference_mode():
        evaluator.run()
    validation = (time.process_time() - start) * share / workflow.parser.get_parsed_content("val_interval")
    return step * len(trainer.data_loader) + validation


def _fewer_cases(datalist: Path, folder: str, most: int = 100) -> tuple[Path, float]:
    """Write a datalist of every n-th case of each source, and how many times more cases validation really has."""
    lists = read_datalist(datalist)
    sections = {name: load_datalist(datalist, name) for name in SECTIONS if isinstance(lists.get(name), list)}
    fewer = {name: _every(cases, max(1, len(cases) // most)) for name, cases in sections.items()}
    file = Path(folder) / "trial_datalist.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({**lists, **fewer}), encoding="utf-8")
    return file, len(sections["validation"]) / len(fewer["validation"])


def _every(cases: list[dict], step: int) -> list[dict]:
    """Every ``step``-th case of each source and class, so that no stratum of the sampler is empty."""
    strata: dict[tuple, list[dict]] = {}
    for case in cases:
        strata.setdefault((case.get("source"), case.get("tumour")), []).append(case)
    return [case for group in strata.values() for case in group[::step]]


if __name__ == "__main__":
    fire.Fire(main)
