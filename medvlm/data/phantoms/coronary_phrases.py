"""The wordings that reports choose from: synonyms, severities, negations, boilerplate."""

from __future__ import annotations

import re

from medvlm.coronary import SEGMENTS, Segment

VESSELS = {
    "LM": ("left main", "left main coronary artery", "left main stem"),
    "LAD": ("LAD", "left anterior descending artery", "left anterior descending"),
    "LCX": ("circumflex", "left circumflex", "LCX", "left circumflex artery"),
    "RCA": ("RCA", "right coronary artery"),
}
"""Vessel -> how reports name it, after "the"."""

WORDS = {
    "mild": ("mild", "minor", "mild", "non-obstructive"),
    "moderate": ("moderate", "intermediate", "moderate"),
    "severe": ("severe", "high-grade", "severe", "tight"),
    "critical": ("severe", "critical", "high-grade"),
    "subtotal": ("subtotal", "severe", "critical"),
}
"""Severity -> adjectives; ``critical`` is used from 90% on, ``subtotal`` from 99%."""

NORMAL = (
    "The {vessel} is free of disease.",
    "The {vessel} is angiographically normal.",
    "The {vessel} is without evidence of stenosis.",
    "No stenosis is seen in the {vessel}.",
    "The {vessel} has no angiographic disease.",
    "The {vessel} is normal.",
    "There is no evidence of disease in the {vessel}.",
    "The {vessel} and its branches are free of any disease.",
    "The {vessel} is unremarkable.",
)
"""Nothing at all in a whole vessel."""

NO_STENOSIS = (
    "No stenosis is seen in the {vessel}.",
    "The {vessel} is without evidence of stenosis.",
    "There is no significant stenosis of the {vessel}.",
)
"""No narrowing in a vessel that is calcified."""

NOT_SIGNIFICANT = (
    "No significant stenosis elsewhere in the {vessel}.",
    "The remainder of the {vessel} is without significant stenosis.",
    "The rest of the {vessel} is free of significant disease.",
    "Otherwise no significant disease of the {vessel}.",
)
"""Nothing of 50% or more in the rest of a vessel."""

BOTH = (
    "There is a {word} stenosis of the {segment} ({percent}).",
    "The {segment} has a {word} {percent} stenosis.",
    "{Word} {percent} stenosis in the {segment}.",
    "The {segment} shows a {word} narrowing, estimated at {percent}.",
    "{Word} stenosis of {percent} in the {segment}.",
    "{Word} disease of the {segment} with {percent} narrowing.",
)
WORD_ONLY = (
    "There is a {word} stenosis of the {segment}.",
    "The {segment} has a {word} stenosis.",
    "{Word} stenosis of the {segment}.",
    "The {segment} shows {word} narrowing.",
    "A {word} lesion is seen in the {segment}.",
)
PERCENT_ONLY = (
    "There is a {percent} stenosis of the {segment}.",
    "The {segment} has a {percent} stenosis.",
    "{Segment}: {percent} stenosis.",
    "A {percent} lesion is seen in the {segment}.",
    "The {segment} is narrowed by {percent}.",
)
CHRONIC = (
    "Chronic total occlusion of the {segment}.",
    "The {segment} is chronically occluded.",
    "There is a CTO of the {segment}.",
    "100% chronic total occlusion in the {segment}.",
    "The {segment} shows a chronic total occlusion (100%).",
)
ACUTE = (
    "The {segment} is occluded.",
    "Total occlusion of the {segment}.",
    "There is an acute occlusion of the {segment}.",
    "The {segment} is 100% occluded.",
    "Abrupt 100% occlusion of the {segment}.",
)
COLLATERAL = {
    "none": ("No collaterals are seen.", "There is no collateral filling of the distal bed.", ""),
    "ipsilateral": (
        "The distal bed fills late by ipsilateral collaterals.",
        "Bridging collaterals are present.",
        "Faint late filling beyond the occlusion by bridging collaterals.",
    ),
    "contralateral": (
        "The distal bed fills by contralateral collaterals.",
        "Contralateral collaterals are present.",
        "Late contralateral collateral filling is noted.",
    ),
}
CALCIFIED = (
    "The {segment} is calcified.",
    "Calcification is seen in the {segment}.",
    "There is calcification of the {segment}.",
)
NOT_CALCIFIED = ("No coronary calcification is seen.", "There is no visible calcification.")
DOMINANT = {
    "right": ("Right dominant circulation.", "The coronary circulation is right dominant.", "Right-dominant system.",
              "The right coronary artery is dominant."),
    "left": ("Left dominant circulation.", "The coronary circulation is left dominant.", "Left-dominant system.",
             "The circumflex is dominant."),
    "codominant": ("Codominant circulation.", "The coronary circulation is codominant.", "Codominant system."),
}  # fmt: skip
NOT_INJECTED = (
    "The {artery} coronary artery was not injected.",
    "The {artery} coronary artery was not selectively engaged.",
    "No injection of the {artery} coronary artery in this study.",
)
IMPRESSION = {
    "normal": ("Normal coronary arteries.", "No coronary artery disease.", "Angiographically normal coronaries."),
    "partly": ("Normal {artery} coronary artery.", "No stenosis of the {artery} coronary artery."),
    "mild": ("No obstructive coronary artery disease.", "Non-obstructive coronary artery disease.",
             "No significant coronary stenosis."),
    "moderate": ("Intermediate coronary artery disease.", "Moderate coronary artery disease without severe stenosis."),
    "severe": ("Severe {count}-vessel coronary artery disease.", "{Count}-vessel obstructive coronary artery disease.",
               "Obstructive {count}-vessel disease."),
    "main": ("Severe left main disease.", "Significant left main disease."),
}  # fmt: skip
"""By the worst finding; ``partly``: nothing in the one artery that was injected; ``{count}``: single, two, three."""

ACCESS = (
    "Access via the right radial artery with a {french} French sheath.",
    "The right femoral artery was accessed with a {french} French sheath.",
    "After local anesthesia a {french} Fr sheath was placed in the left radial artery.",
    "Right radial approach, {french} Fr.",
    "Modified Seldinger technique, right common femoral artery, {french} French.",
)
CONTRAST = (
    "Contrast volume {ml} mL.", "{ml} mL of iodinated contrast were used.", "Total contrast: {ml} mL.",
    "Estimated contrast {ml} mL, fluoroscopy time {minutes} minutes.",
)  # fmt: skip
AFTER = (
    "Complications: none.",
    "There were no complications.",
    "The patient tolerated the procedure well and left the laboratory in stable condition.",
    "No immediate complications. Hemostasis with a radial band.",
    "Estimated blood loss less than 10 mL. No complications.",
)
PRESSURE = (
    "LVEDP {pressure} mmHg.",
    "Left ventricular end-diastolic pressure {pressure} mmHg, no gradient across the aortic valve.",
    "Left ventricular ejection fraction {fraction}%.",
    "Aortic pressure {systolic}/{diastolic} mmHg.",
)
INDICATION = (
    "Indication: chest pain.",
    "Indication: abnormal stress test.",
    "Indication: exertional dyspnea.",
    "Indication: evaluation before valve surgery.",
    "Indication: atypical chest discomfort.",
)

_CAPITALS = re.compile(
    r"\b(lad|lcx|rca|l?pda|rpda|om ?[12]?|d[12]|lmca|lms|lm|[pmd]lad|plcx|[pmd]rca|ri|[lr]pl|pl)\b", re.IGNORECASE
)
_UNSURE = ("ostial", "apical")
"""They say more about the place than the segment does."""


def segment_wordings(segment: Segment) -> tuple[str, ...]:
    """How a report may name a segment: its phrase, then its synonyms with their capitals."""
    fitting = [one for one in segment.synonyms if not one.startswith(_UNSURE)]
    return (segment.phrase, *(_CAPITALS.sub(lambda found: found[0].upper(), one) for one in fitting))


WORDINGS = {segment.name: segment_wordings(segment) for segment in SEGMENTS}
