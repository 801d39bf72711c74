"""Load a bundle in one line, for use from Python."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from monai.data import decollate_batch, list_data_collate
from torch import nn

from medvlm.bundle.locate import find_bundle
from medvlm.engines.case_finding import CaseFinder
from medvlm.engines.config_problems import OwnFiles, find_problems
from medvlm.engines.strict import ConfigError, refuse_lost_overrides
from medvlm.engines.tolerant import plain_errors
from medvlm.handlers.case_files import sha256_of
from medvlm.metrics.operating_point import misfit, warn_once
from medvlm.networks.checkpoint import load_weights
from medvlm.networks.trained_heads import switch_off_untrained
from medvlm.trained_settings import compare_settings

__all__ = ["LoadedBundle", "load"]

INFERENCE = Path("configs", "inference.json")
WEIGHTS = Path("models", "model.pt")
OPERATING_POINT = Path("models", "operating_point.json")


def load(
    bundle: str | Path,
    weights: bool = True,
    device: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    overlays: Sequence[str] = (),
) -> LoadedBundle:
    """Load a bundle: its network with weights, preprocessing, inferer, postprocessing and operating point.

    ``medvlm.load("brats_mri_multitask")("scan.nii.gz")`` runs one image. Nothing is downloaded, and the working
    directory does not matter.

    Args:
        bundle: its folder or its name; see `medvlm.bundle.locate.find_bundle`.
        weights: read ``models/model.pt``; False keeps the initial random weights.
        device: such as ``"cpu"`` or ``"cuda"``; by default what ``inference.json`` chooses.
        overrides: ids of ``inference.json`` and their values.
        overlays: names of further configs of the bundle over ``inference.json``, such as ``["inference_3d"]``.

    Raises:
        FileNotFoundError: no such bundle, or no weights; names the remedy.
        ValueError: the weights do not fit the network, or a name in the config is misspelt.
    """
    loaded = LoadedBundle(find_bundle(bundle), weights=weights, device=device, overrides=overrides, overlays=overlays)
    if weights:
        _ = loaded.network  # now, so that weights that are missing or do not fit are said here
    return loaded


class LoadedBundle:
    """A bundle in memory; parts are built when first used.

    Args:
        root: the bundle's folder.
        weights: see `load`.
        device: see `load`.
        overrides: see `load`.
        overlays: see `load`.
    """

    def __init__(
        self,
        root: str | Path,
        weights: bool = True,
        device: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        overlays: Sequence[str] = (),
    ) -> None:
        self.root = Path(root).resolve()
        config = self.root / INFERENCE
        if not config.is_file():
            raise FileNotFoundError(f"{self.root.name} has no {INFERENCE}; only bundles that have one can be loaded.")
        self.parser = ConfigParser()
        files = [self.root / "configs" / f"{name}.json" for name in overlays]
        missing = [file.stem for file in files if not file.is_file()]
        if missing:
            there = sorted(file.stem for file in (self.root / "configs").glob("*.json"))
            raise ValueError(f"{self.root.name} has no overlay {missing}; its configs are {there}.")
        self.parser.read_config([str(config), *map(str, files)])
        self.parser.read_meta(str(self.root / "configs" / "metadata.json"))
        changes = {**(overrides or {}), "bundle_root": str(self.root)}
        if device is not None:
            changes["device"] = f"$torch.device('{device}')"
        base = ConfigParser.load_config_files([str(config), *map(str, files)])
        refuse_lost_overrides(base, changes)
        self.parser.update(changes)
        problems = find_problems(self.parser, OwnFiles.read(config.parent), changes, base)
        if problems:
            raise ConfigError(f"{INFERENCE} of {self.root.name}:" + "".join(f"\n  {problem}" for problem in problems))
        self._with_weights = weights

    def __repr__(self) -> str:
        return f"LoadedBundle({self.name!r}, version={self.metadata.get('version')!r}, root={str(self.root)!r})"

    @property
    def name(self) -> str:
        """The name of the bundle's folder."""
        return self.root.name

    @property
    def metadata(self) -> dict:
        """The content of ``configs/metadata.json``."""
        return self.parser["_meta_"]

    @property
    def checkpoint(self) -> Path:
        """The file of the weights: ``checkpoint`` of the config where it is a path, else ``models/model.pt``."""
        named = self.parser.get_parsed_content("checkpoint") if "checkpoint" in self.parser else None
        return Path(named) if isinstance(named, (str, Path)) else self.root / WEIGHTS

    @property
    def checkpoint_sha256(self) -> str:
        """The SHA-256 of the weights."""
        return sha256_of(self.checkpoint)

    @cached_property
    def device(self) -> torch.device:
        """Where the network runs."""
        return torch.device(self.parser.get_parsed_content("device"))

    @cached_property
    def network(self) -> nn.Module:
        """``network_def`` of the config with its weights, in evaluation mode, on `device`; untrained heads are off."""
        if self._with_weights and not self.checkpoint.is_file():
            raise FileNotFoundError(
                f"{self.name} has no weights at {self.checkpoint}. Train them (python -m medvlm train {self.name} "
                "--dataset_dir DIR), put a released bundle in their place, or load with weights=False."
            )
        network = self.parser.get_parsed_content("network_def")
        if self._with_weights:
            load_weights(network, self.checkpoint)
            switch_off_untrained(network, self.checkpoint)
            if "seen" in self.parser:
                compare_settings(self.checkpoint, self.parser.get_parsed_content("seen"))
        return network.to(self.device).eval()

    @cached_property
    def runtime(self) -> Callable:
        """What the inferer calls: ``network`` of the config, which may be another back end around the same weights."""
        module = self.network  # loads the weights into the object that the config's `network` refers to
        if not self._with_weights or "network" not in self.parser:
            return module
        return self.parser.get_parsed_content("network")

    @cached_property
    def preprocessing(self) -> Callable:
        """The transform that makes a sample of a case."""
        return self.parser.get_parsed_content("preprocessing")

    @cached_property
    def inferer(self) -> Callable:
        """``inferer(batch, network)``."""
        return self.parser.get_parsed_content("inferer")

    @cached_property
    def postprocessing(self) -> Callable:
        """The transform of a sample with its prediction ``pred``; it may write files, as configured."""
        return self.parser.get_parsed_content("postprocessing")

    @cached_property
    def operating_point(self) -> dict | None:
        """The threshold frozen on validation data (``operating_point`` of the config, ``models/operating_point.json``).

        None before it is chosen, and where it was chosen for other weights or under other settings than those of this
        config (``threshold_settings``), which the log tells.
        """
        named = self.parser.get_parsed_content("operating_point") if "operating_point" in self.parser else None
        file = Path(named) if isinstance(named, (str, Path)) else self.root / OPERATING_POINT
        if not file.is_file():
            return None
        point = json.loads(file.read_text(encoding="utf-8"))
        weights = self.checkpoint_sha256 if self._with_weights and self.checkpoint.is_file() else None
        known = "threshold_settings" in self.parser
        reason = misfit(point, weights, self.parser.get_parsed_content("threshold_settings") if known else None)
        if reason:
            warn_once(f"{file} {reason}. It does not count.")
        return None if reason else point

    def __call__(self, case: Mapping[str, Any] | str | Path) -> dict[str, Any]:
        """Run one case, as MONAI's evaluator does.

        Args:
            case: what a datalist holds for a case, or a path that stands for one (see `predict`).

        Returns:
            The sample after postprocessing; the prediction lies under ``pred`` and what postprocessing makes of it.

        Raises:
            ValueError: when a path stands for several cases, or a case cannot be read.
        """
        if not isinstance(case, Mapping):
            return self.predict(case)
        with plain_errors():
            batch = list_data_collate([self.preprocessing(dict(case))])
            with torch.inference_mode():
                inputs, arguments = self._inputs(batch)
                batch["pred"] = self.inferer(inputs, self.runtime, **arguments)
            return self.postprocessing(decollate_batch(batch)[0])

    def _inputs(self, batch: dict[str, Any]) -> tuple[torch.Tensor, dict[str, Any]]:
        """What the inferer takes of a batch: by the config's ``prepare_batch``, else ``image``."""
        if "prepare_batch" not in self.parser:
            return batch["image"].to(self.device), {}
        inputs, _, _, arguments = self.parser.get_parsed_content("prepare_batch")(batch, self.device)
        return inputs, arguments

    def cases(self, path: str | Path, **reading: Any) -> list[dict]:
        """The cases that a path stands for, as the command ``predict`` finds them.

        Args:
            path: an image, a DICOM folder, a folder with the modality files of one case ...; for a bundle of videos a
                study's folder, a video, a manifest, a datalist.
            reading: arguments of the class that the config's ``cases`` names, such as ``channels`` or ``section``.
        """
        return list(CaseFinder(self.parser).find(path, **reading))

    def predict(self, path: str | Path, **reading: Any) -> dict[str, Any]:
        """Run the one case that a path stands for; for many cases and files of results there is ``medvlm predict``.

        Args:
            path: see `cases`.
            reading: see `cases`.
        """
        cases = self.cases(path, **reading)
        if len(cases) != 1:
            raise ValueError(
                f"{path} holds {len(cases)} cases; load() runs one at a time. "
                f"For all: python -m medvlm predict {self.name} --input {path} --output DIR"
            )
        if cases[0].get("error"):
            raise ValueError(str(cases[0]["error"]))
        return self(cases[0])
