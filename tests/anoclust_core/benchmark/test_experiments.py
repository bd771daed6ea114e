"""Experiments, model selection and tables of the benchmark on made-up arrays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.builders import unit_bags
from scipy.spatial.distance import cdist

from anoclust_core.bags import descriptors
from anoclust_core.benchmark import published, tables
from anoclust_core.benchmark.columns import columns_of, select_taus
from anoclust_core.benchmark.experiments import EXPERIMENTS, METHODS, TAUS, Conditions, Measurement
from anoclust_core.benchmark.geometry import (
    CategoryArrays,
    baseline,
    enlarged,
    main_methods,
    pooled,
    rarity_of,
    subset_rarities,
)
from anoclust_core.benchmark.resampling import random_subsets
from anoclust_core.benchmark.tables import Setting
from anoclust_core.clustering.distances import pair_statistics
from anoclust_core.errors import ArrayContractError, ConfigError
from anoclust_core.evaluation.protocols import SOHN
from anoclust_core.pairwise.cpu import nearest_and_mean_distances_within, nearest_distances
from anoclust_core.records import EmbeddingSpec

N, GRID = 14, (3, 4)
SPEC = EmbeddingSpec("efficientnet_lite2", "t", "w", (3,), 256, "bicubic", (0.5,) * 3, (0.5,) * 3, 3, (16, 16), 120)
CONDITIONS = Conditions(SOHN, "0.3sd", "0.3sd", seed=0, n_subsets=2)


@pytest.fixture(scope="module")
def category() -> CategoryArrays:
    bags = unit_bags(N, GRID[0] * GRID[1], 6)
    normals = unit_bags(5, GRID[0] * GRID[1], 6, seed=1)
    nearest, means = nearest_and_mean_distances_within(bags)
    masks = np.zeros((N, 24, 24), np.bool_)
    masks[4:, :8, :8] = True
    return CategoryArrays(
        name="tile",
        labels=[("good", "hole", "scratch")[min(2, at // 4)] for at in range(N)],
        bags=bags,
        grid=GRID,
        nearest=nearest,
        to_normals=nearest_distances(bags, normals),
        statistics=pair_statistics([(0, nearest)], n_images=N, mean_distances=means),
        masks=masks,
        holistic=np.random.default_rng(0).normal(size=(N, 7)),
    )


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_gives_finite_scores(category, name):
    """Every row of every experiment has its scores in range and no NaN, and is the same a second time."""
    rows = EXPERIMENTS[name](category, CONDITIONS)
    assert rows == EXPERIMENTS[name](category, CONDITIONS)
    assert len({(row.method, row.clustering, row.setting) for row in rows}) == len(rows)
    for row in rows:
        values = np.array([*row.scores.values(), *row.errors.values(), *row.defect_only.values(), *row.curve])
        assert np.isfinite(values).all()
        assert row.scores.get("nmi", 0) <= 1


def test_subsets_have_their_own_rarity(category):
    """Rarity within a subset is the mean over the subset's other images, as if there were no others."""
    subsets = random_subsets(N, generator=np.random.default_rng(0), n_subsets=3)
    found = subset_rarities(category, subsets)
    for rows, rarity in zip(subsets, found, strict=True):
        for row in rows:
            others = [cdist(category.bags[row], category.bags[other]).min(axis=1) for other in rows if other != row]
            np.testing.assert_allclose(rarity[row], np.mean(others, axis=0), atol=1e-5)


def test_pooling_many_settings_at_once(category):
    """Descriptors of a sweep are those of each setting by itself."""
    weights = np.random.default_rng(0).dirichlet(np.ones(GRID[0] * GRID[1]), size=(3, N))
    found = pooled(category.bags, weights)
    for at in range(3):
        np.testing.assert_allclose(found[at], descriptors(category.bags, weights[at]), atol=1e-6)


def test_methods_follow_what_is_there(category):
    """Without normals and masks there is no semi-supervised row and no oracle."""
    everything = main_methods(category, "0.3sd", "0.3sd")
    assert list(everything) == list(published.TABLE_1)
    bare = main_methods(replace(category, to_normals=None, masks=None), "0.3sd", "0.3sd")
    assert list(bare) == list(published.TABLE_1)[:3]
    with pytest.raises(ConfigError, match="tile has no normals"):
        rarity_of(replace(category, to_normals=None), "normals")


def test_enlarged_maps_keep_their_range():
    """Maps grow to the pixels of the network's input without leaving their range."""
    maps = np.random.default_rng(0).random((2, 3, 4))
    found = enlarged(maps, 48)
    assert found.shape == (2, 48, 48)
    assert maps.min() - 1e-6 <= found.min() <= found.max() <= maps.max() + 1e-6


def _temperatures(best: str) -> dict[str, list[Measurement]]:
    rows = [
        Measurement(published.WEIGHTED, "Ward", tau, {"nmi": s, "ari": s, "f1_weighted": s, "f1_micro": s, "tau": 1.0})
        for tau, s in ((tau, 0.9 if tau == best else 0.1) for tau in TAUS)
    ]
    return {"temperatures": rows}


def test_temperature_is_chosen_on_the_other_categories():
    """A category never chooses for itself; Magnetic Tile takes the textures' choice; a stranger takes the default."""
    results = {
        "wood": _temperatures("0.1sd"),
        "tile": _temperatures("0.75sd"),
        "magnetic_tile": _temperatures("0.5sd"),
        "mine": _temperatures("0.2sd"),
    }
    chosen = select_taus(results, published.WEIGHTED, SOHN, "0.3sd")
    assert chosen == {
        "wood": ("0.75sd", True),
        "tile": ("0.1sd", True),
        "magnetic_tile": ("0.1sd", True),
        "mine": ("0.3sd", False),
    }


def test_columns_are_the_papers_groups():
    """MVTec's categories are averaged in the paper's groups, and a group with some of them says how many."""
    columns = columns_of(["wood", "mine", "magnetic_tile", *published.GROUPS[published.OBJECT]])
    assert [column.title for column in columns] == [
        "MVTec (object)",
        "MVTec (texture), 1 of 5",
        "magnetic_tile",
        "mine",
    ]


def test_published_numbers_stand_beside_ours(category):
    """Each row of Table 1 has ours and the published triple; another backbone is told in the heading and a note."""
    results = {"magnetic_tile": {"distances": EXPERIMENTS["distances"](category, CONDITIONS)}}
    made = tables.distances_table(results, Setting(SOHN, SPEC, {"magnetic_tile": "0.3sd, not selected"}))
    text = made.markdown()
    assert "0.179 / 0.120 / 0.346" in text
    assert "published, other backbone" in text
    assert "not selected" in text
    row = next(row for row in made.rows if row[0] == "weighted average")
    ours = results["magnetic_tile"]["distances"][2].scores
    assert row[1] == f"{ours['nmi']:.3f} / {ours['ari']:.3f} / {ours['f1_weighted']:.3f}"


def test_the_papers_per_category_rows_average_to_its_groups():
    """Table 7 copied here averages to Table 1 copied here, within the paper's rounding: no number was mistyped."""
    for group, members in published.GROUPS.items():
        for at, method in enumerate(published.TABLE_1):
            mean = np.mean([published.TABLE_7[name][at] for name in members], axis=0)
            np.testing.assert_allclose(mean, published.TABLE_1[method][group], atol=0.0011)


def test_the_papers_tables_agree_with_each_other():
    """Rows that the paper prints twice are the same here."""
    for column in (published.OBJECT, published.TEXTURE, published.MTD):
        for name in (published.MAX_HAUSDORFF, published.WEIGHTED):
            assert published.TABLE_8["Ward"][name][column] == published.TABLE_1[name][column]
        assert published.TABLE_5["max_min_max"][column] == published.TABLE_1[published.MAX_HAUSDORFF][column][0]
        assert published.TABLE_5["expectation"][column] == published.TABLE_1[published.WEIGHTED][column][0]
    for name, row in published.TABLE_10["Ward"].items():
        for column in (published.OBJECT, published.TEXTURE):
            assert published.TABLE_9[name][column][0][0] == row[column][0]


@pytest.mark.parametrize("name", ["distances", "clusterings", "purity", "holistic", "baselines", "clustering_subsets"])
def test_only_the_methods_asked_for(category, name):
    """A comparison of methods measures those that were asked for, with the scores that they have among all."""
    everything = EXPERIMENTS[name](category, CONDITIONS)
    for short, title in METHODS.items():
        found = EXPERIMENTS[name](category, replace(CONDITIONS, methods=(short,)))
        expected = [row for row in everything if row.method == title]
        assert [row for row in found if row.method == title] == expected
        assert {row.method for row in found} <= {title, "one cluster", "good against defect", "top 1"}


def test_methods_have_one_list_of_names():
    """The command line's names, which are read without importing the experiments, are the experiments' own."""
    from flows.benchmark.request import METHOD_NAMES

    assert tuple(METHODS) == METHOD_NAMES


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"labels": ["good"]}, "at least 2 images"),
        ({"labels": []}, "at least 2 images"),
        ({"labels": ["good"] * (N - 1)}, "bags of category tile must have shape"),
        ({"bags": unit_bags(N, 5, 6)}, "bags of category tile must have shape"),
        ({"bags": 2 * unit_bags(N, 12, 6)}, "unit L2 norm"),
        ({"bags": np.full((N, 12, 6), np.nan, np.float32)}, "unit L2 norm"),
        ({"grid": (3, 3)}, "must have shape"),
        ({"nearest": np.zeros((N, N, 5))}, "nearest of category tile must have shape"),
        ({"nearest": np.zeros((N, N - 1, 12))}, "nearest of category tile must have shape"),
        ({"to_normals": np.zeros((N, 0, 12))}, "to_normals of category tile must have shape"),
        ({"to_normals": np.zeros((N, 2, 5))}, "to_normals of category tile must have shape"),
        ({"masks": np.zeros((N + 1, 8, 8), np.bool_)}, "masks of category tile must have shape"),
        ({"holistic": np.zeros((N + 1, 3))}, "holistic of category tile must have shape"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(category, change, why):
    """Arrays of other images, other patches or no unit norm are told by name and shape."""
    with pytest.raises(ArrayContractError, match=why):
        replace(category, **change)


@pytest.mark.parametrize("tau", ["0", "-1", "nan", "0sd", "warm"])
@pytest.mark.parametrize("name", ["distances", "clusterings", "variants", "top_patches", "shares_of_normals"])
def test_temperatures_that_are_none(category, name, tau):
    """A temperature of 0, below, or in other words is an error in every experiment that uses one."""
    with pytest.raises(ConfigError, match="tau"):
        EXPERIMENTS[name](category, replace(CONDITIONS, tau=tau))


def test_unknown_baseline(category):
    """A pooling that does not exist is told with those that do."""
    with pytest.raises(ConfigError, match="average, max, GeM, SPoC, bag of words; found 'min'"):
        baseline(category, "min", np.random.default_rng(0))


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if name not in ("baselines", "clustering_subsets")])
def test_images_that_are_all_alike(name):
    """Byte-identical images give scores in range everywhere, and no NaN."""
    bags = np.repeat(unit_bags(1, 12, 6), 6, axis=0)
    nearest, means = nearest_and_mean_distances_within(bags)
    alike = CategoryArrays(
        name="alike",
        labels=["good", "good", "hole", "hole", "scratch", "scratch"],
        bags=bags,
        grid=GRID,
        nearest=nearest,
        to_normals=np.zeros((6, 2, 12)),
        statistics=pair_statistics([(0, nearest)], n_images=6, mean_distances=means),
        masks=np.zeros((6, 8, 8), np.bool_),
    )
    for row in EXPERIMENTS[name](alike, replace(CONDITIONS, tau="0.02", tau_normals="0.02")):
        assert np.isfinite([*row.scores.values(), *row.defect_only.values(), *row.curve]).all()
