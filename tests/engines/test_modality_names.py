from __future__ import annotations

import pytest

from medvlm.engines.modality_names import modality_of, read_name


@pytest.mark.parametrize(
    ("name", "channel"),
    [
        ("T1 MPRAGE GD", "T1c"), ("AX T1 SE POST", "T1c"), ("t1_3d_tfe_gd.nii.gz", "T1c"), ("SAG +C T1", "T1c"),
        ("T1 MPRAGE+C", "T1c"), ("T1_c.nii.gz", "T1c"), ("sub-01_ce-gadolinium_T1w.nii.gz", "T1c"),
        ("post op T1 SE GD", "T1c"), ("T1 with contrast", "T1c"), ("T1 PRE CONTRAST", "T1"), ("t1_pre.nii.gz", "T1"),
        ("T1 without iv contrast", "T1"), ("T1 w/o contrast", "T1"), ("p_postop_t1.nii.gz", "T1"),
        ("p_post_op_t1.nii.gz", "T1"), ("concept_t1.nii.gz", "T1"), ("case_c_t1.nii.gz", "T1"),
        ("T2 TSE FLAIR FS", "FLAIR"), ("FLAIR post gd", "FLAIR"), ("T1 AX POST CHEMORADIATION", "T1"),
        ("post_craniotomy_axial_t1.nii.gz", "T1"), ("AX T1 C-", "T1"), ("sub-01_space-T1w_FLAIR.nii.gz", "FLAIR"),
        ("sub-01_space-T1w_T2w.nii.gz", "T2"),
    ],
)  # fmt: skip
def test_words_of_a_contrast_agent_count_wherever_they_stand_and_other_words_do_not(name, channel):
    assert modality_of(name)[0] == channel


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("AX T1 FLAIR", "T1 or FLAIR"), ("t1_registered_to_flair.nii.gz", "T1 or FLAIR"),
        ("t1ce_in_flair_space.nii.gz", "T1c or FLAIR"), ("flair_to_t1.nii.gz", "FLAIR or T1"),
        ("t2_to_flair.nii.gz", "T2 or FLAIR"), ("T1 W/WO CONTRAST", "T1 or T1c"), ("t1_pre_post.nii.gz", "T1 or T1c"),
        ("adc_to_flair.nii.gz", "FLAIR or something in the space of FLAIR"),
    ],
)  # fmt: skip
def test_a_name_that_may_mean_several_modalities_is_refused_with_the_remedy(name, found):
    assert read_name(name).channel is None
    with pytest.raises(ValueError, match=f"may mean {found}; say which it is, e.g. --channels"):
        modality_of(name)


def test_whose_an_image_is_does_not_hang_on_how_it_was_taken():
    names = ("Anna_T2_tse_ax.nii.gz", "anna_fla_bet.nii.gz", "anna_t1_pre.nii.gz", "anna_t1_3d_tfe_gd.nii.gz")
    assert {read_name(name).whose for name in names} == {"anna"}
    assert read_name("anna_2_t1.nii.gz").whose != "anna" and read_name("t1.nii.gz").whose == ""
