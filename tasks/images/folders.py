"""A walk through folders: which files are images, and which links lead somewhere else."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from anoclust_core.errors import DatasetError
from tasks.images.decoding import IMAGE_SUFFIXES


@dataclass(frozen=True)
class Entry:
    """What a walk came upon; ``refused`` says why it must not be opened."""

    path: Path
    refused: str | None = None


@dataclass(frozen=True)
class Walk:
    """A walk through folders, all but ``exclude``; ``ignored`` counts the files that are no images by their endings.

    ``roots`` are the real paths of the folders that symbolic links may lead into.
    """

    roots: tuple[Path, ...]
    exclude: Path | None
    ignored: Counter[str]

    def folders(self, folder: Path) -> list[Path]:
        """Visible folders in a folder, without the excluded one."""
        try:
            paths = sorted(path for path in folder.iterdir() if not path.name.startswith(".") and is_folder(path))
        except OSError as error:
            raise DatasetError(f"{folder} cannot be read: {error.strerror}") from error
        return [path for path in paths if not self._is_excluded(path)]

    def images_below(self, folder: Path) -> list[Entry]:
        """Images in a folder and the visible folders below it, and what is named like one but must not be opened.

        They come in order of their paths. Links are followed inside the roots. A folder is reached through one link at
        most and never from inside itself, so that no web of links keeps the walk from ending.
        """
        return list(self._below(folder, [Path(os.path.realpath(folder.parent))], set()))

    def _below(self, folder: Path, above: list[Path], followed: set[Path]) -> Iterator[Entry]:
        real = Path(os.path.realpath(folder))
        refused = self.leads_out(folder)
        if folder.is_symlink() and not refused:
            if any(outer.is_relative_to(real) for outer in above):
                refused = "is a symbolic link to a folder that it lies in; remove the link"
            elif real in followed:
                refused = f"is another symbolic link to {one_line(real.name)}, whose images are listed; remove the link"
        if refused:
            yield Entry(folder, refused)
            return
        if folder.is_symlink():
            followed.add(real)
        try:
            with os.scandir(folder) as scanned:
                entries = sorted(scanned, key=lambda entry: entry.name)
        except OSError as error:
            yield Entry(folder, f"is a folder that cannot be read: {error.strerror}")
            return
        for entry in entries:
            path = folder / entry.name
            is_inner = is_folder(entry)
            if entry.name.startswith(".") or (is_inner and self._is_excluded(path)):
                continue
            if is_inner:
                yield from self._below(path, [*above, real], followed)
            elif path.suffix.lower() in IMAGE_SUFFIXES:
                yield Entry(path, self.leads_out(path) if entry.is_symlink() else None)
            else:
                self.ignored[printable(path.suffix.lower()) or "no ending"] += 1

    def leads_out(self, path: Path) -> str | None:
        """Say that a path is a symbolic link out of the roots, if it is one."""
        if not is_link(path):
            return None
        return leads_out(path, self.roots, "copy what it leads to, or list it in a manifest")

    def _is_excluded(self, folder: Path) -> bool:
        return self.exclude is not None and os.path.realpath(folder) == os.path.realpath(self.exclude)


def is_folder(path: Path | os.DirEntry[str]) -> bool:
    """Whether a path is or leads to a folder that may be looked at."""
    try:
        return path.is_dir()
    except OSError:
        return False


def may_be_file(path: Path) -> bool:
    """Whether a path is or leads to a file; one that cannot be looked at is told as such by whoever reads it."""
    try:
        return path.is_file()
    except OSError:
        return True


def is_there(path: Path) -> bool:
    """Whether a path is or leads to a file that may be looked at; none has a name that is too long."""
    return os.path.isfile(path)  # noqa: PTH113 - never raises


def is_link(path: Path) -> bool:
    """Whether a path is a symbolic link; one that cannot be looked at, as its name is too long, is none."""
    return os.path.islink(path)  # noqa: PTH114 - never raises


def leads_out(path: Path, roots: Sequence[Path], advice: str) -> str | None:
    """Say where a path really leads if that is outside of all roots; a broken link leads nowhere and is told later."""
    real = Path(os.path.realpath(path))
    if any(real.is_relative_to(root) for root in roots) or not os.path.exists(real):  # noqa: PTH110 - never raises
        return None
    kind = "is a symbolic link" if is_link(path) else "leads through a symbolic link"
    return f"{kind} to {one_line(str(real))}, outside of {one_line(str(roots[0]))}; {advice}"


def printable(name: str) -> str:
    """Write out the bytes of a file name that are not UTF-8: text that can be stored and shown."""
    return os.fsencode(name).decode(errors="backslashreplace")


def one_line(name: str) -> str:
    """Write out control characters too: text that can stand in a sentence."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in printable(name))
