"""What the user's ``--channels`` says, and whether it fits what is there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from medvlm.data.conventions import canonical_channel


def channel_names(channels: str | Sequence[str] | None) -> tuple[list[str], dict[str, str]]:
    """Read the user's ``--channels``.

    Args:
        channels: ``"FLAIR,T1,T1c,T2"`` or a list (the order inside a 4-D file), or ``"FLAIR=a.nii.gz,T1=b.nii.gz"``
            (which file is which).

    Returns:
        The ordered names, and the names by file; one of them is empty.

    Raises:
        ValueError: When a name is unknown, or stands twice, or the two forms are mixed.
    """
    if not channels:
        return [], {}
    parts = channels.split(",") if isinstance(channels, str) else [str(part) for part in channels]
    parts = [part.strip() for part in parts if part.strip()]
    named = [part for part in parts if "=" in part]
    if named and len(named) != len(parts):
        raise ValueError(f"channels takes either names or NAME=FILE pairs, got a mixture: {', '.join(parts)}.")
    if not named:
        names = [canonical_channel(part) for part in parts]
        _refuse_repeated(names, "channel", parts)
        return names, {}
    pairs = [part.split("=", 1) for part in named]
    by_file = {file.strip(): canonical_channel(name) for name, file in pairs}
    _refuse_repeated([file.strip() for _, file in pairs], "file", parts)
    _refuse_repeated(list(by_file.values()), "channel", parts)
    return [], by_file


def _refuse_repeated(names: Sequence[str], what: str, given: Sequence[str]) -> None:
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise ValueError(f"channels must name each {what} once, got {', '.join(repeated)} twice: {', '.join(given)}.")


def names_for(path: Path, channels: str | Sequence[str] | None) -> list[str]:
    """The names that ``--channels`` gives one file or series.

    Raises:
        ValueError: When it gives names to other files only.
    """
    ordered, by_file = channel_names(channels)
    if by_file and path.name not in by_file:
        raise ValueError(
            f"channels must name {path.name}, which is read, got {', '.join(by_file)}; "
            f'give --channels "FLAIR={path.name}", or the folder of these files.'
        )
    return [by_file[path.name]] if by_file else ordered


def refuse_surplus(path: Path, names: Sequence[str]) -> None:
    """Refuse more than one name for what holds one channel.

    Raises:
        ValueError: Says how many were given, and the remedy.
    """
    if len(names) > 1:
        raise ValueError(
            f"{path} holds one channel and {len(names)} names were given ({', '.join(names)}); give the one that it "
            f"is, e.g. --channels {names[0]}, or a folder with a file for each."
        )


def agreed(group: Mapping[str, Path], channels: str | Sequence[str] | None, folder: Path) -> dict[str, Path]:
    """The files or folders of a case by channel, where their names say it and ``--channels`` may say it too.

    Args:
        group: by the channel that a name says.
        channels: see :func:`channel_names`; pairs choose and name, one name names a single file.
        folder: for messages.

    Raises:
        ValueError: When the two do not agree; names both, and the remedy.
    """
    ordered, by_file = channel_names(channels)
    refuse_absent(by_file, group.values(), folder)
    if by_file:
        return {by_file[path.name]: path for path in group.values() if path.name in by_file}
    if len(ordered) == len(group) == 1:
        return {ordered[0]: next(iter(group.values()))}
    if ordered and set(ordered) != set(group):
        read = ", ".join(f"{path.name}: {name}" for name, path in group.items())
        raise ValueError(
            f"channels must agree with the names in {folder} ({read}), got {', '.join(ordered)}; leave it out, or say "
            f'which is which, e.g. --channels "FLAIR={next(iter(group.values())).name},...".'
        )
    return dict(group)


def refuse_absent(by_file: Mapping[str, str], there: Iterable[Path], folder: Path) -> None:
    """Refuse names of files that are not there.

    Raises:
        ValueError: Lists them, and those that are there.
    """
    names = [path.name for path in there]
    absent = sorted(set(by_file) - set(names))
    if absent:
        raise ValueError(f"{folder} has no {', '.join(absent)}; it has {', '.join(names)}.")
