"""The versions of this library and of what it stands on."""

from __future__ import annotations

import platform
from importlib import metadata

import medvlm

__all__ = ["version", "versions_of"]

STACK = ("torch", "monai", "pytorch-ignite", "numpy", "nibabel", "SimpleITK", "itk", "onnxruntime", "openvino")


def versions_of(packages: tuple[str, ...] = STACK) -> dict[str, str]:
    """Return the installed version of each distribution; one that is not installed is left out."""
    found = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def version() -> str:
    """Tell the versions of medvlm, of Python and of the packages that results depend on."""
    rows = {"medvlm": medvlm.__version__, "python": platform.python_version(), **versions_of()}
    return "\n".join(f"{name} {number}" for name, number in rows.items())
