"""Run-time back ends for a network with named heads: torch, ONNX Runtime, OpenVINO."""

from __future__ import annotations

import importlib
import logging
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from medvlm.engines.export import OUTPUTS, export_onnx, fingerprint
from medvlm.networks.checkpoint import load_weights
from medvlm.networks.trained_heads import switch_off_untrained

logger = logging.getLogger(__name__)

BACKENDS = ("torch", "onnxruntime", "openvino")
TOLERANCE = 1e-3
"""Largest difference in logits to torch with which a back end is accepted."""


class RuntimeNetwork(nn.Module):
    """A network whose heads a back end computes; gradients and dropout stay with the torch network.

    Weights are read and the back end is opened by :meth:`prepare`, so that a config can be built, looked at and
    checked where there are no weights.

    Args:
        network: ``SegClsNet`` or ``MaskNet``.
        backend: ``torch`` (the network itself), ``onnxruntime`` or ``openvino`` (both on the CPU).
        example_shape: ``(B, C, *S)`` to export and to compare with.
        checkpoint: weights file; None keeps the weights that the network has.
        cache_dir: where exported files are kept under a hash of the weights; None keeps them in memory only.
        tolerance: largest difference in logits to torch.

    Raises:
        ValueError: When there is no such back end.
    """

    def __init__(
        self,
        network: nn.Module,
        backend: str,
        example_shape: Sequence[int],
        checkpoint: str | Path | None = None,
        cache_dir: str | Path | None = None,
        tolerance: float = TOLERANCE,
    ) -> None:
        super().__init__()
        if backend not in BACKENDS:
            raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, got {backend!r}.")
        self.eager = network
        self.backend = backend
        self.example_shape = tuple(example_shape)
        self.checkpoint = checkpoint
        self.cache_dir = cache_dir
        self.tolerance = tolerance
        self.names = [name for name in OUTPUTS if getattr(network, f"{name}_on", True)]
        self.ready = False
        self.run: Callable[[np.ndarray], Sequence[np.ndarray]] | None = None

    def prepare(self) -> RuntimeNetwork:
        """Check the example's shape, read the weights, open the back end and compare it with torch; done once.

        Heads that the weights' training never reached are switched off.

        Raises:
            FileNotFoundError: When there are no weights.
            ValueError: When the network cannot take ``example_shape``, the weights do not fit, or the back end's
                logits differ by more than ``tolerance``.
            ImportError: When the back end's package is not installed.
        """
        if self.ready:
            return self
        self.eager.encoder.check_input(torch.empty(self.example_shape, device="meta"))
        if self.checkpoint is not None:
            load_weights(self.eager, self.checkpoint)
            switch_off_untrained(self.eager, self.checkpoint)
            self.names = [name for name in self.names if getattr(self.eager, f"{name}_on", True)]
        self.eval()  # the wrapper too, see StudyNetwork
        if len(self.example_shape) == 5 and next(self.eager.parameters()).device.type == "cpu":
            self.eager.to(memory_format=torch.channels_last_3d)  # a quarter less time for a 3D network on a CPU
        if self.backend != "torch":
            self.run = self._open()
            difference = disagreement(self.eager, self, self.example_shape)
            if not difference <= self.tolerance:
                raise ValueError(
                    f"the back end {self.backend!r} differs from torch by {difference:.2g} in logits, more than "
                    f"{self.tolerance:g}; set backend to torch."
                )
            logger.info("back end %s: largest difference to torch %.2g in logits", self.backend, difference)
        self.ready = True
        return self

    def _open(self) -> Callable[[np.ndarray], Sequence[np.ndarray]]:
        for package in ("onnx", self.backend):
            required(package, self.backend)
        opened = {"onnxruntime": onnxruntime_session, "openvino": OpenVINOModel}[self.backend]
        with tempfile.TemporaryDirectory() as folder:
            name = f"{self.backend}_{fingerprint(self.eager, self.example_shape)}.onnx"
            path = Path(self.cache_dir or folder) / name
            if not path.is_file():
                export_onnx(self.eager, path, self.example_shape, moments=self.backend == "openvino")
            return opened(path)

    @torch.no_grad()
    def heads(self, image: Tensor) -> dict[str, Tensor]:
        """Compute the heads that are on.

        Args:
            image: ``(B, C, *S)``.

        Returns:
            ``mask``: logits ``(B, R, *S)``; ``tumour``: logits ``(B, K)``, on the image's device.
        """
        if not self.ready and self.run is None:
            self.prepare()
        if self.run is None:
            return self.eager.heads(image)
        plain = image.as_tensor() if hasattr(image, "as_tensor") else image
        arrays = self.run(np.ascontiguousarray(plain.detach().cpu().numpy(), dtype=np.float32))
        named = dict(zip(OUTPUTS, arrays, strict=True))
        return {name: torch.from_numpy(np.array(named[name])).to(plain.device) for name in self.names}

    def forward(self, image: Tensor) -> Tensor:
        """Segment a batch: ``(B, C, *S)`` to mask logits ``(B, R, *S)``."""
        return self.heads(image)["mask"]

    def pooled_features(self, image: Tensor) -> Tensor:
        """The torch network's pooled features ``(B, F)``."""
        return self.eager.pooled_features(image)

    def classify(self, image: Tensor) -> Tensor:
        """The torch network's class logits ``(B, K)``, without the decoder."""
        return self.eager.classify(image)

    @property
    def mask_on(self) -> bool:
        """Whether the mask head is on."""
        return "mask" in self.names

    @property
    def tumour_on(self) -> bool:
        """Whether the class head is on."""
        return "tumour" in self.names


def required(package: str, backend: str):
    """Import an optional package, or say how to get it.

    Raises:
        ImportError: When it is not installed; names the extra.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ImportError(
            f"the back end {backend!r} needs the package {package!r}, which cannot be imported ({error}); "
            'pip install "medvlm-bundles[backends]", or set backend to torch.'
        ) from error


def onnxruntime_session(path: Path) -> Callable[[np.ndarray], list[np.ndarray]]:
    """Open an ONNX file with ONNX Runtime on as many threads as torch has."""
    runtime = required("onnxruntime", "onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda image: session.run(list(OUTPUTS), {"image": image})


class OpenVINOModel:
    """An ONNX file compiled by OpenVINO in float32 (its default, bfloat16, drifts by 0.02 to 0.07 in logits).

    A model of fixed shape takes little more than half the time of one whose batch is free, so that one is compiled
    for each shape that comes; a batch is filled up to the next power of two, so that there are few.

    Args:
        path: the ONNX file; read at once, not needed afterwards.
        kept: how many compiled shapes are kept; a volume has one, a stack of slices up to five.
    """

    def __init__(self, path: Path, kept: int = 6) -> None:
        openvino = required("openvino", "openvino")
        self.core = openvino.Core()
        self.model = self.core.read_model(path.read_bytes())
        self.settings = {
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "PERFORMANCE_HINT": "LATENCY",
        }
        self.kept = kept
        self.compiled: dict[tuple[int, ...], Callable] = {}

    def __call__(self, image: np.ndarray) -> list[np.ndarray]:
        """Return the heads' arrays for ``(B, C, *S)`` float32."""
        batch = len(image)
        room = 1 << (batch - 1).bit_length()
        if room > batch:
            image = np.concatenate([image, np.zeros((room - batch, *image.shape[1:]), image.dtype)])
        if image.shape not in self.compiled:
            if len(self.compiled) >= self.kept:
                self.compiled.pop(next(iter(self.compiled)))
            model = self.model.clone()
            model.reshape(list(image.shape))
            self.compiled[image.shape] = self.core.compile_model(model, "CPU", self.settings)
        return [array[:batch] for array in self.compiled[image.shape](image).values()]


def disagreement(network: nn.Module, other: nn.Module, example_shape: Sequence[int], seed: int = 0) -> float:
    """Largest difference in logits of two networks on a seeded, z-scored blob on a background of zeros.

    Args:
        network: the reference, with ``heads``.
        other: the back end, with ``heads``.
        example_shape: ``(B, C, *S)``; also tried with one case more, so that the batch is known to be free.
        seed: of the input.
    """
    generator = torch.Generator().manual_seed(seed)
    grids = torch.meshgrid(*[torch.linspace(-1, 1, side) for side in example_shape[2:]], indexing="ij")
    brain = (sum(grid**2 for grid in grids) < 0.8).float()
    worst = 0.0
    for batch in (example_shape[0], example_shape[0] + 1):
        image = torch.randn((batch, *example_shape[1:]), generator=generator) * brain
        image = image.to(next(network.parameters()).device)
        with torch.no_grad():
            mine, theirs = network.heads(image), other.heads(image)
        for name, value in mine.items():
            worst = max(worst, float((value - theirs[name]).abs().max()))
    return worst


def load_backend(
    network: nn.Module,
    name: str,
    example_shape: Sequence[int],
    cache_dir: str | Path | None = None,
    tolerance: float = TOLERANCE,
) -> nn.Module:
    """Return an object whose ``heads(batch)`` a back end computes.

    Args:
        network: ``SegClsNet`` or ``MaskNet`` with its weights, in evaluation mode afterwards.
        name: ``torch`` (the network itself), ``onnxruntime`` or ``openvino`` (both on the CPU).
        example_shape: ``(B, C, *S)`` to export and to compare with.
        cache_dir: where exported files are kept under a hash of the weights; without it they live in memory only
            as long as the back end needs them.
        tolerance: largest difference in logits to torch.

    Raises:
        ValueError: When the name is unknown, or the back end's logits differ by more than ``tolerance``.
        ImportError: When the back end's package is not installed.
    """
    runtime = RuntimeNetwork(network, name, example_shape, cache_dir=cache_dir, tolerance=tolerance).prepare()
    return network if name == "torch" else runtime
