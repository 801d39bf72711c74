"""Label conventions and channel names."""

from __future__ import annotations

import pytest

from medvlm.data.conventions import CONVENTIONS, canonical_channel, convention, foreign_values


@pytest.mark.parametrize(
    ("name", "tc", "wt", "et"),
    [
        ("brats2015", (1, 3, 4), (1, 2, 3, 4), (4,)),
        ("brats2017_2021", (1, 4), (1, 2, 4), (4,)),
        ("brats2023", (1, 3), (1, 2, 3), (3,)),
        ("brats2024", (1, 3), (1, 2, 3), (3,)),
        ("msd", (2, 3), (1, 2, 3), (3,)),
    ],
)
def test_regions_are_those_of_the_releases(name, tc, wt, et):
    assert CONVENTIONS[name].regions == {"TC": tc, "WT": wt, "ET": et}


def test_binary_masks_know_the_whole_tumour_only():
    assert convention("binary_wt").as_dict() == {"values": [0, 1, 255], "regions": {"WT": [1, 255]}}


def test_an_unknown_convention_is_refused_with_those_that_exist():
    with pytest.raises(ValueError, match="there are brats2015, .*msd.*did you mean .*'brats2023'"):
        convention("brats2032")


@pytest.mark.parametrize(
    ("spelling", "name"),
    [("t1ce", "T1c"), ("T1-Gd", "T1c"), ("t1n", "T1"), ("T1w", "T1"), ("t2f", "FLAIR"), ("FLAIR", "FLAIR"),
     ("t2w", "T2"), ("fla", "FLAIR"), ("mri", "MRI")],
)  # fmt: skip
def test_channels_have_one_name_each(spelling, name):
    assert canonical_channel(spelling) == name


def test_an_unknown_channel_is_refused():
    with pytest.raises(ValueError, match="'adc' is no channel name"):
        canonical_channel("adc")


def test_foreign_values_name_the_conventions_that_would_fit():
    foreign, remedy = foreign_values([0, 1, 2, 4], "brats2023")
    assert foreign == [4]
    assert "brats2017_2021" in remedy and "brats2024" in remedy
    assert foreign_values([0, 1, 2, 3], "msd") == ([], "")


def test_values_of_no_convention_point_at_the_file():
    foreign, remedy = foreign_values([0, 17], "msd")
    assert foreign == [17]
    assert "not an image or probabilities" in remedy
