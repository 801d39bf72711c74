"""The command ``python -m medvlm search``: an index of studies, and the studies nearest to words or to a video."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medvlm.bundle.locate import find_bundle

if TYPE_CHECKING:
    from medvlm.bundle.loading import LoadedBundle
    from medvlm.engines.study_index import Indexed

logger = logging.getLogger(__name__)

SHOWN = 160  # characters of a report in the terminal


@dataclass
class SearchReport:
    """What a search found, or what was put into the index.

    Attributes:
        index: folder of the index.
        studies: how many studies it holds.
        matches: ``rank``, ``score``, ``id``, ``text`` and what else was stored, best first.
        indexed: what became of the studies that were to be put in: once for ``build``, once for ``append``.
        verified: whether the files were compared with their checksums.
        changed: parts of the index whose files are not those that were written; found by ``verify``.
    """

    index: Path
    studies: int
    matches: list[dict[str, Any]] = field(default_factory=list)
    indexed: list[Indexed] = field(default_factory=list)
    verified: bool = False
    changed: list[str] = field(default_factory=list)

    @property
    def status(self) -> int:
        """Exit status: 0, or 1 when a study could not be put into the index or a file of it has changed."""
        return 1 if self.changed or any(done.failures for done in self.indexed) else 0

    def __str__(self) -> str:
        rows = [f"{one['rank']:3d}  {one['score']:.4f}  {one['id']}  {_short(one['text'])}" for one in self.matches]
        rows += [f"{failure.case_id}: FAILED: {failure.message}" for done in self.indexed for failure in done.failures]
        rows += [str(done) for done in self.indexed]
        rows += [f"{part}: FAILED: not the files that were written; build the index anew" for part in self.changed]
        rows += ["every file is as it was written"] if self.verified and not self.changed else []
        rows.append(f"{self.studies} studies in {self.index}")
        return "\n".join(rows)


def _short(text: str | None) -> str:
    words = " ".join((text or "(no report)").split())
    return words if len(words) <= SHOWN else f"{words[:SHOWN]}..."


def search(
    bundle: str,
    text: str | None = None,
    study: str | None = None,
    k: int = 10,
    build: bool = False,
    append: str | None = None,
    verify: bool = False,
    dataset_dir: str | None = None,
    datalist: str | None = None,
    section: str | None = None,
    replace: bool = True,
    index: str | None = None,
    engine: str = "auto",
    device: str = "cpu",
    overlays: str = "",
    **overrides: Any,
) -> SearchReport:
    """Find the studies nearest to a text or to a study's videos in an index of studies and their reports.

    The index lies in the bundle (``models/search_index``), is memory-mapped, and belongs to the weights that made it.
    Studies without a report are found too; only studies that cannot be read are not in it.

    Args:
        bundle: name or folder of the bundle.
        text: words to look for, such as "severe stenosis of the proximal LAD".
        study: a study's folder, or one video, to look for similar ones.
        k: how many studies.
        build: make the index first, of the studies in a section of a datalist.
        append: studies to add to the index: a datalist, a manifest, or a study's folder.
        verify: read all of the index and compare it with its checksums.
        dataset_dir: folder of the datalist that ``build`` reads.
        datalist: that datalist, ``DATASET_DIR/datalist.json`` by default.
        section: of the datalist; ``training`` for ``build``; for ``append`` ``inference``, or else ``test``.
        replace: whether ``build`` may replace an index that is there.
        index: folder of the index, where it is not the bundle's own.
        engine: ``exact``, ``faiss``, or ``auto``: FAISS where it is installed; the results are the same.
        device: ``cpu``, ``cuda`` or ``cuda:1``.
        overlays: further configs over ``inference.json``; several with commas.
        overrides: ids of ``inference.json`` and their values, e.g. ``--image_size 64``.

    Returns:
        What was found, or how many studies the index holds.

    Raises:
        FileNotFoundError: no such bundle, datalist, weights or index; names the remedy.
        ValueError: nothing was asked for, or both a text and a study.
    """
    root = find_bundle(bundle)
    own = {"top_k": "--k", "search_engine": "--engine", "index_dir": "--index"}
    for name in own.keys() & overrides.keys():
        raise ValueError(f"search has an argument of its own for {name}: use {own[name]}.")
    if not (build or append or verify or text or study):
        what = "--build, --append LIST or --verify for the index"
        raise ValueError(f'give --text "..." or --study FOLDER to search, or {what}.')
    if text and study:
        raise ValueError("give either --text or --study, not both: they are two questions.")
    if build and not (datalist or dataset_dir):
        raise ValueError("--build needs the studies: --dataset_dir DIR with a datalist.json, or --datalist FILE.")
    from medvlm.bundle.loading import LoadedBundle
    from medvlm.data.search_index import verify_index

    changes = {**overrides, "search_engine": engine, **({"index_dir": index} if index else {})}
    loaded = LoadedBundle(
        root, device=device, overrides=changes, overlays=[name for name in overlays.split(",") if name]
    )
    if loaded.parser.config.get("index") is None:
        raise ValueError(f"{loaded.name} has no search index; its network does not put studies and texts in one space.")
    loaded.runtime.prepare()
    studies = loaded.parser.get_parsed_content("index")
    indexed = []
    if build:
        from medvlm.data.datalists import load_datalist

        cases = load_datalist(datalist or Path(dataset_dir) / "datalist.json", section or studies.section)
        indexed.append(studies.build(cases, replace=replace))
    if append:
        given = {"section": section} if section and not build else {}
        indexed.append(studies.append(loaded.cases(append, **given)))
    changed = verify_index(studies.folder) if verify else []
    opened = studies.open()
    if opened is None:
        raise FileNotFoundError(studies.note)
    report = SearchReport(studies.folder, len(opened), indexed=indexed, verified=verify, changed=changed)
    if text or study:
        report.matches = _find(loaded, studies, text, study, k)
    return report


def _find(loaded: LoadedBundle, studies: Any, text: str | None, study: str | None, k: int) -> list[dict[str, Any]]:
    """The matches of a text or of the one study at a path."""
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}.")
    if text:
        words = loaded.runtime.embed_words(text, int(loaded.parser.get_parsed_content("max_tokens")))
        return studies.search(words[0].cpu().numpy(), k)
    cases = loaded.cases(study)
    if len(cases) != 1:
        raise ValueError(f"{study} holds {len(cases)} studies; --study takes one at a time.")
    rows, _, failures = studies.embed(cases)
    if failures:
        raise ValueError(failures[0].message)
    return studies.search(rows[0], k, without=cases[0])
