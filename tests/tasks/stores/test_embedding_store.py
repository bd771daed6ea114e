from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from helpers.builders import digest, unit_bags

from anoclust_core.errors import StoreError
from anoclust_core.records import ImageRecord
from tasks.stores import arrays, embeddings
from tasks.stores.arrays import MARKER
from tasks.stores.embeddings import CHUNK_IMAGES, EmbeddingSegments, segment_images

HASHES = [digest(str(number)) for number in range(40)]
BAGS = unit_bags(40)
HALF_PRECISION = 1e-3
"""Rounding of a value below 1 to float16 is at most 2.5e-4; normalising again moves it by as much once more."""


@pytest.fixture
def store(tmp_path: Path) -> EmbeddingSegments:
    return EmbeddingSegments(tmp_path / "embeddings")


def flip_a_byte(file: Path, at: int = 100) -> None:
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(bytes(data))


def chunk_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("c/*/*/*") if path.is_file())


def test_images_are_read_in_any_order(store):
    """Bags come back in the order asked for, from any segment, as often as asked for."""
    store.append(HASHES[:17], BAGS[:17])
    store.append(HASHES[17:], BAGS[17:])
    for wanted in ([39, 0, 16, 17], [5, 5, 30, 5], list(reversed(range(40)))):
        read = store.read([HASHES[at] for at in wanted])
        np.testing.assert_allclose(read, BAGS[wanted], atol=HALF_PRECISION)


def test_read_bags_keep_the_contract(store):
    """What is read is float32 of unit norm, although it is stored in half precision."""
    store.append(HASHES, BAGS)
    read = store.read(HASHES)
    assert read.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(read, axis=2), 1, atol=1e-6)


def test_grouping_into_segments_does_not_matter(tmp_path):
    """One night or many, the same bags give the same numbers, bit for bit."""
    at_once, in_steps = EmbeddingSegments(tmp_path / "a"), EmbeddingSegments(tmp_path / "b")
    at_once.append(HASHES, BAGS)
    for start in range(0, 40, 7):
        in_steps.append(HASHES[start : start + 7], BAGS[start : start + 7])
    np.testing.assert_array_equal(at_once.read(HASHES), in_steps.read(HASHES))


def images(hashes: Sequence[str], mtime_ns: int = 1) -> list[ImageRecord]:
    return [ImageRecord(path=h, file=f"/{h}", sha256=h, role="cluster", mtime_ns=mtime_ns) for h in hashes]


def test_only_unknown_images_are_missing(store):
    """An image counts as missing once, and neither where it has a bag nor where it cannot be decoded."""
    assert store.missing(images(HASHES[:3])) == HASHES[:3]
    store.append(HASHES[:2], BAGS[:2])
    store.add_unreadable({HASHES[2]: "the file is empty"}, images(HASHES))
    assert store.missing(images([*HASHES[:3], HASHES[3], HASHES[3]])) == [HASHES[3]]
    store.add_unreadable({HASHES[4]: "is damaged"}, images(HASHES))
    assert store.unreadable(images(HASHES)) == {HASHES[2]: "the file is empty", HASHES[4]: "is damaged"}
    assert store.unreadable(images(HASHES[3:5])) == {HASHES[4]: "is damaged"}


def test_touched_file_is_worth_another_try(store):
    """A bad content is tried again once one of its files was changed, and then remembered with that time as well."""
    bad = HASHES[0]
    store.add_unreadable({bad: "is damaged"}, images([bad], 1))
    assert store.missing(images([bad], 2)) == [bad]
    assert store.missing([*images([bad], 1), *images([bad], 2)]) == [bad]
    store.add_unreadable({bad: "is still damaged"}, images([bad], 2))
    for times in ((1,), (2,), (1, 2)):
        copies = [image for time in times for image in images([bad], time)]
        assert store.unreadable(copies) == {bad: "is still damaged"}
        assert store.missing(copies) == []


def test_later_try_that_succeeds_counts(store):
    """A content that a later try could read is neither unreadable nor missing."""
    store.add_unreadable({HASHES[0]: "is damaged"}, images(HASHES[:1]))
    store.append(HASHES[:1], BAGS[:1])
    assert store.unreadable(images(HASHES[:1])) == {}
    assert store.missing(images(HASHES[:1])) == []
    assert store.still_missing({HASHES[0]: "changed", HASHES[1]: "changed"}) == {HASHES[1]: "changed"}


def test_reasons_of_an_earlier_version_are_tried_again(store):
    """A store that remembers bad contents without the times of their files tries them once more."""
    store.folder.mkdir()
    (store.folder / "unreadable.json").write_text(json.dumps({HASHES[0]: "is damaged"}))
    assert store.missing(images(HASHES[:1])) == HASHES[:1]
    store.add_unreadable({HASHES[0]: "is damaged"}, images(HASHES[:1]))
    assert store.missing(images(HASHES[:1])) == []


def test_missing_bags_are_an_error(store):
    """Asking for an image that was never embedded says how many are missing and what to do."""
    with pytest.raises(StoreError, match="lacks the embeddings of 2 images; run again"):
        store.read(HASHES[:2])


def test_incomplete_segment_is_ignored_and_replaced(store):
    """A segment that a killed run left without its seal does not exist for readers, and is written again."""
    store.append(HASHES[:5], BAGS[:5])
    store.append(HASHES[5:9], BAGS[5:9])
    segment = store.folder / store.index()[HASHES[5]][0]
    (segment / MARKER).unlink()
    for file in chunk_files(segment):
        file.write_bytes(b"half of it")
    assert store.missing(images(HASHES[:9])) == HASHES[5:9]
    store.append(HASHES[5:9], BAGS[5:9])
    np.testing.assert_allclose(store.read(HASHES[:9]), BAGS[:9], atol=HALF_PRECISION)


@pytest.mark.parametrize("at", [0, 100, -1])
def test_flipped_byte_is_noticed(store, at):
    """One changed byte on disk is an error that names the segment, never a wrong number."""
    store.append(HASHES, BAGS)
    (segment,) = (path for path in store.folder.iterdir() if path.is_dir())
    flip_a_byte(chunk_files(segment)[0], at)
    with pytest.raises(StoreError, match=rf"{segment}.* is damaged .*run again") as raised:
        store.read(HASHES[:1])
    assert raised.value.folder == segment


def test_truncated_chunk_is_noticed(store):
    """A chunk that lost its end is an error as well."""
    store.append(HASHES, BAGS)
    (segment,) = (path for path in store.folder.iterdir() if path.is_dir())
    file = chunk_files(segment)[0]
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(StoreError, match="damaged"):
        store.read(HASHES[:1])


def test_lost_chunk_is_noticed(store):
    """A chunk file that is gone is an error, not a block of NaN."""
    store.append(HASHES, BAGS)
    (segment,) = (path for path in store.folder.iterdir() if path.is_dir())
    chunk_files(segment)[0].unlink()
    with pytest.raises(StoreError, match=f"{segment}.* has lost a part"):
        store.read(HASHES[:1])


def test_damage_elsewhere_does_not_matter(store):
    """Images of sound chunks stay readable beside a damaged one."""
    store.append(HASHES, BAGS)
    (segment,) = (path for path in store.folder.iterdir() if path.is_dir())
    flip_a_byte(chunk_files(segment)[0])
    wanted = HASHES[CHUNK_IMAGES:]
    np.testing.assert_allclose(store.read(wanted), BAGS[CHUNK_IMAGES:], atol=HALF_PRECISION)


def test_damaged_seal_is_an_error(store):
    """A seal that is no JSON is told with its name."""
    store.append(HASHES[:3], BAGS[:3])
    (segment,) = (path for path in store.folder.iterdir() if path.is_dir())
    (segment / MARKER).write_text("{")
    embeddings._segment.cache_clear()
    with pytest.raises(StoreError, match=f"{segment / MARKER} is damaged: Expecting"):
        EmbeddingSegments(store.folder).index()


@pytest.mark.parametrize(("n_patches", "dim"), [(1, 1), (64, 48), (256, 120), (1024, 1024)])
def test_segments_hold_whole_chunks(n_patches, dim):
    """A segment is a whole number of chunks, at least one, so that two segments never share a chunk."""
    size = segment_images(n_patches, dim)
    assert size >= CHUNK_IMAGES
    assert size % CHUNK_IMAGES == 0


def test_bags_of_many_tiles_are_written_and_read_one_by_one(tmp_path):
    """16 bags of 32 MiB each would be half a gigabyte in one chunk; a segment holds one, and is read like any other."""
    assert segment_images(4096, 4096) == 1
    assert segment_images(128 * 256, 120) == 4
    bags = np.random.default_rng(0).random((4, 2, 3))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embeddings, "SEGMENT_BYTES", 2 * 2 * 3 * 2)
        store = EmbeddingSegments(tmp_path)
        store.append(HASHES[:4], bags, unit_norm=False)
    (segment,) = tmp_path.iterdir()
    assert arrays.read(segment, "bags").shape == (4, 2, 3)
    np.testing.assert_allclose(store.read([HASHES[3], HASHES[0]]), bags[[3, 0]], atol=HALF_PRECISION)
