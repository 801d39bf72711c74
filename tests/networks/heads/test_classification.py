"""Classification head."""

from __future__ import annotations

import pytest
import torch

from medvlm.networks.heads.classification import ClassificationHead

MAPS = [torch.arange(8.0).reshape(1, 2, 2, 2), torch.tensor([[[[1.0, 5.0]], [[-2.0, -4.0]], [[0.0, 3.0]]]])]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"scales": 1, "pooling": ("mean",)}, [3.0, -3.0, 1.5]),
        ({"scales": 1, "pooling": ("max",)}, [5.0, -2.0, 3.0]),
        ({"scales": 1}, [3.0, -3.0, 1.5, 5.0, -2.0, 3.0]),
        ({"scales": 2}, [1.5, 5.5, 3.0, 7.0, 3.0, -3.0, 1.5, 5.0, -2.0, 3.0]),
    ],
    ids=["mean", "max", "both", "two scales"],
)
def test_hand_pooled_features(settings, expected):
    head = ClassificationHead((2, 3), classes=2, **settings)
    assert head.pool(MAPS).tolist() == [expected]
    assert head.features == len(expected)
    assert head(MAPS).shape == (1, 2)


def test_volume_is_pooled_over_all_axes():
    head = ClassificationHead((2, 3), classes=4, scales=1)
    volume = torch.randn(2, 3, 2, 3, 4)
    torch.testing.assert_close(head.pool([volume, volume])[:, :3], volume.mean(dim=(2, 3, 4)))
    assert head([volume, volume]).shape == (2, 4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"scales": 3}, "scales must be 1 to 2"), ({"scales": 0}, "got 0"), ({"pooling": ("median",)}, "'median'"),
     ({"pooling": ()}, "takes 'mean', 'max' or both")],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ClassificationHead((2, 3), classes=2, **settings)
