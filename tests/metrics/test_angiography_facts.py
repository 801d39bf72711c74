from __future__ import annotations

import pytest

from medvlm.metrics.angiography_facts import Fact, derived, extract_facts, fact_set
from medvlm.metrics.angiography_places import find_places
from medvlm.metrics.angiography_sentences import coronary_sentences


def said(report: str) -> set[str]:
    """Facts as short words: ``proximal_lad severe``, ``LAD none``, ``mid_rca calcified``, ``dominance right``."""
    words = set()
    for kind, place, value in fact_set(extract_facts(report)):
        if kind == "calcification":
            words.add(f"{place} {'calcified' if value == 'yes' else 'not_calcified'}")
        else:
            words.add(f"{'dominance' if kind == 'dominance' else place} {value}")
    return words


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        # grades
        ("There is a 40% stenosis of the mid LAD.", {"mid_lad mild"}),
        ("The mid LAD has a 70% stenosis.", {"mid_lad moderate"}),
        ("The mid LAD has a 71% stenosis.", {"mid_lad severe"}),
        ("70-80% stenosis in the proximal circumflex.", {"proximal_lcx severe"}),
        ("60% to 70% mid left anterior descending stenosis.", {"mid_lad moderate"}),
        ("The distal RCA is narrowed by 30 to 40 percent.", {"distal_rca mild"}),
        ("Less than 30% narrowing of the left main.", {"left_main mild"}),
        ("Greater than 90% ostial stenosis of the LCX.", {"proximal_lcx severe"}),
        ("Mild to moderate disease of the RCA.", {"RCA moderate"}),
        ("The ramus has mild luminal irregularities.", {"ramus mild"}),
        ("The D1 is subtotally occluded.", {"diagonal_1 severe"}),
        ("Diffusely diseased distal LAD.", {"distal_lad unspecified"}),
        # a percentage says more than a word
        ("Severe stenosis of 60% in the OM1.", {"marginal_1 moderate"}),
        # the worst lesion counts
        ("Mid RCA: 30% stenosis. There is a 90% stenosis of the mid RCA.", {"mid_rca severe"}),
        # occlusion
        ("Chronic total occlusion of the proximal RCA.", {"proximal_rca occluded"}),
        ("The mid LAD is 100% occluded.", {"mid_lad occluded"}),
        ("There is a CTO of the second obtuse marginal.", {"marginal_2 occluded"}),
        ("No occlusion is seen in the RCA.", {"RCA none"}),
        # negation
        ("No significant disease in the LAD.", {"LAD none"}),
        ("The LAD and RCA are free of disease.", {"LAD none", "RCA none"}),
        ("The LM, LAD, and circumflex are without stenosis.", {"left_main none", "LAD none", "LCX none"}),
        ("No stenosis greater than 50% in the RCA.", {"RCA none"}),
        ("The left main is angiographically normal, the LAD is unremarkable.", {"left_main none", "LAD none"}),
        ("The RCA is patent without calcification.", {"RCA none", "RCA not_calcified"}),
        ("The RCA is not occluded.", {"RCA none"}),
        ("No severe stenosis of the RCA.", set()),
        ("The LAD has no stenosis but the first diagonal has a 60% lesion.", {"LAD none", "diagonal_1 moderate"}),
        ("No calcification, but a severe stenosis in the mid RCA.", {"mid_rca severe"}),
        ("Left main: no disease other than calcification.", {"left_main none", "left_main calcified"}),
        ("Normal coronary arteries.", {"left_main none", "LAD none", "LCX none", "RCA none"}),
        ("No coronary artery disease.", {"left_main none", "LAD none", "LCX none", "RCA none"}),
        # several findings in a sentence
        ("The proximal LAD 70%, the mid RCA 90% stenosis.", {"proximal_lad moderate", "mid_rca severe"}),
        ("A 60% lesion of the mid LAD and a 90% lesion of the D2.", {"mid_lad moderate", "diagonal_2 severe"}),
        ("A 60% proximal lesion and a 90% mid lesion of the RCA.", {"mid_rca severe", "proximal_rca moderate"}),
        ("90% circumflex lesion and 90% right coronary artery lesion.", {"LCX severe", "RCA severe"}),
        ("50% stenosis in the proximal and mid LAD.", {"proximal_lad moderate", "mid_lad moderate"}),
        ("The first and second diagonals have 80% stenoses.", {"diagonal_1 severe", "diagonal_2 severe"}),
        # the place of the sentence before, and headings
        ("The LAD is large. There is an 80% stenosis in its mid portion.", {"mid_lad severe"}),
        ("RIGHT CORONARY ARTERY: Large vessel. A 90% stenosis is present distally.", {"distal_rca severe"}),
        ("Circumflex: A 35% lesion is seen in the first marginal.", {"marginal_1 mild"}),
        # landmarks are not places of disease
        ("The mid LAD has a 90% stenosis just before the takeoff of the second diagonal.", {"mid_lad severe"}),
        ("The RCA gives rise to the PDA and has a 50% stenosis.", {"RCA moderate"}),
        ("A 25% narrowing at the origin of the posterior descending.", {"rca_pda mild"}),
        # vessel statements give way to their segments
        ("Severe LAD disease. 90% stenosis of the proximal LAD.", {"proximal_lad severe"}),
        ("40% stenosis of the mid RCA. The rest of the RCA is free of disease.", {"mid_rca mild"}),
        ("60% in the mid LAD stenosis. IMPRESSION: Severe mid LAD stenosis.", {"mid_lad moderate"}),
        # exceptions
        (
            "All vessels are normal except for 80% mid RCA.",
            {"left_main none", "LAD none", "LCX none", "mid_rca severe"},
        ),
        (
            "The coronary arteries are normal apart from a 90% proximal LAD stenosis.",
            {"left_main none", "LCX none", "RCA none", "proximal_lad severe"},
        ),
        ("Except for the RCA, all vessels are normal.", {"left_main none", "LAD none", "LCX none"}),
        ("The RCA is normal except for a 30% mid stenosis.", {"mid_rca mild"}),
        ("The LAD is normal with the exception of a 40% lesion in the D1.", {"LAD none", "diagonal_1 mild"}),
        # each place its own finding
        ("LAD 80% RCA 50%", {"LAD severe", "RCA moderate"}),
        ("OM1 90% OM2 70%", {"marginal_1 severe", "marginal_2 moderate"}),
        ("LAD: 80% LCX: normal RCA: 50%", {"LAD severe", "LCX none", "RCA moderate"}),
        ("80% LCX 50% RCA", {"LCX severe", "RCA moderate"}),
        (
            "The LAD, LCX and RCA show 30%, 50% and 90% stenoses respectively.",
            {"LAD mild", "LCX moderate", "RCA severe"},
        ),
        ("The LAD and RCA show 30 and 90% stenoses, respectively.", {"LAD mild", "RCA severe"}),
        ("40% and 80% stenoses in the proximal and mid LAD, respectively.", {"proximal_lad mild", "mid_lad severe"}),
        ("The LAD and RCA have mild and severe disease, respectively.", set()),
        ("Neither the LAD nor the RCA has stenosis.", {"LAD none", "RCA none"}),
        # collaterals, and where they come from, are no finding
        ("The RCA is occluded proximally with collaterals from the left.", {"proximal_rca occluded"}),
        ("CTO of the RCA, collaterals from the LAD.", {"RCA occluded"}),
        ("CTO of the RCA and LAD with collaterals from the LCX.", {"RCA occluded", "LAD occluded"}),
        ("The LAD is totally occluded and fills by collaterals from the RCA.", {"LAD occluded"}),
        ("The RCA, which fills by collaterals from the LAD, is occluded.", {"RCA occluded"}),
        (
            "The RCA is occluded with collaterals from the LAD and the circumflex has a 50% stenosis.",
            {"RCA occluded", "LCX moderate"},
        ),
        # before treatment
        ("A 90% LAD lesion was stented.", {"LAD severe"}),
        ("There is a 90% stenosis in the LAD in its mid segment, which was stented.", {"mid_lad severe"}),
        ("The 90% LAD lesion was stented in 2010.", set()),
        ("A stent was placed in the LAD with 0% residual stenosis.", set()),
        ("The stent in the LAD is patent.", {"LAD none"}),
        ("The previously stented LAD is patent.", set()),
        # questions, doubts, relatives
        ("Rule out LAD stenosis.", set()),
        ("Possible stenosis of the mid RCA.", set()),
        ("A stenosis of the mid RCA cannot be excluded.", set()),
        ("The LAD is normal, but a stenosis of the mid RCA cannot be excluded.", {"LAD none"}),
        ("A 90% LAD lesion with possible thrombus.", {"LAD severe"}),
        ("No suspicious lesion in the LAD.", {"LAD none"}),
        ("The patient's father had LAD occlusion.", set()),
        # not the coronary arteries
        ("Severe aortic stenosis. Ejection fraction 55%. Severe mitral regurgitation.", set()),
        ("The saphenous vein graft to the RCA is occluded.", set()),
        ("The femoral artery was free of disease.", set()),
        ("INDICATION: Known 90% LAD stenosis. FINDINGS: The LAD is normal.", {"LAD none"}),
        ("A balloon was inflated in the 90% mid LAD stenosis.", set()),
        ("Late contralateral collateral filling beyond the occlusion.", set()),
        ("Severe three-vessel coronary artery disease.", set()),
        ("The RCA is normal. Obstructive single-vessel disease.", {"RCA none"}),
        ("", set()),
    ],
)  # fmt: skip
def test_a_sentence_is_read(report, expected):
    assert said(report) == expected


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        ("Right dominant circulation.", "right"),
        ("Left-dominant system.", "left"),
        ("Dominance: left.", "left"),
        ("Codominant circulation.", "codominant"),
        ("Balanced circulation.", "codominant"),
        ("The RCA is a large, dominant vessel.", "right"),
        ("Right coronary artery: Dominant.", "right"),
        ("The circumflex is dominant.", "left"),
        ("The circumflex is a nondominant vessel.", "right"),
        ("The RCA is non-dominant. The circumflex is nondominant. The RCA is dominant.", "right"),
        ("The RCA is normal.", None),
    ],
)
def test_dominance_is_read(report, expected):
    assert extract_facts(report).dominance == expected


def test_branches_follow_the_dominance():
    assert said("The circumflex is dominant. The PDA has an 80% stenosis.") == {"lcx_pda severe", "dominance left"}
    assert said("Right dominant. The PDA has an 80% stenosis.") == {"rca_pda severe", "dominance right"}


def test_absent_calcification_of_the_tree_gives_way_to_a_calcified_segment():
    assert said("There is no visible calcification of the coronary arteries.") == {
        f"{place} not_calcified" for place in ("left_main", "LAD", "LCX", "RCA")
    }
    assert "LCX not_calcified" not in said("The mid LAD is calcified. No coronary calcification otherwise.")


def test_each_statement_keeps_its_sentence_and_percentages():
    (statement,) = extract_facts("The proximal RCA shows a tight narrowing, estimated at 80-90%.").statements
    assert (statement.place, statement.value, statement.percent) == ("proximal_rca", "severe", (80, 90))
    assert statement.sentence == "The proximal RCA shows a tight narrowing, estimated at 80-90%"


def test_occlusions_and_vessels_follow_from_the_rest():
    facts = fact_set(extract_facts("The mid RCA is occluded. 40% stenosis of the D1. The left main is normal."))
    assert derived(facts) == {
        Fact("occlusion", "mid_rca", "yes"),
        Fact("vessel", "RCA", "occluded"),
        Fact("vessel", "LAD", "mild"),
        Fact("vessel", "left_main", "none"),
    }


def test_places_are_found_with_their_portions():
    text = "mid-LAD, the pLAD, OM-1, diagonal branch II, left posterolateral, proximal portion of the RCA, distally"
    assert [mention.places or mention.portions for mention in find_places(text)] == [
        ("mid_lad",),
        ("proximal_lad",),
        ("marginal_1",),
        ("diagonal_2",),
        ("lcx_posterolateral",),
        ("proximal_rca",),
        ("distal",),
    ]


def test_lists_headings_and_decimals_are_cut_rightly():
    report = (
        "FINDINGS:,1. The LAD is 2.5 mm wide.,2. The RCA is normal.,PLAN:, Treat the LAD.,IMPRESSION:,1. Normal RCA."
    )
    assert [(s.text, s.closing) for s in coronary_sentences(report)] == [
        ("The LAD is 2.5 mm wide", False),
        ("The RCA is normal", False),
        ("Normal RCA", True),
    ]


def test_a_report_of_ten_thousand_words_is_read():
    assert said("The patient was comfortable and calm. " * 1600 + "The LAD is normal.") == {"LAD none"}
