"""New clusters of a night: what is found among the last images must have come late."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pytest

from anoclust_core.matching.prototypes import fit_prototypes
from tasks.night.births import Candidates, Described, born_of
from tasks.night.severity import Said, ordinary_images

DIM = 40


@pytest.mark.parametrize(("n_lately", "is_told"), [(10, True), (60, False)])
def test_three_images_of_a_young_category_are_no_kind(n_lately: int, is_told: bool) -> None:
    """The same three images that find each other are told after a long past, and not where most images are recent."""
    rng = np.random.default_rng(0)
    n_older = 60
    values = rng.normal(size=(n_older + n_lately + 3, DIM))
    values[-3:] = 2.5 * rng.normal(size=DIM) + 0.3 * rng.normal(size=(3, DIM))
    contents = tuple(f"{at:03d}" for at in range(len(values)))
    rarity = np.where(np.arange(len(values)) >= len(values) - 3, 9.0, np.linalg.norm(values, axis=1) / DIM)
    described = Described(contents, values.astype(np.float32), values.astype(np.float32), rarity)
    lately = contents[n_older:]
    nights = {content: date(2026, 11, 1) + timedelta(days=at % 5) for at, content in enumerate(lately)}
    born = born_of(
        described,
        dict.fromkeys(contents, "c1"),
        fit_prototypes(values[:n_older], ["c1"] * n_older, merge_height=0.0),
        candidates=Candidates(set(lately), set(), nights),
        ordinary=set(contents[:-3]),
        seed=0,
    )
    assert [set(one.contents) for one in born] == ([set(contents[-3:])] if is_told else [])


@pytest.mark.parametrize("rank", [0.5, 0.95])
def test_copies_of_a_good_part_are_no_kind_in_a_single_cluster(rank: float) -> None:
    """Three near copies of a part that is no rarer than most are not told, and three of a rare one are."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(200, DIM))
    values[-3:] = rng.normal(size=DIM) + 0.01 * rng.normal(size=(3, DIM))
    contents = tuple(f"{at:03d}" for at in range(len(values)))
    rarity = rng.normal(size=len(values))
    rarity[-3:] = np.quantile(rarity, rank)
    where: dict[str, str | None] = dict.fromkeys(contents, "c1")
    lately = contents[-23:]
    born = born_of(
        Described(contents, values.astype(np.float32), values.astype(np.float32), rarity),
        where,
        fit_prototypes(values[:-23], ["c1"] * 177, merge_height=0.0),
        candidates=Candidates(set(lately), set(), dict.fromkeys(lately, date(2026, 11, 1))),
        ordinary=ordinary_images(where, dict(zip(contents, rarity.tolist(), strict=True)), Said({"c1": None}, {})),
        seed=0,
    )
    assert [set(one.contents) for one in born] == ([set(contents[-3:])] if rank > 0.8 else [])
