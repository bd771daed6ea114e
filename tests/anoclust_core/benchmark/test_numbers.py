"""Numbers of clusters without labels: errors and draws on descriptors whose classes are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from anoclust_core.benchmark import numbers
from anoclust_core.benchmark.numbers import measure_numbers, numbers_of_clusters, only_good
from anoclust_core.benchmark.scoring import Measurement
from anoclust_core.benchmark.tables_auto import numbers_rows
from anoclust_core.evaluation.protocols import SOHN
from tests.anoclust_core.benchmark.test_ablation import category  # noqa: F401 - a fixture

LABELS = [f"kind {at % 4}" for at in range(80)]


@pytest.fixture(scope="module")
def rows() -> list[Measurement]:
    """Measure four kinds that lie far apart."""
    rng = np.random.default_rng(0)
    centres = np.eye(4, 6) * 20
    descriptors = centres[[at % 4 for at in range(80)]] + rng.normal(size=(80, 6))
    return measure_numbers(descriptors.__getitem__, LABELS, "blind", protocol=SOHN, seed=0)


def test_kinds_that_lie_apart_are_counted(rows: list[Measurement]) -> None:
    """With every number of classes kept, recipe auto finds that number and its cut is the classes."""
    assert [(row.method, row.scores["n_draws"]) for row in rows] == [("all", 1), ("2", 20), ("3", 20), ("4", 20)]
    for row in rows[2:]:
        assert row.scores["auto"] == row.scores["n_true"] == int(row.method)
        assert (row.scores["error_auto"], row.scores["ari_auto"], row.scores["twos"]) == (0, 1, 0)


def test_a_constant_is_scored_as_it_is(rows: list[Measurement]) -> None:
    """The number 5 errs by one where there are four classes, and its cut scores below the classes."""
    whole = rows[0].scores
    assert whole["error_5"] == 1
    assert whole["ari_5"] < whole["ari_4"] == 1


def test_the_table_has_means_over_all_and_over_draws(rows: list[Measurement]) -> None:
    """Two categories give a mean of all images and one of the draws."""
    table = numbers_rows([("one", row) for row in rows] + [("two", row) for row in rows], "made up")
    assert [row[:3] for row in table.rows[-2:]] == [("mean", "", "all"), ("mean", "", "draws")]
    assert len(table.rows) == 2 * len(rows) + 2
    assert len({len(row) for row in table.rows} | {len(table.header)}) == 1


def test_recipe_auto_is_fitted_again_for_every_draw(category, monkeypatch) -> None:  # noqa: F811 - a fixture
    """Images of three kinds, with fewer draws: a row for all, for two and for three classes, in both settings."""
    monkeypatch.setattr(numbers, "N_DRAWS", 2)
    for setting in ("blind", "normals"):
        found = numbers_of_clusters(category, setting, protocol=SOHN, seed=0)
        assert [row.method for row in found] == ["all", "2", "3"]
    assert numbers_of_clusters(replace(category, normal_means=None), "normals", protocol=SOHN, seed=0) == []


def test_sets_of_good_images_are_judged(category, monkeypatch) -> None:  # noqa: F811 - a fixture
    """Twelve good images are too few to be certain of anything; fewer than the smallest size give no row."""
    assert only_good(category, protocol=SOHN, seed=0) == []
    monkeypatch.setattr(numbers, "SIZES", (6, 10))
    found = only_good(category, protocol=SOHN, seed=0)
    assert [(row.scores["n_images"], row.scores["n_draws"]) for row in found] == [(6, 8), (10, 8), (12, 1)]
    assert all(row.scores["uncertain"] == 1 and "index" not in row.scores for row in found)
