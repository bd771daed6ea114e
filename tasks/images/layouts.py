"""Image files before they are read: those of a folder, in the MVTec layout, a folder per category, or flat."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from anoclust_core.errors import DatasetError
from anoclust_core.records import GOOD
from tasks.images.decoding import IMAGE_SUFFIXES, REFUSED_SUFFIXES
from tasks.images.folders import Walk, is_folder, is_there, may_be_file, one_line, printable

TEST: Final = "test"
TRAIN: Final = "train"
MASKS: Final = "ground_truth"


@dataclass(frozen=True)
class Candidate:
    """An image file before it is read.

    Attributes
    ----------
    path, category, split, label, mask, extra, part
        As in `ImageRecord`.
    file
        Where it is.
    refused
        Why it must not be opened, or None.
    line
        Line of the manifest that names it, or None.
    """

    path: str
    file: Path
    category: str
    refused: str | None = None
    split: str | None = None
    label: str | None = None
    mask: str | None = None
    extra: dict[str, str] = field(default_factory=dict)
    line: int | None = None
    part: str | None = None


def read_folder(walk: Walk, data: Path, *, may_be_empty: bool) -> list[Candidate]:
    """Candidates of a folder in any of the layouts.

    Raises
    ------
    DatasetError
        If it is no folder, mixes layouts, or has no image where it may not be empty.
    """
    if not is_folder(data):
        raise DatasetError(
            f"no images to cluster: {data} is neither a folder nor a manifest (.csv or .tsv); check the path"
        )
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
            f"({one_line(stray[0].name)}); move the images into their own folder, or give one of the folders"
        )
    elif stray:
        found = read_flat(walk, root, name)
    else:
        walk.ignored.update(f"{printable(path.suffix.lower())} that is a broken link or no file" for path in named)
        found = [candidate for folder in folders for candidate in _read_category(walk, folder)]
    if not found and not may_be_empty:
        endings = " ".join(sorted(IMAGE_SUFFIXES - REFUSED_SUFFIXES))
        raise DatasetError(
            f"no image in {data}; expected files ending in {endings}, in the folder or one folder per category"
        )
    return found


def _is_mvtec(folder: Path) -> bool:
    return is_folder(folder / TEST) or is_folder(folder / TRAIN / GOOD)


def _is_image(path: Path) -> bool:
    """Whether a path is visible, named like an image, and no folder."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and not is_folder(path)


def _read_category(walk: Walk, folder: Path) -> list[Candidate]:
    is_flat = walk.leads_out(folder) is not None or not _is_mvtec(folder)
    return (read_flat if is_flat else _read_mvtec)(walk, folder, printable(folder.name))


def _read_mvtec(walk: Walk, root: Path, category: str) -> list[Candidate]:
    splits = [path for path in walk.folders(root) if path.name != MASKS]
    found = [
        Candidate(path.name, path, category, walk.leads_out(path)) for path in root.iterdir() if _is_image(path)
    ]  # in no split: left out, which a note tells, unless every split is clustered
    for split in splits:
        for entry in walk.images_below(split):
            file = entry.path
            parts = file.relative_to(split).parts
            label = printable(parts[0]) if len(parts) > 1 else None
            mask = root / MASKS / (label or "") / f"{file.stem}_mask.png"
            found.append(
                Candidate(
                    path=_below(root, file),
                    file=file,
                    category=category,
                    refused=entry.refused,
                    split=printable(split.name),
                    label=label,
                    mask=str(mask.absolute()) if label and is_there(mask) else None,
                )
            )
    return found


def read_flat(walk: Walk, root: Path, category: str) -> list[Candidate]:
    """Candidates of a folder and all folders below it."""
    found = []
    for entry in walk.images_below(root):
        found.append(Candidate(_below(root, entry.path) or root.name, entry.path, category, entry.refused))
    return found


def _below(root: Path, path: Path) -> str:
    """Path as text, relative to a folder that it lies in; of the folder itself it is empty."""
    return str(path).removeprefix(str(root)).lstrip("/")
