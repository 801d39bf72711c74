"""Reports in set phrases: the same facts, whatever the words were."""

from __future__ import annotations

import itertools
import random

import pytest

from medvlm.coronary import SEGMENTS
from medvlm.data.phantoms.coronary_disease import Rates
from medvlm.data.phantoms.coronary_reports import Reporter
from medvlm.data.phantoms.coronary_studies import draw_studies
from medvlm.metrics.angiography_facts import Fact, extract_facts, fact_set, implied
from medvlm.metrics.angiography_findings import GRADES
from medvlm.metrics.angiography_places import BRANCHES, TREE
from medvlm.metrics.structured_reports import structured_report, write_facts

PLACES = [*TREE[1:], *(segment.name for segment in SEGMENTS), *BRANCHES]


@pytest.fixture(scope="module")
def reports():
    studies = draw_studies(300, 0.5, 0.1, (1, 6), (0.7, 0.15, 0.15), seed=12)
    return [Reporter(study.report_rng).write(study.shown(study.person(2.0, 1.0), Rates())) for study in studies]


def test_a_report_keeps_its_facts_and_nothing_else(reports):
    for report in reports:
        short = structured_report(report)
        assert fact_set(extract_facts(short)) == fact_set(extract_facts(report)), (report, short)
        assert structured_report(short) == short
    assert sum(len(structured_report(r)) for r in reports) < 0.6 * sum(map(len, reports))


def test_other_words_for_the_same_facts_give_the_same_text():
    written = (
        "The LAD is free of disease. Right-dominant system. There is a 90% stenosis in the mid RCA. 95 mL contrast."
    )
    other = "RCA: The middle RCA shows a severe lesion.\nLAD: unremarkable.\nThe right coronary artery is dominant."
    expected = "Right dominant system. The LAD is normal. Severe stenosis of the mid RCA."
    assert structured_report(written) == structured_report(other) == expected


@pytest.mark.parametrize("place", PLACES)
def test_every_fact_has_a_phrase_that_is_read_as_it(place):
    values = [("stenosis", grade) for grade in GRADES[1:]]
    for kind, value in [*values, ("normal", "none"), ("calcification", "yes"), ("calcification", "no")]:
        fact = Fact(kind, place, value)
        assert fact_set(extract_facts(write_facts({fact}))) == {fact}


def test_facts_together_are_read_as_they_were_written():
    draw = random.Random(3)
    values = [("stenosis", grade) for grade in GRADES[1:]] + [("calcification", "yes")]
    for _ in range(300):
        chosen = {
            Fact(kind, place, value) for place in draw.sample(PLACES, 6) for kind, value in draw.sample(values, 1)
        }
        side = draw.choice(("right", "codominant"))  # left moves the posterior branches to the circumflex
        facts = implied(chosen | {Fact("dominance", "coronary", side)})
        assert fact_set(extract_facts(write_facts(facts))) == facts


def test_the_order_of_the_facts_does_not_matter():
    facts = [Fact("normal", "LAD", "none"), Fact("stenosis", "mid_rca", "severe"), Fact("calcification", "LCX", "yes")]
    assert len({write_facts(set(order)) for order in itertools.permutations(facts)}) == 1


def test_a_report_without_facts_stays_as_it_is():
    assert structured_report("No complications.\n95 mL  of contrast were used.") == (
        "No complications. 95 mL of contrast were used."
    )
    assert structured_report("") == ""
