"""Write what inference found in a case: maps on the input's own grid, a picture, a manifest; a folder a case."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import logging
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import monai
import nibabel
import numpy as np
import torch
from ignite.engine import Engine, Events
from PIL import Image

import medvlm
from medvlm.atomic import write_text_atomically
from medvlm.data.reading import is_picture
from medvlm.handlers.case_files import check_writable, clear_error, input_header, save_nifti, sha256_of, whole_folder
from medvlm.handlers.verdict import judge, read_operating_point
from medvlm.metrics.activation_energy import energy_inside
from medvlm.visualize.overlay import NOTHING_FOUND_BELOW, save_overlay

logger = logging.getLogger(__name__)

MAPS = {"pred_cam": "cam", "pred_uncertainty_mc": "uncertainty_mc", "pred_uncertainty_tta": "uncertainty_tta"}
"""Keys of a case's maps in [0, 1], and the names of their files."""

STEP = 1 / 255
"""Step of the maps in [0, 1] that are written as uint8."""


class CaseWriter:
    """Write each case that an evaluator has finished, and a summary of all.

    A case's folder holds ``labels.nii.gz``, ``probabilities.nii.gz``, ``cam.nii.gz``, ``uncertainty_mc.nii.gz``,
    ``uncertainty_tta.nii.gz`` (what was computed), ``overlay.png``, ``manifest.json``, and for a picture
    ``labels.png``. It is written beside its place and renamed, so that it is whole or absent.

    Args:
        output_dir: folder of the cases' folders, ``summary.csv`` and ``failed.json``.
        cases: the cases, looked up by ``case_id``.
        regions: names of the mask's channels.
        bundle: ``{"name", "version"}``.
        checkpoint: the weights file, whose hash goes into the manifest.
        operating_point: file of the frozen threshold.
        settings: what else decides the result (back end, pooling, samples ...); part of the manifest, and of what
            must agree for a case to count as done.
        none_below: tumour probability below which the summary says that none was found.
        mask_threshold: probability above which a voxel belongs to a region, for the volumes.
        overlay: draw ``overlay.png``.
        resume: leave out cases that are already there from the same input, weights and settings.
    """

    def __init__(
        self,
        output_dir: str | Path,
        cases: Sequence[dict],
        regions: Sequence[str],
        bundle: Mapping[str, str],
        checkpoint: str | Path,
        operating_point: str | Path,
        settings: Mapping[str, Any],
        none_below: float = NOTHING_FOUND_BELOW,
        mask_threshold: float = 0.5,
        overlay: bool = True,
        resume: bool = True,
    ) -> None:
        self.output_dir = Path(output_dir)
        self._cases = cases
        self.regions = list(regions)
        self.bundle = dict(bundle)
        self.checkpoint = Path(checkpoint)
        self.operating_point = operating_point
        self.settings = json.loads(json.dumps(dict(settings), default=str))
        self.none_below = none_below
        self.mask_threshold = mask_threshold
        self.overlay = overlay
        self.resume = resume
        self.written: list[str] = []
        self._hashes: dict[str, list[str]] = {}
        self._checkpoint_hash: str | None = None
        self._started = time.perf_counter()

    @cached_property
    def cases(self) -> dict[str, dict]:
        """The cases by their names."""
        return {case["case_id"]: case for case in self._cases}

    def attach(self, engine: Engine) -> None:
        """Try the output folder when the run starts, write after each iteration."""
        engine.add_event_handler(Events.STARTED, lambda: check_writable(self.output_dir))
        engine.add_event_handler(Events.ITERATION_STARTED, self.begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def begin(self) -> None:
        """Start the clock of a case."""
        self._started = time.perf_counter()

    def __call__(self, engine: Engine) -> None:
        """Write the cases of the batch that the engine has just finished (decollated, post-processed)."""
        for batch, output in zip(engine.state.batch, engine.state.output, strict=True):
            self.write({**batch, **output})

    def done(self, case: Mapping[str, Any]) -> bool:
        """Whether a case is there already, from the same input, weights and settings; ``TolerantDataset`` asks."""
        manifest = self._manifest_of(case["case_id"]) if self.resume else None
        if manifest is None or manifest.get("signature") != self._signature(case):
            return False
        folder = self.output_dir / case["case_id"]
        return all((folder / name).is_file() for name in manifest["files"])

    def write(self, item: Mapping[str, Any]) -> Path:
        """Write one case.

        Args:
            item: ``case_id``; ``pred_mask`` probabilities ``(R, X, Y, Z)`` and ``pred`` label map ``(1, X, Y, Z)``,
                with affines; ``pred_tumour`` logits ``(K,)``; ``native`` image ``(C, X, Y, Z)`` on the same grid;
                ``pred_brain`` and the maps, what there is of them.

        Returns:
            The case's folder.

        Raises:
            OSError: When it cannot be written; names the folder and the remedy, and nothing is left behind.
        """
        case = self.cases[item["case_id"]]
        first = case["image"][0] if isinstance(case["image"], list | tuple) else case["image"]
        affine = np.asarray(item["native"].affine, dtype=float)
        manifest = self._manifest(case, item, affine, is_picture(first))
        target = self.output_dir / case["case_id"]
        with whole_folder(target) as folder:
            self._save_maps(folder, item, affine, input_header(first))
            if is_picture(first) and "pred" in item:
                _save_picture(folder / "labels.png", _array(item["pred"])[0, ..., 0], len(self.regions) == 1)
            if self.overlay:
                self._save_overlay(folder / "overlay.png", case, item, affine, manifest)
            manifest["files"] = sorted([file.name for file in folder.iterdir()])
            manifest["seconds"] = round(time.perf_counter() - self._started, 3)
            (folder / "manifest.json").write_text(_json(manifest), encoding="utf-8")
        self.written.append(case["case_id"])
        logger.info("%s: %s", case["case_id"], manifest["summary"].replace("\n", "; "))
        return target

    def finish(self, failures: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Write ``summary.csv`` and ``failed.json``.

        Args:
            failures: what :class:`medvlm.engines.tolerant.TolerantDataset` noted.

        Returns:
            One row a case of this run, in the order of the cases. The file holds the cases of earlier runs into the
            same folder too, below them, with the status ``earlier``.

        Raises:
            OSError: When they cannot be written; names the file and the remedy.
        """
        failed = {failure.case_id: failure for failure in failures}
        rows = [self._summary_row(case_id, failed.get(case_id)) for case_id in self.cases]
        earlier = [{**self._summary_row(case_id, None), "status": "earlier"} for case_id in self._earlier()]
        columns = list(dict.fromkeys(key for row in [*rows, *earlier] for key in row))
        table = io.StringIO(newline="")
        writer = csv.DictWriter(table, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows([*rows, *earlier])
        try:
            write_text_atomically(table.getvalue(), self.output_dir / "summary.csv")
            write_text_atomically(_json([failure.as_dict() for failure in failures]), self.output_dir / "failed.json")
        except OSError as error:
            raise clear_error(error, self.output_dir / "summary.csv") from error
        return rows

    def _summary_row(self, case_id: str, failure: Any) -> dict[str, Any]:
        manifest = self._manifest_of(case_id) if failure is None else None
        if manifest is None:
            error = failure.message if failure is not None else "not done"
            return {"case_id": case_id, "status": "failed", "error": error}
        return {
            "case_id": case_id,
            "status": "done" if case_id in self.written else "kept",
            "error": "",
            "tumour_probability": manifest["tumour_probability"],
            "verdict": manifest["verdict"],
            **{f"volume_ml_{region}": value for region, value in (manifest["volumes_ml"] or {}).items()},
            **{f"cam_in_{place}": value for place, value in (manifest["cam_energy"] or {}).items()},
            "summary": manifest["summary"].replace("\n", "; "),
        }

    def _earlier(self) -> list[str]:
        """Cases that other runs left in this folder, by name."""
        there = {manifest.parent.name for manifest in self.output_dir.glob("*/manifest.json")}
        return sorted(name for name in there - set(self.cases) if self._manifest_of(name) is not None)

    def _manifest_of(self, case_id: str) -> dict[str, Any] | None:
        try:
            return json.loads((self.output_dir / case_id / "manifest.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def _inputs(self, case: Mapping[str, Any]) -> list[str]:
        """Hashes of a case's files, in order."""
        if case["case_id"] not in self._hashes:
            files = case["image"] if isinstance(case["image"], list | tuple) else [case["image"]]
            self._hashes[case["case_id"]] = [sha256_of(file) for file in files]
        return self._hashes[case["case_id"]]

    def _weights_hash(self) -> str:
        if self._checkpoint_hash is None:
            self._checkpoint_hash = sha256_of(self.checkpoint)
        return self._checkpoint_hash

    def _point(self) -> dict[str, Any]:
        return read_operating_point(self.operating_point, self._weights_hash())

    def _signature(self, case: Mapping[str, Any]) -> str:
        """Hash of everything that decides a case's result."""
        parts = {
            "inputs": self._inputs(case),
            "channels": list(case.get("channels", [])),
            "checkpoint": self._weights_hash(),
            "settings": self.settings,
            "operating_point": self._point(),
            "rules": [self.none_below, self.mask_threshold, self.overlay, self.regions],
            "medvlm": medvlm.__version__,
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _manifest(self, case: dict, item: Mapping[str, Any], affine: np.ndarray, picture: bool) -> dict[str, Any]:
        files = case["image"] if isinstance(case["image"], list | tuple) else [case["image"]]
        point = self._point()
        spacing = [float(x) for x in np.linalg.norm(affine[:3, :3], axis=0)]
        voxels = None
        if "pred_mask" in item:
            inside = (item["pred_mask"] > self.mask_threshold).flatten(1).sum(dim=1).tolist()
            voxels = dict(zip(self.regions, (int(count) for count in inside), strict=True))
        volumes = None
        if voxels is not None and not picture:
            volumes = {region: round(count * float(np.prod(spacing)) / 1000, 4) for region, count in voxels.items()}
        whole = max(volumes.values()) if volumes else None
        kind = "picture" if picture else "volume"
        outlined = None if voxels is None else any(voxels.values())
        tumour = item.get("pred_tumour")
        probability = None if tumour is None else float(1 - torch.softmax(torch.as_tensor(tumour).float(), dim=-1)[0])
        energy = None
        if "pred_cam" in item:
            mask = item["pred_mask"].amax(dim=0) > self.mask_threshold if "pred_mask" in item else None
            brain = item["pred_brain"][0] > 0.5
            cam = item["pred_cam"][0]
            energy = energy_inside(cam, torch.zeros_like(cam) if mask is None else mask, brain)
        return {
            "case_id": case["case_id"],
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            **judge(probability, whole, point, self.none_below, outlined=outlined, kind=kind),
            "volumes_ml": volumes,
            "voxels": voxels,
            "cam_energy": energy,
            "tumour_spread": {
                name: float(item[key])
                for name, key in (("mc_dropout", "pred_tumour_spread_mc"), ("flip_tta", "pred_tumour_spread_tta"))
                if key in item
            },
            "operating_point": point,
            "none_below": self.none_below,
            "grid": {"shape": list(item["native"].shape[1:]), "spacing_mm": spacing, "affine": affine.tolist()},
            "bundle": self.bundle,
            "checkpoint": {"file": self.checkpoint.name, "sha256": self._weights_hash()},
            "inputs": [
                {"file": str(file), "sha256": sha}
                for file, sha in zip(files, self._inputs(case), strict=True)
            ],
            "channels": list(case.get("channels", [])),
            "settings": self.settings,
            "versions": {
                "medvlm": medvlm.__version__,
                "torch": torch.__version__,
                "monai": monai.__version__,
                "numpy": np.__version__,
            },
            "signature": self._signature(case),
        }

    def _save_maps(
        self, folder: Path, item: Mapping[str, Any], affine: np.ndarray, like: nibabel.Nifti1Header | None
    ) -> None:
        if "pred" in item:
            save_nifti(folder / "labels.nii.gz", _array(item["pred"])[0].astype(np.uint8), affine, like)
        if "pred_mask" in item:
            probability = np.moveaxis(_steps(item["pred_mask"]), 0, -1)  # (X, Y, Z, R)
            one = probability.shape[-1] == 1
            save_nifti(
                folder / "probabilities.nii.gz", probability[..., 0] if one else probability, affine, like, STEP
            )
        for key, name in MAPS.items():
            if key in item:
                save_nifti(folder / f"{name}.nii.gz", _steps(item[key])[0], affine, like, STEP)

    def _save_overlay(
        self, path: Path, case: dict, item: Mapping[str, Any], affine: np.ndarray, manifest: Mapping[str, Any]
    ) -> None:
        shown = {key: _upright(_array(item[key]), affine) for key in ("native", "pred_mask", *MAPS) if key in item}
        mask = shown.get("pred_mask")
        spreads = [shown[key][0] for key in ("pred_uncertainty_mc", "pred_uncertainty_tta") if key in shown]
        spacing = nibabel.affines.voxel_sizes(affine)
        order = np.argsort([_axis(affine, axis) for axis in range(3)])
        save_overlay(
            path,
            shown["native"][0],
            None if mask is None else mask > self.mask_threshold,
            None if "pred_cam" not in shown else shown["pred_cam"][0],
            manifest["tumour_probability"],
            uncertainty=np.maximum.reduce(spreads) if spreads else None,
            words=manifest["summary"],
            found_from=self.none_below,
            title=case["case_id"],
            regions=self.regions,
            spacing=tuple(float(spacing[axis]) for axis in order),
        )


def _axis(affine: np.ndarray, axis: int) -> int:
    """The patient's axis (0 left-right, 1 front-back, 2 feet-head) along which a voxel axis runs."""
    return int(nibabel.orientations.io_orientation(affine)[axis, 0])


def _upright(maps: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Bring maps ``(C, X, Y, Z)`` of any orientation to LPS, without interpolation."""
    lps = nibabel.orientations.axcodes2ornt("LPS")
    turn = nibabel.orientations.ornt_transform(nibabel.orientations.io_orientation(affine), lps)
    return np.stack([nibabel.orientations.apply_orientation(one, turn) for one in maps])


def _array(value: Any) -> np.ndarray:
    value = value.as_tensor() if hasattr(value, "as_tensor") else value
    return value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)


def _steps(maps: torch.Tensor) -> np.ndarray:
    """Maps in [0, 1] as uint8 in steps of 1/255."""
    plain = maps.as_tensor() if hasattr(maps, "as_tensor") else maps
    return (plain.detach() * 255).round_().clamp_(0, 255).to(torch.uint8).cpu().numpy()


def _save_picture(path: Path, labels: np.ndarray, binary: bool) -> None:
    """Write a 2D label map ``(X, Y)`` as PNG: 0 and 255 where there is one region, else the values themselves."""
    rows = labels.T.astype(np.uint8)  # (Y, X)
    Image.fromarray(np.where(rows > 0, 255, 0).astype(np.uint8) if binary else rows).save(path)


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
