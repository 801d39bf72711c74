"""The back ends on the 2D network: logits against torch eager, and time per batch of slices, interleaved.

    python benchmarks/backends.py [--batch 16] [--side 128] [--repeats 9] [--threads 2] [--json out.json]

The network is the one of ``inference.json`` with seeded random weights. Each round runs every alternative once on the
same batch of z-scored blobs, after one warm-up; medians over the rounds. A back end counts only if its logits stay
within 1e-3 of torch eager.
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

    config = json.loads((ROOT / "bundles" / "brats_mri_multitask" / "configs" / "inference.json").read_text())
    arguments = {key: value for key, value in config["network_def"].items() if key != "_target_"}
    torch.manual_seed(0)
    return MaskNet(**{**arguments, **overrides}).eval()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--network", default="{}", help="JSON of network arguments that differ from inference.json")
    parser.add_argument("--json", help="write the numbers there")
    options = parser.parse_args()
    import torch

    from medvlm.engines.backends import BACKENDS, load_backend

    torch.set_num_threads(options.threads)
    shape = [options.batch, 1, options.side, options.side]
    network = build(json.loads(options.network))
    runners = {name: load_backend(network, name, shape, tolerance=float("inf")) for name in BACKENDS}
    axis = torch.linspace(-1, 1, options.side)
    brain = ((axis[:, None] ** 2 + axis[None] ** 2) < 0.8).float()
    image = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * brain
    seconds: dict[str, list[float]] = {name: [] for name in runners}
    logits = {}
    with torch.inference_mode():
        for repeat in range(options.repeats + 1):
            for name, runner in runners.items():
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
        print(f"{name:12} {median * 1000:8.1f} ms  largest difference {difference:.1e}  {faster:.2f} times torch eager")
    fitting = {name: row for name, row in rows.items() if row["difference"] <= TOLERANCE and name != "torch"}
    best = max(fitting, key=lambda name: fitting[name]["times_torch"], default=None)
    if best is not None:
        faster = rows[best]["times_torch"]
        print(f"fastest within {TOLERANCE:g}: {best}, {faster:.2f} times torch eager (wanted: at least 1.5)")
    if options.json:
        result = {"shape": shape, "threads": options.threads, "rows": rows, "best": best}
        Path(options.json).write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
