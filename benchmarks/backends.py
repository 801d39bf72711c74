"""The back ends on the 2D network: logits against torch eager, and time per batch of slices, interleaved.

    python benchmarks/backends.py [--batches 1 16] [--side 128] [--repeats 15] [--threads 2] [--pause 0.3] [--json F]

The network is the one of ``inference.json`` with seeded random weights. Each round runs every alternative on the same
batch of z-scored blobs, after one warm-up; medians over the rounds. The threads of each runtime go on spinning for a
while after its work and take the cores from the next one, so that each run waits ``--pause`` seconds and wakes its own
threads with an untimed pass. A back end counts only if its logits stay within 1e-3 of torch eager.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TOLERANCE = 1e-3


def build(overrides: dict):
    """The network of ``inference.json`` with seeded random weights."""
    import torch

    from medvlm.networks.nets import MaskNet

    config = json.loads(
        (ROOT / "bundles" / "brats_mri_multitask" / "configs" / "inference.json").read_text(encoding="utf-8")
    )
    arguments = {key: value for key, value in config["network_def"].items() if key != "_target_"}
    torch.manual_seed(0)
    return MaskNet(**{**arguments, **overrides}).eval()


def measure(network, batch: int, side: int, repeats: int, pause: float) -> dict[str, dict[str, float]]:
    """Median seconds and largest difference in logits of each back end on one batch."""
    import torch

    from medvlm.engines.backends import BACKENDS, load_backend

    shape = [batch, 1, side, side]
    runners = {name: load_backend(network, name, shape, tolerance=float("inf")) for name in BACKENDS}
    axis = torch.linspace(-1, 1, side)
    brain = ((axis[:, None] ** 2 + axis[None] ** 2) < 0.8).float()
    image = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * brain
    seconds: dict[str, list[float]] = {name: [] for name in runners}
    logits = {}
    with torch.inference_mode():
        for repeat in range(repeats + 1):
            for name, runner in runners.items():
                time.sleep(pause)
                runner.heads(image)
                start = time.perf_counter()
                logits[name] = runner.heads(image)
                if repeat:  # the first round warms up
                    seconds[name].append(time.perf_counter() - start)
    rows = {}
    for name in runners:
        difference = max(float((logits[name][head] - logits["torch"][head]).abs().max()) for head in logits["torch"])
        median = statistics.median(seconds[name])
        faster = statistics.median(seconds["torch"]) / median
        rows[name] = {"seconds": median, "min": min(seconds[name]), "difference": difference, "times_torch": faster}
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16], help="a picture; a step of a volume")
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--pause", type=float, default=0.3, help="seconds of rest before each run")
    parser.add_argument("--network", default="{}", help="JSON of network arguments that differ from inference.json")
    parser.add_argument("--json", help="write the numbers there")
    options = parser.parse_args()
    import torch

    torch.set_num_threads(options.threads)
    network = build(json.loads(options.network))
    result = {"side": options.side, "threads": options.threads, "batches": {}}
    for batch in options.batches:
        rows = result["batches"][batch] = measure(network, batch, options.side, options.repeats, options.pause)
        for name, row in rows.items():
            print(
                f"batch {batch:3}  {name:12} {row['seconds'] * 1000:8.1f} ms  largest difference "
                f"{row['difference']:.1e}  {row['times_torch']:.2f} times torch eager"
            )
        fitting = {name: row for name, row in rows.items() if row["difference"] <= TOLERANCE and name != "torch"}
        best = max(fitting, key=lambda name: fitting[name]["times_torch"])
        faster = fitting[best]["times_torch"]
        print(f"batch {batch:3}  fastest within {TOLERANCE:g}: {best}, {faster:.2f} times torch (wanted: at least 1.5)")
    if options.json:
        Path(options.json).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
