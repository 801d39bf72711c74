"""Facts of phantom reports against what the phantom is."""

from __future__ import annotations

from collections import Counter

import pytest

from medvlm.coronary import DOMINANCE, SEGMENTS, severity
from medvlm.data.phantoms.coronary_disease import Rates
from medvlm.data.phantoms.coronary_reports import Reporter, Shown
from medvlm.data.phantoms.coronary_studies import draw_studies
from medvlm.metrics.angiography_facts import Fact, extract_facts, fact_set
from medvlm.metrics.angiography_places import VESSEL_OF

VESSEL = {"LM": "left_main"}


def truth(shown: Shown) -> set[Fact]:
    facts = {Fact("dominance", "coronary", DOMINANCE[shown.tree.dominance])}
    for vessel in shown.vessels:
        lesions = shown.lesions(vessel)
        facts |= {Fact("stenosis", lesion.name, severity(lesion.percent)) for lesion in lesions}
        if not lesions:
            facts.add(Fact("normal", VESSEL.get(vessel, vessel), "none"))
    calcified = shown.disease.calcified & set(shown.segments)
    return facts | {Fact("calcification", SEGMENTS[index].name, "yes") for index in calcified}


@pytest.fixture(scope="module")
def read():
    """What was found in 300 reports, and what there is: only vessels that the study shows, absent calcium apart."""
    out = []
    for study in draw_studies(300, 0.5, 0.1, (1, 6), (0.7, 0.15, 0.15), seed=11):
        shown = study.shown(study.person(2.0, 1.0), Rates())
        text = Reporter(study.report_rng).write(shown)
        vessels = {VESSEL.get(vessel, vessel) for vessel in shown.vessels} | {None}
        found = {fact for fact in fact_set(extract_facts(text)) if VESSEL_OF.get(fact.place) in vessels}
        out.append((text, truth(shown), found))
    return out


def test_facts_of_phantom_reports_are_read_with_an_f1_of_98_percent(read):
    counts, wrong = Counter(), []
    for text, true, found in read:
        found = {fact for fact in found if fact.value != "no"}
        for fact in true | found:
            outcome = "hit" if fact in true & found else "miss" if fact in true else "extra"
            counts[fact.kind, outcome] += 1
        if true != found:
            wrong.append((text, sorted(true - found), sorted(found - true)))
    for kind in ("stenosis", "normal", "calcification", "dominance"):
        hits, misses, extras = (counts[kind, outcome] for outcome in ("hit", "miss", "extra"))
        assert hits > 80, kind
        assert 2 * hits / (2 * hits + misses + extras) >= 0.98, (kind, hits, misses, extras, wrong[:5])


def test_absent_calcium_is_never_claimed_of_a_calcified_tree(read):
    said = [(true, found) for _, true, found in read if any(fact.value == "no" for fact in found)]
    assert len(said) > 20
    assert not [true for true, _ in said if any(fact.kind == "calcification" for fact in true)]
