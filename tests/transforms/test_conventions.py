"""What several transforms share."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor

from transforms.conventions import check_probability, like


def test_an_output_keeps_affine_and_meta_of_a_meta_tensor_and_stays_plain_otherwise():
    source = MetaTensor(torch.zeros(1, 2, 2), affine=2 * torch.eye(4), meta={"filename_or_obj": "a.png"})
    out = like(torch.ones(1, 2, 2), source)
    assert torch.equal(out.affine, source.affine) and out.meta["filename_or_obj"] == "a.png"
    plain = torch.ones(1, 2, 2)
    assert like(plain, torch.zeros(1)) is plain


@pytest.mark.parametrize("prob", [-0.1, 1.1, float("nan")])
def test_what_is_no_probability_is_refused(prob):
    with pytest.raises(ValueError, match="prob must be between 0 and 1"):
        check_probability(prob)


@pytest.mark.parametrize("prob", [0, 0.5, 1])
def test_a_probability_is_taken(prob):
    check_probability(prob)
