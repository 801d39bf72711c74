"""Label values to regions and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from transforms import (
    LabelsToRegions,
    LabelsToRegionsd,
    NestRegions,
    NestRegionsd,
    RegionsToLabels,
    RegionsToLabelsd,
)

CONVENTIONS = {
    "brats2015": {"TC": [1, 3, 4], "WT": [1, 2, 3, 4], "ET": [4]},
    "brats2017_2021": {"TC": [1, 4], "WT": [1, 2, 4], "ET": [4]},
    "brats2023": {"TC": [1, 3], "WT": [1, 2, 3], "ET": [3]},
    "msd": {"TC": [2, 3], "WT": [1, 2, 3], "ET": [3]},
}
REGIONS = ["TC", "WT", "ET"]


def label(values: list[int]) -> MetaTensor:
    flat = torch.tensor([0, *values, 0, *values], dtype=torch.uint8)
    return MetaTensor(flat.reshape(1, 2, -1, 1).repeat(1, 1, 1, 3), affine=torch.diag(torch.tensor([2.0, 3, 4, 1])))


@pytest.mark.parametrize("name", CONVENTIONS)
def test_each_convention_is_read_by_its_own_values(name):
    values = CONVENTIONS[name]
    source = label(values["WT"])
    out = LabelsToRegionsd(regions=REGIONS)({"label": source, "regions": values, "convention": name})["label"]
    assert out.dtype == torch.uint8 and out.shape == (3, *source.shape[1:])
    for channel, region in zip(out, REGIONS, strict=True):
        np.testing.assert_array_equal(channel.numpy(), np.isin(source[0].numpy(), values[region]))
    torch.testing.assert_close(out.affine, source.affine)


def test_the_same_values_differ_between_conventions():
    read = {name: LabelsToRegions(["TC"])(label([1, 2, 3]), CONVENTIONS[name]) for name in ("brats2023", "msd")}
    assert read["brats2023"][0, 0, :, 0].tolist() == [0, 1, 0, 1]
    assert read["msd"][0, 0, :, 0].tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("name", CONVENTIONS)
def test_regions_are_nested(name):
    tc, wt, et = LabelsToRegions(REGIONS)(label(CONVENTIONS[name]["WT"]), CONVENTIONS[name])
    assert (et <= tc).all() and (tc <= wt).all() and et.any() and (tc != et).any() and (wt != tc).any()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"TC": [1, 2, 4], "WT": [1, 4], "ET": [4]}, r"TC must be a part of WT, but values \[2\].*swapped"),
        ({"TC": [1], "WT": [1, 2, 4], "ET": [4]}, r"ET must be a part of TC, but values \[4\].*swapped"),
        ({"TC": [1], "WT": [1, 2, 4]}, r"regions \['ET'\] are not defined.*has \['TC', 'WT'\]; train with"),
    ],
    ids=["TC and WT swapped", "ET outside", "no ET"],
)
def test_impossible_regions_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        LabelsToRegions(REGIONS)(label([1, 2, 4]), values)


def test_values_outside_the_convention_name_the_case():
    case = {"label": label([1, 2, 4]), "regions": CONVENTIONS["msd"], "convention": "msd", "case_id": "BRATS_7"}
    with pytest.raises(ValueError, match=r"BRATS_7: label values must be among \[0, 1, 2, 3\], found \[4\]; is"):
        LabelsToRegionsd(regions=REGIONS)(case)


def test_the_resection_cavity_of_2024_is_legal_and_in_no_region():
    case = {"label": label([1, 4]), "regions": CONVENTIONS["brats2023"], "convention": "brats2024"}
    out = LabelsToRegionsd(regions=["WT"])(case)["label"]
    assert out[0, 0, :, 0].tolist() == [0, 1, 0]
    with pytest.raises(ValueError, match=r"found \[4\]"):
        LabelsToRegionsd(regions=["WT"], extra_values={})(case)


def test_binary_masks_of_0_and_255_are_whole_tumour():
    assert LabelsToRegions(["WT"])(label([255]), {"WT": [1, 255]}).unique().tolist() == [0, 1]


def test_an_unknown_mask_gives_zeros_and_the_case_collates():
    out = LabelsToRegionsd(regions=REGIONS)({"label": label([0]), "regions": {}, "keep": 1})
    assert out["label"].shape == (3, 2, 2, 3) and not out["label"].any()
    assert set(out) == {"label", "keep"}


def test_a_mask_without_convention_is_refused():
    with pytest.raises(ValueError, match=r"must come with its convention, got regions \{\}; prepare"):
        LabelsToRegionsd()({"label": label([1]), "regions": {}})


def test_only_labels_drawn_in_monai_label_may_state_nothing(tmp_path):
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "datastore_v2.json").write_text("{}", encoding="utf-8")
    convert = LabelsToRegionsd(drawn={"WT": [1]})

    def case(values, folder, **more):
        mask = MetaTensor(label(values))
        mask.meta["filename_or_obj"] = str(tmp_path / folder / "labels" / "final" / "a.nii.gz")
        return {"label": mask, **more}

    assert convert(case([1], "studies"))["label"].unique().tolist() == [0, 1]
    with pytest.raises(ValueError, match=r"among \[0, 2\], found \[1\]"):
        convert(case([1, 2], "studies", regions={"WT": [2]}))
    with pytest.raises(ValueError, match=r"among \[0, 1\], found \[4\]"):
        convert(case([1, 4], "studies"))
    for other in (case([1], "elsewhere"), {"label": label([1])}):
        with pytest.raises(ValueError, match="must come with its convention"):
            convert(other)


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("brats2017_2021", {"WT": 2, "TC": 1, "ET": 4}),
        ("brats2023", {"WT": 2, "TC": 1, "ET": 3}),
        ("msd", {"WT": 1, "TC": 2, "ET": 3}),
    ],
)
def test_there_and_back_gives_the_label(name, written):
    source = label(CONVENTIONS[name]["WT"])
    masks = LabelsToRegions(REGIONS)(source, CONVENTIONS[name])
    back = RegionsToLabelsd("label", REGIONS, written)({"label": masks, "other": 3})
    torch.testing.assert_close(back["label"].as_tensor(), source.as_tensor())
    torch.testing.assert_close(back["label"].affine, source.affine)
    assert back["other"] == 3


def test_probabilities_are_cut_at_the_threshold_and_the_smaller_region_wins():
    masks = torch.tensor([[0.6, 0.6, 0.2, 0.2], [0.9, 0.9, 0.8, 0.5], [0.7, 0.1, 0.1, 0.1]])[:, None, :]
    assert RegionsToLabels(REGIONS, {"WT": 2, "TC": 1, "ET": 4})(masks).flatten().tolist() == [4, 1, 2, 0]


@pytest.mark.parametrize(
    ("regions", "values", "message"),
    [
        (["WT", "XX"], {"WT": 1, "XX": 2}, r"regions must be among .*got regions \['WT', 'XX'\]"),
        (["WT", "TC"], {"WT": 1}, r"each must have a value"),
        (["WT"], {"WT": 0}, r"values must be 1 to 255.*\{'WT': 0\}"),
    ],
)
def test_bad_output_values_are_refused_at_construction(regions, values, message):
    with pytest.raises(ValueError, match=message):
        RegionsToLabels(regions, values)


def test_the_number_of_channels_is_checked():
    with pytest.raises(ValueError, match=r"one channel a region.*got shape \(2, 4, 4\)"):
        RegionsToLabels(["WT"], {"WT": 1})(torch.zeros(2, 4, 4))


def test_nested_regions_are_those_of_the_label_map():
    regions, values = ["TC", "WT", "ET"], {"WT": 2, "TC": 1, "ET": 4}
    masks = torch.rand(3, 6, 6, 4, generator=torch.Generator().manual_seed(0))
    nested = NestRegions(regions)(masks)
    labels = RegionsToLabels(regions, values)(masks)
    assert torch.equal(RegionsToLabels(regions, values)(nested), labels)
    read = LabelsToRegions(regions)(labels, {"WT": [1, 2, 4], "TC": [1, 4], "ET": [4]})
    assert torch.equal((nested > 0.5).to(torch.uint8), read)
    assert not torch.equal((masks > 0.5).to(torch.uint8), read)


def test_nesting_leaves_what_is_nested_and_single_regions_alone():
    masks = torch.rand(1, 4, 4, 2)
    assert NestRegions(["WT"])(masks) is masks
    nested = MetaTensor(torch.tensor([0.9, 0.6]).reshape(2, 1, 1, 1), affine=2 * torch.eye(4))
    out = NestRegionsd("pred", ["WT", "TC"])({"pred": nested})["pred"]
    assert torch.equal(out, nested) and torch.equal(out.affine, nested.affine)
    with pytest.raises(ValueError, match="one channel a region"):
        NestRegions(["WT", "TC"])(masks)
