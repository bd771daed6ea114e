"""Settings of the store, of images and of their embeddings; what is said of a setting stands in its field."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import Annotated, ClassVar, Final, Literal

from pydantic import (
    Field,
)

from anoclust_core.config.section import Section
from anoclust_core.config.setting import (
    Device,
    Layers,
    PartRule,
    Range,
    Seconds,
    Share,
    Side,
    Tiles,
    TileSize,
    setting,
)
from anoclust_core.embedding.precision import Precision
from anoclust_core.embedding.resizing import Resize

DEFAULT_BACKBONE: Final = "efficientnet_lite2"
RECIPE_SIDES: Final = MappingProxyType({"auto": 256, "sohn": 256, "blind": 512})
"""Input side in pixels of each recipe; of the papers' two as published."""


class StoreConfig(Section):
    """Where everything is kept: a setting of commands; no run's result depends on it."""

    store: Path = setting(
        Path("anoclust-store"),
        "Folder for everything that Anoclust keeps: embeddings, distances, runs.",
        commands=("every",),
        takes="a folder that this machine sees",
        path_unless=(),
    )


class DataConfig(Section):
    """Which images to use, and what to do with bad ones."""

    heading: ClassVar[str] = "Images"

    normals: str = setting(
        "auto",
        "Known normal images to measure rarity against. `auto` uses split train, label good, if there is one; `none` "
        "ignores split train and runs blind; or name a folder of normal images.",
        commands=("run", "check", "nightly", "benchmark", "detector train"),
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
        commands=("run", "check", "nightly", "detector train"),
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
        commands=("run", "check", "nightly", "detector train"),
        takes="a number of seconds from 0",
    )
    max_bad_share: Share = setting(
        0.3,
        "Fail the run when more than this share of the files is unusable, from 0 to 1.",
        commands=("run", "check", "nightly", "detector train"),
        takes="a share from 0 to 1",
    )
    trust_times: bool = setting(
        True,
        "`true`: a file whose size and times have not changed since an earlier run counts as unchanged. `false`: read "
        "every file again, for a file system without reliable times.",
        commands=("run", "check", "nightly"),
    )


class EmbedConfig(Section):
    """Feature extractor."""

    heading: ClassVar[str] = "Features"

    backbone: str = setting(
        DEFAULT_BACKBONE,
        "Feature extractor: `efficientnet_lite2` is installed with Anoclust; the papers use `wide_resnet50_2`; or any "
        "timm model that gives feature maps. timm downloads what is not cached.",
        commands=("run", "check", "nightly", "benchmark", "detector train"),
        takes="the name of a timm model",
    )
    checkpoint: str | None = setting(
        None,
        "File with weights for the backbone (.safetensors, or .pth with tensors only); `none` uses the backbone's own.",
        commands=("run", "check", "nightly", "benchmark", "detector train"),
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
        commands=("run", "check", "nightly", "benchmark", "detector train"),
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
        commands=("run", "check", "nightly", "benchmark", "backfill", "detector train"),
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
