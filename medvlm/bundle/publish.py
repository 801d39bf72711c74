"""Publish a bundle on the Hugging Face Hub."""

from __future__ import annotations

import json
import locale
import logging
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medvlm.bundle.locate import find_bundle
from medvlm.bundle.pack import packed_files
from medvlm.bundle.verify import verify

__all__ = ["publish"]

logger = logging.getLogger(__name__)


def publish(bundle: str, repo: str, dry_run: bool = False, private: bool = True, tag_latest: bool = False) -> str:
    """Verify a bundle, then upload it to the Hugging Face Hub with MONAI's ``push_to_hf_hub``.

    Only what `medvlm.bundle.pack` would pack is uploaded. The stored Hugging Face token is used.

    Args:
        bundle: name or path of the bundle.
        repo: ``user/name`` on the Hub.
        dry_run: check everything and say what would be uploaded, without a connection.
        private: make the repository private.
        tag_latest: also tag the upload as ``latest_version``.

    Returns:
        What was uploaded and where, or what would be.

    Raises:
        ValueError: ``repo`` is no ``user/name``, or a check failed; nothing is uploaded then.
        ImportError: huggingface_hub is not installed.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo):
        raise ValueError(f"repo must be 'user/name', got {repo!r}.")
    root = find_bundle(bundle)
    report = verify(str(root))
    if report.status:
        raise ValueError(f"{root.name} is not published:\n{report}")
    try:
        import huggingface_hub  # noqa: F401
    except ImportError as error:
        raise ImportError("publishing needs huggingface_hub: pip install 'medvlm-bundles[bundle]'") from error
    version = json.loads((root / "configs" / "metadata.json").read_text(encoding="utf-8"))["version"]
    files = packed_files(root)
    size = sum((root / path).stat().st_size for path in files)
    rows = "".join(f"\n  {(root / path).stat().st_size:>12,d}  {path.as_posix()}" for path in files)
    summary = f"{len(files)} files, {size:,d} bytes, tag {version}:{rows}"
    if dry_run:
        return f"{report}\nwould upload to {repo} ({'private' if private else 'public'}): {summary}"
    return f"uploaded to {_push(root, files, repo, version, private, tag_latest)}: {summary}"


def _push(root: Path, files: list[Path], repo: str, version: str, private: bool, tag_latest: bool) -> str:
    """Upload a clean copy, since MONAI uploads the whole folder and writes a model card into it."""
    import monai.bundle

    with tempfile.TemporaryDirectory() as folder:
        for path in files:
            copy = Path(folder) / root.name / path
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / path, copy)
        with _utf8_files():
            url = monai.bundle.push_to_hf_hub(
                repo=repo,
                name=root.name,
                bundle_dir=folder,
                private=private,
                version=version,
                tag_as_latest_version=tag_latest,
            )
    return str(url)


@contextmanager
def _utf8_files() -> Iterator[None]:
    """Let MONAI, which names no encoding, read the model card as UTF-8 where the locale says ASCII.

    The locale may be that of the user, or the one that a reader of images has set.
    """
    before = locale.setlocale(locale.LC_CTYPE)
    try:
        locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
    except locale.Error:
        logger.debug("there is no locale C.UTF-8 here; %s stays", before)
    try:
        yield
    finally:
        locale.setlocale(locale.LC_CTYPE, before)
