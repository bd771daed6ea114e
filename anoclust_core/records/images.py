"""Images, what is set aside of them, and the manifest of a category."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Literal

from anoclust_core.keys import KEY_LENGTH

GOOD: Final = "good"
"""Label of images without a defect."""

REGION_COLUMN: Final = "roi"
"""Column of manifests that says which part of an image is looked at: once listed, by the digest of that region."""

_REGION: Final = re.compile(rf"region-[0-9a-f]{{{KEY_LENGTH}}}")

Role = Literal["cluster", "normal", "view"]
"""``cluster``: the image is clustered. ``normal``: it is a known normal that weights are measured against. ``view``: it
shows a part that another image stands for, which is clustered; it is compared and shown beside that one."""


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One image file of a category.

    Attributes
    ----------
    path
        As the user knows it: relative to the data folder, or as written in the manifest.
    file
        Absolute path that it is read from.
    sha256
        Hex digest of the file's bytes.
    role
        What the run does with it.
    split, label, mask
        As given with the data (``mask`` an absolute path), or None.
    extra
        Further manifest columns, carried through to the assignments.
    mtime_ns
        When the file was last changed, in nanoseconds since 1970: whether a quarantined one is worth another try.
    part
        Name of the part that it shows, where several images may show one; None where nothing says so.
    """

    path: str
    file: str
    sha256: str
    role: Role
    split: str | None = None
    label: str | None = None
    mask: str | None = None
    extra: Mapping[str, str] = field(default_factory=dict)
    mtime_ns: int = 0
    part: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Everything as JSON values; what came later only where it is there, so that keys stay."""
        return {name: value for name, value in asdict(self).items() if name != "part" or value is not None}

    @property
    def region(self) -> str | None:
        """Digest of the region that it has of its own, see `tasks.stores.regions`; it stands in the column ``roi``."""
        found = self.extra.get(REGION_COLUMN, "")
        return found if _REGION.fullmatch(found) else None


@dataclass(frozen=True, slots=True)
class SetAside:
    """One input file that takes no part in a run, and why, in words for a person.

    Attributes
    ----------
    path
        As in `ImageRecord`.
    reason
        Why.
    line
        Line of the manifest that names it, where one does and the row was looked at.
    """

    path: str
    reason: str
    line: int | None = None

    @property
    def told(self) -> str:
        """Reason as summaries and the catalog have it, with the line."""
        return self.reason if self.line is None else f"line {self.line}: {self.reason}"

    @classmethod
    def from_told(cls, path: str, told: str) -> SetAside:
        """Read what `told` has written.

        Examples
        --------
        >>> SetAside.from_told("a.png", "line 2: is a folder")
        SetAside(path='a.png', reason='is a folder', line=2)
        """
        found = _LINE.match(told)
        return cls(path, told[found.end() :], int(found[1])) if found else cls(path, told)


_LINE: Final = re.compile(r"line (\d+): ")


@dataclass(frozen=True, slots=True)
class SameReason:
    """Files that are set aside for one reason, in the order that they were given in."""

    reason: str
    entries: tuple[SetAside, ...]

    def sentence(self, shown: Callable[[str], str] = str) -> str:
        """Say the reason once, with the number of files and the first of them; ``shown`` writes paths and reasons.

        Examples
        --------
        >>> by_reason([SetAside("a.png", "is a folder", 2), SetAside("b.png", "is a folder", 3)])[0].sentence()
        '2 rows: is a folder (first: line 2, a.png)'
        >>> by_reason([SetAside("a.png", "is empty"), SetAside("b.png", "is empty")])[0].sentence()
        'a.png and 1 more: is empty'
        """
        first, n_more = self.entries[0], len(self.entries) - 1
        where = shown(first.path) if first.line is None else f"line {first.line}, {shown(first.path)}"
        if not n_more:
            return f"{where}: {shown(self.reason)}"
        if first.line is None:
            return f"{where} and {n_more:,} more: {shown(self.reason)}"
        return f"{n_more + 1:,} rows: {shown(self.reason)} (first: {where})"


def by_reason(entries: Iterable[SetAside]) -> list[SameReason]:
    """Group what is set aside by its reason, the commonest first; of manifests' rows the first line comes first."""
    groups: dict[str, list[SetAside]] = {}
    for entry in entries:
        groups.setdefault(entry.reason, []).append(entry)
    in_order = (
        SameReason(reason, tuple(sorted(found, key=lambda entry: entry.line or 0))) for reason, found in groups.items()
    )
    return sorted(in_order, key=lambda group: -len(group.entries))


@dataclass(frozen=True)
class DatasetManifest:
    """The images of one category in one run.

    Attributes
    ----------
    category
        Name of the product.
    images
        Usable images, sorted by path.
    quarantine
        Files that could not be used, sorted by path.
    deferred
        Files that may still be being written or could not be read now, sorted by path: the next run takes them up.
    notes
        What a reader of the result must know about the choice of images.
    n_normals_given
        Normal images that were given, usable or not: where none is left, a blind run is not what was asked for.
    special
        From content hash to the kind of picture, for those that are not plain ones of 8 bits; known while the files are
        listed, until the category's decoding is settled.
    """

    category: str
    images: tuple[ImageRecord, ...]
    quarantine: tuple[SetAside, ...] = ()
    notes: tuple[str, ...] = ()
    n_normals_given: int = 0
    deferred: tuple[SetAside, ...] = ()
    special: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Everything as JSON values; what came later only where it is there, so that keys stay.

        Kinds of pictures are left out: they are of no use once the category's decoding is settled.
        """
        content = asdict(self)
        del content["special"]
        content["images"] = [image.as_json() for image in self.images]
        for name in ("quarantine", "deferred"):
            content[name] = [
                {key: value for key, value in entry.items() if value is not None} for entry in content[name]
            ]
        return content

    @property
    def clustered(self) -> tuple[ImageRecord, ...]:
        """Images to cluster, in the row order of every array: by content hash, then path.

        Content comes first so that renaming a file changes no array and no label.
        """
        return tuple(sorted((i for i in self.images if i.role == "cluster"), key=lambda i: (i.sha256, i.path)))

    @property
    def compared(self) -> tuple[ImageRecord, ...]:
        """Images to cluster and other views of their parts, in the same order; the former alone until views decide."""
        return tuple(sorted((i for i in self.images if i.role != "normal"), key=lambda i: (i.sha256, i.path)))

    @property
    def views(self) -> Mapping[str, tuple[ImageRecord, ...]]:
        """Views of every part that do not decide for it, by the part's name, by path."""
        found: dict[str, list[ImageRecord]] = {}
        for image in sorted((i for i in self.images if i.role == "view"), key=lambda i: i.path):
            found.setdefault(image.part or "", []).append(image)
        return {part: tuple(views) for part, views in found.items()}

    @property
    def normals(self) -> tuple[ImageRecord, ...]:
        """Known normal images, in the same order as ``clustered``."""
        return tuple(sorted((i for i in self.images if i.role == "normal"), key=lambda i: (i.sha256, i.path)))

    @property
    def dataset_hash(self) -> str:
        """Digest of the sorted (content hash, role) pairs: labels and file names do not matter."""
        digest = hashlib.sha256()
        for sha256, role in sorted((image.sha256, image.role) for image in self.images):
            digest.update(f"{sha256} {role}\n".encode())
        return digest.hexdigest()[:KEY_LENGTH]

    @property
    def duplicates(self) -> tuple[tuple[str, ...], ...]:
        """Groups of paths with identical bytes, among the clustered images and their views."""
        groups: dict[str, list[str]] = {}
        for image in self.compared:
            groups.setdefault(image.sha256, []).append(image.path)
        return tuple(tuple(paths) for paths in groups.values() if len(paths) > 1)

    @property
    def n_total(self) -> int:
        """Number of input files: clustered, normal, quarantined and deferred."""
        return len(self.images) + len(self.quarantine) + len(self.deferred)

    @property
    def bad_share(self) -> float:
        """Quarantined files as a part of all that are not deferred, in [0, 1]."""
        return len(self.quarantine) / max(1, len(self.images) + len(self.quarantine))

    def keeping(self, keeps: Callable[[str | None], bool]) -> DatasetManifest:
        """Keep the images whose label a protocol clusters; normals stay."""
        return replace(self, images=tuple(i for i in self.images if i.role == "normal" or keeps(i.label)))

    def blind(self) -> DatasetManifest:
        """Leave the normals out."""
        return replace(self, images=tuple(i for i in self.images if i.role != "normal"), n_normals_given=0)

    def without_normals(self) -> DatasetManifest:
        """Leave the normals out and say so, where there are any: for a recipe that needs none."""
        n_normals = len(self.normals)
        note = f"{n_normals:,} known normal images are left out: recipe blind uses none."
        return replace(self.blind(), notes=(*self.notes, note)) if n_normals else self

    def without(self, reasons: Mapping[str, str]) -> DatasetManifest:
        """Move images into quarantine.

        Parameters
        ----------
        reasons
            From content hash to the reason, in words for a person. Hashes that do not occur are ignored.
        """
        kept, bad = self._split(reasons)
        return replace(self, images=kept, quarantine=_by_path((*self.quarantine, *bad)))

    def deferring(self, reasons: Mapping[str, str]) -> DatasetManifest:
        """Leave images to the next run; ``reasons`` as for `without`."""
        kept, later = self._split(reasons)
        return replace(self, images=kept, deferred=_by_path((*self.deferred, *later)))

    def _split(self, reasons: Mapping[str, str]) -> tuple[tuple[ImageRecord, ...], list[SetAside]]:
        kept = tuple(image for image in self.images if image.sha256 not in reasons)
        return kept, [SetAside(i.path, reasons[i.sha256]) for i in self.images if i.sha256 in reasons]


def _by_path(entries: Iterable[SetAside]) -> tuple[SetAside, ...]:
    return tuple(sorted(entries, key=lambda entry: entry.path))


def unique_contents(images: Iterable[ImageRecord]) -> tuple[list[str], list[int]]:
    """Distinct content hashes in ascending order, and how many images have each."""
    counts = Counter(image.sha256 for image in images)
    hashes = sorted(counts)
    return hashes, [counts[sha256] for sha256 in hashes]
