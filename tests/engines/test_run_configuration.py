"""What decides the weights of a run, to compare two runs by."""

from __future__ import annotations

import pytest
from monai.bundle import ConfigParser

from medvlm.engines.run_configuration import run_configuration
from medvlm.trained_settings import configurations_apart

CONFIG = {
    "imports": ["$import medvlm", "$import medvlm.engines.run_configuration"],
    "datalist": "datalist.json",
    "ckpt_dir": "here",
    "seed": 0,
    "channels": ["FLAIR", "T1"],
    "train": {"handlers": [{"_target_": "builtins.dict", "every": 2}], "rates": {}},
    "found": "$medvlm.engines.run_configuration.run_configuration([@datalist, None])",
}


def found(**overrides) -> dict[str, str]:
    parser = ConfigParser(CONFIG | overrides)
    parser.get_parsed_content("imports")
    return parser.get_parsed_content("found")


def test_nested_values_are_named_by_their_id(tmp_path):
    names = found()
    assert names["seed"] == "0" and names["channels"] == '["FLAIR", "T1"]'
    assert names["train::handlers::0::every"] == "2" and names["train::rates"] == "{}"
    assert names["contents of datalist.json"] == "absent" and names["processes"] == "1"


def test_where_files_lie_and_what_is_shown_does_not_count(tmp_path):
    assert found(ckpt_dir="there", progress=False, _note="x") == found()


def test_a_datalist_counts_by_its_contents(tmp_path):
    first, second = tmp_path / "a" / "datalist.json", tmp_path / "b" / "datalist.json"
    for file in (first, second):
        file.parent.mkdir()
        file.write_text("{}", encoding="utf-8")
    one = found(datalist=str(first))
    assert one == found(datalist=str(second))
    second.write_text('{"training": []}', encoding="utf-8")
    assert "contents of datalist.json" in configurations_apart(one, found(datalist=str(second)))


def test_a_difference_is_named_with_both_values():
    assert configurations_apart(found(), found(seed=1)) == "seed 0 then, 1 now"
    assert configurations_apart(found(), found(extra=[1])) == "extra absent then, [1] now"
    many = configurations_apart({str(n): "0" for n in range(20)}, {})
    assert many.endswith("and 12 more")


def test_outside_of_a_config_it_says_so():
    with pytest.raises(RuntimeError, match="use it in one"):
        run_configuration()
