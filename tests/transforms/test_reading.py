"""Reading a case: what every format becomes, and what each broken file is told."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK
import torch
from monai.transforms import Orientation
from PIL import Image
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from transforms import LoadCase, LoadCased, PhotoReader

AFFINE = np.array([[-1.0, 0, 0, 20], [0, 0, 3, -7], [0, 2, 0, 5], [0, 0, 0, 1]])


def volume(shape: tuple[int, ...] = (12, 10, 9), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(100, 20, shape).astype(np.float32)


def save(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


@pytest.fixture
def ramp() -> np.ndarray:
    """A picture (rows, columns) of 20 x 30 whose left upper corner alone is bright."""
    array = np.full((20, 30), 40, dtype=np.uint8)
    array[:5, :5] = 240
    return array


def test_nifti_keeps_values_and_affine(tmp_path):
    array = volume()
    image = LoadCase()(save(tmp_path / "a.nii.gz", array))
    assert image.shape == (1, 12, 10, 9)
    assert image.dtype == torch.float32
    np.testing.assert_array_equal(image[0].numpy(), array)
    np.testing.assert_array_equal(image.affine.numpy(), AFFINE)
    assert image.meta["filename_or_obj"] == str(tmp_path / "a.nii.gz")


def test_scaled_and_big_endian_integers_are_read_as_their_values(tmp_path):
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(np.int16)
    image = nib.Nifti1Image(np.arange(800, dtype=np.int16).reshape(10, 10, 8), AFFINE, header)
    image.header.set_slope_inter(2.0, 5.0)
    nib.save(image, tmp_path / "a.nii")
    expected = np.asanyarray(nib.load(tmp_path / "a.nii").dataobj)
    np.testing.assert_allclose(LoadCase()(tmp_path / "a.nii")[0].numpy(), expected, rtol=1e-6)


def test_four_dimensions_and_a_list_of_files_both_become_channels(tmp_path):
    array = volume((12, 10, 9, 3))
    whole = LoadCase()(save(tmp_path / "all.nii.gz", array))
    paths = [save(tmp_path / f"{i}.nii.gz", array[..., i]) for i in range(3)]
    parts = LoadCase()(paths)
    assert whole.shape == (3, 12, 10, 9)
    torch.testing.assert_close(whole.as_tensor(), parts.as_tensor())


@pytest.mark.parametrize("vectors", [True, False], ids=["vectors", "fourth axis"])
@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_channels_of_itk_formats_are_those_of_the_same_nifti(tmp_path, suffix, vectors):
    data = np.random.default_rng(0).integers(0, 900, (9, 10, 11, 4)).astype(np.int16)
    affine = np.array([[-2.0, 0, 0, 5], [0, -1.5, 0, 7], [0, 0, 3, -4], [0, 0, 0, 1]])
    nib.save(nib.Nifti1Image(data, affine), tmp_path / "a.nii.gz")
    image = SimpleITK.GetImageFromArray(data.transpose(2, 1, 0, 3), isVector=True)
    if not vectors:
        image = SimpleITK.GetImageFromArray(data.transpose(3, 2, 1, 0), isVector=False)
    image.SetSpacing((2.0, 1.5, 3.0, 1.0)[: image.GetDimension()])
    image.SetOrigin((-5.0, -7.0, -4.0, 0.0)[: image.GetDimension()])
    SimpleITK.WriteImage(image, str(tmp_path / f"a{suffix}"))
    expected, found = (LoadCase()(tmp_path / f"a{ending}") for ending in (".nii.gz", suffix))
    assert found.shape == (4, 9, 10, 11)
    assert torch.equal(found.as_tensor(), expected.as_tensor())
    assert torch.allclose(found.affine, expected.affine)


def test_a_4d_file_among_the_files_of_a_case_is_named(tmp_path):
    one, four = tmp_path / "t1.nii.gz", tmp_path / "flair.nii.gz"
    nib.save(nib.Nifti1Image(np.arange(512, dtype=np.int16).reshape(8, 8, 8), np.eye(4)), one)
    nib.save(nib.Nifti1Image(np.arange(1024, dtype=np.int16).reshape(8, 8, 8, 2), np.eye(4)), four)
    with pytest.raises(ValueError, match=r"flair\.nii\.gz: each of the 2 files .* one channel, .* 2; "):
        LoadCase()([one, four])


@pytest.mark.parametrize("shape", [(12, 10), (12, 10, 1), (12, 10, 1, 1, 1)], ids=["2d", "3d", "5d of ones"])
def test_a_flat_nifti_gets_one_slice(tmp_path, shape):
    assert LoadCase()(save(tmp_path / "flat.nii.gz", volume(shape))).shape == (1, 12, 10, 1)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".mhd"])
def test_itk_formats_give_the_affine_of_the_same_nifti(tmp_path, suffix):
    array = volume()
    picture = SimpleITK.ReadImage(str(save(tmp_path / "a.nii.gz", array)))
    SimpleITK.WriteImage(picture, str(tmp_path / f"a{suffix}"))
    image = LoadCase()(tmp_path / f"a{suffix}")
    np.testing.assert_allclose(image.affine.numpy(), AFFINE, atol=1e-6)
    np.testing.assert_array_equal(image[0].numpy(), array)


def write_series(folder: Path, array: np.ndarray, uid: str) -> None:
    """Write (columns, rows, slices) as axial MR slices, 2 x 1 mm in plane and 3 mm apart."""
    folder.mkdir(exist_ok=True)
    for index in range(array.shape[2]):
        meta = pydicom.dataset.FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = MRImageStorage, generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data = pydicom.Dataset()
        data.file_meta = meta
        data.SOPClassUID, data.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
        data.Modality, data.SeriesInstanceUID, data.StudyInstanceUID = "MR", uid, "1.2.3"
        data.SeriesDate, data.InstanceNumber = "20200101", index + 1
        data.ImagePositionPatient = [-10.0, -20.0, 30.0 + 3 * index]
        data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        data.PixelSpacing, data.SliceThickness = [1.0, 2.0], 3.0
        data.Columns, data.Rows = array.shape[:2]
        data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelRepresentation = 1, "MONOCHROME2", 0
        data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
        data.PixelData = np.ascontiguousarray(array[:, :, index].T.astype("<u2")).tobytes()
        data.save_as(folder / f"{uid}.{index}.dcm", enforce_file_format=True)


def test_a_dicom_series_is_a_volume_in_ras_coordinates(tmp_path):
    array = volume((12, 10, 5)).astype(np.uint16)
    write_series(tmp_path / "series", array, "1.2.3.4")
    image = LoadCase()(tmp_path / "series")
    np.testing.assert_array_equal(image[0].numpy(), array)
    np.testing.assert_allclose(image.affine.numpy(), [[-2, 0, 0, 10], [0, -1, 0, 20], [0, 0, 3, 30], [0, 0, 0, 1]])


@pytest.mark.parametrize("count", [0, 2])
def test_a_folder_must_hold_one_series(tmp_path, count):
    (tmp_path / "series").mkdir()
    for index in range(count):
        write_series(tmp_path / "series", volume((12, 10, 3)).astype(np.uint16), f"1.2.3.{index + 4}")
    with pytest.raises(ValueError, match=rf"series: a folder must hold one DICOM series, found {count}.*one folder"):
        LoadCase()(tmp_path / "series")


def lose(folder, harm):
    file = sorted(folder.iterdir())[2]
    if harm == "gone":
        file.unlink()
    elif harm == "empty":
        file.write_bytes(b"")
    elif harm == "cut":
        file.write_bytes(file.read_bytes()[:-100])
    elif harm == "twice":
        header = pydicom.dcmread(file)
        header.ImagePositionPatient = pydicom.dcmread(sorted(folder.iterdir())[1]).ImagePositionPatient
        header.save_as(file, enforce_file_format=True)


@pytest.mark.parametrize(
    ("harm", "problem"),
    [
        ("gone", "series: slices are missing: between two of the 5 slices lie 6 mm, between the others 3 mm"),
        ("empty", r"2\.dcm: it belongs to the series and cannot be read.*1 of 6 files.*again"),
        ("cut", r"2\.dcm: it belongs to the series and cannot be read.*1 of 6 files.*again"),
        ("twice", "series: 2 slices lie at the same place"),
    ],
)
def test_a_series_that_lost_a_slice_is_refused(tmp_path, harm, problem):
    write_series(tmp_path / "series", volume((12, 10, 6)).astype(np.uint16), "1.2.3.4")
    (tmp_path / "series" / "notes.txt").write_text("not a slice")
    assert LoadCase()(tmp_path / "series").shape == (1, 12, 10, 6)
    lose(tmp_path / "series", harm)
    with pytest.raises(ValueError, match=problem):
        LoadCase()(tmp_path / "series")


@pytest.mark.parametrize(
    ("dtype", "words"),
    [([("R", "u1"), ("G", "u1"), ("B", "u1")], "got colours"), (np.complex64, "got complex64")],
    ids=["colours", "complex"],
)
def test_voxels_that_are_no_real_numbers_are_refused_by_name(tmp_path, dtype, words):
    data = np.zeros((9, 10, 8), dtype=dtype)
    nib.save(nib.Nifti1Image(data, np.eye(4)), tmp_path / "a.nii.gz")
    with pytest.raises(ValueError, match=rf"a\.nii\.gz: voxels must be real numbers, {words}"):
        LoadCase()(tmp_path / "a.nii.gz")


def photo_modes(ramp: np.ndarray) -> dict[str, tuple[Image.Image, float]]:
    grey = Image.fromarray(ramp)
    rgba = grey.convert("RGBA")
    rgba.putpixel((29, 19), (255, 255, 255, 0))
    palette = grey.convert("RGB").quantize(8)
    return {
        "grey.png": (grey, 1),
        "grey.bmp": (grey, 1),
        "grey.tif": (grey, 1),
        "rgb.png": (grey.convert("RGB"), 1),
        "rgba.png": (rgba, 1),
        "la.png": (grey.convert("LA"), 1),
        "palette.png": (palette, 1),
        "cmyk.tif": (grey.convert("RGB").convert("CMYK"), 1),
        "i16.png": (Image.fromarray(ramp.astype(np.uint16) * 200), 200),
        "i32.tif": (Image.fromarray(ramp.astype(np.int32) * 1000), 1000),
        "float.tif": (Image.fromarray(ramp.astype(np.float32) / 10), 0.1),
    }


PHOTO_NAMES = list(photo_modes(np.zeros((20, 30), dtype=np.uint8)))


@pytest.mark.parametrize("name", PHOTO_NAMES)
def test_every_colour_mode_becomes_the_same_grey_slice(tmp_path, ramp, name):
    picture, scale = photo_modes(ramp)[name]
    picture.save(tmp_path / name)
    image = LoadCase()(tmp_path / name)
    assert image.shape == (1, 30, 20, 1)
    expected = ramp.T.astype(np.float32) * scale
    if name == "rgba.png":
        expected[29, 19] = 0  # transparent white is seen against black
    np.testing.assert_allclose(image[0, ..., 0].numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpegs_of_every_mode_are_read(tmp_path, ramp, mode):
    Image.fromarray(ramp).convert("RGB").convert(mode).save(tmp_path / "a.jpg", quality=95)
    image = LoadCase()(tmp_path / "a.jpg")
    assert image[0, 2, 2, 0] > 200 and image[0, 25, 15, 0] < 80


def test_exif_orientation_is_applied(tmp_path, ramp):
    exif = Image.Exif()
    exif[274] = 6  # shown after a quarter turn clockwise
    Image.fromarray(ramp).save(tmp_path / "a.jpg", exif=exif, quality=95)
    image = LoadCase()(tmp_path / "a.jpg")
    assert image.shape == (1, 20, 30, 1)
    assert image[0, 17, 2, 0] > 200 and image[0, 2, 2, 0] < 80


def test_pictures_and_volumes_look_the_same_way(tmp_path, ramp):
    Image.fromarray(ramp).save(tmp_path / "a.png")
    save(tmp_path / "a.nii.gz", ramp.T[::-1, ::-1, None].copy(), np.eye(4))  # RAS: the corner is right and anterior
    turn = Orientation("LPS", labels=(("L", "R"), ("P", "A"), ("I", "S")))
    photo, scan = (turn(LoadCase()(tmp_path / name)) for name in ("a.png", "a.nii.gz"))
    torch.testing.assert_close(photo.as_tensor(), scan.as_tensor())
    assert photo[0, 0, 0, 0] == 240


def test_a_palette_mask_keeps_its_indices(tmp_path):
    mask = np.zeros((20, 20), dtype=np.uint8)
    mask[5:9, 3:9] = 2
    picture = Image.fromarray(mask, mode="P")
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    picture.save(tmp_path / "mask.png")
    assert torch.unique(LoadCase("label")(tmp_path / "mask.png")).tolist() == [0, 2]


def test_photo_reader_is_a_monai_reader(tmp_path, ramp):
    from monai.transforms import LoadImage

    Image.fromarray(ramp).save(tmp_path / "a.png")
    image = LoadImage(reader=PhotoReader(), image_only=True)(tmp_path / "a.png")
    assert image.shape == (30, 20, 1)
    assert PhotoReader().verify_suffix("x.PNG") and not PhotoReader().verify_suffix("x.nii")


@pytest.mark.parametrize("folder", ["näïve 脳", "with blank", "quote'd"])
def test_paths_with_blanks_and_other_scripts_are_read(tmp_path, folder, ramp):
    (tmp_path / folder).mkdir()
    array = volume()
    Image.fromarray(ramp).save(tmp_path / folder / "ü b.png")
    save(tmp_path / folder / "ü b.nii.gz", array)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array), str(tmp_path / folder / "u b.nrrd"))
    for name in ("ü b.png", "ü b.nii.gz", "u b.nrrd"):
        assert LoadCase()(tmp_path / folder / name).ndim == 4


def broken(name: str, folder: Path) -> Path | list[Path]:
    """Make one broken source and return its path."""
    path = folder / "case.nii.gz"
    good = volume()
    if name == "missing":
        return path
    if name == "empty":
        path.touch()
    elif name == "text":
        path.write_text("404: Not Found\n" * 50, encoding="utf-8")
    elif name == "renamed":
        save(folder / "case.nii", good).rename(path)
    elif name == "truncated":
        data = save(path, volume((40, 40, 40))).read_bytes()
        path.write_bytes(data[: len(data) // 2])
    elif name == "gzip of text":
        path.write_bytes(gzip.compress(b"hello" * 400))
    elif name == "truncated plain":
        path = folder / "case.nii"
        path.write_bytes(save(path, good).read_bytes()[:-500])
    elif name in ("nan", "inf"):
        good[3, 4, 5] = float(name)
        save(path, good)
    elif name in ("zero", "constant"):
        save(path, np.full_like(good, 0 if name == "zero" else 7))
    elif name == "five":
        save(path, volume((9, 9, 4, 2, 2)))
    elif name == "one by one":
        save(path, volume((1, 1, 5)))
    elif name == "tiny picture":
        path = folder / "case.png"
        Image.fromarray(np.array([[3]], dtype=np.uint8)).save(path)
    elif name == "cut picture":
        path = folder / "case.jpg"
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 200), dtype=np.uint8)).save(path)
        path.write_bytes(path.read_bytes()[:5000])
    elif name == "text picture":
        path = folder / "case.png"
        path.write_text("<html>", encoding="utf-8")
    elif name == "pages":
        path = folder / "case.tif"
        pages = [Image.fromarray(np.full((20, 20), 9 * i, dtype=np.uint8)) for i in range(3)]
        pages[0].save(path, save_all=True, append_images=pages[1:])
    elif name == "unknown":
        path = folder / "case.xyz"
        path.write_bytes(b"\0" * 500)
    elif name == "broken nrrd":
        path = folder / "case.nrrd"
        path.write_text("NRRD0004\nnothing\n", encoding="utf-8")
    elif name in ("other shape", "other affine"):
        shifted = AFFINE.copy()
        shifted[0, 3] += 3
        save(folder / "flair.nii.gz", good)
        other = volume((12, 10, 8)) if name == "other shape" else good
        path = [folder / "flair.nii.gz", save(folder / "t1.nii.gz", other, shifted if "affine" in name else AFFINE)]
    elif name == "zero modality":
        path = [save(folder / "flair.nii.gz", good), save(folder / "t1.nii.gz", np.zeros_like(good))]
    elif name == "nothing":
        path = []
    return path


BROKEN = {
    "missing": r"case.nii.gz: there is no such file; check the path",
    "empty": r"case.nii.gz: the file is empty \(0 bytes\); copy or download",
    "text": r"case.nii.gz: the name says gzip.*starts with b'404: Not.*download it again",
    "renamed": r"case.nii.gz: the name says gzip.*uncompressed NIfTI.*rename it to .nii",
    "truncated": r"case.nii.gz: the compressed data is truncated.*download it again",
    "gzip of text": r"case.nii.gz: cannot be read: .*save it again",
    "truncated plain": r"case.nii: cannot be read: .*save it again",
    "nan": r"case.nii.gz: voxels must be finite, 1 of 1080 are NaN or infinite; replace them",
    "inf": r"case.nii.gz: voxels must be finite, 1 of 1080 are NaN or infinite; replace them",
    "zero": r"case.nii.gz: the image is all zero.*export it again, or drop",
    "constant": r"case.nii.gz: the image is constant \(7\).*export it again, or drop",
    "five": r"case.nii.gz: an image must have 2, 3 or 4 dimensions, got shape \(9, 9, 4, 2, 2\); save it as one 3D",
    "one by one": r"case.nii.gz: an image must be at least 8 x 8 .*got \(1, 1, 5\); give the original",
    "tiny picture": r"case.png: an image must be at least 8 x 8 .*got \(1, 1, 1\); give the original",
    "cut picture": r"case.jpg: cannot be read: .*truncated.*save it again",
    "text picture": r"case.png: cannot be read: .*save it again",
    "pages": r"case.tif: a picture must have one page, got 3; save one page as PNG",
    "unknown": r"case.xyz: cannot be read: the format is unknown; convert it to one of .nii",
    "broken nrrd": r"case.nrrd: cannot be read: .*save it again",
    "other shape": r"one shape, got \(12, 10, 8\) in .*t1.nii.gz, \(12, 10, 9\) in .*flair.nii.gz; resample",
    "other affine": r"one affine, corners of .*t1.nii.gz and .*flair.nii.gz are 3 mm apart: \[\[(.|\n)*resample",
    "zero modality": r"t1.nii.gz, channel T1: the image is all zero.*export it again, or drop",
    "nothing": r"at least one file, got an empty list; give its path",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_named_with_its_remedy(tmp_path, name):
    with pytest.raises((ValueError, FileNotFoundError), match=BROKEN[name]):
        LoadCase()(broken(name, tmp_path), ["FLAIR", "T1"])


def test_huge_pictures_are_refused_before_they_are_decoded(tmp_path):
    Image.new("1", (12_000, 12_000)).save(tmp_path / "bomb.png")
    limit = Image.MAX_IMAGE_PIXELS
    with pytest.raises(ValueError, match=r"bomb.png: a picture must have at most 50000000 pixels, got 12000 x 12000"):
        LoadCase()(tmp_path / "bomb.png")
    assert limit == Image.MAX_IMAGE_PIXELS


def test_huge_volumes_are_refused_by_their_header(tmp_path):
    path = save(tmp_path / "a.nii.gz", volume())
    with pytest.raises(ValueError, match=r"a.nii.gz: cannot be read: it must have at most 1000 voxels.*\(12, 10, 9\)"):
        LoadCase(max_voxels=1000)(path)


def test_rounding_of_an_affine_is_no_other_grid(tmp_path):
    close = AFFINE + 1e-4
    close[3] = AFFINE[3]
    paths = [save(tmp_path / "a.nii.gz", volume()), save(tmp_path / "b.nii.gz", volume(seed=1), close)]
    assert LoadCase()(paths).shape == (2, 12, 10, 9)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (volume(), r"seg.nii.gz: a label must hold whole numbers.*swapped"),
        (volume((12, 10, 9, 2)), r"seg.nii.gz: a label must have one channel, got 2; save"),
        (np.full((12, 10, 9), 300, dtype=np.int16), r"seg.nii.gz: a label must hold whole numbers 0 to 255.*to 300"),
        (np.zeros((12, 10, 8), dtype=np.uint8), r"one shape, got \(12, 10, 8\) in .*seg.nii.gz.*flair.*resample"),
    ],
    ids=["an image", "two channels", "too large", "another grid"],
)
def test_a_wrong_label_is_refused(tmp_path, label, message):
    case = {"image": [save(tmp_path / "flair.nii.gz", volume())], "label": save(tmp_path / "seg.nii.gz", label)}
    with pytest.raises(ValueError, match=message):
        LoadCased()(case)


def test_float_labels_near_whole_numbers_are_rounded(tmp_path):
    mask = np.zeros((12, 10, 9))
    mask[2:5] = 0.99999997
    assert LoadCase("label")(save(tmp_path / "seg.nii.gz", mask)).unique().tolist() == [0, 1]


@pytest.mark.parametrize(
    ("given", "mask_known", "tumour", "tumour_known"),
    [
        ({}, 0.0, 0, 0.0),
        ({"tumour": 1}, 0.0, 1, 1.0),
        ({"tumour": 0, "empty_mask": True}, 1.0, 0, 1.0),
        ({"label": True, "tumour": 1}, 1.0, 1, 1.0),
        ({"tumour": None, "label": None}, 0.0, 0, 0.0),
    ],
    ids=["nothing", "class", "healthy", "mask", "none"],
)
def test_a_case_says_what_is_known(tmp_path, given, mask_known, tumour, tumour_known):
    case = {"image": str(save(tmp_path / "a.nii.gz", volume())), "case_id": "a", **given}
    if given.get("label"):
        mask = np.zeros((12, 10, 9), dtype=np.uint8)
        mask[2:5] = 1
        case |= {"label": str(save(tmp_path / "seg.nii.gz", mask)), "regions": {"WT": [1]}}
    d = LoadCased()(case)
    assert (d["mask_known"], d["tumour"], d["tumour_known"]) == (mask_known, tumour, tumour_known)
    assert d["label"].shape == (1, 12, 10, 9) and d["label"].dtype == torch.uint8
    assert bool(d["label"].any()) == bool(given.get("label"))
    assert d["regions"] == case.get("regions", {})
    assert d["case_id"] == "a"
    torch.testing.assert_close(d["label"].affine, d["image"].affine)


def test_an_image_alone_needs_no_label(tmp_path):
    d = LoadCased(keys="image")({"image": str(save(tmp_path / "a.nii.gz", volume()))})
    assert "label" not in d and d["image"].shape == (1, 12, 10, 9)


@pytest.mark.parametrize("harm", ["broken", "missing", "another grid"])
def test_files_of_channels_that_nobody_uses_are_not_opened(tmp_path, harm):
    names = ("T2", "FLAIR", "T1")
    files = {name: save(tmp_path / f"{name}.nii.gz", volume(seed=seed)) for seed, name in enumerate(names)}
    if harm == "broken":
        files["T2"].write_bytes(files["T2"].read_bytes()[:200])
    elif harm == "missing":
        files["T2"].unlink()
    else:
        save(files["T2"], volume((20, 20, 20)))
    case = {"image": [str(file) for file in files.values()], "channels": list(files), "tumour": 1}
    case["label"] = str(save(tmp_path / "label.nii.gz", np.ones((12, 10, 9), np.float32)))
    read = LoadCased(channels=["FLAIR", "T1"])(case)
    assert read["channels"] == ["FLAIR", "T1"] and read["image"].shape == (2, 12, 10, 9)
    np.testing.assert_array_equal(read["image"][0].numpy(), volume(seed=1))
    assert read["image"].meta["filename_or_obj"] == str(files["FLAIR"])
    with pytest.raises((ValueError, FileNotFoundError), match="T2"):
        LoadCased()(case)
    with pytest.raises((ValueError, FileNotFoundError), match="T2"):
        LoadCased(channels=["T2"])(case)


def test_channels_of_a_4d_file_that_nobody_uses_are_not_checked(tmp_path):
    array = np.stack([volume(), np.zeros((12, 10, 9), np.float32), volume(seed=2)], axis=-1)
    case = {"image": str(save(tmp_path / "a.nii.gz", array)), "channels": ["FLAIR", "T1", "T2"]}
    read = LoadCased(keys=["image"], channels=["T2", "FLAIR"])(case)
    assert read["channels"] == ["FLAIR", "T2"]
    np.testing.assert_array_equal(read["image"].numpy(), np.moveaxis(array[..., [0, 2]], -1, 0))
    with pytest.raises(ValueError, match="channel T1: the image is all zero"):
        LoadCased(keys=["image"], channels=["T1"])(case)
    with pytest.raises(ValueError, match=r"have its own name, got 3 channels and names \['FLAIR', 'T1'\]"):
        LoadCased(keys=["image"], channels=["FLAIR"])({**case, "channels": ["FLAIR", "T1"]})


@pytest.mark.parametrize("names", [["T1"], ["MRI"], None], ids=str)
def test_a_case_without_any_wanted_channel_is_read_whole(tmp_path, names):
    case = {"image": str(save(tmp_path / "a.nii.gz", volume()))} | ({"channels": names} if names else {})
    read = LoadCased(keys=["image"], channels=["FLAIR"])(case)
    assert read["image"].shape == (1, 12, 10, 9) and read.get("channels") == names


def test_a_channel_named_twice_is_refused_by_file(tmp_path):
    array = np.stack([volume(), volume(seed=1), volume(seed=2)], axis=-1)
    case = {"image": str(save(tmp_path / "a.nii.gz", array)), "channels": ["FLAIR", "FLAIR", "T2"]}
    with pytest.raises(ValueError, match=r"a.nii.gz: each channel of a case must have its own name, got .*FLAIR"):
        LoadCased(keys=["image"], channels=["FLAIR"])(case)
