from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from PIL import Image

from medvlm.engines.inputs import channel_names, find_cases, modality_of


def volume(path: Path, shape=(8, 8, 4)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(np.ones(shape, np.int16), np.eye(4)), path)
    return path


def dicom(folder: Path, uid: str, description: str = "", count: int = 2, modality: str | None = "MR") -> None:
    import pydicom
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    folder.mkdir(parents=True, exist_ok=True)
    for z in range(count):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
        meta.MediaStorageSOPInstanceUID = f"{uid}.{z + 1}"
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        image.SOPClassUID, image.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
        image.SeriesInstanceUID, image.StudyInstanceUID = uid, "1.2.3"
        if modality is not None:
            image.Modality = modality
        if description:
            image.SeriesDescription = description
        image.ImagePositionPatient, image.ImageOrientationPatient = [0, 0, z], [1, 0, 0, 0, 1, 0]
        image.PixelSpacing, image.InstanceNumber = [1, 1], z + 1
        image.Rows = image.Columns = 8
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.BitsAllocated = image.BitsStored = 16
        image.HighBit, image.PixelRepresentation = 15, 0
        image.PixelData = np.full((8, 8), z + 1, np.uint16).tobytes()
        image.save_as(folder / f"{uid}_{z}.dcm", **_format(pydicom))


def _format(pydicom) -> dict:
    return {"enforce_file_format": True} if int(pydicom.__version__[0]) >= 3 else {"write_like_original": False}


@pytest.mark.parametrize(
    ("name", "modality"),
    [
        ("BraTS20_Training_001_flair.nii", "FLAIR"), ("TCGA-FG-6692_fla_bet.nii.gz", "FLAIR"),
        ("BraTS-GLI-00000-000-t2f.nii.gz", "FLAIR"), ("sub-01_T2_FLAIR.nii.gz", "FLAIR"), ("a-t1n.nii.gz", "T1"),
        ("a_t1w.nii.gz", "T1"), ("a_t1ce.nii.gz", "T1c"), ("a_T1Gd.nii.gz", "T1c"), ("a_T1_post.nii.gz", "T1c"),
        ("a-t1c.nii.gz", "T1c"), ("x_t2.nii.gz", "T2"), ("x-t2w.mha", "T2"), ("brain1_image.nrrd", None),
        ("t12.nii.gz", None),
    ],
)  # fmt: skip
def test_modalities_are_read_from_names(name, modality):
    assert modality_of(name)[0] == modality


def test_a_folder_of_modality_files_is_one_case_without_its_masks(tmp_path):
    for name in ("fla", "t1", "t1c", "t2", "seg"):
        volume(tmp_path / "Fall 1 äö" / f"P_{name}.nii.gz")
    volume(tmp_path / "Fall 1 äö" / "brainmask.nii.gz")
    (case,) = find_cases(tmp_path / "Fall 1 äö")
    assert case["case_id"] == "Fall 1 äö" and case["channels"] == ["FLAIR", "T1", "T1c", "T2"]
    assert [Path(file).name for file in case["image"]] == [f"P_{m}.nii.gz" for m in ("fla", "t1", "t1c", "t2")]


def test_a_folder_of_cases_gives_each_and_goes_on_past_a_bad_one(tmp_path):
    for name in ("flair", "t1"):
        volume(tmp_path / "a" / f"a_{name}.nii.gz")
    volume(tmp_path / "b" / "b_t1.nii.gz")
    volume(tmp_path / "b" / "b_t1n.nii.gz")
    cases = find_cases(tmp_path)
    assert [case["case_id"] for case in cases] == ["a", "b"]
    assert "two files for T1" in cases[1]["error"] and "--channels" in cases[1]["error"]


def test_flat_files_are_grouped_by_what_their_names_share(tmp_path):
    for case in ("p1", "p2"):
        for name in ("flair", "t2"):
            volume(tmp_path / f"{case}_{name}.nii.gz")
    cases = find_cases(tmp_path)
    assert [(case["case_id"], case["channels"]) for case in cases] == [("p1", ["FLAIR", "T2"]), ("p2", ["FLAIR", "T2"])]


def test_files_of_two_patients_are_not_made_one_case(tmp_path):
    for name in ("anna_flair", "bert_t1"):
        volume(tmp_path / f"{name}.nii.gz")
    with pytest.raises(ValueError, match=r"differ \(anna, bert\).*Give each patient a folder.*--channels") as error:
        find_cases(tmp_path)
    remedy = str(error.value).split('--channels "')[1].split('"')[0]
    assert remedy == "FLAIR=anna_flair.nii.gz,T1=bert_t1.nii.gz"
    assert len(find_cases(tmp_path, channels=remedy)) == 1
    volume(tmp_path / "bert_flair.nii.gz")
    found = [(case["case_id"], case["channels"]) for case in find_cases(tmp_path)]
    assert found == [("anna", ["FLAIR"]), ("bert", ["FLAIR", "T1"])]


def test_a_name_that_is_not_understood_beside_its_case_is_an_error_that_lists_all(tmp_path):
    volume(tmp_path / "p1_flair.nii.gz")
    volume(tmp_path / "p1_axial.nii.gz")
    with pytest.raises(ValueError, match="p1_axial.nii.gz: not understood; p1_flair.nii.gz: FLAIR.*--channels"):
        find_cases(tmp_path)


def test_an_ambiguous_name_is_refused_unless_channels_say_what_it_is(tmp_path):
    file = volume(tmp_path / "a" / "t1_registered_to_flair.nii.gz")
    with pytest.raises(ValueError, match="a/t1_registered_to_flair.nii.gz.*may mean T1 or FLAIR.*--channels T1"):
        find_cases(file)
    assert "may mean T1 or FLAIR" in find_cases(file.parent)[0]["error"]
    for source in (file, file.parent):
        assert find_cases(source, channels="T1")[0]["channels"] == ["T1"]
    volume(tmp_path / "a" / "flair.nii.gz")
    with pytest.raises(ValueError, match="t1_registered_to_flair.nii.gz: T1 or FLAIR.*--channels"):
        find_cases(file.parent)
    (case,) = find_cases(file.parent, channels=f"T1={file.name},FLAIR=flair.nii.gz")
    assert case["channels"] == ["FLAIR", "T1"]


def test_a_t1_weighted_flair_series_is_refused_unless_channels_say_what_it_is(tmp_path):
    dicom(tmp_path / "study", "1.2.5", "AX T1 FLAIR")
    with pytest.raises(ValueError, match="study, a DICOM series.*'AX T1 FLAIR'.*T1 or FLAIR.*--channels"):
        find_cases(tmp_path / "study")
    assert find_cases(tmp_path / "study", channels="T1")[0]["channels"] == ["T1"]


def test_channels_say_which_file_is_which(tmp_path):
    volume(tmp_path / "one.nii.gz")
    volume(tmp_path / "two.nii.gz")
    (case,) = find_cases(tmp_path, channels="FLAIR=two.nii.gz,T1ce=one.nii.gz")
    assert case["channels"] == ["T1c", "FLAIR"] and len(case["image"]) == 2
    with pytest.raises(ValueError, match="has no three.nii.gz; it has one.nii.gz, two.nii.gz"):
        find_cases(tmp_path, channels="FLAIR=three.nii.gz")


def test_a_4d_file_needs_names_and_does_not_guess_their_order(tmp_path):
    file = volume(tmp_path / "case.nii.gz", (8, 8, 4, 4))
    with pytest.raises(ValueError, match="holds 4 channels and its names are not known.*--channels FLAIR,T1,T1c,T2"):
        find_cases(file)
    with pytest.raises(ValueError, match="2 names were given"):
        find_cases(file, channels="FLAIR,T1")
    (case,) = find_cases(file, channels=["FLAIR", "T1w", "t1gd", "T2w"])
    assert case["channels"] == ["FLAIR", "T1", "T1c", "T2"] and case["image"] == str(file)


def test_more_names_than_channels_are_refused(tmp_path):
    file = volume(tmp_path / "case" / "scan.nii.gz")
    dicom(tmp_path / "study", "1.2.5", "AX FLAIR")
    for source in (file, file.parent, tmp_path / "study"):
        with pytest.raises(
            ValueError, match="holds one channel and 2 names were given \\(FLAIR, T1\\).*--channels FLAIR"
        ):
            find_cases(source, channels="FLAIR,T1")
    with pytest.raises(ValueError, match="must name scan.nii.gz, which is read, got other.nii.gz"):
        find_cases(file, channels="FLAIR=other.nii.gz")
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "b.png")
    pictures = find_cases(tmp_path, channels="T1c,T2")
    assert [("2 names were given" in case["error"]) for case in pictures if "path" in case] == [True] * 4


def test_a_damaged_volume_with_names_for_its_channels_is_left_to_its_loading(tmp_path):
    file = volume(tmp_path / "case.nii.gz", (8, 8, 4, 2))
    file.write_bytes(file.read_bytes()[:40])
    assert find_cases(file, channels="FLAIR,T1")[0]["channels"] == ["FLAIR", "T1"]


def test_names_that_contradict_those_of_the_files_are_refused(tmp_path):
    for name in ("P_flair", "P_t1"):
        volume(tmp_path / f"{name}.nii.gz")
    assert len(find_cases(tmp_path, channels="T1,FLAIR")[0]["image"]) == 2
    for channels in ("FLAIR", "FLAIR,T2", "FLAIR,T1,T2"):
        with pytest.raises(ValueError, match="must agree .*P_flair.nii.gz: FLAIR, P_t1.nii.gz: T1.*leave it out"):
            find_cases(tmp_path, channels=channels)
    for name in ("FLAIR", "T1"):
        dicom(tmp_path / "series" / name, f"1.2.{len(name)}")
    assert find_cases(tmp_path / "series", channels="FLAIR,T1")[0]["channels"] == ["FLAIR", "T1"]
    assert find_cases(tmp_path / "series", channels="T1c=T1")[0]["channels"] == ["T1c"]
    with pytest.raises(ValueError, match="must agree"):
        find_cases(tmp_path / "series", channels="FLAIR,T2")


@pytest.mark.parametrize("vectors", [True, False], ids=["vectors", "fourth axis"])
def test_an_nrrd_of_several_channels_needs_names_too(tmp_path, vectors):
    SimpleITK.WriteImage(
        SimpleITK.GetImageFromArray(np.zeros((4, 8, 8, 3), np.int16), isVector=vectors), str(tmp_path / "a.nrrd")
    )
    count, names = (3, "FLAIR,T1,T2") if vectors else (4, "FLAIR,T1,T1c,T2")
    with pytest.raises(ValueError, match=f"holds {count} channels and its names are not known"):
        find_cases(tmp_path / "a.nrrd")
    assert find_cases(tmp_path / "a.nrrd", channels=names)[0]["channels"] == names.split(",")


def test_nothing_beside_a_dicom_series_is_passed_over(tmp_path):
    dicom(tmp_path, "1.2.5", "AX FLAIR")
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(tmp_path / "screenshot.png")
    volume(tmp_path / "inner" / "other.nii.gz")
    cases = {case["case_id"]: case for case in find_cases(tmp_path)}
    assert set(cases) == {tmp_path.name, "screenshot", "other"}
    assert cases[tmp_path.name]["channels"] == ["FLAIR"]


def test_a_decathlon_file_has_its_names_in_dataset_json(tmp_path):
    file = volume(tmp_path / "imagesTr" / "BRATS_001.nii.gz", (8, 8, 4, 4))
    modality = {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"}
    (tmp_path / "dataset.json").write_text(json.dumps({"modality": modality}), encoding="utf-8")
    assert find_cases(file)[0]["channels"] == ["FLAIR", "T1", "T1c", "T2"]
    assert find_cases(file.parent)[0]["case_id"] == "BRATS_001"


def test_single_files_and_pictures(tmp_path):
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "Y 1.PNG")
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "no.jpg")
    assert find_cases(tmp_path / "Y 1.PNG") == [
        {"image": str(tmp_path / "Y 1.PNG"), "channels": ["MRI"], "case_id": "Y 1", "patient_id": "Y 1",
         "source": "input"}
    ]  # fmt: skip
    assert [case["case_id"] for case in find_cases(tmp_path)] == ["Y 1", "no"]
    assert find_cases(volume(tmp_path / "scan_flair.nii.gz"))[0]["channels"] == ["FLAIR"]
    assert find_cases(volume(tmp_path / "t2.nii.gz"), channels="MRI")[0]["channels"] == ["MRI"]


def test_results_of_earlier_predictions_and_the_output_folder_are_no_input(tmp_path):
    volume(tmp_path / "scan_flair.nii.gz")
    results = tmp_path / "results" / "scan_flair"
    volume(results / "overlay_of_mine.nii.gz")
    volume(results / "map.nii.gz")
    alone = [tmp_path.name]
    assert [case["case_id"] for case in find_cases(tmp_path)] == [*alone, "map"]
    assert [case["case_id"] for case in find_cases(tmp_path, output=tmp_path / "results")] == alone
    assert len(find_cases(tmp_path, output=tmp_path)) == 2, "an output that is the input's own folder hides nothing"
    (results / "manifest.json").write_text('{"name": "of something else"}', encoding="utf-8")
    assert len(find_cases(tmp_path)) == 2
    (results / "manifest.json").write_text('{"case_id": "x", "signature": "0", "files": []}', encoding="utf-8")
    assert [case["case_id"] for case in find_cases(tmp_path)] == alone
    for folder in (results, results.parent):
        with pytest.raises(ValueError, match="no image.*results of predictions"):
            find_cases(folder)


def test_an_output_among_the_cases_is_refused(tmp_path):
    for name in ("one", "two"):
        volume(tmp_path / name / f"{name}_flair.nii.gz")
    with pytest.raises(ValueError, match="one, the folder of the results, holds images of the input"):
        find_cases(tmp_path, output=tmp_path / "one")


def test_cases_of_one_name_get_different_ids(tmp_path):
    for folder in ("s1", "s2"):
        (tmp_path / folder).mkdir()
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / folder / "image.png")
    assert [case["case_id"] for case in find_cases(tmp_path)] == ["s1_image", "s2_image"]


def test_one_dicom_series_is_a_case_and_its_description_names_the_channel(tmp_path):
    dicom(tmp_path / "study", "1.2.5", "AX T2 FLAIR")
    (case,) = find_cases(tmp_path / "study")
    assert case["image"] == str(tmp_path / "study") and case["channels"] == ["FLAIR"]
    assert find_cases(next((tmp_path / "study").iterdir()))[0]["image"] == str(tmp_path / "study")


def test_several_dicom_series_are_listed_and_one_is_chosen(tmp_path):
    dicom(tmp_path, "1.2.5", "t1 sag")
    dicom(tmp_path, "1.2.6", "flair ax", count=3)
    with pytest.raises(ValueError, match="2 DICOM series") as error:
        find_cases(tmp_path)
    assert all(words in str(error.value) for words in ("t1 sag", "3 files", "1.2.6", "--series"))
    (case,) = find_cases(tmp_path, series="flair")
    assert case["channels"] == ["FLAIR"] and len(list(Path(case["image"]).iterdir())) == 3
    with pytest.raises(ValueError, match="--series t2 means 0"):
        find_cases(tmp_path, series="t2")


def test_a_series_that_is_not_mr_is_refused_unless_its_channel_is_given(tmp_path):
    dicom(tmp_path / "ct", "1.2.5", "HEAD 5.0", modality="CT")
    with pytest.raises(ValueError, match="1.2.5_0.dcm must be of Modality MR, got CT;.*--channels FLAIR"):
        find_cases(tmp_path / "ct")
    (case,) = find_cases(tmp_path / "ct", channels="FLAIR")
    assert case["channels"] == ["FLAIR"] and "Modality CT; it was read as FLAIR" in case["caution"]
    dicom(tmp_path / "mr", "1.2.6", "AX FLAIR")
    cases = {case["case_id"]: case for case in find_cases(tmp_path)}
    assert "got CT" in cases["ct"]["error"] and "caution" not in cases["mr"] and "error" not in cases["mr"]
    dicom(tmp_path / "study" / "FLAIR", "1.2.7")
    dicom(tmp_path / "study" / "T1", "1.2.8", modality="CT")
    with pytest.raises(ValueError, match="1.2.8_0.dcm must be of Modality MR, got CT"):
        find_cases(tmp_path / "study")
    (case,) = find_cases(tmp_path / "study", channels="FLAIR,T1")
    assert "read as T1" in case["caution"] and "FLAIR" not in case["caution"]


@pytest.mark.parametrize(("modality", "words"), [("OT", "Modality OT"), (None, "no Modality")])
def test_a_series_that_does_not_say_what_it_is_is_read_with_a_caution(tmp_path, modality, words):
    dicom(tmp_path / "a", "1.2.5", "AX FLAIR", modality=modality)
    (case,) = find_cases(tmp_path / "a")
    assert case["channels"] == ["FLAIR"] and f"{words}, so that it is not known" in case["caution"]


def test_folders_of_series_named_after_modalities_are_one_study(tmp_path):
    dicom(tmp_path / "FLAIR", "1.2.5")
    dicom(tmp_path / "T1", "1.2.6")
    (case,) = find_cases(tmp_path)
    assert case["channels"] == ["FLAIR", "T1"] and case["image"] == [str(tmp_path / "FLAIR"), str(tmp_path / "T1")]


def test_a_datalist_gives_its_section_with_absolute_paths(tmp_path):
    case = {"image": "a.nii.gz", "channels": ["FLAIR"], "case_id": "a", "label": "seg.nii.gz", "tumour": 1}
    file = tmp_path / "datalist.json"
    file.write_text(json.dumps({"training": [case], "validation": [], "test": [], "inference": []}), encoding="utf-8")
    with pytest.raises(ValueError, match="no case in inference or test.*training \\(1\\)"):
        find_cases(file)
    (found,) = find_cases(file, section="training")
    assert found == {"image": str(tmp_path / "a.nii.gz"), "channels": ["FLAIR"], "case_id": "a"}


def test_nothing_there_and_nothing_readable_say_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        find_cases(tmp_path / "nowhere")
    (tmp_path / "notes.txt").write_text("hello", encoding="utf-8")
    with pytest.raises(ValueError, match="holds no image"):
        find_cases(tmp_path)
    with pytest.raises(ValueError, match="notes.txt is no image"):
        find_cases(tmp_path / "notes.txt")


def test_channel_names_refuse_a_mixture_and_the_unknown():
    with pytest.raises(ValueError, match="mixture"):
        channel_names("FLAIR,T1=a.nii")
    with pytest.raises(ValueError, match="'PD' is no channel name"):
        channel_names("PD")


def test_files_of_channels_that_the_network_does_not_use_are_told_apart(tmp_path):
    for name in ("flair", "t1", "t2"):
        volume(tmp_path / "P" / f"P_{name}.nii.gz")
    (case,) = find_cases(tmp_path / "P", wanted=["FLAIR"])
    assert Path(case["image"]).name == "P_flair.nii.gz" and case["channels"] == ["FLAIR"]
    assert [Path(file).name for file in case["not_read"]] == ["P_t1.nii.gz", "P_t2.nii.gz"]
    (case,) = find_cases(tmp_path / "P", wanted=["T2", "FLAIR", "T1c"])
    assert [Path(file).name for file in case["image"]] == ["P_flair.nii.gz", "P_t2.nii.gz"]
    assert case["channels"] == ["FLAIR", "T2"]


def test_a_case_of_other_channels_alone_keeps_them_all(tmp_path):
    for name in ("t1", "t2"):
        volume(tmp_path / "P" / f"P_{name}.nii.gz")
    for wanted in (["FLAIR"], None):
        (case,) = find_cases(tmp_path / "P", wanted=wanted)
        assert case["channels"] == ["T1", "T2"] and len(case["image"]) == 2 and "not_read" not in case


@pytest.mark.parametrize(
    ("channels", "message"),
    [
        ("FLAIR,FLAIR,T1c,T2", "each channel once, got FLAIR twice"),
        ("FLAIR,t1ce,T1c,T2", "each channel once, got T1c twice: FLAIR, t1ce, T1c, T2"),
        ("FLAIR=a.nii.gz,FLAIR=b.nii.gz", "each channel once, got FLAIR twice"),
        ("FLAIR=a.nii.gz,T1=a.nii.gz", "each file once, got a.nii.gz twice"),
    ],
)
def test_a_name_given_twice_is_refused(tmp_path, channels, message):
    volume(tmp_path / "a.nii.gz", (8, 8, 4, 4))
    with pytest.raises(ValueError, match=message):
        find_cases(tmp_path / "a.nii.gz", channels=channels)
