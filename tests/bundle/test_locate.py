"""Bundles are found by path and by name, in the documented order."""

from __future__ import annotations

import os

import pytest

from medvlm.bundle.locate import available_bundles, find_bundle, search_folders


def make(folder, name="toy"):
    (folder / name / "configs").mkdir(parents=True)
    (folder / name / "configs" / "metadata.json").write_text("{}", encoding="utf-8")
    return folder / name


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A working directory, a cache and no extra folders, so that only the checkout's own bundles are known."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("MEDVLM_BUNDLES", raising=False)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


def test_finds_by_path_from_anywhere(elsewhere):
    bundle = make(elsewhere / "some where", "höhe")
    assert find_bundle(bundle) == bundle
    assert find_bundle("../some where/höhe") == bundle


@pytest.mark.parametrize("place", ["work/bundles", "cache/medvlm/bundles", "listed"])
def test_finds_by_name_in_each_place(elsewhere, monkeypatch, place):
    bundle = make(elsewhere / place)
    monkeypatch.setenv("MEDVLM_BUNDLES", os.pathsep.join([str(elsewhere / "none"), str(elsewhere / "listed")]))
    assert find_bundle("toy") == bundle


def test_earlier_places_win(elsewhere, monkeypatch):
    first, listed, _ = (make(elsewhere / place) for place in ("work/bundles", "listed", "cache/medvlm/bundles"))
    monkeypatch.setenv("MEDVLM_BUNDLES", str(elsewhere / "listed"))
    assert find_bundle("toy") == first
    (first / "configs" / "metadata.json").unlink()
    assert find_bundle("toy") == listed


def test_home_cache_is_used_without_xdg(elsewhere, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(elsewhere / "home"))
    assert elsewhere / "home" / ".cache" / "medvlm" / "bundles" in search_folders()


def test_the_checkouts_bundles_are_known_everywhere(elsewhere):
    assert "brats_mri_multitask" in available_bundles()


def test_unknown_name_lists_places_and_near_names(elsewhere):
    make(elsewhere / "work" / "bundles", "brats_toy")
    with pytest.raises(FileNotFoundError, match="no bundle 'brats_toi'; did you mean 'brats_toy'") as caught:
        find_bundle("brats_toi")
    assert str(elsewhere / "work" / "bundles") in str(caught.value)
    assert str(elsewhere / "cache" / "medvlm" / "bundles") in str(caught.value)
    assert "MEDVLM_BUNDLES" in str(caught.value)


def test_a_folder_that_is_no_bundle_says_what_it_lacks(elsewhere):
    (elsewhere / "work" / "half").mkdir()
    with pytest.raises(FileNotFoundError, match="half is no bundle: .*metadata.json is missing"):
        find_bundle("half")
