"""Two gloo processes see the loss and the gradient of one."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from medvlm.engines.distributed import share_of, start

WORKER = Path(__file__).with_name("distributed_worker.py")


def worker_module():
    spec = importlib.util.spec_from_file_location("distributed_worker", WORKER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    file = tmp_path_factory.mktemp("gloo") / "seen"
    code = "import sys, distributed_worker; distributed_worker.work(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])"
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(rank), str(port), str(file)], cwd=WORKER.parent)
        for rank in (0, 1)
    ]
    assert [process.wait(timeout=200) for process in processes] == [0, 0]
    return [torch.load(f"{file}.{rank}", weights_only=True) for rank in (0, 1)]


def test_the_mean_loss_and_the_gradient_are_those_of_one_process(two_processes):
    worker = worker_module()
    loss, gradients = worker.loss_and_gradients(worker.make_network(), slice(0, 4))
    assert sum(seen["loss"] for seen in two_processes) / 2 == pytest.approx(loss, abs=1e-6)
    for seen in two_processes:
        assert seen["gradients"].keys() == gradients.keys()
        for name, value in gradients.items():
            torch.testing.assert_close(seen["gradients"][name], value, atol=1e-6, rtol=1e-5)


def test_each_validation_case_goes_to_one_process(two_processes):
    assert sorted(two_processes[0]["mine"] + two_processes[1]["mine"]) == [0, 1, 2, 3, 4]


def test_one_process_keeps_all_cases():
    assert share_of([{"n": 1}, {"n": 2}]) == [{"n": 1}, {"n": 2}]


def test_starting_without_torchrun_names_the_remedy(monkeypatch):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    with pytest.raises(RuntimeError, match="torchrun"):
        start()
