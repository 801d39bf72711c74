"""What of a case goes into a batch."""

from __future__ import annotations

import pytest

from transforms import PickCased


def test_only_named_keys_stay_and_absent_ones_get_their_default():
    pick = PickCased(["image", "tumour"], {"class_name": "", "source": "unknown"})
    given = {"image": 1, "tumour": 0, "class_name": None, "age": 60}
    assert pick(given) == {"image": 1, "tumour": 0, "class_name": "", "source": "unknown"}
    assert pick({**given, "class_name": "glioma"})["class_name"] == "glioma"
    assert given == {"image": 1, "tumour": 0, "class_name": None, "age": 60}


def test_an_absent_key_is_named():
    with pytest.raises(KeyError, match=r"must have \['tumour'\], it has \['image'\]; add them or give a default"):
        PickCased(["image", "tumour"])({"image": 1})


def test_none_does_not_pass():
    with pytest.raises(ValueError, match=r"\['tumour'\] must not be None.*give them a default"):
        PickCased(["tumour"])({"tumour": None})
    with pytest.raises(ValueError, match=r"defaults must not be None.*got \['a'\]"):
        PickCased(["tumour"], {"a": None})
