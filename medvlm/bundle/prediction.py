"""The command ``python -m medvlm predict``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from medvlm.bundle.locate import find_bundle

if TYPE_CHECKING:
    from medvlm.engines.prediction import PredictionReport


def predict(
    bundle: str,
    input: str,
    output: str,
    device: str = "cpu",
    backend: str | None = None,
    channels: str | None = None,
    series: str | None = None,
    section: str | None = None,
    overlays: str = "",
    resume: bool = True,
    **overrides: Any,
) -> PredictionReport:
    """Run a bundle on whatever you have: files, folders, DICOM, a manifest, a datalist, a folder of cases.

    Writes a folder a case with a manifest; then ``summary.csv`` and ``failed.json``. Of images: label map,
    probabilities, class activation and uncertainty on the input's own grid, and a picture. Of studies of videos:
    report, the evidence of each sentence, similar reports, findings with intervals, and a page. A case that cannot be
    done does not stop the others; the exit status is 1 then. The same command again does only what is missing.

    Args:
        bundle: name or folder of the bundle.
        input: an image file, a folder with the modality files of a case, a DICOM folder, a datalist, or a folder of
            cases; for videos a study's folder, a folder of studies, one video, a manifest (CSV) or a datalist.
        output: folder for the results.
        device: ``cpu``, ``cuda`` or ``cuda:1``.
        backend: ``torch``, ``onnxruntime`` or ``openvino``, for networks on images; what the config says by default.
        channels: names of the channels where the files' names do not tell: ``FLAIR,T1,T1c,T2`` in a 4-D file's order,
            or ``FLAIR=a.nii.gz,T1=b.nii.gz``.
        series: the DICOM series to take where a folder holds several.
        section: the section of a datalist or manifest, ``inference`` or else ``test`` by default.
        overlays: further configs over ``inference.json``, e.g. ``inference_3d``; several with commas.
        resume: leave cases alone that are there from the same input, weights and settings.
        overrides: ids of ``inference.json`` and their values, e.g. ``--mc_samples 0 --tta False``.

    Returns:
        What was done and what failed.

    Raises:
        FileNotFoundError: no such bundle or input; said before anything slow is imported.
    """
    root = find_bundle(bundle)
    if not Path(input).exists():
        raise FileNotFoundError(f"there is no input at {input}; give a file, a folder or a datalist.")
    from medvlm.engines.prediction import run_inference

    wanted = {"input_channels": channels, "input_series": series, "input_section": section, "backend": backend}
    wanted = {name: value for name, value in wanted.items() if value is not None}
    return run_inference(
        root,
        input,
        output,
        configs=["inference", *[name for name in overlays.split(",") if name]],
        device=f"$torch.device('{device}')",
        resume=resume,
        **wanted,
        **overrides,
    )
