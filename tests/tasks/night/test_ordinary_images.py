"""Which images a night takes for ordinary parts, by what people say of clusters."""

from __future__ import annotations

from datetime import date

import pytest

from tasks.night.severity import Said, ordinary_images
from tasks.stores.catalog.facts import ClusterFact

BORN = date(2026, 11, 1)
IMAGES_OF = {"c1": 10, "c2": 40, "c3": 5}
RARITY_OF = {"c1": 1.0, "c2": 2.0, "c3": 9.0}


@pytest.mark.parametrize("said", [{"name": "good"}, {"ordinary": True}], ids=["name", "mark"])
def test_what_was_merged_into_an_ordinary_cluster_is_ordinary(said: dict[str, object]) -> None:
    """Whether people named it good or marked it as no defect, and whatever the merged one was called."""
    clusters = [
        ClusterFact("board", "c1", "confirmed", BORN, **said),  # type: ignore[arg-type]
        ClusterFact("board", "c2", "merged", BORN, name="stripes", merged_into="c1"),
        ClusterFact("board", "c3", "confirmed", BORN),
    ]
    where = {f"{name}-{at}": name for name, count in IMAGES_OF.items() for at in range(count)}
    highest = {image: RARITY_OF[name] for image, name in where.items()}
    found = ordinary_images(where, highest, Said.of(clusters))
    assert {where[image] for image in found} == {"c1", "c2"}
    assert len(found) == 50


@pytest.mark.parametrize(
    ("said", "n_usual"),
    [(Said({"c1": None}, {}), 40), (Said({"c1": "chip"}, {}), 0), (Said({"c1": None}, {"c1": False}), 0)],
)
def test_a_single_cluster_is_what_is_usual(said: Said, n_usual: int) -> None:
    """Where nobody said anything of it, a new kind has to be rarer than its images, as than those of ordinary parts."""
    where: dict[str, str | None] = {f"{at:03d}": "c1" for at in range(40)} | {"040": None}
    found = ordinary_images(where, {content: float(at) for at, content in enumerate(where)}, said)
    assert len(found) == n_usual
