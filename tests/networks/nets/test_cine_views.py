"""The tensor-only view of the cine network."""

from __future__ import annotations

import pytest
import torch

from medvlm.networks.encoders.cine_conv import CineConvEncoder
from medvlm.networks.encoders.mvit import MViT, stages
from medvlm.networks.encoders.study import StudyAggregator
from medvlm.networks.encoders.video_vit import VideoViT
from medvlm.networks.nets import CineTextNet, VideoEmbeddingNet

ENCODERS = {
    "conv": lambda: CineConvEncoder(widths=(8, 8, 16, 16), embed_dim=16),
    "mvit": lambda: MViT(stages((8, 16), (1, 1), (1, 2), stride_kv=2), frames=4, spatial_size=(32, 32)),
    "vit": lambda: VideoViT(dim=24, depth=1, heads=2, frames=4, spatial_size=(32, 32)),
}


def seeded(kind, encoder: str = "conv", seed: int = 0):
    torch.manual_seed(seed)
    video_encoder = ENCODERS[encoder]()
    return kind(video_encoder, StudyAggregator(20, heads=2, in_dim=video_encoder.embed_dim), embed_dim=12).eval()


@pytest.mark.parametrize("encoder", ENCODERS)
def test_shares_names_and_values_with_the_network(encoder):
    network, view = seeded(CineTextNet, encoder), seeded(VideoEmbeddingNet, encoder, seed=1)
    view.load_state_dict(network.state_dict(), strict=True)
    video = torch.randn(2, 1, 4, 32, 32)
    vectors = view(video)
    assert vectors.shape == (2, 12)
    torch.testing.assert_close(vectors, network.embed_study(video[:, None]))


@pytest.mark.parametrize("encoder", ENCODERS)
def test_becomes_torchscript_by_tracing(encoder, tmp_path):
    view = seeded(VideoEmbeddingNet, encoder)
    with torch.no_grad():
        torch.jit.trace(view, torch.randn(2, 1, 4, 32, 32)).save(tmp_path / "net.ts")
        other = torch.randn(3, 1, 4, 32, 32)
        torch.testing.assert_close(torch.jit.load(tmp_path / "net.ts")(other), view(other))


@pytest.mark.parametrize("encoder", ["conv", "mvit"])  # of two kinds: an export takes some seconds
def test_becomes_onnx(encoder, tmp_path):
    pytest.importorskip("onnx", reason="needs the extra 'backends'")
    runtime = pytest.importorskip("onnxruntime", reason="needs the extra 'backends'")
    view, path = seeded(VideoEmbeddingNet, encoder), tmp_path / "net.onnx"
    shapes = {"video": {0: torch.export.Dim("batch")}}
    torch.onnx.export(
        view, (torch.randn(2, 1, 4, 32, 32),), path, dynamo=True, verbose=False, dynamic_shapes=shapes,
        input_names=["video"], output_names=["embedding"],
    )  # fmt: skip
    other = torch.randn(3, 1, 4, 32, 32)
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (found,) = session.run(["embedding"], {"video": other.numpy()})
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(found), view(other), atol=1e-4, rtol=1e-4)
