"""Videos, arrays and pictures: their frames, times and defects; studies as folders; the reader for MONAI."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.transforms import LoadImage
from PIL import Image

from transforms import CineReader, open_cine, views_of


@pytest.fixture
def frames() -> np.ndarray:
    """60 frames of 64 x 80 that brighten by 3 a frame, with a white square."""
    out = np.repeat((40 + 3 * np.arange(60, dtype=np.uint8))[:, None, None], 64, 1).repeat(80, 2)
    out[:, 5:20, 5:20] = 250
    return out


def save_video(path: Path, frames: np.ndarray, codec: str, pixels: str, rate: int = 15) -> Path:
    av = pytest.importorskip("av", reason="videos need PyAV")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:], pixels
        stream.gop_size, stream.bit_rate = 12, 4_000_000
        for array in frames:
            frame = av.VideoFrame.from_ndarray(array, format="gray").reformat(format=pixels)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


VIDEOS = [
    ("mjpeg.avi", "mjpeg", "yuvj420p"),
    ("xvid.avi", "mpeg4", "yuv420p"),
    ("long.mp4", "libx264", "yuv420p"),
    ("deep.mp4", "libx264", "yuv420p10le"),
    ("exact.mkv", "ffv1", "gray"),
]


@pytest.mark.parametrize(("name", "codec", "pixels"), VIDEOS, ids=[v[0] for v in VIDEOS])
def test_any_frame_of_a_video_is_found(tmp_path, frames, name, codec, pixels):
    cine = open_cine(save_video(tmp_path / name, frames, codec, pixels))
    assert cine.info.frames == 60 and (cine.info.height, cine.info.width) == (64, 80)
    assert np.allclose(cine.info.times_ms, np.arange(60) * 1000 / 15, atol=1.0)
    wanted = [59, 3, 17, 40]
    got = cine.read(wanted)[:, 40, 40].numpy() * 255
    assert np.abs(got - frames[wanted, 40, 40]).max() < 1.5  # a frame is 3 brighter than the one before
    assert np.abs(cine.read()[:, 40, 40].numpy() * 255 - frames[:, 40, 40]).max() < 1.5


def test_a_video_without_time_stamps_is_read_from_its_begin(tmp_path, frames):
    cine = open_cine(save_video(tmp_path / "a.avi", frames, "mjpeg", "yuvj420p"))
    cine._seekable = False
    assert np.abs(cine.read([3, 40])[:, 40, 40].numpy() * 255 - frames[[3, 40], 40, 40]).max() < 1.5


def test_few_frames_of_a_video_cost_few_decoded_ones(tmp_path, frames, monkeypatch):
    cine = open_cine(save_video(tmp_path / "a.mp4", frames, "libx264", "yuv420p"))
    decoded = []
    found = cine._wanted

    class Counting:
        def __init__(self, container):
            self.streams, self.seek, self.container = container.streams, container.seek, container

        def decode(self, stream):
            for frame in self.container.decode(stream):
                decoded.append(frame.pts)
                yield frame

    monkeypatch.setattr(cine, "_wanted", lambda container, indices: found(Counting(container), indices))
    cine.read([50])
    assert len(decoded) <= 12  # one group of pictures


def test_a_truncated_video_is_refused_or_read_as_far_as_it_goes(tmp_path, frames):
    path = save_video(tmp_path / "a.avi", frames, "mjpeg", "yuvj420p")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"a\.avi: the video is truncated: 60 frames declared, \d+ found; copy"):
        open_cine(path)
    cine = open_cine(path, truncated="keep")
    assert 10 < cine.info.frames < 60 and "truncated" in cine.info.notes[0]
    whole = save_video(tmp_path / "a.mp4", frames, "libx264", "yuv420p")
    whole.write_bytes(whole.read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"a\.mp4: the video is truncated or damaged \(.*\); copy or export it again"):
        open_cine(whole)


def test_without_pyav_the_extra_is_named(tmp_path, monkeypatch):
    (tmp_path / "a.mp4").write_bytes(b"x" * 100)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ImportError, match=r"reading videos needs PyAV.*`pip install av`.*medvlm-bundles\[video\]"):
        open_cine(tmp_path / "a.mp4")


@pytest.mark.parametrize("kind", ["npy", "npz", "npz with times"])
def test_arrays(tmp_path, frames, kind):
    path = tmp_path / f"a.{kind[:3]}"
    extra = {"fps": 30.0, "primary_angle": -20.0, "secondary_angle": 25.0} if "times" in kind else {}
    np.save(path, frames) if kind == "npy" else np.savez_compressed(path, video=frames, **extra)
    info = open_cine(path, fps=None if extra else 25.0).info
    assert info.timing == ("fps" if extra else "given")
    assert info.times_ms[1] == pytest.approx(1000 / 30 if extra else 40.0)
    assert info.view_angles == pytest.approx((-20.0, 25.0) if extra else (np.nan, np.nan), nan_ok=True)
    assert np.allclose(open_cine(path).read([5, 1]), frames[[5, 1]] / 255.0)


def test_an_archive_that_is_not_compressed_is_not_read_as_a_whole(tmp_path, frames):
    np.savez(tmp_path / "a.npz", before=np.arange(1000), video=np.asfortranarray(frames))
    np.savez(tmp_path / "b.npz", fps=10.0, video=frames)
    for name in ("a.npz", "b.npz"):
        cine = open_cine(tmp_path / name)
        assert isinstance(cine._array, np.memmap)
        assert np.allclose(cine.read([50, 2]), frames[[50, 2]] / 255.0)


def test_arrays_of_other_types(tmp_path, frames):
    np.save(tmp_path / "deep.npy", frames.astype(np.uint16) * 257)
    np.save(tmp_path / "float.npy", frames.astype(np.float32) / 100 - 1)
    np.save(tmp_path / "colour.npy", np.repeat(frames[..., None], 3, -1))
    low, high = float(frames.min()), float(frames.max())
    assert np.allclose(open_cine(tmp_path / "deep.npy").read(), frames / 255.0)
    assert np.allclose(open_cine(tmp_path / "float.npy").read(), (frames - low) / (high - low), atol=1e-5)
    assert np.allclose(open_cine(tmp_path / "colour.npy").read(), frames / 255.0, atol=1e-5)


@pytest.mark.parametrize(
    ("arrays", "match"),
    [
        ({"x": np.zeros((4, 8, 8))}, r"must hold one of \('video'.*it holds \['x'\]; rename it"),
        ({"video": np.zeros((8, 8))}, r"must have the shape \(T, rows, columns\).*got \(8, 8\); move its axes"),
        ({"video": np.full((2, 8, 8), np.nan)}, "pixels must be finite, some are NaN or infinite; replace them"),
        ({"video": np.zeros((2, 8, 8), dtype=complex)}, "must hold numbers, got complex128; save it as uint8"),
        ({"video": np.array([[[None]]])}, "cannot be read: .*allow_pickle"),
    ],
    ids=["name", "shape", "nan", "complex", "objects"],
)
def test_arrays_that_are_no_cine_are_refused(tmp_path, arrays, match):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match=r"a\.npz: .*" + match):
        open_cine(tmp_path / "a.npz")


def test_a_truncated_archive_is_refused(tmp_path, frames):
    np.savez(tmp_path / "a.npz", video=frames)
    (tmp_path / "a.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"a\.npz: .*(truncated|damaged)"):
        open_cine(tmp_path / "a.npz")


def pictures(folder: Path, frames: np.ndarray, suffix: str = ".png") -> Path:
    folder.mkdir()
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"frame{index}{suffix}")
    return folder


def test_pictures_are_ordered_by_number(tmp_path, frames):
    cine = open_cine(pictures(tmp_path / "a", frames[:12]), fps=10)
    assert cine.info.times_ms[1] == 100.0 and cine.info.timing == "given"
    assert np.allclose(cine.read(), frames[:12] / 255.0)
    assert "15 frames a second assumed" in open_cine(tmp_path / "a").info.notes


def test_a_picture_is_a_cine_of_one_frame(tmp_path, frames):
    Image.fromarray(frames[0].astype(np.uint16) * 257).save(tmp_path / "a.png")
    cine = open_cine(tmp_path / "a.png")
    assert cine.info.notes == ["one frame only"]
    assert np.allclose(cine.read(), frames[:1] / 255.0)


def test_jpeg_pictures_are_reduced_by_their_decoder(tmp_path, frames):
    cine = open_cine(pictures(tmp_path / "a", frames[:3], ".jpg"))
    assert next(cine.decode([0], (16, 20))).shape == (16, 20)
    assert cine.read(size=(16, 20)).shape == (3, 16, 20)


def test_pictures_of_unequal_size_are_refused(tmp_path, frames):
    folder = pictures(tmp_path / "a", frames[:3])
    Image.fromarray(frames[0][:30]).save(folder / "frame1.png")
    with pytest.raises(ValueError, match=r"one size, got \(rows, columns\) \(30, 80\) in frame1.png, \(64, 80\) in f"):
        open_cine(folder)


def test_a_damaged_picture_is_named(tmp_path, frames):
    folder = pictures(tmp_path / "a", np.random.default_rng(0).integers(0, 255, (3, 64, 80), dtype=np.uint8))
    file = folder / "frame1.png"
    file.write_bytes(file.read_bytes()[:2000])
    cine = open_cine(folder)
    assert cine.read([0]).shape == (1, 64, 80)
    with pytest.raises(ValueError, match=r"frame1\.png: the picture is truncated or damaged \(.*\); copy it again"):
        cine.read()


@pytest.mark.parametrize(
    ("name", "content", "error", "match"),
    [
        ("gone.dcm", None, FileNotFoundError, "there is no such file; check the path, or prepare the datalist"),
        ("empty.mp4", b"", ValueError, r"the file is empty \(0 bytes\); copy or download it again"),
        ("notes.txt", b"words", ValueError, r"the format is unknown; convert it to one of \.dcm"),
        ("a.mp4", b"words" * 100, ValueError, "the video is truncated or damaged"),
        ("a.png", b"words" * 100, ValueError, "cannot be read: .*; if the file should be valid, open it in a viewer"),
        ("a.npz", b"words" * 100, ValueError, "cannot be read|truncated or damaged"),
    ],
)
def test_files_that_cannot_be_read_say_why(tmp_path, name, content, error, match):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=f"{name}: .*({match})"):
        open_cine(tmp_path / name)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="the folder must hold pictures, it holds none; give one folder a cine"):
        open_cine(tmp_path)


def test_a_folder_stands_for_its_cines(tmp_path, frames, xa, cine_frames):
    (tmp_path / "study").mkdir()
    for name in ("v10.dcm", "v2.dcm", "plain"):
        xa(cine_frames, name=f"study/{name}")
    (tmp_path / "study" / "notes.txt").write_text("words")
    pictures(tmp_path / "study" / "frames", frames[:2])
    names = [str(Path(p).relative_to(tmp_path / "study")) for p in views_of(tmp_path / "study")]
    assert names == ["plain", "v2.dcm", "v10.dcm", "frames"]
    assert views_of(tmp_path / "study" / "frames") == [str(tmp_path / "study" / "frames")]
    assert views_of(["b.dcm", "a.dcm"]) == ["b.dcm", "a.dcm"]
    assert views_of([]) == []


def test_the_reader_serves_monai(xa, cine_frames):
    path = xa(cine_frames, PixelSpacing=["0.3", "0.2"])
    reader = CineReader()
    assert reader.verify_suffix(str(path)) and not reader.verify_suffix("a.nii.gz")
    image = LoadImage(reader=reader, image_only=True)(path)
    assert image.shape == (48, 40, 12)
    assert torch.allclose(image.as_tensor(), torch.from_numpy(cine_frames.transpose(2, 1, 0) / 255.0).float())
    assert image.affine.diagonal().tolist() == pytest.approx([0.2, 0.3, 1, 1])
    assert image.meta["angles"].shape == (12, 2)
    both, _ = reader.get_data(reader.read([path, path]))
    assert both.shape == (2, 48, 40, 12)


def test_channels_of_two_shapes_are_refused(xa, cine_frames):
    reader = CineReader()
    paths = [xa(cine_frames), xa(cine_frames[:5], name="b.dcm")]
    with pytest.raises(ValueError, match=r"must have one shape, got \[\(48, 40, 5\), \(48, 40, 12\)\]"):
        reader.get_data(reader.read(paths))
