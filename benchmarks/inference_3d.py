"""One four-channel 240x240x155 case: our 3D inference against MONAI's usual pipeline, with the same weights.

    python benchmarks/inference_3d.py [--backend openvino] [--repeats 3] [--threads 2] [--json out.json]

The peer reads the four files, orients, resamples to 1 mm, normalises the non-zero voxels, slides a 128^3 window with
an overlap of 0.5 over the whole grid, inverts, thresholds and saves the regions: LoadImaged, EnsureChannelFirstd,
Orientationd, Spacingd, NormalizeIntensityd, SlidingWindowInferer, Activationsd, Invertd, AsDiscreted, SaveImaged.
Ours is ``medvlm.engines.prediction.run_inference`` with ``inference.json`` and ``inference_3d.json``: crop to the brain
once, one forward pass for mask and class, label map, probabilities and manifest with hashes on the input's grid (the
picture, class activation and uncertainty maps, which the peer does not have, are off).

Every run is a fresh process; the runs of the two alternate. Time: from the files on disk to the results on disk,
imports left out, opening the back end included. Peak memory: the largest resident set of the process, imports included.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CHANNELS = {"flair": 120, "t1": 90, "t1ce": 100, "t2": 110}
REGIONS = ["TC", "WT", "ET"]


def make_case(folder: Path, shape: tuple[int, int, int]) -> None:
    """Write four NIfTI files: an ellipsoid brain (about 1.4 M voxels of 8.9 M) with texture, a tumour, zeros around."""
    import nibabel
    import numpy as np

    rng = np.random.default_rng(0)
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, n, dtype=np.float32) for n in shape], indexing="ij")
    brain = (x / 0.57) ** 2 + (y / 0.71) ** 2 + (z / 0.87) ** 2 < 1  # 137 x 170 x 135 of 240 x 240 x 155
    tumour = (x - 0.2) ** 2 + (y - 0.1) ** 2 + z**2 < 0.03
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    affine[:2, 3] = 0, shape[1] - 1
    folder.mkdir(parents=True, exist_ok=True)
    for name, mean in CHANNELS.items():
        values = (rng.normal(mean, 12, shape) + 40 * tumour) * brain
        nibabel.save(nibabel.Nifti1Image(values.astype(np.int16), affine), folder / f"case_{name}.nii.gz")


def make_weights(path: Path, arguments: dict) -> None:
    """Write seeded random weights of the 3D network."""
    import torch

    from medvlm.networks.nets import MaskNet

    torch.manual_seed(0)
    torch.save(MaskNet(**arguments).state_dict(), path)


def network_arguments(overrides: dict) -> dict:
    """The network of ``inference_3d.json`` over ``inference.json``."""
    configs = ROOT / "bundles" / "brats_mri_multitask" / "configs"
    arguments = json.loads((configs / "inference.json").read_text(encoding="utf-8"))["network_def"]
    for key, value in json.loads((configs / "inference_3d.json").read_text(encoding="utf-8")).items():
        if key.startswith("network_def::"):
            arguments[key.split("::")[1]] = value
    arguments.pop("_target_")
    return {**arguments, **overrides}


def run_ours(work: Path, arguments: dict, backend: str, divisor: int, output: Path) -> float:
    """Seconds of our pipeline."""
    from medvlm.engines.prediction import run_inference

    start = time.perf_counter()
    report = run_inference(
        ROOT / "bundles" / "brats_mri_multitask",
        work / "case",
        output,
        configs=["inference", "inference_3d"],
        checkpoint=str(work / "model.pt"),
        device="$torch.device('cpu')",
        backend=backend,
        divisor=divisor,
        cam=False,
        mc_samples=0,
        tta=False,
        overlay=False,
        progress=False,
        **{f"network_def::{key}": value for key, value in arguments.items() if not isinstance(value, dict)},
    )
    if report.failures:
        raise RuntimeError(str(report))
    return time.perf_counter() - start


def run_peer(work: Path, arguments: dict, output: Path, roi: int) -> float:
    """Seconds of MONAI's usual pipeline."""
    import torch
    from monai import transforms as mt
    from monai.data import DataLoader, Dataset, decollate_batch
    from monai.inferers import SlidingWindowInferer

    from medvlm.networks.nets import MaskNet

    start = time.perf_counter()
    network = MaskNet(**arguments).eval()
    network.load_state_dict(torch.load(work / "model.pt", weights_only=True))
    before = mt.Compose([
        mt.LoadImaged("image"),
        mt.EnsureChannelFirstd("image"),
        mt.Orientationd("image", axcodes="RAS", labels=None),
        mt.Spacingd("image", pixdim=(1.0, 1.0, 1.0), mode="bilinear"),
        mt.NormalizeIntensityd("image", nonzero=True, channel_wise=True),
    ])
    after = mt.Compose([
        mt.Activationsd("pred", sigmoid=True),
        mt.Invertd("pred", transform=before, orig_keys="image", nearest_interp=False, to_tensor=True),
        mt.AsDiscreted("pred", threshold=0.5),
        mt.SaveImaged("pred", output_dir=output, print_log=False),
    ])
    files = [str(work / "case" / f"case_{name}.nii.gz") for name in CHANNELS]
    inferer = SlidingWindowInferer((roi,) * 3, sw_batch_size=1, overlap=0.5)
    with torch.no_grad():
        for batch in DataLoader(Dataset([{"image": files}], before), batch_size=1):
            batch["pred"] = inferer(batch["image"], network)
            for item in decollate_batch(batch):
                after(item)
    return time.perf_counter() - start


def child(options: argparse.Namespace) -> None:
    """Run one of the two and print its seconds, CPU seconds and peak memory."""
    import torch

    torch.set_num_threads(options.threads)
    import monai.bundle  # noqa: F401  imports are not timed
    import monai.engines  # noqa: F401

    import medvlm.engines.prediction  # noqa: F401
    import medvlm.visualize.overlay  # noqa: F401

    work, arguments = Path(options.work), network_arguments(json.loads(options.network))
    cpu = time.process_time()
    with tempfile.TemporaryDirectory(dir=work) as output:
        if options.child == "peer":
            seconds = run_peer(work, arguments, Path(output), options.roi)
        else:
            seconds = run_ours(work, arguments, options.backend, options.divisor, Path(output))
    row = {"seconds": seconds, "cpu": time.process_time() - cpu, "peak_mb": peak_mb()}
    print(json.dumps(row))


def peak_mb() -> float:
    """Largest resident set of this process, in MB (1e6 bytes)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def start_child(name: str, work: Path, options: argparse.Namespace) -> dict:
    """Run one of the two in a fresh process."""
    flags = ["--child", name, "--work", str(work), "--backend", options.backend, "--threads", str(options.threads)]
    flags += ["--network", options.network, "--divisor", str(options.divisor), "--roi", str(options.roi)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, __file__, *flags], capture_output=True, text=True, env=environment, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=3, default=[240, 240, 155])
    parser.add_argument("--roi", type=int, default=128, help="side of the peer's window")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--backend", default="torch", help="ours: torch, onnxruntime or openvino")
    parser.add_argument("--network", default="{}", help="JSON of network arguments that differ from inference_3d.json")
    parser.add_argument("--divisor", type=int, default=16, help="coarsest stride of that network")
    parser.add_argument("--json", help="write the numbers there")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return child(options)
    rows: dict[str, list[dict]] = {"peer": [], "ours": []}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        make_case(work / "case", tuple(options.shape))
        make_weights(work / "model.pt", network_arguments(json.loads(options.network)))
        for repeat in range(options.repeats):
            for name, found in rows.items():
                found.append(start_child(name, work, options))
                print(f"run {repeat + 1} {name}: {found[-1]}", file=sys.stderr)
    median = {n: {k: statistics.median(row[k] for row in found) for k in found[0]} for n, found in rows.items()}
    result = {
        "shape": options.shape,
        "threads": options.threads,
        "backend": options.backend,
        "network": network_arguments(json.loads(options.network)),
        "peer": median["peer"],
        "ours": median["ours"],
        "times_faster": median["peer"]["seconds"] / median["ours"]["seconds"],
        "runs": rows,
    }
    for name in rows:
        row = median[name]
        print(f"{name:5} {row['seconds']:8.2f} s  {row['cpu']:8.2f} CPU s  peak {row['peak_mb']:7.0f} MB")
    print(f"ours is {result['times_faster']:.2f} times faster (wanted: at least 8); peak memory wanted: under 2000 MB")
    if options.json:
        Path(options.json).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
