"""Which images are near-duplicates, where they are compared and no distances are stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pytest
from helpers.builders import config_of, manifest_of, unit_bags
from numpy.typing import NDArray

from anoclust_core.pairwise.near_duplicates import Closest
from anoclust_core.records import EmbeddingSpec, Reference
from anoclust_core.weighting.regions import Regions
from tasks.compute.closest import closest_compared
from tasks.stores.embeddings import EmbeddingSegments
from tasks.stores.stage_keys import EmbeddingKeys, RunInputs, run_keys

SPEC = EmbeddingSpec("b", "b", "w", (1,), 64, "bicubic", (0.5,) * 3, (0.5,) * 3, 3, (2, 4), 8)
INSIDE = np.array([False, False, True, True] * 2)
CONTENTS = [f"{at:02d}" for at in range(24)]


class Bags:
    """Stands for a folder of segments."""

    def __init__(self, bags: NDArray[np.float32]) -> None:
        self._bags = bags

    def read_at_rest(self, hashes: Sequence[str]) -> NDArray[np.float16]:
        return self._bags[[CONTENTS.index(one) for one in hashes]].astype(np.float16)


def closest(bags: NDArray[np.float32], regions: Regions | None) -> Closest:
    segments = cast("EmbeddingSegments", Bags(bags))
    return closest_compared(segments, CONTENTS, range(24), SPEC, regions=regions, device="cpu")


def test_what_lies_outside_of_the_region_does_not_count() -> None:
    """Images of other arms have the same nearest images, at the same distances; without a region the arms decide."""
    parts, arms, others = (unit_bags(24, 8, 8, seed=seed) for seed in range(3))
    one, other = (np.where(INSIDE[:, None], parts, arm) for arm in (arms, others))
    regions = Regions((2, 4), {"r": INSIDE}, dict.fromkeys(CONTENTS, "r"))
    found, again = closest(one, regions), closest(other, regions)
    for name in ("images", "means", "largest"):
        np.testing.assert_array_equal(getattr(found, name), getattr(again, name))
    assert not np.array_equal(closest(one, None).images, closest(other, None).images)


@pytest.mark.parametrize(
    ("reference", "is_other"),
    [(Reference("normal"), True), (Reference("cluster", 4), True), (Reference("cluster"), False)],
)
def test_only_what_regions_change_has_another_key(reference: Reference, is_other: bool) -> None:
    """Where all distances are stored the region was respected before; without a region every key stays."""

    def key(regions: str) -> str:
        images = EmbeddingKeys(embedding="e", distances="d", embed="b", regions=regions)
        given: dict[str, Any] = {"n_clusters": None, "n_clusters_rule": ""}
        manifest = manifest_of(["a", "b"], ["c"])
        return run_keys(RunInputs(manifest, config_of(), images, reference, None, **given))["near_duplicates"]

    assert (key("region-a") != key("")) == is_other
