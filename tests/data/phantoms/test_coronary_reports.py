from __future__ import annotations

import re

import numpy as np
import pytest

from medvlm.coronary import DOMINANCE, SEGMENTS, severity
from medvlm.data.phantoms.coronary_anatomy import LEFT, RIGHT, SEGMENT_INDEX, coronary_tree
from medvlm.data.phantoms.coronary_disease import Disease, Lesion, Rates
from medvlm.data.phantoms.coronary_reports import Reporter, Shown
from medvlm.data.phantoms.coronary_studies import draw_studies
from medvlm.metrics.angiography_facts import extract_facts

TREE = coronary_tree(np.random.default_rng(0), "right", 3.0)
BOTH = frozenset((LEFT, RIGHT))


def shown(*lesions, sides=BOTH, calcified=()):
    rows = tuple(Lesion(SEGMENT_INDEX[name], percent, 0.5, 10.0, **more) for name, percent, more in lesions)
    return Shown(TREE, Disease(rows, frozenset(SEGMENT_INDEX[name] for name in calcified)), sides)


def reports(what, count=80, boilerplate=0.7):
    return [Reporter(np.random.default_rng(seed), boilerplate).write(what) for seed in range(count)]


@pytest.fixture(scope="module")
def written():
    out = []
    for study in draw_studies(120, 0.5, 0.08, (1, 6), (0.6, 0.2, 0.2), seed=1):
        what = study.shown(study.person(3.0, 1.2), Rates())
        out.append((study, what, Reporter(study.report_rng).write(what)))
    return out


def test_reports_say_what_is_drawn_and_nothing_else(written):
    """Read by rules that were written for real reports: every lesion with its class, and no other."""
    for _, what, text in written:
        facts = extract_facts(text)
        truth = {one.name: severity(one.percent) for one in what.disease.lesions}
        segments = {segment.name for segment in SEGMENTS}
        said = {place: grade for place, grade in facts.stenosis.items() if place in segments and grade != "none"}
        assert said == truth, text
        assert not {place for place, grade in facts.stenosis.items() if grade == "none"} & truth.keys(), text
        calcified = {SEGMENTS[index].name for index in what.disease.calcified}
        assert {place for place, there in facts.calcification.items() if there} == calcified, text
        assert facts.dominance == DOMINANCE[what.tree.dominance], text


def test_wording_varies():
    texts = reports(shown(("mid_lad", 90, {})))
    assert len(set(texts)) == len(texts)
    together = " ".join(texts).lower()
    for word in ("mid lad", "mid left anterior descending", "middle lad", "severe", "critical", "high-grade", "90%"):
        assert word in together, word


def test_severity_is_said_in_words_in_percent_or_both():
    texts = [" ".join(re.findall(r"[^.]*\bproximal[^.]*", text)) for text in reports(shown(("proximal_lcx", 60, {})))]
    words, percents = ("moderate|intermediate", r"\d+%")
    kinds = {(bool(re.search(words, text.lower())), bool(re.search(percents, text))) for text in texts if text}
    assert {(True, False), (False, True), (True, True)} <= kinds


def test_a_normal_study_is_denied_in_several_ways():
    together = " ".join(reports(shown()))
    for phrase in ("free of", "without evidence of", "No stenosis is seen", "no evidence of disease", "unremarkable"):
        assert phrase in together, phrase
    assert not re.search(r"occlu|severe|moderate|CTO", together)


def test_calcified_vessels_are_not_called_normal():
    for text in reports(shown(calcified=("mid_rca",)), boilerplate=0.0):
        assert not re.search(
            r"(RCA|right coronary artery) (is|and its branches are|has) (free|normal|no |unremark)", text
        )
        assert "Normal coronary arteries" not in text


def test_an_artery_that_was_not_injected_is_not_judged():
    for text in reports(shown(sides=frozenset((LEFT,)))):
        assert re.search(r"right coronary artery was not|No injection of the right", text)
        assert extract_facts(text).stenosis.get("RCA") is None
        assert "Normal coronary arteries" not in text


def test_collaterals_are_told_when_they_could_be_seen():
    occlusion = ("mid_rca", 100, {"chronic": True, "collaterals": "contralateral"})
    assert all("ontralateral" in text for text in reports(shown(occlusion)))
    assert not any("ontralateral" in text for text in reports(shown(occlusion, sides=frozenset((RIGHT,)))))


def test_boilerplate_can_be_left_out():
    bare = reports(shown(), boilerplate=0.0)
    assert not any(re.search(r"French|mL|mmHg|omplications|Indication", text) for text in bare)
    full = reports(shown(), boilerplate=1.0)
    assert all("Indication" in text for text in full)


def auc(score, positive):
    """Chance that a positive has the higher score; ties count half."""
    yes, no = score[positive], score[~positive]
    return float((yes[:, None] > no).mean() + 0.5 * (yes[:, None] == no).mean())


def test_boilerplate_and_style_do_not_tell_the_class():
    studies = draw_studies(600, 0.5, 0.0, (2, 2), (1, 0, 0), seed=3)
    tree = TREE
    positive = np.array([study.positive for study in studies])
    texts = []
    for study in studies:
        lesion = (Lesion(SEGMENT_INDEX["mid_rca"], 90, 0.5, 10.0),) if study.positive else ()
        texts.append(Reporter(study.report_rng).write(Shown(tree, Disease(lesion, frozenset()), BOTH)))
    for pattern in ("Indication", "sheath|Fr", "mL", "mmHg|ejection", "omplications", "IMPRESSION|CONCLUSION", r"\n",
                    "FINDINGS", "1\\. "):  # fmt: skip
        there = np.array([bool(re.search(pattern, text)) for text in texts], float)
        assert abs(auc(there, positive) - 0.5) < 0.08, pattern
    volumes = np.array([float((re.findall(r"(\d+) mL", text) or ["0"])[0]) for text in texts])
    assert abs(auc(volumes, positive) - 0.5) < 0.1
