"""Runs on disk: multi-frame XA DICOM as different laboratories write it, or plain NPZ and MP4."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medvlm.data.phantoms.coronary_projection import CArm

FORMATS = {"dicom": ".dcm", "npz": ".npz", "mp4": ".mp4"}
"""Name of a format -> suffix of its files."""


@dataclass(frozen=True)
class Writing:
    """How a study's files are written; drawn for each study, whatever its disease.

    Attributes:
        bits: stored bits.
        inverted: MONOCHROME1, bright is dense.
        rle: run-length encoded.
        window: a window is given.
        series_time: SeriesTime is given.
        rate_tag: ``FrameTime``, ``FrameTimeVector`` or ``CineRate``: what tells the frame rate.
    """

    bits: int = 12
    inverted: bool = False
    rle: bool = False
    window: bool = True
    series_time: bool = True
    rate_tag: str = "FrameTime"


@dataclass(frozen=True)
class Oddities:
    """Shares of the studies (of the runs, for angles) that are written in a less usual way.

    Attributes:
        eight_bit: 8 bits instead of 10 or 12.
        monochrome1: inverted.
        rle: run-length encoded.
        missing_angles: without positioner angles.
    """

    eight_bit: float = 0.25
    monochrome1: float = 0.15
    rle: float = 0.2
    missing_angles: float = 0.1

    def draw(self, rng: np.random.Generator) -> Writing:
        """A random laboratory's way of writing."""
        draws = rng.random(6)
        bits = 8 if draws[0] < self.eight_bit else int(rng.choice((10, 12), p=(0.3, 0.7)))
        return Writing(
            bits=bits,
            inverted=bool(draws[1] < self.monochrome1),
            rle=bool(draws[2] < self.rle),
            window=bool(draws[3] < 0.7),
            series_time=bool(draws[4] < 0.8),
            rate_tag=str(rng.choice(("FrameTime", "FrameTimeVector", "CineRate"), p=(0.7, 0.2, 0.1))),
        )


@dataclass(frozen=True)
class RunHeader:
    """What a file says about a run.

    Attributes:
        patient: ``PatientID``.
        study_uid: ``StudyInstanceUID``.
        number: of the run in its study, from 1.
        frame_time_ms: between two frames.
        angles_deg: primary and secondary angle, None where the file does not say.
        arm: geometry.
        seconds: of the study since midnight.
    """

    patient: str
    study_uid: str
    number: int
    frame_time_ms: float
    angles_deg: tuple[float, float] | None
    arm: CArm
    seconds: int


def write_run(path: Path, frames: NDArray, header: RunHeader, writing: Writing) -> None:
    """Write one run in the format of the path's suffix.

    Args:
        path: of the file; its folder exists.
        frames: ``(T, H, W)``, ``uint8`` or ``uint16``, bright background.
        header: what the file says.
        writing: how.

    Raises:
        ValueError: unknown suffix.
        ImportError: MP4 without PyAV.
    """
    if path.suffix == ".dcm":
        path.write_bytes(dicom_bytes(frames, header, writing))
    elif path.suffix == ".npz":
        named = dict(zip(("primary_angle", "secondary_angle"), header.angles_deg or (), strict=False))
        full = frames if frames.dtype == np.uint8 else frames << (16 - writing.bits)  # readers expect the whole range
        np.savez(path, frames=full, frame_time_ms=header.frame_time_ms, **named)
    elif path.suffix == ".mp4":
        _write_mp4(path, frames, header.frame_time_ms, writing.bits)
    else:
        raise ValueError(f"a run's suffix must be one of {', '.join(FORMATS.values())}, got {path.name}.")


def dicom_bytes(frames: NDArray, header: RunHeader, writing: Writing) -> bytes:
    """A run as an X-Ray Angiographic Image Storage file; equal arguments give equal bytes."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, RLELossless, XRayAngiographicImageStorage, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = XRayAngiographicImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[header.study_uid, str(header.number), "instance"])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "SINGLE PLANE"]
    dataset.Modality, dataset.Manufacturer = "XA", "medvlm phantom"
    dataset.PatientID = dataset.PatientName = header.patient
    dataset.StudyInstanceUID = header.study_uid
    dataset.SeriesInstanceUID = generate_uid(entropy_srcs=[header.study_uid, str(header.number), "series"])
    dataset.StudyDate = "20200101"
    dataset.StudyTime = _clock(header.seconds)
    if writing.series_time:
        dataset.SeriesTime = _clock(header.seconds + 40 * header.number)
    dataset.SeriesNumber = dataset.InstanceNumber = header.number
    _say_geometry(dataset, header)
    _say_rate(dataset, len(frames), header.frame_time_ms, writing.rate_tag)
    _put_pixels(dataset, frames, writing)
    if writing.rle:
        dataset.compress(RLELossless, encoding_plugin=_rle_plugin(), generate_instance_uid=False)
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _rle_plugin() -> str:
    try:
        import rle  # noqa: F401  the package pylibjpeg-rle
    except ImportError:
        return "pydicom"
    return "pylibjpeg"


def _clock(seconds: int) -> str:
    return f"{seconds // 3600 % 24:02d}{seconds // 60 % 60:02d}{seconds % 60:02d}"


def _say_geometry(dataset, header: RunHeader) -> None:
    if header.angles_deg is not None:
        dataset.PositionerPrimaryAngle, dataset.PositionerSecondaryAngle = (f"{x:.1f}" for x in header.angles_deg)
    dataset.PositionerMotion = "STATIC"
    dataset.DistanceSourceToDetector = f"{header.arm.source_to_detector_mm:.0f}"
    dataset.DistanceSourceToPatient = f"{header.arm.source_to_patient_mm:.0f}"
    dataset.ImagerPixelSpacing = [f"{header.arm.imager_pixel_mm:.6g}"] * 2


def _say_rate(dataset, frames: int, frame_time_ms: float, tag: str) -> None:
    dataset.NumberOfFrames = frames
    if tag == "FrameTimeVector":
        dataset.FrameIncrementPointer = 0x00181065
        dataset.FrameTimeVector = ["0", *[f"{frame_time_ms:.6g}"] * (frames - 1)]
    elif tag == "CineRate":
        dataset.CineRate = round(1000 / frame_time_ms)
    else:
        dataset.FrameIncrementPointer = 0x00181063
        dataset.FrameTime = f"{frame_time_ms:.6g}"


def _put_pixels(dataset, frames: NDArray, writing: Writing) -> None:
    top = (1 << writing.bits) - 1
    dataset.Rows, dataset.Columns = frames.shape[1:]
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.PhotometricInterpretation = "MONOCHROME1" if writing.inverted else "MONOCHROME2"
    dataset.BitsAllocated = 8 * frames.dtype.itemsize
    dataset.BitsStored, dataset.HighBit = writing.bits, writing.bits - 1
    dataset.PixelIntensityRelationship = "DISP"
    if writing.window:
        dataset.WindowCenter, dataset.WindowWidth = f"{(top + 1) / 2:g}", f"{top + 1:g}"
    stored = top - frames if writing.inverted else frames
    data = stored.astype(frames.dtype.newbyteorder("<")).tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset["PixelData"].VR = "OB" if frames.dtype.itemsize == 1 else "OW"


def _write_mp4(path: Path, frames: NDArray, frame_time_ms: float, bits: int) -> None:
    try:
        import av
    except ImportError as error:
        raise ImportError(
            "writing MP4 needs PyAV, which is absent; install it: pip install 'medvlm-bundles[video]'."
        ) from error
    from fractions import Fraction

    grey = (frames >> (bits - 8)).astype(np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(1000 / frame_time_ms).limit_denominator(1000))
        stream.height, stream.width = grey.shape[1:]
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "12", "preset": "veryfast"}
        stream.codec_context.thread_count = 1
        for picture in grey:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "gray").reformat(format="yuv420p")))
        container.mux(stream.encode())
