"""What images there are: the MVTec layout, a folder of categories, a flat folder or a manifest, hashed by content."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Final

from anoclust_core.cells import original
from anoclust_core.config import RunConfig
from anoclust_core.errors import ConfigError, DatasetError
from anoclust_core.records import GOOD, DatasetManifest, ImageRecord, Role, SetAside
from tasks.stores.digests import RememberedDigests
from tasks.stores.examining import MAY_BE_WRITTEN, Examined, examine
from tasks.stores.images import IMAGE_SUFFIXES
from tasks.stores.walking import Walk, is_folder, leads_out, may_be_file, one_line, printable

TEST: Final = "test"
TRAIN: Final = "train"
MASKS: Final = "ground_truth"

_COLUMNS: Final = ("path", "category", "split", "label", "mask")
_HASHING_THREADS: Final = 4
_AT_ONCE: Final = 16
"""Files that a thread looks at before it comes back: most are remembered, and handing one over costs more than that."""
_REASONS_TOLD: Final = 3
"""Most reasons that an error message quotes; the commonest come first."""


@dataclass(frozen=True)
class _Candidate:
    """An image file before it is read; ``refused`` says why it must not be opened."""

    path: str
    file: Path
    category: str
    refused: str | None = None
    split: str | None = None
    label: str | None = None
    mask: str | None = None
    extra: dict[str, str] = field(default_factory=dict)


def list_datasets(
    data: Path,
    config: RunConfig,
    *,
    categories: Sequence[str] = (),
    exclude: Path | None = None,
    known: Collection[str] = (),
    memory: Callable[[str], Path] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[DatasetManifest]:
    """List the images of every category and say what the run does with each.

    Parameters
    ----------
    data
        A folder in the MVTec layout, a folder of categories, a flat folder of images, or a manifest (``.csv``).
    config
        Its ``splits`` and ``normals`` decide the roles, its ``settle_seconds`` what may still be written.
    categories
        Names to keep; all by default.
    exclude
        Folder that holds no data even where it lies inside ``data``: the store.
    known
        Categories that may have no image now; where there are some, no image at all is no error either.
    memory
        Gives the file that the hashes of a category's files are remembered in, if they are to be; files that have not
        changed are not read again then, unless the configuration says otherwise.
    progress
        Called with (files hashed, files in all).

    Returns
    -------
    manifests
        One a category, in order of their names.

    Raises
    ------
    DatasetError
        If there is nothing to cluster, or the manifest is broken.
    ConfigError
        If a category is unknown or settings contradict each other.
    """
    if config.data.splits == "all" and config.data.normals == "none":
        raise ConfigError("--splits all clusters the train split, --normals none leaves it out; give one of the two")
    ignored: Counter[str] = Counter()
    root = _root(data)
    found = _candidates(data, exclude, ignored, may_be_empty=bool(known))
    by_category: dict[str, list[_Candidate]] = {}
    for candidate in found:
        by_category.setdefault(candidate.category, []).append(candidate)
    unknown = sorted(set(categories) - set(by_category) - set(known))
    if unknown:
        close = get_close_matches(unknown[0], by_category, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise ConfigError(f"no category {', '.join(unknown)} in {data}; found {', '.join(sorted(by_category))}{hint}")
    wanted = sorted(by_category.keys() & set(categories or by_category))
    chosen = {name: _choose(by_category[name], config, root) for name in wanted}
    n_files = sum(len(kept) for kept, _ in chosen.values())
    hashed = 0
    manifests = []
    for name, (kept, notes) in chosen.items():
        done = hashed

        def report(n: int, done: int = done) -> None:
            if progress:
                progress(done + n, n_files)

        digests = RememberedDigests(memory(name) if memory and config.data.trust_times else None)
        look = partial(_look, settle_seconds=config.data.settle_seconds, digests=digests)
        manifests.append(_hash(name, kept, [*notes, *_ignored_notes(ignored)], look, report))
        digests.save()
        hashed += len(kept)
    return manifests


def list_categories(data: Path, *, exclude: Path | None = None) -> list[str]:
    """Names of the categories of a data set; no image is read.

    Raises
    ------
    DatasetError
        If there is no image, or the manifest is broken.
    """
    return sorted({candidate.category for candidate in _candidates(data, exclude, Counter())})


def _root(data: Path) -> Path:
    return Path(os.path.realpath(data.parent if data.is_file() else data))


def _candidates(
    data: Path, exclude: Path | None, ignored: Counter[str], *, may_be_empty: bool = False
) -> list[_Candidate]:
    if data.is_file():
        return _read_manifest(data)
    return _read_folder(Walk((_root(data),), exclude, ignored), data, may_be_empty=may_be_empty)


def _ignored_notes(ignored: Counter[str]) -> list[str]:
    if not ignored:
        return []
    kinds = ", ".join(f"{count} of {ending}" for ending, count in sorted(ignored.items()))
    return [f"Files with other endings than those of images were ignored: {kinds}."]


def _read_folder(walk: Walk, data: Path, *, may_be_empty: bool) -> list[_Candidate]:
    """Candidates of a folder in any of the layouts."""
    if not is_folder(data):
        raise DatasetError(f"no images to cluster: {data} is neither a folder nor a manifest (.csv)")
    root = walk.roots[0]
    name = printable(root.name)
    folders = walk.folders(root)
    named = sorted(path for path in root.iterdir() if _is_image(path))
    stray = [path for path in named if may_be_file(path)]
    if _is_mvtec(root):
        found = _read_mvtec(walk, root, name)
    elif stray and any(_is_mvtec(folder) for folder in folders):
        raise DatasetError(
            f"{data} holds folders in the MVTec layout and {len(stray)} images beside them "
            f"({one_line(stray[0].name)}); move the images into a folder of their own, or give one of the folders"
        )
    elif stray:
        found = _read_flat(walk, root, name)
    else:
        walk.ignored.update(f"{printable(path.suffix.lower())} that is a broken link or no file" for path in named)
        found = [candidate for folder in folders for candidate in _read_category(walk, folder)]
    if not found and not may_be_empty:
        endings = " ".join(sorted(IMAGE_SUFFIXES))
        raise DatasetError(
            f"no image in {data}; expected files ending in {endings}, in the folder or one folder a category"
        )
    return found


def _is_mvtec(folder: Path) -> bool:
    return is_folder(folder / TEST) or is_folder(folder / TRAIN / GOOD)


def _is_image(path: Path) -> bool:
    """Whether a path is visible, named like an image, and no folder."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and not is_folder(path)


def _read_category(walk: Walk, folder: Path) -> list[_Candidate]:
    is_flat = walk.leads_out(folder) is not None or not _is_mvtec(folder)
    return (_read_flat if is_flat else _read_mvtec)(walk, folder, printable(folder.name))


def _read_mvtec(walk: Walk, root: Path, category: str) -> list[_Candidate]:
    splits = [path for path in walk.folders(root) if path.name != MASKS]
    found = [
        _Candidate(path.name, path, category, walk.leads_out(path)) for path in root.iterdir() if _is_image(path)
    ]  # in no split: left out, which a note tells, unless every split is clustered
    for split in splits:
        for entry in walk.images_below(split):
            file = entry.path
            parts = file.relative_to(split).parts
            label = printable(parts[0]) if len(parts) > 1 else None
            mask = root / MASKS / (label or "") / f"{file.stem}_mask.png"
            found.append(
                _Candidate(
                    path=_below(root, file),
                    file=file,
                    category=category,
                    refused=entry.refused,
                    split=printable(split.name),
                    label=label,
                    mask=str(mask.absolute()) if label and mask.is_file() else None,
                )
            )
    return found


def _read_flat(walk: Walk, root: Path, category: str) -> list[_Candidate]:
    found = []
    for entry in walk.images_below(root):
        found.append(_Candidate(_below(root, entry.path) or root.name, entry.path, category, entry.refused))
    return found


def _below(root: Path, path: Path) -> str:
    """Path as text, relative to a folder that it lies in; of the folder itself it is empty."""
    return str(path).removeprefix(str(root)).lstrip("/")


def _read_manifest(path: Path) -> list[_Candidate]:
    """Candidates of a manifest; relative paths start at its folder and stay inside it."""
    if path.suffix.lower() != ".csv":
        raise DatasetError(f"{path} is a file but no manifest; expected a .csv with the columns path and category")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restkey="", restval="", strict=True)
            reader.fieldnames = columns = [original(name) for name in reader.fieldnames or []]
            lines = [(reader.line_num, _originals(row)) for row in reader]
    except (OSError, ValueError, csv.Error) as error:
        raise DatasetError(f"{path} cannot be read as a manifest: {error}") from error
    missing = [column for column in ("path", "category") if column not in columns]
    if missing:
        raise DatasetError(f"{path} lacks the column {' and '.join(missing)}; found {', '.join(columns) or 'nothing'}")
    extra = [column for column in columns if column and column not in _COLUMNS]
    root = path.parent.resolve()
    found = []
    for number, row in lines:
        if any(row.get("") or []):
            raise DatasetError(f"{path}, line {number}: has more cells than the header has columns")
        if not row["path"] or not row["category"]:
            raise DatasetError(f"{path}, line {number}: path and category must not be empty")
        if "\0" in f"{row['path']}{row['category']}{row.get('mask')}":
            raise DatasetError(f"{path}, line {number}: holds a zero byte, which no file name has; is it a text file?")
        image = _inside(root, row["path"], f"{path}, line {number}")
        advice = "copy the file there, or write its absolute path"
        found.append(
            _Candidate(
                path=row["path"],
                file=image,
                category=row["category"],
                refused=None if Path(row["path"]).is_absolute() else leads_out(image, (root,), advice),
                split=row.get("split") or None,
                label=row.get("label") or None,
                mask=str(_inside(root, row["mask"], f"{path}, line {number}")) if row.get("mask") else None,
                extra={column: row[column] for column in extra},
            )
        )
    if not found:
        raise DatasetError(f"{path} lists no image")
    return found


def _originals(row: dict[str, Any]) -> dict[str, Any]:
    """Cells as they were before an apostrophe kept spreadsheets from running them."""
    return {name: original(cell) if isinstance(cell, str) else cell for name, cell in row.items()}


def _inside(root: Path, written: str, where: str) -> Path:
    """Absolute path of a manifest entry; a relative one must not climb out of the manifest's folder."""
    if Path(written).is_absolute():
        return Path(written)
    file = Path(os.path.normpath(root / written))
    if not file.is_relative_to(root):
        raise DatasetError(f"{where}: {written!r} leads out of {root}; write an absolute path if that is meant")
    return file


def _choose(found: list[_Candidate], config: RunConfig, root: Path) -> tuple[list[tuple[_Candidate, Role]], list[str]]:
    """Give every candidate its role; what is left out is told in a note."""
    chosen: list[tuple[_Candidate, Role]] = []
    left_out: Counter[str] = Counter()
    has_splits = any(candidate.split for candidate in found)
    for candidate in found:
        if config.data.splits == "all" or not has_splits or candidate.split == TEST:
            chosen.append((candidate, "cluster"))
        elif candidate.split == TRAIN and config.data.normals == "auto" and candidate.label in (None, GOOD):
            chosen.append((candidate, "normal"))
        else:
            left_out[f"split {candidate.split or 'unknown'}, label {candidate.label or 'unknown'}"] += 1
    if config.data.normals not in ("auto", "none"):
        normals = _read_normals(Path(config.data.normals), found[0].category, root)
        chosen += [(candidate, "normal") for candidate in normals]
    return chosen, [f"{count} images left out: {what}." for what, count in sorted(left_out.items())]


def _read_normals(folder: Path, category: str, data: Path) -> list[_Candidate]:
    """Candidates of a folder of normals; links in it may lead into the data."""
    if not is_folder(folder):
        raise ConfigError(f"--normals takes auto, none or a folder of normal images; there is no folder {folder}")
    real = Path(os.path.realpath(folder))
    found = _read_flat(Walk((real, data), None, Counter()), real, category)
    if not found:
        raise DatasetError(f"no normal image in {folder}")
    return [replace(candidate, label=GOOD, path=str(folder / candidate.path)) for candidate in found]


def _hash(
    category: str,
    chosen: list[tuple[_Candidate, Role]],
    notes: list[str],
    look: Callable[[_Candidate], Examined],
    progress: Callable[[int], None],
) -> DatasetManifest:
    """Look at every file once for its content hash; set aside what cannot be read and what may still be written."""
    images: list[ImageRecord] = []
    quarantine: list[SetAside] = []
    deferred: list[SetAside] = []
    parts = [chosen[start : start + _AT_ONCE] for start in range(0, len(chosen), _AT_ONCE)]
    with ThreadPoolExecutor(_HASHING_THREADS) as pool:
        looks = chain.from_iterable(pool.map(lambda part: [look(candidate) for candidate, _ in part], parts))
        for n, ((candidate, role), found) in enumerate(zip(chosen, looks, strict=True), start=1):
            if found.bad:
                quarantine.append(SetAside(printable(candidate.path), found.bad))
            elif found.later:
                deferred.append(SetAside(candidate.path, found.later))
            else:
                images.append(_record(candidate, role, found))
            progress(n)
    return DatasetManifest(
        category=category,
        images=tuple(sorted(images, key=lambda image: image.path)),
        quarantine=tuple(sorted(quarantine, key=lambda entry: entry.path)),
        notes=(*notes, *_shared_contents(images)),
        n_normals_given=sum(role == "normal" for _, role in chosen),
        deferred=tuple(sorted(deferred, key=lambda entry: entry.path)),
    )


def check_enough(manifest: DatasetManifest, *, max_bad_share: float) -> None:
    """Refuse a category that is not worth running.

    Parameters
    ----------
    manifest
        What is left of the category's images.
    max_bad_share
        Largest part of the files, without the deferred, that may be quarantined, in [0, 1].

    Raises
    ------
    DatasetError
        If fewer than two images are left to cluster; if none is left of the normals that were given, since without them
        the run would be blind, which is not what was asked for; or if too many files are bad.
    """
    category, n_bad = manifest.category, len(manifest.quarantine)
    if manifest.deferred and manifest.n_total == len(manifest.deferred):
        hint = ", or with --settle-seconds 0" if any(MAY_BE_WRITTEN in d.reason for d in manifest.deferred) else ""
        raise DatasetError(
            f"all {manifest.n_total} images of category {category} are left to the next run "
            f"({_commonest(manifest.deferred)}); run again in a moment{hint}"
        )
    told = [
        f"{len(entries)} {what} ({_commonest(entries)})"
        for entries, what in (
            (manifest.quarantine, "could not be used"),
            (manifest.deferred, "are left to the next run"),
        )
        if entries
    ]
    if manifest.n_normals_given and not manifest.normals:
        raise DatasetError(
            f"none of the {manifest.n_normals_given} normal images of category {category} can be used: of all files, "
            f"{'; '.join(told)}; mend them, or run blind with --normals none"
        )
    if len(manifest.clustered) < 2:
        splits = Counter(image.split for image in manifest.images)
        others = ", ".join(f"{count} of split {split}" for split, count in splits.items() if split not in (None, TEST))
        reasons = [f"there are {others}: --splits all clusters them too"] if others else []
        raise DatasetError(
            f"category {category} has {len(manifest.clustered)} usable images to cluster, at least 2 are needed"
            + "".join(f"; {reason}" for reason in (*reasons, *told))
        )
    if manifest.bad_share > max_bad_share:
        raise DatasetError(
            f"{n_bad} of the {manifest.n_total - len(manifest.deferred)} files of category {category} cannot be used, "
            f"{manifest.bad_share:.0%} where at most {max_bad_share:.0%} may be: {_commonest(manifest.quarantine)}; "
            "mend or remove them, or raise --max-bad-share"
        )


def _commonest(entries: Sequence[SetAside]) -> str:
    """Name the commonest reasons, each with its number of files and one of them."""
    first = {entry.reason: entry.path for entry in reversed(entries)}
    counts = Counter(entry.reason for entry in entries).most_common()
    told = [
        f"{one_line(first[reason])}{f' and {count - 1} more' if count > 1 else ''}: {one_line(reason)}"
        for reason, count in counts[:_REASONS_TOLD]
    ]
    more = sum(count for _, count in counts[_REASONS_TOLD:])
    return "; ".join([*told, *([f"{more} for other reasons"] if more else [])])


def _look(candidate: _Candidate, *, settle_seconds: float, digests: RememberedDigests) -> Examined:
    if candidate.refused:
        return Examined(bad=candidate.refused)
    return examine(candidate.file, settle_seconds=settle_seconds, digests=digests)


def _record(candidate: _Candidate, role: Role, found: Examined) -> ImageRecord:
    return ImageRecord(
        path=candidate.path,
        file=str(candidate.file.absolute()),
        sha256=found.sha256,
        role=role,
        split=candidate.split,
        label=candidate.label,
        mask=candidate.mask,
        extra=candidate.extra,
        mtime_ns=found.mtime_ns,
    )


def _shared_contents(images: Iterable[ImageRecord]) -> list[str]:
    """Note on images that are both clustered and given as normal: their rarity is 0."""
    roles: dict[str, set[str]] = {}
    for image in images:
        roles.setdefault(image.sha256, set()).add(image.role)
    both = sum(len(found) == 2 for found in roles.values())
    return [f"{both} clustered images are also among the normals, so that nothing in them is rare."] if both else []
