"""The files of a flat folder as cases: which files are the modalities of one patient."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from medvlm.data.conventions import UNNAMED_CHANNEL
from medvlm.engines.modality_names import CONTRAST_TOKENS, TOKENS, NameReading, read_name, tokens_of


def group_files(files: Sequence[Path], folder: Path) -> list[tuple[str, dict[str, Path]]]:
    """Group files by what their names share besides the modality.

    One file a modality is one case, if the names agree in whose it is; a bare ``t1.nii.gz`` belongs to the folder.

    Args:
        files: volumes of one folder.
        folder: for messages.

    Returns:
        A case's name (empty for the folder's own) and its files by channel; nothing where no name says a modality, so
        that each file is a case of its own.

    Raises:
        ValueError: When it is not clear which files belong together; lists what was understood, and the remedy.
    """
    read = [(file, read_name(file.name)) for file in files]
    known = [name for _, name in read if name.channel]
    if not known:
        return []
    understood = "; ".join(f"{file.name}: {name.words}" for file, name in read)
    remedy = f'--channels "FLAIR={files[0].name},..." says which file is which.'
    if _unclear(read):
        raise ValueError(f"{folder} holds files whose modality is not clear ({understood}); {remedy}")
    if len(known) == len(read) == len({name.channel for name in known}):  # one file a modality: one case
        _refuse_strangers(read, folder)
        return [("", {name.channel: file for file, name in read})]
    groups: dict[str, dict[str, Path]] = {}
    for (file, name), key in zip(read, _keys([name for _, name in read]), strict=True):
        group = groups.setdefault(key, {})
        channel = name.channel or UNNAMED_CHANNEL
        if channel in group:
            raise ValueError(f"{folder} holds two files for {channel} of one case ({understood}); {remedy}")
        group[channel] = file
    return list(groups.items())


def _unclear(read: Sequence[tuple[Path, NameReading]]) -> bool:
    """Whether a name may mean several modalities, or none where another file has the same words besides one."""
    words = [(name, set(filter(None, name.rest.split("_")))) for _, name in read]
    named, unnamed = ([own for name, own in words if bool(name.channel) is known] for known in (True, False))
    ambiguous = any(len(name.found) > 1 for name, _ in words)
    return ambiguous or any(own <= other for own in named for other in unnamed) or _doubtful(read)


def _doubtful(read: Sequence[tuple[Path, NameReading]]) -> bool:
    """Whether a T1 counts as T1c by a word that a T2 or FLAIR has too: a patient's or a session's, not an agent's."""
    shared = {word for _, name in read if name.channel in ("T2", "FLAIR") for word in name.rest.split("_")}
    shared &= CONTRAST_TOKENS
    words = [set(tokens_of(file.name)) for file, name in read if name.channel == "T1c"]
    return any(shared & own and any(TOKENS.get(word) == "T1" for word in own) for own in words)


def _refuse_strangers(read: Sequence[tuple[Path, NameReading]], folder: Path) -> None:
    """Refuse to make one case of files whose names tell of different patients."""
    whose = {name.whose for _, name in read if name.whose}
    if len(whose) > 1:
        pairs = ",".join(f"{name.channel}={file.name}" for file, name in read)
        raise ValueError(
            f"files of one case must have the same name but for the modality, {folder} holds one file of each modality "
            f"and names that differ ({', '.join(sorted(whose))}): they may be of several patients. Give each patient a "
            f'folder; if they are all of one, say so with --channels "{pairs}".'
        )


def _keys(names: Sequence[NameReading]) -> list[str]:
    """For each name what those of one case share: whose it is; where that has a modality twice, every word."""
    alike: dict[str, list[NameReading]] = defaultdict(list)
    for name in names:
        alike[name.whose].append(name)
    whole = {
        whose
        for whose, same in alike.items()
        if len({name.channel for name in same}) < len(same) or len({name.rest for name in same}) == 1
    }
    return [name.rest if name.whose in whole else name.whose for name in names]
