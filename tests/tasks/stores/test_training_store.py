"""States of a training at rest, and feature maps as one mapped file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.builders import digest

from anoclust_core.errors import DamagedError, StoreError
from anoclust_core.records import EmbeddingSpec
from tasks.stores import arrays
from tasks.stores.embeddings import EmbeddingSegments, feature_maps
from tasks.stores.training import TrainingStore

SPEC = EmbeddingSpec("b", "b", "w", (1,), 64, "bilinear", (0.5,) * 3, (0.5,) * 3, 1, (3, 4), 5, unit_norm=False)


def tensors(step: int) -> dict[str, np.ndarray]:
    return {
        "model/a": np.full((2, 3), step, np.float32),
        "optimizer/step/a": np.array(step, np.float32),
        "b": np.arange(4, dtype=np.float32),
    }


@pytest.fixture
def store(tmp_path: Path) -> TrainingStore:
    return TrainingStore(tmp_path / "training" / "tile" / ("0" * 32))


def test_nothing_yet(store):
    """A training that has not begun has no state."""
    assert store.newest() is None
    assert not store.is_complete


def test_newest_state_with_shapes(store):
    """States come back with names, shapes and numbers; scalars stay scalars; of two the newer one counts."""
    for step in (10, 20, 30):
        store.keep(step, tensors(step))
        found_step, found = store.newest()
        assert found_step == step
        assert list(found) == list(tensors(step))
        for name, value in tensors(step).items():
            assert found[name].shape == value.shape
            np.testing.assert_array_equal(found[name], value)
    assert not store.is_complete
    assert len(list(store.folder.parent.iterdir())) == 2


def test_the_last_state_replaces_all(store):
    """At the end one folder is left."""
    for step in (10, 20):
        store.keep(step, tensors(step))
    store.keep(25, tensors(25), is_last=True)
    assert store.is_complete
    assert [path.name for path in store.folder.parent.iterdir()] == [store.folder.name]
    assert store.newest()[0] == 25


def test_a_kill_while_writing_leaves_the_state_before(store):
    """A state without its seal does not count; the one before does."""
    store.keep(10, tensors(10))
    store.keep(20, tensors(20))
    newest = max(store.folder.parent.iterdir(), key=lambda slot: arrays.describe(slot)["step"])
    (newest / arrays.MARKER).unlink()
    assert store.newest()[0] == 10


def test_a_flipped_bit_is_damage(store):
    """What is not what was written is told, and which folder it is."""
    store.keep(10, tensors(10), is_last=True)
    chunk = next(path for path in (store.folder / "state" / "c").rglob("*") if path.is_file())
    content = bytearray(chunk.read_bytes())
    content[5] ^= 1
    chunk.write_bytes(bytes(content))
    with pytest.raises(DamagedError) as caught:
        store.newest()
    assert caught.value.folder == store.folder


def test_feature_maps_are_those_of_the_segments(tmp_path):
    """Feature maps come in the order asked for, as images x features x cells, and leave no file behind."""
    draws = np.random.default_rng(0)
    hashes = [digest(str(number)) for number in range(40)]
    bags = (50 * draws.random((40, 12, 5))).astype(np.float16)
    EmbeddingSegments(tmp_path / "bags").append(hashes, bags.astype(np.float32), unit_norm=False)
    with feature_maps(tmp_path / "bags", hashes[::-1], SPEC, tmp_path / "scratch") as features:
        assert features.values.shape == (40, 5, 3, 4)
        features.release()  # they are read again
        np.testing.assert_array_equal(features.values[::-1].reshape(40, 5, 12).transpose(0, 2, 1), bags)
        assert list((tmp_path / "scratch").iterdir()) == []
    with (
        pytest.raises(StoreError, match="lacks the embeddings"),
        feature_maps(tmp_path / "bags", [digest("other")], SPEC, tmp_path / "scratch"),
    ):
        pass


def test_features_too_large_for_half_precision(tmp_path):
    """A value that would become infinite at rest is refused with what to do."""
    with pytest.raises(StoreError, match="half precision; try other --layers"):
        EmbeddingSegments(tmp_path).append([digest("a")], np.full((1, 2, 2), 1e5, np.float32), unit_norm=False)
