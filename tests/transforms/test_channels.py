"""Channels by name, and modality dropout."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from transforms import RandChanneld, RandModalityDropout, RandModalityDropoutd, SelectChannels, SelectChannelsd

ALL = ["FLAIR", "T1", "T1c", "T2"]


def image(count: int) -> MetaTensor:
    values = torch.arange(1.0, count + 1).reshape(-1, 1, 1, 1).expand(-1, 4, 4, 2)
    return MetaTensor(values.clone(), affine=torch.diag(torch.tensor([2.0, 2, 3, 1])))


@pytest.mark.parametrize(
    ("names", "wanted", "values", "present"),
    [
        (ALL, ["FLAIR"], [1], [1]),
        (["T1c", "T1", "T2", "FLAIR"], ALL, [4, 2, 1, 3], [1, 1, 1, 1]),
        (ALL, ["T2", "T1"], [4, 2], [1, 1]),
        (["MRI"], ["FLAIR"], [1], [1]),
        (["T1"], ["T1"], [1], [1]),
    ],
    ids=["one", "another order", "two", "unnamed", "same"],
)
def test_channels_are_taken_by_name(names, wanted, values, present):
    d = SelectChannelsd(channels=wanted)({"image": image(len(names)), "channels": names, "case_id": "a"})
    assert d["image"][:, 0, 0, 0].tolist() == values
    assert d["channels_present"].tolist() == present and d["channels_present"].dtype == torch.float32
    assert "channels" not in d and d["case_id"] == "a"
    torch.testing.assert_close(d["image"].affine, image(1).affine)


def test_a_missing_channel_is_zero_where_that_is_allowed():
    d = SelectChannelsd(channels=ALL, allow_missing=True)({"image": image(2), "channels": ["T2", "FLAIR"]})
    assert d["image"][:, 0, 0, 0].tolist() == [2, 0, 0, 1]
    assert d["channels_present"].tolist() == [1, 0, 0, 1]


@pytest.mark.parametrize(
    ("names", "settings", "message"),
    [
        (["T1", "T2"], {}, r"case_9: channels \['FLAIR'\] are missing, the case has \['T1', 'T2'\]; add the files"),
        (["MRI"], {"accept_unnamed": False}, r"channels \['FLAIR'\] are missing, the case has \['MRI'\]"),
        (["MRI"], {"channels": ["FLAIR", "T1"], "allow_missing": True}, r"channels \['FLAIR', 'T1'\] are missing"),
        (["T1"], {"allow_missing": True}, r"channels \['FLAIR'\] are missing"),
        (["FLAIR", "FLAIR"], {}, r"each channel must have its own name, got .*correct its"),
    ],
    ids=["missing", "unnamed refused", "unnamed for two", "all missing", "double"],
)
def test_a_missing_channel_is_named_with_what_there_is(names, settings, message):
    case = {"image": image(len(names)), "channels": names, "case_id": "case_9"}
    with pytest.raises(ValueError, match=message):
        SelectChannelsd(**settings)(case)


def test_names_and_channels_must_match_in_number():
    with pytest.raises(ValueError, match=r'got 4 channels and 1 names \[.FLAIR.\]; give "channels" in file order'):
        SelectChannels(["FLAIR"])(image(4), ["FLAIR"])


@pytest.mark.parametrize("channels", ["FLAIR", [], ["T1", "T1"]])
def test_bad_channel_lists_are_refused(channels):
    with pytest.raises(ValueError, match="list of distinct names"):
        SelectChannels(channels)


def test_dropout_keeps_enough_and_says_which_are_left():
    drop = RandModalityDropoutd(prob=1.0, min_kept=2).set_random_state(0)
    counts = set()
    for _ in range(50):
        d = drop({"image": image(4), "channels_present": torch.ones(4)})
        kept = (d["image"] != 0).flatten(1).all(1)
        assert kept.float().tolist() == d["channels_present"].tolist()
        torch.testing.assert_close(d["image"][kept].as_tensor(), image(4)[kept].as_tensor())
        counts.add(int(kept.sum()))
    assert counts == {2, 3}


def test_absent_channels_do_not_count_as_kept():
    drop = RandModalityDropoutd(prob=1.0).set_random_state(0)
    for _ in range(30):
        present = torch.tensor([1.0, 0.0, 1.0, 0.0])
        d = drop({"image": image(4) * present.reshape(-1, 1, 1, 1), "channels_present": present})
        assert d["channels_present"].sum() == 1 and d["image"].any()
        assert present.tolist() == [1, 0, 1, 0]


@pytest.mark.parametrize(("prob", "channels"), [(0.0, 4), (1.0, 1)], ids=["never", "one channel"])
def test_dropout_leaves_the_image_alone(prob, channels):
    d = RandModalityDropoutd(prob=prob)({"image": image(channels)})
    torch.testing.assert_close(d["image"].as_tensor(), image(channels).as_tensor())
    assert d["channels_present"].tolist() == [1] * channels


def test_dropout_happens_as_often_as_asked_and_repeats_by_its_seed():
    runs = []
    for _ in range(2):
        drop = RandModalityDropout(prob=0.3).set_random_state(7)
        runs.append([bool((drop(image(4)) == 0).any()) for _ in range(400)])
    assert runs[0] == runs[1]
    assert 0.2 < np.mean(runs[0]) < 0.4


@pytest.mark.parametrize(
    ("settings", "message"), [({"prob": 2}, r"prob .*got 2"), ({"min_kept": 0}, r"min_kept .*got 0")]
)
def test_bad_dropout_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        RandModalityDropout(**settings)


def test_a_one_channel_network_sees_the_other_channels_too():
    image = torch.stack([torch.full((3, 3, 2), float(value)) for value in range(4)])
    case = {"image": image, "channels": ["T1", "FLAIR", "T2", "T1c"]}
    never = RandChanneld("image", ["FLAIR"], prob=0.0)(case)
    assert never["image"].unique().tolist() == [1.0] and "channels" not in never
    assert never["channels_present"].tolist() == [1.0]
    always = RandChanneld("image", ["FLAIR"], prob=1.0).set_random_state(0)
    assert {float(always(case)["image"][0, 0, 0, 0]) for _ in range(40)} == {0.0, 2.0, 3.0}


def test_a_case_without_the_wanted_channel_shows_what_it_has():
    unnamed = RandChanneld("image", ["FLAIR"], prob=0.0)({"image": torch.ones(1, 3, 3, 1), "channels": ["MRI"]})
    assert unnamed["image"].shape == (1, 3, 3, 1)
    with pytest.raises(ValueError, match="image: each channel must have a name, got 2 channels and 1 names"):
        RandChanneld("image", ["FLAIR"])({"image": torch.ones(2, 3, 3, 1), "channels": ["MRI"]})


def test_several_wanted_channels_are_selected_in_their_order():
    image = torch.stack([torch.full((3, 3, 2), float(value)) for value in range(2)])
    out = RandChanneld("image", ["T1c", "FLAIR"], prob=1.0)({"image": image, "channels": ["FLAIR", "T1c"]})
    assert out["image"][:, 0, 0, 0].tolist() == [1.0, 0.0]


def test_a_missing_channel_is_named_with_its_file():
    scan = MetaTensor(torch.ones(1, 3, 3, 1), meta={"filename_or_obj": "scans/t2.nii.gz"})
    with pytest.raises(ValueError, match=r"p1 \(scans/t2.nii.gz\): channels \['FLAIR'\] are missing"):
        SelectChannelsd("image", ["FLAIR"])({"image": scan, "channels": ["T2"], "case_id": "p1"})
