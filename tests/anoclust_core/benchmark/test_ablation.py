"""Recipe auto part by part: every row in every setting, and what must be equal between rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from anoclust_core.bags import normalize_patches
from anoclust_core.benchmark import ablation, refit
from anoclust_core.benchmark.ablation import ABLATIONS, ROWS, ablate
from anoclust_core.benchmark.experiments import EXPERIMENTS
from anoclust_core.benchmark.geometry import CategoryArrays
from anoclust_core.benchmark.numbers import NUMBERS, ONLY_GOOD
from anoclust_core.benchmark.refit import BLIND, NO_SIBLINGS, NORMALS, SETTINGS
from anoclust_core.benchmark.scoring import Measurement
from anoclust_core.clustering.distances import pair_statistics
from anoclust_core.errors import ConfigError
from anoclust_core.evaluation.protocols import SOHN
from anoclust_core.pairwise.cpu import nearest_distances, nearest_distances_within
from flows.benchmark.request import ABLATION_NAMES

KINDS = ("good", "hole", "scratch")


@pytest.fixture(scope="module")
def category() -> CategoryArrays:
    """Make images of three kinds on two levels; a defect is one odd patch on each, the same for all of its kind."""
    rng = np.random.default_rng(0)
    labels = [KINDS[at % 3] for at in range(36)]
    odd = {kind: (rng.normal(size=6) * 4, rng.normal(size=5) * 4) for kind in KINDS[1:]}
    fine, coarse = rng.normal(size=(36, 16, 6)) + 2, rng.normal(size=(36, 4, 5)) + 2
    for at, kind in enumerate(labels):
        if kind in odd:
            fine[at, at % 16], coarse[at, at % 4] = odd[kind]
    bags, normals = normalize_patches(fine), normalize_patches(rng.normal(size=(20, 16, 6)) + 2)
    deeper = normalize_patches(coarse)
    nearest = nearest_distances_within(bags)
    return CategoryArrays(
        "board",
        labels,
        bags,
        (4, 4),
        nearest,
        np.asarray(nearest_distances(bags, normals)),
        pair_statistics([(0, nearest)], n_images=36),
        deeper=deeper,
        deeper_grid=(2, 2),
        normal_means=(normals.mean(axis=1), rng.normal(size=(20, 5)) * 0.1 + 0.4),
    )


@pytest.fixture(scope="module", params=SETTINGS)
def rows(category: CategoryArrays, request: pytest.FixtureRequest) -> dict[str, Measurement]:
    """Measure all rows in one setting after another."""
    found = ablate(category, request.param, protocol=SOHN, seed=0, n_subsets=3)
    assert {row.setting for row in found} == {request.param}
    left_out = ablation.ONLY_NORMALS if request.param == BLIND else ablation.ONLY_BLIND
    assert [row.method for row in found] == [row for row in ROWS if row not in left_out]
    return {row.method: row for row in found}


def test_every_row_in_every_setting(rows: dict[str, Measurement]) -> None:
    """Scores are scores, the interval holds the mean, and a row of sohn differs from sohn by nothing."""
    for row in rows.values():
        assert 0 <= row.scores["nmi"] <= 1
        assert row.scores["low"] <= row.scores["difference"] <= row.scores["high"]
        assert row.scores["stability"] <= 1
        assert row.scores["n_subsets"] == 3
    assert rows["sohn"].scores["difference"] == 0


def test_an_oracle_is_no_worse(rows: dict[str, Measurement]) -> None:
    """The best of five temperatures, chosen by the labels, is at least as good as the given one."""
    for row in ("auto", "sohn"):
        assert rows[f"{row}{ablation.ORACLE}"].scores["nmi"] >= rows[row].scores["nmi"]


def test_only_the_main_rows_take_all_subsets(category: CategoryArrays, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other rows take fewer, the first ones, and are paired with sohn on these."""
    monkeypatch.setattr(ablation, "FEW_SUBSETS", 2)
    many = {row.method: row for row in ablate(category, BLIND, protocol=SOHN, seed=0, n_subsets=4)}
    few = {row.method: row for row in ablate(category, BLIND, protocol=SOHN, seed=0, n_subsets=2)}
    assert [many[row].scores["n_subsets"] for row in ("auto", "sohn", "average", "one level")] == [4, 4, 4, 2]
    assert many["one level"].scores == few["one level"].scores
    assert many["auto"].scores["nmi"] != few["auto"].scores["nmi"]


def test_without_normals_only_the_blind_setting_is_there(category: CategoryArrays) -> None:
    """A category without normals has no rows against normals."""
    blind = replace(category, to_normals=None, normal_means=None)
    assert ablate(blind, NORMALS, protocol=SOHN, seed=0, n_subsets=2) == []
    assert ablate(blind, BLIND, protocol=SOHN, seed=0, n_subsets=2) != []


def test_siblings_are_the_most_similar_normals(category: CategoryArrays, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the nearest normals left out of every image, its nearest distances grow or stay."""
    monkeypatch.setattr(refit, "N_SIBLINGS", 3)
    near, far = (refit.Setting(category, name).against_normals[..., 0] for name in (NORMALS, NO_SIBLINGS))
    assert (far >= near).all()
    assert (far > near).any()


def test_names_are_those_of_the_experiments() -> None:
    """What the command can ask for, without importing what computes it, is what can be computed."""
    assert (*ABLATIONS, *NUMBERS, ONLY_GOOD) == ABLATION_NAMES
    assert set(ABLATION_NAMES) <= set(EXPERIMENTS)


def test_unknown_settings_are_refused(category: CategoryArrays) -> None:
    """A setting that is none is an error."""
    with pytest.raises(ConfigError, match="expected a setting"):
        ablate(category, "magic", protocol=SOHN, seed=0, n_subsets=2)
