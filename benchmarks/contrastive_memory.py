"""Memory of the chunked sigmoid loss against the same loss on the whole matrix, forward and backward.

    python benchmarks/contrastive_memory.py [--n 16384] [--dim 256] [--chunk 1024] [--repeats 2] [--json FILE]

Each runs in a process of its own; the figure is the peak of resident memory less what was resident before the loss
(interpreter, torch, embeddings), and CPU seconds are shown beside it. The whole matrix is the formula written with
torch operations, as peers have it. With ``--repeats`` above 1 the largest peak of each counts. Losses and gradients of
the two are compared.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch.nn import functional

from medvlm.losses.contrastive import SigmoidContrastiveLoss

ROOT = Path(__file__).resolve().parents[1]
KINDS = ("whole", "chunked")


def whole(image: torch.Tensor, text: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """The loss of pairs on the whole matrix."""
    logits = scale * image @ text.T + bias
    signs = 2 * torch.eye(len(image)) - 1
    return -functional.logsigmoid(signs * logits).sum() / len(image)


def resident_mib(key: str) -> float:
    """``VmRSS`` (now) or ``VmHWM`` (peak) of this process; elsewhere than on Linux the peak for both."""
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith(key))
        return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def measure(kind: str, n: int, dim: int, chunk: int, out: str) -> None:
    """One forward and backward pass in this process."""
    torch.manual_seed(0)
    image, text = (functional.normalize(torch.randn(n, dim), dim=1).requires_grad_() for _ in range(2))
    scale, bias = (torch.tensor(value, requires_grad=True) for value in (10.0, -10.0))
    loss = SigmoidContrastiveLoss(chunk) if kind == "chunked" else whole
    loss(image[:2], text[:2], scale, bias).backward()  # libraries load their buffers
    for leaf in (image, text, scale, bias):
        leaf.grad = None
    before, start = resident_mib("VmRSS"), time.process_time()
    value = loss(image, text, scale, bias)
    value.backward()
    figures = {"before_mib": before, "peak_mib": resident_mib("VmHWM"), "cpu_seconds": time.process_time() - start}
    found = {"loss": value.detach(), "image": image.grad, "text": text.grad, "scale": scale.grad, "bias": bias.grad}
    torch.save({"figures": figures, "found": found}, out)


def main() -> int:
    """Measure, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=16384, help="images and texts")
    parser.add_argument("--dim", type=int, default=256, help="width of the embeddings")
    parser.add_argument("--chunk", type=int, default=1024, help="side of a block")
    parser.add_argument("--repeats", type=int, default=1, help="runs of each")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--measure", choices=KINDS, help=argparse.SUPPRESS)
    parser.add_argument("--out", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    sizes = {"n": arguments.n, "dim": arguments.dim, "chunk": arguments.chunk}
    if arguments.measure:
        measure(arguments.measure, **sizes, out=arguments.out)
        return 0
    seen: dict[str, list[dict]] = {kind: [] for kind in KINDS}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(arguments.repeats):
            for kind in KINDS:
                out = Path(folder) / f"{kind}.{number}"
                options = [f"--{name}={value}" for name, value in sizes.items()]
                command = [sys.executable, __file__, *options, "--measure", kind, "--out", str(out)]
                subprocess.run(command, check=True, cwd=ROOT)
                seen[kind].append(torch.load(out, weights_only=True))
    mib = {
        kind: max(s["figures"]["peak_mib"] - s["figures"]["before_mib"] for s in runs) for kind, runs in seen.items()
    }
    first = {kind: runs[0]["found"] for kind, runs in seen.items()}
    error = {
        name: float((value - first["chunked"][name]).abs().max() / value.abs().max().clamp(min=1e-30))
        for name, value in first["whole"].items()
    }
    figures = sizes | {
        "ratio": mib["chunked"] / mib["whole"],
        "mib": mib,
        "peak_mib": {kind: max(s["figures"]["peak_mib"] for s in runs) for kind, runs in seen.items()},
        "cpu_seconds": {kind: min(s["figures"]["cpu_seconds"] for s in runs) for kind, runs in seen.items()},
        "largest_relative_error": error,
    }
    print(json.dumps(figures, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 0 if max(error.values()) < 1e-3 else 1


if __name__ == "__main__":
    sys.exit(main())
