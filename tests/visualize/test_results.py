"""The words and thresholds that the report reads from an evaluation."""

from __future__ import annotations

import pytest

from medvlm.visualize.results import operating_point_words

PICTURE = {"threshold": 0.39, "n": 360, "n_positive": 216}
VOLUME = {"threshold": 0.992, "n": 60, "n_positive": 36}
POINT = {
    "threshold": 0.573, "target_sensitivity": 0.95, "chosen_on": "validation", "n": 420, "n_positive": 252,
    "frozen": True,
}  # fmt: skip
OWN_PICTURE = "\N{GREATER-THAN OR EQUAL TO} 0.39 in pictures (n = 360, 216 with a tumour)"
OWN_VOLUME = "\N{GREATER-THAN OR EQUAL TO} 0.992 in volumes (n = 60, 36 with a tumour)"
COMMON = (
    "\N{GREATER-THAN OR EQUAL TO} 0.573 in {others}, which have none of their own (chosen on all inputs, n = 420, 252 "
    "with a tumour)"
).replace
END = "; chosen on validation for a sensitivity of at least 0.95; frozen in the bundle"


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (None, "\N{GREATER-THAN OR EQUAL TO} 0.573 (n = 420, 252 with a tumour)"),
        ({}, "\N{GREATER-THAN OR EQUAL TO} 0.573 (n = 420, 252 with a tumour)"),
        ({"picture": PICTURE, "volume": VOLUME}, f"{OWN_PICTURE}; {OWN_VOLUME}"),
        ({"picture": PICTURE}, f"{OWN_PICTURE}; {COMMON('{others}', 'volumes')}"),
        ({"volume": VOLUME}, f"{OWN_VOLUME}; {COMMON('{others}', 'pictures')}"),
        ({"volume": {"threshold": 0.992}, "picture": PICTURE}, f"{OWN_VOLUME.split(' (')[0]}; {OWN_PICTURE}"),
        ({"picture": PICTURE, "volume": {"threshold": 0.992, "n": 60}}, f"{OWN_PICTURE}; "
         + OWN_VOLUME.replace(", 36 with a tumour", "")),
    ],
    ids=["older", "no kind of its own", "both", "pictures only", "volumes only", "n not stated", "positives not"],
)  # fmt: skip
def test_every_kind_is_told_with_its_own_threshold_and_n(kinds, expected):
    point = POINT if kinds is None else POINT | {"kinds": kinds}
    assert operating_point_words({"operating_point": point}) == f"tumour probability {expected}{END}"


def test_a_default_threshold_names_no_cases():
    point = {"threshold": 0.5, "chosen_on": "default", "n": 0, "n_positive": 0, "frozen": False, "settings": None}
    words = operating_point_words({"operating_point": point})
    assert words.endswith("\N{GREATER-THAN OR EQUAL TO} 0.5, the default, which was not chosen on data; not frozen")
    assert operating_point_words({}) == "not stated"
