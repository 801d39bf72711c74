"""Writers of pictures: the two Kaggle layouts (whole heads, JPEG, many shapes) and PNG slices of stripped brains."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from medvlm.data.phantoms.geometry import Grid
from medvlm.data.phantoms.layouts import Written
from medvlm.data.phantoms.scanners import MODALITIES, ScannerStyle
from medvlm.data.phantoms.subjects import Person, Study
from medvlm.data.phantoms.tumours import KINDS, Tumour

CLASS_NAMES = {
    "plain": {"glioma": "glioma", "meningioma": "meningioma", None: "notumor", "pituitary": "pituitary"},
    "long": {
        "glioma": "glioma_tumor", "meningioma": "meningioma_tumor", None: "no_tumor", "pituitary": "pituitary_tumor",
    },
}  # fmt: skip
PLANES = {"axial": 2, "coronal": 1, "sagittal": 0}
PIXEL_MM = 1.15
FIELD_MM = (205.0, 245.0, 200.0)
MIN_AREA_MM2 = 90.0
MIN_PART_MM2 = 60.0
RING_PX = 6
MIN_CONSPICUITY = 2.0
CONTRASTS = (1.0, 1.4, 2.0)
FRAME_PX = 80


@dataclass(frozen=True)
class PictureStyle:
    """How pictures of one layout are made.

    Args:
        planes: chance of axial, coronal and sagittal.
        modalities: chance of each of ``MODALITIES`` to be tried first.
        kinds: chance of each of ``KINDS`` to be left out of a control.
        side_px: shortest and longest long side.
        skull: chance that skull and scalp are there.
        grey: chance of one channel instead of RGB.
        suffixes: file endings, drawn evenly; ``.png`` is lossless.
    """

    planes: tuple[float, float, float] = (0.86, 0.08, 0.06)
    modalities: tuple[float, float, float, float] = (0.12, 0.38, 0.22, 0.28)
    kinds: tuple[float, float, float] = (0.75, 0.2, 0.05)
    side_px: tuple[int, int] = (120, 400)
    skull: float = 0.9
    grey: float = 0.3
    suffixes: tuple[str, ...] = (".jpg", ".jpg", ".jpg", ".JPG", ".JPG", ".jpeg", ".png")


YES_NO_STYLE = PictureStyle()
FOUR_CLASS_STYLE = PictureStyle(
    (0.6, 0.25, 0.15),
    (0.15, 0.55, 0.15, 0.15),
    (1 / 3, 1 / 3, 1 / 3),
    (200, 400),
    skull=0.97,
    grey=0.4,
    suffixes=(".jpg",),
)
SLICE_STYLE = PictureStyle(modalities=(0, 0, 0, 1), kinds=(1, 0, 0))


def draw_slice(
    person: Person,
    rng: np.random.Generator,
    scanner: ScannerStyle,
    style: PictureStyle,
    plane: str,
    noise: float,
    skull: bool,
) -> tuple[Study, str]:
    """One slice of a person and the weighting to show.

    Whoever chose a picture of a tumour saw the tumour on it: a weighting is drawn, and where the tumour stands out too
    little there, it is drawn again by the same scanner with more contrast, and at last another weighting is taken. A
    control's slice is chosen in the same way, for a tumour that is then left out, so that place and weighting tell
    nothing about the class.

    Raises:
        ValueError: if no slice through the tumour shows it.
    """
    patient = person
    if person.tumour is None:
        kind = str(rng.choice(KINDS, p=style.kinds))
        patient = replace(person, tumour=Tumour.sample(rng, person.brain, kind))
    order = [str(name) for name in rng.choice(MODALITIES, np.count_nonzero(style.modalities), False, style.modalities)]
    axis = PLANES[plane]
    shape = [int(side / PIXEL_MM) for side in FIELD_MM]
    spacing = [PIXEL_MM] * 3
    shape[axis], spacing[axis] = 1, 4.0
    focus = patient.tumour.foci[0]
    for attempt in range(8):
        centre = [0.0, 0.0, 4.0]
        centre[axis] = float(focus.centre[axis]) + rng.uniform(-0.35, 0.35) * focus.radius_mm / (1 + attempt)
        grid = Grid(tuple(shape), tuple(spacing), tuple(centre))  # type: ignore[arg-type]
        session = _Session(rng, scanner, grid, noise, 1.15**attempt, skull)
        study = session.scan(patient)
        if (study.labels > 0).sum() * PIXEL_MM**2 >= MIN_AREA_MM2:
            shown, modality = session.showing(patient, study, order)
            return (session.scan(person) if person.tumour is None else shown), modality
    raise ValueError(
        f"a slice must show at least {MIN_AREA_MM2} mm2 of tumour, got less in 8 attempts at a {patient.tumour.kind}; "
        "use another seed."
    )


class _Session:
    """One slice that can be drawn again with the same pose, scanner and noise."""

    def __init__(
        self, rng: np.random.Generator, style: ScannerStyle, grid: Grid, noise: float, growth: float, skull: bool
    ) -> None:
        self.rng, self.state = rng, rng.bit_generator.state
        self.style, self.grid, self.noise, self.growth, self.skull = style, grid, noise, growth, skull

    def scan(self, person: Person) -> Study:
        self.rng.bit_generator.state = self.state
        return person.scan(self.rng, self.style, self.grid, self.noise, self.growth, self.skull)

    def showing(self, patient: Person, plain: Study, order: Sequence[str]) -> tuple[Study, str]:
        """The first weighting in which the tumour stands out, with as much contrast as that takes; or the best one."""
        best = plain, order[0], -1.0
        for modality in order:
            for factor in CONTRASTS:
                tumour = replace(patient.tumour, contrast=factor * patient.tumour.contrast)
                study = plain if factor == 1 else self.scan(replace(patient, tumour=tumour))
                seen = conspicuity(study, modality)
                if seen > best[2]:
                    best = study, modality, seen
                if seen >= MIN_CONSPICUITY:
                    return study, modality
        return best[:2]


def conspicuity(study: Study, modality: str) -> float:
    """How far a slice's tumour stands out: its contrast in standard deviations of what lies around it.

    The contrast is that of the medians, of the whole tumour or of the part of it (rim, core, oedema) that differs
    most; what lies around is a ring of 7 mm in the head, whose deviation holds both noise and normal tissue. Grey
    values are taken as a viewer shows them, white from the 99th percentile on.
    """
    image, labels = study.images[MODALITIES.index(modality)].squeeze(), study.labels.squeeze()
    grey = np.clip(image / np.percentile(image[image > 0], 99), 0, 1)
    tumour = labels > 0
    ring = ndimage.binary_dilation(tumour, iterations=RING_PX) & ~ndimage.binary_dilation(tumour) & (image > 0)
    parts = [tumour, *(labels == value for value in range(1, labels.max() + 1))]
    seen = [grey[part] for part in parts if part.sum() * PIXEL_MM**2 >= MIN_PART_MM2]
    if not seen or not ring.any():
        return 0.0
    return max(abs(float(np.median(part) - np.median(grey[ring]))) for part in seen) / float(grey[ring].std())


def upright(image: np.ndarray, plane: str) -> np.ndarray:
    """The slice ``(X, Y, Z)`` as rows and columns: Anterior or Superior up, the patient's Left to the right."""
    flat = image.squeeze(PLANES[plane]).T
    return flat if plane == "axial" else flat[::-1]


def windowed(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Grey values 0..255 after a viewer's window, with a faint noise floor in the air."""
    inside = image[image > 0]
    top = np.percentile(inside, rng.uniform(97.5, 99.8))
    grey = np.clip(image / top, 0, 1) ** rng.uniform(0.85, 1.2)
    floor = np.abs(rng.normal(0, rng.uniform(0, 0.012), image.shape))
    return (255 * np.clip(np.maximum(grey, floor), 0, 1)).astype(np.uint8)


@dataclass(frozen=True)
class Frame:
    """What of a slice a picture shows, and how large it is.

    Args:
        box: rows and columns, in the slice with ``FRAME_PX`` of black on each side.
        size: width and height of the picture.
    """

    box: tuple[slice, slice]
    size: tuple[int, int]

    def cut(self, pixels: np.ndarray, resample: Image.Resampling) -> np.ndarray:
        """That part of uint8 rows and columns, resized."""
        return np.asarray(Image.fromarray(np.pad(pixels, FRAME_PX)[self.box]).resize(self.size, resample))


def frame_of(grey: np.ndarray, rng: np.random.Generator, side_px: tuple[int, int]) -> Frame:
    """The head with some margin, sometimes on a wider black frame, with a long side in the range."""
    rows, columns = (np.flatnonzero((grey > 20).sum(axis) > 3) for axis in (1, 0))
    top, left, bottom, right = rows[0], columns[0], rows[-1] + 1, columns[-1] + 1
    margins = rng.integers(-2, 14, size=4)
    if rng.random() < 0.2:
        margins[[1, 3]] += int(rng.integers(20, 60))  # a wide black frame
    box = (
        slice(FRAME_PX + top - margins[0], FRAME_PX + bottom + margins[2]),
        slice(FRAME_PX + left - margins[1], FRAME_PX + right + margins[3]),
    )
    height, width = np.pad(grey, FRAME_PX)[box].shape
    factor = rng.integers(*side_px, endpoint=True) / max(height, width)
    return Frame(box, (max(8, round(width * factor)), max(8, round(height * factor))))


def encoded(grey: np.ndarray, rng: np.random.Generator, suffix: str, rgb: bool) -> bytes:
    """The picture as the bytes of a JPEG or PNG file."""
    image, out = Image.fromarray(grey), io.BytesIO()
    if rgb:
        image = image.convert("RGB")
    quality = int(rng.integers(55, 94))
    if suffix.lower() == ".png":
        image.save(out, "PNG", compress_level=3)
    else:
        image.save(out, "JPEG", quality=quality)
    return out.getvalue()


def copied(data: bytes, rng: np.random.Generator, suffix: str, rgb: bool) -> bytes:
    """A near-duplicate: the same bytes, or encoded again, resized, slightly cut or brightened."""
    manner = rng.choice(["same", "encoded", "resized", "cut"], p=[0.25, 0.25, 0.3, 0.2])
    if manner == "same":
        return data
    grey = Image.open(io.BytesIO(data)).convert("L")
    if manner == "resized":
        factor = rng.uniform(0.7, 1.3)
        grey = grey.resize(
            (max(8, round(grey.width * factor)), max(8, round(grey.height * factor))), Image.Resampling.BICUBIC
        )
    elif manner == "cut":
        cut = max(1, round(0.015 * min(grey.size)))
        grey = grey.crop((cut, cut, grey.width - cut, grey.height - cut))
        grey = grey.point(lambda value: min(255, int(value * 1.04)))
    return encoded(np.asarray(grey), rng, suffix, rgb)


@dataclass(frozen=True)
class Picture:
    """A head's picture before it has a name: file bytes, ending, what was drawn, and the tumour's pixels (bool)."""

    data: bytes
    suffix: str
    rgb: bool
    facts: dict
    mask: np.ndarray


def kaggle_picture(
    person: Person, rng: np.random.Generator, scanner: ScannerStyle, style: PictureStyle, noise: float
) -> Picture:
    """Draw, window, frame and encode one picture of a person."""
    plane = str(rng.choice(list(PLANES), p=style.planes))
    skull = bool(rng.random() < style.skull)
    rgb = bool(rng.random() >= style.grey)
    suffix = str(rng.choice(style.suffixes))
    study, modality = draw_slice(person, rng, scanner, style, plane, noise, skull)
    shown = windowed(upright(study.images[MODALITIES.index(modality)], plane), rng)
    frame = frame_of(shown, rng, style.side_px)
    grey = frame.cut(shown, Image.Resampling.BICUBIC)
    tumour = frame.cut(upright(study.labels > 0, plane).astype(np.uint8) * 255, Image.Resampling.BILINEAR)
    facts = {**study.facts, "modality": modality, "plane": plane}
    if person.tumour:
        facts["conspicuity"] = round(conspicuity(study, modality), 2)
    facts.pop("volume_ml", None)
    return Picture(encoded(grey, rng, suffix, rgb), suffix, rgb, facts, tumour > 127)


def yes_no_path(index: int, tumour: bool, suffix: str, rng: np.random.Generator) -> str:
    """A file name as in the Kaggle set: ``yes/Y12.jpg``, ``no/12 no.jpg``, ``no/N12.JPG`` or ``no/no 12.jpg``."""
    if tumour:
        return f"yes/Y{index + 1}{suffix}"
    return "no/" + str(rng.choice([f"{index + 1} no", f"N{index + 1}", f"no {index + 1}"])) + suffix


def four_class_path(index: int, kind: str | None, part: str, names: str) -> str:
    """A file name as in the four-class set: ``Training/glioma/Tr-gl_0012.jpg``, or the older set's spelling."""
    folder = CLASS_NAMES[names][kind]
    if names == "long":
        return f"{part}/{folder}/image({index + 1}).jpg"
    return f"{part}/{folder}/{part[:2]}-{folder[:2]}_{index + 10:04d}.jpg"


def write_brats_slice(
    root: Path, person: Person, rng: np.random.Generator, scanner: ScannerStyle, index: int, noise: float
) -> Written:
    """A FLAIR slice 256 x 256 as PNG, rows along x, with its mask (0, 255) where there is a tumour."""
    name = f"{'yes' if person.tumour else 'no'}_tumor/sample_{index:03d}"
    study, _ = draw_slice(person, rng, scanner, SLICE_STYLE, "axial", noise, skull=False)
    image = study.images[MODALITIES.index("FLAIR")].squeeze(2)
    grey = np.clip(image / np.percentile(image[image > 0], 99.7), 0, 1)
    mask = study.labels.squeeze(2) > 0
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    pads = [((256 - n) // 2, 256 - n - (256 - n) // 2) for n in image.shape]
    Image.fromarray(np.pad((255 * grey).astype(np.uint8), pads)).save(folder / "image.png", compress_level=3)
    if person.tumour:
        Image.fromarray(np.pad(mask.astype(np.uint8) * 255, pads)).save(folder / "mask.png", compress_level=3)
    patient = f"BraTS20_Training_{index + 1 + (0 if person.tumour else 500):03d}"
    text = {
        "index": index,
        "source": "phantom",
        "filename": f"{patient}_slice077.npz",
        "has_tumor": person.tumour is not None,
        "tumor_pixels": int(mask.sum()),
        "patient_id": patient,
        "slice_idx": 77,
        "modality": "flair",
        "shape": [1, 256, 256],
    }
    (folder / "metadata.json").write_text(json.dumps(text, indent=2) + "\n", encoding="utf-8")
    return Written(name, patient, {**study.facts, "modality": "FLAIR"})
