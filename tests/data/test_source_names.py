"""A setting for some sources is warned of where none of them is there."""

from __future__ import annotations

import pytest

from medvlm.data.source_names import expect_sources

CASES = [{"source": "MyHospital"}, {"source": "UPenn"}, {}]


def test_a_setting_for_sources_that_are_not_there_is_warned_of_once(caplog):
    expect_sources(CASES, ["brats", "msd"], 0.25)
    (told,) = caplog.messages
    assert "whole_heads 0.25 has no effect" in told and "MyHospital, UPenn" in told and "['brats', 'msd']" in told


@pytest.mark.parametrize(
    ("beginnings", "share"), [(["brats", "UPENN"], 0.25), (None, 0.25), (["brats"], 0.0)], ids=["one", "all", "off"]
)
def test_nothing_is_said_where_the_setting_has_an_effect_or_is_off(caplog, beginnings, share):
    expect_sources(CASES, beginnings, share)
    assert not caplog.messages
