"""Which image files there are, and what a run does with each: found by their names, before any is read."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

from anoclust_core.config import RunConfig
from anoclust_core.embedding.tiles import check_tiles
from anoclust_core.errors import ConfigError, DatasetError
from anoclust_core.records import GOOD, Role
from tasks.images.folders import Walk, is_folder, is_there
from tasks.images.layouts import TEST, TRAIN, Candidate, read_flat, read_folder
from tasks.images.manifests.manifest_rows import read_manifest
from tasks.images.manifests.part_names import part_notes, shared_names, with_parts
from tasks.stores.addresses import on_this_machine


@dataclass(frozen=True)
class Chosen:
    """Image files of one category, and what a run does with each.

    Attributes
    ----------
    files
        Each with its role.
    notes
        What is to be told of how they were found and chosen.
    """

    files: tuple[tuple[Candidate, Role], ...]
    notes: tuple[str, ...]


def choose_images(
    data: Path,
    config: RunConfig,
    *,
    categories: Sequence[str] = (),
    exclude: Path | None = None,
    known: Collection[str] = (),
) -> dict[str, Chosen]:
    """Find the image files of every category, in order of their names; none is read.

    Parameters and errors are those of `tasks.images.listing.list_datasets`.
    """
    for one in (config, *config.own.values()):
        if one.data.splits == "all" and one.data.normals == "none":
            raise ConfigError(
                "--splits all clusters the train split, but --normals none leaves it out; use one of the two"
            )
        check_tiles(one)
    data = on_this_machine(data, "DATA")
    ignored: Counter[str] = Counter()
    root = _root(data)
    any_split = any(one.data.splits == "all" for one in (config, *config.own.values()))
    found, told = _candidates(data, exclude, ignored, may_be_empty=bool(known), any_split=any_split)
    by_category: dict[str, list[Candidate]] = {}
    for candidate in found:
        by_category.setdefault(candidate.category, []).append(candidate)
    unknown = sorted(set(categories) - set(by_category) - set(known))
    if unknown:
        close = get_close_matches(unknown[0], by_category, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise ConfigError(f"no category {', '.join(unknown)} in {data}; found {', '.join(sorted(by_category))}{hint}")
    _check_own(config, by_category, data)
    wanted = sorted(by_category.keys() & set(categories or by_category))
    named = {name: with_parts(by_category[name], config.of(name)) for name in wanted}
    shared = shared_names(named, config) if is_there(data) else {}
    chosen = {name: _choose(found, config.of(name), root) for name, found in named.items()}
    ends = _ignored_notes(ignored)
    return {
        name: Chosen(tuple(kept), (*told, *notes, *shared.get(name, ()), *ends))
        for name, (kept, notes) in chosen.items()
    }


def _check_own(config: RunConfig, found: Collection[str], data: Path) -> None:
    """Refuse settings of a category that there is not, where one is called almost the same: that is a slip.

    Others are no error: one file may serve several data sets, and nights in which a category has no image.
    """
    for name in sorted(config.own.keys() - set(found)):
        close = get_close_matches(name, set(found) - config.own.keys(), n=1)
        if close:
            raise ConfigError(
                f"there are settings of category {name}, which is not in {data} (did you mean {close[0]}?); correct "
                f"the name in [category.{name}]"
            )


def list_categories(data: Path, *, exclude: Path | None = None, may_be_empty: bool = False) -> list[str]:
    """Names of the categories of a data set; no image is read.

    Raises
    ------
    DatasetError
        If there is no image in a folder that may not be empty, or the manifest is broken.
    """
    found, _ = _candidates(on_this_machine(data, "DATA"), exclude, Counter(), may_be_empty=may_be_empty)
    return sorted({candidate.category for candidate in found})


def why_none(data: Path, category: str) -> str:
    """Say where images of a category were looked for, where there is none.

    Examples
    --------
    >>> why_none(Path("inbox"), "board")
    'there is no folder board in inbox'
    """
    if is_there(data):
        return f"{data} has no row of {category}"
    if is_folder(data / category):
        return f"the folder {data / category} has no image to cluster"
    return (
        f"{data} has no image to cluster"
        if data.absolute().name == category
        else f"there is no folder {category} in {data}"
    )


def _root(data: Path) -> Path:
    return Path(os.path.realpath(data.parent if is_there(data) else data))


def _candidates(
    data: Path,
    exclude: Path | None,
    ignored: Counter[str],
    *,
    may_be_empty: bool = False,
    any_split: bool = False,
) -> tuple[list[Candidate], list[str]]:
    """Every image file there is, and what is to be told of how they were found."""
    if is_there(data):
        return read_manifest(data, any_split=any_split)
    return read_folder(Walk((_root(data),), exclude, ignored), data, may_be_empty=may_be_empty), []


def _ignored_notes(ignored: Counter[str]) -> list[str]:
    if not ignored:
        return []
    kinds = ", ".join(f"{count} of {ending}" for ending, count in sorted(ignored.items()))
    return [f"Files with other endings than those of images were ignored: {kinds}."]


def _choose(found: list[Candidate], config: RunConfig, root: Path) -> tuple[list[tuple[Candidate, Role]], list[str]]:
    """Give every candidate its role; what is left out is told in a note."""
    chosen: list[tuple[Candidate, Role]] = []
    left_out: Counter[str] = Counter()
    has_splits = any(candidate.split for candidate in found)
    for candidate in found:
        is_broken_row = bool(candidate.refused and candidate.line and candidate.split is None)
        if config.data.splits == "all" or not has_splits or is_broken_row or candidate.split == TEST:
            chosen.append((candidate, "cluster"))
        elif candidate.split == TRAIN and config.data.normals == "auto" and candidate.label in (None, GOOD):
            chosen.append((candidate, "normal"))
        else:
            left_out[f"split {candidate.split or 'unknown'}, label {candidate.label or 'unknown'}"] += 1
    if config.data.normals not in ("auto", "none"):
        normals = _read_normals(Path(config.data.normals), found[0].category, root)
        chosen += [(candidate, "normal") for candidate in normals]
    unnamed = part_notes([candidate for candidate, role in chosen if role == "cluster"], config)
    return chosen, [*(f"{count} images left out: {what}." for what, count in sorted(left_out.items())), *unnamed]


def _read_normals(folder: Path, category: str, data: Path) -> list[Candidate]:
    """Candidates of a folder of normals; links in it may lead into the data."""
    if not is_folder(folder):
        raise ConfigError(f"--normals takes auto, none or a folder of normal images; there is no folder {folder}")
    real = Path(os.path.realpath(folder))
    found = read_flat(Walk((real, data), None, Counter()), real, category)
    if not found:
        raise DatasetError(f"no normal image in {folder}")
    return [replace(candidate, label=GOOD, path=str(folder / candidate.path)) for candidate in found]
