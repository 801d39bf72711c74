"""Perceptual duplicates."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageOps

from medvlm.data.duplicates import groups_from_links, head_crop, near_duplicates, picture_hashes


@pytest.fixture
def head(make, tmp_path):
    """A smooth picture inside a black margin."""
    path = make.picture(tmp_path / "head.png", size=(160, 150))
    ImageOps.expand(Image.open(path), border=20).save(path)
    return path


def _scaled(image):
    return image.resize((97, 130))


def _cropped(image):
    return image.crop((12, 15, 195, 185))


def _framed(image):
    return ImageOps.expand(image, border=(60, 5, 10, 40))


def _dimmed(image):
    return image.point(lambda v: int(v * 0.7))


def _coloured(image):
    return image.convert("RGB")


@pytest.mark.parametrize("change", [_scaled, _cropped, _framed, _dimmed, _coloured])
def test_a_changed_copy_is_found(head, tmp_path, change):
    change(Image.open(head)).save(tmp_path / "copy.jpg", quality=70)
    pairs = near_duplicates([picture_hashes(head), picture_hashes(tmp_path / "copy.jpg")])
    assert [pair[:2] for pair in pairs] == [(0, 1)]


def test_different_pictures_are_no_duplicates(make, tmp_path):
    hashes = [picture_hashes(make.picture(tmp_path / f"{i}.png")) for i in range(30)]
    assert near_duplicates(hashes) == []


def test_pairs_agree_with_a_plain_count_of_bits():
    rng = np.random.default_rng(0)
    hashes = [rng.random((2, 256)) < 0.5 for _ in range(20)]
    hashes[7] = hashes[3].copy()
    hashes[7][:, :30] ^= True
    hashes[12] = None
    hashes[15] = np.stack([hashes[4][0], rng.random(256) < 0.5])  # alike as a whole only
    assert near_duplicates(hashes, 36) == [(3, 7, 30), (4, 15, 0)]
    assert near_duplicates(hashes, 29) == [(4, 15, 0)]


def test_a_constant_picture_resembles_nothing(tmp_path):
    Image.new("L", (40, 40), 7).save(tmp_path / "a.png")
    assert picture_hashes(tmp_path / "a.png") is None
    assert near_duplicates([None, None]) == []


def test_the_head_crop_cuts_dark_margins():
    grey = np.zeros((60, 80), np.uint8)
    grey[10:50, 20:70] = 200
    assert head_crop(grey).shape == (40, 50)
    assert head_crop(np.zeros((5, 5), np.uint8)).shape == (5, 5)


def test_links_join_into_components():
    assert groups_from_links(6, [(4, 5), (1, 4), (0, 2)]) == [0, 1, 0, 3, 1, 1]
