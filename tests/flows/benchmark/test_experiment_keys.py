"""What the rows of the benchmark's experiments are kept under: what they are measured on, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from helpers.builders import digest, manifest_of

from anoclust_core.config import RunConfig
from anoclust_core.records import EmbeddingSpec, NearestDistances, Reference
from flows.benchmark.request import ABLATION_NAMES, RECIPES, BenchmarkRequest
from flows.benchmark.sohn import Prepared, experiment_key
from tasks.benchmark.sohn import StoredCategory
from tasks.stages.category_run import CategoryRun
from tasks.stores.layout import StoreLayout

SPEC = EmbeddingSpec("tiny", "tiny", "random", (2,), 64, "bicubic", (0.5,) * 3, (0.5,) * 3, 3, (4, 4), 8)
REQUEST = BenchmarkRequest("sohn", ("1",), (), n_subsets=2, backbones=())


def key_with(experiment: str, deeper: int | None) -> str:
    """Key of an experiment where the deeper level, if there is one, is this one."""
    level = None if deeper is None else replace(SPEC, layers=(deeper,))
    run = CategoryRun(StoreLayout(Path("store")), "tile", RunConfig(), replace(SPEC, deeper=level), 1)
    nearest = NearestDistances("slabs", "key", Reference("cluster"), (2, 2, 16))
    stored = StoredCategory("manifest", "bags", nearest, None)
    return experiment_key(experiment, Prepared(run, manifest_of([digest("0")]), stored), REQUEST, ("0.3sd", "0.3sd"))


@pytest.mark.parametrize("experiment", [*ABLATION_NAMES, RECIPES])
def test_rows_of_recipe_auto_are_those_of_their_deeper_level(experiment):
    """--ablation with other --layers is measured again: distances come from the first level alone."""
    assert len({key_with(experiment, deeper) for deeper in (3, 4)}) == 2


@pytest.mark.parametrize("experiment", ["distances", "temperatures", "holistic"])
def test_rows_of_one_level_stay(experiment):
    """What the deeper level is makes no row of one level again."""
    assert len({key_with(experiment, deeper) for deeper in (None, 3, 4)}) == 1
