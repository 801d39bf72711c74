"""A phantom data set on disk and a copy of the bundle, shared by the end-to-end tests."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FEATURES = [8, 8, 16, 16, 16]
SIZE = 64


@pytest.fixture(scope="session")
def tiny() -> dict:
    """Overrides that make every stage take seconds."""
    return {
        "network_def::features": FEATURES,
        "image_size": SIZE,
        "epochs": 1,
        "epoch_samples": 16,
        "batch_size": 4,
        "val_interval": 1,
        "progress": False,
        "log_interval": 1,
        "pictures": 1,
        "min_positives": 1,
        "bootstrap_repeats": 20,
    }


@pytest.fixture(scope="session")
def monai_run() -> Callable[..., subprocess.CompletedProcess]:
    """``monai_run(*arguments, cwd=...)``: ``python -m monai.bundle ARGUMENTS`` as a user types it."""

    def run(*arguments: str, cwd: Path, check: bool = True, **environment: str) -> subprocess.CompletedProcess:
        done = subprocess.run(
            [sys.executable, "-m", "monai.bundle", *arguments],
            cwd=cwd,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if check and done.returncode:
            said = f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
            raise AssertionError(f"{arguments} ended with {done.returncode}:\n{said}")
        return done

    return run


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory) -> Path:
    """Folder with phantoms in every layout and one ``datalist.json`` over all of them."""
    from medvlm.data.phantoms import write_phantoms
    from medvlm.data.prepare import prepare

    folder = tmp_path_factory.mktemp("phantoms data")  # a blank in the path, as users have
    write_phantoms(folder, cases_per_source=8, shape=(48, 48, 10), seed=1, progress=False)
    prepare("mixed", root=folder, out=folder / "datalist.json", fractions=(0.5, 0.25, 0.25), seed=0)
    return folder


@pytest.fixture(scope="session")
def bundle(tmp_path_factory) -> Path:
    """A copy of the bundle that tests may train into; its network is so small that stock commands take seconds."""
    folder = tmp_path_factory.mktemp("bundles") / "brats_mri_multitask"
    ignored = shutil.ignore_patterns("models", "eval", "logs")
    shutil.copytree(ROOT / "bundles" / "brats_mri_multitask", folder, ignore=ignored)
    for name in ("train", "inference"):
        file = folder / "configs" / f"{name}.json"
        config = json.loads(file.read_text(encoding="utf-8"))
        config["network_def"]["features"] = FEATURES
        config["image_size"] = SIZE
        file.write_text(json.dumps(config, indent=4), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def trained(bundle, phantoms, tiny) -> Path:
    """The bundle after its whole curriculum, each stage for one tiny epoch, with its operating point frozen."""
    from medvlm.bundle.curriculum import train

    train(str(bundle), str(phantoms), **tiny)
    return bundle


@pytest.fixture(scope="session")
def cines(tmp_path_factory) -> Path:
    """Folder with coronary phantoms and their ``datalist.json``."""
    from medvlm.data.phantoms.coronary_dataset import write_coronary_phantoms
    from medvlm.data.prepare import prepare

    folder = tmp_path_factory.mktemp("coronary data")
    write_coronary_phantoms(
        folder, studies=24, seed=2, size=48, frames=8, views=(1, 2), fractions=(0.5, 0.25, 0.25), progress=False
    )
    prepare("cine_manifest", root=folder / "coronary", out=folder / "datalist.json")
    return folder


@pytest.fixture(scope="session")
def tiny_cines() -> dict:
    """Overrides that make every training of the coronary bundle take seconds."""
    return {
        "epochs": 1,
        "batch_size": 4,
        "val_interval": 1,
        "frames": 4,
        "image_size": 32,
        "max_views": 2,
        "max_tokens": 96,
        "vocab_size": 600,
        "progress": False,
        "log_interval": 1,
    }


@pytest.fixture(scope="session")
def coronary(tmp_path_factory) -> Path:
    """A copy of the coronary bundle that tests may train into."""
    folder = tmp_path_factory.mktemp("bundles") / "coronary_angiography_clip"
    ignored = shutil.ignore_patterns("models", "eval", "logs")
    shutil.copytree(ROOT / "bundles" / "coronary_angiography_clip", folder, ignore=ignored)
    return folder


@pytest.fixture(scope="session")
def trained_coronary(coronary, cines, tiny_cines) -> Path:
    """The coronary bundle after one tiny epoch of its multitask training and of its probes, with frozen thresholds."""
    from medvlm.bundle.curriculum import train

    train(str(coronary), str(cines), **tiny_cines)
    train(str(coronary), str(cines), overlays="train_probe", min_positives=1, bootstrap_repeats=20, **tiny_cines)
    return coronary
