"""Training with the bundle's engine, handlers and logging against a plain PyTorch loop: same network, data and steps.

    python benchmarks/training_throughput.py --dataset_dir demo/data

Both walk the same batches (cached volumes, random augmentation, the same loss and optimizer), in turns within one
process; the figure is the plain loop's time over the engine's, 1.0 when the engine costs nothing.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from pathlib import Path

import fire
import torch
from monai.bundle import ConfigWorkflow

from medvlm.bundle.locate import find_bundle


def main(dataset_dir: str, bundle: str = "brats_mri_multitask", steps: int = 12, rounds: int = 5, **overrides) -> None:
    """Time ``rounds`` epochs of ``steps`` steps of each kind, in turns, after one warm-up each.

    Args:
        dataset_dir: folder with ``datalist.json``.
        bundle: whose configs to use.
        steps: steps an epoch.
        rounds: timed epochs of each kind.
        overrides: further ids of the config.
    """
    config = find_bundle(bundle) / "configs" / "train.json"
    with tempfile.TemporaryDirectory() as folder:
        workflow = ConfigWorkflow(
            config_file=str(config),
            dataset_dir=str(Path(dataset_dir).resolve()),
            ckpt_dir=folder,
            log_dir=f"{folder}/logs",
            epochs=1,
            val_interval=10**6,
            progress=False,
            resume=False,
            **{"epoch_samples": f"$@batch_size * {steps}", **overrides},
        )
        workflow.initialize()
        trainer = workflow.parser.get_parsed_content("train::trainer")
        workflow.parser.get_parsed_content("early_stop").set_trainer(trainer)
        engine, plain = [], []
        for number in range(rounds + 1):
            first, second = _engine_epoch(trainer), _plain_epoch(trainer)
            if number:
                engine.append(first)
                plain.append(second)
    ratio = statistics.median(p / e for p, e in zip(plain, engine, strict=True))
    result = {
        "steps": steps,
        "threads": torch.get_num_threads(),
        "engine_seconds": round(statistics.median(engine), 3),
        "plain_seconds": round(statistics.median(plain), 3),
        "throughput_of_engine_over_plain": round(ratio, 3),
    }
    print(json.dumps(result))


def _engine_epoch(trainer) -> float:
    start = time.perf_counter()
    trainer.state.epoch = 0
    trainer.state.max_epochs = 1
    trainer.run()
    return time.perf_counter() - start


def _plain_epoch(trainer) -> float:
    start = time.perf_counter()
    network, optimizer = trainer.network, trainer.optimizer
    network.train()
    for batch in trainer.data_loader:
        image = batch["image"].as_tensor()
        target = {
            "mask": batch["label"].as_tensor().float(),
            "mask_known": batch["mask_known"].float(),
            "tumour": batch["tumour"],
            "tumour_known": batch["tumour_known"].float(),
        }
        optimizer.zero_grad()
        loss = trainer.loss_function(network(image), target)
        loss.backward()
        optimizer.step()
        loss.item()
    return time.perf_counter() - start


if __name__ == "__main__":
    fire.Fire(main)
