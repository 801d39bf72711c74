"""Write what inference found in a case: maps on the input's own grid, a picture, a manifest; a folder a case."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from PIL import Image

from medvlm.data.reading import is_picture
from medvlm.handlers.case_files import input_header, save_nifti, sha256_of, whole_folder
from medvlm.handlers.case_folders import CaseFolders, json_text, versions
from medvlm.handlers.input_kind import input_kind
from medvlm.handlers.mask_gate import gate_words
from medvlm.handlers.squeezed_pixels import squeezed_words
from medvlm.handlers.verdict import judge, read_operating_point
from medvlm.handlers.whole_heads import extraction_words
from medvlm.metrics.activation_energy import energy_inside
from medvlm.trained_settings import caution, untrained_words
from medvlm.visualize.overlay import NOTHING_FOUND_BELOW, save_overlay

logger = logging.getLogger(__name__)

MAPS = {"pred_cam": "cam", "pred_uncertainty_mc": "uncertainty_mc", "pred_uncertainty_tta": "uncertainty_tta"}
"""Keys of a case's maps in [0, 1], and the names of their files."""

SPREADS = ("pred_uncertainty_mc", "pred_uncertainty_tta")
STEP = 1 / 255
"""Step of the maps in [0, 1] that are written as uint8."""


class CaseWriter(CaseFolders):
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
        threshold_settings: in use, those that must be the ones under which the frozen threshold was chosen.
        seen: what the network is shown here; ``caution`` of the manifest tells where its training was another
            (:func:`medvlm.trained_settings.caution`), and which head was never trained.
        brain_extracted: the network has learnt from extracted brains: the summary and ``caution`` of the manifest tell
            of a whole head, and whether its brain was extracted on the way (``extracted_ml``). They tell the
            ``caution`` of a case (a DICOM series that may not be MR) in any event.
        square_pixels: the network takes pixels of the axial plane for square, since nothing resamples them: the
            summary and ``caution`` tell of a volume whose sides there differ by more than 1.5 times.
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
        threshold_settings: Mapping[str, Any] | None = None,
        brain_extracted: bool = False,
        seen: Mapping[str, Any] | None = None,
        square_pixels: bool = False,
    ) -> None:
        super().__init__(output_dir, cases, "image", resume)
        self.regions = list(regions)
        self.bundle = dict(bundle)
        self.checkpoint = Path(checkpoint)
        self.operating_point, self.threshold_settings = operating_point, threshold_settings
        self.settings = json.loads(json.dumps(dict(settings), default=str))
        self.none_below = none_below
        self.mask_threshold = mask_threshold
        self.overlay = overlay
        self.brain_extracted, self.seen = brain_extracted, seen
        self.square_pixels = square_pixels
        self._checkpoint_hash: str | None = None

    def write(self, item: Mapping[str, Any]) -> Path:
        """Write one case.

        Args:
            item: ``case_id``; ``pred_mask`` probabilities ``(R, X, Y, Z)`` and ``pred`` label map ``(1, X, Y, Z)``,
                with affines; ``pred_tumour`` logits ``(K,)``; ``native`` image ``(C, X, Y, Z)`` on the same grid;
                ``pred_brain`` and the maps, what there is of them; ``result`` where a mask gate left word in it;
                ``whole_head`` and ``extracted_ml`` of ``transforms.ExtractBraind``.

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
            if is_picture(first) and _outlined(item):
                _save_picture(folder / "labels.png", _array(item["pred"])[0, ..., 0], len(self.regions) == 1)
            if self.overlay:
                self._save_overlay(folder / "overlay.png", case, item, affine, manifest)
            manifest["files"] = sorted([file.name for file in folder.iterdir()])
            manifest["seconds"] = self.seconds
            (folder / "manifest.json").write_text(json_text(manifest), encoding="utf-8")
        self.written.append(case["case_id"])
        logger.info("%s: %s", case["case_id"], manifest["summary"].replace("\n", "; "))
        if case.get("not_read"):
            logger.info("%s: not read, the network does not use them: %s", case["case_id"], ", ".join(case["not_read"]))
        return target

    def columns(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """Probability, verdict, volumes, where the activation lies, and the summary."""
        return {
            "tumour_probability": manifest["tumour_probability"],
            "verdict": manifest["verdict"],
            **{f"volume_ml_{region}": value for region, value in (manifest["volumes_ml"] or {}).items()},
            **{f"cam_in_{place}": value for place, value in (manifest["cam_energy"] or {}).items()},
            **({"mask_emptied": int(manifest["mask_gate"]["emptied"])} if manifest.get("mask_gate") else {}),
            "summary": manifest["summary"].replace("\n", "; "),
        }

    def _lacking(self, item: Mapping[str, Any]) -> list[str]:
        """The channels that the network knows and the case has not, where it may do without them."""
        wanted, present = self.settings.get("channels", ()), item.get("channels_present")
        if present is None or len(wanted) != len(present):
            return []
        return [name for name, there in zip(wanted, torch.as_tensor(present).tolist(), strict=True) if not there]

    def _weights_hash(self) -> str:
        if self._checkpoint_hash is None:
            self._checkpoint_hash = sha256_of(self.checkpoint)
        return self._checkpoint_hash

    def _point(self) -> dict[str, Any]:
        return read_operating_point(self.operating_point, self._weights_hash(), self.threshold_settings)

    def decides(self, case: Mapping[str, Any]) -> dict[str, Any]:
        """Channels, weights, settings, threshold and rules, and the caution about the weights where there is one."""
        warned = untrained_words(self.checkpoint) + caution(self.checkpoint, self.seen)
        return {
            **({"caution": warned} if warned else {}),
            "channels": list(case.get("channels", [])),
            "checkpoint": self._weights_hash(),
            "settings": self.settings,
            "operating_point": self._point(),
            "rules": [self.none_below, self.mask_threshold, self.overlay, self.regions, self.brain_extracted],
        }

    def _manifest(self, case: dict, item: Mapping[str, Any], affine: np.ndarray, picture: bool) -> dict[str, Any]:
        point = self._point()
        spacing = [float(x) for x in np.linalg.norm(affine[:3, :3], axis=0)]
        voxels, gate = None, _gate_of(item)
        if "pred_mask" in item:
            inside = (item["pred_mask"] > self.mask_threshold).flatten(1).sum(dim=1).tolist()
            voxels = dict(zip(self.regions, (int(count) for count in inside), strict=True))
        volumes = None
        if voxels is not None and not picture:
            volumes = {region: round(count * float(np.prod(spacing)) / 1000, 4) for region, count in voxels.items()}
        if gate and gate["closed"]:
            gate = {**gate, "emptied_voxels": voxels, "emptied_ml": volumes}
            voxels, volumes = ({region: 0 for region in found} if found else found for found in (voxels, volumes))
        whole = max(volumes.values()) if volumes else None
        outlined = None if voxels is None else any(voxels.values())
        tumour = item.get("pred_tumour")
        probability = None if tumour is None else float(1 - torch.softmax(torch.as_tensor(tumour).float(), dim=-1)[0])
        energy = None
        if "pred_cam" in item:
            mask = None
            if "pred_mask" in item and not (gate and gate["closed"]):
                mask = item["pred_mask"].amax(dim=0) > self.mask_threshold
            brain = item["pred_brain"][0] > 0.5
            cam = item["pred_cam"][0]
            energy = energy_inside(cam, torch.zeros_like(cam) if mask is None else mask, brain)
        said = judge(probability, whole, point, self.none_below, outlined=outlined, kind=input_kind(item["native"]))
        told = [
            case.get("caution", ""),
            extraction_words(item) if self.brain_extracted else "",
            squeezed_words(affine) if self.square_pixels and not picture else "",
            untrained_words(self.checkpoint),
        ]
        said["summary"] = "\n".join(filter(None, [said["summary"], *told]))
        lacking = self._lacking(item)
        if lacking:
            said["summary"] += f"\nWithout {', '.join(lacking)}, which the case does not have"
        if gate and gate["emptied"]:
            amount = max(gate["emptied_ml"].values()) if gate["emptied_ml"] else None
            said["summary"] += "\n" + gate_words(gate["level"], probability, amount)
        return {
            "case_id": case["case_id"],
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            **said,
            "caution": "\n".join(filter(None, [*told, caution(self.checkpoint, self.seen)])),
            **{name: item[name] for name in ("whole_head", "extracted_ml") if name in item},
            "mask_gate": gate,
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
            "inputs": self.inputs_of(case),
            "inputs_not_read": [str(file) for file in case.get("not_read", [])],
            "channels": list(case.get("channels", [])),
            "settings": self.settings,
            "versions": versions(),
            "signature": self.signature(case),
        }

    def _save_maps(
        self, folder: Path, item: Mapping[str, Any], affine: np.ndarray, like: nibabel.Nifti1Header | None
    ) -> None:
        if _outlined(item):
            save_nifti(folder / "labels.nii.gz", _array(item["pred"])[0].astype(np.uint8), affine, like)
        if "pred_mask" in item:
            probability = np.moveaxis(_steps(item["pred_mask"]), 0, -1)  # (X, Y, Z, R)
            one = probability.shape[-1] == 1
            save_nifti(folder / "probabilities.nii.gz", probability[..., 0] if one else probability, affine, like, STEP)
        for key, name in MAPS.items():
            if key in item:
                top = float(item[key].max()) if key in SPREADS else 1.0  # 1/255 leaves few steps
                top = top if top > 0 else 1.0
                save_nifti(folder / f"{name}.nii.gz", _steps(item[key] / top)[0], affine, like, top * STEP)

    def _save_overlay(
        self, path: Path, case: dict, item: Mapping[str, Any], affine: np.ndarray, manifest: Mapping[str, Any]
    ) -> None:
        shown = {key: _upright(_array(item[key]), affine) for key in ("native", "pred_mask", *MAPS) if key in item}
        mask, gate = shown.get("pred_mask"), manifest["mask_gate"]
        spreads = [shown[key][0] for key in SPREADS if key in shown]
        spacing = nibabel.affines.voxel_sizes(affine)
        order = np.argsort([_axis(affine, axis) for axis in range(3)])
        save_overlay(
            path,
            shown["native"][0],
            None if mask is None or (gate and gate["closed"]) else mask > self.mask_threshold,
            None if "pred_cam" not in shown else shown["pred_cam"][0],
            manifest["tumour_probability"],
            uncertainty=np.maximum.reduce(spreads) if spreads else None,
            words=manifest["summary"],
            found_from=self.none_below,
            title=case["case_id"],
            regions=self.regions,
            spacing=tuple(float(spacing[axis]) for axis in order),
        )


def _gate_of(item: Mapping[str, Any]) -> dict[str, Any] | None:
    """What ``GateMaskd`` said of a case; None without a gate."""
    return (item.get("result") or {}).get("mask_gate")


def _outlined(item: Mapping[str, Any]) -> bool:
    """Whether there is a label map; without a mask head MONAI's engine leaves the network's answers at its key."""
    return isinstance(item.get("pred"), torch.Tensor)


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
