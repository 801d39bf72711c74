"""What can be wrong with the files of one case, found by reading them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from medvlm.data.conventions import CONVENTIONS, foreign_values
from medvlm.data.mask_plausibility import doubts_about_mask
from medvlm.data.problems import Problem
from medvlm.data.reading import Picture, ReadError, exif_orientation, label_values, mask_of, read_image

SMALLEST_SIDE = 16  # pixels
LARGEST_SIDE = 4096
GRID_TOLERANCE_MM = 1e-2
SHOWN_VALUES = 8  # of a mask that is none


@dataclass
class _Findings:
    """Collects the rows of one case."""

    case_id: str
    rows: list[Problem] = field(default_factory=list)

    def error(self, file: str, problem: str, remedy: str) -> None:
        self.rows.append(Problem("error", str(file), self.case_id, problem, remedy))

    def warn(self, file: str, problem: str, remedy: str) -> None:
        self.rows.append(Problem("warning", str(file), self.case_id, problem, remedy))


def check_case(case: dict) -> list[Problem]:
    """Read every file of a case and say what is wrong; one bad file does not hide another.

    Args:
        case: a case with absolute paths.

    Returns:
        One row for each finding.
    """
    found = _Findings(str(case.get("case_id", "")))
    files = _image_files(case, found)
    pictures = {}
    for file in files:
        picture = _read(file, found)
        if picture is not None:
            _check_values(picture, file, found)
            pictures[file] = picture
    _check_channels(case, files, pictures, found)
    grids = [(file, _grid(p), p.affine) for file, p in pictures.items()]
    _check_grids(grids, found)
    if case.get("label"):
        _check_label(case, pictures, grids, found)
    _check_class(case, found)
    return found.rows


def _image_files(case: dict, found: _Findings) -> list[str]:
    image = case.get("image")
    files = [str(f) for f in image] if isinstance(image, list | tuple) else [str(image)] if image else []
    if not files:
        found.error("", "the case names no image", "prepare the datalist anew")
    for file in sorted({f for f in files if files.count(f) > 1}):
        found.error(file, "the same file stands for two channels", "name one file a channel")
    return list(dict.fromkeys(files))


def _read(file: str, found: _Findings) -> Picture | None:
    try:
        return read_image(file)
    except ReadError as error:
        found.error(error.path, error.problem, error.remedy)
        return None


def _grid(picture: Picture) -> tuple[int, ...]:
    """Spatial shape without trailing axes of length 1 and without channels."""
    shape = picture.data.shape[:2] if picture.affine is None else picture.data.shape[:3]
    return tuple(int(n) for n in shape)


def _check_values(picture: Picture, file: str, found: _Findings) -> None:
    data = picture.data
    if data.size == 0 or min(data.shape) == 0:
        found.error(file, f"the image has no voxels (shape {data.shape})", "copy or download it again")
        return
    if data.dtype.kind == "f":
        bad = int((~np.isfinite(data)).sum())
        if bad:
            found.error(file, f"{bad} voxels are NaN or infinite", "make the image again, or set them to 0")
            data = np.nan_to_num(data, nan=0.0, posinf=0.0, neginf=0.0)
    elif data.dtype.kind not in "biu":
        found.error(file, f"the voxels are of type {data.dtype}", "convert the image to integers or real numbers")
        return
    low, high = data.min(), data.max()
    if low == high:
        what = "every voxel is 0" if low == 0 else f"every voxel is {low:g}"
        found.error(file, f"the image is constant: {what}", "restore the image, or leave the case out")
    _check_sides(picture, file, found)
    if picture.affine is not None:
        _check_affine(picture, file, found)
    else:
        _check_mode(picture, file, found)


def _check_sides(picture: Picture, file: str, found: _Findings) -> None:
    sides = _grid(picture)[:2]
    if min(sides) < SMALLEST_SIDE:
        found.error(file, f"the image is only {sides[0]} x {sides[1]}", "replace it by a whole image, or leave it out")
    if max(sides) > LARGEST_SIDE:
        found.warn(file, f"the image is huge: {sides[0]} x {sides[1]}", "scale it down to spare memory and time")


def _check_affine(picture: Picture, file: str, found: _Findings) -> None:
    affine = picture.affine
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        found.error(file, "the affine is singular or not finite", "save the image with its spacing and orientation")
        return
    spacing = picture.spacing_mm
    if max(spacing) > 20 or min(spacing) < 0.05:
        shown = " x ".join(f"{s:.3g}" for s in spacing)
        found.warn(file, f"the voxels measure {shown} mm", "check the spacing; it may be in another unit")


def _check_mode(picture: Picture, file: str, found: _Findings) -> None:
    data, mode = picture.data, picture.mode
    if mode in ("RGBA", "LA") and (data[..., -1] < 255).any():
        found.warn(file, "parts of the picture are transparent", "they count as black; save it without transparency")
    if mode == "CMYK":
        found.warn(file, "the picture is CMYK, made for printing", "save it as a grey PNG")
    if data.ndim == 3 and data.shape[-1] >= 3:
        colours = data[..., :3].astype(np.int16)
        spread = colours.max(axis=-1) - colours.min(axis=-1)
        share = float((spread > 40).mean())
        if share > 0.01:
            what = f"{share:.0%} of the pixels are coloured; an MR image is grey"
            found.warn(file, what, "look for drawings or a colour map; it is read as grey")


def _check_channels(case: dict, files: list[str], pictures: dict[str, Picture], found: _Findings) -> None:
    names = case.get("channels")
    if not files:
        return
    if not names or isinstance(names, str):
        found.error(files[0], "the case does not name its channels", "add channels, one name a channel")
        return
    one_file = not isinstance(case.get("image"), list | tuple)
    if not one_file and len(files) != len(names):
        what = f"{len(files)} files but {len(names)} channel names {names}"
        found.error(files[0], what, "name one file a channel")
    for file, picture in pictures.items():
        volume = picture.affine is not None
        count = int(np.prod(picture.data.shape[3:])) if volume else 1
        if volume and picture.data.ndim > 4 and count != picture.data.shape[-1]:
            found.error(file, f"the image has {picture.data.ndim} axes {picture.data.shape}", "save it as 3-D or 4-D")
        elif one_file and count != len(names):
            what = f"the file holds {count} channels (shape {picture.data.shape}), the case names {len(names)}: {names}"
            found.error(file, what, "name each channel in file order, or give the right file")
        elif not one_file and count != 1:
            what = f"a 4-D image (shape {picture.data.shape}) where one channel is expected"
            found.error(file, what, "save each channel as a 3-D file, or name the one 4-D file as image")


def _check_grids(grids: list[tuple[str, tuple[int, ...], np.ndarray | None]], found: _Findings) -> None:
    """Compare every file of a case with the first one that could be read."""
    for file, shape, affine in grids[1:]:
        _compare(grids[0], file, shape, affine, found)


def _compare(reference: tuple, file: str, shape: tuple[int, ...], affine, found: _Findings) -> None:
    first, first_shape, first_affine = reference
    name = Path(first).name
    if _solid(shape) != _solid(first_shape):
        what = f"its shape {shape} differs from {first_shape} of {name}"
        found.error(file, what, "resample it onto the other's grid, or restore the right file")
        return
    if affine is None or first_affine is None:
        return
    corners = np.array([[x, y, z, 1.0] for x in (0, 1) for y in (0, 1) for z in (0, 1)])
    corners[:, :3] *= np.array((*shape, 1, 1)[:3]) - 1
    apart = float(np.abs(corners @ (affine - first_affine).T).max())
    if apart <= GRID_TOLERANCE_MM:
        return
    here, there = (np.linalg.norm(a[:3, :3], axis=0) for a in (affine, first_affine))
    if np.abs(here - there).max() > 1e-3:
        what = f"its spacing {_mm(here)} mm differs from {_mm(there)} mm of {name}"
    else:
        what = f"its affine differs from the one of {name}: the same voxel lies up to {apart:.3g} mm apart"
    found.error(file, what, "resample it onto the other's grid, or mend the header if only that is wrong")


def _solid(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[:2] if len(shape) == 3 and shape[2] == 1 else shape


def _mm(spacing: np.ndarray) -> str:
    return " x ".join(f"{s:.4g}" for s in spacing)


def _check_label(case: dict, pictures: dict[str, Picture], grids: list, found: _Findings) -> None:
    file = str(case["label"])
    if file in pictures:
        found.error(file, "the same file stands for the image and the mask", "name the label map as label")
    picture = _read(file, found)
    if picture is None:
        return
    try:
        mask = mask_of(picture, file)
        values = label_values(mask, file)
    except ReadError as error:
        found.error(error.path, error.problem, error.remedy)
        return
    if picture.affine is not None and mask.ndim > 3:
        found.error(file, f"the mask has {mask.ndim} axes {mask.shape}", "save one 3-D label map")
        return
    if grids:
        _compare(grids[0], file, _grid(picture), picture.affine, found)
    _check_turn(list(pictures), file, found)
    _check_meaning(case, file, values, found)
    holds = bool(values.any())
    if case.get("tumour") in (0, 1) and holds != bool(case["tumour"]):
        what = f"the mask {'holds a' if holds else 'is empty:'} {'tumour' if holds else 'no tumour'}"
        found.error(file, f"{what}, but the case is of class {case['tumour']}", "correct the mask or the class")
    if holds:
        channels, convention = _channel_arrays(case, pictures), str(case.get("convention", ""))
        for doubt in doubts_about_mask(mask, channels, convention, picture.spacing_mm):
            found.warn(file, *doubt)


def _check_turn(images: list[str], label: str, found: _Findings) -> None:
    """Training turns a picture as its EXIF orientation says; a mask drawn on the pixels as stored stays behind."""
    drawn = exif_orientation(label)
    for file in images:
        stated = exif_orientation(file)
        if stated != drawn:
            what = f"its EXIF orientation is {stated}, that of its mask {drawn}: it is turned upright when read"
            found.warn(file, what, "save it upright (without the orientation) and check that the mask lies on it")


def _channel_arrays(case: dict, pictures: dict[str, Picture]) -> dict[str, np.ndarray]:
    """The channels that could be read, by name, where names and files agree."""
    names, image = case.get("channels") or [], case.get("image")
    if isinstance(image, list | tuple):
        return {n: pictures[str(f)].data for n, f in zip(names, image, strict=False) if str(f) in pictures}
    picture = pictures.get(str(image))
    if picture is None:
        return {}
    if picture.affine is None:
        grey = picture.data if picture.data.ndim == 2 else picture.data[..., 0]
        return {names[0]: grey} if len(names) == 1 else {}
    if picture.data.ndim == 4 and picture.data.shape[-1] == len(names):
        return {n: picture.data[..., i] for i, n in enumerate(names)}
    return {names[0]: picture.data} if len(names) == 1 else {}


def _check_meaning(case: dict, file: str, values: np.ndarray, found: _Findings) -> None:
    name, regions = case.get("convention"), case.get("regions")
    if name in CONVENTIONS and not regions:
        what = f"the case names the convention {name}, but not the regions that follow from it"
        found.error(file, what, f"write {CONVENTIONS[name].regions_as_lists()}, or prepare the datalist anew")
        regions = CONVENTIONS[name].regions_as_lists()
    if not name or not regions:
        found.error(file, "the case does not say what the mask's values mean", "prepare the datalist anew")
        return
    if name not in CONVENTIONS:
        known = {0, *(int(v) for inside in regions.values() for v in inside)}
        foreign = sorted({int(v) for v in values} - known)
        remedy = f"add them to the case's regions, or use one of {', '.join(CONVENTIONS)}"
    else:
        foreign, remedy = foreign_values(values, name)
        if {k: sorted(v) for k, v in regions.items()} != CONVENTIONS[name].regions_as_lists():
            what = f"the case's regions {regions} are not those of the convention {name}"
            found.error(file, what, f"write {CONVENTIONS[name].regions_as_lists()}")
    if foreign:
        more = len(foreign) - SHOWN_VALUES
        shown = f"{foreign[:SHOWN_VALUES]}{f' and {more} more' if more > 0 else ''}"
        found.error(file, f"values {shown} are foreign to the convention {name}", remedy)


def _check_class(case: dict, found: _Findings) -> None:
    image = case.get("image")
    file = str(image[0] if isinstance(image, list | tuple) and image else image or "")
    if "tumour" in case and case["tumour"] not in (0, 1):
        found.error(file, f"tumour is {case['tumour']!r}", "write 0 or 1, or leave the key out where it is unknown")
    if case.get("empty_mask") and case.get("tumour") != 0:
        found.error(file, "empty_mask on a case that is not known to be healthy", "remove empty_mask")
    if case.get("empty_mask") and case.get("label"):
        found.error(file, "empty_mask beside a mask", "remove one of the two")
    for key in case:
        if key.startswith(("image_", "label_")):
            found.error(file, f"the key {key!r} breaks MONAI's Spacingd", "rename it so that it starts otherwise")
