"""How images are embedded, and what their patches are compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace

from anoclust_core.embedding.deep_images import Decoding, DeepRange
from anoclust_core.embedding.precision import Precision
from anoclust_core.embedding.resizing import Box, Resize, seen_box
from anoclust_core.records.images import Role


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
class Detector:
    """An exported anomaly detector, whose maps the weights follow.

    Attributes
    ----------
    file
        Path of the model; no part of the identity, so that it may be moved.
    digest
        Of everything that the model's files hold.
    size
        Height and width in pixels that a picture is resized to; None where the model says so.
    values
        What the model takes for a pixel, see `anoclust_core.config.DetectorConfig`.
    output
        Name of the output that is the map; None where the model says so.
    """

    file: str
    digest: str
    size: tuple[int, int] | None = None
    values: str = "auto"
    output: str | None = None

    @property
    def identity(self) -> dict[str, object]:
        """Everything that decides the maps of an image."""
        return {"digest": self.digest, "size": self.size, "values": self.values, "output": self.output}


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
    detector
        Detector whose maps the weights follow; None where they follow something else. No part of this spec's identity
        either.
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
    detector: Detector | None = None

    @property
    def identity(self) -> dict[str, object]:
        """Everything that enters a key; what came later only where it is not as it always was, so that keys stay."""
        as_always = {"unit_norm": True, "precision": "float32", "overlap": 0, "resize": "squash"}
        as_always |= dict.fromkeys(("decoding", "tiles"))
        missing = object()
        alone = asdict(replace(self, deeper=None))
        del alone["deeper"], alone["aligned_within"], alone["cover"], alone["region"], alone["detector"]
        if self.decoding is not None:
            alone["decoding"] = self.decoding.identity
        if self.tiles is not None and self.resize == "pad":
            alone["mirrored"] = "the frame"  # before, each tile mirrored its own part of it
        return {name: value for name, value in alone.items() if value != as_always.get(name, missing)}

    @property
    def levels(self) -> tuple[EmbeddingSpec, ...]:
        """Itself, and the deeper level if there is one."""
        return (self, self.deeper) if self.deeper else (self,)

    @property
    def network_identity(self) -> dict[str, object]:
        """Identity of the network that embeds all levels in one pass; it sees a square, whatever that was made from."""
        one = self.untiled.resized_by("squash").decoded_by(None)
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
