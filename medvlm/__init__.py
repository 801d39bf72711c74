"""Medical-imaging MONAI bundles over one shared library. ``medvlm.load(name)`` gives a bundle ready to run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["__version__", "load"]

if TYPE_CHECKING:
    from medvlm.bundle.loading import load


def __getattr__(name: str) -> Any:
    """Import ``load`` on first use, so that ``import medvlm`` needs neither torch nor monai."""
    if name == "load":
        from medvlm.bundle.loading import load

        return load
    raise AttributeError(f"module 'medvlm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
