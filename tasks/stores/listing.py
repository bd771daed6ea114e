"""What images there are: the MVTec layout, a folder of categories, a flat folder or a manifest, hashed by content."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from anoclust_core.config import RunConfig
from anoclust_core.errors import ConfigError, DatasetError
from anoclust_core.records import GOOD, DatasetManifest, ImageRecord, QuarantinedImage, Role
from tasks.stores.files import sha256_file
from tasks.stores.images import IMAGE_SUFFIXES

TEST: Final = "test"
TRAIN: Final = "train"
MASKS: Final = "ground_truth"

_COLUMNS: Final = ("path", "category", "split", "label", "mask")
_HASHING_THREADS: Final = 4


@dataclass(frozen=True)
class _Candidate:
    """An image file before it is read."""

    path: str
    file: Path
    category: str
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
    progress: Callable[[int, int], None] | None = None,
) -> list[DatasetManifest]:
    """List the images of every category and say what the run does with each.

    Parameters
    ----------
    data
        A folder in the MVTec layout, a folder of categories, a flat folder of images, or a manifest (``.csv``).
    config
        Its ``splits`` and ``normals`` decide the roles.
    categories
        Names to keep; all by default.
    exclude
        Folder that holds no data even where it lies inside ``data``: the store.
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
    found = _read_manifest(data) if data.is_file() else _read_folder(_Walk(exclude, ignored), data)
    by_category: dict[str, list[_Candidate]] = {}
    for candidate in found:
        by_category.setdefault(candidate.category, []).append(candidate)
    unknown = sorted(set(categories) - set(by_category))
    if unknown:
        raise ConfigError(f"no category {', '.join(unknown)} in {data}; found {', '.join(sorted(by_category))}")
    chosen = {name: _choose(by_category[name], config) for name in sorted(categories or by_category)}
    n_files = sum(len(kept) for kept, _ in chosen.values())
    hashed = 0
    manifests = []
    for name, (kept, notes) in chosen.items():
        done = hashed

        def report(n: int, done: int = done) -> None:
            if progress:
                progress(done + n, n_files)

        manifests.append(_hash(name, kept, [*notes, *_ignored_notes(ignored)], report))
        hashed += len(kept)
    return manifests


@dataclass(frozen=True)
class _Walk:
    """A walk through folders: what it passes over, and what it counts as ignored, by file ending."""

    exclude: Path | None
    ignored: Counter[str]

    def folders(self, folder: Path) -> list[Path]:
        """Visible folders in a folder, without the excluded one."""
        return sorted(path for path in folder.iterdir() if path.is_dir() and self._is_visible(path))

    def images_below(self, folder: Path) -> list[Path]:
        """Images in a folder and the visible folders below it; visible files with other endings are counted."""
        found = []
        for path in sorted(folder.iterdir()):
            if not self._is_visible(path):
                continue
            if path.is_dir():
                found += self.images_below(path)
            elif path.suffix.lower() in IMAGE_SUFFIXES:
                found.append(path)
            else:
                self.ignored[path.suffix.lower() or "no ending"] += 1
        return sorted(found)

    def _is_visible(self, path: Path) -> bool:
        return not path.name.startswith(".") and not (self.exclude and path.resolve() == self.exclude.resolve())


def _ignored_notes(ignored: Counter[str]) -> list[str]:
    if not ignored:
        return []
    kinds = ", ".join(f"{count} of {ending}" for ending, count in sorted(ignored.items()))
    return [f"Files with other endings than those of images were ignored: {kinds}."]


def _read_folder(walk: _Walk, data: Path) -> list[_Candidate]:
    """Candidates of a folder in any of the layouts."""
    if not data.is_dir():
        raise DatasetError(f"no images to cluster: {data} is neither a folder nor a manifest (.csv)")
    name = _printable(data.resolve().name)
    folders = walk.folders(data)
    stray = [path for path in data.iterdir() if _is_image(path)]
    if _is_mvtec(data):
        found = _read_mvtec(walk, data, name)
    elif stray and any(_is_mvtec(folder) for folder in folders):
        raise DatasetError(
            f"{data} holds folders in the MVTec layout and {len(stray)} images beside them ({stray[0].name}); "
            "move the images into a folder of their own, or give one of the folders"
        )
    elif stray:
        found = _read_flat(walk, data, name)
    else:
        found = [
            candidate
            for folder in folders
            for candidate in (_read_mvtec if _is_mvtec(folder) else _read_flat)(walk, folder, _printable(folder.name))
        ]
    if not found:
        endings = " ".join(sorted(IMAGE_SUFFIXES))
        raise DatasetError(
            f"no image in {data}; expected files ending in {endings}, in the folder or one folder a category"
        )
    return found


def _is_mvtec(folder: Path) -> bool:
    return (folder / TEST).is_dir() or (folder / TRAIN / GOOD).is_dir()


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()


def _read_mvtec(walk: _Walk, root: Path, category: str) -> list[_Candidate]:
    found = []
    for split in (path for path in walk.folders(root) if path.name != MASKS):
        for file in walk.images_below(split):
            parts = file.relative_to(split).parts
            label = parts[0] if len(parts) > 1 else None
            mask = root / MASKS / (label or "") / f"{file.stem}_mask.png"
            found.append(
                _Candidate(
                    path=file.relative_to(root).as_posix(),
                    file=file,
                    category=category,
                    split=split.name,
                    label=label,
                    mask=str(mask.absolute()) if label and mask.is_file() else None,
                )
            )
    return found


def _printable(name: str) -> str:
    """Write out the bytes of a file name that are not UTF-8: text that can be stored and shown."""
    return os.fsencode(name).decode(errors="backslashreplace")


def _read_flat(walk: _Walk, root: Path, category: str) -> list[_Candidate]:
    return [_Candidate(file.relative_to(root).as_posix(), file, category) for file in walk.images_below(root)]


def _read_manifest(path: Path) -> list[_Candidate]:
    """Candidates of a manifest; relative paths start at its folder and stay inside it."""
    if path.suffix.lower() != ".csv":
        raise DatasetError(f"{path} is a file but no manifest; expected a .csv with the columns path and category")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restkey="", restval="", strict=True)
            columns = list(reader.fieldnames or [])
            lines = [(reader.line_num, row) for row in reader]
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
        found.append(
            _Candidate(
                path=row["path"],
                file=_inside(root, row["path"], f"{path}, line {number}"),
                category=row["category"],
                split=row.get("split") or None,
                label=row.get("label") or None,
                mask=str(_inside(root, row["mask"], f"{path}, line {number}")) if row.get("mask") else None,
                extra={column: row[column] for column in extra},
            )
        )
    if not found:
        raise DatasetError(f"{path} lists no image")
    return found


def _inside(root: Path, written: str, where: str) -> Path:
    """Absolute path of a manifest entry; a relative one must not climb out of the manifest's folder."""
    if Path(written).is_absolute():
        return Path(written)
    file = Path(os.path.normpath(root / written))
    if not file.is_relative_to(root):
        raise DatasetError(f"{where}: {written!r} leads out of {root}; write an absolute path if that is meant")
    return file


def _choose(found: list[_Candidate], config: RunConfig) -> tuple[list[tuple[_Candidate, Role]], list[str]]:
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
        chosen += [(candidate, "normal") for candidate in _read_normals(Path(config.data.normals), found[0].category)]
    return chosen, [f"{count} images left out: {what}." for what, count in sorted(left_out.items())]


def _read_normals(folder: Path, category: str) -> list[_Candidate]:
    if not folder.is_dir():
        raise ConfigError(f"--normals takes auto, none or a folder of normal images; there is no folder {folder}")
    found = [replace(candidate, label=GOOD) for candidate in _read_flat(_Walk(None, Counter()), folder, category)]
    if not found:
        raise DatasetError(f"no normal image in {folder}")
    return [replace(candidate, path=str(folder / candidate.path)) for candidate in found]


def _hash(
    category: str,
    chosen: list[tuple[_Candidate, Role]],
    notes: list[str],
    progress: Callable[[int], None],
) -> DatasetManifest:
    """Read every file once for its content hash; a file that cannot be read goes into quarantine."""
    images, quarantine = [], []
    with ThreadPoolExecutor(_HASHING_THREADS) as pool:
        for n, ((candidate, role), outcome) in enumerate(
            zip(chosen, pool.map(_try_hash, (candidate.file for candidate, _ in chosen)), strict=True), start=1
        ):
            if _printable(str(candidate.file)) != str(candidate.file):
                quarantine.append(QuarantinedImage(_printable(candidate.path), "its name is not UTF-8; rename it"))
            elif isinstance(outcome, OSError):
                quarantine.append(QuarantinedImage(candidate.path, f"cannot be read: {outcome.strerror or outcome}"))
            else:
                images.append(_record(candidate, role, outcome))
            progress(n)
    return DatasetManifest(
        category=category,
        images=tuple(sorted(images, key=lambda image: image.path)),
        quarantine=tuple(sorted(quarantine, key=lambda entry: entry.path)),
        notes=(*notes, *_shared_contents(images)),
        n_normals_given=sum(role == "normal" for _, role in chosen),
    )


def check_enough(manifest: DatasetManifest) -> None:
    """Raise `DatasetError` where fewer than two images are left to cluster, or none of the normals that were given.

    Without its normals a run would be blind, which is not what was asked for.
    """
    reasons = "; ".join(f"{entry.path}: {entry.reason}" for entry in manifest.quarantine[:3])
    if manifest.n_normals_given and not manifest.normals:
        raise DatasetError(
            f"none of the {manifest.n_normals_given} normal images of category {manifest.category} can be used "
            f"({reasons}); mend them, or run blind with --normals none"
        )
    if len(manifest.clustered) >= 2:
        return
    splits = Counter(image.split for image in manifest.images)
    others = ", ".join(f"{count} of split {split}" for split, count in splits.items() if split not in (None, TEST))
    raise DatasetError(
        f"category {manifest.category} has {len(manifest.clustered)} usable images to cluster, at least 2 are needed"
        + (f"; there are {others}: --splits all clusters them too" if others else "")
        + (f"; {len(manifest.quarantine)} could not be used ({reasons})" if reasons else "")
    )


def _try_hash(file: Path) -> str | OSError:
    try:
        return sha256_file(file)
    except OSError as error:
        return error


def _record(candidate: _Candidate, role: Role, sha256: str) -> ImageRecord:
    return ImageRecord(
        path=candidate.path,
        file=str(candidate.file.absolute()),
        sha256=sha256,
        role=role,
        split=candidate.split,
        label=candidate.label,
        mask=candidate.mask,
        extra=candidate.extra,
    )


def _shared_contents(images: Iterable[ImageRecord]) -> list[str]:
    """Note on images that are both clustered and given as normal: their rarity is 0."""
    roles: dict[str, set[str]] = {}
    for image in images:
        roles.setdefault(image.sha256, set()).add(image.role)
    both = sum(len(found) == 2 for found in roles.values())
    return [f"{both} clustered images are also among the normals, so that nothing in them is rare."] if both else []
