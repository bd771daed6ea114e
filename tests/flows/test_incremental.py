"""What a second run computes, and that it comes to the same as a run from scratch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from helpers.builders import flat_folder, mvtec_category, tiny_config, write_manifest_csv
from helpers.running import (
    RARITY_TOLERANCE,
    assert_same_result,
    assignments,
    cluster_by_content,
    pairs_among,
    run_folder,
    run_one,
    stored_arrays,
    work,
)
from scipy.spatial.distance import cdist

from anoclust_core.weighting.reference import reference_contents
from flows.plan import plan_run
from tasks.images.listing import list_datasets
from tasks.networks.backbone_spec import embedding_spec
from tasks.stores.embeddings import EmbeddingSegments
from tasks.stores.layout import StoreLayout

pytestmark = pytest.mark.usefixtures("prefect_db")

REPEAT = """
import json, sys
from pathlib import Path
from anoclust_core.config import RunConfig
from flows.run import run_data
data, store, config = sys.argv[1:]
(outcome,) = run_data(Path(data), Path(store), RunConfig.model_validate_json(config))
assert outcome.error is None, outcome.error
assert not outcome.is_new
print(outcome.run)
print(json.dumps([name for name in ("torch", "timm", "prefect", "dask", "zarr", "matplotlib") if name in sys.modules]))
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory, checkpoint, prefect_db):
    """Make a finished run of twelve images once, for tests to copy: its data, its store and settings."""
    root = tmp_path_factory.mktemp("finished")
    config = tiny_config(checkpoint, n_clusters=3)
    outcome = run_one(flat_folder(root / "board", range(12)), root / "store", config)
    return root, config, outcome


@pytest.fixture
def copied(tmp_path, finished):
    """Copy the finished run, images and store: data folder, store, settings, outcome."""
    root, config, outcome = finished
    shutil.copytree(root, tmp_path / "copy")
    return tmp_path / "copy" / "board", tmp_path / "copy" / "store", config, outcome


@pytest.fixture
def repeated(tmp_path, checkpoint, prefect_db):
    """Make a finished run of few images that stay where they are: data folder, store, settings, outcome."""
    config = tiny_config(checkpoint, n_clusters=3)
    data, store = flat_folder(tmp_path / "board", range(6)), tmp_path / "store"
    return data, store, config, run_one(data, store, config)


def _written(store):
    """Files of a store and when each was written, but for what notes the latest run and digests of old files."""
    files = (path for path in store.rglob("*") if path.is_file())
    return {
        path: path.stat().st_mtime_ns
        for path in files
        if "latest" not in path.name and path.parent.name != "digests"  # written once the images are old enough
    }


def test_same_command_twice_does_nothing(repeated):
    """The second run is the first one: nothing is computed, the folder is the same, its time is none."""
    data, store, config, first = repeated
    before = _written(store)
    second = run_one(data, store, config)
    assert (second.is_new, second.seconds, second.work) == (False, 0.0, work(0, 0))
    assert run_folder(second).name == run_folder(first).name
    assert second.summary == first.summary
    assert _written(store) == before


def test_nothing_heavy_is_imported_for_nothing(repeated):
    """A run that has nothing to do imports neither torch nor Prefect, Dask, Zarr or a plotting library."""
    data, store, config, first = repeated
    done = subprocess.run(
        [sys.executable, "-c", REPEAT, data, store, config.model_dump_json()],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    run, imported = done.stdout.splitlines()
    assert run.endswith(run_folder(first).name)
    assert json.loads(imported) == []


def test_latest_names_the_run_that_was_asked_for(repeated):
    """Going back to earlier settings finds the earlier run, and latest.json names it again."""
    data, store, config, first = repeated
    other = run_one(data, store, config.model_copy(update={"n_clusters": 4}))
    latest = store / "runs" / "board" / "latest.json"
    assert run_folder(other).name in latest.read_text()
    assert run_one(data, store, config).is_new is False
    assert run_folder(first).name in latest.read_text()


def test_ten_new_images(copied, tmp_path):
    """Ten more images: only they are embedded, only their pairs compared, and all is as if run at once."""
    data, store, config, _ = copied
    flat_folder(data, range(100, 110))
    outcome = run_one(data, store, config)
    assert outcome.work == work(10, pairs_among(22) - pairs_among(12))
    scratch = run_one(data, tmp_path / "scratch", config)
    assert scratch.work == work(22, pairs_among(22))
    assert_same_result((data, store, outcome), (data, tmp_path / "scratch", scratch), config)


def test_images_removed(copied, tmp_path):
    """Fewer images: nothing is computed, and the result is that of the fewer images alone."""
    data, store, config, _ = copied
    for name in ("000.png", "004.png", "005.png", "011.png"):
        (data / name).unlink()
    outcome = run_one(data, store, config)
    assert outcome.is_new
    assert outcome.work == work(0, 0)
    scratch = run_one(data, tmp_path / "scratch", config)
    assert_same_result((data, store, outcome), (data, tmp_path / "scratch", scratch), config)


def test_days_of_change(copied, tmp_path):
    """Images that come, go and come back over four nights leave the result of one run over the last night's images."""
    data, store, config, _ = copied
    flat_folder(data, range(20, 24))
    run_one(data, store, config)
    (data / "001.png").unlink()
    (data / "021.png").unlink()
    flat_folder(data, range(30, 32))
    assert run_one(data, store, config).work == work(2, 14 * 2 + 1)
    flat_folder(data, [1, 21])
    outcome = run_one(data, store, config)
    assert outcome.work == work(0, 2 * 2)  # the two that were gone have met all but the two that came meanwhile
    scratch = run_one(data, tmp_path / "scratch", config)
    assert_same_result((data, store, outcome), (data, tmp_path / "scratch", scratch), config)


def test_renaming_changes_no_label(copied):
    """New file names: the report is new, nothing is computed, and every image keeps its cluster."""
    data, store, config, first = copied
    for file in sorted(data.iterdir()):
        file.rename(data / f"{(int(file.stem) * 7) % 12:02d}_renamed.png")
    outcome = run_one(data, store, config)
    assert outcome.is_new
    assert outcome.work == work(0, 0)
    assert cluster_by_content(outcome) == cluster_by_content(first)
    assert all(path.endswith("_renamed.png") for path in assignments(outcome).index)


def test_order_of_the_files_does_not_matter(copied, tmp_path):
    """Contents dealt to other names in another store: every content keeps its cluster and its score."""
    data, store, config, first = copied
    (tmp_path / "shuffled").mkdir()
    for at, file in enumerate(sorted(data.iterdir(), reverse=True)):
        shutil.copy(file, tmp_path / "shuffled" / f"{at:03d}.png")
    outcome = run_one(tmp_path / "shuffled", tmp_path / "other", config)
    assert cluster_by_content(outcome) == cluster_by_content(first)
    ours = stored_arrays(tmp_path / "shuffled", tmp_path / "other", config)
    for name, theirs in stored_arrays(data, store, config).items():
        np.testing.assert_array_equal(ours[name], theirs)


def test_labels_change_scores_only(tmp_path, checkpoint):
    """Corrected labels: the scores are new, the clusters are not, and neither embedding nor comparing is repeated."""
    flat_folder(tmp_path, range(8))
    config = tiny_config(checkpoint, n_clusters=3)
    rows = [{"path": f"{n:03d}.png", "category": "nut", "label": ("good", "hole")[n % 2]} for n in range(8)]
    first = run_one(write_manifest_csv(tmp_path / "m.csv", rows), tmp_path / "store", config)
    for row in rows:
        row["label"] = ("good", "hole", "scratch")[int(row["path"][:3]) % 3]
    second = run_one(write_manifest_csv(tmp_path / "m.csv", rows), tmp_path / "store", config)
    assert second.work == work(0, 0)
    assert cluster_by_content(second) == cluster_by_content(first)
    assert second.summary["metrics"] != first.summary["metrics"]


@pytest.mark.parametrize("change", [{"tau": "0.05"}, {"n_clusters": 5}, {"reference": 4}], ids=str)
def test_late_settings_compute_nothing_early(copied, change):
    """Another temperature, number of clusters or a smaller reference is a new run that embeds and compares nothing."""
    data, store, config, first = copied
    outcome = run_one(data, store, tiny_config(config.embed.checkpoint, **{"n_clusters": 3, **change}))
    assert outcome.is_new
    assert outcome.work == work(0, 0)
    assert run_folder(outcome).name != run_folder(first).name
    if "tau" in change:
        assert outcome.summary["tau"] == 0.05
    if "n_clusters" in change:
        assert outcome.summary["n_clusters"] == 5


def test_random_reference(tmp_path, checkpoint):
    """--reference compares only with the images drawn, tells so, and rarity is the mean over them; it can grow."""
    data = flat_folder(tmp_path / "board", range(10))
    config = tiny_config(checkpoint, recipe="sohn", n_clusters=3, reference=4, seed=2)
    outcome = run_one(data, tmp_path / "store", config)
    assert outcome.work == work(10, pairs_among(4) + 6 * 4)
    assert outcome.summary["n_reference"] == 4
    assert any("4 of 10 images" in note for note in outcome.summary["notes"])

    (listed,) = list_datasets(data, config)
    hashes = [image.sha256 for image in listed.clustered]
    spec = embedding_spec(StoreLayout(tmp_path / "store"), config)
    plan = plan_run(listed, config, spec)
    bags = EmbeddingSegments(StoreLayout(tmp_path / "store").folder("embeddings", "board", plan.images.embedding)).read(
        hashes
    )
    drawn, _ = reference_contents(plan.reference, listed)
    found = stored_arrays(data, tmp_path / "store", config)["rarity"]
    for at, sha256 in enumerate(hashes):
        others = [bags[hashes.index(other)] for other in drawn if other != sha256]
        expected = np.mean([cdist(bags[at], other).min(axis=1) for other in others], axis=0)
        np.testing.assert_allclose(found[at], expected, atol=RARITY_TOLERANCE)

    everything = run_one(data, tmp_path / "store", tiny_config(checkpoint, recipe="sohn", n_clusters=3))
    assert everything.work == work(0, pairs_among(10) - pairs_among(4))
    assert everything.summary["n_reference"] == 10


def test_store_budget_switches_to_a_subset(tmp_path, checkpoint):
    """Where the distances of all pairs exceed --store-budget, as many images as fit are the reference."""
    data = flat_folder(tmp_path / "board", range(8))
    one_image = 8 * 64 * 2  # distances of 8 images, 8 x 8 patches each, to one image in half precision
    outcome = run_one(data, tmp_path / "store", tiny_config(checkpoint, n_clusters=2, store_budget=5 * one_image))
    assert outcome.summary["n_reference"] == 5
    assert any("5 of 8 images" in note for note in outcome.summary["notes"])


def test_equal_tau_is_one_run(repeated):
    """0.30sd and 0.3sd are one temperature, hence one run."""
    data, store, config, _ = repeated
    assert run_one(data, store, tiny_config(config.embed.checkpoint, n_clusters=3, tau="0.30sd")).is_new is False


@pytest.mark.parametrize(
    ("deleted", "done"),
    [("embeddings", work(12, 0)), ("nearest", work(0, 66)), ("weights", work(0, 0)), ("trees", work(0, 0))],
)
def test_deleted_part_is_rebuilt(copied, deleted, done):
    """Deleting part of the store, although Prefect has its results cached, rebuilds that part with the same labels."""
    data, store, config, first = copied
    shutil.rmtree(store / deleted)
    shutil.rmtree(store / "runs")
    outcome = run_one(data, store, config)
    assert outcome.work == done
    assert cluster_by_content(outcome) == cluster_by_content(first)
    assert assignments(outcome).equals(assignments(first))


@pytest.mark.parametrize("deleted", ["results", "manifests", "backbones", "runs"])
def test_every_part_may_go(copied, deleted):
    """Deleting cached results, manifests, cards or runs costs no embedding and no pair; the labels are the same."""
    data, store, config, first = copied
    shutil.rmtree(store / deleted)
    outcome = run_one(data, store, config)
    assert outcome.work == work(0, 0)
    assert cluster_by_content(outcome) == cluster_by_content(first)


def test_moved_store(repeated, tmp_path):
    """A store that was moved as a whole goes on where it was: nothing is embedded or compared again."""
    data, store, config, first = repeated
    expected = cluster_by_content(first)
    store.rename(tmp_path / "moved")
    assert run_one(data, tmp_path / "moved", config).is_new is False
    outcome = run_one(data, tmp_path / "moved", config.model_copy(update={"n_clusters": 2}))
    assert outcome.work == work(0, 0)
    shutil.rmtree(tmp_path / "moved" / "runs")
    again = run_one(data, tmp_path / "moved", config)
    assert again.work == work(0, 0)
    assert cluster_by_content(again) == expected
    assert not store.exists()


def test_new_normals(tmp_path, checkpoint):
    """One more normal image: it is embedded and compared with every clustered image; no other pair is."""
    data = mvtec_category(tmp_path / "nut", {"test/good": 4, "test/hole": 4, "train/good": 3})
    config = tiny_config(checkpoint)
    assert run_one(data, tmp_path / "store", config).work == work(11, 8 * 3)
    shutil.copy(data / "test" / "good" / "000.png", data / "train" / "good" / "copy.png")
    mvtec_category(data, {"train/good": 3}, seed=9)
    assert run_one(data, tmp_path / "store", config).work == work(3, 8 * 4)
