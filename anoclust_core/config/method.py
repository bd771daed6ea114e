"""Settings of what is done with embeddings: compared, weighed, clustered."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

from pydantic import (
    ByteSize,
    Field,
)

from anoclust_core.config.section import Section
from anoclust_core.config.setting import (
    Address,
    Border,
    Clusters,
    Count,
    Patches,
    PictureSize,
    Size,
    Tau,
    Weights,
    setting,
)

COUNT_ONCE: Final = "count-once"
"""Near-duplicates count as one image."""

DEFAULT_STORE_BUDGET: Final = ByteSize(2 << 30)
"""Nearest distances that a run may keep on disk: every pair of 2,000 images with 256 patches each."""


class PairConfig(Section):
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


class WeighConfig(Section):
    """Weights of patches."""

    heading: ClassVar[str] = "Weights of patches"

    # rarity is [SOHN23] eq. (5), (6)
    weights: Weights = setting(
        "rarity",
        "How patches are weighted: by `rarity`; `uniform`, all the same; `maps:FOLDER`, by anomaly maps of any "
        "detector, larger where more anomalous, as `FOLDER/CATEGORY/IMAGE.npy` (or .tiff, grey .png); or "
        "`detector:FILE`, by the maps that an exported detector makes, an OpenVINO model (.xml) or ONNX; of a folder, "
        "`CATEGORY.xml` or `CATEGORY.onnx` in it. With maps, no images are compared.",
        commands=("run", "check", "nightly"),
        takes="rarity, uniform, maps:FOLDER or detector:FILE",
        path_after=("maps:", "detector:"),
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
        return self._after("maps")

    @property
    def detector(self) -> str | None:
        """File, or folder of files, of the detector whose maps the weights follow, or None."""
        return self._after("detector")

    def _after(self, word: str) -> str | None:
        kind, _, path = self.weights.partition(":")
        return path if kind == word else None


class DetectorConfig(Section):
    """A detector of one's own: what its model does not say of itself, or says wrongly."""

    heading: ClassVar[str] = "A detector of your own"

    input_size: PictureSize | None = setting(
        None,
        "With `--weights detector:FILE`: rows and columns of pixels that a picture is resized to. `auto` is what the "
        "model asks for; where it takes any size, that of its map.",
        commands=("run", "check", "nightly"),
        takes="auto or ROWSxCOLUMNS in pixels, such as 256x256",
        nothing="auto",
    )
    input_values: Literal["auto", "unit", "imagenet", "bytes"] = setting(
        "auto",
        "With `--weights detector:FILE`: what the model takes for a pixel of an RGB picture. `unit`: 0 to 1, as "
        "anomalib's models do; `imagenet`: that, minus ImageNet's mean, by its deviation; `bytes`: 0 to 255. `auto` is "
        "what the model's `model_info` says (mean_values, scale_values), or else `bytes` where it takes bytes and "
        "`unit` where it takes other numbers.",
        commands=("run", "check", "nightly"),
    )
    map_output: Annotated[str, Field(min_length=1)] | None = setting(
        None,
        "With `--weights detector:FILE`: name of the model's output that is the anomaly map. `auto` is the one named "
        "`anomaly_map`, or else the only one that has rows and columns.",
        commands=("run", "check", "nightly"),
        takes="auto or the name of an output",
        nothing="auto",
    )

    @property
    def rows_and_columns(self) -> tuple[int, int] | None:
        """Size that a picture is resized to, or None."""
        if self.input_size is None:
            return None
        rows, _, columns = self.input_size.partition("x")
        return int(rows), int(columns)


class BlindConfig(Section):
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


class GroupConfig(Section):
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
