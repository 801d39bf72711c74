"""Grouped cross-validation on a small data set: the bundle fine-tuned from given weights, or a stock MONAI network.

    python -m medvlm prepare kaggle_yes_no,brats_slices,brats2015 --root A,B,C --out real/datalist.json \\
        --folds 5 --healthy_masks
    python benchmarks/cross_validation.py bundle --lists real --out runs/bundle --initial_weights models/model.pt
    python benchmarks/cross_validation.py densenet --lists real --out runs/densenet --seconds 100

Each fold is trained on its training section, its checkpoint chosen on its validation section, and its test section
predicted once; the rows of all folds together make ``OUT/cases.csv`` and the scores, resampled by patient. Verdicts
are taken at probability 0.5: no threshold sees a test fold. Seconds are processor time of this process, so that other
work on the machine takes nothing from a run.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

import fire
import monai.bundle
import peers

from medvlm.bundle.locate import find_bundle
from medvlm.metrics.rows import read_rows, write_rows
from medvlm.metrics.summary import summarise

SHOWN = ("roc_auc", "sensitivity", "specificity", "balanced_accuracy", "pr_auc", "ece")


def main(
    network: str,
    lists: str,
    out: str,
    seconds: float = 100,
    overlays: str | Sequence[str] = "averaging,fine_tune",
    peer_overlays: str | Sequence[str] = "fine_tune",
    folds: str = "all",
    bundle: str = "brats_mri_multitask",
    **overrides,
) -> None:
    """Train and test every fold, and print the pooled scores as JSON.

    Args:
        network: ``bundle``, ``unet`` or ``densenet``.
        lists: folder with ``datalist_fold0.json`` ... as ``prepare --folds`` writes them.
        out: folder of the results.
        seconds: processor time to train a fold of the stock networks, reading not counted; the bundle's is its number
            of epochs.
        overlays: configs laid over ``train.json`` for the bundle.
        peer_overlays: the same for the stock networks, so that they see the same augmentations; an average of the
            weights is of no use in runs so short that it still holds the random ones.
        folds: ``all``, or some numbers with commas between them.
        bundle: whose configs to use.
        overrides: further ids of the config.
    """
    wanted = None if folds == "all" else {int(n) for n in str(folds).strip("()").split(",") if n.strip()}
    rows, took = [], []
    for file in sorted(Path(lists).glob("datalist_fold*.json")):
        number = int(file.stem.removeprefix("datalist_fold"))
        if wanted is not None and number not in wanted:
            continue
        folder = Path(out).resolve() / f"fold{number}"
        start = time.process_time()
        if network == "bundle":
            _bundle_fold(find_bundle(bundle), file.resolve(), folder, peers.listed(overlays), overrides)
        else:
            peers.main(
                network,
                lists,
                seconds,
                str(folder),
                peer_overlays,
                bundle,
                datalist=str(file.resolve()),
                bootstrap_repeats=50,
                **overrides,
            )
        took.append(round(time.process_time() - start))
        rows += read_rows(folder / "cases.csv")
    write_rows(rows, Path(out) / "cases.csv")
    summary = summarise(rows, regions=["WT"], n_boot=2000)
    (Path(out) / "evaluation.json").write_text(json.dumps(summary, indent=2), encoding="utf-8")
    print(json.dumps({"network": network, "fold_cpu_seconds": took, **_shown(summary)}, indent=2))


def _bundle_fold(root: Path, datalist: Path, folder: Path, overlays: list[str], overrides: dict) -> None:
    configs = [str(root / "configs" / f"{name}.json") for name in ("train", *overlays)]
    settings = {
        "dataset_dir": str(datalist.parent),
        "datalist": str(datalist),
        "ckpt_dir": str(folder),
        "output_dir": str(folder),
        "log_dir": str(folder / "logs"),
        "pictures": 0,
        **overrides,
    }
    start = time.process_time()
    monai.bundle.run(config_file=configs, **settings)
    took = round(time.process_time() - start)
    print(json.dumps({"datalist": datalist.name, "training_cpu_seconds": took}), flush=True)
    monai.bundle.run(config_file=[*configs, str(root / "configs" / "evaluate.json")], bootstrap_repeats=50, **settings)


def _shown(summary: dict) -> dict:
    classes = summary["classification"]
    parts = {"all": classes["overall"], **classes["per_source"]}
    shown = {}
    for name, part in parts.items():
        metrics = part.get("metrics") or {}
        scores = {key: [metrics[key]["value"], *(metrics[key]["ci"] or [])] for key in SHOWN if key in metrics}
        shown[name] = {"n": part["n"], "n_positive": part.get("n_positive"), **scores}
    masks = {"all": summary["segmentation"]["overall"], **summary["segmentation"]["per_source"]}
    dice = {name: part.get("WT", {}).get("dice") for name, part in masks.items()}
    tumours = {name: part.get("WT", {}).get("dice_with_tumour") for name, part in masks.items()}
    return {"classification": shown, "dice": dice, "dice_with_tumour": tumours}


if __name__ == "__main__":
    fire.Fire(main)
