"""Means over what is known, in one process and in two."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from medvlm.losses.partial import partial_means

WORKER = Path(__file__).with_name("gloo_worker.py")
ROOT = Path(__file__).parents[2]


def test_mean_is_over_the_known_samples():
    means = partial_means({"mask": torch.tensor([1.0, 4.0, 4.0])}, {"mask": torch.zeros(5)})
    assert means["mask"].local.item() == means["mask"].value.item() == 3.0
    assert means["mask"].count == 3


def test_nothing_known_is_zero_with_a_gradient():
    head = torch.randn(4, 2, requires_grad=True)
    means = partial_means({"tumour": torch.zeros(0)}, {"tumour": head})
    means["tumour"].local.backward()
    assert means["tumour"].local.item() == means["tumour"].count == 0
    assert (head.grad == 0).all()


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory) -> list[dict]:
    """What two gloo processes saw, with 3 + 0 known masks and 1 + 2 known classes."""
    folder = tmp_path_factory.mktemp("gloo")
    environment = dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1", GLOO_SOCKET_IFNAME="lo")
    processes = [
        subprocess.Popen(
            [sys.executable, str(WORKER), str(rank), str(folder / "store"), str(folder / "seen")],
            env=environment, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]
    try:
        errors = [process.communicate(timeout=120)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(errors)
    return [torch.load(folder / f"seen.{rank}", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("weighting", ["fixed", "kendall", "gradnorm"])
def test_two_processes_give_the_gradient_of_one(two_processes, weighting):
    spec = importlib.util.spec_from_file_location("gloo_worker", WORKER)
    worker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(worker)
    network = worker.Toy()
    single = worker.step(network, worker.weights_of(weighting, network), *worker.data())
    for seen in two_processes:
        assert seen[weighting].keys() == single.keys()
        for name, value in single.items():
            torch.testing.assert_close(seen[weighting][name], value, rtol=1e-5, atol=1e-6)


def test_validation_does_not_wait_for_the_other_process(two_processes):
    assert two_processes[0]["lone"]["mask"].item() == 2.0
