from __future__ import annotations

import hashlib
import json

import pandas as pd
import pytest
from helpers.builders import flat_folder, mvtec_category, tiny_config, write_manifest_csv
from helpers.running import assignments, pairs_among, run_folder, run_one, work

from anoclust_core.errors import AnoclustError, ConfigError, DatasetError
from flows.run import run_data
from tasks.stores.files import read_json, without_digest

pytestmark = pytest.mark.usefixtures("prefect_db")

COUNTS = {"test/good": 5, "test/hole": 5, "test/scratch": 5}


def counts(**given: int) -> dict[str, int]:
    names = ("total", "clustered", "normals", "duplicates", "quarantined", "deferred")
    return {**dict.fromkeys(names, 0), **given}


def test_labelled_run_writes_everything(tmp_path, checkpoint):
    """A run leaves assignments, a summary with every documented field, a report, figures, and is named the latest."""
    data = mvtec_category(tmp_path / "nut", {**COUNTS, "train/good": 3})
    outcome = run_one(data, tmp_path / "store", tiny_config(checkpoint, normals="none"))
    run = run_folder(outcome)
    assert outcome.is_new
    assert run.parent == tmp_path / "store" / "runs" / "nut"
    assert without_digest(read_json(run.parent / "latest.json")) == {"run_id": run.name}
    files = {"assignments.csv", "assignments.parquet", "summary.json", "report.html", "figures"}
    assert {path.name for path in run.iterdir()} == files
    assert {path.name for path in (run / "figures").iterdir()} == {"clusters.jpg", "dendrogram.svg", "map.svg"}

    summary = read_json(run / "summary.json")
    assert summary == outcome.summary
    for name in ("dataset_hash", "config", "protocol", "n_clusters", "tau", "versions", "quarantine", "notes"):
        assert name in summary
    assert summary["images"] == counts(total=15, clustered=15)
    assert summary["n_clusters"] == 3
    for part in ("full", "defect_only"):
        assert set(summary["metrics"][part]) >= {"nmi", "ari", "f1_weighted", "f1_micro"}
    seconds = summary["seconds"]
    assert set(seconds) >= {"orchestrator_start", "embed", "pairwise", "weights", "cluster", "report", "total"}
    assert all(value >= 0 for value in seconds.values())
    parts = sum(value for name, value in seconds.items() if name != "total")
    assert seconds["total"] == pytest.approx(parts, abs=0.01)
    assert outcome.work == work(15, pairs_among(15)) == {name: summary["work"][name] for name in outcome.work}
    assert summary["peak_memory_bytes"] > 1 << 20
    assert summary["versions"]["torch"]
    assert summary["config"]["weigh"]["tau"] == "0.3sd"


def test_assignments_have_a_row_an_image(tmp_path, checkpoint):
    """assignments.csv has one row for every clustered image with the documented columns; labels and splits are kept."""
    data = mvtec_category(tmp_path / "nut", COUNTS)
    frame = assignments(run_one(data, tmp_path / "store", tiny_config(checkpoint)))
    assert list(frame.columns) == [
        "sha256",
        "cluster",
        "anomaly_score",
        "distance",
        "label",
        "split",
        "near_duplicates",
    ]
    assert list(frame.index) == sorted(path.relative_to(data).as_posix() for path in data.rglob("*.png"))
    for path, row in frame.iterrows():
        assert row["sha256"] == hashlib.sha256((data / path).read_bytes()).hexdigest()
        assert (row["split"], row["label"]) == tuple(path.split("/")[:2])
    assert set(frame["cluster"]) == {0, 1, 2}
    assert (frame["anomaly_score"] > 0).all()
    assert (frame["distance"] >= 0).all()


def test_extra_columns_reach_the_assignments(tmp_path, checkpoint):
    """Columns of a manifest that Anoclust does not know come out as they went in."""
    flat_folder(tmp_path / "images", range(6))
    rows = [
        {"path": f"images/{n:03d}.png", "category": "nut/left", "line": f"{n:03d}", "comment": 'a "quoted", comma'}
        for n in range(6)
    ]
    outcome = run_one(
        write_manifest_csv(tmp_path / "m.csv", rows), tmp_path / "store", tiny_config(checkpoint, n_clusters=2)
    )
    written = pd.read_csv(run_folder(outcome) / "assignments.csv", dtype=str)
    assert list(written["line"]) == [f"{n:03d}" for n in range(6)]
    assert set(written["comment"]) == {'a "quoted", comma'}
    assert run_folder(outcome).parent == tmp_path / "store" / "runs" / "nut%2Fleft"


def test_extra_columns_never_replace_a_result(tmp_path, checkpoint):
    """A manifest's own column named like one of the result's stands beside it under another name."""
    flat_folder(tmp_path / "images", range(6))
    rows = [{"path": f"images/{n:03d}.png", "category": "nut", "cluster": "by hand"} for n in range(6)]
    data = write_manifest_csv(tmp_path / "manifest.csv", rows)
    frame = assignments(run_one(data, tmp_path / "store", tiny_config(checkpoint, n_clusters=2)))
    assert set(frame["cluster"]) == {0, 1}
    assert set(frame["given_cluster"]) == {"by hand"}


def test_obvious_defects_are_told_apart(tmp_path, checkpoint):
    """Holes, scratches and clean surfaces end up in clusters of their own, far from chance."""
    data = mvtec_category(tmp_path / "nut", COUNTS)
    assert run_one(data, tmp_path / "store", tiny_config(checkpoint)).summary["metrics"]["full"]["nmi"] > 0.5


def test_no_labels_no_scores(tmp_path, checkpoint):
    """Without labels the scores are null, the number of clusters is suggested, and the report is still made."""
    outcome = run_one(flat_folder(tmp_path / "d", range(8)), tmp_path / "store", tiny_config(checkpoint))
    metrics = outcome.summary["metrics"]
    assert metrics["full"] is None
    assert metrics["defect_only"] is None
    assert metrics["n_evaluated"] == 0
    assert outcome.summary["n_clusters"] == outcome.summary["n_clusters_suggested"] >= 2
    assert (run_folder(outcome) / "report.html").stat().st_size > 10_000


def test_normals_mode(tmp_path, checkpoint):
    """With good training images rarity is measured against them: every image meets every normal, and no other."""
    data = mvtec_category(tmp_path / "nut", {**COUNTS, "train/good": 4})
    outcome = run_one(data, tmp_path / "store", tiny_config(checkpoint))
    assert outcome.work == work(15 + 4, 15 * 4)
    assert outcome.summary["images"] == counts(total=19, clustered=15, normals=4)
    assert outcome.summary["reference"] == "normal"
    scores = assignments(outcome).groupby("label")["anomaly_score"].mean()
    assert scores["hole"] > scores["good"]
    assert scores["scratch"] > scores["good"]


def test_unusable_normals_do_not_turn_into_a_blind_run(tmp_path, checkpoint):
    """Where not one of the given normals can be decoded the category fails, and says how to run blind."""
    data = mvtec_category(tmp_path / "nut", {**COUNTS, "train/good": 2})
    for number, path in enumerate((data / "train" / "good").iterdir()):
        path.write_text(f"no image {number}")
    with pytest.raises(DatasetError, match=r"none of the 2 normal images.*train/good/.*--normals none"):
        run_one(data, tmp_path / "store", tiny_config(checkpoint))


def test_unusable_files_are_listed_and_the_rest_runs(tmp_path, checkpoint):
    """A text file named .png is quarantined with its reason, in summary and report; no file is lost from the count."""
    data = mvtec_category(tmp_path / "nut", {**COUNTS, "train/good": 2})
    (data / "test" / "hole" / "fake.png").write_text("I am no image")
    (data / "train" / "good" / "empty.png").touch()
    outcome = run_one(data, tmp_path / "store", tiny_config(checkpoint))
    images = outcome.summary["images"]
    assert images == counts(total=19, clustered=15, normals=2, quarantined=2)
    assert images["total"] == images["clustered"] + images["normals"] + images["quarantined"]
    reasons = {entry["path"]: entry["reason"] for entry in outcome.summary["quarantine"]}
    assert set(reasons) == {"test/hole/fake.png", "train/good/empty.png"}
    assert "not a PNG" in reasons["test/hole/fake.png"]
    assert reasons["train/good/empty.png"] == "the file is empty"
    report = (run_folder(outcome) / "report.html").read_text()
    assert "test/hole/fake.png" in report
    assert "train/good/empty.png" in report
    assert "test/hole/fake.png" not in assignments(outcome).index
    assert run_one(data, tmp_path / "store", tiny_config(checkpoint)).is_new is False


def test_duplicates_share_a_cluster(tmp_path, checkpoint):
    """Byte-identical files are embedded once, count as separate images, are listed, and share a cluster."""
    data = flat_folder(tmp_path / "d", range(8))
    for copy in ("x.png", "y.png"):
        (data / copy).write_bytes((data / "001.png").read_bytes())
    outcome = run_one(data, tmp_path / "store", tiny_config(checkpoint, n_clusters=3))
    assert outcome.work == work(8, pairs_among(8))
    assert outcome.summary["images"]["clustered"] == 10
    assert outcome.summary["images"]["duplicates"] == 2
    assert outcome.summary["duplicates"] == [["001.png", "x.png", "y.png"]]
    rows = assignments(outcome).loc[["001.png", "x.png", "y.png"]]
    assert rows["cluster"].nunique() == rows["anomaly_score"].nunique() == 1


def test_one_image_left_for_the_last_batch(tmp_path, checkpoint):
    """Any number of images runs, also where the network gets the last one alone."""
    outcome = run_one(flat_folder(tmp_path / "d", range(5)), tmp_path / "store", tiny_config(checkpoint, n_clusters=2))
    assert outcome.work == work(5, pairs_among(5))


def test_all_images_alike(tmp_path, checkpoint):
    """A folder of copies of one image is one cluster with nothing rare, not a crash."""
    data = flat_folder(tmp_path / "d", [1])
    for copy in range(4):
        (data / f"copy{copy}.png").write_bytes((data / "001.png").read_bytes())
    outcome = run_one(data, tmp_path / "store", tiny_config(checkpoint))
    assert outcome.work == work(1, 0)
    assert set(assignments(outcome)["anomaly_score"]) == {0.0}


def test_failing_category_does_not_stop_the_others(tmp_path, checkpoint):
    """One category with a single image fails with its reason; the next one runs."""
    flat_folder(tmp_path / "data" / "a_single", [1])
    (tmp_path / "data" / "b_fake").mkdir()
    for name in ("x.png", "y.png"):
        (tmp_path / "data" / "b_fake" / name).write_text(f"not an image {name}")
    flat_folder(tmp_path / "data" / "c_fine", range(6))
    single, fake, fine = run_data(tmp_path / "data", tmp_path / "store", tiny_config(checkpoint, n_clusters=2))
    assert isinstance(single.error, DatasetError)
    assert "a_single has 1 usable images" in str(single.error)
    assert single.run is None
    assert isinstance(fake.error, DatasetError)
    assert "not a PNG" in str(fake.error)
    assert fine.error is None
    assert len(assignments(fine)) == 6


def test_more_clusters_than_images(tmp_path, checkpoint):
    """Asking for more clusters than images is refused with both numbers."""
    data = flat_folder(tmp_path / "board", range(4))
    (outcome,) = run_data(data, tmp_path / "store", tiny_config(checkpoint, n_clusters=5))
    assert isinstance(outcome.error, ConfigError)
    assert "--n-clusters 5: board has only 4 images" in str(outcome.error)


def test_more_clusters_than_readable_images(tmp_path, checkpoint):
    """The same holds where the images turn out to be too few only while they are read."""
    data = flat_folder(tmp_path / "board", range(6))
    (data / "fake.png").write_text("no image")
    (outcome,) = run_data(data, tmp_path / "store", tiny_config(checkpoint, n_clusters=7))
    assert isinstance(outcome.error, AnoclustError)
    assert "has only 6 images" in str(outcome.error)


def test_hostile_names_stay_text(tmp_path, checkpoint):
    """A category and paths that look like markup or paths stay text in the report and inside the store."""
    flat_folder(tmp_path / "images" / "<img src=x>", range(4))
    rows = [
        {"path": f"images/<img src=x>/{n:03d}.png", "category": "../<script>alert(1)</script>", "label": "</script>"}
        for n in range(4)
    ]
    outcome = run_one(
        write_manifest_csv(tmp_path / "m.csv", rows), tmp_path / "store", tiny_config(checkpoint, n_clusters=2)
    )
    report = (run_folder(outcome) / "report.html").read_text()
    assert "<script>alert(1)" not in report
    assert "<img src=x>" not in report
    assert run_folder(outcome).is_relative_to(tmp_path / "store" / "runs")
    assert {path.name for path in tmp_path.iterdir()} == {"images", "m.csv", "store"}


def test_progress_is_heard(tmp_path, checkpoint):
    """Whoever listens hears every stage from its first step to its last."""
    heard: dict[tuple[str, str], list[tuple[int, int]]] = {}
    data = flat_folder(tmp_path / "board", range(6))
    config = tiny_config(checkpoint, n_clusters=2)
    for _ in run_data(
        data,
        tmp_path / "store",
        config,
        listener=lambda category, stage, done, total: heard.setdefault((category, stage), []).append((done, total)),
    ):
        pass
    assert heard["", "list"][-1] == (6, 6)
    assert heard["board", "embed"][-1] == (6, 6)
    assert heard["board", "pair"][-1] == (pairs_among(6),) * 2
    assert all(steps == sorted(steps) for steps in heard.values())


def test_summary_is_strict_json(tmp_path, checkpoint):
    """summary.json holds no NaN or Infinity, which many readers refuse."""
    outcome = run_one(flat_folder(tmp_path / "d", range(4)), tmp_path / "store", tiny_config(checkpoint))
    text = (run_folder(outcome) / "summary.json").read_text()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in summary.json"))
