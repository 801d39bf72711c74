"""Reading images of every kind, with their grid."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from medvlm.data.case_checks import check_case
from medvlm.data.reading import ReadError, label_values, mask_of, read_image, read_picture_grey

AFFINE = np.array([[-0.8, 0, 0, 12], [0, -0.9, 0, 20], [0, 0, 2.5, -7], [0, 0, 0, 1.0]])


@pytest.fixture
def nifti(make):
    return make.volume(make.root / "a.nii.gz", affine=AFFINE)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nii"])
def test_every_format_gives_the_same_voxels_on_the_same_grid(nifti, suffix):
    other = nifti.with_name(f"b{suffix}")
    sitk.WriteImage(sitk.ReadImage(str(nifti)), str(other))
    one, two = read_image(nifti), read_image(other)
    np.testing.assert_array_equal(one.data, two.data)
    np.testing.assert_allclose(one.affine, two.affine, atol=1e-5)
    assert two.spacing_mm == pytest.approx((0.8, 0.9, 2.5), abs=1e-5)


def test_channels_come_last(make):
    image = sitk.GetImageFromArray(np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5), isVector=True)
    path = make.root / "v.nrrd"
    path.parent.mkdir(parents=True)
    sitk.WriteImage(image, str(path))
    data = read_image(path).data
    assert data.shape == (4, 3, 2, 5)
    assert data[1, 2, 0, 3] == np.ravel_multi_index((0, 2, 1, 3), (2, 3, 4, 5))


def _dicom_series(folder, uid, first=0, count=3):
    folder.mkdir(parents=True, exist_ok=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for z in range(count):
        plane = sitk.GetImageFromArray(np.full((20, 24), 100 * z, np.int16) + np.arange(24, dtype=np.int16))
        tags = {"0008|0060": "MR", "0020|000e": uid, "0020|0032": f"0\\0\\{4 * z}", "0020|0013": str(z)}
        tags |= {"0020|0037": "1\\0\\0\\0\\1\\0", "0008|0018": f"{uid}.{z}", "0020|000d": "1.2.3"}
        for tag, value in tags.items():
            plane.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{first + z}.dcm"))
        writer.Execute(plane)


def test_a_folder_of_one_dicom_series_is_a_volume(tmp_path):
    _dicom_series(tmp_path / "d", "1.2.3.4")
    picture = read_image(tmp_path / "d")
    assert picture.data.shape == (24, 20, 3)
    assert picture.data[5, 0].tolist() == [5, 105, 205]
    case = {"image": str(tmp_path / "d"), "channels": ["FLAIR"], "case_id": "d", "patient_id": "d"}
    assert [p for p in check_case(case) if p.severity == "error"] == []


def test_a_series_that_lost_a_slice_is_an_error_of_doctor(tmp_path):
    _dicom_series(tmp_path / "d", "1.2.3.4", count=6)
    case = {"image": str(tmp_path / "d"), "channels": ["FLAIR"], "case_id": "d", "patient_id": "d"}
    cut = tmp_path / "d" / "2.dcm"
    cut.write_bytes(cut.read_bytes()[:-100])
    assert any("slices cannot be read: 2.dcm (1 in all)" in p.problem for p in check_case(case))
    cut.unlink()
    assert any("slices are missing: a gap of 8 mm, 4 mm between" in p.problem for p in check_case(case))


def test_two_series_in_a_folder_and_none_are_refused(tmp_path):
    _dicom_series(tmp_path / "d", "1.2.3.4")
    _dicom_series(tmp_path / "d", "1.2.3.5", first=10)
    with pytest.raises(ReadError, match="holds 2 DICOM series; remedy: put each series into a folder"):
        read_image(tmp_path / "d")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ReadError, match="no DICOM series"):
        read_image(tmp_path / "empty")


def test_a_picture_of_any_kind_becomes_grey(make, tmp_path):
    grey = read_picture_grey(make.picture(tmp_path / "a.png"))
    for mode in ("RGB", "RGBA", "LA", "P"):
        Image.open(tmp_path / "a.png").convert(mode).save(tmp_path / f"{mode}.png")
        np.testing.assert_allclose(read_picture_grey(tmp_path / f"{mode}.png"), grey, atol=1.5)


def test_transparent_places_are_black(tmp_path):
    picture = Image.new("RGBA", (20, 20), (255, 255, 255, 0))
    picture.paste((200, 200, 200, 255), (5, 5, 10, 10))
    picture.save(tmp_path / "a.png")
    grey = read_picture_grey(tmp_path / "a.png")
    assert grey[0, 0] == 0 and grey[7, 7] == 200


def test_label_values_are_distinct_and_ascending():
    assert label_values(np.array([[4.0, 0, 1], [1, 0, 4]]), "m").tolist() == [0, 1, 4]
    assert label_values(np.array([2, 2], np.uint8), "m").tolist() == [2]
    assert label_values(np.zeros(3, np.int16), "m").tolist() == [0]
    with pytest.raises(ReadError, match="no whole numbers"):
        label_values(np.array([0, np.nan, 1]), "m")


def test_a_colour_mask_is_refused_and_a_grey_rgb_one_is_read(make, tmp_path):
    mask = np.zeros((20, 20, 3), np.uint8)
    mask[5:9, 5:9] = 255
    Image.fromarray(mask).save(tmp_path / "a.png")
    assert np.unique(mask_of(read_image(tmp_path / "a.png"), "a")).tolist() == [0, 255]
    mask[5:9, 5:9, 0] = 3
    Image.fromarray(mask).save(tmp_path / "b.png")
    with pytest.raises(ReadError, match="colour picture"):
        mask_of(read_image(tmp_path / "b.png"), "b")
