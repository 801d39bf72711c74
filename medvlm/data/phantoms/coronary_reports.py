"""Reports that say what a phantom shows and nothing that it does not."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medvlm.coronary import DOMINANCE, SEGMENTS, severity
from medvlm.data.phantoms import coronary_phrases as phrases
from medvlm.data.phantoms.coronary_anatomy import LEFT, RIGHT, Tree
from medvlm.data.phantoms.coronary_disease import Disease, Lesion

_COUNTS = ("no", "single", "two", "three")
_HEADINGS = {"LM": "Left main", "LAD": "LAD", "LCX": "Circumflex", "RCA": "RCA"}


@dataclass(frozen=True)
class Shown:
    """What a study shows of a person.

    Attributes:
        tree: the person.
        disease: the lesions.
        sides: arteries that were injected.
    """

    tree: Tree
    disease: Disease
    sides: frozenset[int]

    @property
    def segments(self) -> list[int]:
        """Indices of the named segments on injected sides."""
        return [index for side in sorted(self.sides) for index in self.tree.segments(side)]

    def lesions(self, vessel: str) -> list[Lesion]:
        """Lesions in an injected vessel, worst first."""
        own = [one for one in self.disease.lesions if SEGMENTS[one.segment].vessel == vessel]
        return sorted((one for one in own if one.segment in self.segments), key=lambda one: -one.percent)

    @property
    def vessels(self) -> list[str]:
        """Injected vessels."""
        return [*(("LM", "LAD", "LCX") if LEFT in self.sides else ()), *(("RCA",) if RIGHT in self.sides else ())]


class Reporter:
    """Writes a report for one study, with one person's habits of wording.

    Args:
        rng: own stream.
        boilerplate: chance of each sentence that has nothing to do with the findings, 0..1.
    """

    def __init__(self, rng: np.random.Generator, boilerplate: float = 0.7) -> None:
        self.rng, self.boilerplate = rng, boilerplate
        self.style = str(rng.choice(("prose", "headings", "numbered")))
        self.detail = str(rng.choice(("both", "word", "percent", "mixed"), p=(0.35, 0.1, 0.2, 0.35)))

    def write(self, shown: Shown) -> str:
        """The report: some boilerplate, the findings vessel by vessel, mostly an impression."""
        before = self._boilerplate((phrases.INDICATION, phrases.ACCESS))
        after = self._boilerplate((phrases.CONTRAST, phrases.PRESSURE, phrases.AFTER))
        findings = self._findings(shown)
        impression = self._impression(shown) if self.rng.random() < 0.7 else ""
        if self.style == "prose":
            return " ".join(part for part in (*before, " ".join(findings), *after, impression) if part)
        title = "FINDINGS:" if self.rng.random() < 0.5 else "CORONARY ANGIOGRAPHY:"
        if self.style == "numbered":
            findings = [f"{number}. {text}" for number, text in enumerate(findings, 1)]
        rows = [" ".join(before), title, *findings, " ".join(after)]
        if impression:
            rows.append(f"{'IMPRESSION' if self.rng.random() < 0.6 else 'CONCLUSION'}: {impression}")
        return "\n".join(row for row in rows if row)

    def _one(self, choices: Sequence[str]) -> str:
        return choices[int(self.rng.integers(len(choices)))]

    def _boilerplate(self, kinds: tuple[tuple[str, ...], ...]) -> list[str]:
        rng, out = self.rng, []
        for kind in kinds:
            chance, sentence = rng.random(), self._one(kind)
            numbers = {
                "french": int(rng.integers(5, 8)),
                "ml": int(rng.integers(8, 36)) * 5,
                "minutes": round(float(rng.uniform(1.5, 12)), 1),
                "pressure": int(rng.integers(6, 26)),
                "fraction": int(rng.integers(6, 14)) * 5,
                "systolic": int(rng.integers(100, 171)),
                "diastolic": int(rng.integers(50, 96)),
            }
            if chance < self.boilerplate:
                out.append(sentence.format(**numbers))
        return out

    def _findings(self, shown: Shown) -> list[str]:
        dominance = self._one(phrases.DOMINANT[DOMINANCE[shown.tree.dominance]])
        out = [dominance]
        for vessel in shown.vessels:
            text = " ".join(self._vessel(shown, vessel))
            out.append(f"{_HEADINGS[vessel]}: {text}" if self.style == "headings" else text)
        for side, artery in ((LEFT, "left"), (RIGHT, "right")):
            if side not in shown.sides:
                out.append(self._one(phrases.NOT_INJECTED).format(artery=artery))
        if not shown.disease.calcified & set(shown.segments) and self.rng.random() < 0.3:
            out.append(self._one(phrases.NOT_CALCIFIED))
        return out

    def _vessel(self, shown: Shown, vessel: str) -> list[str]:
        lesions = shown.lesions(vessel)
        calcified = [index for index in sorted(shown.disease.calcified) if SEGMENTS[index].vessel == vessel]
        name, out = self._one(phrases.VESSELS[vessel]), []
        if not lesions:
            normal = [text for text in phrases.NORMAL if vessel != "LM" or "branches" not in text]
            out.append(self._one(phrases.NO_STENOSIS if calcified else normal).format(vessel=name))
        for lesion in lesions:
            out.append(self._lesion(lesion))
            if lesion.percent == 100:
                out.append(self._collaterals(lesion, shown))
        out += [self._sentence(phrases.CALCIFIED, segment=self._segment(index)) for index in calcified]
        rest_is_seen = all(lesion.percent < 100 for lesion in lesions)  # beyond an occlusion nobody can tell
        if lesions and rest_is_seen and vessel != "LM" and self.rng.random() < 0.5:
            out.append(self._one(phrases.NOT_SIGNIFICANT).format(vessel=name))
        return [sentence for sentence in out if sentence]

    def _lesion(self, lesion: Lesion) -> str:
        segment = self._segment(lesion.segment)
        if lesion.percent == 100:
            return self._sentence(phrases.CHRONIC if lesion.chronic else phrases.ACUTE, segment=segment)
        kind = severity(lesion.percent)
        if kind == "severe" and lesion.percent >= 90:
            kind = "subtotal" if lesion.percent == 99 else "critical"
        word = self._one(phrases.WORDS[kind])
        detail = self.detail if self.detail != "mixed" else self._one(("both", "word", "percent"))
        templates = {"both": phrases.BOTH, "word": phrases.WORD_ONLY, "percent": phrases.PERCENT_ONLY}[detail]
        template = self._one(templates)
        bare = re.search(r"\b[Aa] {percent}|} {percent}", template) is not None
        return self._sentence((template,), segment=segment, word=word, percent=self._percent(lesion.percent, bare))

    def _percent(self, percent: int, bare: bool) -> str:
        """``80%``, sometimes a range within one class of severity, or ``about 80%`` where the sentence allows it."""
        draw, low, high = self.rng.random(), percent - 5, percent + 5
        if draw < 0.12 and low > 0 and high < 100 and severity(low) == severity(high):
            return self._one((f"{low}-{high}%", f"{low} to {high}%"))
        if draw > 0.85 and not bare:
            return self._one(("approximately {}%", "about {}%")).format(percent)
        return f"{percent}%"

    def _collaterals(self, lesion: Lesion, shown: Shown) -> str:
        unseen = len(shown.sides) < 2 and lesion.collaterals != "ipsilateral"
        return "" if unseen else self._one(phrases.COLLATERAL[lesion.collaterals])

    def _segment(self, index: int) -> str:
        wordings = phrases.WORDINGS[SEGMENTS[index].name]
        return wordings[0] if self.rng.random() < 0.6 else self._one(wordings)

    def _sentence(self, templates: Sequence[str], **words: str) -> str:
        capital = {key.capitalize(): value[:1].upper() + value[1:] for key, value in words.items()}
        text = self._one(templates).format(**words, **capital)
        return re.sub(r"\b([Aa]) (?=[aeioAEIO]|8)", lambda found: f"{found[1]}n ", text)

    def _impression(self, shown: Shown) -> str:
        worst = {vessel: max((x.percent for x in shown.lesions(vessel)), default=0) for vessel in shown.vessels}
        count = sum(percent > 70 for vessel, percent in worst.items() if vessel != "LM")
        out = []
        if worst.get("LM", 0) > 70:
            out.append(self._one(phrases.IMPRESSION["main"]))
        if count:
            word = _COUNTS[count]
            out.append(self._one(phrases.IMPRESSION["severe"]).format(count=word, Count=word.capitalize()))
        if not out:
            artery = "left" if LEFT in shown.sides else "right"
            out.append(self._one(phrases.IMPRESSION[self._kind(shown, max(worst.values()))]).format(artery=artery))
        return " ".join(out)

    @staticmethod
    def _kind(shown: Shown, worst: int) -> str:
        if worst:
            return severity(worst)
        if shown.disease.calcified & set(shown.segments):
            return "mild"
        return "normal" if len(shown.sides) == 2 else "partly"
