"""Runs over deep and odd pictures: the partition of their twins of 8 bits, from one range that is kept."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.builders import tiny_config
from helpers.deep_files import KINDS, grey_twin, pillow
from helpers.running import assignments, run_one, work

from anoclust_core.embedding.deep_images import ENOUGH_IMAGES
from anoclust_core.errors import StoreError
from flows.decoding import decided_spec, settled_spec
from flows.nights.run import run_nights
from tasks.images.category_decoding import read_decoding
from tasks.images.decoding import decode_samples
from tasks.images.listing import list_datasets
from tasks.networks.backbone_spec import embedding_spec
from tasks.store_check.store import check_store
from tasks.stores.catalog.catalog import Catalog
from tasks.stores.embeddings import EmbeddingSegments
from tasks.stores.layout import StoreLayout
from tasks.stores.upkeep import inventory

N = 8


def of_kind(name: str):
    return next(kind for kind in KINDS if kind.name == name)


def fill(folder: Path, name: str | None, seeds: range = range(N)) -> Path:
    """Pictures of one kind, or 8-bit twins; those of odd numbers have a spot."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        has_spot = seed % 2 == 1
        if name is None:
            (folder / f"{seed:02d}.png").write_bytes(pillow(grey_twin(seed, spot=has_spot), "PNG"))
        else:
            kind = of_kind(name)
            (folder / f"{seed:02d}{kind.suffix}").write_bytes(kind.write(seed, has_spot))
    return folder


def partition(outcome) -> set[frozenset[str]]:
    frame = assignments(outcome)
    return {frozenset(Path(path).stem for path in of.index) for _, of in frame.groupby("cluster")}


SPLIT = {frozenset(f"{seed:02d}" for seed in range(N) if seed % 2 == odd) for odd in (0, 1)}


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_db")
def test_deep_and_odd_pictures_part_as_their_twins_do(tmp_path, checkpoint):
    """A run over each kind gives the partition of the twins; the report tells the range; a repeat does nothing."""
    config = tiny_config(checkpoint, n_clusters=2, normals="none")
    assert partition(run_one(fill(tmp_path / "twin", None), tmp_path / "store", config)) == SPLIT
    for name in (
        "PNG, RGBA, alpha 0",
        "TIFF, 12 bits packed",
        "TIFF, colour map of bytes",
        "BMP of version 4, alpha 0",
    ):
        data = fill(tmp_path / name.translate(str.maketrans(" ,", "__")), name)
        outcome = run_one(data, tmp_path / "store", config)
        assert partition(outcome) == SPLIT, name
        kept = read_decoding(StoreLayout(tmp_path / "store").decoding(data.name))
        assert kept is not None
        assert [one.high for one in kept.deep] == ([4095.0] if outcome.summary["embedding"]["decoding"]["deep"] else [])
        told = "0 is black and 4,095 white, a range taken from 8 of them"
        assert any(told in note for note in outcome.summary["notes"]) == bool(kept.deep)
        assert not run_one(data, tmp_path / "store", config).is_new


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_db")
def test_first_deep_pictures_of_a_category_leave_its_plain_ones_alone(tmp_path, checkpoint):
    """Deep pictures beside plain ones: only they are embedded; later ones, however bright, do not move the range."""
    config = tiny_config(checkpoint, n_clusters=2, normals="none")
    store, data = tmp_path / "store", fill(tmp_path / "part", None, range(4))
    plain = run_one(data, store, config)
    assert plain.summary["embedding"]["decoding"] is None
    assert not (store / "decoding").exists()
    fill(data, "TIFF, 12 of 16 bits", range(4, N))
    mixed = run_one(data, store, config)
    assert mixed.work == work(images_embedded=4, pair_products=4 * 4 + 6)
    assert partition(mixed) == SPLIT
    (data / "98.tif").write_bytes(of_kind("TIFF, 12 of 16 bits").write(98, False))
    more = run_one(data, store, config)
    assert more.work == work(images_embedded=1, pair_products=N)
    (kept,) = deep_ranges(store)
    assert (kept.low, kept.high, kept.n_images, kept.n_seen) == (0, 4095, 4, 5)
    (data / "99.tif").write_bytes(pillow((np.random.default_rng(0).random((64, 64)) * 60000).astype(np.uint16)))
    wider = run_one(data, store, config)
    assert wider.work == work(images_embedded=6, pair_products=4 * 6 + 15)
    (kept,) = deep_ranges(store)
    assert (kept.low, kept.high, kept.n_images, kept.n_seen) == (0, 65535, 6, 6)
    assert any("do not fit the range from 0 to 4,095" in note for note in wider.summary["notes"])
    assert not run_one(data, store, config).is_new


def deep_ranges(store: Path):
    kept = read_decoding(StoreLayout(store).decoding("part"))
    assert kept is not None
    return kept.deep


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_db")
def test_nights_go_on_with_the_kept_range(tmp_path, checkpoint):
    """The first night takes the range, the next one assigns its deep pictures in it, and nothing is re-clustered."""
    config = tiny_config(checkpoint, n_clusters=2, normals="none")
    store, name = tmp_path / "store", "TIFF, 12 bits packed"
    fill(tmp_path / "data" / "part", name)
    (first,) = run_nights(tmp_path / "data", store, config)
    assert (first.error, first.reclustered) == (None, "the first time")
    fill(tmp_path / "data" / "part", name, range(N, N + 3))
    (second,) = run_nights(tmp_path / "data", store, config)
    assert (second.error, second.reclustered) == (None, None)
    assert (second.counters["assigned"], second.work["images_embedded"]) == (3, 3)
    (kept,) = deep_ranges(store)
    assert (kept.low, kept.high, kept.n_images, kept.n_seen) == (0, 4095, N, N + 3)
    assert second.report is not None
    assert "0 is black and 4,095 white" in second.report.read_text()


def exposed(folder: Path, seeds: range, times: float) -> None:
    """Pictures of 12 bits in 16, exposed so many times as long."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        values = decode_samples(of_kind("TIFF, 12 of 16 bits").write(seed, seed % 2 == 1))
        (folder / f"{seed:03d}.tif").write_bytes(pillow(np.rint(values * times).astype(np.uint16)))


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_db")
def test_exposure_that_drifts_is_told_and_its_images_are_assigned(tmp_path, checkpoint):
    """A frozen range stays: what lies outside is told in numbers and assigned. Another range re-clusters everything."""
    config = tiny_config(checkpoint, n_clusters=2, normals="none")
    data, store = tmp_path / "data", tmp_path / "store"
    exposed(data / "part", range(ENOUGH_IMAGES), 1.0)
    (first,) = run_nights(data, store, config)
    assert first.error is None
    assert not any("outside" in note for note in first.notes)
    (frozen,) = deep_ranges(store)
    assert (frozen.low, frozen.high, frozen.is_frozen) == (0, 4095, True)

    exposed(data / "part", range(100, 106), 1.4)
    (second,) = run_nights(data, store, config)
    assert (second.error, second.reclustered, second.counters["quarantined"]) == (None, None, 0)
    assert (second.counters["new"], second.work["images_embedded"]) == (6, 6)
    assert second.counters["assigned"] == 6
    told = "3 of 6 images have more than 1 % of their pixels outside of the range, up to 5 % in "
    assert any(told in note for note in second.notes)
    assert second.report is not None
    assert told in second.report.read_text()
    assert deep_ranges(store) == (frozen,)

    names = cluster_names(store)
    on_purpose = tiny_config(checkpoint, n_clusters=2, normals="none", range="0:8191")
    (third,) = run_nights(data, store, on_purpose)
    assert (third.error, third.reclustered) == (None, "backbone, recipe or settings were changed")
    assert third.work["images_embedded"] == ENOUGH_IMAGES + 6
    assert cluster_names(store) == names
    assert "8,191 white, as asked for with --range" in third.report.read_text()
    (fourth,) = run_nights(data, store, on_purpose)
    assert not fourth.is_new
    assert deep_ranges(store) == (frozen,)


def cluster_names(store: Path) -> set[str]:
    layout = StoreLayout(store)
    with Catalog.open(layout.catalog, store=layout) as catalog:
        return {one.cluster for one in catalog.clusters("part") if one.state != "retired"}


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_db")
def test_range_that_is_asked_for_embeds_deep_pictures_only(tmp_path, checkpoint):
    """`full` and `LOW:HIGH` show other pictures, so these are embedded again; plain ones beside them are not."""
    config = tiny_config(checkpoint, n_clusters=2, normals="none")
    store, data = tmp_path / "store", fill(tmp_path / "part", None, range(4))
    run_one(data, store, config)
    fill(data, "TIFF, 12 of 16 bits", range(4, N))
    run_one(data, store, config)
    for asked, high in (("full", 65535.0), ("0:8191", 8191.0)):
        other = run_one(data, store, tiny_config(checkpoint, n_clusters=2, normals="none", range=asked))
        assert other.work["images_embedded"] == 4
        assert other.summary["embedding"]["decoding"]["deep"][0]["high"] == high
    same = run_one(data, store, tiny_config(checkpoint, n_clusters=2, normals="none", range="0:4095"))
    assert not same.is_new
    assert not run_one(data, store, config).is_new


def store_with_wrong_embeddings(tmp_path: Path, checkpoint: Path):
    """A store as an earlier version left it: bags of deep and plain pictures under the key of plain ones."""
    config = tiny_config(checkpoint, n_clusters=2, normals="none")
    layout = StoreLayout(tmp_path / "store")
    data = fill(fill(tmp_path / "part", None, range(4)), "TIFF, 12 of 16 bits", range(4, N))
    (listed,) = list_datasets(data, config)
    spec = embedding_spec(layout, config)
    from tasks.stores.stage_keys import embedding_keys

    old = EmbeddingSegments(layout.folder("embeddings", "part", embedding_keys(listed, spec).embedding))
    contents = sorted(image.sha256 for image in listed.images)
    is_deep = [content in listed.special for content in contents]
    for keep in (True, False):
        chosen = [content for content, deep in zip(contents, is_deep, strict=True) if deep == keep]
        old.append(chosen, np.random.default_rng(0).random((len(chosen), spec.n_patches, spec.dim)))
    return config, layout, listed, spec, embedding_keys


@pytest.mark.slow
def test_embeddings_of_an_earlier_version_are_taken_for_plain_pictures_only(tmp_path, checkpoint):
    """What was made of deep pictures before their range was known is not taken for right; all else is kept."""
    config, layout, listed, spec, keys_of = store_with_wrong_embeddings(tmp_path, checkpoint)
    assert decided_spec(layout, listed, spec, config) is None
    now = settled_spec(layout, listed, spec, config)
    assert decided_spec(layout, listed, spec, config) == now
    segments = EmbeddingSegments(layout.folder("embeddings", "part", keys_of(listed, now).embedding))
    assert sorted(segments.missing(listed.images)) == sorted(listed.special)
    plain = replace(listed, images=listed.images[:4], special={})
    assert keys_of(plain, spec) == keys_of(plain, replace(spec, decoding=None))


@pytest.mark.slow
def test_check_size_and_damage_know_the_kept_range(tmp_path, checkpoint):
    """`store check` finds a damaged or vanished range; a run refuses to guess another one."""
    config, layout, listed, spec, _ = store_with_wrong_embeddings(tmp_path, checkpoint)
    settled_spec(layout, listed, spec, config)
    path = layout.decoding("part")
    assert inventory.store_size(layout).other == 0
    assert not check_store(layout).damage
    whole = path.read_text()
    path.write_text(whole.replace("4095.0", "4096.0"))
    assert [finding.path for finding in check_store(layout).damage] == ["decoding/part.json"]
    with pytest.raises(StoreError, match="Restore it from a backup"):
        decided_spec(layout, listed, spec, config)
    path.unlink()
    run = layout.runs("part") / "20260101T000000Z-0123456789ab"
    run.mkdir(parents=True)
    (run / "summary.json").write_text(json.dumps({"summary_version": 2, "embedding": {"decoding": {"version": 1}}}))
    assert "decoding/part.json" in [finding.path for finding in check_store(layout).damage]
