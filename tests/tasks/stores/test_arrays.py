"""A chunk whose file is gone is noticed by whatever is read of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anoclust_core.errors import DamagedError
from tasks.stores import arrays

SHAPE, CHUNKS = (11, 7), (4, 3)


@st.composite
def parts(draw: st.DrawFn) -> tuple[slice, slice]:
    """A slice of each dimension that holds at least one place."""
    found = []
    for size in SHAPE:
        start = draw(st.integers(0, size - 1))
        found.append(slice(start, draw(st.integers(start + 1, size))))
    return found[0], found[1]


@pytest.fixture
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    dtype = request.param
    arrays.create_array(tmp_path, "values", shape=SHAPE, chunks=CHUNKS, dtype=dtype)
    arrays.write_block(tmp_path, "values", (0, 0), np.arange(77).reshape(SHAPE).astype(dtype))
    return tmp_path


@pytest.mark.parametrize("folder", ["float16", "float64", "int64"], indirect=True)
@given(part=parts(), lost=st.tuples(st.integers(0, 2), st.integers(0, 2)))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_part_without_the_lost_chunk_is_read_and_one_with_it_is_not(folder, part, lost):
    """Wherever the part begins and ends, down to a single value of the chunk."""
    dtype = arrays.read(folder, "values").dtype
    chunk = folder / "values" / "c" / str(lost[0]) / str(lost[1])
    content = chunk.read_bytes()
    chunk.unlink()
    try:
        is_hit = all(
            piece.start < (at + 1) * size and piece.stop > at * size
            for piece, at, size in zip(part, lost, CHUNKS, strict=True)
        )
        if is_hit:
            with pytest.raises(DamagedError, match="has lost a part"):
                arrays.read(folder, "values", part)
        else:
            expected = np.arange(77).reshape(SHAPE).astype(dtype)[part]
            np.testing.assert_array_equal(arrays.read(folder, "values", part), expected)
    finally:
        chunk.write_bytes(content)
