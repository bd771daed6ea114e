"""Settings of a run: one frozen, validated record."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, ClassVar, Literal, Self

from pydantic import (
    Field,
    PrivateAttr,
    model_validator,
)

from anoclust_core.config.images import RECIPE_SIDES, DataConfig, EmbedConfig
from anoclust_core.config.method import BlindConfig, DetectorConfig, GroupConfig, PairConfig, WeighConfig
from anoclust_core.config.nights import NightConfig
from anoclust_core.config.section import Section
from anoclust_core.config.setting import (
    Seconds,
    Size,
    setting,
)


class RunConfig(Section):
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
        commands=("run", "check", "benchmark", "detector train"),
        takes="a whole number from 0",
    )
    # not part of any key
    memory: Size | None = setting(
        None,
        "Memory that one stage may use, as in `8GiB`; `auto` is 80 % of what is free when the run starts.",
        commands=("run", "check", "nightly", "benchmark", "backfill", "detector train"),
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
    detector: DetectorConfig = DetectorConfig()
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
