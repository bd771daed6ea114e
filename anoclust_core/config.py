"""What a run is asked to do: one frozen, validated record."""

from __future__ import annotations

import math
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from anoclust_core.errors import ConfigError

DEFAULT_TAU = "0.3sd"
DEFAULT_BACKBONE = "efficientnet_lite2"
DEFAULT_IMAGE_SIZE = 256


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
    value, relative = parse_tau(text)
    return repr(value).removesuffix(".0") + ("sd" if relative else "")


def _valid_device(text: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", text):
        raise ConfigError(f"device is auto, cpu, cuda or cuda:INDEX; found {text!r}")
    return text


class RunConfig(BaseModel):
    """One clustering of one category, as asked for.

    Attributes
    ----------
    recipe
        Named method. ``auto`` is the best that Anoclust knows and for now equals ``sohn``.
    normals
        Known normal images that rarity is measured against: ``auto`` takes the good images of split ``train`` where
        there are any, ``none`` leaves that split out altogether, anything else is a folder of normal images.
    splits
        ``test`` clusters split ``test`` where splits exist, ``all`` every split.
    n_clusters
        None: the number of classes where every image has a label (the papers' protocol), else a label-free rule.
    tau
        Temperature of the weights: ``0.02`` in embedding units or ``0.3sd`` in standard deviations of the rarity.
    backbone, checkpoint, layers, image_size
        Feature extractor; ``checkpoint`` is a file with weights, ``layers`` and ``image_size`` default by backbone.
    device
        ``auto``, ``cpu``, ``cuda`` or ``cuda:INDEX``; not part of any key.
    dask
        Address of a Dask scheduler; None computes in this process. Not part of any key.
    seed
        Seed of every random draw.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: Literal["auto", "sohn"] = "auto"
    normals: str = "auto"
    splits: Literal["test", "all"] = "test"
    n_clusters: Annotated[int, Field(ge=1)] | None = None
    tau: Annotated[str, AfterValidator(_valid_tau)] = DEFAULT_TAU
    backbone: str = DEFAULT_BACKBONE
    checkpoint: str | None = None
    layers: Annotated[tuple[int, ...], Field(min_length=1)] | None = None
    image_size: Annotated[int, Field(ge=32, le=4096)] = DEFAULT_IMAGE_SIZE
    device: Annotated[str, AfterValidator(_valid_device)] = "auto"
    dask: str | None = None
    seed: Annotated[int, Field(ge=0)] = 0

    @property
    def method(self) -> Literal["sohn"]:
        """The recipe that ``recipe`` stands for."""
        return "sohn"

    @property
    def protocol(self) -> str:
        """Name of the evaluation protocol that scores are made by."""
        return "sohn"
