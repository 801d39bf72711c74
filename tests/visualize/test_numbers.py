from __future__ import annotations

import pytest

from medvlm.visualize.numbers import as_estimate, as_number, difference, p_value, quantity, rate, with_interval


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.8734, "0.87"),
        (1, "1.00"),
        (0.997, "0.997"),
        (0.99996, ">0.999"),
        (0.0, "0.00"),
        (0.0004, "<0.001"),
        (-0.031, "\N{MINUS SIGN}0.03"),
        (None, "not available"),
        (float("nan"), "not available"),
        ("", "not available"),
    ],
)
def test_rates_have_two_decimals_and_never_round_up_to_one(value, expected):
    assert rate(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (374.0, "374"),
        (12.3456, "12.3"),
        (0.04567, "0.0457"),
        (0, "0"),
        (-3.14159, "\N{MINUS SIGN}3.14"),
        ("x", "not available"),
    ],
)
def test_quantities_have_three_significant_digits(value, expected):
    assert quantity(value) == expected


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"value": 0.87, "ci": [0.834, 0.913]}, "0.87 (0.83\N{EN DASH}0.91)"),
        ({"value": 0.94, "ci": [0.86, 0.998]}, "0.94 (0.86\N{EN DASH}1.00)"),
        ({"value": -0.02, "ci": [-0.05, 0.01]}, "\N{MINUS SIGN}0.02 (\N{MINUS SIGN}0.05 to 0.01)"),
        ({"value": 0.5, "ci": None}, "0.50"),
        ({"value": 0.5, "ci": [None, 0.7]}, "0.50"),
        ({"value": None, "ci": [0, 1]}, "not available"),
        (0.25, "0.25"),
        (None, "not available"),
        ("nonsense", "not available"),
    ],
)
def test_an_interval_is_written_only_where_both_ends_are_known(entry, expected):
    assert with_interval(entry) == expected


def test_text_from_a_csv_is_read_as_numbers():
    assert as_number("0.5") == 0.5
    assert as_number("") is None
    assert as_number([1]) is None
    assert as_estimate({"value": "0.5", "ci": ["0.1", "0.9"]}) == (0.5, 0.1, 0.9)


def test_p_values_and_differences():
    assert [p_value(p) for p in (0.00001, 0.034, 0.21, None)] == ["<0.001", "0.034", "0.21", "not available"]
    assert [difference(d) for d in (0.0123, -0.5, 0.0001)] == ["+0.012", "\N{MINUS SIGN}0.500", "0.000"]
