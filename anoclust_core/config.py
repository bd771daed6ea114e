"""Settings of a run: one frozen, validated record."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import time, tzinfo
from types import MappingProxyType
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ByteSize, ConfigDict, Field, model_validator

from anoclust_core.errors import ConfigError
from anoclust_core.matching.night_dates import zone_of
from anoclust_core.records import Precision

DEFAULT_BACKBONE: Final = "efficientnet_lite2"
RECIPE_SIDES: Final = MappingProxyType({"sohn": 256, "blind": 512})
"""Input side in pixels of each recipe, as published."""

DEFAULT_STORE_BUDGET: Final = ByteSize(2 << 30)
"""Nearest distances that a run may keep on disk: every pair of 2,000 images with 256 patches each."""


def parse_tau(text: str) -> tuple[float, bool]:
    """Read a temperature: a number in embedding units, or a multiple of the rarity's standard deviation.

    Returns
    -------
    value, relative
        ``relative`` tells that ``value`` counts standard deviations of the rarity over all images and patches.

    Raises
    ------
    ConfigError
        If the text is neither, or the value is not a positive finite number.

    Examples
    --------
    >>> parse_tau("0.02"), parse_tau("0.3sd")
    ((0.02, False), (0.3, True))
    """
    match = re.fullmatch(r"\s*([0-9.eE+-]+)\s*(sd)?\s*", text)
    try:
        value = float(match.group(1)) if match else math.nan
    except ValueError:
        value = math.nan
    if match is None or not math.isfinite(value) or value <= 0:
        raise ConfigError(
            f"tau is a positive number in embedding units (0.02) or a multiple of the rarity's standard deviation "
            f"(0.3sd); found {text!r}"
        )
    return value, match.group(2) is not None


def _valid_tau(text: str) -> str:
    """Check the text and write it in one way, so that 0.30sd and 0.3sd are one run."""
    try:
        value, relative = parse_tau(text)
    except ConfigError as error:
        raise ValueError(str(error)) from error
    return repr(value).removesuffix(".0") + ("sd" if relative else "")


def _valid_weights(text: str) -> str:
    kind, colon, folder = text.partition(":")
    if text not in ("rarity", "uniform") and not (kind == "maps" and colon and folder):
        raise ValueError("is rarity, uniform or maps:FOLDER")
    return text


def _valid_device(text: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", text):
        raise ValueError("is auto, cpu, cuda or cuda:INDEX")
    return text


def _without_password(text: str) -> str:
    """Refuse what Dask knows nothing of and reports would show: its addresses have neither user nor parameters."""
    if re.search(r"[@?\s]", text):
        raise ValueError("is an address such as tcp://host:8786")
    return text


def _none_if(word: str) -> BeforeValidator:
    """Read a word as no value: files and environment variables have no other way to say it."""
    return BeforeValidator(lambda value: None if value == word else value)


def _number_as_text(value: object) -> object:
    """Read the number 0.02, as a file may have it, like the text."""
    return repr(value) if isinstance(value, (int, float)) else value


def _split_layers(value: object) -> object:
    """Read ``2,3`` as ``(2, 3)`` and 2, as a file may have it, as ``(2,)``."""
    if isinstance(value, int):
        return (value,)
    if not isinstance(value, str):
        return value
    parts = [part.strip() for part in value.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise ValueError("takes numbers of feature levels separated by commas (2,3), or auto")
    return tuple(int(part) for part in parts)


def _split_commas(value: object) -> object:
    """Read ``path:%Y-%m-%d,exif`` as two texts."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _valid_zone(text: str) -> str:
    try:
        zone_of(text)
    except ConfigError as error:
        raise ValueError(str(error)) from error
    return text


def _valid_time(text: str) -> str:
    if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", text):
        raise ValueError("is a time of day such as 06:00")
    return text


class _Section(BaseModel):
    """Frozen settings; a name that does not exist is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DataConfig(_Section):
    """Which images to use, and what to do with bad ones.

    Attributes
    ----------
    normals
        Known normal images that rarity is measured against: ``auto`` takes the good images of split ``train`` where
        there are any, ``none`` leaves that split out altogether, anything else is a folder of normal images.
    splits
        ``test`` clusters split ``test`` where splits exist, ``all`` every split.
    settle_seconds
        Age below which a file may still be being written; it is deferred.
    max_bad_share
        Share of quarantined files past which the run fails.
    trust_times
        Whether a file whose size and times have not changed need not be read again.
    """

    normals: str = "auto"
    splits: Literal["test", "all"] = "test"
    settle_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 2.0
    max_bad_share: Annotated[float, Field(ge=0, le=1)] = 0.3
    trust_times: bool = True


class EmbedConfig(_Section):
    """Feature extractor.

    Attributes
    ----------
    backbone, checkpoint, layers, image_size
        ``checkpoint`` is a file with weights; ``layers`` None are the backbone's usual ones, ``image_size`` None the
        recipe's.
    device
        ``auto``, ``cpu``, ``cuda`` or ``cuda:INDEX``, of the pairwise stage and of recipe blind too; not part of any
        key.
    precision
        What the network computes in.
    engine
        What computes the network on a CPU: ``torch``, ``openvino``, or ``auto``, OpenVINO where it pays; not part of
        any key, since features are equal within rounding: in bf16 that is 4 %, so do not change it within a store.
    """

    backbone: str = DEFAULT_BACKBONE
    checkpoint: Annotated[str | None, _none_if("none")] = None
    layers: Annotated[
        Annotated[tuple[int, ...], Field(min_length=1)] | None, BeforeValidator(_split_layers), _none_if("auto")
    ] = None
    image_size: Annotated[Annotated[int, Field(ge=32, le=4096)] | None, _none_if("auto")] = None
    device: Annotated[str, AfterValidator(_valid_device)] = "auto"
    precision: Precision = "float32"
    engine: Literal["auto", "torch", "openvino"] = "auto"


class PairConfig(_Section):
    """Pairs of images.

    Attributes
    ----------
    reference
        Number of images in a random reference subset, [SOHN23] eq. (7); None is all while they fit ``store_budget``.
    store_budget
        Bytes that the nearest distances of a run may take on disk.
    dask
        Address of a Dask scheduler; None computes in this process. Not part of any key.
    """

    reference: Annotated[Annotated[int, Field(ge=1)] | None, _none_if("auto")] = None
    store_budget: Annotated[ByteSize, Field(gt=0)] = DEFAULT_STORE_BUDGET
    dask: Annotated[Annotated[str, AfterValidator(_without_password)] | None, _none_if("none")] = None


class WeighConfig(_Section):
    """Weights of patches.

    Attributes
    ----------
    weights
        What the weights follow: ``rarity`` (eq. 5, 6), ``uniform`` (all patches alike), or ``maps:FOLDER``, anomaly
        maps that another program made.
    tau
        Temperature: ``0.02`` in embedding units or ``0.3sd`` in standard deviations of the rarity.
    """

    weights: Annotated[str, AfterValidator(_valid_weights)] = "rarity"
    tau: Annotated[str, BeforeValidator(_number_as_text), AfterValidator(_valid_tau)] = "0.3sd"

    @property
    def maps(self) -> str | None:
        """Folder of the anomaly maps that the weights follow, or None."""
        return self.weights.partition(":")[2] or None


class BlindConfig(_Section):
    """Recipe ``blind``: localisation without any normals, and descriptors made from it, [ARDELEAN24].

    Attributes
    ----------
    variant
        ``program`` follows the authors' published program, ``paper`` the text where the two differ.
    vae
        Look for anomalies in what a VAE cannot reconstruct; without it in the features themselves.
    contrastive
        Train a projection head that pulls kinds of anomalies apart; without it features are pooled as they are.
    threshold
        Which cells count as anomalous: ``robust`` and ``otsu`` need no label, ``kmeans-quantile`` is the program's and
        needs the number of classes.
    flat_field
        Take away from the maps what is usual at each place over all images: not in the paper, whose border hides the
        edges instead.
    border
        Part of each side whose cells are hidden, in [0, 0.5).
    """

    variant: Literal["program", "paper"] = "program"
    vae: bool = True
    contrastive: bool = True
    threshold: Literal["robust", "otsu", "kmeans-quantile"] = "robust"
    flat_field: bool = True
    border: Annotated[float, Field(ge=0, lt=0.5)] = 0.0


class GroupConfig(_Section):
    """Clusters.

    Attributes
    ----------
    distance
        ``weighted_average`` between descriptors, eq. (1), or a Hausdorff distance of appendix C by its name in
        `anoclust_core.clustering.distances`.
    linkage
        How clusters are merged; Ward over a Hausdorff distance is the Lance-Williams recurrence on it.
    n_clusters
        None: the number of classes where every image has a label (the papers' protocol), else a label-free rule.
    """

    distance: Literal[
        "weighted_average",
        "mean_mean",
        "max_min_max",
        "max_min_mean",
        "min_min",
        "mean_min_max",
        "mean_min_mean",
    ] = "weighted_average"
    linkage: Literal["ward", "single", "complete", "average"] = "ward"
    n_clusters: Annotated[Annotated[int, Field(ge=1)] | None, _none_if("auto")] = None


class NightConfig(_Section):
    """Nights: what belongs to one, and when everything is re-clustered. Nothing of it enters a key of a run.

    Attributes
    ----------
    timezone, day_starts
        Where the product is made, and the time of day there (``06:00``) at which a night begins.
    captured
        How to tell when an image was taken, tried in turn: ``path:PATTERN``, ``column:NAME``, ``exif``, ``file``.
    recluster_every
        Nights after which everything is re-clustered, if images came; None never does.
    recluster_unknown
        Share of the images since the last clustering that may be unknown; past it everything is re-clustered.
    catalog
        URL of the catalog's database; None is a file in the store.
    """

    timezone: Annotated[str, AfterValidator(_valid_zone)] = "UTC"
    day_starts: Annotated[str, AfterValidator(_valid_time)] = "06:00"
    captured: Annotated[tuple[str, ...], Field(min_length=1), BeforeValidator(_split_commas)] = ("file",)
    recluster_every: Annotated[Annotated[int, Field(ge=1)] | None, _none_if("none")] = 7
    recluster_unknown: Annotated[float, Field(ge=0, le=1)] = 0.2
    catalog: Annotated[str | None, _none_if("auto")] = None

    @property
    def zone(self) -> tzinfo:
        """Time zone that ``timezone`` names."""
        return zone_of(self.timezone)

    @property
    def begins(self) -> time:
        """Time of day that ``day_starts`` says."""
        return time.fromisoformat(self.day_starts)


class RunConfig(_Section):
    """One clustering of one category, as asked for.

    Attributes
    ----------
    recipe
        Named method: ``sohn`` or ``blind``. ``auto`` is the best that Anoclust knows and for now equals ``sohn``.
    seed
        Seed of every random draw.
    memory
        Bytes that a stage may use; None is a share of what is free. Not part of any key.
    wait_seconds
        Time to wait for another run of the same category. Not part of any key.
    data, embed, pair, weigh, blind, group
        Settings of the stages.
    night
        Settings of nights, which a run knows nothing of.
    """

    recipe: Literal["auto", "sohn", "blind"] = "auto"
    seed: Annotated[int, Field(ge=0)] = 0
    memory: Annotated[Annotated[ByteSize, Field(gt=0)] | None, _none_if("auto")] = None
    wait_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    data: DataConfig = DataConfig()
    embed: EmbedConfig = EmbedConfig()
    pair: PairConfig = PairConfig()
    weigh: WeighConfig = WeighConfig()
    blind: BlindConfig = BlindConfig()
    group: GroupConfig = GroupConfig()
    night: NightConfig = NightConfig()

    @model_validator(mode="after")
    def _fits_recipe(self) -> Self:
        if self.method == "blind" and self.weigh.weights != "rarity":
            raise ValueError("recipe blind makes its own anomaly maps; omit --weights, or use recipe sohn")
        if self.method == "blind" and self.data.normals not in ("auto", "none"):
            raise ValueError("recipe blind uses no normals; omit --normals, or use recipe sohn")
        if self.method == "blind" and self.group.distance != "weighted_average":
            raise ValueError(
                "recipe blind does not compare patches between images; omit --distance, or use recipe sohn"
            )
        return self

    @property
    def method(self) -> Literal["sohn", "blind"]:
        """The recipe that ``recipe`` stands for."""
        return "blind" if self.recipe == "blind" else "sohn"

    @property
    def for_runs(self) -> RunConfig:
        """Without the settings of nights: what a run is given, shows and keeps."""
        return self.model_copy(update={"night": NightConfig()})

    @property
    def protocol(self) -> str:
        """Name of the evaluation protocol that scores are made by."""
        return "ardelean" if self.method == "blind" else "sohn"

    @property
    def image_size(self) -> int:
        """Side in pixels of the square that images are resized to."""
        return self.embed.image_size or RECIPE_SIDES[self.method]


def nest(flat: Mapping[str, object]) -> dict[str, object]:
    """Turn dotted names into sections.

    Examples
    --------
    >>> nest({"seed": 1, "weigh.tau": "0.02"})
    {'seed': 1, 'weigh': {'tau': '0.02'}}
    """
    nested: dict[str, object] = {}
    for name, value in flat.items():
        section, dot, key = name.partition(".")
        if dot:
            nested.setdefault(section, {})[key] = value  # type: ignore[index]
        else:
            nested[section] = value
    return nested


def flatten(nested: Mapping[str, object]) -> dict[str, object]:
    """Turn sections into dotted names, the inverse of `nest`.

    Examples
    --------
    >>> flatten({"seed": 1, "weigh": {"tau": "0.02"}})
    {'seed': 1, 'weigh.tau': '0.02'}
    """
    flat: dict[str, object] = {}
    for name, value in nested.items():
        if isinstance(value, Mapping):
            flat.update({f"{name}.{key}": inner for key, inner in flatten(value).items()})
        else:
            flat[name] = value
    return flat
