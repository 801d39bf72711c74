from __future__ import annotations

from pathlib import Path

import pytest

from medvlm.engines.file_groups import group_files


def grouped(*names: str) -> list[tuple[str, list[str]]]:
    groups = group_files([Path(f"{name}.nii.gz") for name in names], Path("folder"))
    return [(name, list(channels)) for name, channels in groups]


@pytest.mark.parametrize(
    "names",
    [
        ("TCGA-FG-6692_fla_bet", "TCGA-FG-6692_t1c_bet", "TCGA-FG-6692_t2"), ("flair", "P_t1", "P_t2"),
        ("ax_flair", "sag_t1_mprage", "t2"), ("P_t2_tse_tra", "P_t1_3d_gd", "P_t1_pre"),
        ("Flair_subtrMeanDivStd", "T1_subtrMeanDivStd", "T1c_subtrMeanDivStd"),
    ],
    ids=lambda names: names[0],
)  # fmt: skip
def test_words_on_how_an_image_was_taken_do_not_part_the_files_of_a_case(names):
    ((name, channels),) = grouped(*names)
    assert name == "" and len(channels) == 3


@pytest.mark.parametrize("names", [("anna_flair", "bert_t1"), ("p_1_flair", "p_2_t1"), ("flair", "a_t1", "b_t2")])
def test_names_of_different_patients_are_refused_where_each_modality_is_there_once(names):
    with pytest.raises(ValueError, match="same name but for the modality.*folder.*--channels"):
        grouped(*names)


@pytest.mark.parametrize(
    "names",
    [
        ("gd_012_flair", "gd_012_t1", "gd_012_t1ce", "gd_012_t2"), ("p1_post_1_flair", "p1_post_1_t1", "p1_post_1_t1c"),
        ("p1_pre_t1", "p1_pre_flair", "p1_post_t1", "p1_post_flair"),
    ],
    ids=lambda names: names[0],
)  # fmt: skip
def test_a_word_of_contrast_that_a_flair_has_too_is_refused(names):
    with pytest.raises(ValueError, match="modality is not clear.*--channels"):
        grouped(*names)


def test_a_modality_that_is_there_twice_tells_the_patients_apart():
    found = grouped("anna_flair", "bert_flair", "bert_t1_bet", "carl_t2")
    assert found == [("anna", ["FLAIR"]), ("bert", ["FLAIR", "T1"]), ("carl", ["T2"])]


def test_files_with_and_without_a_processing_step_stay_apart():
    found = grouped("p1_flair", "p1_t1", "p1_flair_bet", "p1_t1_bet")
    assert found == [("p1", ["FLAIR", "T1"]), ("p1_bet", ["FLAIR", "T1"])]


def test_names_that_say_no_modality_are_not_grouped():
    assert grouped("one", "two") == []
