"""Runs over parts with four views, one of which shows the defect: by image, and by part."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.builders import tiny_config, write_manifest_csv
from helpers.parts import VIEWS, defective_view, part_defect, part_images, part_manifest
from helpers.running import assignments, run_folder, run_one

from anoclust_core.errors import AnoclustError, ConfigError, DatasetError
from flows.plan import plan_run
from flows.run import CategoryOutcome, run_data
from tasks.export.maps import export_maps
from tasks.images.listing import list_datasets
from tasks.networks.backbone_spec import embedding_spec
from tasks.stores.layout import StoreLayout
from tasks.stores.stage_keys import settings_key

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_db")]

N_PARTS = 18


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Manifest of parts, a third good, a third with a hole, a third with a scratch, each in one view."""
    return part_manifest(tmp_path_factory.mktemp("parts"), range(N_PARTS))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store: embeddings and distances are the same by image and by part."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def by_image(data: Path, store: Path, checkpoint: Path) -> CategoryOutcome:
    """Every view by itself."""
    return run_one(data, store, tiny_config(checkpoint))


@pytest.fixture(scope="module")
def by_part(data: Path, store: Path, checkpoint: Path, by_image: CategoryOutcome) -> CategoryOutcome:
    """Every part by its rarest view."""
    assert by_image.is_new
    return run_one(data, store, tiny_config(checkpoint, by="part"))


def defects_by_cluster(rows: pd.DataFrame) -> set[frozenset[str]]:
    """Defects of the parts in each cluster."""
    defects = [part_defect(int(part[1:])) for part in rows["part"]]
    return {frozenset(found) for found in pd.Series(defects).groupby(rows["cluster"].to_numpy()).agg(set)}


def test_parts_are_clustered_by_the_defect_that_one_of_their_views_shows(by_part: CategoryOutcome) -> None:
    """A cluster for each defect and one for good parts; every view carries the cluster of its part."""
    rows = assignments(by_part)
    assert len(rows) == N_PARTS * VIEWS
    assert rows.groupby("part")["cluster"].nunique().eq(1).all()
    assert defects_by_cluster(rows) == {frozenset({"good"}), frozenset({"hole"}), frozenset({"scratch"})}


def test_the_view_with_the_defect_decides(by_part: CategoryOutcome) -> None:
    """It is the rarest one; exactly one view of each part decides."""
    rows = assignments(by_part)
    deciding = rows[rows["decides"]]
    assert sorted(deciding["part"]) == sorted(set(rows["part"]))
    for path, row in deciding.iterrows():
        number = int(row["part"][1:])
        assert row["anomaly_score"] == rows.loc[rows["part"] == row["part"], "anomaly_score"].max()
        if part_defect(number) != "good":
            assert path == f"p{number:03d}_cam{defective_view(number)}.png"


def test_by_image_the_good_views_of_a_defective_part_are_among_the_good(by_image: CategoryOutcome) -> None:
    """Then a defective part is in two clusters, and the table says its part but not which view decides."""
    rows = assignments(by_image)
    assert "decides" not in rows
    good = int(Counter(rows.loc[rows["label"] == "good", "cluster"]).most_common(1)[0][0])
    for number in range(N_PARTS):
        if part_defect(number) != "good":
            of_part = rows[rows["part"] == f"p{number:03d}"]
            assert (of_part.loc[of_part["label"] == "good", "cluster"] == good).sum() >= VIEWS - 2
            assert (of_part.loc[of_part["label"] != "good", "cluster"] != good).all()


def test_parts_are_counted_and_scored(by_part: CategoryOutcome) -> None:
    """Scores are of parts by the label of their defect; images are all counted."""
    assert by_part.summary["images"]["clustered"] == N_PARTS * VIEWS
    assert by_part.summary["images"]["parts"] == N_PARTS
    assert by_part.summary["metrics"]["n_evaluated"] == N_PARTS
    assert by_part.summary["metrics"]["full"]["nmi"] == 1


def test_the_report_shows_the_view_that_decides_and_the_others_beside_it(by_part: CategoryOutcome) -> None:
    """Every part is one tile with its name; each has the small pictures of its three other views."""
    page = (run_folder(by_part) / "report.html").read_text()
    assert f"{N_PARTS} parts in 3 clusters" in page
    assert page.count('class="tile"') == N_PARTS
    assert page.count('<span class="view"') == N_PARTS * (VIEWS - 1)
    assert all(path in page for path in assignments(by_part).index)


def test_tables_have_types(by_part: CategoryOutcome) -> None:
    """In Parquet, whether a view decides is true or false, and a part is text."""
    table = pd.read_parquet(run_folder(by_part) / "assignments.parquet")
    assert table["decides"].dtype == bool
    assert table["decides"].sum() == N_PARTS
    assert set(table["part"]) == {f"p{number:03d}" for number in range(N_PARTS)}


def test_nothing_is_embedded_or_compared_again(by_part: CategoryOutcome) -> None:
    """By part the same distances are read: changing the mind costs no pair."""
    assert by_part.work["images_embedded"] == by_part.work["pair_products"] == 0


def test_the_same_run_is_found_again(data: Path, store: Path, checkpoint: Path, by_part: CategoryOutcome) -> None:
    """The run's key is known before anything is computed; by image there is another run."""
    again = run_one(data, store, tiny_config(checkpoint, by="part"))
    assert not again.is_new
    assert again.run == by_part.run


def test_maps_of_all_views_are_exported(store: Path, by_part: CategoryOutcome, tmp_path: Path) -> None:
    """Views that do not decide have maps too, with the highest value that the table has."""
    export_maps(StoreLayout(store), run_folder(by_part), tmp_path)
    rows = assignments(by_part)
    files = json.loads((tmp_path / "board" / "scale.json").read_text())["files"]
    assert set(files) == set(rows.index)
    for path, name in files.items():
        assert np.load(tmp_path / "board" / f"{name}.npy").max() == pytest.approx(
            rows.loc[path, "anomaly_score"], abs=1e-6
        )


@pytest.mark.parametrize("asked", [{"recipe": "sohn"}, {"distance": "max_min_max"}, {"linkage": "average"}])
def test_other_ways_of_clustering_take_parts(
    data: Path, store: Path, checkpoint: Path, asked: dict[str, str], by_part: CategoryOutcome
) -> None:
    """Recipe sohn and Hausdorff distances group the views that decide."""
    assert by_part.is_new
    outcome = run_one(data, store, tiny_config(checkpoint, by="part", **asked))
    rows = assignments(outcome)
    assert rows["decides"].sum() == N_PARTS
    assert rows.groupby("part")["cluster"].nunique().eq(1).all()


def test_recipe_blind_takes_parts(data: Path, tmp_path: Path, checkpoint: Path) -> None:
    """Its maps say which view is the rarest."""
    config = tiny_config(checkpoint, by="part", recipe="blind", vae=False, contrastive=False)
    rows = assignments(run_one(data, tmp_path / "store", config))
    assert rows["decides"].sum() == N_PARTS
    assert rows.groupby("part")["cluster"].nunique().eq(1).all()


def test_a_pattern_of_paths_does_what_a_column_does(tmp_path: Path, checkpoint: Path, by_part: CategoryOutcome) -> None:
    """The folder `board` with `0017_cam2.png` gives the clusters of the manifest with the column."""
    folder = tmp_path / "board"
    list(part_images(folder, range(N_PARTS)))
    config = tiny_config(checkpoint, by="part", part="path:{part}_cam*", n_clusters=3)
    rows = assignments(run_one(folder, tmp_path / "store", config))
    mine = assignments(by_part)
    assert set(rows["part"]) == set(mine["part"])
    assert set(rows.index[rows["decides"]]) == set(mine.index[mine["decides"]])
    assert defects_by_cluster(rows) == defects_by_cluster(mine)


def error_of(data: Path, store: Path, checkpoint: Path, **asked: str) -> AnoclustError:
    """Error of a run that cannot be."""
    with pytest.raises(AnoclustError) as refused:
        run_one(data, store, tiny_config(checkpoint, **asked))
    return refused.value


def test_a_pattern_that_fits_no_file_is_refused(data: Path, tmp_path: Path, checkpoint: Path) -> None:
    """The message names the pattern, the category, a path and what to write."""
    error = error_of(data, tmp_path / "store", checkpoint, part="path:{part}-view*")
    assert isinstance(error, DatasetError)
    assert str(error) == (
        f"--part path:{{part}}-view* fits none of the {N_PARTS * VIEWS} images of category board; the first is "
        "p000_cam0.png; write a pattern that fits the end of that path without its ending, such as --part path:{part}_*"
    )


def test_parts_without_a_column_are_refused(data: Path, tmp_path: Path, checkpoint: Path) -> None:
    """`--by part` needs to know the parts: the message says how to name them."""
    error = error_of(data.parent, tmp_path / "store", checkpoint, by="part")
    assert "--part column:part fits none of the" in str(error)
    assert "--part path:{part}_* for 0017_cam2.png, or cluster images with --by image" in str(error)


def test_images_without_a_part_count_as_parts_of_their_own(tmp_path: Path, checkpoint: Path) -> None:
    """They are counted in a note, the first by name."""
    rows = list(part_images(tmp_path, range(6)))
    for row in rows[:2]:
        row["part"] = ""
    manifest = write_manifest_csv(tmp_path / "some.csv", rows)
    outcome = run_one(manifest, tmp_path / "store", tiny_config(checkpoint, by="part", n_clusters=2))
    assert outcome.summary["images"]["parts"] == 8
    assert outcome.notes == (
        "--part column:part fits 22 of 24 images; each of the other 2 counts as a part of its own (first: "
        "p000_cam0.png).",
    )


def test_a_part_in_two_categories_is_two_parts(tmp_path: Path, checkpoint: Path) -> None:
    """Views are grouped within a category, and both categories say so."""
    rows = list(part_images(tmp_path, range(4)))
    for row in rows[::2]:
        row["category"] = "cable"
    manifest = write_manifest_csv(tmp_path / "two.csv", rows)
    listed = list_datasets(manifest, tiny_config(checkpoint, by="part"))
    for one, other in (("board", "cable"), ("cable", "board")):
        (found,) = [found for found in listed if found.category == one]
        assert f"4 names of parts are in another category too (first: p000, also in {other})" in found.notes[-1]


def test_one_part_alone_is_refused(tmp_path: Path, checkpoint: Path) -> None:
    """Four views of one part are one thing to cluster; more clusters than parts are refused too."""
    manifest = part_manifest(tmp_path, range(1))
    assert "has 1 part to cluster, but at least 2 are needed" in str(
        error_of(manifest, tmp_path / "store", checkpoint, by="part")
    )
    manifest = part_manifest(tmp_path, range(3))
    error = error_of(manifest, tmp_path / "store", checkpoint, by="part", n_clusters="4")
    assert isinstance(error, ConfigError)
    assert "board has only 3 parts to cluster" in str(error)


def test_a_name_that_changes_makes_another_run(data: Path, store: Path, checkpoint: Path, tmp_path: Path) -> None:
    """The parts' names are in the key by part only: by image no file but the table knows them."""
    rows = pd.read_csv(data)
    rows["path"] = [str(data.parent / path) for path in rows["path"]]
    rows["part"] = [f"q{part[1:]}" if part < "p003" else "p003" if part == "p004" else part for part in rows["part"]]
    other = tmp_path / "other.csv"
    rows.to_csv(other, index=False)
    (outcome,) = run_data(other, store, tiny_config(checkpoint, by="part"))
    assert outcome.is_new
    assert outcome.summary["images"]["parts"] == N_PARTS - 1


def test_a_category_without_parts_does_not_stop_the_others(tmp_path: Path, checkpoint: Path) -> None:
    """It fails by itself, with its name."""
    rows = list(part_images(tmp_path, range(6)))
    rows += [{**row, "category": "cable", "part": ""} for row in part_images(tmp_path / "other", range(1))]
    rows[-4:] = [{**row, "path": f"other/{row['path']}"} for row in rows[-4:]]
    manifest = write_manifest_csv(tmp_path / "two.csv", rows)
    config = tiny_config(checkpoint, by="part", n_clusters=2)
    board, cable = run_data(manifest, tmp_path / "store", config)
    assert board.error is None
    assert "fits none of the 4 images of category cable" in str(cable.error)


def test_by_image_no_key_knows_parts(checkpoint: Path, tmp_path: Path) -> None:
    """A store of before there were parts goes on: keys are the same with any pattern, and other ones by part only."""
    folder = tmp_path / "board"
    list(part_images(folder, range(2)))
    plain, named, by_part = (
        tiny_config(checkpoint, **asked)
        for asked in ({}, {"part": "path:{part}_cam*"}, {"part": "path:{part}_cam*", "by": "part"})
    )
    layout = StoreLayout(tmp_path / "store")
    spec = embedding_spec(layout, plain)
    (unnamed,) = list_datasets(folder, plain)
    (listed,) = list_datasets(folder, named)
    assert not any("part" in image for image in unnamed.as_json()["images"])
    assert all(image["part"] for image in listed.as_json()["images"])
    keys, same, others = (
        plan_run(images, config, spec).keys for images, config in ((unnamed, plain), (listed, named), (listed, by_part))
    )
    assert keys == same
    assert keys["pair"] == others["pair"]
    assert keys["weigh"] != others["weigh"]
    assert settings_key(plain, spec) == settings_key(named, spec) != settings_key(by_part, spec)


def test_parts_and_near_duplicates_count_once_in_one_way(data: Path, tmp_path: Path, checkpoint: Path) -> None:
    """By part every part counts once already: the two settings together are refused."""
    error = error_of(data, tmp_path, checkpoint, by="part", near_duplicates="count-once")
    assert "--by part counts every part once already" in str(error)
