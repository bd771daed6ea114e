"""One part exposed several times: found, listed, and counted once where that is asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from helpers.builders import exposed_again, save_image, surface, tiny_config
from helpers.running import assignments, run_folder, run_one

from anoclust_core.errors import ResourceError
from flows.run import CategoryOutcome
from tasks.stores.stage_keys import stage_key

pytestmark = pytest.mark.usefixtures("prefect_db")

BURST = 6
"""Exposures of one scratched part among 24 good ones and 24 with a hole."""


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images without labels, so that the number of clusters is the program's."""
    root = tmp_path_factory.mktemp("parts") / "plate"
    for kind, label in enumerate(("good", "hole")):
        for number in range(24):
            save_image(root / f"{label}-{number:02}.png", surface(100 * (1 + kind) + number, label))
    scratched = surface(909, "scratch")
    for number in range(BURST):
        save_image(root / f"burst-{number}.png", exposed_again(scratched, number))
    return root


Runs = Callable[..., CategoryOutcome]


@pytest.fixture(scope="module")
def run(parts: Path, tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> Runs:
    """Run over the parts, in one store."""
    store = tmp_path_factory.mktemp("store")
    return lambda **settings: run_one(parts, store, tiny_config(checkpoint, **settings))


def of_burst(frame: pd.DataFrame, column: str) -> set[object]:
    """Values of the burst's images."""
    return set(frame[frame.index.str.startswith("burst")][column])


@pytest.mark.parametrize("recipe", ["auto", "sohn"])
def test_a_burst_forms_no_cluster_of_its_own_where_it_counts_once(run: Runs, recipe: str) -> None:
    """It is one cluster where each image counts, and joins another where the part counts once."""
    keep, once = (assignments(run(recipe=recipe, near_duplicates=count)) for count in ("keep", "count-once"))
    (own,), (joined,) = of_burst(keep, "cluster"), of_burst(once, "cluster")
    assert (keep["cluster"] == own).sum() == BURST
    assert (once["cluster"] == joined).sum() > BURST


def test_a_burst_is_listed_whatever_counts(run: Runs) -> None:
    """Its images share a group in the table, the summary and the page, others have none; what is said is why."""
    outcome = run()
    frame, burst = assignments(outcome), [f"burst-{number}.png" for number in range(BURST)]
    assert frame[frame["near_duplicates"] != ""].index.tolist() == burst
    assert of_burst(frame, "near_duplicates") == {"1"}
    assert [sorted(group) for group in outcome.summary["near_duplicates"]] == [burst]
    (note,) = [note for note in outcome.summary["notes"] if "near-duplicates" in note]
    assert note.startswith(f"{BURST} of 54 images are near-duplicates: 1 part")
    assert "--near-duplicates keep" in note
    page = (run_folder(outcome) / "report.html").read_text(encoding="utf-8")
    assert 'id="near-duplicates"' in page


def test_keeping_every_image_changes_no_key(run: Runs) -> None:
    """Weights, descriptors and tree have the keys that they had before near-duplicates were looked for."""
    keep, once = (run(near_duplicates=count).summary["keys"] for count in ("keep", "count-once"))
    assert keep["near_duplicates"] == once["near_duplicates"]
    assert all(keep[stage] != once[stage] for stage in ("weigh", "group"))
    weigh = {"pair": keep["pair"], "maps": None, "uniform": False, "tau": "0.3sd"}
    assert keep["weigh"] == stage_key("whiten", **weigh, deeper=keep["deeper"], n_clusters=None, seed=0)


def test_a_burst_is_found_against_normals_too(run: Runs, tmp_path: Path) -> None:
    """With known normals no clustered images are compared with each other; near-duplicates are found all the same."""
    for number in range(12):
        save_image(tmp_path / f"{number:02}.png", surface(500 + number))
    outcome = run(normals=str(tmp_path))
    assert [len(group) for group in outcome.summary["near_duplicates"]] == [BURST]
    assert outcome.summary["reference"] == "normal"


def against_normals(parts: Path, folder: Path, checkpoint: Path, **settings: str) -> CategoryOutcome:
    """Run with known normals: no clustered images are compared with each other for anything else."""
    normals = folder / "normals"
    if not normals.exists():
        for number in range(12):
            save_image(normals / f"{number:02}.png", surface(500 + number))
    return run_one(parts, folder / "store", tiny_config(checkpoint, normals=str(normals), **settings))


def test_what_there_was_no_memory_for_is_looked_for_later(
    parts: Path, tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that could not look is made again where it can; one that counts parts once does not go on without."""
    with monkeypatch.context() as little:
        little.setattr("tasks.compute.closest.MOST_BYTES", 1)
        first = against_normals(parts, tmp_path, checkpoint)
        assert first.summary["near_duplicates"] == []
        assert any("were not looked for" in note for note in first.summary["notes"])
        assert not against_normals(parts, tmp_path, checkpoint).is_new
        with pytest.raises(ResourceError, match=r"count-once compares 54 whole images .* omit --near-duplicates"):
            against_normals(parts, tmp_path, checkpoint, near_duplicates="count-once")
    second = against_normals(parts, tmp_path, checkpoint)
    assert second.is_new
    assert [len(group) for group in second.summary["near_duplicates"]] == [BURST]
    assert second.work["images_embedded"] == 0
    assert not against_normals(parts, tmp_path, checkpoint).is_new
