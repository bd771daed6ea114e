"""Deep clustering in the benchmark: rows beside the others, nothing trained twice, killed and resumed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.builders import mvtec_category, tiny_config

from anoclust_core.benchmark.ablation import RECIPES as RECIPES_THERE
from anoclust_core.benchmark.deep import settings as deep_settings
from anoclust_core.benchmark.deep.building import TITLES
from anoclust_core.benchmark.deep.settings import GATCLUSTER, IIC, PUBLISHED, SCAN, SMALL, SPICE, Phase
from anoclust_core.benchmark.experiments import EXPERIMENTS
from anoclust_core.errors import ConfigError, ResourceError
from flows.benchmark.request import DEEP_METHODS, RECIPES, BenchmarkRequest, check_request, default_tables
from flows.benchmark.run import run_benchmark
from tasks.benchmark import deep as deep_tasks

pytestmark = [pytest.mark.usefixtures("prefect_db"), pytest.mark.slow]

REQUEST = BenchmarkRequest(
    protocol="sohn", tables=("2",), figures=(), n_subsets=2, backbones=(), methods=(*DEEP_METHODS, "weighted")
)
TINY = {
    IIC: replace(SMALL[IIC], widths=(4, 4, 4), batch=8, n_heads=2, phases=(Phase("iic", 2, 1e-3),)),
    GATCLUSTER: replace(
        SMALL[GATCLUSTER], side=112, widths=(4, 4, 4), batch=8, repeats=1, phases=(Phase("gatcluster", 2, 1e-3),)
    ),
    SCAN: replace(SMALL[SCAN], side=64, n_views=2, phases=(Phase("scan", 3, 1e-3), Phase("self-labels", 2, 1e-3))),
    SPICE: replace(SMALL[SPICE], side=64, n_views=2, n_heads=2, phases=(Phase("a", 3, 1e-3), Phase("b", 2, 1e-3))),
}


@pytest.fixture(autouse=True, scope="module")
def _tiny() -> Iterator[None]:
    """A few epochs of networks of a few channels; published ones are SCAN's alone, on the tiny backbone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deep_settings, "SMALL", TINY)
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A texture of MVTec, and a category with one image twice."""
    root = tmp_path_factory.mktemp("benchmark-deep") / "data"
    mvtec_category(root / "tile", {"test/good": 4, "test/hole": 4, "test/scratch": 4})
    nut = mvtec_category(root / "nut", {"test/good": 5, "test/hole": 4}, seed=1)
    (nut / "test" / "hole" / "copy.png").write_bytes((nut / "test" / "hole" / "000.png").read_bytes())
    return root


def run(data: Path, checkpoint: Path, store: Path, out: Path, request: BenchmarkRequest = REQUEST):
    """Run the benchmark; gives what was trained and what was said."""
    trained: list[str] = []
    said: list[str] = []
    original = deep_tasks.build_method

    def counted(method: str, *args, **kwargs):
        trained.append(method)
        return original(method, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deep_tasks, "build_method", counted)
        run_benchmark([data], store, tiny_config(checkpoint), request, out, say=said.append)
    return trained, said


@pytest.fixture(scope="module")
def made(data, checkpoint, tmp_path_factory, prefect_db, _tiny) -> tuple[Path, Path, list[str], list[str]]:
    """Store, output, trainings and words of all four methods under both papers' protocols."""
    root = tmp_path_factory.mktemp("made-deep")
    request = replace(REQUEST, tables=("2", "ardelean-1"))
    with pytest.MonkeyPatch.context() as patch:
        from tasks.stages import localize as localize_stage

        variants = {name: replace(found, vae_steps=10) for name, found in localize_stage.VARIANTS.items()}
        patch.setattr(localize_stage, "VARIANTS", variants)
        return root / "store", root / "out", *run(data, checkpoint, root / "store", root / "out", request)


def test_names_are_those_of_the_methods():
    """The command line knows the methods without importing them."""
    assert tuple(TITLES) == DEEP_METHODS == tuple(SMALL) == tuple(PUBLISHED)
    assert RECIPES == RECIPES_THERE
    assert RECIPES in EXPERIMENTS


def test_rows_stand_beside_published_ones_and_recipes(made):
    """Tables 2 and 1 have the last epoch and the oracle's, beside sohn, auto and blind."""
    _, out, _, _ = made
    second = pd.read_csv(out / "table-2-8.csv").set_index(["clustering", "distance"])
    ours = [name for name in second.columns if "ours" in name]
    for title in TITLES.values():
        for which in ("last epoch", "best epoch by labels (oracle)"):
            assert not second.loc[(title, f"deep clustering, {which}"), ours].isin(["–"]).any()
    assert ("Ward", "recipe auto") in second.index
    assert ("Ward", "weighted average") in second.index
    texture = next(name for name in second.columns if "published" in name)  # beside the first data set, MVTec's
    assert second.loc[("SCAN", "deep clustering, last epoch"), texture] == "0.277 / 0.153 / 0.335"
    assert second.loc[("SCAN", "deep clustering, best epoch by labels (oracle)"), texture] == "0.314 / 0.203 / 0.393"
    first = pd.read_csv(out / "ardelean-1.csv").set_index("method")
    measured = [name for name in first.columns if "ours" in name]
    rows = ["SCAN, last epoch", "SPICE, best epoch by labels (oracle)", "IIC, last epoch", "recipe auto", "ours"]
    assert not first.loc[rows, measured].isin(["–"]).any(axis=None)
    assert "STEGO, published only" in first.index


def test_what_it_took_is_told(made):
    """A table of its own has seconds, memory and the oracle's epoch; the page says how networks were trained."""
    _, out, _, said = made
    table = pd.read_csv(out / "deep-sohn.csv")
    assert set(table["method"]) == {*TITLES.values(), "recipe sohn", "recipe auto"}
    trained = table[table["method"].isin(TITLES.values())]
    assert (trained["peak memory, MiB"].str.replace(",", "").astype(float) > 50).all()
    assert set(trained["that epoch"].str.partition(" of ")[2]) == {"2", "5"}
    assert set(pd.read_csv(out / "deep-ardelean.csv")["category"]) == {"tile", "nut"}
    page = (out / "benchmark.md").read_text()
    assert "the small default size; iic: twelve convolutions of 4, 4, 4, 112 px, 2 epochs" in page
    assert "STEGO are not run here" in page
    assert sum("epochs: about" in line for line in said) == 2 * 4
    assert said[-1].startswith("Deep clustering in all: about")


def test_both_protocols_share_a_training(made):
    """Without images of several defects they agree on the images: each method is trained once a category."""
    assert sorted(made[2]) == sorted(2 * list(TITLES))


def test_a_repeat_trains_nothing(made, data, checkpoint, tmp_path):
    """Nor does it time anything; another seed is another training."""
    store, out, _, _ = made
    trained, said = run(data, checkpoint, store, tmp_path / "again")
    assert (trained, said) == ([], [])
    again = pd.read_csv(tmp_path / "again" / "deep-sohn.csv")
    pd.testing.assert_frame_equal(again, pd.read_csv(out / "deep-sohn.csv"))


class Killed(BaseException):
    """Stands for a kill."""


def test_killed_and_resumed_gives_the_same(made, data, checkpoint, tmp_path):
    """A command that is killed in the middle of a training goes on from its last state, to the same scores."""
    request = replace(REQUEST, methods=("scan", "weighted"))
    original = deep_tasks.keep_state
    kept: list[int] = []

    def killing(store, state, **kwargs):
        original(store, state, **kwargs)
        kept.append(state.step)
        if state.step == 2:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deep_tasks, "CHECKPOINT_SECONDS", 0.0)
        patch.setattr(deep_tasks, "keep_state", killing)
        with pytest.raises(BaseException, match=r".*"):
            run(data, checkpoint, tmp_path / "store", tmp_path / "out", request)
        assert kept == [1, 2]
        kept.clear()
        patch.setattr(
            deep_tasks, "keep_state", lambda *args, **more: (kept.append(args[1].step), original(*args, **more))
        )
        run(data, checkpoint, tmp_path / "store", tmp_path / "out", request)
    assert kept[0] == 3
    columns = ["category", "method", "epoch", "nmi", "ari", "f1_weighted"]
    tables = []
    for folder in (tmp_path / "out", made[1]):
        numbers = pd.read_csv(folder / "measurements.csv")
        tables.append(numbers[numbers["experiment"] == "deep: scan"][columns].reset_index(drop=True))
    assert np.isfinite(tables[0]["nmi"]).all()
    pd.testing.assert_frame_equal(*tables)


def test_memory_is_checked_before_anything_is_trained(data, checkpoint, tmp_path):
    """What does not fit is refused with numbers, and nothing was begun."""
    with pytest.raises(ResourceError, match=r"stage train .* needs .* raise --memory"):
        run_benchmark([data], tmp_path / "store", tiny_config(checkpoint, memory="200MiB"), REQUEST, tmp_path / "out")
    assert not (tmp_path / "store" / "training").exists()


def test_wrong_requests_are_refused():
    """Deep clustering needs a table that shows it, and published settings need deep clustering."""
    with pytest.raises(ConfigError, match="stands in --table 2 or 8 or ardelean-1; found 1"):
        check_request(replace(REQUEST, tables=("1",)))
    with pytest.raises(ConfigError, match="--as-published"):
        check_request(replace(REQUEST, methods=("weighted",), as_published=True))
    with pytest.raises(ConfigError, match="spice"):
        check_request(replace(REQUEST, methods=("spise",)))
    assert default_tables((), DEEP_METHODS) == ("2",)
    assert default_tables((), (*DEEP_METHODS, "weighted")) == default_tables(())
