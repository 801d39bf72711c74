"""How fast a clip is read from an XA file: our reader against pydicom that decodes all frames.

    python benchmarks/cine_reading.py [FILE]

Both give 16 frames of 112 x 112 at 7.5 frames a second, from the same file, in turns, in one process and one thread.
Without FILE, seeded files of 90 frames of 512 x 512 are written: uncompressed 12 bit, JPEG baseline, JPEG 2000.
"""

from __future__ import annotations

import io
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import torch
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit, XRayAngiographicImageStorage

from transforms.cine import fit_frames, frame_grid, window_ticks
from transforms.cine_reading import open_cine

SIZE, FPS, FRAMES = (112, 112), 7.5, 16


def ours(path: Path) -> torch.Tensor:
    """The frames that are wanted, each decoded from its place in the file."""
    cine = open_cine(path)
    grid = frame_grid(cine.info.times_ms, FPS, cine.info.seconds)
    return cine.read(grid[window_ticks(len(grid), FRAMES)], SIZE)


def ours_all(path: Path) -> torch.Tensor:
    """All frames at full size."""
    return open_cine(path).read()


def pydicom_all(path: Path) -> torch.Tensor:
    """All frames at full size, as pydicom decodes them."""
    data = pydicom.dcmread(path)
    return torch.from_numpy(data.pixel_array.astype(np.float32) / float(2**data.BitsStored - 1))


def pydicom_clip(path: Path) -> torch.Tensor:
    """The same clip out of all decoded frames."""
    frames = pydicom_all(path)
    interval = float(pydicom.dcmread(path, stop_before_pixels=True).FrameTime)
    grid = frame_grid(np.arange(len(frames)) * interval, FPS, len(frames) * interval / 1000.0)
    return fit_frames(frames[grid[window_ticks(len(grid), FRAMES)]], SIZE)


def write(path: Path, syntax: UID, frames: np.ndarray) -> Path:
    """Write an XA file."""
    data = FileDataset(str(path), {}, preamble=b"\0" * 128, file_meta=FileMetaDataset())
    data.file_meta.TransferSyntaxUID = syntax
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = XRayAngiographicImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = pydicom.uid.generate_uid()
    data.Modality, data.PhotometricInterpretation, data.SamplesPerPixel = "XA", "MONOCHROME2", 1
    data.NumberOfFrames, data.Rows, data.Columns = frames.shape
    data.BitsAllocated, data.PixelRepresentation, data.FrameTime = 8 * frames.itemsize, 0, "33"
    data.BitsStored = 12 if syntax == ExplicitVRLittleEndian else data.BitsAllocated
    data.HighBit = data.BitsStored - 1
    if syntax == ExplicitVRLittleEndian:
        data.PixelData = frames.tobytes()
    else:
        options = {JPEGBaseline8Bit: ("JPEG", {"quality": 90}), JPEG2000Lossless: ("JPEG2000", {"no_jp2": True})}
        name, extra = options[syntax]
        encoded = []
        for frame in frames:
            stream = io.BytesIO()
            Image.fromarray(frame).save(stream, name, **extra)
            encoded.append(stream.getvalue())
        data.PixelData = encapsulate(encoded)
        data["PixelData"].is_undefined_length = True
    data["PixelData"].VR = "OW" if data.BitsAllocated > 8 else "OB"
    data.save_as(path, enforce_file_format=True)
    return path


def phantoms(folder: Path) -> dict[str, Path]:
    """Write the seeded files: smooth tissue, dark moving vessels and noise."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:512, :512] / 512.0
    frames = np.empty((90, 512, 512))
    for index in range(90):
        vessel = np.exp(-(((y - 0.5 - 0.25 * np.sin(6 * x + 0.1 * index)) * 40) ** 2))
        frames[index] = 0.35 + 0.5 * x * y - 0.3 * vessel + 0.02 * rng.normal(size=(512, 512))
    frames = frames.clip(0, 1)
    eight, twelve = (frames * 255).astype(np.uint8), (frames * 4095).astype(np.uint16)
    return {
        "uncompressed 12 bit": write(folder / "raw.dcm", ExplicitVRLittleEndian, twelve),
        "JPEG baseline": write(folder / "jpeg.dcm", JPEGBaseline8Bit, eight),
        "JPEG 2000": write(folder / "j2k.dcm", JPEG2000Lossless, eight[:30]),
    }


def seconds(functions: list[Callable[[Path], torch.Tensor]], path: Path, rounds: int) -> list[float]:
    """Median seconds of each function, taken in turns, after one warm-up."""
    taken: list[list[float]] = [[] for _ in functions]
    for number in range(rounds + 1):
        for place, function in enumerate(functions):
            start = time.perf_counter()
            function(path)
            if number:
                taken[place].append(time.perf_counter() - start)
    return [statistics.median(values) for values in taken]


def main(file: str | None = None, rounds: int = 5) -> None:
    """Print one JSON line a file: milliseconds, ratios, and the largest difference of the two clips (0..1)."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        files = {Path(file).name: Path(file)} if file else phantoms(Path(folder))
        for name, path in files.items():
            clip, peer_clip, whole, peer_whole = seconds([ours, pydicom_clip, ours_all, pydicom_all], path, rounds)
            line = {
                "file": name,
                "clip_ms": round(1000 * clip, 1),
                "pydicom_clip_ms": round(1000 * peer_clip, 1),
                "times_as_fast": round(peer_clip / clip, 1),
                "all_frames_times_as_fast": round(peer_whole / whole, 2),
                "mean_difference": round(float((ours(path) - pydicom_clip(path)).abs().mean()), 5),
            }
            print(json.dumps(line))


if __name__ == "__main__":
    main(*sys.argv[1:2])
