"""Pack a bundle into the zip file that MONAI downloads."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from medvlm.atomic import replacing
from medvlm.bundle.locate import find_bundle

__all__ = ["pack", "packed_files"]

TOP = ("LICENSE", "README.md")
FOLDERS = ("configs", "docs", "models")
LARGE_FILES = ("large_files.yml", "large_files.yaml", "large_files.json")
WEIGHTS = Path("models", "model.pt")
LEFT_OUT = {"__pycache__", ".ipynb_checkpoints", ".cache"}
STATE = ("_state.pt", "verify_model.ts", "stages.json", ".tmp")
STAGE = "models/stage_*"
"""Weights between the stages of a curriculum, and what lies beside them; the last stage leaves ``model.pt``."""
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date a zip file can hold


def pack(bundle: str, out: str = ".", allow_without_weights: bool = False, verify: bool = True) -> Path:
    """Verify a bundle, then pack it into ``<name>_v<version>.zip``, the release asset that MONAI's download expects.

    The zip holds ``<name>/`` with LICENSE, configs, docs and models; logs, caches, evaluations, training states and the
    weights between two stages (``models/stage_*``) stay out. The same bundle gives the same bytes on every machine. An
    entry of ``large_files`` whose file is packed is left out, so that nothing is downloaded twice.

    Args:
        bundle: name or path of the bundle.
        out: folder of the zip file, made when it is missing.
        allow_without_weights: pack although ``models/model.pt`` is missing.
        verify: refuse a bundle that ``python -m medvlm verify`` finds fault with.

    Returns:
        The zip file.

    Raises:
        FileNotFoundError: no such bundle, or no weights.
        ValueError: the metadata has no version, the changelog does not mention it, or a check failed.
    """
    root = find_bundle(bundle)
    metadata = json.loads((root / "configs" / "metadata.json").read_text(encoding="utf-8"))
    version = metadata.get("version")
    if not isinstance(version, str) or version not in metadata.get("changelog", {}):
        raise ValueError(f"version {version!r} of {root.name} has no entry in changelog of metadata.json; write one.")
    if not (root / WEIGHTS).is_file() and not allow_without_weights:
        raise FileNotFoundError(
            f"{root.name} has no {WEIGHTS.as_posix()}. Train it first (python -m medvlm train {root.name} "
            "--dataset_dir DIR), or pack the configuration alone with --allow_without_weights."
        )
    if verify:
        from medvlm.bundle.verify import verify as check

        report = check(str(root), allow_without_weights=allow_without_weights)
        if report.status:
            raise ValueError(f"{root.name} is not packed (--verify False packs it as it is):\n{report}")
    target = Path(out) / f"{root.name}_v{version}.zip"
    with replacing(target) as temporary:
        _write(root, temporary)
    return target


def packed_files(root: Path) -> list[Path]:
    """Return the files of a bundle that are packed, relative to it and sorted."""
    files = [Path(name) for name in TOP if (root / name).is_file()]
    for name in FOLDERS:
        files += [path.relative_to(root) for path in (root / name).rglob("*") if path.is_file()]
    return sorted(
        path
        for path in files
        if not LEFT_OUT & set(path.parts)
        and not path.name.endswith(STATE)
        and not path.name.startswith(".")
        and not path.match(STAGE)
    )


def _write(root: Path, target: Path) -> None:
    files = packed_files(root)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for path in files:
            _add(archive, f"{root.name}/{path.as_posix()}", (root / path).read_bytes())
        for name in LARGE_FILES:
            text = _remaining_large_files(root, name, files)
            if text:
                _add(archive, f"{root.name}/{name}", text.encode())


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    """Store a file with a fixed date and mode, so that equal content gives equal bytes."""
    entry = zipfile.ZipInfo(name, date_time=_EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o100644 << 16
    entry.create_system = 3
    archive.writestr(entry, content)


def _remaining_large_files(root: Path, name: str, packed: list[Path]) -> str:
    """The text of a ``large_files`` list without what is packed; empty when nothing remains."""
    file = root / name
    if not file.is_file():
        return ""
    from monai.bundle import ConfigParser

    content = ConfigParser.load_config_file(file)
    inside = {path.as_posix() for path in packed}
    entries = content.get("large_files", [])
    kept = [entry for entry in entries if Path(str(entry.get("path"))).as_posix() not in inside]
    if len(kept) == len(entries):
        return file.read_text(encoding="utf-8")
    return json.dumps({**content, "large_files": kept}, indent=4) + "\n" if kept else ""
