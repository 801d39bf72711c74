"""A report and the heads that contradict each other are told."""

from __future__ import annotations

import pytest

from medvlm.handlers.report_agreement import disagreements

NORMAL = "The left main is normal. The LAD is normal. The RCA is normal."
SEVERE = "Severe stenosis of the mid LAD. The RCA is normal."


def binary(verdict: str, probability: float) -> dict:
    return {"kind": "binary", "verdict": verdict, "probability": probability}


@pytest.mark.parametrize(
    ("report", "heads", "said"),
    [
        (NORMAL, {"stenosis": binary("negative", 0.1), "occlusion": binary("negative", 0.1)}, []),
        (SEVERE, {"stenosis": binary("positive", 0.9)}, []),
        ("Occlusion of the RCA.", {"stenosis": binary("positive", 0.9), "occlusion": binary("positive", 0.7)}, []),
        (
            NORMAL,
            {"stenosis": binary("positive", 0.44)},
            ["The finding stenosis is positive (0.44), but the report names no stenosis over 70%."],
        ),
        (
            SEVERE,
            {"stenosis": binary("negative", 0.2), "occlusion": binary("positive", 0.8)},
            [
                "The finding stenosis is negative (0.20), but the report names a stenosis over 70%.",
                "The finding occlusion is positive (0.80), but the report names no occlusion.",
            ],
        ),
        ("Moderate stenosis of the LAD.", {"stenosis": binary("negative", 0.2)}, []),
        (None, {"stenosis": binary("positive", 0.9)}, []),
        ("", {"stenosis": binary("positive", 0.9)}, []),
        (NORMAL, {"stenosis": {"kind": "regression", "value": 90.0}, "other": binary("positive", 0.9)}, []),
    ],
)
def test_contradictions_are_told_and_nothing_else(report, heads, said):
    assert disagreements(report, heads) == said
