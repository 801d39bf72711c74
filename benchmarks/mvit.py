"""MViT v2-S: one clip of 16 x 224 x 224, forward and forward + backward, against torchvision's with the same weights.

    python benchmarks/mvit.py [--rounds 5] [--batch 1] [--threads 1] [--clock wall|cpu] [--torchvision FOLDER]
    python benchmarks/mvit.py --device cuda --batch 32 --bf16 --compile --checkpointing

torchvision's wheel cannot be imported beside a torch built for CPUs only, so its ``models/video/mvit.py``, which is
pure Python, is loaded by itself, with stand-ins for what it imports. It is taken from ``--torchvision`` (an unpacked
wheel), else from an installed package, else from a wheel that ``pip download`` brings into a temporary folder; the
output says which. Where there is none it says so, and gives our times alone. The two networks run in turns, after one
warm-up; the ratio is of the medians. ``--clock cpu`` counts processor time, for a machine that does other things, too.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
import time
import types
import zipfile
from collections.abc import Callable
from pathlib import Path

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def find_peer(given: str | None, temporary: Path) -> tuple[Path | None, str]:
    """Find torchvision's folder of sources, and say how."""
    if given:
        return Path(given), "from the folder given"
    spec = importlib.util.find_spec("torchvision")
    if spec and spec.submodule_search_locations:
        return Path(spec.submodule_search_locations[0]), "from the installed package"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(temporary), "torchvision"]
    done = subprocess.run(command, capture_output=True, text=True)
    wheels = sorted(temporary.glob("torchvision-*.whl"))
    if done.returncode or not wheels:
        reason = (done.stderr.strip().splitlines() or ["pip gave no wheel"])[-1]
        return None, f"torchvision could not be had: {reason}"
    with zipfile.ZipFile(wheels[0]) as wheel:
        wheel.extractall(temporary, [name for name in wheel.namelist() if name.endswith(".py")])
    return temporary / "torchvision", f"mvit.py of {wheels[0].name}, downloaded with pip"


def load_peer(root: Path) -> types.ModuleType:
    """Load torchvision's ``mvit.py`` under the package name ``peer``, with stand-ins for what needs compiled parts."""

    def package(name: str, **contents) -> types.ModuleType:
        module = types.ModuleType(name)
        module.__path__ = []
        module.__dict__.update(contents)
        sys.modules[name] = module
        return module

    def source(name: str, path: str) -> types.ModuleType:
        spec = importlib.util.spec_from_file_location(name, root / path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        return module

    class Weights:
        def __init__(self, *_, **__) -> None:
            pass

    class WeightsEnum:
        @classmethod
        def verify(cls, weights):
            return weights

    def unchanged(*_, **__):
        return lambda function: function

    for name in ("peer", "peer.models", "peer.models.video", "peer.transforms"):
        package(name)
    package("peer.utils", _log_api_usage_once=lambda *_: None, _make_ntuple=lambda x, n: x)
    package("peer.transforms._presets", VideoClassification=Weights)
    package("peer.models._api", register_model=unchanged, Weights=Weights, WeightsEnum=WeightsEnum)
    package("peer.models._meta", _KINETICS400_CATEGORIES=[])
    package("peer.models._utils", _ovewrite_named_param=None, handle_legacy_interface=unchanged)
    operations = package("peer.ops")
    operations.MLP = source("peer.ops.misc", "ops/misc.py").MLP
    operations.StochasticDepth = source("peer.ops.stochastic_depth", "ops/stochastic_depth.py").StochasticDepth
    return source("peer.models.video.mvit", "models/video/mvit.py")


def measure(arguments: argparse.Namespace, peer: types.ModuleType | None) -> dict:
    """Times, ratios, and the largest differences of logits and gradients."""
    import torch

    from medvlm.networks.encoders.mvit import mvit_v2_s

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    ours = mvit_v2_s(in_channels=3, num_classes=400, checkpointing=arguments.checkpointing)
    # dropout and stochastic depth off; training mode only where checkpointing needs it
    ours = ours.to(arguments.device).train(arguments.checkpointing)
    ours.head[0].p = 0.0
    networks = {"ours": (ours, ours.classify)}
    if peer:
        theirs = peer.mvit_v2_s().eval().to(arguments.device)
        theirs.load_state_dict(ours.state_dict())
        networks["torchvision"] = (theirs, theirs)
    clip = torch.randn(arguments.batch, 3, 16, 224, 224, device=arguments.device)
    precision = torch.autocast(arguments.device, torch.bfloat16, enabled=arguments.bf16)
    run = {name: torch.compile(function) if arguments.compile else function for name, (_, function) in networks.items()}
    logits: dict[str, torch.Tensor] = {}

    def forward(name: str) -> None:
        with torch.no_grad(), precision:
            logits[name] = run[name](clip).float()

    def backward(name: str) -> None:
        networks[name][0].zero_grad()
        with precision:
            loss = run[name](clip).float().square().sum()
        loss.backward()

    rows = {
        "forward": in_turns(forward, list(run), arguments),
        "forward_backward": in_turns(backward, list(run), arguments),
    }
    if peer:
        gradients = [[p.grad for p in network.parameters()] for network, _ in networks.values()]
        largest = max(float(gradient.abs().max()) for gradient in gradients[1])
        rows["logit_difference"] = float((logits["ours"] - logits["torchvision"]).abs().max())
        rows["gradient_difference_of_largest"] = (
            max(float((a - b).abs().max()) for a, b in zip(*gradients, strict=True)) / largest
        )
    return rows


def in_turns(work: Callable[[str], None], names: list[str], arguments: argparse.Namespace) -> dict:
    """Median seconds of each network, clips a second, the ratio, and on a GPU the peak of memory."""
    import torch

    clock, cuda = CLOCKS[arguments.clock], arguments.device == "cuda"
    seconds: dict[str, list[float]] = {name: [] for name in names}
    peak: dict[str, float] = {}
    for number in range(arguments.rounds + 1):
        for name in names:
            if cuda:
                torch.cuda.synchronize()
                torch.cuda.reset_peak_memory_stats()
            start = clock()
            work(name)
            if cuda:
                torch.cuda.synchronize()
                peak[name] = round(torch.cuda.max_memory_allocated() / 1e9, 2)
            if number:  # the first round warms up
                seconds[name].append(clock() - start)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    row = {"seconds": {name: round(value, 4) for name, value in medians.items()}}
    row["clips_per_second"] = {name: round(arguments.batch / value, 2) for name, value in medians.items()}
    if cuda:
        row["peak_gb"] = peak
    if "torchvision" in medians:
        row["times_as_fast"] = round(medians["torchvision"] / medians["ours"], 2)
    return row


def main() -> None:
    """Print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=sorted(CLOCKS), default="wall")
    parser.add_argument("--torchvision", help="folder of an unpacked wheel, the one that holds models/")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    for flag in ("--bf16", "--compile", "--checkpointing"):
        parser.add_argument(flag, action="store_true")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        temporary = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        root, how = find_peer(arguments.torchvision, temporary)
        rows = measure(arguments, load_peer(root) if root else None)
    settings = {key: value for key, value in vars(arguments).items() if key != "torchvision"}
    print(json.dumps({"settings": settings, "peer": how, **rows}))


if __name__ == "__main__":
    main()
