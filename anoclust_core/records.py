"""What passes between stages: small frozen records, never arrays."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Literal

from anoclust_core.embedding.deep_images import Decoding, DeepRange
from anoclust_core.embedding.precision import Precision
from anoclust_core.embedding.resizing import Box, Resize, seen_box
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


@dataclass(frozen=True, slots=True)
class Reference:
    """Which images rarity is measured against, see `anoclust_core.weighting.reference`.

    Attributes
    ----------
    role
        ``cluster``: the clustered images themselves (blind). ``normal``: the known normals.
    size
        Number of distinct contents in a random subset, [SOHN23] eq. (7); None is all of them.
    seed
        Seed of the subset; 0 where all are taken.
    """

    role: Role
    size: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class Window:
    """Which patches of an aligned image a patch is compared with: those around its own place.

    Attributes
    ----------
    grid
        ``(height, width)`` of the patch grid of the whole frame.
    cells
        Places up, down, left and right that are compared too, at least 0.
    """

    grid: tuple[int, int]
    cells: int

    @property
    def reach(self) -> tuple[int, int]:
        """Cells up and down, and to the left and right: no more than the grid has."""
        height, width = self.grid
        return min(self.cells, height - 1), min(self.cells, width - 1)

    @property
    def n_compared(self) -> int:
        """Pairs of patches that two images are compared by: fewer at the edges."""
        along = [
            length * (2 * cells + 1) - cells * (cells + 1) for length, cells in zip(self.grid, self.reach, strict=True)
        ]
        return along[0] * along[1]


@dataclass(frozen=True)
class Cover:
    """Which patches of an image others are compared with, see `anoclust_core.weighting.covers`.

    Attributes
    ----------
    size
        Patches of each image, at most half of all.
    seed
        Of the first patch of each image; the others follow from it.
    """

    size: int
    seed: int


@dataclass(frozen=True)
class EmbeddingSpec:
    """Everything that decides the numbers in a bag of patch embeddings.

    Attributes
    ----------
    backbone
        Name the user chose; ``timm_model`` is the architecture behind it.
    weights
        Identity of the weights: digest of the file they come from, or the tag of timm's own.
    layers
        Indices of the feature levels (CNN) or blocks (ViT), as timm numbers them; several are joined on the finest
        grid.
    image_size
        Side in pixels of the square that every image is squashed to.
    interpolation, mean, std
        From the model's timm ``pretrained_cfg``.
    patch_pooling
        Side of the average-pooling window over the feature map, in cells; stride 1.
    grid
        ``(height, width)`` of the patch grid of the whole frame; ``n_patches`` is their product.
    dim
        Length of one patch embedding.
    unit_norm
        Whether patches have unit norm, as [SOHN23] takes them; [ARDELEAN24] takes a network's feature maps as they are.
    precision
        What the network computes in: ``bf16`` differs from ``float32`` beyond rounding.
    decoding
        How pictures are decoded that are not plain ones of 8 bits, where the category has some.
    deeper
        A second feature level of the same network, embedded in the same pass and kept by itself; recipe ``auto`` has
        one. No part of this spec's identity: it does not change these embeddings.
    tiles
        ``(rows, columns)`` of the tiles that every frame is cut into, each squashed to ``image_size``; None takes the
        frame as one picture.
    overlap
        Pixels of the network's picture that neighbouring tiles share: whole cells of the patch grid.
    resize
        How a frame, or a tile of it, becomes a square of ``image_size``, see `anoclust_core.embedding.resizing`.
    aligned_within
        Cells each way that a patch is compared with in other images; None compares it with all of their patches. No
        part of this spec's identity: it changes distances, not embeddings.
    cover
        Which patches of an image others are compared with; None compares them with all. No part of this spec's
        identity either.
    region
        Digest of the part of a frame that is looked at, `tasks.stores.regions`, of images that have no region of their
        own; None looks at all of it. No part of this spec's identity: it decides which patches count.
    """

    backbone: str
    timm_model: str
    weights: str
    layers: tuple[int, ...]
    image_size: int
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    patch_pooling: int
    grid: tuple[int, int]
    dim: int
    unit_norm: bool = True
    precision: Precision = "float32"
    decoding: Decoding | None = None
    deeper: EmbeddingSpec | None = None
    tiles: tuple[int, int] | None = None
    overlap: int = 0
    resize: Resize = "squash"
    aligned_within: int | None = None
    cover: Cover | None = None
    region: str | None = None

    @property
    def identity(self) -> dict[str, object]:
        """Everything that enters a key; what came later only where it is not as it always was, so that keys stay."""
        as_always = {"unit_norm": True, "precision": "float32", "overlap": 0, "resize": "squash"}
        as_always |= dict.fromkeys(("decoding", "tiles"))
        missing = object()
        alone = asdict(replace(self, deeper=None))
        del alone["deeper"], alone["aligned_within"], alone["cover"], alone["region"]
        if self.decoding is not None:
            alone["decoding"] = self.decoding.identity
        return {name: value for name, value in alone.items() if value != as_always.get(name, missing)}

    @property
    def levels(self) -> tuple[EmbeddingSpec, ...]:
        """Itself, and the deeper level if there is one."""
        return (self, self.deeper) if self.deeper else (self,)

    @property
    def network_identity(self) -> dict[str, object]:
        """Identity of the network that embeds all levels in one pass; it sees a square, whatever that was made from."""
        one = self.untiled.resized_by("squash")
        return {**one.identity, **({"deeper": one.deeper.identity} if one.deeper else {})}

    def decoded_by(self, decoding: Decoding | None) -> EmbeddingSpec:
        """Spec of images that are decoded another way, on all levels."""
        return replace(self, decoding=decoding, deeper=self.deeper.decoded_by(decoding) if self.deeper else None)

    def resized_by(self, resize: Resize) -> EmbeddingSpec:
        """Spec of images that become squares another way, on all levels."""
        return replace(self, resize=resize, deeper=self.deeper.resized_by(resize) if self.deeper else None)

    def seen_box(self, shape: tuple[int, int]) -> Box:
        """Part of a frame of a height and width that the network sees, see `resizing.seen_box`."""
        return seen_box(shape, resize=self.resize, tiles=self.tiles)

    @property
    def n_tiles(self) -> int:
        """Number of pictures that the network sees of one frame."""
        return self.tiles[0] * self.tiles[1] if self.tiles else 1

    @property
    def tile_grid(self) -> tuple[int, int]:
        """``(height, width)`` of the patch grid of one tile."""
        side, rows, columns = self.image_size, *(self.tiles or (1, 1))
        height, width = (side * many - self.overlap * (many - 1) for many in (rows, columns))
        return self.grid[0] * side // height, self.grid[1] * side // width

    @property
    def untiled(self) -> EmbeddingSpec:
        """Spec of one tile taken as a picture of its own, on all levels."""
        deeper = self.deeper.untiled if self.deeper else None
        return replace(self, grid=self.tile_grid, tiles=None, overlap=0, deeper=deeper)

    def in_tiles(self, tiles: tuple[int, int], overlap: int = 0) -> EmbeddingSpec:
        """Spec of frames that are cut into tiles, on all levels; ``self`` is that of one tile.

        Parameters
        ----------
        tiles
            Rows and columns.
        overlap
            Pixels of the network's picture that neighbours share: whole cells on every level.
        """
        height, width = (
            many * cells - (many - 1) * overlap * cells // self.image_size
            for many, cells in zip(tiles, self.grid, strict=True)
        )
        deeper = self.deeper.in_tiles(tiles, overlap) if self.deeper else None
        return replace(self, grid=(height, width), tiles=tiles, overlap=overlap, deeper=deeper)

    @property
    def window(self) -> Window | None:
        """Where a patch is looked for in other images; None compares it with all of their patches."""
        return None if self.aligned_within is None else Window(self.grid, self.aligned_within)

    @property
    def n_compared(self) -> int:
        """Pairs of patches that two images are compared by, one product."""
        if self.window is not None:
            return self.window.n_compared
        return self.n_patches * (self.cover.size if self.cover else self.n_patches)

    @property
    def deep(self) -> tuple[DeepRange, ...]:
        """Which values are black and white in deep pictures, where the category has some."""
        return self.decoding.deep if self.decoding else ()

    @property
    def n_patches(self) -> int:
        """Number of patches in a bag."""
        return self.grid[0] * self.grid[1]


@dataclass(frozen=True)
class EmbeddingStore:
    """Handle of a category's embeddings: folder of the immutable segments, and content key of the embedding spec.

    ``not_now`` has the reason, by content hash, for images that could not be read this time. Those that cannot be
    decoded at all are kept beside the segments.
    """

    uri: str
    key: str
    not_now: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ArrayHandle:
    """Handle of arrays at rest.

    Attributes
    ----------
    uri
        Folder that holds them.
    key
        Content key of the stage that made them.
    shapes
        Shape by array name.
    """

    uri: str
    key: str
    shapes: Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class NearestDistances:
    """Handle of the nearest-patch distances of a data set.

    Attributes
    ----------
    uri
        Folder of the immutable slabs; it may cover more pairs than this data set has.
    key
        Content key of data set and embedding.
    reference
        Images that distances are measured to.
    shape
        ``(n_images, n_reference, n_patches)`` of the distinct contents.
    once
        Folder of the near-duplicates that count as one image; empty where every image counts.
    """

    uri: str
    key: str
    reference: Reference
    shape: tuple[int, int, int]
    once: str = ""


@dataclass(frozen=True)
class BagWeights:
    """Handle of rarity, weights and descriptors, and the temperature in embedding units that made them.

    ``once`` is that of `NearestDistances`.
    """

    arrays: ArrayHandle
    tau: float
    once: str = ""


@dataclass(frozen=True)
class ClusterTree:
    """Handle of the linkage and the cluster of each image, and how the number of clusters came about."""

    arrays: ArrayHandle
    n_clusters: int
    n_clusters_rule: str
    n_clusters_suggested: int
    next_best: Sequence[int] = ()
