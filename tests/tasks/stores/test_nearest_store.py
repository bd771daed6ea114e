from __future__ import annotations

import shutil
from collections.abc import Sequence
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from helpers.builders import digest, unit_bags
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from anoclust_core.errors import StoreError
from anoclust_core.pairwise.cpu import nearest_distances, nearest_distances_within
from tasks.compute.pair_blocks import compute_block
from tasks.stores.arrays import MARKER
from tasks.stores.embeddings import EmbeddingSegments
from tasks.stores.nearest import NearestSlabs, Plan, WantedPairs

N_IMAGES, N_PATCHES = 12, 6
HASHES = [digest(f"image {number}") for number in range(N_IMAGES)]
HALF_PRECISION = 1e-3
"""Rounding of a distance below 2 to float16."""

subsets = st.sets(st.integers(0, N_IMAGES - 1), min_size=2).map(sorted)
histories = st.lists(subsets, min_size=1, max_size=5)
sides = st.integers(1, 7)


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> EmbeddingSegments:
    segments = EmbeddingSegments(tmp_path_factory.mktemp("nearest") / "embeddings")
    segments.append(HASHES, unit_bags(N_IMAGES, N_PATCHES))
    return segments


@pytest.fixture(scope="session")
def expected(embedded: EmbeddingSegments) -> NDArray[np.float32]:
    """All distances in one pass, in float32."""
    return nearest_distances_within(embedded.read(HASHES))


@pytest.fixture
def slabs(tmp_path: Path) -> NearestSlabs:
    return NearestSlabs(tmp_path / "slabs")


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory):
    """Make empty stores for the examples of one property."""
    root, numbers = tmp_path_factory.mktemp("slabs"), count()
    return lambda: NearestSlabs(root / str(next(numbers)))


def hashes(images: Sequence[int]) -> list[str]:
    return [HASHES[image] for image in images]


def compute(plan: Plan, n_blocks: int | None = None) -> int:
    """Compute the blocks of a plan, or only the first; gives the number of products."""
    plan.create()
    products = 0
    for block in plan.blocks[:n_blocks]:
        products += compute_block(block)
        plan.block_done(block)
    return products


def read(slabs: NearestSlabs, rows: Sequence[int], columns: Sequence[int]) -> NDArray[np.float16]:
    return np.concatenate([part for _, part in slabs.read(hashes(rows), hashes(columns))])


def assert_all_at_once(slabs: NearestSlabs, images: Sequence[int], expected: NDArray[np.float32]) -> None:
    np.testing.assert_allclose(read(slabs, images, images), expected[np.ix_(images, images)], atol=HALF_PRECISION)


@settings(max_examples=12, deadline=None)
@given(history=histories, side=sides)
def test_any_history_equals_one_pass(fresh, embedded, expected, history, side):
    """Whatever sets of images were run before, the distances are those of one pass, and no pair is computed twice."""
    slabs = fresh()
    known: set[tuple[int, int]] = set()
    for images in history:
        pairs = {(a, b) for a in images for b in images if a < b}
        plan = slabs.plan(WantedPairs(hashes(images)), embedded.folder, N_PATCHES, side)
        assert slabs.count_missing(WantedPairs(hashes(images))) == len(pairs - known) == plan.n_products
        assert compute(plan) == len(pairs - known)
        known |= pairs
        assert_all_at_once(slabs, images, expected)
        assert slabs.count_missing(WantedPairs(hashes(images))) == 0


@settings(max_examples=12, deadline=None)
@given(
    history=st.lists(st.tuples(subsets, subsets), min_size=1, max_size=4),
    side=sides,
)
def test_any_history_against_normals(fresh, embedded, history, side):
    """The same holds for distances in one direction, from clustered images to normals, which may overlap."""
    slabs = fresh()
    known: set[tuple[int, int]] = set()
    for rows, columns in history:
        pairs = {(row, column) for row in rows for column in columns}
        missing = slabs.count_missing(WantedPairs(rows=hashes(rows), columns=hashes(columns)))
        plan = slabs.plan(WantedPairs(rows=hashes(rows), columns=hashes(columns)), embedded.folder, N_PATCHES, side)
        assert missing == len(pairs - known)
        compute(plan)
        known |= pairs
        direct = nearest_distances(embedded.read(hashes(rows)), embedded.read(hashes(columns)))
        np.testing.assert_allclose(read(slabs, rows, columns), direct, atol=HALF_PRECISION)


@settings(max_examples=12, deadline=None)
@given(rows=subsets, columns=subsets, images=subsets, side=sides)
def test_blind_after_a_run_against_normals(fresh, embedded, expected, rows, columns, images, side):
    """Images that were normals before can be clustered among the others: one known direction does not pass for both."""
    slabs = fresh()
    compute(slabs.plan(WantedPairs(rows=hashes(rows), columns=hashes(columns)), embedded.folder, N_PATCHES, side))
    compute(slabs.plan(WantedPairs(hashes(images)), embedded.folder, N_PATCHES, side))
    assert_all_at_once(slabs, images, expected)
    assert slabs.count_missing(WantedPairs(hashes(images))) == 0


def test_deleted_distances_to_itself_are_missed(slabs, embedded, expected):
    """A slab with nothing but an image's distances to itself is computed again when it was deleted."""
    compute(slabs.plan(WantedPairs(hashes([0, 1])), embedded.folder, N_PATCHES, 1))
    compute(slabs.plan(WantedPairs(hashes([0, 1, 2])), embedded.folder, N_PATCHES, 1))
    (alone,) = (slab.folder for slab in slabs.slabs() if slab.rows == slab.columns == (HASHES[2],))
    shutil.rmtree(alone)
    assert slabs.count_missing(WantedPairs(hashes([0, 1, 2]))) > 0
    compute(slabs.plan(WantedPairs(hashes([0, 1, 2])), embedded.folder, N_PATCHES, 1))
    assert_all_at_once(slabs, [0, 1, 2], expected)


@settings(max_examples=12, deadline=None)
@given(data=st.data(), side=sides, images=subsets)
def test_killed_run_is_taken_up(fresh, embedded, expected, data, side, images):
    """After a run killed at any block the next one computes only what no sealed slab holds, and ends all the same."""
    slabs = fresh()
    before = data.draw(subsets)
    compute(slabs.plan(WantedPairs(hashes(before)), embedded.folder, N_PATCHES, side))
    killed = slabs.plan(WantedPairs(hashes(images)), embedded.folder, N_PATCHES, side)
    compute(killed, data.draw(st.integers(0, len(killed.blocks))))
    covered = slabs.covered(hashes(images), hashes(images))
    np.testing.assert_array_equal(covered, covered.T)
    missing = int(np.triu(~covered, k=1).sum())
    assert compute(slabs.plan(WantedPairs(hashes(images)), embedded.folder, N_PATCHES, side)) == missing
    assert_all_at_once(slabs, images, expected)


@pytest.mark.parametrize("side", [1, 2, 5, 32])
def test_block_size_does_not_matter(slabs, embedded, expected, side):
    """Any cut into blocks gives the distances of one pass, in half precision."""
    compute(slabs.plan(WantedPairs(HASHES), embedded.folder, N_PATCHES, side))
    np.testing.assert_allclose(read(slabs, range(12), range(12)), expected, atol=HALF_PRECISION)


def test_image_is_at_distance_zero_from_itself(slabs, embedded):
    """Every patch finds itself in its own image: the diagonal is exactly 0."""
    compute(slabs.plan(WantedPairs(HASHES), embedded.folder, N_PATCHES, 5))
    distances = read(slabs, range(12), range(12))
    assert (distances[np.arange(12), np.arange(12)] == 0).all()


def test_order_of_the_images_is_that_asked_for(slabs, embedded, expected):
    """Rows and columns come back in the order asked for."""
    compute(slabs.plan(WantedPairs(HASHES), embedded.folder, N_PATCHES, 5))
    rows, columns = [7, 2, 11], [3, 0]
    np.testing.assert_allclose(read(slabs, rows, columns), expected[np.ix_(rows, columns)], atol=HALF_PRECISION)


def test_few_rows_at_a_time_give_the_same(slabs, embedded, expected, monkeypatch):
    """A small memory budget for reading changes the pieces, not the numbers."""
    compute(slabs.plan(WantedPairs(HASHES), embedded.folder, N_PATCHES, 5))
    monkeypatch.setattr("tasks.stores.nearest.READ_BYTES", 2 * N_IMAGES * N_PATCHES * 2)
    assert [start for start, _ in slabs.read(HASHES, HASHES)] == list(range(0, N_IMAGES, 2))
    assert_all_at_once(slabs, range(N_IMAGES), expected)


def test_missing_pairs_are_an_error(slabs, embedded):
    """Reading pairs that were never computed says how many are missing, and never gives NaN."""
    with pytest.raises(StoreError, match="holds no distances"):
        list(slabs.read(HASHES, HASHES))
    compute(slabs.plan(WantedPairs(hashes([0, 1, 2])), embedded.folder, N_PATCHES, 5))
    with pytest.raises(StoreError, match="7 image pairs have no distances"):
        list(slabs.read(hashes([0, 1, 2, 3]), hashes([0, 1, 2, 3])))


def test_flipped_byte_is_noticed(slabs, embedded):
    """One changed byte in a slab is an error that names the slab."""
    compute(slabs.plan(WantedPairs(HASHES), embedded.folder, N_PATCHES, 5))
    file = next(path for path in sorted(slabs.folder.rglob("c/*/*/*")) if path.is_file())
    data = bytearray(file.read_bytes())
    data[20] ^= 4
    file.write_bytes(bytes(data))
    with pytest.raises(StoreError, match=rf"{slabs.folder}.* is damaged .*run again"):
        read(slabs, range(12), range(12))


def test_lost_chunk_is_noticed(slabs, embedded):
    """A chunk file of a sealed slab that is gone is an error, not NaN in the rarity."""
    compute(slabs.plan(WantedPairs(HASHES), embedded.folder, N_PATCHES, 5))
    next(path for path in sorted(slabs.folder.rglob("c/*/*/*")) if path.is_file()).unlink()
    with pytest.raises(StoreError, match="has lost a part"):
        read(slabs, range(12), range(12))


def test_unsealed_slab_does_not_count(slabs, embedded):
    """A slab without its seal covers nothing, whatever it holds."""
    compute(slabs.plan(WantedPairs(hashes([0, 1, 2])), embedded.folder, N_PATCHES, 5))
    (slab,) = slabs.folder.iterdir()
    (slab / MARKER).unlink()
    assert not slabs.covered(HASHES, HASHES).any()
    assert slabs.count_missing(WantedPairs(hashes([0, 1, 2]))) == 3


@settings(max_examples=8, deadline=None)
@given(before=subsets, side=sides)
def test_means_come_with_the_distances(fresh, embedded, expected, before, side):
    """Mean distances are those of every pair of patches, whatever was there without them, and cost no second pass."""
    slabs = fresh()
    compute(slabs.plan(WantedPairs(hashes(before)), embedded.folder, N_PATCHES, side))
    wanted = WantedPairs(HASHES, with_means=True)
    assert slabs.count_missing(wanted) == N_IMAGES * (N_IMAGES - 1) // 2
    compute(slabs.plan(wanted, embedded.folder, N_PATCHES, side))
    assert slabs.count_missing(wanted) == slabs.count_missing(WantedPairs(HASHES)) == 0
    bags = embedded.read(HASHES)
    direct = np.array([[np.linalg.norm(a[:, None] - b[None], axis=2).mean() for b in bags] for a in bags])
    np.fill_diagonal(direct, 0)
    np.testing.assert_allclose(slabs.read_means(HASHES), direct, atol=1e-5)
    assert_all_at_once(slabs, range(N_IMAGES), expected)


def test_missing_means_are_an_error(slabs, embedded):
    """Distances without means give no means."""
    compute(slabs.plan(WantedPairs(HASHES), embedded.folder, N_PATCHES, 5))
    with pytest.raises(StoreError, match="lacks mean distances of 144 pairs"):
        slabs.read_means(HASHES)
