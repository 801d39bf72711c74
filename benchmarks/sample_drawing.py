"""Drawing training samples from the cache: as the bundle does it, against MONAI's defaults with the same transforms.

    python benchmarks/sample_drawing.py --dataset_dir data --overlays phantom

The bundle augments plain tensors (``transforms.Untracked``) and does not copy a cached volume before a slice of it is
drawn (``copy_cache``). Ways in turns within one process; the figures are processor milliseconds a sample (median over
the rounds), on one thread.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Sequence

import fire
import peers
import torch
from monai.bundle import ConfigParser
from monai.data import CacheDataset
from monai.transforms import Compose

from medvlm.bundle.locate import find_bundle


def main(
    dataset_dir: str,
    overlays: str | Sequence[str] = "",
    bundle: str = "brats_mri_multitask",
    cases: int = 400,
    samples: int = 64,
    rounds: int = 5,
) -> None:
    """Time ``rounds`` times ``samples`` samples of each way.

    Args:
        dataset_dir: folder with ``datalist.json``.
        overlays: configs laid over ``train.json``, with commas between them.
        bundle: whose configs to use.
        cases: cached cases, spread over the training section.
        samples: samples of a round.
        rounds: rounds of each way, after one that is not counted.
    """
    torch.set_num_threads(1)
    configs = find_bundle(bundle) / "configs"
    parser = ConfigParser()
    parser.read_config([str(configs / f"{name}.json") for name in ["train", *peers.listed(overlays)]])
    parser.update({"dataset_dir": dataset_dir, "progress": False})
    every = parser.get_parsed_content("train::cases")
    parser["train"]["cases"] = every[:: max(1, len(every) // cases)]
    parser.parse(reset=True)
    data = parser.get_parsed_content("train::dataset")
    steps = parser.get_parsed_content("train::deterministic_transforms")
    drawn, picked = (parser.get_parsed_content(f"train::{part}") for part in ("random_transforms", "picked"))
    tracked = Compose([*steps, *drawn, picked])
    ways = {
        "bundle": (data.transform, data.copy_cache),
        "tracked": (tracked, data.copy_cache),
        "tracked_and_copied": (tracked, True),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, (transform, copy) in ways.items():
            taken = _milliseconds(data, transform, copy, samples)
            if number:
                times[name].append(taken)
    result = {name: round(statistics.median(values), 2) for name, values in times.items()}
    ratio = statistics.median(a / b for a, b in zip(times["tracked_and_copied"], times["bundle"], strict=True))
    print(json.dumps({"cases": len(data), "milliseconds_a_sample": result, "times_faster": round(ratio, 2)}))


def _milliseconds(data: CacheDataset, transform: Compose, copy: bool, samples: int) -> float:
    data.transform, data.copy_cache = transform, copy
    start = time.process_time()
    for index in range(samples):
        data[index * 7 % len(data)]
    return 1e3 * (time.process_time() - start) / samples


if __name__ == "__main__":
    fire.Fire(main)
