"""The bundle's curriculum, its single tasks and stock networks, each trained for the same processor time.

    python benchmarks/equal_budget.py cost --dataset_dir data --overlays averaging,phantom   # seconds of the curriculum
    SAME="--dataset_dir data --seconds 540 --overlays averaging,phantom"
    python benchmarks/equal_budget.py joint $SAME --out runs/joint
    python benchmarks/equal_budget.py joint_at_once $SAME --out runs/at_once
    python benchmarks/equal_budget.py segmentation_only $SAME --out runs/masks
    python benchmarks/equal_budget.py classification_only $SAME --out runs/classes
    python benchmarks/equal_budget.py unet $SAME --out runs/unet
    python -m medvlm compare runs/joint/cases.csv runs/masks/cases.csv runs/classes/cases.csv runs/unet/cases.csv

The clock is the processor time of this process, reading the images not counted: other work on the machine takes
nothing from a run. A trial of some steps sets the number of epochs; ``cost`` prints what the curriculum, with the
numbers of epochs of its configs, takes by the same clock; the stages of ``joint`` share the budget as these numbers do;
``joint_at_once`` trains both tasks from random weights, without stages. Nothing is validated on the way, the last
(averaged) weights are kept, and where there is a verdict its threshold is frozen on the validation section. ``unet``
and ``densenet`` are those of ``benchmarks/peers.py``, ``unet`` with ``segmentation_only``'s cases and ``densenet`` with
``classification_only``'s.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import fire
import monai.bundle
import peers
from monai.bundle import ConfigParser

from medvlm.bundle.locate import find_bundle

PEER_TASKS = {"unet": "segmentation_only", "densenet": "classification_only"}


def main(
    run: str,
    dataset_dir: str,
    seconds: float = 540,
    out: str = "runs/equal",
    overlays: str | Sequence[str] = "",
    bundle: str = "brats_mri_multitask",
    **overrides,
) -> None:
    """Train one run for about ``seconds`` of processor time and evaluate it on the test section.

    Args:
        run: ``joint`` (the curriculum), ``joint_at_once``, ``segmentation_only``, ``classification_only``, ``unet``
            or ``densenet``; ``cost`` trains nothing and prints the seconds of the configs' own curriculum.
        dataset_dir: folder with ``datalist.json``.
        seconds: budget of training, all stages together.
        out: folder of the weights, ``evaluation.json`` and ``cases.csv``.
        overlays: configs laid over ``train.json``, with commas between them.
        bundle: whose configs to use.
        overrides: further ids of the config.
    """
    names = peers.listed(overlays)
    overrides = {"keep": "last", "val_interval": 10_000, **overrides}
    if run in PEER_TASKS:
        peers.main(run, dataset_dir, seconds, out, [*names, PEER_TASKS[run]], bundle, **overrides)
        return
    folder, data = Path(out).resolve(), Path(dataset_dir).resolve()
    configs = find_bundle(bundle) / "configs"
    layers = _layers(configs, "joint" if run == "cost" else run, names)
    settings = {
        "dataset_dir": str(data),
        "ckpt_dir": str(folder),
        "output_dir": str(folder),
        "log_dir": str(folder / "logs"),
        "pictures": 0,
        **overrides,
    }
    planned, each = _costs(layers, settings)
    if run == "cost":
        total = sum(number * cost for number, cost in zip(planned, each, strict=True))
        print(json.dumps({"epochs": planned, "seconds": round(total)}))
        return
    epochs = _epochs(planned, each, seconds)
    took = [
        peers.train_clocked(files, {**settings, "epochs": number}) for files, number in zip(layers, epochs, strict=True)
    ]
    last = [*layers[-1], str(configs / "evaluate.json")]
    if run != "segmentation_only":
        calibration = [*last, str(configs / "calibrate.json")]
        monai.bundle.run(config_file=calibration, **{**settings, "output_dir": str(folder / "validation")})
    monai.bundle.run(config_file=last, **settings)
    print(json.dumps({"run": run, "epochs": epochs, "training_cpu_seconds": [round(t) for t in took]}))


def _layers(configs: Path, run: str, overlays: list[str]) -> list[list[str]]:
    """The config files of each training, one after another: the curriculum's stages, or the one single task."""
    train, laid = str(configs / "train.json"), [str(configs / f"{name}.json") for name in overlays]
    if run == "joint":
        return [[train, str(stage), *laid] for stage in sorted(configs.glob("stage_*.json"))]
    single = [] if run == "joint_at_once" else [str(configs / f"{run}.json")]
    return [[train, *laid, *single]]


def _costs(layers: list[list[str]], settings: dict) -> tuple[list[int], list[float]]:
    """Epochs of each training in its configs, and processor seconds of one."""
    planned = [_planned(files, settings) for files in layers]
    return planned, [peers.epoch_seconds(files, {**settings, "epochs": 1}) for files in layers]


def _epochs(planned: list[int], each: list[float], seconds: float) -> list[int]:
    """Epochs of each training that together take ``seconds``, in the proportions of the configs."""
    share = seconds / sum(number * cost for number, cost in zip(planned, each, strict=True))
    epochs = [max(1, round(number * share)) for number in planned[:-1]]
    left = seconds - sum(number * cost for number, cost in zip(epochs, each, strict=False))
    return [*epochs, max(1, round(left / each[-1]))]


def _planned(files: list[str], settings: dict) -> int:
    parser = ConfigParser()
    parser.read_config(files)
    parser.update(pairs=settings)
    return parser.get_parsed_content("epochs")


if __name__ == "__main__":
    fire.Fire(main)
