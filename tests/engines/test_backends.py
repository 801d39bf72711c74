from __future__ import annotations

import pytest
import torch

from medvlm.engines import backends
from medvlm.engines.backends import RuntimeNetwork, disagreement, load_backend
from medvlm.engines.export import MomentNorm, export_onnx
from medvlm.networks.nets import MaskNet

SMALL = {"features": (8, 16, 32), "norm": ("GROUP", {"num_groups": 4})}


def network(dims: int = 2, **kwargs) -> MaskNet:
    torch.manual_seed(0)
    return MaskNet(spatial_dims=dims, in_channels=2, **SMALL, **kwargs).eval()


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
@pytest.mark.parametrize(("dims", "side"), [(2, (32, 32)), (3, (16, 24, 16))], ids=["2d", "3d"])
def test_logits_equal_torch_within_a_thousandth(name, dims, side):
    pytest.importorskip(name)
    net = network(dims)
    runtime = load_backend(net, name, (2, 2, *side))
    image = torch.randn(3, 2, *side, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted = net.heads(image)
    got = runtime.heads(image)
    for head in ("mask", "tumour"):
        assert got[head].shape == wanted[head].shape
        assert (got[head] - wanted[head]).abs().max() < 1e-3
    assert torch.equal(runtime(image), got["mask"])


def test_a_3d_back_end_takes_crops_of_any_size():
    pytest.importorskip("onnxruntime")
    net = network(3)
    runtime = load_backend(net, "onnxruntime", (1, 2, 16, 24, 16))
    assert disagreement(net, runtime, (1, 2, 32, 16, 24)) < 1e-3


@pytest.mark.parametrize("shape", [(2, 8, 6, 5), (2, 8, 6, 5, 4)])
@pytest.mark.parametrize("affine", [True, False])
def test_moments_normalise_as_groups_do(shape, affine):
    norm = torch.nn.GroupNorm(4, 8, affine=affine)
    if affine:
        torch.nn.init.normal_(norm.weight)
        torch.nn.init.normal_(norm.bias)
    maps = torch.randn(shape) * 3 + 1
    torch.testing.assert_close(MomentNorm(norm)(maps), norm(maps), atol=1e-5, rtol=1e-5)


def test_openvino_fills_up_batches_and_keeps_few_shapes():
    pytest.importorskip("openvino")
    net = network()
    runtime = load_backend(net, "openvino", (2, 2, 32, 32))
    for batch in (1, 3, 5, 8, 7):
        image = torch.randn(batch, 2, 32, 32)
        with torch.no_grad():
            assert (runtime.heads(image)["mask"] - net.heads(image)["mask"]).abs().max() < 1e-3
    assert {shape[0] for shape in runtime.run.compiled} == {1, 2, 4, 8}


def test_torch_is_the_network_itself():
    net = network()
    assert load_backend(net, "torch", (1, 2, 32, 32)) is net


def test_a_head_that_is_off_stays_off():
    pytest.importorskip("onnxruntime")
    runtime = load_backend(network(heads=("mask",)), "onnxruntime", (1, 2, 32, 32))
    assert list(runtime.heads(torch.zeros(1, 2, 32, 32))) == ["mask"] and not runtime.tumour_on


def test_an_exported_file_is_kept_and_used_again(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    load_backend(network(), "onnxruntime", (1, 2, 32, 32), cache_dir=tmp_path)
    files = list(tmp_path.iterdir())
    monkeypatch.setattr(backends, "export_onnx", lambda *a: pytest.fail("exported again"))
    load_backend(network(), "onnxruntime", (1, 2, 32, 32), cache_dir=tmp_path)
    assert [file.suffix for file in files] == [".onnx"]


def test_export_leaves_no_half_file_and_the_mode_as_it_was(tmp_path, monkeypatch):
    net = network().train()
    export_onnx(net, tmp_path / "net.onnx", (1, 2, 32, 32))
    assert net.training and [file.name for file in tmp_path.iterdir()] == ["net.onnx"]

    def broken(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch.onnx, "export", broken)
    with pytest.raises(OSError, match="No space left"):
        export_onnx(net, tmp_path / "other.onnx", (1, 2, 32, 32))
    assert [file.name for file in tmp_path.iterdir()] == ["net.onnx"]


def test_a_back_end_that_differs_is_refused(monkeypatch):
    pytest.importorskip("onnxruntime")
    real = backends.onnxruntime_session

    def drifting(path):
        run = real(path)
        return lambda image: [array + 0.01 for array in run(image)]

    monkeypatch.setattr(backends, "onnxruntime_session", drifting)
    with pytest.raises(ValueError, match="differs from torch by 0.01.*set backend to torch"):
        load_backend(network(), "onnxruntime", (1, 2, 32, 32))


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    with pytest.raises(ImportError, match=r"medvlm-bundles\[backends\]"):
        load_backend(network(), "openvino", (1, 2, 32, 32))


def test_an_unknown_name_lists_those_that_exist():
    with pytest.raises(ValueError, match="torch, onnxruntime, openvino"):
        load_backend(network(), "tensorrt", (1, 2, 32, 32))


def test_the_runtime_takes_a_float64_view_and_gives_float32():
    runtime = RuntimeNetwork(network(), "onnxruntime", (1, 2, 32, 32))
    runtime.run = lambda image: [image[:, :1], image.mean(axis=(2, 3))]
    out = runtime.heads(torch.ones(1, 4, 4, 2, dtype=torch.float64).permute(0, 3, 1, 2))
    assert out["mask"].dtype == torch.float32 and out["mask"].shape == (1, 1, 4, 4)


def test_weights_are_asked_for_when_they_are_needed_and_not_before(tmp_path):
    runtime = RuntimeNetwork(network(), "torch", (1, 2, 32, 32), checkpoint=tmp_path / "model.pt")
    with pytest.raises(FileNotFoundError, match="no checkpoint at .*model.pt"):
        runtime.heads(torch.zeros(1, 2, 32, 32))
    other = MaskNet(in_channels=2, **SMALL)
    torch.save(other.state_dict(), tmp_path / "model.pt")
    image = torch.ones(1, 2, 32, 32)
    assert torch.equal(runtime(image), other.eval().heads(image)["mask"])


def test_a_size_that_the_network_cannot_take_is_refused_before_the_first_case():
    with pytest.raises(ValueError, match=r"divisible by \d+, got \(65, 65\); choose a multiple of"):
        RuntimeNetwork(network(), "torch", (1, 2, 65, 65)).prepare()
