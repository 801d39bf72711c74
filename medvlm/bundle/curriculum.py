"""Train a bundle stage by stage, freeze its operating point, evaluate it; each step is one ``monai.bundle run``."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medvlm.atomic import write_text_atomically
from medvlm.bundle.locate import find_bundle
from medvlm.trained_settings import QUIET_IDS

if TYPE_CHECKING:
    from monai.bundle import ConfigParser

logger = logging.getLogger(__name__)
RECORD = "stages.json"


def train(
    bundle: str,
    dataset_dir: str | None = None,
    stages: str | Sequence[str] = "all",
    overlays: str | Sequence[str] = (),
    calibrate: bool = True,
    again: bool = False,
    **overrides: Any,
) -> list[Path]:
    """Run a bundle's curriculum: ``train.json`` with each ``stage_*.json`` in turn, then freeze the operating point.

    A bundle without stages is trained by ``train.json`` alone, and an overlay ``train_NAME`` is a training of its own,
    without the stages unless they are named.

    A stage that has already run with the same configuration and the same datalist is left alone, so that a second call
    is quick and an interrupted one goes on where it stopped.

    Where the validation section holds too few cases with a tumour for an operating point, that is said before the first
    stage and again at the end; the weights are kept, and verdicts are not calibrated.

    Args:
        bundle: name or path of the bundle.
        dataset_dir: folder that holds ``datalist.json``; by default that of the override ``datalist``.
        stages: ``"all"`` of the curriculum, or names such as ``"stage_1_segmentation"``, in the order to run.
        overlays: further configs laid over every stage (names in the bundle's ``configs`` or paths).
        calibrate: choose the operating point on the validation section afterwards.
        again: run finished stages again, and unfinished ones from their start, whatever file lies in their place.
        overrides: ids of the config and their values, as on MONAI's command line.

    Returns:
        The weight files that the stages left.

    Raises:
        ValueError: When a stage or an overlay does not exist, or an override is misspelt.
        FileExistsError: When the weights of a finished stage are not those that it left; nothing is run then.
    """
    root = find_bundle(bundle)
    dataset_dir = _folder_of(dataset_dir, overrides)
    over = _overlay_files(root, overlays)
    whole = stages == "all" and any(path.stem.startswith("train_") for path in over)
    folder, names = str(Path(dataset_dir).resolve()), ([] if whole else _chosen_stages(root, stages)) or [None]
    runs = [[root / "configs" / "train.json", *([name] if name else []), *over] for name in names]
    for configs in [] if again else runs:
        _refuse_foreign_weights(_Stage.read(root, configs, folder, overrides))
    calibrate = calibrate and _beside(root, overlays, "calibrate") is not None
    too_few = _too_few_positives(root, folder, overlays, overrides) if calibrate else ""
    if too_few:
        logger.warning(
            "no threshold will be frozen after the training: %s. For a calibrated verdict stop now and enlarge the "
            "validation section (prepare --fractions 0.6,0.2,0.2, or more cases), or lower --min_positives and say so.",
            too_few,
        )
    files = [_run_stage(root, configs, folder, again, overrides) for configs in runs]
    if too_few:
        _tell_uncalibrated(bundle, too_few)
    elif calibrate:
        try:
            freeze_operating_point(bundle, dataset_dir, overlays=overlays, **overrides)
        except (ValueError, RuntimeError) as error:
            _tell_uncalibrated(bundle, _as_too_few(error))
    return files


def freeze_operating_point(
    bundle: str, dataset_dir: str | None = None, overlays: str | Sequence[str] = (), **overrides: Any
) -> None:
    """Choose thresholds on the validation section (``calibrate.json``) and write them beside the weights."""
    calibration = _beside(find_bundle(bundle), overlays, "calibrate")
    if calibration is None:
        raise ValueError(f"{bundle} has no calibrate.json: none of its answers has a threshold.")
    evaluate(bundle, dataset_dir, overlays=[*_listed(overlays), calibration.stem], **overrides)


def evaluate(bundle: str, dataset_dir: str | None = None, overlays: str | Sequence[str] = (), **overrides: Any) -> None:
    """Evaluate a bundle: ``train.json`` with ``evaluate.json`` and any overlays over it.

    An overlay ``train_NAME`` is evaluated by ``evaluate_NAME.json`` and calibrated by ``calibrate_NAME.json`` where the
    bundle has them.

    Args:
        bundle: name or path of the bundle.
        dataset_dir: folder that holds ``datalist.json``; by default that of the override ``datalist``.
        overlays: further configs laid over ``train.json``, under ``evaluate.json``; ``calibrate`` lies over both.
        overrides: ids of the config and their values.
    """
    root = find_bundle(bundle)
    dataset_dir = _folder_of(dataset_dir, overrides)
    _run(root, _evaluation_configs(root, overlays), str(Path(dataset_dir).resolve()), overrides)


def _evaluation_configs(root: Path, overlays: str | Sequence[str]) -> list[Path]:
    files = _overlay_files(root, overlays)
    last = [path for path in files if path.stem.startswith("calibrate")]
    first = [path for path in files if path not in last]
    evaluation = _beside(root, overlays, "evaluate") or root / "configs" / "evaluate.json"
    return [root / "configs" / "train.json", *first, evaluation, *last]


def _too_few_positives(root: Path, dataset_dir: str, overlays: str | Sequence[str], overrides: dict[str, Any]) -> str:
    """Say that the section of the calibration holds too few tumours; empty where it does not, or knows of none."""
    calibration = _beside(root, overlays, "calibrate")
    configs = _evaluation_configs(root, [*_listed(overlays), str(calibration)])
    parser = _parser(root, configs, dataset_dir, overrides)
    least = parser.get_parsed_content("min_positives") if "min_positives" in parser else None
    if not isinstance(least, int) or "validate::cases" not in parser:
        return ""
    cases = parser.get_parsed_content("validate::cases")
    if not any("tumour" in case for case in cases):
        return ""
    found = sum(case.get("tumour") == 1 for case in cases)
    section = parser.get_parsed_content("section")
    words = f"{found} cases with a tumour in {section!r} are too few to set a sensitivity on ({max(least, 1)} needed)"
    return words if found < max(least, 1) else ""


def _as_too_few(error: Exception) -> str:
    """The words of a calibration that lacked positives; any other error is raised again."""
    from medvlm.engines.tolerant import innermost
    from medvlm.metrics.operating_point import TooFewPositives

    cause = innermost(error)
    if not isinstance(cause, TooFewPositives):
        raise error
    return str(cause).partition(";")[0]


def _tell_uncalibrated(bundle: str, too_few: str) -> None:
    logger.warning(
        "the weights are kept, but no threshold was frozen: %s. The verdict of predict is not calibrated; choose a "
        "threshold on more cases with python -m medvlm evaluate %s --dataset_dir DIR --overlays calibrate.",
        too_few,
        bundle,
    )


def _beside(root: Path, overlays: str | Sequence[str], kind: str) -> Path | None:
    """``KIND_NAME.json`` for an overlay ``train_NAME``, else ``KIND.json``, where the bundle has it."""
    names = [Path(name).stem for name in _listed(overlays)]
    wanted = [f"{kind}_{name.removeprefix('train_')}" for name in names if name.startswith("train_")]
    files = [root / "configs" / f"{name}.json" for name in (*wanted, kind)]
    return next((file for file in files if file.is_file()), None)


def _folder_of(dataset_dir: str | None, overrides: dict[str, Any]) -> str:
    """The folder of the data set; one that is not there is refused before anything slow is imported."""
    if dataset_dir is None and "datalist" not in overrides:
        raise ValueError("the data set must be named, by --dataset_dir (with its datalist.json) or by --datalist.")
    dataset_dir = str(Path(overrides["datalist"]).parent) if dataset_dir is None else dataset_dir
    if "datalist" not in overrides and not Path(dataset_dir, "datalist.json").is_file():
        raise FileNotFoundError(
            f"no datalist.json in {dataset_dir}; write one with `python -m medvlm prepare LAYOUT --root DIR --out "
            f"{dataset_dir}/datalist.json`, or name another with --datalist."
        )
    return dataset_dir


def _run(root: Path, configs: Sequence[Path], dataset_dir: str, overrides: dict[str, Any]) -> None:
    import monai.bundle

    from medvlm.engines.strict import refuse_lost_overrides

    refuse_lost_overrides(monai.bundle.ConfigParser.load_config_files([str(path) for path in configs]), overrides)
    monai.bundle.run(
        config_file=[str(path) for path in configs], bundle_root=str(root), dataset_dir=dataset_dir, **overrides
    )


@dataclass(frozen=True)
class _Stage:
    """What a stage is called, where its weights and its record go, and what it reads."""

    name: str
    folder: Path
    weights: Path
    datalist: Path

    @classmethod
    def read(cls, root: Path, configs: Sequence[Path], dataset_dir: str, overrides: dict[str, Any]) -> _Stage:
        parser = _parser(root, configs, dataset_dir, overrides)
        folder = Path(parser.get_parsed_content("ckpt_dir"))
        weights = folder / parser.get_parsed_content("weights_name")
        return cls(parser.get_parsed_content("stage"), folder, weights, Path(parser.get_parsed_content("datalist")))

    def records(self) -> dict[str, Any]:
        """What is recorded of all stages that left their weights in this folder."""
        file = self.folder / RECORD
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}

    def record(self, entry: dict[str, Any] | None) -> None:
        """Write what is recorded of this stage beside the others; None takes it out."""
        others = {name: own for name, own in self.records().items() if name != self.name}
        text = json.dumps(others | ({self.name: entry} if entry else {}), indent=2)
        write_text_atomically(text + "\n", self.folder / RECORD)

    def changed(self) -> str:
        """Say how the weights differ from those recorded; empty where they agree, or a record without a hash is old."""
        from medvlm.handlers.case_files import sha256_of

        known = self.records().get(self.name, {}).get("sha256")
        found = sha256_of(self.weights) if known and self.weights.is_file() else known
        return "" if found == known else f"SHA-256 {found:.12}..., recorded {known:.12}..."

    def left_by_another(self) -> bool:
        """Whether another training of this folder left the weights, in a file of the same name."""
        from medvlm.handlers.case_files import sha256_of

        own = {entry.get("sha256") for entry in self.records().values() if entry.get("weights") == self.weights.name}
        return self.weights.is_file() and sha256_of(self.weights) in own

    @property
    def unfinished(self) -> bool:
        """Whether a run of this stage was interrupted, so that the weights may be its best so far."""
        return (self.folder / f"{self.name}_state.pt").is_file()


def _parser(root: Path, configs: Sequence[Path], dataset_dir: str, overrides: dict[str, Any]) -> ConfigParser:
    from monai.bundle import ConfigParser

    from medvlm.engines.strict import refuse_lost_overrides

    parser = ConfigParser()
    parser.read_config([str(path) for path in configs])
    refuse_lost_overrides(parser.get(), overrides)
    parser.update(pairs={"bundle_root": str(root), "dataset_dir": dataset_dir, **overrides})
    return parser


def _refuse_foreign_weights(stage: _Stage) -> None:
    """Neither keep nor overwrite weights that a finished stage did not leave; a record without a hash says nothing."""
    changed = "" if stage.unfinished else stage.changed()
    if changed and not stage.left_by_another():
        raise FileExistsError(
            f"{stage.weights} is not the file that stage {stage.name!r} left ({changed}), so that it is neither kept "
            "nor overwritten; move it away to have the stage run again, put the stage's own file back, or overwrite "
            "it with --again True, which runs every stage."
        )


def _run_stage(root: Path, configs: Sequence[Path], dataset_dir: str, again: bool, overrides: dict[str, Any]) -> Path:
    from medvlm.handlers.case_files import sha256_of

    stage = _Stage.read(root, configs, dataset_dir, overrides)
    fingerprint = _fingerprint(configs, stage.datalist, overrides, stage.folder)
    same = stage.weights.is_file() and stage.records().get(stage.name, {}).get("fingerprint") == fingerprint
    if same and not again and not stage.changed():
        logger.info("stage %s has run with this configuration and data: %s is kept", stage.name, stage.weights)
        return stage.weights
    logger.info("stage %s starts", stage.name)
    if stage.name in stage.records():
        stage.record(None)  # of weights that this run replaces, should it be killed before its own record
    start = time.perf_counter()
    _run(root, configs, dataset_dir, ({"resume": False} if again else {}) | overrides)
    if not stage.weights.is_file():
        raise RuntimeError(
            f"stage {stage.name!r} ended without the weights {stage.weights}: nothing was trained or kept; see the log "
            "above, and keep a TrainingCheckpoint among the train handlers."
        )
    stage.record(
        {
            "fingerprint": _fingerprint(configs, stage.datalist, overrides, stage.folder),
            "weights": stage.weights.name,
            "sha256": sha256_of(stage.weights),
            "seconds": round(time.perf_counter() - start, 1),
        }
    )
    return stage.weights


def _fingerprint(configs: Sequence[Path], datalist: Path, overrides: dict[str, Any], folder: Path) -> str:
    """A hash of all that decides a stage's weights: configs, datalist, overrides and the weights it starts from."""
    digest = hashlib.sha256()
    for path in configs:
        digest.update(path.read_bytes())
    digest.update(datalist.read_bytes() if datalist.is_file() else b"")
    kept = {name: value for name, value in overrides.items() if name not in QUIET_IDS}
    digest.update(json.dumps(kept, sort_keys=True, default=str).encode())
    from monai.bundle import ConfigParser

    parser = ConfigParser()
    parser.read_config([str(path) for path in configs])
    initial = parser.config.get("initial_weights")
    if isinstance(initial, str) and initial:
        source = folder / Path(initial.split("/")[-1].strip("' )"))
        digest.update(source.read_bytes() if source.is_file() else b"")
    return digest.hexdigest()


def _chosen_stages(root: Path, stages: str | Sequence[str]) -> list[Path]:
    there = {path.stem: path for path in sorted((root / "configs").glob("stage_*.json"))}
    if stages == "all":
        return list(there.values())
    missing = [name for name in _listed(stages) if name not in there]
    if missing:
        raise ValueError(f"{root.name} has the stages {list(there)}, not {missing}; choose among them, or 'all'.")
    return [there[name] for name in _listed(stages)]


def _overlay_files(root: Path, overlays: str | Sequence[str]) -> list[Path]:
    files = []
    for name in _listed(overlays):
        inside = root / "configs" / f"{Path(name).stem}.json"
        path = Path(name) if Path(name).is_file() else inside
        if not path.is_file():
            there = sorted(p.stem for p in (root / "configs").glob("*.json") if p.stem != "metadata")
            raise ValueError(f"overlay {name!r} is neither a file nor one of {there}.")
        files.append(path)
    return files


def _listed(names: str | Sequence[str]) -> list[str]:
    return [name for name in names.split(",") if name] if isinstance(names, str) else list(names)
