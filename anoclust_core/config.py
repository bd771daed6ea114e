"""Settings of a run: one frozen, validated record. A setting is one field, and what is said of it stands there."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import time, tzinfo
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import (
    BaseModel,
    ByteSize,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from anoclust_core.embedding.precision import Precision
from anoclust_core.embedding.resizing import Resize
from anoclust_core.matching.night_dates import zone_of
from anoclust_core.setting import (
    Address,
    Border,
    Clusters,
    Count,
    Device,
    Layers,
    Names,
    Page,
    PartRule,
    Patches,
    Range,
    Seconds,
    Share,
    Side,
    Size,
    Tau,
    Tiles,
    TileSize,
    TimeOfDay,
    Weights,
    Zone,
    extra_of,
    setting,
)

DEFAULT_BACKBONE: Final = "efficientnet_lite2"
RECIPE_SIDES: Final = MappingProxyType({"auto": 256, "sohn": 256, "blind": 512})
"""Input side in pixels of each recipe; of the papers' two as published."""

COUNT_ONCE: Final = "count-once"
"""Near-duplicates count as one image."""

DEFAULT_STORE_BUDGET: Final = ByteSize(2 << 30)
"""Nearest distances that a run may keep on disk: every pair of 2,000 images with 256 patches each."""


class _Section(BaseModel):
    """Frozen settings; a name that does not exist is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    heading: ClassVar[str] = ""
    """Heading of these settings in a command's help; empty for that of all other options."""

    @field_validator("*", mode="before")
    @classmethod
    def _word_for_nothing(cls, value: object, info: ValidationInfo) -> object:
        """Read a word as no value: files and environment variables have no other way to say it."""
        word = extra_of(cls.model_fields[str(info.field_name)]).get("nothing")
        return None if word is not None and value == word else value


class StoreConfig(_Section):
    """Where everything is kept: a setting of commands; no run's result depends on it."""

    store: Path = setting(
        Path("anoclust-store"),
        "Folder for everything that Anoclust keeps: embeddings, distances, runs.",
        commands=("every",),
        takes="a folder that this machine sees",
        path_unless=(),
    )


class DataConfig(_Section):
    """Which images to use, and what to do with bad ones."""

    heading: ClassVar[str] = "Images"

    normals: str = setting(
        "auto",
        "Known normal images to measure rarity against. `auto` uses split train, label good, if there is one; `none` "
        "ignores split train and runs blind; or name a folder of normal images.",
        commands=("run", "check", "nightly", "benchmark"),
        takes="auto, none or a folder of normal images",
        path_unless=("auto", "none"),
    )
    # in keys by what is looked at, not by where that is written
    roi: str = setting(
        "auto",
        "Which part of every picture is looked at: a mask of the same size, looked at where it is not black, or "
        "polygons as LabelMe and COCO write them (`.json`). `auto` takes `.roi.png` or `.roi.json` in a category's "
        "folder, if there is one; `none` looks at everything.",
        commands=("run", "check", "nightly"),
        takes="auto, none or a mask or file of polygons",
        path_unless=("auto", "none"),
    )
    splits: Literal["test", "all"] = setting(
        "test",
        "`test` clusters split test, if there are splits; `all` clusters every image.",
        commands=("run", "check", "nightly"),
    )
    # in keys through the parts' names, where parts are clustered
    part: PartRule = setting(
        "column:part",
        "How to tell which part an image shows, where several images are views of one part: `column:NAME` of a "
        "manifest, or `path:PATTERN`, in which `{part}` is its name and `*` any text without a slash: `path:{part}_*` "
        "for `0017_cam2.png`, `path:{part}/*` for `0017/cam2.png`, `path:*/{part}` for `cam2/0017.png`.",
        commands=("run", "check", "nightly", "backfill"),
        takes="column:NAME or path:PATTERN with {part} in it",
    )
    # in keys through what it comes to for the kinds of samples that a category has
    range: Range = setting(
        "auto",
        "Which values are black and white in pictures of more than 8 bits. `auto` takes them from a category's first "
        "images and keeps them; `full` is all values that the samples can have, such as 0 to 65,535; or `LOW:HIGH`. "
        "Another range embeds all images again.",
        commands=("run", "check", "nightly"),
        takes="auto, full or LOW:HIGH such as 0:4095",
    )
    settle_seconds: Seconds = setting(
        2.0,
        "Files changed less than this many seconds ago may still be being written; they wait for the next run. If too "
        "few other files remain, the command waits for them once.",
        commands=("run", "check", "nightly"),
        takes="a number of seconds from 0",
    )
    max_bad_share: Share = setting(
        0.3,
        "Fail the run when more than this share of the files is unusable, from 0 to 1.",
        commands=("run", "check", "nightly"),
        takes="a share from 0 to 1",
    )
    trust_times: bool = setting(
        True,
        "`true`: a file whose size and times have not changed since an earlier run counts as unchanged. `false`: read "
        "every file again, for a file system without reliable times.",
        commands=("run", "check", "nightly"),
    )


class EmbedConfig(_Section):
    """Feature extractor."""

    heading: ClassVar[str] = "Features"

    backbone: str = setting(
        DEFAULT_BACKBONE,
        "Feature extractor: `efficientnet_lite2` is installed with Anoclust; the papers use `wide_resnet50_2`; or any "
        "timm model that gives feature maps. timm downloads what is not cached.",
        commands=("run", "check", "nightly", "benchmark"),
        takes="the name of a timm model",
    )
    checkpoint: str | None = setting(
        None,
        "File with weights for the backbone (.safetensors, or .pth with tensors only); `none` uses the backbone's own.",
        commands=("run", "check", "nightly", "benchmark"),
        takes="none or a file with weights",
        nothing="none",
        path_unless=("none",),
    )
    layers: Layers | None = setting(
        None,
        "Feature levels, numbered as in timm, joined on the finest grid (`2,3`); `auto` is the backbone's usual "
        "choice.",
        commands=("run", "check", "benchmark"),
        takes="auto or numbers of feature levels separated by commas (2,3)",
        nothing="auto",
    )
    image_size: Side | None = setting(
        None,
        "Resize every image to a square of this many pixels a side; `auto` is 256, or 512 for recipe `blind`.",
        commands=("run", "check", "nightly", "benchmark"),
        takes="auto or a whole number of pixels from 32 to 4096",
        nothing="auto",
    )
    resize: Resize = setting(
        "squash",
        "How a picture that is no square becomes one: `squash` changes its proportions; `pad` keeps them, and mirrors "
        "the picture into what is missing; `crop` keeps them, and takes the square in the middle: what lies outside is "
        "not seen. Another way embeds all images again.",
        commands=("run", "check", "nightly", "benchmark"),
    )
    tiles: Tiles | None = setting(
        None,
        "For large frames with small defects: cut every frame into `ROWSxCOLUMNS` tiles and embed each as a picture of "
        "its own; `none` takes the frame as one picture. Embedding takes as many times as long as there are tiles, "
        "comparing images up to the square of that.",
        commands=("run", "check", "nightly", "benchmark"),
        takes="none or ROWSxCOLUMNS such as 2x3",
        nothing="none",
    )
    tile_size: TileSize | None = setting(
        None,
        "Instead of `tiles`: cut frames into tiles of about this many pixels of the frame. The largest frame that a "
        "category has the first time decides how many there are, the same for all its frames from then on.",
        commands=("run", "check", "nightly", "benchmark"),
        takes="none or a whole number of pixels from 32",
        nothing="none",
    )
    overlap: Annotated[int, Field(ge=0)] = setting(
        0,
        "Pixels of the frame that neighbouring tiles share at least, up to half a tile, so that a defect on their "
        "border is seen whole; of the patches there, each comes from the tile whose centre is nearest. Needs `tiles` "
        "or `tile_size`.",
        commands=("run", "check", "nightly", "benchmark"),
        takes="a whole number of pixels from 0",
    )
    # not part of any key; of the pairwise stage and of recipe blind too
    device: Device = setting(
        "auto",
        "Where networks run and images are compared: `cpu`, `cuda` or `cuda:INDEX`; `auto` uses a GPU if there is one; "
        "every Dask worker uses its own.",
        commands=("run", "check", "nightly", "benchmark", "backfill"),
        takes="auto, cpu, cuda or cuda:INDEX",
    )
    precision: Precision = setting(
        "float32",
        "Number format of the network: `float32`; or `bf16`, which is faster if the GPU or CPU has it built in. Its "
        "features differ, so every image is embedded again.",
        commands=("run", "check", "nightly", "benchmark"),
    )
    # not part of any key: features are equal within rounding; in bf16 that is 4 %, so do not change it within a store
    engine: Literal["auto", "torch", "openvino"] = setting(
        "auto",
        "Library that runs the network on a CPU: `torch`; `openvino`, faster once the network is converted; `auto` "
        "picks `openvino` if that pays off. The features are the same; a GPU always uses `torch`.",
        commands=("run", "check", "nightly", "benchmark"),
    )

    @property
    def rows_and_columns(self) -> tuple[int, int] | None:
        """Rows and columns of tiles that are asked for, or None."""
        if self.tiles is None:
            return None
        rows, _, columns = self.tiles.partition("x")
        return int(rows), int(columns)

    @property
    def has_tiles(self) -> bool:
        """Whether frames are cut into tiles."""
        return self.tiles is not None or self.tile_size is not None


class PairConfig(_Section):
    """Pairs of images."""

    heading: ClassVar[str] = "Pairs of images"

    # [SOHN23] eq. (7)
    reference: Count | None = setting(
        None,
        "Measure rarity against this many images, drawn at random (equation 7); `auto` takes all images if their "
        "distances fit `pair.store_budget`.",
        commands=("run", "check", "nightly"),
        takes="auto or a whole number from 1",
        nothing="auto",
    )
    # [SOHN23] eq. (5) over a part of each image's patches
    reference_patches: Patches | None = setting(
        None,
        "Compare a patch with so many patches of every other image, at most half of them, chosen so that the others of "
        "that image are near to one of these. `all` compares with all patches; so does `auto` up to 128 tiles, and "
        "beyond that with 4,096 of each image, or half.",
        commands=("run", "check", "nightly"),
        takes="auto, all or a whole number from 1",
        nothing="auto",
    )
    store_budget: Size = setting(
        DEFAULT_STORE_BUDGET,
        "Largest size on disk of a run's nearest distances, as in `2GiB`.",
        commands=("run", "check", "benchmark"),
        takes="a size such as 2GiB",
    )
    aligned: bool | None = setting(
        None,
        "For a fixed camera: `true` compares a patch only with patches near its own place in other images, `false` "
        "with all of them. `auto` is `true` where frames are cut into tiles, and those that a category has the first "
        "time are measured to lie on each other.",
        commands=("run", "check", "nightly", "benchmark"),
        takes="auto, true or false",
        nothing="auto",
    )
    window: Annotated[int, Field(ge=0, le=64)] = setting(
        2,
        "How far from its own place a patch is looked for where images are aligned: so many patches up, down, left and "
        "right. Of a frame of 4,000 pixels in 16 columns of tiles, a patch is 16 pixels.",
        commands=("run", "check", "nightly", "benchmark"),
        takes="a whole number of patches from 0 to 64",
    )
    # part of keys where they count once
    near_duplicates: Literal["count-once", "keep"] = setting(
        "keep",
        "Images of one part that was exposed several times: `count-once` lets them count as one image for rarity, the "
        "merge tree and the number of clusters; `keep` lets every image count. They are listed in either case. Recipe "
        "`blind` and weights by maps compare no images and find none.",
        commands=("run", "check", "nightly"),
    )
    # not part of any key
    dask: Address | None = setting(
        None,
        "Address of a Dask scheduler (`tcp://host:8786`) whose workers can read and write the store; `none` computes "
        "in this process.",
        commands=("run", "check", "nightly", "benchmark"),
        takes="none or an address such as tcp://host:8786",
        nothing="none",
    )


class WeighConfig(_Section):
    """Weights of patches."""

    heading: ClassVar[str] = "Weights of patches"

    # rarity is [SOHN23] eq. (5), (6)
    weights: Weights = setting(
        "rarity",
        "How patches are weighted: by `rarity`; `uniform`, all the same; or `maps:FOLDER`, by anomaly maps of any "
        "detector, larger where more anomalous, as `FOLDER/CATEGORY/IMAGE.npy` (or .tiff, grey .png). With maps, no "
        "images are compared.",
        commands=("run", "check"),
        takes="rarity, uniform or maps:FOLDER",
        path_after="maps:",
    )
    tau: Tau = setting(
        "0.3sd",
        "Temperature of the weights: a small one looks only at the rarest patch, a large one at all patches alike. A "
        "number in embedding units (`0.02`) or in standard deviations of the rarity (`0.3sd`).",
        commands=("run", "check", "nightly", "benchmark"),
        takes="a positive number in embedding units (0.02) or in standard deviations of the rarity (0.3sd)",
    )

    @property
    def maps(self) -> str | None:
        """Folder of the anomaly maps that the weights follow, or None."""
        return self.weights.partition(":")[2] or None


class BlindConfig(_Section):
    """Recipe ``blind``: localisation without any normals, and descriptors made from it, [ARDELEAN24]."""

    heading: ClassVar[str] = "Recipe blind"

    variant: Literal["program", "paper"] = setting(
        "program",
        "Recipe `blind`: `program` follows the authors' published program, `paper` their text, which trains eight "
        "times as long.",
        commands=("run", "check", "benchmark"),
    )
    vae: bool = setting(
        True,
        "Recipe `blind`: look for anomalies in what a VAE cannot reconstruct (`true`), or in the features themselves, "
        "without training (`false`).",
        commands=("run", "check"),
    )
    contrastive: bool = setting(
        True,
        "Recipe `blind`: train a head that separates the kinds of anomalies (`true`), or pool the features as they "
        "are (`false`).",
        commands=("run", "check"),
    )
    threshold: Literal["robust", "otsu", "kmeans-quantile"] = setting(
        "robust",
        "Recipe `blind`: how to decide which cells are anomalous: `robust` or `otsu` without labels; "
        "`kmeans-quantile` as published, which needs the number of classes.",
        commands=("run", "check", "benchmark"),
    )
    # not in the paper, whose border hides the edges instead
    flat_field: bool = setting(
        True,
        "Recipe `blind`: subtract from the maps what is usual at each place over all images (`true`), or leave them as "
        "published (`false`).",
        commands=("run", "check", "benchmark"),
    )
    border: Border = setting(
        0.0,
        "Recipe `blind`: part of each side to ignore, from 0 to 0.5. The published program ignores 0.078, and so "
        "misses every defect at an edge.",
        commands=("run", "check", "benchmark"),
        takes="a part from 0 to below 0.5",
    )


class GroupConfig(_Section):
    """Clusters."""

    heading: ClassVar[str] = "Clusters"

    # in keys where it is not `image`, as it always was
    by: Literal["image", "part"] = setting(
        "image",
        "What is clustered and counted: every `image` by itself; or every `part`, which takes the rarest of its views; "
        "`data.part` says which part an image shows.",
        commands=("run", "check", "nightly", "backfill"),
    )

    # names of `anoclust_core.clustering.distances`; the first is between descriptors, eq. (1)
    distance: Literal[
        "weighted_average",
        "mean_mean",
        "max_min_max",
        "max_min_mean",
        "min_min",
        "mean_min_max",
        "mean_min_mean",
    ] = setting(
        "weighted_average",
        "Distance between images: `weighted_average` of their patches, or a Hausdorff distance of the paper's appendix "
        "C (`max_min_max` is the classical one, `mean_min_max` the modified one; `mean_mean`, `max_min_mean`, "
        "`min_min`, `mean_min_mean`).",
        commands=("run", "check"),
    )
    # Ward over a Hausdorff distance is the Lance-Williams recurrence on it
    linkage: Literal["ward", "average", "complete", "single"] = setting(
        "ward",
        "How clusters are merged: `ward`, `average`, `complete` or `single`.",
        commands=("run", "check"),
    )
    n_clusters: Clusters | None = setting(
        None,
        "Number of clusters. `auto`: the number of classes if every image has a label (the papers' protocol), "
        "otherwise what the merge tree suggests. `LOW:HIGH` keeps the suggestion between two numbers, as in `3:8`, "
        "and asks no labels.",
        commands=("run", "check", "nightly"),
        takes="auto, a whole number from 1, or LOW:HIGH such as 3:8",
        nothing="auto",
    )

    @property
    def number(self) -> int | None:
        """Number of clusters that is asked for, or None."""
        return self.n_clusters if isinstance(self.n_clusters, int) else None

    @property
    def bounds(self) -> tuple[int, int] | None:
        """Lowest and highest number of clusters, or None."""
        if not isinstance(self.n_clusters, str):
            return None
        low, _, high = self.n_clusters.partition(":")
        return int(low), int(high)


class NightConfig(_Section):
    """Nights: what belongs to one, and when everything is re-clustered. Nothing of it enters a key of a run."""

    heading: ClassVar[str] = "Nights"

    timezone: Zone = setting(
        "UTC",
        "Time zone of the nights, such as `Europe/Berlin`.",
        commands=("nightly", "up", "deploy apply"),
        takes="the name of a time zone such as Europe/Berlin or UTC",
    )
    day_starts: TimeOfDay = setting(
        "06:00",
        "Time of day at which a night begins: with `06:00`, an image taken at 05:59 belongs to the night before. A "
        "night is named after the date on which it begins.",
        commands=("nightly",),
        takes="a time of day such as 06:00",
    )
    captured: Names = setting(
        ("file",),
        "How to tell when an image was taken, tried in this order, separated by commas: `path:%Y-%m-%d/*_%H%M%S`, "
        "`column:NAME` of a manifest, `exif`, `file` (when the file was last changed).",
        commands=("nightly", "backfill"),
        takes="path:PATTERN, column:NAME, exif or file, several separated by commas",
    )
    recluster_every: Count | None = setting(
        7,
        "Re-cluster everything after this many nights, if there are new images; `none` never does.",
        commands=("nightly",),
        takes="none or a whole number from 1",
        nothing="none",
    )
    recluster_unknown: Share = setting(
        0.2,
        "Re-cluster everything when more than this share of the images since the last clustering is unknown, from 0 "
        "to 1.",
        commands=("nightly",),
        takes="a share from 0 to 1",
    )
    catalog: str | None = setting(
        None,
        "Database of images, nights and clusters: `auto` is the file `catalog.sqlite` in the store; or a URL such as "
        "`postgresql://user@host/name`.",
        commands=("nightly", "backfill", "status", "store rebuild-catalog"),
        takes="auto or a URL such as postgresql://user@host/name",
        nothing="auto",
        is_secret=True,
    )
    review: Page | None = setting(
        None,
        "Address where `anoclust review` can be reached, such as `http://quality-pc:8765`: night reports link to it.",
        commands=("nightly", "up", "deploy apply"),
        takes="none or an address such as http://quality-pc:8765",
        nothing="none",
    )

    @property
    def zone(self) -> tzinfo:
        """Time zone that ``timezone`` names."""
        return zone_of(self.timezone)

    @property
    def begins(self) -> time:
        """Time of day that ``day_starts`` says."""
        return time.fromisoformat(self.day_starts)


class RunConfig(_Section):
    """One clustering of one category, as asked for; a run knows nothing of the settings of nights."""

    heading: ClassVar[str] = "Run"

    recipe: Literal["auto", "sohn", "blind"] = setting(
        "auto",
        "Method: `auto` describes the rare patches of each image at two feature levels and finds the number of "
        "clusters; `sohn` and `blind` are published: `sohn` compares the patches of all images, `blind` makes an "
        "anomaly map from each image alone and trains a contrastive head.",
        commands=("run", "check", "nightly"),
    )
    seed: Annotated[int, Field(ge=0)] = setting(
        0,
        "Seed of every random draw, such as which images form the reference.",
        commands=("run", "check", "benchmark"),
        takes="a whole number from 0",
    )
    # not part of any key
    memory: Size | None = setting(
        None,
        "Memory that one stage may use, as in `8GiB`; `auto` is 80 % of what is free when the run starts.",
        commands=("run", "check", "nightly", "benchmark", "backfill"),
        takes="auto or a size such as 8GiB",
        nothing="auto",
    )
    # not part of any key
    wait_seconds: Seconds = setting(
        0.0,
        "Wait this long if another run of the same category is going on; 0 does not wait.",
        commands=("run", "check", "nightly", "backfill", "store gc", "store rebuild-catalog"),
        takes="a number of seconds from 0",
    )
    data: DataConfig = DataConfig()
    embed: EmbedConfig = EmbedConfig()
    pair: PairConfig = PairConfig()
    weigh: WeighConfig = WeighConfig()
    blind: BlindConfig = BlindConfig()
    group: GroupConfig = GroupConfig()
    night: NightConfig = NightConfig()

    @model_validator(mode="before")
    @classmethod
    def _recipe_of_distance(cls, values: object) -> object:
        """Take recipe sohn for a Hausdorff distance, where no recipe is asked for: recipe auto has none."""
        if not isinstance(values, dict) or "recipe" in values:
            return values
        group = values.get("group", {})
        distance = group.get("distance") if isinstance(group, dict) else getattr(group, "distance", None)
        return values if distance in (None, "weighted_average") else {**values, "recipe": "sohn"}

    @model_validator(mode="after")
    def _fits_recipe(self) -> Self:
        if self.recipe == "blind" and self.weigh.weights != "rarity":
            raise ValueError("recipe blind makes its own anomaly maps; omit --weights, or use recipe sohn")
        if self.recipe == "blind" and self.data.normals not in ("auto", "none"):
            raise ValueError("recipe blind uses no normals; omit --normals, or use recipe sohn")
        if self.group.by == "part" and self.pair.near_duplicates == COUNT_ONCE:
            raise ValueError("--by part counts every part once already; omit --near-duplicates count-once")
        if isinstance(self.pair.reference_patches, int):
            self._fits_cover()
        if self.recipe != "sohn" and self.group.distance != "weighted_average":
            raise ValueError(
                f"recipe {self.recipe} clusters images by their descriptors; omit --distance, or use recipe sohn"
            )
        return self

    def _fits_cover(self) -> None:
        """Refuse a number of patches to compare with where it has no meaning."""
        if self.recipe == "blind":
            raise ValueError("recipe blind compares no images; omit --reference-patches, or use another recipe")
        if self.group.distance != "weighted_average":
            raise ValueError(
                f"--distance {self.group.distance} is made of all patches of all images; omit --reference-patches, or "
                "omit --distance"
            )
        if self.pair.aligned:
            raise ValueError(
                "with --aligned true a patch is compared with few patches already, those near its own place; omit "
                "--reference-patches, or give --aligned false"
            )

    _own: Mapping[str, RunConfig] = PrivateAttr(default_factory=dict)

    def of(self, category: str) -> RunConfig:
        """Settings of a category: its own, or else these."""
        return self._own.get(category, self)

    @property
    def own(self) -> Mapping[str, RunConfig]:
        """Settings of the categories that have their own, each complete."""
        return self._own

    def with_own(self, own: Mapping[str, RunConfig]) -> RunConfig:
        """The same for all categories but these; they enter no key and are not shown with these settings."""
        both = self.model_copy()
        both._own = MappingProxyType(dict(own))
        return both

    @property
    def for_runs(self) -> RunConfig:
        """Without the settings of nights: what a run is given, shows and keeps."""
        return self.model_copy(update={"night": NightConfig()})

    @property
    def protocol(self) -> str:
        """Name of the evaluation protocol that scores are made by."""
        return "ardelean" if self.recipe == "blind" else "sohn"

    @property
    def image_size(self) -> int:
        """Side in pixels of the square that images are resized to."""
        return self.embed.image_size or RECIPE_SIDES[self.recipe]
