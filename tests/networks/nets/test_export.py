"""Both heads through ONNX Runtime and OpenVINO."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medvlm.networks.nets import HeadsTuple, SegClsNet

pytest.importorskip("onnx", reason="needs the extra 'backends'")

CASES = {
    "2d": ({"features": (8, 16, 32)}, (32, 16)),
    "3d": ({"spatial_dims": 3, "in_channels": 4, "regions": 3, "features": (8, 16)}, (8, 8, 16)),
}


@pytest.fixture(scope="module", params=list(CASES))
def exported(request, tmp_path_factory):
    """A model with a dynamic batch, an input of another batch size, and what torch says of it."""
    settings, sides = CASES[request.param]
    torch.manual_seed(0)
    network = HeadsTuple(SegClsNet(**settings)).eval()
    image = torch.randn(2, settings.get("in_channels", 1), *sides)
    path = tmp_path_factory.mktemp("onnx") / "net.onnx"
    torch.onnx.export(
        network, (image,), path, dynamo=False, opset_version=17, input_names=["image"], output_names=["mask", "tumour"],
        dynamic_axes={name: {0: "batch"} for name in ("image", "mask", "tumour")},
    )
    other = torch.randn(3, *image.shape[1:])
    with torch.inference_mode():
        return path, other.numpy(), [head.numpy() for head in network(other)]


def test_onnxruntime_agrees(exported):
    runtime = pytest.importorskip("onnxruntime", reason="needs the extra 'backends'")
    path, image, expected = exported
    found = runtime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(["mask", "tumour"], {"image": image})
    for name, a, b in zip(("mask", "tumour"), found, expected, strict=True):
        assert a.shape == b.shape and np.abs(a - b).max() < 1e-4, name


def test_openvino_agrees_in_single_precision(exported):
    openvino = pytest.importorskip("openvino", reason="needs the extra 'backends'")
    path, image, expected = exported
    model = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = model(image)
    for name, b in zip(("mask", "tumour"), expected, strict=True):
        assert found[name].shape == b.shape and np.abs(found[name] - b).max() < 1e-4, name
