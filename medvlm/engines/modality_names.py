"""What the name of a file, a folder or a DICOM series says: the modality, and whose image it is."""

from __future__ import annotations

import re
from dataclasses import dataclass

from medvlm.data.reading import ITK, NIFTI, PICTURE, suffix_of

VOLUMES = (*NIFTI, *ITK)
IMAGES = (*VOLUMES, *PICTURE)
TOKENS = {
    "flair": "FLAIR", "fla": "FLAIR", "t2f": "FLAIR", "t2flair": "FLAIR", "t1": "T1", "t1n": "T1", "t1w": "T1",
    "t1pre": "T1", "t1c": "T1c", "t1ce": "T1c", "t1gd": "T1c", "t1post": "T1c", "t1cw": "T1c", "t1km": "T1c",
    "t2": "T2", "t2w": "T2", "t2tse": "T2",
}  # fmt: skip
CONTRAST_TOKENS = {
    "ce", "gd", "gad", "gado", "gadolinium", "post", "contrast", "km", "postcontrast", "postgd", "postgad", "postkm",
}  # fmt: skip
WITHOUT_CONTRAST = {"pre", "t1pre", "precontrast", "noncontrast", "unenhanced", "nativ", "native"}
NEGATIONS = {"no", "non", "not", "without", "wo", "ohne", "before", "vor", "pre", "t1pre"}
OTHER_EVENTS = {  # "post op" is no contrast agent
    "op", "operative", "operation", "surgery", "surgical", "resection", "biopsy", "treatment", "therapy", "rt",
    "radiotherapy", "radiation", "chemo", "chemotherapy", "chemoradiation", "chemoradiotherapy", "craniotomy", "tx",
    "processed", "processing", "proc",
}  # fmt: skip
TOWARDS = {"to", "in", "into", "onto"}
REGISTERED = {*TOWARDS, "on", "reg", "registered", "coreg", "coregistered", "aligned", "warped"}
NOT_WHOSE = {  # how an image was taken or worked on: the files of one patient may differ in it
    "bet", "hdbet", "brain", "skull", "skullstripped", "stripped", "unstripped", "defaced", "reg", "registered",
    "coreg", "coregistered", "aligned", "resampled", "iso", "1mm", "mni", "mni152", "sri24", "n4", "bias", "corrected",
    "norm", "normalized", "normalised", "denoised", "ax", "axial", "tra", "transverse", "sag", "sagittal", "cor",
    "coronal", "2d", "3d", "se", "tse", "fse", "tfe", "ffe", "gre", "mprage", "mpr", "spgr", "fspgr", "bravo", "cube",
    "vibe", "space", "spc", "tirm", "dark", "fluid", "blade", "propeller", "fatsat", "mr", "mri", "image", "img",
    "scan", "volume", *(CONTRAST_TOKENS - {"post"}),
}  # fmt: skip


@dataclass(frozen=True)
class NameReading:
    """What a name says.

    Attributes:
        found: the modalities that it may mean: none, one, or several where it is ambiguous.
        rest: its other words joined with ``_``.
        whose: ``rest`` without words that only say how an image was taken or worked on, such as ``bet``.
    """

    found: tuple[str, ...]
    rest: str
    whose: str

    @property
    def channel(self) -> str | None:
        """The canonical channel; None where the name says none, or is ambiguous."""
        return self.found[0] if len(self.found) == 1 else None

    @property
    def words(self) -> str:
        """The reading, for messages."""
        return " or ".join(self.found) or "not understood"


def tokens_of(name: str) -> list[str]:
    """The words of a file's or folder's name, lower case, its ending left out."""
    suffix = suffix_of(name)
    stem = name[: -len(suffix)] if suffix in IMAGES else name
    return [token for token in re.split(r"[^0-9a-z]+", stem.lower()) if token]


def read_name(name: str) -> NameReading:
    """Read a name; words that contradict each other are all told, none of them wins.

    T2 and FLAIR together are FLAIR. Words of a contrast agent make T1 to T1c wherever they stand, ``c`` alone only
    behind it. ``post`` before ``op`` and the like is another word.

    Args:
        name: a file's or folder's name, e.g. ``BraTS20_001_t1ce.nii.gz``, or a DICOM series' description.
    """
    tokens = tokens_of(re.sub(r"\+\s*c(?![0-9a-z])|(?<![0-9a-z])c\s*\+", " contrast ", _spelt_out(name.lower())))
    hits = [index for index, token in enumerate(tokens) if token in TOKENS]
    found = list(dict.fromkeys(TOKENS[tokens[index]] for index in hits))
    used, idle = set(hits), NOT_WHOSE
    if set(found) == {"T2", "FLAIR"} and not REGISTERED & set(tokens[hits[0] : hits[-1]]):
        found = ["FLAIR"]
    elif found == ["T1"]:
        given, native = _contrast(tokens, hits[0])
        found = ["T1", "T1c"] if given and native else ["T1c"] if given else ["T1"]
        used |= given
        idle = NOT_WHOSE | WITHOUT_CONTRAST | NEGATIONS if native else NOT_WHOSE
    if len(found) == 1 and hits[0] and tokens[hits[0] - 1] in TOWARDS:
        found.append(f"something in the space of {found[0]}")
    rest = [token for index, token in enumerate(tokens) if index not in used]
    return NameReading(tuple(found), "_".join(rest), "_".join(token for token in rest if token not in idle))


def _spelt_out(name: str) -> str:
    """Without the entity ``space-T1w`` of BIDS, which names the grid and not the image; ``C-`` as a word."""
    name = re.sub(r"(?<=[\s_])c\s?-(?=$|[\s_.])", " native ", name)
    return re.sub(r"(?<![0-9a-z])space-[0-9a-z]+", " ", name)


def _contrast(tokens: list[str], t1: int) -> tuple[set[int], bool]:
    """Where words say that contrast agent was given, and whether words say that it was not."""
    given, native = set(), False
    for index, token in enumerate(tokens):
        following = tokens[index + 1] if index + 1 < len(tokens) else ""
        if (token in ("pre", "post") and following in OTHER_EVENTS) or (token, following) == ("native", "space"):
            continue
        native |= token in WITHOUT_CONTRAST
        if token == "c" and index > t1:
            given.add(index)
            native |= index > t1 + 1  # it may be another word
        if token not in CONTRAST_TOKENS:
            continue
        before = [word for word in tokens[:index] if word != "iv"]
        without = 2 if before[-2:] == ["w", "o"] else int(before[-1:] != [] and before[-1] in NEGATIONS)
        without = 0 if token.startswith("post") else without  # "pre post" is both
        native |= without > 0
        if not without or {"w", "with"} & set(before[:-without]):  # "with and without"
            given.add(index)
    return given, native


def modality_of(name: str) -> tuple[str | None, str]:
    """Read the modality out of a name.

    Args:
        name: a file's or folder's name, e.g. ``BraTS20_001_t1ce.nii.gz``, or a DICOM series' description.

    Returns:
        The canonical channel or None, and the name's other words joined: what the modalities of one case share.

    Raises:
        ValueError: When the name is ambiguous; lists what it may mean, and the remedy.
    """
    reading = read_name(name)
    if len(reading.found) > 1:
        raise ValueError(
            f"the name {name!r} must say one modality, it may mean {reading.words}; say which it is, e.g. "
            f'--channels {reading.found[0]}, or in a folder of several files --channels "{reading.found[0]}=FILE,...".'
        )
    return reading.channel, reading.rest
